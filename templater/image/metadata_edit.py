"""Edits of metadata.yaml's text that preserve comments, order and quoting.

Every edited text is parsed again, with each parser (yaml.v2, yaml.v4) that could parse the old text. If more
than the requested value has changed, the edit fails with an error.
"""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from ..model.errors import InputError, LimitError, MetadataError, RefusedError, TemplaterError, UsageError
from ..model.metadata import YEAR_10000, Metadata, Rule
from ..model.source import Source
from ..model.unprintable_characters import printable
from ..parsing.metadata_yaml import read_metadata
from ..parsing.yaml_nodes import Limits, Rules, decoded
from .yaml_positions import one_account
from .yaml_quoting import Value
from .yaml_text_edit import add, has, move, put, take

ALL_RULES: tuple[Rules, ...] = ("v2", "v4")
#: alternative edits of a text, in order of preference
Ways = tuple[Callable[[str], str], ...]
#: Limit on the work of several edits, because each edit parses the whole text. All edits together may parse
#: this many characters, and this many nodes after aliases are expanded.
_MOST_PARSED = 1 << 18
Change = Callable[["_Meaning"], object]
Field = str | bool | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NewRule:
    """A rule to add. Empty fields are not written."""

    path: str
    template: str
    when: tuple[str, ...]
    create_only: bool = False
    uid: str = ""
    gid: str = ""
    mode: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)

    def fields(self) -> dict[str, Field]:
        fields: dict[str, Field] = {"when": self.when}
        if self.create_only:
            fields["create_only"] = True
        fields["template"] = self.template
        for name in ("uid", "gid", "mode"):
            if getattr(self, name):
                fields[name] = getattr(self, name)
        return fields


@one_account()
def set_values(
    source: Source, *, facts: Mapping[str, str | None] = {}, properties: Mapping[str, str | None] = {}
) -> Source:
    """Set facts and properties. Remove a fact or property if its value is None.

    The facts are ``architecture``, ``creation_date`` and ``expiry_date``; dates are whole seconds.

    Raises UsageError if a property to remove does not exist.
    """
    readings = _readings(source)
    known = next(iter(readings.values())).properties
    for name, value in properties.items():
        if value is None and name not in known:
            raise UsageError(f"the image has no property '{printable(name)}'", hint=_known(known))
    edits = [_set_fact(*each) for each in facts.items()] + [
        _set_property(*each) for each in properties.items()
    ]
    if len(edits) > 1:
        # Each edit parses the text several times, so make all edits together, if that is possible.
        together = partial(_first_ways, [ways for ways, _ in edits])
        with contextlib.suppress(InputError):
            return _changed(source, (together,), *(change for _, change in edits), readings=readings)
        refuse_many(source, len(edits))
    for ways, change in edits:
        source = _changed(source, ways, change)
    return source


