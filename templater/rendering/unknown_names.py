"""Detection of names that a template reads but no host provides.

Nearly all names that no host provides are typing mistakes. pongo2 renders such a name as empty text, without
an error.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from ..model.errors import TemplaterError
from ..model.source import Source, Span
from ..model.unprintable_characters import printable
from ..pongo2.dialect import DIALECTS
from ..pongo2.names_read import BUILT_IN, Read
from ..pongo2.parse_with_includes import Compilation
from ..pongo2.render_state import DAEMON_NAMES
from ..pongo2.syntax.hints import did_you_mean
from ..pongo2.values import LOOP_FIELDS

INSTANCE_FIELDS = ("name", "type", "architecture", "ephemeral", "privileged")
#: the members of each name; the members of all other names depend on the instance
MEMBERS = {
    "container": INSTANCE_FIELDS,
    "instance": INSTANCE_FIELDS,
    "forloop": LOOP_FIELDS,
    "pongo2": ("version",),
}
#: the maximum number of characters in the arguments that a hint repeats
_LONGEST_CALL = 200


class UnknownName(NamedTuple):
    """A name that renders as empty text.

    * ``span``: the position of the unknown part
    * ``hint``: a hint, or ""
    * ``part``: the index of the unknown part in the variable's path, or None if the whole path is unknown
    """

    name: str
    span: Span
    message: str
    hint: str
    part: int | None


def unknown_names(
    template: Source | tuple[Read, ...], dialect: str, properties: Collection[str] | None = None
) -> tuple[UnknownName, ...]:
    """Return the names in ``template`` that no host provides, each at its first position.

    * ``template``: a source or the result of ``parsed_reads``. For an invalid source, return ().
    * ``properties``: the names of the rule's properties, or None to skip their check
    """
    try:
        reads = parsed_reads(template, dialect) if isinstance(template, Source) else template
    except TemplaterError:
        return ()
    found: dict[str, UnknownName] = {}
    for same in grouped(reads):
        for unknown in check(same[0], properties):
            found.setdefault(unknown.name, unknown)
    return tuple(found.values())


def grouped(reads: Iterable[Read]) -> Iterable[list[Read]]:
    """Group the uses of the same name. Callers need to pass only one use of each group to `check`."""
    found: dict[tuple[tuple[str, ...], str | None], list[Read]] = {}
    for read in reads:
        found.setdefault((read.path, read.key), []).append(read)
    return found.values()


def parsed_reads(source: Source, dialect: str) -> tuple[Read, ...]:
    from ..pongo2.names_read import reads_of

    return reads_of(Compilation(source, DIALECTS[dialect]).parsed())


def check(read: Read, properties: Collection[str] | None) -> Iterator[UnknownName]:
    root = read.path[0]
    if root not in DAEMON_NAMES and root not in BUILT_IN:
        field = "name" if root == "hostname" else root
        known = field in INSTANCE_FIELDS
        hint = f"did you mean 'instance.{field}'?" if known else did_you_mean(root, sorted(DAEMON_NAMES))
        yield unknown(root, read, 0, f"no host provides '{printable(root)}'", hint)
        return
    if len(read.path) < 2:
        return
    name = ".".join(read.path[:2])
    if root == "config" and read.key is None:
        key = ".".join(read.path[1:])
        dotted = key if "." in key else f"user.{key}"
        hint = f'dots are part of a configuration key: write config_get("{dotted}", "")'
        if key == "get" and (arguments := called_with(read.span)):
            hint = f"'config' has no functions: write config_get({arguments})"
        yield unknown(read.name, read, None, f"no host provides '{printable(read.name)}'", hint)
    members = properties if root == "properties" else MEMBERS.get(root)
    if members is not None and read.path[1] not in members:
        hint = did_you_mean(read.path[1], sorted(members))
        yield unknown(name, read, 1, f"no host provides '{printable(name)}'", hint)


def called_with(span: Span) -> str:
    """Return two arguments for ``config_get`` in a hint. Copy them from the call at the end of ``span``.

    Return "" if there is no call, or if its arguments are too long.
    """
    text = span.source.text[span.end : span.end + _LONGEST_CALL]
    arguments, end, _ = text.partition("\n")[0].partition(")")
    if not end or arguments[:1] != "(" or not arguments[1:].strip():
        return ""
    return arguments[1:] if "," in arguments else f'{arguments[1:]}, ""'


def unknown(name: str, read: Read, part: int | None, message: str, hint: str) -> UnknownName:
    return UnknownName(name, span_of(read, part), message, printable(hint), part)


def span_of(read: Read, part: int | None) -> Span:
    """Return the position of one part of a variable, or of the whole variable if ``part`` is None."""
    return read.span if part is None else read.spans[part]
