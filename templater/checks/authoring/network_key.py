"""The network configuration of a NoCloud seed has a top-level key `network`.

cloud-init before 22.2 rejects the key `network` in a NoCloud seed. At the top level, write `version`, and
either `config` or `ethernets`. Every release of cloud-init accepts these keys.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...parsing.yaml_nodes import pairs
from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..mistakes_in_files import Mistake, mistakes_of, yaml_mapping
from ..rendered_files import File


@check(
    "network-key",
    "info",
    "a top-level key 'network' in the network configuration of a NoCloud seed",
    hint="move the contents of 'network' to the top level",
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    yield from mistakes_of(image, ("network-config",), find)


def find(file: File) -> Iterator[Mistake]:
    root = yaml_mapping(file)
    if root is not None and not isinstance(root, tuple):
        for name, key, _ in pairs(root):
            if name == "network":
                yield key.line, "cloud-init before 22.2 rejects the key 'network'"
