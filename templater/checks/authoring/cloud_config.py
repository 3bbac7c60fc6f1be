"""A user-data or vendor-data file begins with `#cloud-config`, but the rest of the file is not valid.

After `#cloud-config`, the file must be YAML with a mapping at the top level. cloud-init ignores a file
without such a mapping.

If cloud-init's JSON schema is installed, the check compares keys and values with the schema. When an instance
starts, cloud-init only warns about a wrong key or value, and may ignore the key.

If cloud-init is not installed, set the environment variable `TEMPLATER_CLOUD_INIT_SCHEMAS` to a folder with
cloud-init's `schema-*.json` files. The comparison with the schema also needs the Python package `jsonschema`,
which templater's extra `check` installs.
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
