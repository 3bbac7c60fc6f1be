"""Loading and running of compiled templates.

This module imports neither the parser nor the compiler, because a cached template needs neither of them.
"""

from ..model.errors import InputError, LimitError, RenderError, TemplaterError
from ..model.unprintable_characters import printable
from . import runtime_calls_and_loops, values
from .render_state import DEFAULT_LIMITS, Fault, Limits, Program, Render
from .values import Failure, Panic, TooLarge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import CodeType
    from typing import Any

    Scope = dict[str, Any]


def load(code: "CodeType") -> Program:
    """Run generated code, import the filters and tags that the code uses, and return the program."""
    namespace: dict[str, Any] = dict(runtime_calls_and_loops.NAMESPACE)
    exec(code, namespace)  # noqa: S102 - templater's compiler wrote this code
    if namespace["PLACES"]:
        from . import error_positions

        namespace.update(error_positions.NAMESPACE)
    for alias, module, name in namespace["IMPORTS"]:
        namespace[alias] = getattr(__import__(module, None, None, ("*",)), name)
    return Program(namespace)


def execute(
    program: Program,
    context: "Mapping[str, Any]",
    clock: "float | None" = None,
    seed: "int | None" = None,
    limits: "Limits | None" = None,
) -> str:
    """Render a template and return its output.

    Raises:
        LimitError: a limit is exceeded.
        InputError: a value is not valid Unicode.
        Failure, Panic, Fault: rendering failed. The caller converts this error to a TemplaterError.
    """
    try:
        return program.unit(Render(program, context, clock, seed, limits or DEFAULT_LIMITS), 0)
    except TooLarge as error:
        raise LimitError(f"the template builds {error}, more than the limit of {values.MAX}") from None
    except RecursionError:
        raise LimitError("the template nests too deeply to be rendered") from None
    except MemoryError:
        raise LimitError("the template needs more memory than is available") from None
    except UnicodeEncodeError:
        raise InputError("a text of the context contains a lone surrogate") from None


def run(
    code: "CodeType",
    context: "Mapping[str, Any]",
    *,
    clock: "float | None" = None,
    seed: "int | None" = None,
    limits: "Limits | None" = None,
) -> str:
    """Render a cached template and return its output. Raises TemplaterError without a source position.

    To find the position, compile the source and render it again.
    """
    try:
        return execute(load(code), context, clock, seed, limits)
    except (Failure, Panic, Fault) as error:
        raise unplaced(error) from None


def unplaced(error: "Failure | Panic | Fault") -> TemplaterError:
    """Convert a failure into a RenderError without a source position."""
    made = RenderError(short_message(error.message))
    if isinstance(error, Fault):
        made.pongo2_error = error.text
    elif isinstance(error, Panic):
        made.pongo2_error = f"panic: {error.message}"
    return made


MAX_MESSAGE = 400


def short_message(message: str) -> str:
    """Return pongo2's message in templater's style: printable, and at most MAX_MESSAGE characters long."""
    message = message.removesuffix(".")
    if len(message) > MAX_MESSAGE:
        message = f"{message[:MAX_MESSAGE]}…"
    if message[:1].isupper() and not message[1:2].isupper():
        message = message[0].lower() + message[1:]
    return printable(message)
