"""The names that a template reads from its context.

The names are found in the parsed template, without a render.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from ..model.errors import TemplaterError
from ..model.source import Source, Span
from .dialect import Dialect
from .parse_with_includes import Compilation
from .syntax import tree

#: maximum size in bytes of a template that is parsed again to find its configuration keys
MAX_FOR_KEYS = 256 << 10
#: names that pongo2 defines, so that no context needs to supply them
BUILT_IN = frozenset(("block", "forloop", "pongo2"))


class Read(NamedTuple):
    """One variable that a template reads.

    * ``path``: the root name and its members, such as ``("instance", "name")``, up to a computed subscript
    * ``spans``: the source position of each part of the path
    * ``key``: KEY in ``config_get("KEY", …)``, ``config["KEY"]`` or ``config.KEY``, otherwise None
    """

    path: tuple[str, ...]
    spans: tuple[Span, ...]
    key: str | None = None

    @property
    def span(self) -> Span:
        """Return the source range from the first part of the path to its last part."""
        first, last = self.spans[0], self.spans[-1]
        return Span(first.source, first.start, max(first.end, last.end))

    @property
    def name(self) -> str:
        """Return the path in dotted form."""
        return ".".join(self.path)


def reads_of(document: tree.Document) -> tuple[Read, ...]:
    """Return the variables that a parsed document reads, in the order of the source.

    Omit every name that the document binds anywhere, with ``set``, ``for``, ``with`` or a macro.
    """
    found = [read_of(path) for path in paths(document) if path.name not in document.bound]
    return tuple(sorted(found, key=lambda read: (read.span.source.name, read.span.start)))


def read_of(path: tree.Path) -> Read:
    names, spans = [], []
    for part in path.parts:
        key = part.key.value if isinstance(part.key, tree.Literal) else part.key
        if isinstance(key, tree.Expression):
            break
        names.append(str(key))
        spans.append(part.token.span)
    return Read(tuple(names), tuple(spans), config_key(path))


def config_key(path: tree.Path) -> str | None:
    first, *others = path.parts
    if first.key == "config_get":
        key: object = first.arguments[0] if first.arguments else None
    else:
        key = others[0].key if first.key == "config" and others else None
    return key.value if isinstance(key, tree.Literal) and isinstance(key.value, str) else None


def paths(document: tree.Document) -> Iterator[tree.Path]:
    """Yield every variable in a document and in the documents that the document includes or extends."""
    return (node for node in nodes(document) if isinstance(node, tree.Path))


def nodes(part: object) -> Iterator[Any]:
    """Yield every node of ``part``, which is a document or a part of a document.

    Also yield the nodes of the documents that ``part`` includes or extends.
    """
    waiting = [part]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, tree.Document):
            if id(node) not in seen:
                seen.add(id(node))
                waiting += [node.body, *node.blocks.values(), node.parent]
        elif isinstance(node, list | tuple):
            waiting += node
        elif isinstance(node, tree.NODES):
            yield node
            waiting += [getattr(node, name) for name in fields(type(node))]


def fields(kind: type) -> list[str]:
    """Return the names of the attributes of a tree class and its base classes, except ``token``."""
    return [name for base in kind.__mro__ for name in getattr(base, "__slots__", ()) if name != "token"]


def config_keys(template: Source | bytes, dialect: Dialect) -> tuple[str, ...]:
    """Return the configuration keys that a template reads, sorted. Computed keys are missing.

    Return () for a template with a syntax error or more than ``MAX_FOR_KEYS`` bytes.
    """
    source = template if isinstance(template, Source) else Source("<template>", template)
    if len(source.data) > MAX_FOR_KEYS:
        return ()
    try:
        found = {read.key for read in reads_of(Compilation(source, dialect).parsed())}
    except TemplaterError:
        return ()
    return tuple(sorted(key for key in found if key is not None and not {"\0", "\n"}.intersection(key)))
