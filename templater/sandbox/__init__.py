"""Confined processes that work on untrusted input.

* `child` runs Python code in a forked process that can only compute and answer.
* `unpacker_process` runs an external reader such as sqfs2tar.
* `validator_process` runs a checker such as visudo.

May import: model, oslite.
"""
