"""Root filesystems on disk and in memory. No path leads out of a root filesystem.

`confined` is the only module that opens a path below an untrusted directory; `open_beneath` has its two
mechanisms. `open_directory` creates, renames and removes names in a directory that `confined` has opened.
`regular_files` reads, compares and writes files by descriptor. `system_calls` has the open flags, and the
values and errors of system calls. `trusted_paths` opens a directory by a path on which other users may have
put links. `disk_sync` writes files to the disk. `file_system_type` recognises overlays. `held_files` lets a
hook or command end early: another process waits until the kernel has freed the removed files.

May import: model, oslite.
"""
