"""A check for secrets in files that every user in the instance can read."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from ...model.source import printable
from ...pongo2.syntax.expression_parser import LOGIC
from ...pongo2.syntax.tokens import IDENTIFIER, NUMBER, STRING, TEXT, Token
from ..base import Observation, check
from ..rule_hints import hint_of_mode
from ..scanned_image import ScannedImage
from ..template_tokens import PRINTING, UNFOLLOWED, Value, bound_at, parts_of, values_in

if TYPE_CHECKING:
    from ...model.metadata import Rule
    from ...model.source import Source

WORDS = (
    "password", "passwd", "secret", "token", "private", "credential",
    "passphrase", "api-key", "api_key", "apikey",
)  # fmt: skip
#: filters whose output does not show the value
HIDING = ("length", "length_is", "yesno")
#: the kind of a token that stands for a secret that conditions of the template reveal
TESTED = "tested secret"
#: the kind of a token that stands for a string which is only a part of a name, or for a sum of strings
SUM = "sum of strings"
#: The templates may test each secret in this many ways: a setting of a few values can have a suspicious name.
MOST_TESTS = 8
#: the texts of the tests of each secret, by the secret's name; secrets without a fixed name count together
Tests = dict[str, set[str]]


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
    """Yield each string in a printed expression that contains one of ``WORDS``, such as ``"user.token"``.

    A sum of strings, such as ``"user.to" + "ken"``, counts as one string.

    If the template prints a variable, the search covers the tag that sets the variable, too.

    If the template can print all values of the configuration or of a device, yield the name of the map. If a
    tag gives a map to a variable, or reads a map in a loop, the search follows the map. Any other use of a
    map without a key counts as printing the map.

    A loop over a secret counts as printing the secret: conditions in the loop can show each character. Other
    conditions can show each character, too: yield a token of the kind ``TESTED`` for each secret that the
    template compares with a variable, changes in a loop, or tests in more than ``MOST_TESTS`` ways. Several
    calls with the same ``tested`` count the tests of all their templates together. If a condition, or a tag
    that sets variables, passes a secret to a macro, then the parameters of all macros count as this secret.

    If no string is found, but the template computes the name of a configuration key, such as
    ``"user.paXssword"|cut:"X"``, yield a token of the kind ``COMPUTED`` for this name.

    If the search can't follow all variables of the template, yield a token of the kind ``UNFOLLOWED``.
    """
    secrets: dict[str, list[Token]] = {}
    values: dict[str, list[Token]] = {}  # values of computed keys
    keys: dict[str, list[Token]] = {}  # keys are public, but the value of config_get(key) can be secret
    maps = _Maps()
    computed = _ComputedKeys()
    changes = _Changes()
    tests = _Tests(
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
        found = [*_strings_with_words(part)]
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
            keys[name] = read_keys[:_MOST]
        content, looped = maps.read(kind, part, starts, read)
        found += content if is_printed or bound else ()
        places = _places(kind, part, computed.bound, secrets) if kind in _TESTING else []
        if looped:
            keys[bound[0]] = looped
            for name in bound[1:]:
                _hold(secrets, name, _distinct(looped))
        computed_keys = list(computed.read(kind, part, read, maps))
        read_values += computed_keys
        for token in tests.read(kind, part, places, starts, [*content, *computed_keys]):
            if token.start not in seen:
                yield token if token.kind == COMPUTED else _tested(token)
                seen.add(token.start)
        computed.bind(kind, part, bound)
        tests.bind(kind, bound)
        found = found or read_values
        if is_printed or kind == "for" or (kind == "widthratio" and not bound):
            yield from (token for token in found if token.start not in seen)
            seen.update(token.start for token in found)
        changes.bind(kind, part, places, starts, read_names)
        held = _distinct(found)
        for name in bound if held else ():
            _hold(values if held[0].kind == COMPUTED else secrets, name, held)


def _distinct(tokens: list[Token]) -> list[Token]:
    """Return the first token of each secret, up to the limit for one variable."""
    first: dict[str | int, Token] = {}
    for token in tokens:
        first.setdefault(token.value or token.start, token)
    return [*first.values()][:_MOST]


def _hold(holders: dict[str, list[Token]], name: str, tokens: list[Token]) -> None:
    """Add secrets to those that a variable can hold: a condition can decide which of its tags sets it.

    If the variable can hold more secrets than the limit, the last one has no fixed name.
    """
    held = holders.setdefault(name, [])
    for token in tokens:
        if len(held) < _MOST and len(_distinct([*held, token])) > len(held):
            is_last = len(held) == _MOST - 1 and token.kind == STRING
            held.append(_as_sum([token]) if is_last else token)


def _can_print(kind: str, part: list[Token], *, has_macros: bool) -> bool:
    """Return whether a tag or an expression can print the values that it reads.

    In pongo2 4 (LXD), an error in a macro does not fail the render: the macro returns the text of the error.
    This text can quote the argument of a filter. So if the template has macros, each tag or expression that
    contains a filter with an argument can print values.
    """
    return kind in PRINTING or (has_macros and any(token.kind == ":" for token in part))


def _names_in(part: list[Token], bound: list[int]) -> Iterator[tuple[str, bool]]:
    """Yield the names whose values a tag or an expression can show.

    With each name, yield whether the name is in an argument or a subscript. ``bound`` has the indexes of the
    variables that the tag sets.
    """
    starts = set(bound)
    calls: list[bool] = []  # for each open bracket, whether it or an outer one has arguments or a subscript
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


def _strings_with_words(part: list[Token]) -> Iterator[Token]:
    """Yield each string, and each sum of strings, that contains one of ``WORDS``."""
    pieces: list[Token] = []
    is_added = False
    for number, token in enumerate(part):
        if token.kind == STRING:
            if has_word(token):
                yield token if _is_whole(part, number) else _as_sum([token])
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


def _is_whole(part: list[Token], number: int) -> bool:
    """Return whether a string is a whole argument or subscript, or the whole value of a variable."""
    before, after = part[number - 1], part[number + 1 : number + 2]
    begins = before.kind in ("[", ",", "=") or (before.kind == "(" and part[number - 2].kind == IDENTIFIER)
    return begins and any(token.kind in (",", ")", "]", "%}", IDENTIFIER) for token in after)


def _sum_with_word(pieces: list[Token]) -> Iterator[Token]:
    if len(pieces) > 1 and not any(map(has_word, pieces)):
        token = _as_sum(pieces)
        if has_word(token):
            yield token


def _as_sum(pieces: list[Token]) -> Token:
    text = "".join(piece.value for piece in pieces)
    return Token(SUM, text, pieces[0].start, pieces[-1].end, pieces[0].unit)


class _Maps:
    """The names of the maps whose values can be secrets.

    ``one`` has the names of maps of texts, such as ``config``. ``nested`` has the names of maps of maps, such
    as ``devices``. ``lists`` has the names in ``nested`` that can also be a list of devices.
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
        """Record the variables to which a tag assigns a map: each of them is another name of this map.

        ``bound`` has the indexes of the variables' names.

        Return two lists of names. The first list has each map that the tag or expression uses without a key,
        so that the values of the map can be shown. This list does not contain a map that a loop reads, that
        is assigned to a variable, or in which a condition only looks for a key. The second list has the map
        of texts that a loop reads.
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
        """Return how many further keys are needed to select a text from a value.

        Return 0 if the value is not a map.
        """
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


def _tested(token: Token) -> Token:
    is_string = token.kind in (STRING, SUM)  # without its quotes
    return Token(TESTED, token.value, token.start + is_string, token.end - is_string, token.unit)


#: tags that test the values which they read, or give them to variables that another tag can test
_TESTING = ("if", "elif", "ifequal", "ifnotequal", "ifchanged", "set", "with", "macro", "widthratio")
#: the tags of these that only set variables
_BINDING = ("set", "with", "macro")
_JOINING = ("+", "-", "*", "/", "%", "^")
_COMPARING = ("==", "!=", "<>", "<", "<=", ">", ">=", "in", *_JOINING)
#: The names whose values differ between renders. Many rules with one template have different paths.
_VARYING = ("forloop", "path", "trigger")
#: filters after which a condition still only shows whether its value is set
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


class _Place(NamedTuple):
    """The brackets around a token of a tag.

    ``keys`` is the number of keys around the token: first arguments of ``config_get``, and subscripts of
    maps. ``is_argument`` is true in a list, and in the brackets of a call or a subscript. ``is_selection`` is
    true for a bracket that begins a list, or a call or subscript without a key.
    """

    keys: int
    is_argument: bool
    is_selection: bool = False


def _places(kind: str, part: list[Token], bound: Collection[str], secrets: Collection[str]) -> list[_Place]:
    """Return the place of each token of a tag. ``bound`` has the variables and macros of the template.

    A second subscript, or a subscript of a variable in ``secrets``, selects a part of a text, so it is not a
    key. Of the arguments of a call, only the first argument of ``config_get`` is a key.
    """
    places: list[_Place] = []
    opened: list[_Place] = []
    place = _Place(0, is_argument=False)
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
        place = _Place(place.keys + is_key, place.is_argument or not is_plain)
    return places


class _Tests:
    """The conditions that show more of a secret than whether it is set. Each of them can show one more bit.

    ``template`` is the name of the template. ``secrets`` and ``values`` have the variables that hold secrets,
    ``keys`` the variables that hold keys, and ``bound`` all variables of the template. ``changes`` has the
    variables whose values change, and ``texts`` the tests of earlier templates.
    """

    def __init__(
        self,
        template: str,
        secrets: dict[str, list[Token]],
        values: dict[str, list[Token]],
        keys: dict[str, list[Token]],
        bound: set[str],
        changes: _Changes,
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
        self, kind: str, part: list[Token], places: list[_Place], bound: list[int], others: list[Token]
    ) -> Iterator[Token]:
        """Yield each secret that a tag tests, if the output can reveal many of the secret's characters.

        The earlier tags of the template can test the same secret, and their tests count, too. ``bound`` has
        the indexes of the variables that the tag sets. ``others`` has the computed keys, and the maps that
        the tag uses without a key.
        """
        if kind not in _TESTING:
            return
        words = {token.start: token for token in _strings_with_words(part)}
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
        self, kind: str, part: list[Token], places: list[_Place], operand: list[int], found: dict[int, Token]
    ) -> Iterator[Token]:
        """Yield the secrets in an operand of ``and``, ``or`` or ``not``. ``operand`` has indexes of tokens.

        ``found`` has the secrets that are not in variables, by their indexes.
        """
        secrets: list[Token] = []
        sources: set[str] = set()
        ways: set[tuple[int, bool]] = set()  # the number of keys around each secret, and whether it is a key
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
            if token.value == "random" and part[number - 1].kind == "|":  # another value in each round
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
        if is_changed:  # the same text tests another value at another place
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
        self, name: Token | None, place: _Place, found: Token | None
    ) -> Iterator[tuple[list[Token], bool]]:
        """Yield the secrets for which a token stands, and whether the token is a key and not the secret.

        ``name`` is the token if it is the name of a variable. ``found`` is its secret outside of variables.
        """
        if found is not None:
            yield [found], found.kind != IDENTIFIER
        if name is not None:
            held = [*self.secrets.get(name.value, ()), *self.values.get(name.value, ())]
            keys = self.keys.get(name.value, []) if place.is_argument else []
            yield from ((tokens, is_key) for tokens, is_key in ((held, False), (keys, True)) if tokens)

    def bind(self, kind: str, names: list[str]) -> None:
        """Record the variables that a tag sets: the parameters of a macro hold the secrets of all calls."""
        if kind == "macro":
            self.parameters.update(names)
            self._give(names)

    def _pass(self, tokens: list[Token]) -> None:
        """Record that a call passes secrets to a macro, which can be any macro of the template."""
        size = sum(map(len, self.passed.values()))
        for token in tokens:
            _hold(self.passed, COMPUTED if token.kind == COMPUTED else STRING, [token])
        if sum(map(len, self.passed.values())) > size:
            self._give(self.parameters)

    def _give(self, names: Collection[str]) -> None:
        for kind, tokens in self.passed.items():
            for name in names:
                _hold(self.values if kind == COMPUTED else self.secrets, name, tokens)


class _Changes:
    """The variables whose values a template computes from their own earlier values.

    ``names`` also has the variables that are computed from such a variable. In a loop or a macro, one
    condition tests another value of such a variable each time.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        #: number of loops and macros around the last part
        self.depth = 0
        #: the variables with secrets from which each variable is computed
        self._sources: dict[str, set[str]] = {}

    def visit(self, kind: str, part: list[Token]) -> None:
        """Read the next part of the template."""
        if kind in ("for", "macro"):
            self.depth += 1
        elif kind in ("endfor", "endmacro"):
            self.depth = max(0, self.depth - 1)
        elif kind == TEXT and not part[0].end:  # the end of a round
            self.depth = 0
            self._find()

    def bind(
        self, kind: str, part: list[Token], places: list[_Place], bound: list[int], sources: set[str]
    ) -> None:
        """Record the variables that a tag sets. ``sources`` has the variables with secrets that it reads."""
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
        """Find the variables that depend on themselves, by removing all variables that do not."""
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


def _is_test(kind: str, part: list[Token], operand: list[int], places: list[_Place]) -> bool:
    """Return whether an operand shows more of its values than whether they are set. Calls do not count."""
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


def _is_only_tested(kind: str, part: list[Token], value: Value) -> bool:
    """Return whether a condition tests only whether a map has entries, or a certain key."""
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

    def read(self, kind: str, part: list[Token], values: list[Value], maps: _Maps) -> Iterator[Token]:
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

        Also record which of these variables have a computed value, and which can refer to the function
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
    """Return the tokens of a call's first argument, or of a subscript. They begin at the index ``start``.

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


#: limit on the secrets that one name stands for
_MOST = 8


def has_word(token: Token) -> bool:
    return any(word in token.value.lower() for word in WORDS)
