"""A check for secrets in files that every user in the instance can read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from ...model.source import printable
from ...pongo2.syntax.tokens import IDENTIFIER, NUMBER, STRING, Token
from ..base import Observation, check, mode_of
from ..scanned_image import ScannedImage
from ..template_tokens import PRINTING, UNFOLLOWED, bound_names, parts_of

if TYPE_CHECKING:
    from ...model.metadata import Rule
    from ...model.source import Source

WORDS = ("password", "passwd", "secret", "token", "private", "credential")
#: filters whose output does not show the value
HIDING = ("length", "length_is", "yesno")


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
            if key.kind == COMPUTED:
                yield Observation(
                    f"the template computes the name of a configuration key, so the value that it writes to "
                    f"'{printable(rules[0].path)}' (mode {mode_of(rules[0]):04o}) may be a secret",
                    key.unit.span(key.start, key.end),
                    severity="info",
                )
                continue
            if key.kind == UNFOLLOWED:
                yield Observation(
                    f"templater cannot follow all variables, so the template may write a secret to "
                    f"'{printable(rules[0].path)}', mode {mode_of(rules[0]):04o}",
                    key.unit.span(key.start, key.end),
                )
                continue
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

    A sum of strings, such as ``"user.to" + "ken"``, counts as one string.

    If the template prints a variable, also yield such strings in the tag that sets the variable.

    If the template can print the whole configuration (with a loop, the filter stringformat or a macro), yield
    the name ``config``, or the variable that has the same map as its value.

    If no such string is found, yield a token of the kind ``COMPUTED`` for the name of a configuration key
    that the template computes, such as ``"user.paXssword"|cut:"X"``.

    If not all variables of the template can be followed, yield a token of the kind ``UNFOLLOWED``.
    """
    secrets: dict[str, list[Token]] = {}
    values: dict[str, list[Token]] = {}  # values of computed keys
    keys: dict[str, list[Token]] = {}  # keys are public, but the value of config_get(key) can be secret
    maps = {"config"}
    computed = _ComputedKeys()
    seen: set[int] = set()
    for kind, part in parts_of(source, secrets, values, keys, maps, *computed.names()):
        if kind == UNFOLLOWED:
            yield Token(UNFOLLOWED, "", part[0].start, part[-1].end, part[0].unit)
            continue
        bound = bound_names(kind, part)
        new = set(bound)
        found = [*_strings_with_words(part)]
        read_values: list[Token] = []
        read_keys: list[Token] = []
        for name, is_argument in _names_in(part):
            found += secrets.get(name, ())
            found += keys.get(name, ()) if is_argument else ()
            read_values += values.get(name, ())
            read_keys += keys.get(name, ()) if name not in new else ()
        for name in bound if read_keys else ():
            keys[name] = read_keys[:_MOST]
        whole = list(_read_whole(kind, part, maps))
        # a list of maps, such as [config]
        is_list = any(token.kind == "[" and before.kind not in _ENDS for before, token in pairwise(part))
        if whole and kind in ("set", "with", "macro") and not is_list:
            maps.update(bound)
        content = [token for token, is_content in whole if is_content or is_list]
        if kind == "for" and content and bound and not is_list:
            keys[bound.pop(0)] = content[:_MOST]
        found += content
        read_values += computed.read(kind, part, maps)
        computed.bind(kind, part, bound)
        found = found or read_values
        if kind in PRINTING or (kind == "widthratio" and not bound):
            yield from (token for token in found if token.start not in seen)
            seen.update(token.start for token in found)
        for name in bound if found else ():
            (values if found[0].kind == COMPUTED else secrets)[name] = found[:_MOST]


def _names_in(part: list[Token]) -> Iterator[tuple[str, bool]]:
    """Yield each name whose value a part can show, and whether it is in an argument or a subscript."""
    calls: list[bool] = []  # for each open bracket, whether it or an outer one has arguments or a subscript
    for before, token, after, last in zip(part, part[1:], part[2:], [*part[3:], part[-1]], strict=False):
        if token.kind in ("(", "["):
            calls.append(token.kind == "[" or before.kind == IDENTIFIER or any(calls[-1:]))
        elif token.kind in (")", "]"):
            del calls[-1:]
        elif token.kind == IDENTIFIER and not (after.kind == "|" and last.value in HIDING):
            yield token.value, any(calls[-1:])


def _strings_with_words(part: list[Token]) -> Iterator[Token]:
    """Yield each string, and each sum of strings, that contains one of ``WORDS``."""
    pieces: list[Token] = []
    is_added = False
    for token in part:
        if token.kind == STRING:
            if has_word(token):
                yield token
            if not is_added:
                yield from _sum_with_word(pieces)
                pieces = []
            pieces.append(token)
            is_added = False
        elif token.kind == "+" or token.value == "add":
            is_added = True
        elif token.kind not in ("(", ")", "|", ":"):
            yield from _sum_with_word(pieces)
            pieces, is_added = [], False


def _sum_with_word(pieces: list[Token]) -> Iterator[Token]:
    if len(pieces) > 1 and not any(map(has_word, pieces)):
        text = "".join(piece.value for piece in pieces)
        token = Token(STRING, text, pieces[0].start, pieces[-1].end, pieces[0].unit)
        if has_word(token):
            yield token


