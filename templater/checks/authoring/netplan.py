"""A file for netplan is not valid. The file must be YAML with a mapping `network` that contains `version: 2`.

    network:
      version: 2
      ethernets:
        eth0: {dhcp4: true}

The check also runs netplan's generator on the file. If netplan does not run, the check compares the keys of
interfaces with templater's own list.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...parsing.yaml_nodes import Mapping, Scalar, value_of
from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..mistakes_in_files import Mistake, mistakes_of, validated, yaml_mapping
from ..netplan_keys import unknown_keys
from ..rendered_files import File
from .network_config import version_2


@check("netplan", "error", "a file that netplan rejects", validated=True)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    yield from mistakes_of(image, ("netplan",), find, lambda file: validate(image, file))


def validate(image: AuthoredImage, file: File) -> Iterator[Mistake]:
    """Yield the mistakes that netplan finds. If netplan did not run, yield the unknown keys.

    netplan's message about an unknown key does not suggest a correct key. So templater adds its own hint.
    """
    root = yaml_mapping(file)
    unknown = list(unknown_keys(value_of(root, "network") or root)) if isinstance(root, Mapping) else []
    hints = {line: message.partition(": ")[2] for line, message, *_ in unknown}
    for line, message, *severity in validated(image, "netplan", file, "check.yaml"):
        hint = hints.get(line) if message.startswith("unknown key ") else ""
        yield line, message.replace(" (netplan)", f": {hint} (netplan)") if hint else message, *severity  # type: ignore[misc]
    if not (image.validators and image.validators.ran("netplan")):
        yield from unknown


def find(file: File) -> Iterator[Mistake]:
    root = yaml_mapping(file)
    if root is None:
        return
    if isinstance(root, tuple):
        yield root
        return
    network = value_of(root, "network")
    if not isinstance(network, Mapping):
        yield (root if network is None else network).line, "the mapping 'network' is missing"
        return
    version = value_of(network, "version")
    if isinstance(version, Scalar) and version.text != "2":
        yield version.line, "netplan supports only version 2"
        return
    yield from version_2(network)
