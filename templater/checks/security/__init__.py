"""The checks of `templater audit`. They look for signs that an image attacks the host or its users."""
