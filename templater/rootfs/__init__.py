"""Root filesystems on disk and in memory. No path leads out of a root filesystem.

`confined` is the only module that opens a path below an untrusted directory.

May import: model, oslite.
"""
