"""A rule writes the hostname when an instance is created, but not when it is renamed.

The check covers `/etc/hostname`, `/etc/HOSTNAME`, `/etc/hosts`, `/etc/conf.d/hostname` and
`/etc/sysconfig/network`.

Image authors often want to keep the old hostname, so the finding has only the severity `info`. The check
`copy` is about copies of an instance.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.unprintable_characters import printable
from ..authored_image import AuthoredImage
from ..base import Fix, Observation, check
from ..rule_hints import hint_of_trigger
from ..rules_with_instance_name import stale_after


@check(
    "rename",
    "info",
    "a hostname that does not change when the instance is renamed",
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for rule, path in stale_after(image, "rename"):
        if "rename" not in rule.when:
            yield Observation(
                f"after a rename, '{printable(path)}' still contains the old name",
                rule.spans.get("when", rule.spans["path"]),
                hint_of_trigger(image, rule, "rename"),
                rule=rule,
                fix=Fix(fields={"when": (*rule.when, "rename")}, unsafe=True),
            )
