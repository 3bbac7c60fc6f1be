"""Root filesystems on disk and in memory. No path leads out of a root filesystem.

`confined` is the only module that opens a path below an untrusted directory. `trusted_paths` opens a
directory by a path on which other users may have put links.

May import: model, oslite.
"""
