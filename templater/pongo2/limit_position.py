"""The source position at which a render exceeded a limit."""

from ..model.errors import LimitError
from ..model.source import Span
from .parse_with_includes import Compilation

#: the largest template (in characters) for which templater finds the source position of an exceeded limit
MAX_LOCATED = 64 << 10
#: the file name of generated code in tracebacks
GENERATED = "<template>"
#: a pattern for the numbers of source positions in generated code
_PLACE = r"(?:\bat|_at)\(render, (\d+)"


def reached(compilation: Compilation, error: LimitError) -> Span | None:
    """Return the source position of the loop, call or filter that exceeded a limit, or None.

    The limit on the whole output has no position.
    """
    from .codegen.compiler import source_of

    line = line_of(error) or line_of(error.__context__)
    failed = isinstance(error.__context__, RecursionError | MemoryError)
    if not line or failed or len(compilation.source.text) > MAX_LOCATED:
        return None
    # Generate the code again, with source positions on the same lines.
    try:
        plain = source_of(compilation.module(spans=False)).split("\n")
        module = compilation.module(spans=True)
        located = source_of(module).split("\n")
    except (LimitError, RecursionError):
        return None
    place = place_at(located, line - 1) if len(located) == len(plain) else None
    return None if place is None else module.emitter.places[place].span


def line_of(error: BaseException | None) -> int:
    """Return the number of the innermost line of generated code in an error's traceback, or 0."""
    found = 0
    trace = None if error is None else error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == GENERATED:
            found = trace.tb_lineno
        trace = trace.tb_next
    return found


def place_at(lines: list[str], number: int) -> int | None:
    """Return the number of the source position in line ``number`` of generated code, or None.

    If this line only measures work, use the nearest earlier line that has the number of a position.
    """
    import re

    if "finish(render, " in lines[number]:
        return None
    own, counted = re.search(_PLACE, lines[number]), "= spent(" in lines[number]
    while own is None and counted and number:
        number -= 1
        own = re.search(_PLACE, lines[number])
    return None if own is None else int(own[1])
