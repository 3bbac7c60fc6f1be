"""The public image server: `templater serve` shows images of a tree, of the store, or given files by https.

`served` has the list of images and its look-ups. `sources` reads the list. `answers` builds the JSON of the
image API. `https` is the server, and the only module that imports aiohttp. `certificate` makes the server's
certificate.

May import: distribution, image, model, parsing.
"""
