"""The tags, one a file: its parser, marked with ``@tag``, and what it needs at run time."""
