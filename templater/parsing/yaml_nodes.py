"""A YAML parser that enforces limits. The result consists of nodes with their text and source position.

The callers decode each node by the type of its field, as Go does. PyYAML's loaders are not used, because:

* The loaders convert ``0755``, ``no`` or ``22.10`` before the type of the field is known.
* The loaders expand aliases without a limit.
* libyaml's loader overflows the C stack if it reads 53 kB of ``[``.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, TypeAlias

from yaml.error import MarkedYAMLError, YAMLError
from yaml.events import (
    AliasEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.scanner import ScannerError

from ..model.errors import InputError, LimitError
from ..model.source import Source, Span

#: the Go library whose rules apply: gopkg.in/yaml.v2 (LXD, Incus up to 6.23) or go.yaml.in/yaml/v4 (Incus 7)
Rules: TypeAlias = Literal["v2", "v4"]

MIB: Final = 1 << 20


class Limits:
    """The limits of a YAML text: its size, the depth of its nodes and the number of its nodes.

    * ``expanded``: the number of nodes after each alias is replaced by a copy of the aliased node
    * ``compared``: the number of comparisons of two keys in yaml.v4, including keys in the copies
    """

    # This class is not a dataclass, because importing dataclasses would slow down a hook without a cache.
    __slots__ = ("bytes", "compared", "depth", "expanded", "nodes")

    def __init__(
        self,
        *,
        bytes: int = MIB,
        depth: int = 64,
        nodes: int = 200_000,
        expanded: int = 400_000,
        compared: int = 100_000_000,  # these comparisons take two seconds
    ) -> None:
        self.bytes = bytes
        self.depth = depth
        self.nodes = nodes
        self.expanded = expanded
        self.compared = compared


LIMITS: Final = Limits()
#: the maximum number of directives, because libyaml compares each directive with all earlier directives
MOST_DIRECTIVES: Final = 100
#: how many characters of an aliased text count as one node
CHARACTERS_OF_NODE: Final = 16

#: The comparison of two equal keys counts as this many comparisons, because yaml.v4 then writes a line with
#: the key. Each character of the key counts, too.
PAIRS_OF_LINE: Final = 500
PAIRS_OF_CHARACTER: Final = 10

#: the maximum number of nodes in a text with a key that libyaml refuses, because the parser in Python is slow
NODES_WITH_LONG_KEY: Final = 50_000


class YamlError(InputError):
    """The error for invalid YAML.

    ``yaml_error`` is the error text of the host's library, or None if it is unknown.
    """

    yaml_error: str | None = None


class Node:
    """A node of a document."""

    __slots__ = ("compared", "end", "size", "source", "start", "tag")

    kind = ""

    def __init__(self, source: Source, start: int, end: int, tag: str) -> None:
        self.source = source
        self.start = start
        self.end = end
        #: an explicit tag in its short form (``!!str``), or "" if the node has no tag
        self.tag = tag
        #: the number of nodes in this node, including itself, after aliases are expanded; a long text is
        #: equal to several nodes
        self.size = 1
        #: the number of comparisons of two keys that yaml.v4 makes in this node
        self.compared = 0

    @property
    def span(self) -> Span:
        return self.source.span(self.start, max(self.end, self.start + 1))

    @property
    def line(self) -> int:
        return self.span.line


class Scalar(Node):
    """A scalar. It is ``plain`` if it has no quotes, no block indicator and no tag.

    Go converts only plain scalars to numbers, dates and booleans.
    """

    __slots__ = ("plain", "text")

    kind = "scalar"

    def __init__(self, span: Span, text: str, plain: bool, tag: str) -> None:
        super().__init__(span.source, span.start, span.end, tag)
        self.text = text
        self.plain = plain
        self.size = 1 + len(text) // CHARACTERS_OF_NODE


class Collection(Node):
    """A node with children. The children of a mapping alternate between keys and values."""

    __slots__ = ("children", "flow")

    def __init__(self, source: Source, start: int, tag: str, flow: bool) -> None:
        super().__init__(source, start, start, tag)
        self.children: list[Node] = []
        self.flow = flow


class Sequence(Collection):
    __slots__ = ()

    kind = "sequence"


class Alias(Node):
    """The place of an alias, and the name of its anchor."""

    __slots__ = ("name",)

    kind = "alias"

    def __init__(self, span: Span, name: str) -> None:
        super().__init__(span.source, span.start, span.end, "")
        self.name = name


class Mapping(Collection):
    """A mapping. For a key that is an alias, ``children`` has the node to which the alias refers."""

    __slots__ = ("alias_keys",)

    kind = "mapping"

    def __init__(self, source: Source, start: int, tag: str, flow: bool) -> None:
        super().__init__(source, start, tag, flow)
        #: the alias of each such key, by the index of the key in ``children``
        self.alias_keys: dict[int, Alias] = {}

    def pairs(self) -> Iterator[tuple[Node, Node]]:
        children = iter(self.children)
        return zip(children, children, strict=True)

    def compared_pairs(self) -> int:
        """Return the number of comparisons of two keys that yaml.v4 makes, as a measure of its work."""
        keys = self.children[::2]
        # Two aliases are equal if they have the same name. Treat keys that are mappings or lists as equal.
        texts = [key.text if isinstance(key, Scalar) else "" for key in keys]
        for index, alias in self.alias_keys.items():
            texts[index // 2] = f"*{alias.name}"
        pairs = len(keys) * (len(keys) - 1) // 2
        if len(set(texts)) < len(texts):
            for text, number in Counter(texts).items():
                # A comparison of equal keys costs more, because yaml.v4 then writes a message.
                line = PAIRS_OF_LINE + PAIRS_OF_CHARACTER * len(text)
                pairs += number * (number - 1) // 2 * line
        return pairs


def merged_nodes(key: Node, value: Node) -> list[Node]:
    """Return the nodes that a merge key ``<<`` merges: the items of the list ``value``, or ``value`` itself.

    If ``value`` is an aliased list, return ``[value]``.
    """
    # The caller refuses an aliased list, as Go does.
    # The target of an alias is before the key in the text.
    return value.children if isinstance(value, Sequence) and value.start > key.start else [value]


def pairs(node: Node | None) -> list[tuple[str, Node, Node]]:
    """Return a mapping's entries with scalar keys, each as (text of the key, key, value)."""
    if not isinstance(node, Mapping):
        return []
    return [(key.text, key, value) for key, value in node.pairs() if isinstance(key, Scalar)]


