"""A check for secrets in files that every user in the instance can read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...model.source import printable
from ...pongo2.syntax.tokens import IDENTIFIER, STRING, Token
from ..base import Observation, check, mode_of
from ..scanned_image import ScannedImage
from ..template_tokens import PRINTING, bound_names, parts_of

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
            is_string = key.kind == STRING  # without its quotes
            others = f" and {len(rules) - 1} more" if len(rules) > 1 else ""
            yield Observation(
                f"the template writes '{printable(key.value)}' to '{printable(rules[0].path)}'{others}, "
                f"mode {mode_of(rules[0]):04o}",
                key.unit.span(key.start + is_string, key.end - is_string),
                hint="set mode: 0600 in the rule (LXD ignores the mode)",
            )


def secrets_of(source: Source) -> Iterator[Token]:
    """Yield each string in a printed expression that contains one of ``WORDS``, such as ``"user.token"``.

    If the template prints a variable, also yield such strings in the tag that sets the variable. Yield
    ``config`` if the template prints a variable of a loop over ``config``.
    """
    secrets: dict[str, list[Token]] = {}
    seen: set[int] = set()
    for kind, part in parts_of(source):
        found = [token for token in part if token.kind == STRING and has_word(token)]
        found += [each for token in part if token.kind == IDENTIFIER for each in secrets.get(token.value, ())]
        if kind == "for" and part[-2].value == "config" and part[-2].kind == IDENTIFIER:
            found.append(part[-2])
        if kind in PRINTING:
            yield from (token for token in found if token.start not in seen)
            seen.update(token.start for token in found)
        for name in bound_names(kind, part) if found else ():
            secrets[name] = found[:_MOST]


#: limit on the secrets that one name stands for
_MOST = 8


def has_word(token: Token) -> bool:
    return any(word in token.value.lower() for word in WORDS)
