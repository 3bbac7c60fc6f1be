"""The file meta-data of a NoCloud seed is not a YAML mapping.

cloud-init ignores a seed whose meta-data file is not a mapping.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..authored import AuthoredImage, File
from ..base import Observation, check
from ..rendered import Mistake, mistakes_of, yaml_mapping


@check("meta-data", "error", "a meta-data file that is not a YAML mapping")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    yield from mistakes_of(image, ("meta-data",), find)


def find(file: File) -> Iterator[Mistake]:
    root = yaml_mapping(file)
    if isinstance(root, tuple):
        yield root
