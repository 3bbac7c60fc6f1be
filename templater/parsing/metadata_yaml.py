"""A decoder for metadata.yaml that follows the daemons' rules and records the position of every field.

The decoder gives the results of gopkg.in/yaml.v2 (``decode.go``) and go.yaml.in/yaml/v4 (``constructor.go``)
for the struct ``api.ImageMetadata``. The field's type decides: ``mode: 0755`` is a string, and
``when: start`` is an error.
"""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

from ..model.errors import LimitError, MetadataError, RefusedError
from ..model.metadata import TRIGGERS, UNCOUNTED, Finding, Metadata, Rule
from ..model.source import Source, Span
from ..model.unprintable_characters import printable
from .go_scalars import BOOLEANS, is_merge, is_null, is_text, quoted, resolved, tag_of, whole_number
from .yaml_nodes import (
    LIMITS,
    Alias,
    Limits,
    Mapping,
    Node,
    Rules,
    Scalar,
    Sequence,
    YamlError,
    merged_nodes,
    parse,
)

METADATA_FIELDS: Final = ("architecture", "creation_date", "expiry_date", "properties", "templates")
#: the maximum length of a trigger, a template name, an owner, a mode or a property's name in a rule; a file
#: name has at most 255 bytes
MAX_FIELD: Final = 1000
RULE_FIELDS: Final = ("when", "create_only", "template", "properties", "uid", "gid", "mode")

#: the maximum number of problems that an error lists in addition to the first problem
_MOST_NOTES: Final = 20
#: the maximum number of findings of each kind, and the maximum number of problems in the daemon's error:
#: aliases can repeat a mistake a hundred thousand times
_MOST_FINDINGS: Final = 500
_MOST_LINES: Final = 10_000

#: the hint for a duplicate key
_REMOVE_ONE: Final = "remove one of the keys: Incus 7 rejects the file, and older releases use the last value"

_VERB: Final = {"v2": "unmarshal", "v4": "construct"}
_VERB_AS: Final = {"v2": "decode", "v4": "construct"}


def read_metadata(source: Source, yaml: Rules = "v2", limits: Limits | None = None) -> Metadata:
    """Decode a metadata.yaml as the host's YAML library does.

    Raises:
        MetadataError: the library rejects the file. The error has the position of the first problem, and
            notes on further problems.
        LimitError: the text exceeds ``limits``.
        RefusedError: a property contains a NUL.
    """
    try:
        root = parse(source, yaml, LIMITS if limits is None else limits)
    except YamlError as error:
        failure = MetadataError(error.message, error.span, error.hint, error.notes)
        failure.yaml_error = error.yaml_error
        raise failure from None
    if root is None:
        empty = Finding("empty", "the file contains no YAML document", source.span(0))
        return Metadata(source=source, findings=(empty,))
    return _Decoder(root.source, yaml).metadata(root)


