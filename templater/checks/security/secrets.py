"""A check for secrets in files that every user in the instance can read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...model.unprintable_characters import printable
from ...pongo2.syntax.tokens import IDENTIFIER, STRING, TEXT, Token
from ..base import Observation, check
from ..maps_and_computed_keys import COMPUTED, HIDING, ComputedKeys, Maps
from ..rule_hints import hint_of_mode
from ..scanned_image import ScannedImage
from ..secret_conditions import (
    MOST_HELD,
    TESTING,
    Changes,
    SecretTests,
    Tests,
    distinct,
    hold,
    places_in,
)
from ..secret_words import SUM, strings_with_words
from ..template_tokens import PRINTING, UNFOLLOWED, bound_at, parts_of, values_in

if TYPE_CHECKING:
    from ...model.metadata import Rule
    from ...model.source import Source

#: the kind of a token that stands for a secret that conditions of the template reveal
TESTED = "tested secret"


@check("readable-secret", "medium", "a template that writes a secret to a file that every user can read")
def check_image(image: ScannedImage) -> Iterator[Observation]:
    """Find configuration keys whose names suggest a secret.

    If several rules use the same template, the finding names the first rule.

    A template can compute the name of a key, for example with filters or in several tags. A search for
    ``WORDS`` can't find this name, but the key may hold a secret. So the check reports a computed name with a
    low severity.
    """
    readable: dict[str, list[Rule]] = {}
    for rule in image.rules:
        if image.file_mode(rule) & 0o004:
            readable.setdefault(rule.template, []).append(rule)
    tests: Tests = {}
    for source in image.sources(readable):
        rules = readable[source.name.removeprefix(f"{image.name}/templates/")]
        path, mode = printable(rules[0].path), f"mode {image.file_mode(rules[0]):04o}"
        for key in secrets_of(source, tests):
            if key.kind == COMPUTED:
                yield Observation(
                    f"the template computes the name of a configuration key, so the value that it writes to "
                    f"'{path}' ({mode}) may be a secret",
                    key.unit.span(key.start, key.end),
                    severity="low",
                )
                continue
            if key.kind == UNFOLLOWED:
                yield Observation(
                    "templater cannot follow all variables, so the template may write a secret to "
                    f"'{path}', {mode}",
                    key.unit.span(key.start, key.end),
                )
                continue
            is_string = key.kind in (STRING, SUM)  # without its quotes
            others = f" and {len(rules) - 1} more" if len(rules) > 1 else ""
            verb = "reveals" if key.kind == TESTED else "writes"
            where = "by conditions in" if key.kind == TESTED else "to"
            yield Observation(
                f"the template {verb} '{printable(key.value)}' {where} '{path}'{others}, {mode}",
                key.unit.span(key.start + is_string, key.end - is_string),
                hint=hint_of_mode(image, rules[0]),
            )


def secrets_of(source: Source, tested: Tests | None = None) -> Iterator[Token]:
    """Yield a token for each secret that a template can print, or can reveal by conditions.

    The kind of the token tells the reason:

    * ``STRING``: the template can print a string with one of ``WORDS``, such as ``"user.token"``
    * ``SUM``: the template can print such a string, which it joins from several parts
    * ``IDENTIFIER``: the template can print all values of the map with this name
    * ``TESTED``: conditions can show each character of this secret
    * ``COMPUTED``: the template computes the name of a configuration key
    * ``UNFOLLOWED``: the search can't follow all variables

    To count the tests of several templates together, give the same ``tested`` for each template.
    """
    secrets: dict[str, list[Token]] = {}
    values: dict[str, list[Token]] = {}  # values of computed keys
    keys: dict[str, list[Token]] = {}  # keys are public, but the value of config_get(key) can be secret
    maps = Maps()
    computed = ComputedKeys()
    changes = Changes()
    tests = SecretTests(
        source.name, secrets, values, keys, computed.bound, changes, {} if tested is None else tested
    )
    seen: set[int] = set()
    has_macros = False
    for kind, part in parts_of(
        source, secrets, values, keys, changes.names, tests.parameters, *maps.names(), *computed.names()
    ):
        if kind == UNFOLLOWED:
            yield Token(UNFOLLOWED, "", part[0].start, part[-1].end, part[0].unit)
            continue
        changes.visit(kind, part)
        if kind == TEXT:
            continue
        has_macros = has_macros or kind == "macro"
        is_printed = _can_print(kind, part, has_macros=has_macros)
        starts = bound_at(kind, part)
        bound = [part[number].value for number in starts]
        new = set(bound)
        read = list(values_in(part, starts))
        found = [*strings_with_words(part)]
        read_values: list[Token] = []
        read_keys: list[Token] = []
        read_names: set[str] = set()
        for name, is_argument in _names_in(part, starts):
            if name in secrets or name in values:
                read_names.add(name)
            found += secrets.get(name, ())
            found += keys.get(name, ()) if is_argument else ()
            read_values += values.get(name, ())
            read_keys += keys.get(name, ()) if name not in new else ()
        for name in bound if read_keys else ():
            keys[name] = read_keys[:MOST_HELD]
        content, looped = maps.read(kind, part, starts, read)
        found += content if is_printed or bound else ()
        places = places_in(kind, part, computed.bound, secrets) if kind in TESTING else []
        if looped:
            keys[bound[0]] = looped
            for name in bound[1:]:
                hold(secrets, name, distinct(looped))
        computed_keys = list(computed.read(kind, part, read, maps))
        read_values += computed_keys
        for token in tests.read(kind, part, places, starts, [*content, *computed_keys]):
            if token.start not in seen:
                yield token if token.kind == COMPUTED else _tested(token)
                seen.add(token.start)
        computed.bind(kind, part, bound)
        tests.bind(kind, bound)
        found = found or read_values
        # Conditions in a loop over a secret can show each character, so the loop counts as printing the
        # secret.
        if is_printed or kind == "for" or (kind == "widthratio" and not bound):
            yield from (token for token in found if token.start not in seen)
            seen.update(token.start for token in found)
        changes.bind(kind, part, places, starts, read_names)
        held = distinct(found)
        for name in bound if held else ():
            hold(values if held[0].kind == COMPUTED else secrets, name, held)


def _can_print(kind: str, part: list[Token], *, has_macros: bool) -> bool:
    """Return whether a tag or an expression can print the values that it reads."""
    # In pongo2 4 (LXD), an error in a macro becomes output. The error's text can quote a filter's argument.
    return kind in PRINTING or (has_macros and any(token.kind == ":" for token in part))


def _names_in(part: list[Token], bound: list[int]) -> Iterator[tuple[str, bool]]:
    """Yield the names whose values a tag or an expression can show.

    Each result is a pair: the name, and whether the name is in an argument or a subscript. ``bound`` has the
    indexes of the variables that the tag sets.
    """
    starts = set(bound)
    calls: list[bool] = []  # for each open bracket: is it, or one around it, for arguments or a subscript?
    quadruples = zip(part, part[1:], part[2:], [*part[3:], part[-1]], strict=False)
    for number, (before, token, after, last) in enumerate(quadruples, 1):
        if token.kind in ("(", "["):
            calls.append(token.kind == "[" or before.kind == IDENTIFIER or any(calls[-1:]))
        elif token.kind in (")", "]"):
            del calls[-1:]
        elif (
            token.kind == IDENTIFIER
            and number not in starts
            and (before.kind == ":" or not (after.kind == "|" and last.value in HIDING))
        ):
            yield token.value, any(calls[-1:])


def _tested(token: Token) -> Token:
    is_string = token.kind in (STRING, SUM)  # without its quotes
    return Token(TESTED, token.value, token.start + is_string, token.end - is_string, token.unit)
