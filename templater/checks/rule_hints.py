"""Hints that tell an author how to change a rule in metadata.yaml or in a definition."""

from __future__ import annotations

from ..model.metadata import TRIGGERS, Rule
from .base import mode_of
from .scanned_image import ScannedImage


def hint_of_mode(image: ScannedImage, rule: Rule) -> str:
    """Return a hint that tells the author how to give the file of a rule the mode 0600."""
    if image.definition is not None:
        return (
            "add an entry for this file with the generator 'dump' and the mode 0600: the daemon keeps this"
            " mode (LXD 6.8 and newer keep the mode only in containers)"
        )
    if image.kept_mode(rule) is not None:
        return "give the file in rootfs the mode 0600, because the daemon keeps the mode of an existing file"
    if image.is_dangling(rule):
        return "use the path of the link's target in the rule: Incus 6 ignores the mode for a dangling link"
    if not mode_of(rule) & 0o004:
        return "set 'mode: 0600' in every rule that writes this file (LXD ignores the mode)"
    return "set 'mode: 0600' in the rule (LXD ignores the mode)"


def hint_of_trigger(image: ScannedImage, rule: Rule, added: str) -> str:
    """Return a hint that tells the author how to add the trigger ``added`` to a rule."""
    if image.definition is None:
        return f"add '{added}' to 'when'"
    # The hint lists all triggers, because ``template.when`` replaces the default triggers.
    names = (trigger for trigger in TRIGGERS if trigger in (*rule.when, added))
    return f"set template.when: [{', '.join(names)}]"