def child(node: Node | None, step: str | int) -> Node | None:
    """Return the child of a sequence or mapping, or None if it is missing.

    ``step`` is an index or a key. If a mapping has this key several times, return the last value.
    """
    if isinstance(node, Sequence) and isinstance(step, int):
        return node.children[step] if step < len(node.children) else None
    return next((value for key, _, value in reversed(pairs(node)) if key == step), None)


def value_of(node: Node | None, name: str) -> Node | None:
    return next((value for key, _, value in pairs(node) if key == name), None)


def parse(source: Source, rules: Rules = "v2", limits: Limits = LIMITS) -> Node | None:
    """Parse a text and return its first document, or None for a text without a document.

    "v2" ignores everything after the first document, and "v4" requires exactly one document. Raises YamlError
    and LimitError, both with a position.
    """
    if len(source.text) > limits.bytes or len(source.data) > limits.bytes:
        raise LimitError(
            f"{source.name} is larger than {size_text(limits.bytes)}",
            source.span(min(limits.bytes, len(source.text))),
            hint="new releases of Incus and LXD also reject this file size" if limits.bytes == MIB else "",
        )
    source = decoded(source)
    text = source.text.removeprefix(_MARK)
    _refuse_marks(source)
    if text.count("%TAG") > MOST_DIRECTIVES:
        place = source.span(source.text.find("%TAG"))
        raise LimitError(f"more than {MOST_DIRECTIVES} '%TAG' directives", place)
    if not HAS_LIBYAML:
        return _document(source, _pure(text, rules), rules, limits)
    try:
        return _document(source, lambda: CParser(text), rules, limits)
    except YamlError:
        if rules == "v4" and re.search(_LONG_LINE, text):
            # The text may be valid in yaml.v4, which does not limit the length of a key.
            # Parse the text again without libyaml, whose limit on keys cannot be changed.
            fewer = Limits(
                bytes=limits.bytes,
                depth=limits.depth,
                nodes=min(limits.nodes, NODES_WITH_LONG_KEY),
                expanded=limits.expanded,
                compared=limits.compared,
            )
            return _document(source, _pure(text, rules), rules, fewer)
        raise


