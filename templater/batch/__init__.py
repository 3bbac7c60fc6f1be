"""Plans of one image for every instance of a list.

May import: model, parsing, planning, rendering, reporting, rootfs.
"""
