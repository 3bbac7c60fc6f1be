"""The checks of `templater audit`. They look for signs of attacks on the host or on users of the image."""