def size_text(size: int) -> str:
    """Return a number of bytes as text, such as "1 MiB" or "1000 bytes"."""
    return f"{size // MIB} MiB" if size >= MIB and size % MIB == 0 else f"{size} bytes"


def decoded(source: Source) -> Source:
    """Return the source with decoded text. Raises YamlError if the encoding is invalid.

    As in Go, the encoding is UTF-8, or UTF-16 if the text begins with a byte order mark of UTF-16.
    """
    if source.text.startswith(("\udcff\udcfe", "\udcfe\udcff")):
        try:
            text = Source(source.name, source.data.decode("utf-16"))
        except UnicodeDecodeError as error:
            place = f"byte {error.start + 1} of {len(source.data)}"
            raise YamlError(
                f"invalid UTF-16 at {place}", source.span(0), hint="save the file as UTF-8"
            ) from None
        if text.text.startswith(_MARK):
            raise _mark_error(text, 0)
        return text
    try:
        source.text.encode()
    except UnicodeEncodeError as error:
        byte = ord(source.text[error.start]) & 0xFF
        raise YamlError(
            f"invalid UTF-8: byte 0x{byte:02x}", source.span(error.start), hint="save the file as UTF-8"
        ) from None
    return source


def _refuse_marks(source: Source) -> None:
    """Raise YamlError for a second byte order mark at the start of a line.

    libyaml skips the second mark, but Go reads it as a letter.
    """
    if _MARK in source.text[1:] and (found := re.search(_MARK_OF_LINE, source.text)):
        raise _mark_error(source, found.end() - 1)


def _mark_error(source: Source, position: int) -> YamlError:
    return YamlError(
        "a byte order mark at the start of a line is not allowed in YAML",
        source.span(position),
        hint="remove the invisible character U+FEFF",
    )


# These patterns are compiled on first use, so that importing this module stays fast.
_MARK_OF_LINE = "(?:[\n\r\x85\u2028\u2029]|\\A\ufeff)\ufeff"
_ESCAPE = r"(?s)\\."
_LONG_LINE = ".{1024}"
_UNPRINTABLE = "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"

# The maximum number of characters in a key without '?'. yaml.v4 has no limit.
# 4 * 4096 is enough for every path: 4096 bytes, each as an escape sequence (\xNN) of four characters.
_LONGEST_KEY: Final = {"v2": 1024, "v4": 4 * 4096}

_DEEPEST_FLOW: Final = 500

#: False if PyYAML was built without libyaml. The build of PyYAML does not warn in this case.
HAS_LIBYAML = True
try:
    from yaml._yaml import CParser
except ImportError:
    HAS_LIBYAML = False


def _pure(text: str, rules: Rules) -> Callable[[], Any]:
    # This import is not at the top, because PyYAML's reader takes milliseconds to compile its patterns.
    from .pure_yaml import PureParser

    return lambda: PureParser(text, _LONGEST_KEY[rules], _DEEPEST_FLOW)


def _document(source: Source, begin: Callable[[], Any], rules: Rules, limits: Limits) -> Node | None:
    """Return the first document. ``begin`` creates the parser, and may raise an error for an invalid text."""
    parser = None
    try:
        parser = begin()
        parser.get_event()  # StreamStart
        return _only_v4(source, parser, limits) if rules == "v4" else _first_v2(source, parser, limits)
    except MarkedYAMLError as error:
        if getattr(parser, "is_too_deep", False):
            raise _too_deep(source, error, behind=0, limits=limits) from None
        if error.problem and "maximum nesting depth" in error.problem:  # libyaml has this limit since 0.2.6
            raise _too_deep(source, error, behind=1, limits=limits) from None
        raise _syntax_error(source, error, rules) from None
    except YAMLError as error:  # a ReaderError
        raise _reader_error(source, error) from None
    finally:
        if parser is not None:
            parser.dispose()


def _too_deep(source: Source, error: MarkedYAMLError, *, behind: int, limits: Limits) -> LimitError:
    """Convert a parser's error into a LimitError for brackets that nest too deeply.

    ``behind`` is the number of characters from the refused bracket to the position of ``error``.
    """
    mark: Any = error.problem_mark
    place = source.span(min(mark.index - behind, len(source.text) - 1))
    return LimitError(f"nested more than {min(limits.depth, _DEEPEST_FLOW)} levels deep", place)


