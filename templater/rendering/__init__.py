"""Render templates from rules and an instance.

`context` builds the variables that a template sees, `render` renders the rules that match a trigger, and
`names` reports misspelled variables. None of them reads a root filesystem.

May import: model, pongo2.
"""
