"""Rendering of templates for the rules of an image and an instance.

* `instance_context` builds the variables that a template sees.
* `render` renders the rules that match a trigger.
* `unknown_names` reports misspelled variables.
* `rendered_text_cache` stores each rendered text while the template and its values stay the same.
* `origins` tells where each rendered line comes from.

May import: model, pongo2.
"""
