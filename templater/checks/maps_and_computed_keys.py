"""Uses of the maps that daemons pass to a template, and uses of keys with computed names.

The check ``readable-secret`` finds these uses, even if a template first assigns the map or the name to a
variable.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from ..pongo2.syntax.parser import LOGIC
from ..pongo2.syntax.tokens import IDENTIFIER, NUMBER, Token
from .template_tokens import Value

#: filters whose output does not show the value
HIDING = ("length", "length_is", "yesno")


class Maps:
    """The names of the maps whose values can be secrets.

    * ``one``: maps of texts, such as ``config``
    * ``nested``: maps of maps, such as ``devices``
    * ``lists``: variables that can contain a list of devices, or an item of such a list
    """

    def __init__(self) -> None:
        self.one = {"config"}
        self.nested = {"devices"}
        self.lists: set[str] = set()

    def names(self) -> tuple[set[str], ...]:
        return self.one, self.nested, self.lists

    def read(
        self, kind: str, part: list[Token], bound: list[int], values: list[Value]
    ) -> tuple[list[Token], list[Token]]:
        """Record the variables to which a tag assigns a map. Return two lists of tokens that name maps:

        * the maps that the tag uses without a key, if the output can show their values
        * the maps of texts over which the tag loops

        ``part`` has the tokens of the tag. ``bound`` has the indexes of the variables that the tag sets.
        """
        content: list[Token] = []
        looped: list[Token] = []
        for value in values:
            token, before, after = part[value.start], part[value.start - 1], part[value.end]
            missing = self.missing_keys(part, value)
            is_last = after.kind in ("%}", IDENTIFIER)
            if not missing or _is_hidden(part, value) or _is_only_tested(kind, part, value):
                continue
            if kind == "{{" and before is part[0] and after.kind == "}}":
                continue  # pongo2 prints "<map[string]string Value>"
            is_list = token.value in self.lists or any(part[n + 1].value in _LISTS for n in value.accesses)
            if kind == "for" and bound and value.start == bound[-1] + 2 and is_last:
                if missing == 1:
                    looped.append(token)
                else:
                    self.one.update(part[number].value for number in (bound if is_list else bound[1:]))
            elif kind in ("set", "with") and before.kind == "=" and is_last:
                self.bind(part[value.start - 2].value, missing, is_list=is_list)
            elif kind == "with" and value.start == 2 and after.kind == "as":
                self.bind(part[value.end + 1].value, missing, is_list=is_list)
            else:
                content.append(token)
        return content, looped

    def missing_keys(self, part: list[Token], value: Value) -> int:
        """Return the number of keys that ``value`` lacks to select a text, or 0 if it names no map."""
        name = part[value.start].value
        count = 2 if name in self.nested else int(name in self.one)
        return max(0, count - sum(1 for number in value.accesses if is_key(part, number))) if count else 0

    def bind(self, name: str, missing: int, *, is_list: bool) -> None:
        (self.one if missing == 1 else self.nested).add(name)
        if is_list:
            self.lists.add(name)

    def keys_of(self, name: str) -> int:
        """Return how many keys are needed to select a text from ``name``, or 0 if ``name`` is not a map."""
        return 1 if name in self.one else 2 * (name in self.nested)


def _is_only_tested(kind: str, part: list[Token], value: Value) -> bool:
    """Return whether a condition only tests whether a map has any entry, or has a certain key."""
    before, after = part[value.start - 1], part[value.end]
    if before.kind == "in":
        return kind != "for" and after.kind in (*LOGIC, ",", ")", "%}", "}}")
    begins = value.start == 2 or before.kind in (*LOGIC, "not", "!")
    return kind in ("if", "elif") and begins and after.kind in (*LOGIC, "%}")


def _is_hidden(part: list[Token], value: Value) -> bool:
    return part[value.end].kind == "|" and part[value.end + 1].value in HIDING


#: methods and fields of devices in Go that give the devices, their list, or one device
_LISTS = ("Reversed", "Sorted")
_SAME = ("Clone", "CloneNative", "Config", *_LISTS)


def is_key(part: list[Token], number: int) -> bool:
    """Return whether a subscript or an attribute selects a value of a map."""
    token = part[number + 1]
    return part[number].kind == "[" or (part[number].kind == "." and token.value not in _SAME)


#: the kind of a token that stands for a computed name of a configuration key
COMPUTED = "computed key"
#: filters that show their value and their argument unchanged
_PLAIN_FILTERS = {"add", "default", "default_if_none", "safe"}
#: the names of values that a template gets from the daemon
_DATA = {"config", "config_get", "container", "devices", "instance", "path", "properties", "trigger"}
#: a longer expression counts as computed
_MOST_TOKENS = 50


class ComputedKeys:
    """A search for configuration keys with computed names, such as ``"user.paXssword"|cut:"X"``."""

    # No string in the template contains the whole name, so the search tracks the template's variables.

    def __init__(self) -> None:
        self.getters = {"config_get"}
        self.bound: set[str] = set()
        self.undecided: set[str] = set()
        #: variables that are used as keys, and names of ``config_get`` that are used without arguments
        self.indirect: set[str] = set()

    def names(self) -> tuple[set[str], ...]:
        return self.getters, self.bound, self.undecided, self.indirect

    def read(self, kind: str, part: list[Token], values: list[Value], maps: Maps) -> Iterator[Token]:
        """Yield the computed keys that a tag or an expression reads."""
        for value in values:
            name = part[value.start].value
            is_getter, is_macro = name in self.getters, bool(self.indirect) and name in self.bound
            if is_getter and part[value.start + 1].kind != "(":
                self.indirect.add(name)
            most = maps.keys_of(name)
            count = 0
            for number in value.accesses:
                count += is_key(part, number)
                is_call = part[number].kind == "(" and (kind, number) != ("macro", 3)
                is_read = (
                    is_getter if is_call else part[number].kind == "[" and (is_getter or 0 < most <= count)
                )
                if is_read or (is_call and is_macro):
                    key = _key(part, number + 1, is_macro=not is_read)
                    if self.is_computed(key):
                        yield Token(COMPUTED, "", key[0].start, key[-1].end, key[0].unit)
                    elif is_read:
                        self.indirect.update(each.value for each in key if each.value in self.bound)

    def bind(self, kind: str, part: list[Token], names: list[str]) -> None:
        """Record the variables that a tag sets.

        For each variable, also record whether its value is computed, and whether it can refer to
        ``config_get``.
        """
        if names:
            whole = [token for token, after in pairwise(part) if after.kind != "("]
            if any(token.kind == IDENTIFIER and token.value in self.getters for token in whole):
                self.getters.update(names)
            if self.is_computed(part[4 if kind == "macro" else 2 :]):
                self.undecided.update(names)
        self.bound.update(names)
        if kind == "macro":
            self.bound.add(part[2].value)
            self.undecided.add(part[2].value)  # pongo2 also calls a macro that is named without brackets

    def is_computed(self, tokens: list[Token]) -> bool:
        """Return whether an expression computes its value, for example with a filter or a call."""
        if len(tokens) > _MOST_TOKENS:
            return True
        names, filters = set(), set()
        for before, token in zip([None, *tokens], tokens, strict=False):
            if token.kind == IDENTIFIER and before is not None and before.kind == "|":
                filters.add(token.value)
            elif token.kind == IDENTIFIER and (before is None or before.kind != "."):
                names.add(token.value)
            elif token.kind == "(" and before is not None and before.kind in (IDENTIFIER, NUMBER, ")", "]"):
                return True
        is_sum = "add" in filters or any(token.kind == "+" for token in tokens)
        return bool(filters - _PLAIN_FILTERS) or any(
            name in self.undecided or name in _DATA or (is_sum and name in self.bound) for name in names
        )


def _key(part: list[Token], start: int, *, is_macro: bool) -> list[Token]:
    """Return the tokens of the key at the index ``start``: a subscript, or the first argument of a call.

    For a call of a macro, return the tokens of all arguments.
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