class _Decoder:
    """The decoder of one file. Like Go, it does not stop at the first problem, but collects all problems."""

    def __init__(self, source: Source, rules: Rules) -> None:
        self.source = source
        self.rules = rules
        self.errors: list[_Problem] = []
        self.problems = 0
        #: Go's error text for the first problem at which Go stops decoding, or ""
        self.fatal = ""
        #: the lines of Go's error for all problems; used only if ``fatal`` is empty
        self.lines: list[str] = []
        self.findings: list[Finding] = []
        self.counts: Counter[str] = Counter()
        self.breaks: list[int] = []

    def metadata(self, root: Node) -> Metadata:
        if is_null(root, self.rules):
            finding = Finding(
                "null-document", "the document is null: most daemons panic when they read it", root.span
            )
            return Metadata(source=self.source, findings=(finding,), null=True)
        fields = _MetadataFields(self)
        if isinstance(root, Mapping):
            self.struct(root, METADATA_FIELDS, fields.set, "api.ImageMetadata", "metadata.yaml")
        else:
            self.mismatch(root, "api.ImageMetadata", "metadata.yaml must be a mapping")
        self.fail()
        _refuse_nul(fields.properties, fields.spans)
        return Metadata(
            architecture=fields.architecture,
            creation_date=fields.creation_date,
            expiry_date=fields.expiry_date,
            properties=fields.properties,
            rules=tuple(fields.rules.values()),
            source=self.source,
            spans=fields.spans,
            findings=tuple(self.findings),
        )

    def rule(self, path: str, key: Node, node: Node) -> Rule:
        rule = Rule(path, "", spans={"path": key.span, "entry": node.span})
        if is_null(node, self.rules, pointer=True):
            rule.null = True
            self.find(
                "null-entry",
                lambda: "the entry is null: the daemons panic when they read it",
                node.span if node.end > node.start else key.span,
            )
        elif isinstance(node, Mapping) and node.tag == "!!null" and self.rules == "v4":
            self.problem(
                f"the rule for '{path}' has the tag '!!null'",
                node.span,
                "remove the tag '!!null'",
                line=f"line {self.go_line(node)}: cannot construct !!null `` into *api.ImageMetadataTemplate",
            )
        elif isinstance(node, Mapping):
            fields = _RuleFields(self, rule)
            self.struct(node, RULE_FIELDS, fields.set, "api.ImageMetadataTemplate", f"the rule for '{path}'")
            self.check_rule(rule)
        elif not is_null(node, self.rules):
            self.mismatch(
                node, "api.ImageMetadataTemplate", f"the rule for '{path}' must be a mapping",
                "write 'template:' and 'when:' under the path",
            )  # fmt: skip
        return rule

    def check_rule(self, rule: Rule) -> None:
        """Record a finding for each probable mistake in a rule. Every host accepts these mistakes."""
        place = rule.spans.get("when", rule.spans["path"])
        for index, trigger in enumerate(rule.when):
            if trigger not in TRIGGERS:
                self.find(
                    "unknown-trigger" if trigger else "empty-trigger",
                    lambda trigger=trigger: (  # type: ignore[misc]
                        f"unknown trigger '{trigger}': it never fires{suggestion(trigger, TRIGGERS)}"
                    ),
                    rule.spans.get(f"when[{index}]", place),
                )
        if not rule.when:
            self.find(
                "no-trigger",
                lambda: f"the rule for '{rule.path}' has no trigger, so the file is never written",
                place,
            )
        if not rule.template:
            self.find(
                "no-template",
                lambda: f"the rule for '{rule.path}' has no template",
                rule.spans.get("template", rule.spans["path"]),
            )

    # -- one method for each type of Go's fields: struct, map, list, text, number, boolean

    def struct(
        self, node: Mapping, known: Iterable[str], set_field: "_SetField", gotype: str, what: str
    ) -> None:
        """Call ``set_field`` for each known key, in the order in which Go assigns the fields.

        Record a finding for each unknown key.
        """
        known = tuple(known)
        for key, value in self.assignments(node, gotype, known):
            name = self.key_text(key)
            if name is None:
                continue
            if name in known:
                set_field(name, key, value)
            else:
                self.find(
                    "unknown-key",
                    lambda name=name: f"unknown key '{name}' in {what}: ignored{suggestion(name, known)}",  # type: ignore[misc]
                    key.span,
                )

    def map(self, node: Node, gotype: str, what: str) -> "list[tuple[str, Node, Node]] | None":
        """Return the entries of a mapping as (text of the key, key, value), or None if the node is null."""
        if is_null(node, self.rules):
            return None
        if not isinstance(node, Mapping):
            self.mismatch(node, gotype, f"{what} must be a mapping")
            return []
        named = ((self.key_text(key), key, value) for key, value in self.assignments(node, gotype))
        return [(name, key, value) for name, key, value in named if name is not None]

    def texts(self, node: Node, gotype: str, what: str) -> "list[tuple[str, Span]]":
        if is_null(node, self.rules):
            return []
        if not isinstance(node, Sequence):
            text = f"[{node.text}]" if isinstance(node, Scalar) else "[…]"
            self.mismatch(node, gotype, f"{what} must be a list", f"write the value as {text}")
            return []
        found = []
        for item in node.children:
            # yaml.v4 drops null items. yaml.v2 decodes null items as empty strings, which never match a
            # trigger.
            if not (self.rules == "v4" and is_null(item, self.rules)):
                found.append((self.text(item, f"an item of {what}"), item.span))
        return found

    def text(self, node: Node, what: str) -> str:
        if isinstance(node, Scalar):
            if is_null(node, self.rules):
                return ""
            resolved = self.resolve(node)
            if isinstance(resolved, datetime) and self.rules == "v4":
                self.mismatch(
                    node, "string", f"{what} must be text, but yaml.v4 reads '{node.text}' as a date",
                    f'quote the value: "{node.text}"',
                )  # fmt: skip
            return node.text
        hint = "write a single text; quote it if it begins with '[' or '{'"
        self.mismatch(node, "string", f"{what} must be text, not a {node.kind}", hint)
        return ""

    def boolean(self, node: Node, what: str) -> bool:
        if is_null(node, self.rules):
            return False
        value = self.resolve(node) if isinstance(node, Scalar) else None
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and self.rules == "v4" and value in BOOLEANS:
            return BOOLEANS[value]
        hint = "write true or false, without quotes"
        self.mismatch(node, "bool", f"{what} must be true or false", hint)
        return False

    def integer(self, node: Node, what: str) -> int:
        if is_null(node, self.rules):
            return 0
        value = self.resolve(node) if isinstance(node, Scalar) else None
        if isinstance(value, float):
            value = whole_number(value, self.rules)
        if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
            return value
        self.mismatch(
            node,
            "int64",
            f"{what} must be a number",
            "write seconds since 1970-01-01, as 'date +%s' prints them",
        )
        return 0

    # -- mappings: duplicates and merge keys

    def assignments(
        self, node: Mapping, gotype: str, fields: "tuple[str, ...]" = ()
    ) -> "list[tuple[Node, Node]]":
        """Return pairs of key and value in the order in which Go assigns them, including merged mappings.

        A later pair overrides an earlier pair with the same key:

        * In yaml.v2, ``<<`` overrides the keys above it, and the keys below it override ``<<``.
        * In yaml.v4, a mapping's own keys override merged keys. The first of several merged mappings
          overrides the others. Keys of different types do not match: 12 does not override "12".

        ``fields`` are the fields of the struct into which Go decodes the mapping.
        """
        if self.duplicates(node, gotype, fields):
            return []
        if self.rules == "v2":
            pairs: list[tuple[Node, Node]] = []
            for key, value in node.pairs():
                if not is_merge(key):
                    pairs.append((key, value))
                    continue
                for mapping in reversed(self.merged(key, value)):
                    pairs.extend(self.assignments(mapping, gotype))
            return pairs
        own = [(key, value) for key, value in node.pairs() if not is_merge(key)]
        inherited = [pair for pair in node.pairs() if is_merge(pair[0])]
        if not inherited:
            return own
        seen = {key.text for key, _ in own if isinstance(key, Scalar) and is_text(key, self.rules)}
        for key, value in inherited:
            for mapping in self.merged(key, value):
                for pair in self.assignments(mapping, gotype):
                    name = pair[0]
                    if not isinstance(name, Scalar) or is_null(name, self.rules):
                        own.append(pair)
                    elif name.text not in seen:
                        own.append(pair)
                        seen.add(name.text)
        return own

    def merged(self, key: Node, value: Node) -> "list[Mapping]":
        mappings = merged_nodes(key, value)
        for mapping in mappings:
            if not isinstance(mapping, Mapping):
                is_alias = mapping is value and isinstance(value, Sequence)
                self.problem(
                    "'<<' needs a mapping or a list of mappings",
                    key.span if is_alias else mapping.span,
                    "write the list itself, not an alias of it"
                    if is_alias
                    else "write an alias: '<<: *name'",
                    fatal="map merge requires map or sequence of maps as the value",
                )
        return [mapping for mapping in mappings if isinstance(mapping, Mapping)]

    def duplicates(self, node: Mapping, gotype: str, fields: "tuple[str, ...]") -> bool:
        """Record every duplicate key, and return whether yaml.v4 rejects the mapping."""
        first: dict[tuple[str, str], Node] = {}
        texts: dict[str, Node] = {}
        found = False
        for index, key in enumerate(node.children[::2]):
            shown = node.alias_keys.get(2 * index, key)
            text = key.text if isinstance(key, Scalar) else ""
            # yaml.v4 compares an alias key only with other alias keys, by the names of the anchors.
            name = shown.name if isinstance(shown, Alias) else text
            earlier = first.setdefault((shown.kind, name), shown)
            if self.rules == "v4":
                if earlier is not shown:
                    found = True
                    self.duplicate(shown, earlier, name)
                # yaml.v4 always refuses to set a field of a struct twice.
                elif texts.setdefault(text, shown) is not shown and text in fields:
                    self.problem(
                        f"duplicate key '{text}', first in line {texts[text].line}",
                        shown.span,
                        _REMOVE_ONE,
                        line=f"line {self.go_line(shown)}: field {text} already set in type {gotype}",
                    )
            elif isinstance(key, Scalar):
                before = texts.setdefault(text, shown)
                is_refused = earlier is not shown or text in fields
                used = "all '<<' keys are used" if is_merge(key) else "the last value is used"
                if before is not shown:
                    self.find(
                        "duplicate-key",
                        lambda text=text, line=before.line, used=used, is_refused=is_refused: (  # type: ignore[misc]
                            f"duplicate key '{text}', first in line {line}: {used}"
                            + (", but Incus 7 rejects the file" if is_refused else "")
                        ),
                        shown.span,
                    )
        return found

    def duplicate(self, node: Node, earlier: Node, name: str) -> None:
        self.problem(
            f"duplicate key '{name}', first in line {earlier.line}",
            node.span,
            _REMOVE_ONE,
            line=f"line {self.go_line(node)}: mapping key {quoted(name)}"
            f" already defined at line {self.go_line(earlier)}",
        )

    def key_text(self, key: Node) -> "str | None":
        """Return the text of a key, or None if the key is invalid or Go ignores the key."""
        if isinstance(key, Scalar) and is_null(key, self.rules):
            self.find("null-key", lambda: "the key is null: quote it if it is meant as text", key.span)
            return "" if self.rules == "v2" else None
        before = self.problems
        text = self.text(key, "a key")
        return text if self.problems == before else None

    # -- scalars

    def resolve(self, node: Scalar) -> "str | int | float | bool | datetime | None":
        """Return the value to which Go converts a scalar, from the scalar's text and explicit tag."""
        if not node.plain and not node.tag:
            return node.text
        value = resolved(node.text, node.tag, self.rules)
        found = tag_of(value)
        if node.tag in ("", "!!str", "!!merge", found):
            return value
        if node.tag == "!!float" and isinstance(value, int):
            return float(value)
        self.problem(
            f"'{node.text}' does not match its tag '{node.tag}'",
            node.span,
            f"remove the tag '{node.tag}'",
            fatal=f"cannot {_VERB_AS[self.rules]} {found} `{node.text}` as a {node.tag}",
        )
        return node.text

    # -- findings and errors

    def find(self, code: str, message: Callable[[], str], span: Span) -> None:
        self.counts[code] += 1
        if self.counts[code] <= _MOST_FINDINGS:
            self.findings.append(Finding(code, _shown(message()), span))
        elif self.counts[code] == _MOST_FINDINGS + 1:
            self.findings.append(Finding(code, UNCOUNTED, span))

    def mismatch(self, node: Node, gotype: str, message: str, hint: str = "") -> None:
        if not self.ignores(node):
            self.problem(message, node.span, hint, line=self.go_text(node, gotype))

    def ignores(self, node: Node) -> bool:
        """Return whether Go ignores a node without an error, although the node has the wrong type.

        yaml.v4 ignores the merge key ``<<`` in this way.
        """
        return self.rules == "v4" and is_merge(node)

    def go_text(self, node: Node, gotype: str) -> str:
        if isinstance(node, Scalar):
            tag = node.tag or tag_of(self.resolve(node))
            raw = node.text.encode("utf-8", "surrogateescape")
            shown = raw[:7].decode("utf-8", "surrogateescape") + "..." if len(raw) > 10 else node.text
            value = f"{tag} `{shown}`"
        else:
            value = node.tag or ("!!map" if isinstance(node, Mapping) else "!!seq")
        return f"line {self.go_line(node)}: cannot {_VERB[self.rules]} {value} into {gotype}"

    def go_line(self, node: Node) -> int:
        """Return the node's line number as Go counts it: every line break of YAML starts a new line."""
        # Find all line breaks only once, because a file can contain a hundred thousand errors.
        if not self.breaks:
            self.breaks = [0, *(found.end() for found in re.finditer(_BREAK, self.source.text))]
        return bisect_right(self.breaks, node.start)

    def problem(self, message: str, span: Span, hint: str = "", line: str = "", fatal: str = "") -> None:
        self.problems += 1
        self.fatal = self.fatal or _short(fatal)
        if len(self.errors) <= _MOST_NOTES:
            hint = printable(hint) if len(hint) <= _LONGEST_MESSAGE else ""
            self.errors.append(_Problem(_shown(message), span, hint))
        if len(self.lines) < _MOST_LINES:
            self.lines.append(_short(line))

    def fail(self) -> None:
        """Raise MetadataError if there are problems.

        The error describes the first problem, and its notes describe the others.
        """
        if not self.errors:
            return
        first, *others = self.errors
        notes = [f"also: {problem.span.place}: {problem.message}" for problem in others]
        if self.problems > len(self.errors):
            notes.append(f"and {self.problems - len(self.errors)} more problems")
        error = MetadataError(first.message, first.span, first.hint, tuple(notes))
        error.yaml_error = self.yaml_error()
        raise error

    def yaml_error(self) -> str:
        if self.fatal:  # Go stops at the first fatal problem and reports only that problem.
            return f"yaml: {self.fatal}"
        if self.rules == "v2":
            return "\n  ".join(["yaml: unmarshal errors:", *self.lines])
        return "yaml: construct errors: " + "; ".join(self.lines)


