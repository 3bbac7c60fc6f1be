"""Secrets in files that everybody in the instance may read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...model.errors import TemplaterError
from ...model.permissions import parse_mode
from ...model.source import printable
from ..survey import Sight, Survey, check

if TYPE_CHECKING:
    from ...model.metadata import Rule

SECRET = re.compile(
    r"""["'](?P<key>[^"'\n]*(?:password|passwd|secret|token|private|credential)[^"'\n]*)["']""", re.I
)


@check("readable-secret", "medium", "a template that uses a secret, into a file that everybody may read")
def look(survey: Survey) -> Iterator[Sight]:
    for rule in survey.rules:
        source = survey.source(rule)
        if source is None or not mode_of(rule) & 0o004:
            continue
        for found in SECRET.finditer(source.text):
            if "{{" in source.text[max(0, found.start() - 80) : found.start()]:
                yield Sight(
                    f"'{printable(found['key'])}' goes to '{printable(rule.path)}', mode {mode_of(rule):04o}",
                    source.span(*found.span("key")),
                    hint="give the rule mode: 0600 (LXD ignores it)",
                )


def mode_of(rule: Rule) -> int:
    try:
        return parse_mode(rule.mode, rule)
    except TemplaterError:
        return 0o644
