"""One image, many instances: plan each instance of a list and report the differences.

May import: model, parsing, planning, rendering, reporting, rootfs.
"""