class _Problem:
    __slots__ = ("hint", "message", "span")

    def __init__(self, message: str, span: Span, hint: str) -> None:
        self.message = message
        self.span = span
        self.hint = hint


class _MetadataFields:
    """The fields that the document has set so far. A second key ``templates`` adds further rules."""

    def __init__(self, decoder: _Decoder) -> None:
        self.decoder = decoder
        self.architecture = ""
        self.creation_date = 0
        self.expiry_date = 0
        self.properties: dict[str, str] = {}
        self.rules: dict[str, Rule] = {}
        self.spans: dict[str, Span] = {}

    def set(self, name: str, key: Node, value: Node) -> None:
        self.spans[name] = value.span
        decoder = self.decoder
        if name == "architecture":
            self.architecture = decoder.text(value, "'architecture'")
        elif name == "creation_date":
            self.creation_date = decoder.integer(value, "'creation_date'")
        elif name == "expiry_date":
            self.expiry_date = decoder.integer(value, "'expiry_date'")
        elif name == "properties":
            _add_properties(decoder, self.properties, self.spans, value)
        else:
            self.add_rules(value)

    def add_rules(self, value: Node) -> None:
        decoder = self.decoder
        entries = decoder.map(value, "map[string]*api.ImageMetadataTemplate", "'templates'")
        if entries is None:
            self.rules.clear()
            return
        for path, key, node in entries:
            if decoder.ignores(node):
                continue
            rule = decoder.rule(path, key, node)
            self.rules.pop(path, None)  # A rule that replaces an earlier rule takes the later position.
            self.rules[path] = rule


