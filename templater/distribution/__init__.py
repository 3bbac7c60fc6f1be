"""Publishing images: simplestreams trees that Incus and LXD read, written, pruned, verified and mirrored.

`catalog` decodes a stream as Go's clients do, `clients` says what they list, `tree` keeps the files in order.

May import: image, model, parsing.
"""
