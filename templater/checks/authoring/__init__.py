"""The checks of ``templater check``, one file each. The docstring of a file is the page about its check."""
