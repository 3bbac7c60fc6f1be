"""The SRC argument: an image, an instance on disk, or a backup from `incus export`.

`open_source` detects the kind of SRC and returns the image together with the instance's description, pending
trigger and root filesystem.

May import: image, instances, model, parsing, rootfs.
"""
