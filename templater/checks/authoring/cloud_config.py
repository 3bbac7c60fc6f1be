"""A user-data or vendor-data file begins with `#cloud-config`, but the rest of the file is not valid.

cloud-init ignores the file if the rest is not a YAML mapping.

If cloud-init's JSON schema is installed, the check also compares keys and values with the schema. cloud-init
only warns about a wrong key or value, and may ignore the key.

The comparison needs the Python package `jsonschema`, which templater's extra `check` installs. Without
cloud-init, set `TEMPLATER_CLOUD_INIT_SCHEMAS` to a folder with cloud-init's `schema-*.json` files.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..mistakes_in_files import Mistake, mistakes_of, validated, yaml_mapping
from ..rendered_files import File


@check("cloud-config", "error", "a cloud-config file that is not a valid YAML mapping", validated=True)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    yield from mistakes_of(image, ("user-data",), find, lambda file: validate(image, file))


def validate(image: AuthoredImage, file: File) -> list[Mistake]:
    return validated(image, "cloud-init's schemas", file, "user-data") if applies(file) else []


def applies(file: File) -> bool:
    return (file.text or "").lstrip().split("\n", 1)[0].rstrip() == "#cloud-config"


def find(file: File) -> Iterator[Mistake]:
    if applies(file):
        root = yaml_mapping(file)
        if isinstance(root, tuple):
            yield root
