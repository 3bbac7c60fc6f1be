"""`/etc/hostname` or `/etc/hosts` is written when an instance is created, but not when it is renamed.

A renamed instance keeps its old hostname. Image authors often want this, so the check is only
information.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..authored import AuthoredImage
from ..base import Fix, Observation, check


@check(
    "rename",
    "info",
    "a hostname that does not change when the instance is renamed",
    hint="add 'rename' to 'when'",
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for rule, path, _ in image.targets:
        if path in ("/etc/hostname", "/etc/hosts") and "create" in rule.when and "rename" not in rule.when:
            yield Observation(
                f"'{path}' keeps the old name after a rename",
                rule.spans.get("when", rule.spans["path"]),
                rule=rule,
                fix=Fix(fields={"when": (*rule.when, "rename")}, unsafe=True),
            )
