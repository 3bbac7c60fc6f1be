"""A simulation of instance lifecycles: which files each step would change.

`steps` parses the steps that a user types, `simulate` executes them, and `host_start` models a start on the
chosen host. `disk_snapshot` copies a root filesystem into memory.

May import: model, parsing, planning, prediction, rendering, rootfs.
"""
