"""Plans of the files to write, made from rendered templates and a root filesystem.

`resolve` follows paths as the container would, and `planner` decides each change. Planning writes no file.

May import: model, parsing, pongo2, prediction, rendering, rootfs.
"""
