"""An instance's life on paper: which files each lifecycle step would change.

`steps` parses what a user types, `simulate` takes the steps, `host_start` runs a start as the host does.

May import: model, parsing, planning, prediction, rendering, rootfs.
"""
