"""Instance directories and descriptions: read them, and keep templater's state beside them.

May import: model, oslite, parsing, rootfs.
"""
