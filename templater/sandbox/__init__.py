"""Run work on untrusted input in a confined process.

`child` runs Python in a fork that can only compute and answer; `program` runs an external reader such as
sqfs2tar.

May import: model, oslite.
"""
