"""The SRC argument: an image, an instance on disk or of a daemon, a backup, or a definition.

`open_source` detects the kind of SRC. It returns the image, the description, the pending trigger and the root
filesystem.

May import: definitions, image, instances, live, model, parsing, rootfs.
"""