def refuse_many(source: Source, changes: int) -> None:
    """Raise LimitError if the text is too long for ``changes`` edits. Each edit parses the whole text."""
    if changes <= 1:
        return
    try:
        if changes * len(source.text) > _MOST_PARSED:
            raise LimitError("too many characters")
        for rules in ALL_RULES:
            with contextlib.suppress(MetadataError):
                read_metadata(source, rules, Limits(expanded=_MOST_PARSED // changes))
    except LimitError:
        raise LimitError(
            f"{source.name} is too large for {changes} changes in one command",
            hint="change the file in an editor: templater image edit",
        ) from None


def _first_ways(edits: Iterable[Ways], text: str) -> str:
    for ways in edits:
        text = ways[0](text)
    return text


def _set_property(name: str, value: str | None) -> tuple[Ways, Change]:
    place = ("properties", name)
    if value is None:
        return _taking(place), lambda model: model.properties.pop(name, None)
    return _setting(place, value), lambda model: model.properties.__setitem__(name, value)


def _set_fact(name: str, value: str | None) -> tuple[Ways, Change]:
    if value is None:
        nothing: object = "" if name == "architecture" else 0
        return _taking((name,)), lambda model: setattr(model, name, nothing)
    wanted: str | int = value if name == "architecture" else int(value)
    return _setting((name,), wanted), lambda model: setattr(model, name, wanted)


def set_property(source: Source, name: str, value: str) -> Source:
    return set_values(source, properties={name: value})


def unset_property(source: Source, name: str) -> Source:
    return set_values(source, properties={name: None})


def set_fact(source: Source, name: str, value: str) -> Source:
    return set_values(source, facts={name: value})


def unset_fact(source: Source, name: str) -> Source:
    return set_values(source, facts={name: None})


def require_same_identity(before: Source, after: Source, *, force: bool) -> None:
    """Raise RefusedError if the architecture or the creation date of an image changes.

    If ``force`` is true, these values can change, but can't be removed. Raises MetadataError if the daemons
    can't read ``after``.
    """
    new = read_metadata(after)
    try:
        old = read_metadata(before)
    except TemplaterError:
        return  # an invalid old text has no architecture or creation date to keep
    for name in ("architecture", "creation_date"):
        if getattr(old, name) and not getattr(new, name):
            raise RefusedError(f"metadata.yaml would have no {name}: the daemons refuse to import the image")
        if getattr(old, name) != getattr(new, name) and not force:
            raise RefusedError(
                f"{name} would change from '{getattr(old, name)}' to '{getattr(new, name)}'",
                hint="this value identifies the image; add --force to change it",
            )
    for name in ("creation_date", "expiry_date"):
        if getattr(new, name) >= YEAR_10000 > getattr(old, name):
            raise RefusedError(f"{name} would be after the year 9999: the daemons refuse to import the image")


def add_rule(source: Source, rule: NewRule) -> Source:
    if any(old.path == rule.path for old in _read(source).rules):
        raise UsageError(
            f"the image already has a rule for '{printable(rule.path)}'",
            hint="edit or delete the existing rule",
        )
    decoded = _rule(
        Rule(
            rule.path,
            rule.template,
            rule.when,
            rule.create_only,
            rule.properties,
            rule.uid,
            rule.gid,
            rule.mode,
        )
    )
    return _changed(
        source,
        _setting(("templates", rule.path), rule.fields()),
        lambda model: model.rules.__setitem__(rule.path, decoded),
    )


@one_account()
def change_rule(source: Source, path: str, fields: Mapping[str, Field]) -> Source:
    """Set fields of one rule; an empty text removes a field."""
    for name, value in fields.items():
        source = _change_field(source, path, name, value)
    return source


def _change_field(source: Source, path: str, name: str, value: Field) -> Source:
    place = ("templates", path, name)
    if (value == "" or value is False) and not has(decoded(source).text, place):
        return source

    def change(model: _Meaning) -> None:
        if path in model.rules:  # yaml.v4 can drop the rule of a null key
            model.rules[path] |= {name: value, "null": False}

    ways = _taking(place) if value == "" or value is False else _setting(place, value)
    return _changed(source, ways, change)


def remove_rule(source: Source, path: str) -> Source:
    return _changed(source, _taking(("templates", path)), lambda model: model.rules.pop(path, None))


def _setting(names: tuple[str, ...], value: Value) -> Ways:
    ways: Ways = (lambda text: put(text, names, value), lambda text: move(text, names, value))
    return (*ways, lambda text: add(text, names, value)) if names[1:] else ways


def _taking(names: tuple[str, ...]) -> Ways:
    return lambda text: take(text, names), lambda text: take(text, names, hollow="{}")


# --- comparison of the values before and after an edit


def _read(source: Source) -> Metadata:
    """Parse metadata.yaml by the rules of yaml.v2. If that fails, parse it by the rules of yaml.v4."""
    return next(iter(_readings(source).values()))


def _readings(source: Source) -> dict[Rules, Metadata]:
    """Parse the text with the rules of yaml.v2 and of yaml.v4. Return the metadata by the name of the rules.

    Raises MetadataError only if both parsers reject the text.
    """
    found: dict[Rules, Metadata] = {}
    errors: list[MetadataError] = []
    for rules in ALL_RULES:
        try:
            found[rules] = read_metadata(source, rules)
        except MetadataError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    return found


@one_account()
def _changed(
    source: Source, ways: Ways, *changes: Change, readings: dict[Rules, Metadata] | None = None
) -> Source:
    """Apply the first of ``ways`` that makes only the requested changes, and return the new text.

    Raises InputError if every one of ``ways`` would also change another value.
    """
    wanted = {rules: _meaning(metadata) for rules, metadata in (readings or _readings(source)).items()}
    for meaning in wanted.values():
        for change in changes:
            change(meaning)
    why = ""
    for way in ways:
        try:
            edited = _encoded(source, way(decoded(source).text))
            found = {rules: _meaning(read_metadata(edited, rules)) for rules in wanted}
        except MetadataError as error:
            why = why or str(error)
            continue
        if found == wanted:
            return edited
        why = why or "another value would change too"
    raise InputError(
        f"{source.name} can't be changed in place: {why}",
        hint="change the file in an editor: templater image edit",
    )


def _encoded(source: Source, text: str) -> Source:
    """Encode the text like the old file, which can be UTF-16."""
    mark = source.data[:2]
    if mark not in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return Source(source.name, text)
    return Source(
        source.name, mark + text.encode("utf-16-le" if mark == codecs.BOM_UTF16_LE else "utf-16-be")
    )


@dataclass(slots=True)
class _Meaning:
    """The values that the daemons read from a metadata.yaml, to compare them before and after an edit."""

    architecture: str
    creation_date: int
    expiry_date: int
    properties: dict[str, str]
    rules: dict[str, dict[str, object]]


def _meaning(metadata: Metadata) -> _Meaning:
    return _Meaning(
        metadata.architecture,
        metadata.creation_date,
        metadata.expiry_date,
        dict(metadata.properties),
        {rule.path: _rule(rule) for rule in metadata.rules},
    )


def _rule(rule: Rule) -> dict[str, object]:
    return {
        "path": rule.path,
        "template": rule.template,
        "when": tuple(rule.when),
        "create_only": rule.create_only,
        "properties": dict(rule.properties),
        "uid": rule.uid,
        "gid": rule.gid,
        "mode": rule.mode,
        "null": rule.null,
    }


def _known(names: Iterable[str]) -> str:
    return (
        "its properties are " + ", ".join(printable(name) for name in names)
        if names
        else "the image has no properties"
    )