class _RuleFields:
    def __init__(self, decoder: _Decoder, rule: Rule) -> None:
        self.decoder = decoder
        self.rule = rule
        self.properties: dict[str, str] = {}
        self.spans = dict(rule.spans)
        rule.properties = self.properties
        rule.spans = self.spans

    def set(self, name: str, key: Node, value: Node) -> None:
        rule, decoder = self.rule, self.decoder
        self.spans[name] = value.span
        if name == "when":
            found = decoder.texts(value, "[]string", "'when'")
            rule.when = tuple(_limited(text, name, span) for text, span in found)
            self.spans.update({f"when[{index}]": span for index, (_, span) in enumerate(found)})
        elif name == "create_only":
            rule.create_only = decoder.boolean(value, "'create_only'")
        elif name == "properties":
            _add_properties(decoder, self.properties, self.spans, value)
        else:
            setattr(rule, name, _limited(decoder.text(value, f"'{name}'"), name, value.span))


def _limited(text: str, name: str, span: Span) -> str:
    """Return the text unchanged.

    Raises LimitError for a long text, because aliases can repeat the text in thousands of rules.
    """
    if len(text) > MAX_FIELD:
        raise LimitError(f"a text of '{name}' has more than {MAX_FIELD} characters", span)
    return text


def _add_properties(
    decoder: _Decoder, properties: dict[str, str], spans: dict[str, Span], node: Node
) -> None:
    entries = decoder.map(node, "map[string]string", "'properties'")
    if entries is None:
        properties.clear()
        return
    for name, key, value in entries:
        _limited(name, "properties", key.span)
        if decoder.rules == "v4" and name in properties and is_null(value, decoder.rules):
            continue  # a null from a merged mapping does not replace a value
        properties[name] = decoder.text(value, f"property '{name}'")
        spans[f"properties[{name}]"] = value.span


