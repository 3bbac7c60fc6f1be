"""External validators of rendered files, such as visudo or the schemas of cloud-init.

`validator` defines a validator. `programs/` contains the validators, one file each. `runner` runs validators
in a sandbox. `unlocked_process` runs validators for a locked process, which can start no program. `results`
turns output into mistakes and notes.

May import: model, oslite, parsing, sandbox.
"""
