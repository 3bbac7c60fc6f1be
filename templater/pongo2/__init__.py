"""The pongo2 template language; knows nothing of images, files or containers."""
