"""Confined processes that work on untrusted input.

`child` runs Python in a fork that can only compute and answer. `program` runs an external reader such as
sqfs2tar.

May import: model, oslite.
"""
