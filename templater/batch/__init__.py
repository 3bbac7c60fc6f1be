"""Plans of one image for every instance in a list.

May import: model, parsing, planning, rendering, reporting, rootfs.
"""
