"""Plans as unified patches for patch(1) and git apply."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import Match, SequenceMatcher

from ..model.plan import CREATE, UPDATE, Change, Plan
from ..model.unprintable_characters import printable

NO_NEWLINE = "\\ No newline at end of file\n"

#: limits on comparisons of lines, per file and per patch; a file above the limit becomes one hunk
MAX_WORK = 2_000_000
MAX_TOTAL_WORK = 10_000_000

#: limit on the lines of a file before and after the change; a longer file becomes one hunk
MAX_LINES = 200_000

CONTEXT = 3


def diff(plan: Plan) -> str:
    """Return the changes of ``plan.files()`` as a patch for ``patch -p1`` in the root filesystem.

    The caller must encode the patch with ``surrogateescape``.
    """
    # Surrogates stand for bytes that are not UTF-8. Lines that begin with ``#`` show owners and other facts.
    # patch(1) skips these lines.
    return "".join(files(plan))


def files(plan: Plan) -> Iterator[str]:
    """Yield the patch of each file, because the patch of all files can be too large for memory."""
    work = Work()
    for change in plan.files():
        yield file_patch(change, work)


def file_patch(change: Change, work: Work) -> str:
    """Return the patch of one file. ``work`` limits the number of comparisons for several files together."""
    return "".join(_file(change, work))


def of_text(name: str, before: bytes, after: bytes) -> str:
    """Return a patch of one file for ``patch -p0``. ``name`` is the file's path in the patch."""
    shown = header(name)
    return "".join([f"--- {shown}\n", f"+++ {shown}\n", *body(before, after, Work())])


class Work:
    """The number of comparisons in one patch so far."""

    def __init__(self) -> None:
        self.total = 0


class _TooMuch(Exception):
    """Raised if the comparison of a file exceeds the limit on comparisons."""


class _Matcher(SequenceMatcher[str]):
    """A SequenceMatcher that limits comparisons, because their number grows fast with the text's size."""

    def __init__(self, before: Sequence[str], after: Sequence[str], work: Work) -> None:
        super().__init__(None, before, after)
        self._before = before
        #: the indexes of each line in ``after``; very frequent lines are omitted
        self._places: dict[str, list[int]] = vars(self)["b2j"]
        self._work = work
        self._left = min(MAX_WORK, MAX_TOTAL_WORK - work.total)

    def find_longest_match(
        self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None
    ) -> Match:
        lines = self._before[alo:ahi]
        needed = len(lines) + sum(len(self._places.get(line, ())) for line in lines)
        self._left -= needed
        if self._left < 0:
            raise _TooMuch
        self._work.total += needed
        return super().find_longest_match(alo, ahi, blo, bhi)


def _file(change: Change, work: Work) -> Iterator[str]:
    yield from _remarks(change)
    if change.action == UPDATE and change.before is None:
        yield "# too large to compare line by line\n"
        return
    name = change.real.lstrip("/")
    if change.before is None:
        # Without quotes, patch(1) cannot separate two names that contain spaces.
        yield f"diff --git {quoted('a/' + name, blanks=True)} {quoted('b/' + name, blanks=True)}\n"
        yield f"new file mode 100{change.mode & 0o777:03o}\n"
    old = "/dev/null" if change.before is None else header("a/" + name)
    if (change.before or b"") != (change.content or b""):
        yield f"--- {old}\n"
        yield f"+++ {header('b/' + name)}\n"
        yield from body(change.before or b"", change.content or b"", work)


def body(before: bytes, after: bytes, work: Work) -> Iterator[str]:
    if before.count(b"\n") + after.count(b"\n") <= MAX_LINES:
        yield from _hunks(_lines(before), _lines(after), work)
        return
    # A Python string for each line would need 30 times the memory of the text.
    yield f"@@ -{_range(0, _count(before))} +{_range(0, _count(after))} @@\n"
    for mark, text in (("-", before), ("+", after)):
        if text:
            marked = text.removesuffix(b"\n").decode("utf-8", "surrogateescape").replace("\n", f"\n{mark}")
            yield f"{mark}{marked}\n"
            yield "" if text.endswith(b"\n") else NO_NEWLINE


def _remarks(change: Change) -> Iterator[str]:
    facts = f"{change.uid}:{change.gid} {change.mode:04o}"
    verb = "new, " if change.action == CREATE else ""
    cause = f"{printable(change.rule.template)} on {printable(change.trigger)}"
    yield f"# {printable(change.real)}: {verb}{facts}, {cause}\n"
    if change.real != change.path and change.path.startswith("/"):
        yield f"# the rule names {printable(change.path)}; a symlink leads from there to this file\n"


def _hunks(before: Sequence[str], after: Sequence[str], work: Work) -> Iterator[str]:
    try:
        groups = list(_Matcher(before, after, work).get_grouped_opcodes(CONTEXT))
    except _TooMuch:
        yield from _one_hunk(before, after)
        return
    for group in groups:
        _, first, _, start, _ = group[0]
        _, _, last, _, end = group[-1]
        yield f"@@ -{_range(first, last)} +{_range(start, end)} @@\n"
        for kind, old, old_end, new, new_end in group:
            marks = (
                [(" ", before[old:old_end])]
                if kind == "equal"
                else [("-", before[old:old_end]), ("+", after[new:new_end])]
            )
            for mark, lines in marks:
                for line in lines:
                    yield from _ended(mark + line)


def _range(start: int, stop: int) -> str:
    """Return a range of lines as diff writes it."""
    length = stop - start
    if length == 1:
        return str(start + 1)
    return f"{start if length == 0 else start + 1},{length}"


def _one_hunk(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """Yield one hunk that replaces all lines from the first difference to the last difference."""
    head = 0
    while head < min(len(before), len(after)) and before[head] == after[head]:
        head += 1
    tail = 0
    while tail < min(len(before), len(after)) - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    start = max(0, head - CONTEXT)
    end = max(0, tail - CONTEXT)
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    yield f"@@ -{start + 1},{len(old)} +{start + 1},{len(new)} @@\n"
    kept = old[: head - start], old[len(old) - (tail - end) :] if tail > end else ()
    for mark, lines in (
        (" ", kept[0]),
        ("-", before[head : len(before) - tail]),
        ("+", after[head : len(after) - tail]),
        (" ", kept[1]),
    ):
        for line in lines:
            yield from _ended(mark + line)


def _ended(line: str) -> Iterator[str]:
    yield line if line.endswith("\n") else line + "\n"
    if not line.endswith("\n"):
        yield NO_NEWLINE


def _count(content: bytes) -> int:
    """Return the number of lines, including a last line without a newline."""
    return content.count(b"\n") + (content != b"" and not content.endswith(b"\n"))


def _lines(content: bytes) -> list[str]:
    """Split at newlines only. ``str.splitlines`` would also split at form feeds and U+2028."""
    parts = content.decode("utf-8", "surrogateescape").split("\n")
    lines = [part + "\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines


def header(name: str) -> str:
    """Return a file name for a header. A tab marks the end of a name with spaces."""
    shown = quoted(name)
    return f"{shown}\t" if shown == name and " " in name else shown


def quoted(name: str, *, blanks: bool = False) -> str:
    """Quote a file name as git does, if the name needs quotes."""
    if name.isprintable() and not any(char in name for char in ('"', "\\", " " if blanks else '"')):
        return name
    shown_bytes = "".join(
        f"\\{byte:03o}" if byte < 0x20 or byte >= 0x7F else chr(byte)
        for byte in name.replace("\\", "\\\\").replace('"', '\\"').encode("utf-8", "surrogateescape")
    )
    return f'"{shown_bytes}"'