def _first_v2(source: Source, parser: Any, limits: Limits) -> Node | None:
    """Parse the first document and ignore the text after it. Return None if there is no document."""
    opening = parser.get_event()
    if isinstance(opening, StreamEndEvent):
        return None
    _refuse_version(source, opening, "v2")
    return _Composer(source, parser, "v2", limits).document()


def _only_v4(source: Source, parser: Any, limits: Limits) -> Node:
    """Return the only document. Raises YamlError if the text has no document or several documents.

    If a second document is invalid, raise the error of the second document.
    """
    opening = parser.get_event()
    if isinstance(opening, StreamEndEvent):
        error = YamlError("the file contains no YAML document", source.span(0), _ONE_DOCUMENT)
        raise _with_yaml_error(error, f"{_V4_PREFIX}no documents in stream")
    _refuse_version(source, opening, "v4")
    composer = _Composer(source, parser, "v4", limits)
    root = composer.document()
    second = following = parser.get_event()
    while not isinstance(following, StreamEndEvent):
        _refuse_version(source, following, "v4")
        composer.document()
        following = parser.get_event()
    if second is not following:
        error = YamlError("a second document starts here", _start(source, second), _ONE_DOCUMENT)
        raise _with_yaml_error(error, f"{_V4_PREFIX}expected single document, found multiple")
    return root


def _refuse_version(source: Source, opening: Any, rules: Rules) -> None:
    """Raise YamlError for a document with a directive such as ``%YAML 1.2``."""
    if opening.version in (None, (1, 1)):
        return
    place = _start(source, opening)
    words = "found incompatible YAML document"
    if rules == "v4":
        words = f"go-yaml load error in parser at {_v4_place(place)}: {words}"
    else:
        words = f"yaml: line {place.line - 1}: {words}" if place.line > 1 else f"yaml: {words}"
    raise _with_yaml_error(YamlError("the daemons read only YAML 1.1", place), words)


def _v4_place(span: Span) -> str:
    return f"L{span.line}.C{span.column}"


_ONE_DOCUMENT: Final = "Incus 7 requires exactly one document; older hosts read only the first document"
_V4_PREFIX: Final = "yaml: construct errors: <unknown position>: yaml: "


def _with_yaml_error(error: YamlError, words: str) -> YamlError:
    error.yaml_error = words
    return error


def _start(source: Source, event: Any) -> Span:
    return source.span(event.start_mark.index + _mark_width(source))


_MARK: Final = "\ufeff"


def _mark_width(source: Source) -> int:
    """Return 1 if the text starts with a byte order mark, and otherwise 0.

    The parser's positions do not include the mark, so callers add this width.
    """
    return 1 if source.text.startswith(_MARK) else 0


