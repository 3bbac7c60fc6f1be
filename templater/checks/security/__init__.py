"""The checks of `templater audit`, which look for signs that an image attacks the host or its users."""
