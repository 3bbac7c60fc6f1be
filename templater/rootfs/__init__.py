"""Root filesystems on disk and in memory. No path leads out of a root filesystem.

* `confined_root` is the only module that opens a path below an untrusted directory.
* `resolve_beneath` has the two mechanisms of `confined_root`.
* `confined_directory` changes names in a directory that `confined_root` has opened.
* `confined_without_descriptors` reads on systems such as Windows.
* `regular_files` reads, compares and writes files by descriptor.
* `system_calls` has the open flags, and the values and errors of system calls.
* `trusted_paths` opens a directory by a path that can contain links of untrusted users.
* `writable_by_others` finds the users who can write in a directory.
* `group_members` finds the members of a group.
* `id_map` maps ids of a container to ids on disk.
* `disk_sync` writes files to the disk.
* `file_system_type` recognises overlays.
* `close_in_another_process` leaves slow closes of removed files to another process.

May import: model, oslite.
"""
