"""The checks of `templater audit`: signs that an image attacks its host or its readers."""