def _read_whole(kind: str, part: list[Token], maps: set[str]) -> Iterator[tuple[Token, bool]]:
    """Yield the names in ``maps`` that a part reads without a key, and whether it can print all values."""
    is_formatted = any(token.value == "stringformat" for token in part)
    # one value of the map, or a name that the part binds
    others = (".", "[", "(", "=", *((",", "in") if kind == "for" else ()))
    for before, token, after in zip(part, part[1:], part[2:], strict=False):
        is_map = token.kind == IDENTIFIER and token.value in maps and before.kind not in (".", "|")
        if is_map and after.kind not in others:
            yield token, kind == "for" or before.kind in ("(", ",") or (is_formatted and after.kind == "|")


#: the kind of a token that stands for a computed name of a configuration key
COMPUTED = "computed key"
#: filters that show their value and their argument unchanged
_PLAIN_FILTERS = {"add", "default", "default_if_none", "safe"}
#: the names of values that a template gets from the daemon
_DATA = {"config", "config_get", "container", "devices", "instance", "path", "properties", "trigger"}
#: a longer expression counts as computed
_MOST_TOKENS = 50
#: the kinds of the last tokens of values, before the bracket of an argument or a subscript
_ENDS = (IDENTIFIER, NUMBER, ")", "]")


class _ComputedKeys:
    """A search for configuration keys whose names a template computes, so that no string shows the names.

    The search follows the variables of the template.
    """

    def __init__(self) -> None:
        self.getters = {"config_get"}
        self.bound: set[str] = set()
        self.undecided: set[str] = set()
        #: bound names that are used as keys, and getters that are used without arguments
        self.indirect: set[str] = set()

    def names(self) -> tuple[set[str], ...]:
        return self.getters, self.bound, self.undecided, self.indirect

    def read(self, kind: str, part: list[Token], maps: set[str]) -> Iterator[Token]:
        """Yield the computed keys that a part reads."""
        root = ""  # the name at the start of a value, such as x in x.0("a")
        outer: list[str] = []
        for before, token, number in zip(part, part[1:], range(2, len(part)), strict=False):
            if token.kind in ("(", "["):
                is_getter = root in self.getters or root in maps
                is_call = token.kind == "(" and (kind, number) != ("macro", 4)
                is_macro = is_call and bool(self.indirect) and root in self.bound
                if before.kind in _ENDS and (is_getter or is_macro):
                    key = _key(part, number, is_macro=not is_getter)
                    if self.is_computed(key):
                        yield Token(COMPUTED, "", key[0].start, key[-1].end, key[0].unit)
                    elif is_getter:
                        self.indirect.update(each.value for each in key if each.value in self.bound)
                outer.append(root)
            elif token.kind in (")", "]"):
                root = outer.pop() if outer else ""
            elif token.kind == IDENTIFIER and before.kind not in (".", "|"):
                root = token.value
                if root in self.getters and part[number].kind != "(":
                    self.indirect.add(root)

    def bind(self, kind: str, part: list[Token], names: list[str]) -> None:
        """Follow the names that a part gives to values."""
        if names:
            whole = [token for token, after in pairwise(part) if after.kind != "("]
            if any(token.kind == IDENTIFIER and token.value in self.getters for token in whole):
                self.getters.update(names)
            if self.is_computed(part[4 if kind == "macro" else 2 :]):
                self.undecided.update(names)
        self.bound.update(names)
        if kind == "macro":
            self.bound.add(part[2].value)

    def is_computed(self, tokens: list[Token]) -> bool:
        """Return whether a value has a filter or a call, or reads a value that no string shows."""
        if len(tokens) > _MOST_TOKENS:
            return True
        names, filters = set(), set()
        for before, token in zip([None, *tokens], tokens, strict=False):
            if token.kind == IDENTIFIER and before is not None and before.kind == "|":
                filters.add(token.value)
            elif token.kind == IDENTIFIER and (before is None or before.kind != "."):
                names.add(token.value)
            elif token.kind == "(" and before is not None and before.kind in _ENDS:
                return True
        is_sum = "add" in filters or any(token.kind == "+" for token in tokens)
        return bool(filters - _PLAIN_FILTERS) or any(
            name in self.undecided or name in _DATA or (is_sum and name in self.bound) for name in names
        )


def _key(part: list[Token], start: int, *, is_macro: bool) -> list[Token]:
    """Return the tokens of the first argument or of the subscript, from the index ``start`` on.

    For a macro, return the tokens of all arguments.
    """
    depth = 0
    key = part[start : start + 1]
    for token in part[start : start + _MOST_TOKENS + 1]:
        if not depth and (token.kind in (")", "]") or (token.kind == "," and not is_macro)):
            break
        depth += (token.kind in ("(", "[")) - (token.kind in (")", "]"))
        if token is not key[0]:
            key.append(token)
    return key


#: limit on the secrets that one name stands for
_MOST = 8


def has_word(token: Token) -> bool:
    return any(word in token.value.lower() for word in WORDS)
