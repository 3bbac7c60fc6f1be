"""A rule has an unknown trigger, or no trigger at all.

The triggers are `create`, `copy`, `start` and `rename`. The daemons ignore every other word, so a
rule with only unknown words never writes its file.

    when: [boot]       wrong: never written
    when: [start]      right

An author can switch off a rule with an empty word, as in `when: [""]`. For an empty word, the finding has
only the severity `info`.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.metadata import TRIGGERS, Rule
from ..authored_image import AuthoredImage
from ..base import Fix, Observation, check
from ..typos import only_candidate

#: maximum number of triggers of a rule that a fix can correct
MAX_TRIGGERS = 20


@check(
    "unknown-when",
    "error",
    "a rule with an unknown trigger, or without a trigger",
    hint="use create, copy, start or rename",
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    rules = {id(span): rule for rule in image.rules for span in rule.spans.values()}
    fixes: dict[int, Fix | None] = {}
    for found in image.metadata.findings if image.metadata is not None else ():
        if found.code in ("unknown-trigger", "empty-trigger", "no-trigger"):
            rule = rules.get(id(found.span))
            if id(rule) not in fixes:
                fixes[id(rule)] = corrected(rule)
            severity = "info" if found.code == "empty-trigger" else ""
            yield Observation(found.message, found.span, severity=severity, rule=rule, fix=fixes[id(rule)])


def corrected(rule: Rule | None) -> Fix | None:
    """Return a fix that corrects every misspelled trigger of a rule.

    Return None if one of the triggers can't be corrected. Also return None if the rule has no triggers, or
    too many triggers.
    """
    if rule is None or len(rule.when) > MAX_TRIGGERS:
        return None
    when = tuple(
        trigger if trigger in TRIGGERS else only_candidate(trigger, TRIGGERS) for trigger in rule.when
    )
    return Fix(fields={"when": tuple(dict.fromkeys(when))}) if when and all(when) else None
