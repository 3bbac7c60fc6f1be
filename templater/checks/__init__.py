"""Checks of images: security checks for users, and checks for authors.

* `image_scanner` reads an image, follows no links, and rejects no names.
* `base` defines a check, and `run_checks` runs all checks.
* `audit_report` scans an image, runs the checks and returns plain data.
* `security/` contains the checks of `templater audit`.
* `authoring/` contains the checks of `templater check`.

May import: definitions, image, model, parsing, planning, pongo2, rendering, reporting, rootfs,
validators.
"""
