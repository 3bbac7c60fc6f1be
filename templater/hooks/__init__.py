"""Called by a runtime when a container starts: find the instance, render, apply, record, report.

`run` is the sequence, `render_job` the sandboxed rendering, `compile_cache` keeps compiled templates. One
file a
runtime stands in `runtimes/`.

May import: instances, limits, model, oslite, parsing, planning, pongo2, rendering, rootfs, sandbox, writing.
"""
