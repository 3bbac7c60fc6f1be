"""Publishing images in simplestreams trees, from which Incus and LXD download them.

* `catalog_decoder` decodes a catalog as the clients do.
* `client_image_list` predicts which images a client lists.
* `tree` reads and writes the files of a tree.
* `tree_catalog` represents the catalog of a tree as objects that can be changed.
* `verify` checks a stream.
* `republish` implements `templater streams reindex`.

May import: image, model, parsing, rootfs.
"""
