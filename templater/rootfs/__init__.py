"""Read a root filesystem, on disk or in memory, without ever leaving it.

`confined` is the only module that opens a path below an untrusted directory.

May import: model, oslite.
"""
