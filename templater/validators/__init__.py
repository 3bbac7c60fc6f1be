"""External validators of rendered files, such as visudo or the schemas of cloud-init.

* `validator` defines a validator.
* `programs/` contains the validators, one file each.
* `runner` runs validators in a sandbox, and returns mistakes and notes.
* `process_for_locked_callers` runs validators for a locked process, which can't start programs.

May import: model, oslite, parsing, sandbox.
"""