class _Composer:
    """A builder of nodes from parser events. The builder does not use recursion, and counts the nodes."""

    def __init__(self, source: Source, parser: Any, rules: Rules, limits: Limits) -> None:
        self.source = source
        self.parser = parser
        self.rules = rules
        self.limits = limits
        self.shift = _mark_width(source)
        self.anchors: dict[str, Node] = {}
        self.opened: list[Collection] = []
        self.nodes = 0
        self.expanded = 0
        self.compared = 0

    def document(self) -> Node:
        while True:
            event = self.parser.get_event()
            node: Node
            if isinstance(event, MappingStartEvent | SequenceStartEvent):
                self.open(event)
                continue
            if isinstance(event, ScalarEvent):
                node = self.scalar(event)
            elif isinstance(event, AliasEvent):
                node = self.aliased(event)
            else:
                node = self.close(event)
            if not self.opened:
                self.parser.get_event()  # DocumentEnd
                return node
            parent = self.opened[-1]
            if (
                isinstance(event, AliasEvent)
                and isinstance(parent, Mapping)
                and len(parent.children) % 2 == 0
            ):
                self.alias_key(event, parent, node)
            parent.children.append(node)
            parent.size += node.size
            parent.compared += node.compared

    def open(self, event: Any) -> None:
        span = self.span(event)
        kind = Mapping if isinstance(event, MappingStartEvent) else Sequence
        opened = kind(self.source, span.start, self.tag(event, span), bool(event.flow_style))
        if event.anchor:
            self.anchors[event.anchor] = opened
        self.opened.append(opened)
        if len(self.opened) > self.limits.depth:
            raise LimitError(f"nested more than {self.limits.depth} levels deep", span)
        self.count(1, span)

    def close(self, event: Any) -> Collection:
        collection = self.opened.pop()
        if collection.flow:
            collection.end = event.end_mark.index + self.shift
        elif collection.children:
            # The end mark of a block is at the next token, after any comments.
            # For messages, the end of the last child is a better position.
            collection.end = max(collection.start, collection.children[-1].end)
        if isinstance(collection, Mapping):
            self.compare(pairs := collection.compared_pairs(), collection.span)
            collection.compared += pairs
        return collection

    def compare(self, pairs: int, span: Span) -> None:
        self.compared += pairs
        if self.compared > self.limits.compared:
            raise LimitError(
                f"the mappings need more than {self.limits.compared} comparisons of keys",
                span,
                hint="use fewer keys: Incus 7 compares each key with every other key of its mapping",
            )

    def scalar(self, event: ScalarEvent) -> Scalar:
        span = self.span(event)
        tag = self.tag(event, span)
        if event.tag == "!" and event.value == "<<":
            # yaml.v4 treats '! <<' as a merge key. yaml.v2 also treats '! "<<"', with quotes, as a merge key.
            raise YamlError("tag '!' is not allowed before '<<'", span, hint="remove the tag")
        if event.tag == "!" and not event.style:
            # Incus 7.0.0 ignores the tag, but all other releases don't.
            message = "tag '!' is not allowed before a value without quotes"
            raise YamlError(message, span, hint="remove the tag, or quote the value")
        if tag == "!!merge" and event.value != "<<":  # a merge key for yaml.v4 only
            raise YamlError("tag '!!merge' is allowed only before '<<'", span, hint="remove the tag")
        if "?" in event.value and not event.style and self.opened and self.opened[-1].flow:
            self.check_question_marks(span)
        plain = bool(event.implicit[0]) and not event.tag
        if event.style == '"':
            self.check_escapes(span)
        scalar = Scalar(span, event.value, plain, tag)
        if event.anchor:
            self.anchors[event.anchor] = scalar
        self.count(1, span)
        return scalar

    def check_question_marks(self, span: Span) -> None:
        """Raise YamlError if an unquoted text inside brackets contains a '?', for example ``[a?b]``.

        libyaml accepts the '?'. yaml.v2 refuses it, and yaml.v4 refuses it only before a blank.
        """
        pattern = "[?]" if self.rules == "v2" else "[?](?=[\0\t\n\r \x85\u2028\u2029]|\\Z)"
        found = re.compile(pattern).search(self.source.text, span.start, span.end + 1)
        if found is not None and found.start() < span.end:
            place = self.source.span(*found.span())
            raise YamlError("an unquoted text in brackets can't contain '?'", place, "quote the text")

    def check_escapes(self, span: Span) -> None:
        """Raise YamlError for the escape ``\\/`` of YAML 1.2, which libyaml accepts, but Go does not."""
        for match in re.compile(_ESCAPE).finditer(self.source.text, span.start, span.end):
            if match[0] == "\\/":
                place = self.source.span(*match.span())
                words = "found unknown escape character"
                if self.rules == "v4":
                    end = f"C{place.column}" if place.line == span.line else _v4_place(place)
                    context = "scanner (while scanning a quoted scalar)"
                    words = f"go-yaml load error in {context} at {_v4_place(span)}-{end}: {words}"
                else:
                    words = f"yaml: line {place.line}: {words}" if place.line > 1 else f"yaml: {words}"
                raise _with_yaml_error(YamlError("unknown escape '\\/'", place), words)

    def aliased(self, event: AliasEvent) -> Node:
        span = self.span(event)
        node = self.anchors.get(event.anchor or "")
        if node is None:
            known = f"; known anchors: {', '.join(sorted(self.anchors))}" if self.anchors else ""
            hint = f"define an anchor with '&'{known}"
            words = f"yaml: unknown anchor '{event.anchor}' referenced"
            raise _with_yaml_error(YamlError(f"unknown anchor '{event.anchor}'", span, hint), words)
        if any(node is collection for collection in self.opened):
            raise YamlError(f"anchor '{event.anchor}' contains itself", span)
        self.count(node.size, span)
        self.compare(node.compared, span)
        return node

    def alias_key(self, event: AliasEvent, parent: Mapping, node: Node) -> None:
        span = self.span(event)
        if isinstance(node, Scalar) and node.text == "<<":
            # Go reads this key as a text, but most other programs read it as a merge key.
            raise YamlError("an alias of '<<' is not allowed as a key", span, hint="write '<<' itself")
        parent.alias_keys[len(parent.children)] = Alias(span, event.anchor or "")

    def count(self, size: int, span: Span) -> None:
        self.nodes += 1
        self.expanded += size
        if self.nodes > self.limits.nodes:
            raise LimitError(f"more than {self.limits.nodes} nodes", span)
        if self.expanded > self.limits.expanded:
            raise LimitError(
                f"more than {self.limits.expanded} nodes when aliases are expanded",
                span,
                hint="every level of aliases multiplies the number of nodes: use fewer levels",
            )

    def span(self, event: Any) -> Span:
        span = self.source.span(event.start_mark.index + self.shift, event.end_mark.index + self.shift)
        if span.start and self.source.text[span.start - 1] == "?":
            # Inside brackets, libyaml and yaml.v2 read '?a' as the key 'a', and yaml.v4 as the text '?a'.
            raise YamlError("'?' must be followed by a space", span, hint="remove the '?', or quote the text")
        return span

    def tag(self, event: Any, span: Span) -> str:
        if not event.tag or event.tag == "!":
            return ""
        written = str(event.tag)
        tag = "!!" + written.removeprefix(_TAG_PREFIX) if written.startswith(_TAG_PREFIX) else written
        if tag not in KNOWN_TAGS:
            raise YamlError(
                f"tag '{tag}' is not allowed", span, hint="remove the tag: the value does not need it"
            )
        return tag


