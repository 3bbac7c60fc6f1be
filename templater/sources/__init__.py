"""SRC as a user names it: an image, an instance on disk, or a backup that `incus export` wrote.

`open_source` detects which one it is and returns the image together with what belongs to the instance: its
description, its pending trigger and its root filesystem.

May import: image, instances, model, parsing, rootfs.
"""
