"""The public image server: `templater serve` shows images of a tree, of the store, or given files by https.

`served` has the list of images and its look-ups. `sources` reads the list. `answers` builds the JSON of the
image API. `https` is the server, `connections` limits its clients, and `certificate` makes its certificate.

May import: distribution, image, model, parsing.
"""
