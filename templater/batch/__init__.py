"""Planning of every instance in a list, with one image.

May import: model, parsing, planning, rendering, reporting, rootfs.
"""
