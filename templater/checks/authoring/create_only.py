"""A rule with `create_only` writes a file that the image already contains.

With `create_only`, the daemons skip a target that exists. The image's own file always exists, so the
template is never used.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.unprintable_characters import printable
from ..authored_image import AuthoredImage
from ..base import Observation, check


@check(
    "create-only",
    "warning",
    "a rule with create_only for a file that the image contains",
    hint="remove create_only, or remove the file from the image",
    rootfs=True,
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for rule, path, resolved in image.targets:
        if rule.create_only and resolved.entry is not None:
            yield Observation(
                f"the image contains '{printable(path)}', so this rule never writes it",
                rule.spans.get("create_only") or rule.spans["path"],
                rule=rule,
            )
