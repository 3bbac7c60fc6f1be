"""A check for secrets in files that every user in the instance can read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...model.source import printable
from ...pongo2.syntax.tokens import STRING, Token
from ..base import Observation, check, mode_of
from ..scanned_image import ScannedImage
from ..template_tokens import tokens_of

if TYPE_CHECKING:
    from ...model.metadata import Rule
    from ...model.source import Source

WORDS = ("password", "passwd", "secret", "token", "private", "credential")


@check("readable-secret", "medium", "a template that writes a secret to a file that every user can read")
def check_image(image: ScannedImage) -> Iterator[Observation]:
    """Find configuration keys whose names suggest a secret.

    If several rules use the same template, the finding names the first rule.
    """
    readable: dict[str, list[Rule]] = {}
    for rule in image.rules:
        if mode_of(rule) & 0o004:
            readable.setdefault(rule.template, []).append(rule)
    for source in image.sources(readable):
        rules = readable[source.name.removeprefix(f"{image.name}/templates/")]
        for key in secrets_of(source):
            others = f" and {len(rules) - 1} more" if len(rules) > 1 else ""
            yield Observation(
                f"the template writes '{printable(key.value)}' to '{printable(rules[0].path)}'{others}, "
                f"mode {mode_of(rules[0]):04o}",
                key.unit.span(key.start + 1, key.end - 1),
                hint="set mode: 0600 in the rule (LXD ignores the mode)",
            )


def secrets_of(source: Source) -> Iterator[Token]:
    """Yield each string that contains one of ``WORDS`` and is in a ``{{ }}`` expression of the template."""
    printed = False
    for token in tokens_of(source):
        if token.kind in ("{{", "}}"):
            printed = token.kind == "{{"
        elif printed and token.kind == STRING and any(word in token.value.lower() for word in WORDS):
            yield token
