"""metadata.yaml contains a key that the daemons ignore.

Usually, the key is misspelled, such as `create-only` instead of `create_only`.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.metadata import UNCOUNTED
from ..authored_image import AuthoredImage
from ..base import Fix, Observation, check
from ..typos import only_candidate

#: the keys of metadata.yaml and of a rule
KEYS = (
    "architecture", "create_only", "creation_date", "expiry_date", "gid", "mode", "properties", "template",
    "templates", "uid", "when",
)  # fmt: skip


@check("metadata-key", "warning", "an unknown key in metadata.yaml that is probably misspelled")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for found in image.metadata.findings if image.metadata is not None else ():
        if found.code == "unknown-key" and found.message == UNCOUNTED:
            yield Observation(found.message, found.span)
        elif found.code == "unknown-key" and "did you mean" in found.message:
            name = corrected(found.span.text)
            yield Observation(found.message, found.span, fix=Fix(((found.span, name),)) if name else None)


def corrected(name: str) -> str:
    normal = name.lower().replace("-", "_")
    return normal if normal in KEYS else only_candidate(normal, KEYS)
