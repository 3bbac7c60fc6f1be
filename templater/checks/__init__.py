"""Findings about an image, one file a check.

`scan` reads an image without following anything in it; `finding` runs the checks and sorts what they find.
`security/` holds the checks of `templater audit`.

May import: image, model, parsing, planning, pongo2, rendering, rootfs.
"""
