"""Running instances of Incus and LXD, read over the REST API by GET and HEAD requests only.

* `address` parses `incus:[REMOTE:]NAME`.
* `connect` reaches the daemon, and `rest_client` sends requests.
* `live_instance` reads one instance with its metadata and templates.
* `live_rootfs` reads the files of an instance on demand.
* `instance_filters` lists and filters instances.
* `nearest_host` maps a daemon's version to a host.
* `newer_image` finds newer versions of an instance's image.
* `events` follows the daemon's events.

May import: distribution, image, model, parsing, rootfs.
"""
