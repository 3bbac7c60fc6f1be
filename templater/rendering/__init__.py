"""Rendering of templates for the rules of an image and an instance.

`instance_context` builds the variables that a template sees, `render` renders the rules that match a trigger,
and `unknown_names` reports misspelled variables. `memo` keeps texts until a value that they depend on
changes. `explain` and `origins` tell where each rendered line comes from. This folder never reads a root
filesystem.

May import: model, pongo2.
"""
