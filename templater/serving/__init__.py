"""The servers of `templater serve` and of `templater watch --web`.

`templater serve` offers the images of a tree, of the store or of given files over https:

* `image_listing` defines the list of images, and `served_image` defines one image of the list.
* `image_sources` reads the list. For images without a tree, it generates a simplestreams catalog.
* `image_api_answers` builds the JSON of the image API.
* `image_server` is the server, and `certificate` makes its certificate.

`watch_page_server` is the server of `watch --web`, and `watch_page_access` decides who may use it.
`connections` limits the clients of both servers.

May import: distribution, image, model, parsing, rootfs.
"""
