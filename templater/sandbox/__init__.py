"""Confined processes that work on untrusted input.

`child` runs Python in a fork that can only compute and answer. `program` runs an external reader such as
sqfs2tar. `tool` runs a program that checks a text, such as visudo.

May import: model, oslite.
"""
