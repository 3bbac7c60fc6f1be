"""Rules that write the instance's name, and rules that update the name after a copy or a rename."""

from __future__ import annotations

from collections.abc import Iterator

from ..model.metadata import Rule
from .authored_image import AuthoredImage

_FILES = ("/etc/HOSTNAME", "/etc/hostname", "/etc/hosts", "/etc/conf.d/hostname", "/etc/sysconfig/network")
_NAMES = {("instance", "name"), ("container", "name")}


def stale_after(image: AuthoredImage, trigger: str) -> Iterator[tuple[Rule, str]]:
    """Yield rules that write the instance's name on "create", but neither on ``trigger`` nor on "start".

    Each rule comes with the cleaned path of its target.
    """
    for rule, path in _with_name(image):
        if path in _FILES and "create" in rule.when and not _rewritten(rule, trigger):
            yield rule, path


def fresh_after(image: AuthoredImage, trigger: str) -> Iterator[tuple[Rule, str]]:
    """Yield the rules that write the instance's name on ``trigger`` or on "start".

    Each rule comes with the cleaned path of its target.
    """
    return ((rule, path) for rule, path in _with_name(image) if _rewritten(rule, trigger))


def _with_name(image: AuthoredImage) -> Iterator[tuple[Rule, str]]:
    named = {
        template.name for template in image.parsed if _NAMES & {read.path[:2] for read in template.reads}
    }
    return ((rule, path) for rule, path, _ in image.targets if rule.template in named)


def _rewritten(rule: Rule, trigger: str) -> bool:
    return not rule.create_only and bool({trigger, "start"} & set(rule.when))
