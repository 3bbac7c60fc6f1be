"""Findings about an image, one file a check.

`scan` reads an image without following or refusing anything. `base` says what a check is, `finding` runs the
checks over a scanned image, and `report` does both and returns plain data. `security/` holds the checks of
`templater audit`.

May import: image, model, parsing, planning, pongo2, rendering, rootfs.
"""
