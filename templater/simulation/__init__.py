"""An instance's life on paper: which files each lifecycle step would change.

May import: model, parsing, planning, rootfs.
"""
