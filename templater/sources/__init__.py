"""The SRC argument: an image, an instance on disk, a backup from `incus export`, or a definition.

`open_source` detects the kind of SRC and returns the image together with the instance's description, pending
trigger and root filesystem.

May import: definitions, image, instances, model, parsing, rootfs.
"""
