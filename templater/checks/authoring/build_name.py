"""The image contains a hostname that its build wrote, and no rule replaces it.

distrobuilder writes `distrobuilder-…` or `LXC_NAME` into `/etc/hostname` and `/etc/hosts` of the image, and a
template usually replaces these names when an instance is created. Without such a template, each instance has
the hostname of the build.

    templates:
      /etc/hostname:
        when: [create, copy, rename]
        template: hostname.tpl
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.file_names import ROOTFS
from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..image_scanner import NAME_FILES

NAMES = (b"distrobuilder", b"LXC_NAME")


@check(
    "build-name",
    "error",
    "a hostname that the build wrote into the image and that no rule replaces",
    rootfs=True,
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for file in NAME_FILES:
        path = file.removeprefix(ROOTFS)
        name = next((name for name in NAMES if name in image.heads.get(file, b"")), None)
        rule = image.target_paths.get(path)
        if name is not None and (rule is None or "create" not in rule.when):
            yield Observation(
                f"the image's '{path}' contains '{name.decode()}', and no rule replaces this name",
                file,
                f"add a rule for {path} with 'when: [create, copy, rename]' to metadata.yaml",
            )
