"""Files with the name of the instance that are out of date after the instance is copied or renamed."""

from __future__ import annotations

from collections.abc import Iterator

from ..model.metadata import Rule
from .authored import AuthoredImage

_FILES = ("/etc/HOSTNAME", "/etc/hostname", "/etc/hosts")
_NAMES = {("instance", "name"), ("container", "name")}


def stale_after(image: AuthoredImage, trigger: str) -> Iterator[tuple[Rule, str]]:
    """Yield each rule that writes the name on ``create``, but neither on ``trigger`` nor at each start.

    The second value is the cleaned path of the target.
    """
    named = {
        template.name for template in image.parsed if _NAMES & {read.path[:2] for read in template.reads}
    }
    for rule, path, _ in image.targets:
        rewritten = not rule.create_only and {trigger, "start"} & set(rule.when)
        if path in _FILES and rule.template in named and "create" in rule.when and not rewritten:
            yield rule, path
