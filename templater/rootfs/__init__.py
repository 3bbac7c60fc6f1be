"""Root filesystems on disk and in memory. No path leads out of a root filesystem.

`confined` is the only module that opens a path below an untrusted directory. `trusted_paths` opens a
directory by a path on which other users may have put links. `disk_sync` writes files to the disk.
`file_system_type` recognises overlays. `held_files` lets a hook or command end early: another process waits
until the kernel has freed the removed files.

May import: model, oslite.
"""
