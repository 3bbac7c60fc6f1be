"""Plans of the files to write, made from rendered templates and a root filesystem.

`follow_links` follows paths as the container would. `decide_changes` decides about each file. Planning writes
no file.

May import: model, parsing, pongo2, prediction, rendering, rootfs.
"""
