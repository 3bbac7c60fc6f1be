"""Rendered text and a root filesystem to a plan: what would be written, where, and why.

`resolve` follows paths as the container would, `planner` decides each change. No file is written here.

May import: model, parsing, pongo2, prediction, rendering, rootfs.
"""