#: the tags that have the same meaning in Go and YAML. Other tags can make a YAML loader construct objects.
KNOWN_TAGS: Final = frozenset(
    ("!!str", "!!int", "!!float", "!!bool", "!!null", "!!timestamp", "!!merge", "!!map", "!!seq")
)
_TAG_PREFIX = "tag:yaml.org,2002:"


def _reader_error(source: Source, error: YAMLError) -> YamlError:
    bad = re.search(_UNPRINTABLE, source.text)
    if bad is None:
        return YamlError(str(error.args[-1]), source.span(0))  # the reason
    return YamlError(
        f"control character U+{ord(bad[0]):04X} is not allowed in YAML",
        source.span(bad.start()),
        hint="write the character as an escape sequence inside double quotes",
    )


def _syntax_error(source: Source, error: MarkedYAMLError, rules: Rules) -> YamlError:
    mark: Any = error.problem_mark or error.context_mark
    position = min(mark.index + _mark_width(source), len(source.text)) if mark else 0
    context = f", {error.context}" if error.context else ""
    failure = YamlError(
        f"invalid YAML: {error.problem or 'the parser gives no reason'}{context}",
        source.span(position),
        hint=_syntax_hint(source.text, position),
        notes=_opened_at(source, error),
    )
    return _with_yaml_error(failure, _v4_words(error, mark) if rules == "v4" else _v2_words(error))


def _v2_words(error: Any) -> str:
    """Return the error text of yaml.v2."""
    # yaml.v2 omits the number of the first line. Other line numbers are correct for errors of the scanner,
    # but one too low for errors of the parser.
    line = error.problem_mark.line if error.problem_mark else 0
    if line:
        line += isinstance(error, ScannerError)
    elif error.context_mark:
        line = error.context_mark.line
    return f"yaml: line {line}: {error.problem}" if line else f"yaml: {error.problem}"


def _v4_words(error: Any, mark: Any) -> str:
    part = "scanner" if isinstance(error, ScannerError) else "parser"
    context = f" ({error.context})" if error.context else ""
    return f"go-yaml load error in {part}{context} at L{mark.line + 1}.C{mark.column + 1}: {error.problem}"


def _syntax_hint(text: str, position: int) -> str:
    if text[position : position + 1] == "\t":
        return "indent with spaces: YAML does not allow a tab here"
    if text[position : position + 1] in ("@", "`", "%"):
        return "quote the value"
    return ""


def _opened_at(source: Source, error: MarkedYAMLError) -> tuple[str, ...]:
    if error.context_mark is None or error.problem_mark is None:
        return ()
    if error.context_mark.line == error.problem_mark.line:
        return ()
    return (f"the element with the error begins in line {error.context_mark.line + 1}",)
