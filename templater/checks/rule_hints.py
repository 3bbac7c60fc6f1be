"""Hints that tell an author how to change a rule in metadata.yaml or in a definition."""

from __future__ import annotations

from ..model.metadata import TRIGGERS, Rule
from .authored_image import AuthoredImage


def hint_of_mode(image: AuthoredImage) -> str:
    """Return a hint that tells the author how to give a file the mode 0600."""
    if image.definition is not None:
        keeps = "the daemon keeps this mode (since LXD 6.8, only in containers)"
        return f"also create the file with the generator 'dump' and the mode 0600: {keeps}"
    return "set mode: 0600 in the rule (LXD ignores the mode)"


def hint_of_trigger(image: AuthoredImage, rule: Rule, added: str) -> str:
    """Return a hint that tells the author how to add a trigger to a rule.

    In a definition, the hint names all triggers, because `template.when` replaces the default triggers.
    """
    if image.definition is None:
        return f"add '{added}' to 'when'"
    names = (trigger for trigger in TRIGGERS if trigger in (*rule.when, added))
    return f"set template.when: [{', '.join(names)}]"
