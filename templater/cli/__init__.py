"""The command line. Each subcommand has a file. Errors become a message and an exit code.

May import: batch, checks, cloud_init, definitions, distribution, hooks, image, instances, limit_option,
live, model, next_start, oslite, parsing, planning, pongo2, rendering, reporting, rootfs, sandbox, serving,
simulation, sources, startup, testing, validators, web, writing.
"""
