"""The SRC argument: an image, an instance on disk or of a daemon, a backup, or a definition.

`open_source` detects the kind of SRC and returns the image together with the instance's description, pending
trigger and root filesystem.

May import: definitions, image, instances, live, model, parsing, rootfs.
"""
