"""The hook that a runtime calls when a container starts: it renders the templates and writes the files.

`run` has the sequence of steps. `sandboxed_rendering` renders in a child process. `compile_cache` stores
compiled templates. `runtimes/` has one file per runtime.

May import: instances, limit_option, model, oslite, parsing, planning, pongo2, rendering, rootfs,
sandbox, writing.
"""
