"""A user-data or vendor-data file begins with `#cloud-config`, but the rest of the file is not valid.

The rest of the file must be YAML with a mapping at the top level. Otherwise, cloud-init ignores the
whole file.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..authored import AuthoredImage, File
from ..base import Observation, check
from ..rendered import Mistake, mistakes_of, yaml_mapping


@check("cloud-config", "error", "a cloud-config file that is not a valid YAML mapping")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    yield from mistakes_of(image, ("user-data",), find)


def find(file: File) -> Iterator[Mistake]:
    text = (file.text or "").lstrip()
    if text.split("\n", 1)[0].rstrip() == "#cloud-config":
        root = yaml_mapping(file)
        if isinstance(root, tuple):
            yield root
