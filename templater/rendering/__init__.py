"""Rules and an instance to rendered text.

`context` builds the variables that a template sees, `render` renders the rules that are due, `names` reports
misspelled variables. None of them looks at a root filesystem.

May import: model, pongo2.
"""
