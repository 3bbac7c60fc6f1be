"""One image, many instances: plan each instance of a list and report the differences.

May import: model, parsing, planning, pongo2, prediction, rendering, reporting, rootfs.
"""
