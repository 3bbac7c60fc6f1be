"""A store of rendered texts.

A text stays valid as long as its template, and the values that the template reads, do not change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from ..model.errors import TemplaterError
from ..pongo2.dialect import DIALECTS
from ..pongo2.names_read import MAX_FOR_KEYS, nodes, reads_of
from ..pongo2.parse_with_includes import Compilation
from ..pongo2.render_state import DAEMON_NAMES, VERSION, Limits
from ..pongo2.syntax import tree
from ..pongo2.syntax.tokens import IDENTIFIER
from ..pongo2.values import MethodMap
from .render import Compiled

if TYPE_CHECKING:
    from ..model.entry import TemplateFile
    from ..model.render_options import RenderOptions
    from ..model.source import Source
    from ..pongo2.names_read import Read

#: maximum size in bytes of the results that a run stores for the next run
MOST = 32 << 20
#: estimated bytes of memory for a result without its text, and for each `Read` in the result of `parse`
OVERHEAD, PER_READ = 1 << 10, 1 << 10
#: a value with more characters is compared by its hash, so that no long old value stays in memory
LONG = 1 << 10
#: the limits that can affect a text
BOUNDS = tuple(name for name in Limits.__slots__ if name != "deadline")
#: the tags and filters whose output depends on the clock or the seed
VOLATILE = frozenset(("now", "lorem", "random"))
#: aliases in the context, and the map that each alias stands for
ALIASES = {"container": "instance", "config_get": "config"}
#: the maps whose keys a template can name one by one
MAPS = frozenset(("config", "instance", "properties"))

#: a variable that a template reads, or a map and one constant key that the template reads in the map
Name = tuple[str, ...]


class Parsed(NamedTuple):
    """The inputs on which the rendered text of a template depends."""

    reads: tuple[Read, ...]
    #: the names of variables and maps whose values decide the text
    names: tuple[Name, ...]
    #: whether the text depends on the clock or the seed
    volatile: bool


class Memo:
    """A store of results, such as rendered texts, for runs that plan, check or test an image.

    Each run reuses the previous run's results, at most ``MOST`` bytes. Errors are not stored.
    """

    def __init__(self) -> None:
        # A key contains everything on which its result depends.
        self._last: dict[Any, tuple[Any, int]] = {}
        self._now: dict[Any, tuple[Any, int]] = {}
        self._size = 0

    def begin(self) -> None:
        """Begin another run. Keep only the results that the last run used or added."""
        if self._now:  # if the last run failed early and used no result, keep all results
            self._last, self._now, self._size = self._now, {}, 0

    def result(self, key: Any, make: Callable[[], Any], size: Callable[[Any], int]) -> Any:
        """Return the stored result for ``key``.

        Without a stored result, call ``make`` and store the new result. ``size`` returns the size of a result
        in bytes.
        """
        found = self._now.get(key)
        if found is None:
            found = self._last.get(key)
            if found is None:
                made = make()
                found = made, size(made)
            if self._size + found[1] <= MOST:
                self._now[key] = found
                self._size += found[1]
        return found[0]

    def parsed(self, source: Source, dialect: str) -> Parsed:
        """Parse a template, or return the stored result for an equal text.

        The positions in a stored result can refer to another source that has an equal text.

        Raises TemplaterError if the template is invalid.
        """
        key = _hash(source.text), dialect
        return self.result(  # type: ignore[no-any-return]
            key,
            lambda: parse(source, dialect),
            lambda parsed: OVERHEAD + _size(source.text) + PER_READ * len(parsed.reads),
        )

    def compiled(self, templates: Mapping[str, TemplateFile], options: RenderOptions) -> Compiled:
        """Return an object for `render` that renders these templates and reuses the texts in this store."""
        return _Templates(self, templates, options)


class _Templates(Compiled):
    __slots__ = ("bounds", "memo")

    def __init__(self, memo: Memo, templates: Mapping[str, TemplateFile], options: RenderOptions) -> None:
        super().__init__(templates, options)
        self.memo = memo
        limits = options.limits
        self.bounds = limits and tuple(getattr(limits, name) for name in BOUNDS)

    def compile(self, name: str, data: bytes) -> Callable[[Mapping[str, Any]], str]:
        options, file = self.options, self.templates.get(name)
        if file is None or len(data) > MAX_FOR_KEYS:
            return super().compile(name, data)
        try:
            parsed = self.memo.parsed(file.source(f"templates/{name}"), options.dialect)
        except TemplaterError:
            return super().compile(name, data)  # this call raises the error of the template
        times = (options.clock, options.seed) if parsed.volatile else ()
        if None in times:
            return super().compile(name, data)
        own = sha256(data).digest(), options.dialect, self.bounds, times
        made: list[Callable[[Mapping[str, Any]], str]] = []

        def run(context: Mapping[str, Any]) -> str:
            if not made:
                made.append(Compiled.compile(self, name, data))
            return made[0](context)

        def remembered(context: Mapping[str, Any]) -> str:
            key = own, context.get(VERSION), *(_value(context, name) for name in parsed.names)
            return self.memo.result(  # type: ignore[no-any-return]
                key, lambda: run(context), lambda text: OVERHEAD + _size(text)
            )

        return remembered


def parse(source: Source, dialect: str) -> Parsed:
    """Find the names on which the rendered text of a template depends.

    If the template reads a map only by constant keys, return the keys instead of the map's name.

    Raises TemplaterError if the template is invalid.
    """
    document = Compilation(source, DIALECTS[dialect]).parsed()
    # Each identifier that equals the name of a daemon variable counts, even the member in ``x.config``.
    counted = Counter(token.value for token in document.tokens if token.kind == IDENTIFIER)
    paths: Counter[str] = Counter()
    keys: dict[str, set[str | None]] = {}
    for node in nodes(document):
        if isinstance(node, tree.Path):
            paths[node.name] += 1
            keys.setdefault(node.name, set()).add(_key(node))
    names: set[Name] = set()
    for word in counted.keys() & DAEMON_NAMES:
        root = ALIASES.get(word, word)
        found = keys.get(word, set())
        if root in MAPS and None not in found and counted[word] == paths[word]:
            names.update((root, key) for key in found if key is not None)
        else:
            names.add((root,))
    return Parsed(reads_of(document), tuple(sorted(names)), not VOLATILE.isdisjoint(counted))


def _key(path: tree.Path) -> str | None:
    """Return the constant key that an expression such as ``config.key`` reads in a map, or None."""
    first, *others = path.parts
    if first.key == "config_get":
        key: object = first.arguments[0] if first.arguments else None
    else:
        key = others[0].key if others and first.arguments is None else None
    if isinstance(key, tree.Literal):
        key = key.value
    return key if isinstance(key, str) else None


def _value(context: Mapping[str, Any], name: Name) -> Any:
    """Return the value of a name, in a hashable form for the key of a result."""
    value = context[name[0]]
    return _frozen(value.get(name[1]) if len(name) > 1 else value)


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        # Hosts sort devices in different orders, so the methods of ``devices`` depend on the host.
        methods = id(value.methods) if isinstance(value, MethodMap) else None
        return methods, *((key, _frozen(each)) for key, each in value.items())
    return _hash(value) if isinstance(value, str) and len(value) > LONG else value


def _hash(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def _size(text: str) -> int:
    return len(text) if text.isascii() else 4 * len(text)
