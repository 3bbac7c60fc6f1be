"""The build wrote a hostname into the image, and no rule replaces this hostname.

distrobuilder writes `distrobuilder-…` or `LXC_NAME` into `/etc/hostname` and `/etc/hosts` of the image. When
an instance is created, a template usually replaces these names. Without such a template, each instance has
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
