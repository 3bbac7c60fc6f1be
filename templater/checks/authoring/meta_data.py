"""The file `meta-data` of a NoCloud seed is not a YAML mapping, or has a misspelled key.

cloud-init ignores unknown keys, and ignores a seed if `meta-data` is not a mapping. Without the key
`instance-id`, each instance has the id `nocloud`. cloud-init then does not run again in a copied instance.

    instance_id: web1     wrong: cloud-init uses the underscore only in its own templates
    instance-id: web1     right
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.unprintable_characters import printable
from ...parsing.yaml_nodes import pairs
from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..mistakes_in_files import Mistake, mistakes_of, yaml_mapping
from ..rendered_files import File

#: the keys that cloud-init reads, by the key without its hyphens
KEYS = {name.replace("-", ""): name for name in ("instance-id", "local-hostname")}


@check("meta-data", "error", "a meta-data file that is not a YAML mapping, or a misspelled key in it")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    yield from mistakes_of(image, ("meta-data",), find)


def find(file: File) -> Iterator[Mistake]:
    root = yaml_mapping(file)
    if isinstance(root, tuple):
        yield root
        return
    names = {name for name, _, _ in pairs(root)}
    for name, key, _ in pairs(root):
        letters = "".join(filter(str.isalnum, name)).lower()
        meant = KEYS.get(letters, name)
        if meant not in names:
            yield key.line, f"cloud-init ignores '{printable(name)}': write '{meant}'", "warning"