def _refuse_nul(properties: dict[str, str], spans: dict[str, Span]) -> None:
    """Raise RefusedError for a property of the image that contains a NUL.

    The daemons' database cuts keys and values at a NUL.
    """
    # The set has each text once, because aliases can repeat a long text.
    cut = {text for text in {*properties, *properties.values()} if "\0" in text}
    for name in properties if cut else ():
        if name in cut or properties[name] in cut:
            raise RefusedError(
                f"the property '{_shown(name)}' contains a NUL: the daemons' database cuts the text there",
                spans[f"properties[{name}]"],
                hint="remove the '\\0' from the property",
            )


_SetField = Callable[[str, Node, Node], None]


#: maximum length of a message, because an alias can repeat a long text in thousands of messages
_LONGEST_MESSAGE = 1000


def _short(message: str) -> str:
    return message if len(message) <= _LONGEST_MESSAGE else message[:_LONGEST_MESSAGE] + "…"


def _shown(message: str) -> str:
    """Shorten and escape a message.

    An unescaped line feed in a key or trigger could forge a line of a report.
    """
    return _short(printable(_short(message)))


#: maximum length of a text that is compared with known names; difflib takes too long for longer texts
_LONGEST_MISTAKE = 64


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return a phrase that suggests the most similar known name, or an empty string."""
    if len(name) > _LONGEST_MISTAKE:
        return ""
    # difflib is slow to import, so it is imported only for a file with a mistake.
    from difflib import get_close_matches

    close = get_close_matches(name.lower().replace("-", "_"), tuple(known), 1, 0.7)
    return f"; did you mean '{close[0]}'?" if close else ""


_BREAK = "\r\n|[\n\r\x85\u2028\u2029]"
