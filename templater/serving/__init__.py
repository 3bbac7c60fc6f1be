"""The servers of `templater serve` and of `templater watch --web`.

`templater serve` offers the images of a tree, of the store or of given files by https. `served` has the list
of images and its look-ups. `sources` reads the list. `api_answers` builds the JSON of the image API.
`image_server` is the server, and `certificate` makes its certificate.

`page_server` is the server of `watch --web`, and `page_access` decides who may use it. `connections` limits
the clients of both servers.

May import: distribution, image, model, parsing.
"""
