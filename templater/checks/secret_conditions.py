"""Conditions that reveal a part of a secret, not only whether the secret is set.

Each condition can reveal one more bit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from ..pongo2.syntax.parser import LOGIC
from ..pongo2.syntax.tokens import IDENTIFIER, NUMBER, STRING, TEXT, Token
from .maps_and_computed_keys import COMPUTED
from .secret_words import as_sum, strings_with_words

#: The maximum number of different tests of one secret that are not reported. A few tests are allowed, because
#: a harmless setting can have a suspicious name.
MOST_TESTS = 8
#: the texts of the tests of each secret, by the secret's name; all secrets without a fixed name share one
#: entry
Tests = dict[str, set[str]]
#: limit on the number of secrets that one variable can hold
MOST_HELD = 8


def distinct(tokens: list[Token]) -> list[Token]:
    """Return the first of the tokens for each different secret, but at most ``MOST_HELD`` tokens."""
    first: dict[str | int, Token] = {}
    for token in tokens:
        first.setdefault(token.value or token.start, token)
    return [*first.values()][:MOST_HELD]


def hold(holders: dict[str, list[Token]], name: str, tokens: list[Token]) -> None:
    """Add secrets to the secrets that a variable can hold, up to ``MOST_HELD``.

    If the secret that reaches the limit is a string, its token gets the kind ``SUM``.
    """
    held = holders.setdefault(name, [])
    for token in tokens:
        if len(held) < MOST_HELD and len(distinct([*held, token])) > len(held):
            is_last = len(held) == MOST_HELD - 1 and token.kind == STRING
            held.append(as_sum([token]) if is_last else token)


#: tags that test values, or assign values to variables that another tag can test
TESTING = ("if", "elif", "ifequal", "ifnotequal", "ifchanged", "set", "with", "macro", "widthratio")
#: the tags in ``TESTING`` that only set variables
_BINDING = ("set", "with", "macro")
_JOINING = ("+", "-", "*", "/", "%", "^")
_COMPARING = ("==", "!=", "<>", "<", "<=", ">", ">=", "in", *_JOINING)
#: The names whose values can differ between renders. For example, rules with the same template can have
#: different paths.
_VARYING = ("forloop", "path", "trigger")
#: filters with which a condition still shows only whether its value is set
_UNSELECTIVE = (
    "capfirst",
    "default",
    "default_if_none",
    "escape",
    "length",
    "lower",
    "safe",
    "title",
    "upper",
)


class Place(NamedTuple):
    """The brackets around a token of a tag.

    * ``keys``: the number of keys that contain the token (see ``places_in``)
    * ``is_argument``: whether the token is inside a list, a call or a subscript
    * ``is_selection``: whether the token opens a list, or a call or subscript without a key
    """

    keys: int
    is_argument: bool
    is_selection: bool = False


def places_in(kind: str, part: list[Token], bound: Collection[str], secrets: Collection[str]) -> list[Place]:
    """Return a ``Place`` for each token of a tag. ``bound`` has the variables and macros of the template.

    A key is the first argument of the daemon's ``config_get``, or a subscript of a name. Subscripts of the
    variables in ``secrets`` are not keys.
    """
    # The variables in ``secrets`` hold texts.
    places: list[Place] = []
    opened: list[Place] = []
    place = Place(0, is_argument=False)
    first = 4 if kind == "macro" else 3  # a bracket after the name of the tag or macro is not a call
    for number, (before, token) in enumerate(zip([part[0], *part], part, strict=False)):
        if token.kind in (")", "]") and opened:
            place = opened.pop()
        elif token.kind == "," and opened:
            place = place._replace(keys=opened[-1].keys)
        if token.kind not in ("(", "["):
            places.append(place)
            continue
        is_access = number >= first and before.kind in (IDENTIFIER, NUMBER, ")", "]")
        is_plain = token.kind == "(" and not is_access
        is_getter = before.value == "config_get" and "config_get" not in bound
        is_key = is_access and before.kind == IDENTIFIER
        is_key = is_key and (is_getter if token.kind == "(" else before.value not in secrets)
        places.append(place._replace(is_selection=not is_key and not is_plain))
        opened.append(place)
        place = Place(place.keys + is_key, place.is_argument or not is_plain)
    return places


class SecretTests:
    """A search for conditions that reveal more about a secret than whether the secret is set.

    * ``secrets``: variables that hold secrets
    * ``values``: variables that hold a value whose key the template computes
    * ``keys``: variables that hold names of keys
    * ``bound``: all variables of the template
    * ``changes``: variables whose values change
    * ``texts``: for each secret, the texts of its tests in earlier templates
    """

    def __init__(
        self,
        template: str,
        secrets: dict[str, list[Token]],
        values: dict[str, list[Token]],
        keys: dict[str, list[Token]],
        bound: set[str],
        changes: Changes,
        texts: Tests,
    ) -> None:
        self.template = template
        self.changes = changes
        self.secrets = secrets
        self.values = values
        self.keys = keys
        self.bound = bound
        self.texts = texts
        #: the parameters of all macros, and the secrets and computed keys that calls can pass to them
        self.parameters: set[str] = set()
        self.passed: dict[str, list[Token]] = {}

    def read(
        self, kind: str, part: list[Token], places: list[Place], bound: list[int], others: list[Token]
    ) -> Iterator[Token]:
        """Yield each secret that a tag tests, if all tests so far can reveal many of its characters.

        * ``bound``: the indexes of the variables that the tag sets
        * ``others``: more tokens that are secrets, such as computed keys, and maps without a key
        """
        if kind not in TESTING:
            return
        words = {token.start: token for token in strings_with_words(part)}
        starts = {token.start: token for token in others}
        found = {}
        for number, (token, place) in enumerate(zip(part, places, strict=True)):
            if token.start in words and place.is_argument:
                found[number] = words[token.start]
            elif token.start in starts:
                found[number] = starts[token.start]
        ends = set(bound)
        operand: list[int] = []
        for number in range(2, len(part) - 1):
            is_logic = part[number].kind in (*LOGIC, "not", "!") and not places[number].is_argument
            if is_logic or number in ends:
                yield from self._operand(kind, part, places, operand, found)
                operand = []
            else:
                operand.append(number)
        yield from self._operand(kind, part, places, operand, found)

    def _operand(
        self, kind: str, part: list[Token], places: list[Place], operand: list[int], found: dict[int, Token]
    ) -> Iterator[Token]:
        """Yield the secrets in an operand of ``and``, ``or`` or ``not``.

        * ``operand``: the indexes of the operand's tokens
        * ``found``: the secrets that are not in variables, by the token's index
        """
        secrets: list[Token] = []
        sources: set[str] = set()
        ways: set[tuple[int, bool]] = set()  # for each secret: the keys around it, and whether it is a key
        variables: list[tuple[int, bool]] = []
        is_changed = selects = calls = False
        values = 0
        for number in operand:
            token, place = part[number], places[number]
            is_name = token.kind == IDENTIFIER and part[number - 1].kind not in (".", "|")
            own = list(self._secrets_at(token if is_name else None, place, found.get(number)))
            for tokens, is_key in own:
                secrets += tokens
                ways.add((place.keys, is_key))
                sources.add(token.value if is_name else "")
                selects = selects or place.keys > is_key
            if is_name and (token.value in self.bound or token.value in _VARYING):
                variables.append((number, bool(own)))
                is_changed = is_changed or (bool(own) and token.value in self.changes.names)
            if token.value == "random" and part[number - 1].kind == "|":  # differs in each iteration
                variables.append((number, False))
            if token.kind in ("(", "["):
                values += places[number + 1].keys > place.keys == 0
                selects = selects or (place.is_selection and place.keys > 0)
                calls = calls or (place.is_selection and token.kind == "(")
        if secrets and calls:
            self._pass(secrets)
        is_test = selects or _is_test(kind, part, operand, places)
        repeats = is_changed and self.changes.depth > 0
        if not secrets or not (is_test or calls or (repeats and kind not in _BINDING)):
            return
        is_one_value = ways == {(1, True)} and values == 1 and not selects
        varies = any(
            (len(sources) > 1 or not is_secret)
            and not (places[number].keys and is_one_value)  # the variable only selects the secret
            and (is_test or part[number + 1].kind != "(")
            for number, is_secret in variables
        )
        text = " ".join(part[number].value or part[number].kind for number in operand)
        if is_changed:  # at another position, an equal text can test another value
            text += f" {part[operand[0]].start} {self.template}"
        for token in secrets:
            # maps and sums can give one secret many names, so all of them count together
            texts = self.texts.setdefault(token.value if token.kind == STRING else token.kind, set())
            is_new = text not in texts and len(texts) <= MOST_TESTS
            if is_new:
                texts.add(text)
            if varies or repeats or (is_new and len(texts) > MOST_TESTS):
                yield token

    def _secrets_at(
        self, name: Token | None, place: Place, found: Token | None
    ) -> Iterator[tuple[list[Token], bool]]:
        """Yield lists of the secrets of a token. With each list, yield whether the token has only their keys.

        * ``name``: the token, if it is a variable
        * ``found``: the token's secret, if the secret is not in a variable
        """
        if found is not None:
            yield [found], found.kind != IDENTIFIER
        if name is not None:
            held = [*self.secrets.get(name.value, ()), *self.values.get(name.value, ())]
            keys = self.keys.get(name.value, []) if place.is_argument else []
            yield from ((tokens, is_key) for tokens, is_key in ((held, False), (keys, True)) if tokens)

    def bind(self, kind: str, names: list[str]) -> None:
        """Record the parameters of a macro. Each parameter holds the secrets of all calls in the template.

        Do nothing for other tags.
        """
        if kind == "macro":
            self.parameters.update(names)
            self._give(names)

    def _pass(self, tokens: list[Token]) -> None:
        """Record the secrets that a call passes. Every macro of the template may be the called macro."""
        size = sum(map(len, self.passed.values()))
        for token in tokens:
            hold(self.passed, COMPUTED if token.kind == COMPUTED else STRING, [token])
        if sum(map(len, self.passed.values())) > size:
            self._give(self.parameters)

    def _give(self, names: Collection[str]) -> None:
        for kind, tokens in self.passed.items():
            for name in names:
                hold(self.values if kind == COMPUTED else self.secrets, name, tokens)


class Changes:
    """The variables of a template whose new value depends on their old value.

    ``names`` has these variables, and all variables that are computed from them.
    """

    # In a loop or a macro, a condition can test a different value of such a variable in each run.

    def __init__(self) -> None:
        self.names: set[str] = set()
        #: number of loops and macros around the last part
        self.depth = 0
        #: the variables with secrets from which each variable is computed
        self._sources: dict[str, set[str]] = {}

    def visit(self, kind: str, part: list[Token]) -> None:
        """Update the number of loops and macros that are open after ``part``.

        After the last part of a round (see ``parts_of``), search for variables that depend on themselves.
        """
        if kind in ("for", "macro"):
            self.depth += 1
        elif kind in ("endfor", "endmacro"):
            self.depth = max(0, self.depth - 1)
        elif kind == TEXT and not part[0].end:  # the end of a round
            self.depth = 0
            self._find()

    def bind(
        self, kind: str, part: list[Token], places: list[Place], bound: list[int], sources: set[str]
    ) -> None:
        """Record the variables that a tag sets.

        ``sources`` has the variables with secrets that the tag reads.
        """
        if not sources:
            return
        has_values = kind in ("with", "macro") and len(bound) > 1  # each variable has a value of its own
        bound = bound if has_values else bound[:2]  # pongo2 refuses more variables in any other tag
        ends = [*bound[1:], len(part)] if has_values else [len(part)] * len(bound)
        keeps = kind in ("set", "with")
        for number, end in zip(bound, ends, strict=True):
            name = part[number].value
            value = [
                index
                for index in range(number if has_values else 2, end)
                if index not in (number, len(part) - 1)
            ]
            own = {part[index].value for index in value} & sources
            calls = any(part[index].kind == "(" and places[index].is_selection for index in value if keeps)
            if name in own and keeps and not calls and not _is_test(kind, part, value, places):
                own.remove(name)
            self._sources.setdefault(name, set()).update(own)

    def _find(self) -> None:
        """Find the variables that depend on themselves, or on a variable that depends on itself."""
        readers: dict[str, list[str]] = {}
        missing = {}
        for name, sources in self._sources.items():
            known = [source for source in sources if source in self._sources]
            missing[name] = len(known)
            for source in known:
                readers.setdefault(source, []).append(name)
        removed = [name for name, count in missing.items() if not count]
        for name in removed:
            for reader in readers.get(name, ()):
                missing[reader] -= 1
                if not missing[reader]:
                    removed.append(reader)
        self.names.update(missing.keys() - removed)


def _is_test(kind: str, part: list[Token], operand: list[int], places: list[Place]) -> bool:
    """Return whether an operand reveals more about a value than whether the value is set.

    For example, a comparison with a text reveals more.
    """
    outer = [number for number in operand if not places[number].keys]
    tokens = [part[number] for number in outer]
    kinds = ["", *(token.kind for token in tokens), ""]
    is_empty = [
        token.kind == STRING
        and not token.value
        and before not in (":", *_JOINING)
        and after not in ("|", *_JOINING)
        for before, token, after in zip(kinds, tokens, kinds[2:], strict=False)
    ]
    if kind in ("ifchanged", "widthratio"):
        return True
    if kind in ("ifequal", "ifnotequal") and not any(
        each and not places[number].is_argument for number, each in zip(outer, is_empty, strict=True)
    ):
        return True
    for number, token in enumerate(tokens):
        if token.kind in ("==", "!=", "<>") and any(is_empty[max(0, number - 1) : number + 2]):
            continue
        after = tokens[number + 1] if number + 1 < len(tokens) else token
        if token.kind in _COMPARING or (token.kind == "." and after.kind == NUMBER):
            return True
        if token.kind == "|" and after.value not in _UNSELECTIVE:
            return True
        if token.kind == "[" and places[outer[number]].is_selection:
            return True
    return False
