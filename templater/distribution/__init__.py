"""Publishing images in simplestreams trees, from which Incus and LXD download them.

`catalog` decodes a catalog as the clients do. `client_view` predicts which images a client lists. `tree`
reads and writes the files of a tree. `republish` implements `templater streams reindex`.

May import: image, model, parsing.
"""
