"""Root filesystems on disk and in memory. No path leads out of them.

`confined` is the only module that opens a path below an untrusted directory.

May import: model, oslite.
"""
