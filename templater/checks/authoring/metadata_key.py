"""metadata.yaml contains a key that the daemons ignore.

Usually, the key is misspelled, such as `create-only` instead of `create_only`.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..authored import AuthoredImage
from ..base import Observation, check


@check("metadata-key", "warning", "an unknown key in metadata.yaml that is close to a known key")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for found in image.metadata.findings if image.metadata is not None else ():
        if found.code == "unknown-key" and "did you mean" in found.message:
            yield Observation(found.message, found.span)
