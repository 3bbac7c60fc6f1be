"""Root filesystems on disk and in memory. No path in them leads outside.

`confined` is the only module that opens a path below an untrusted directory.

May import: model, oslite.
"""
