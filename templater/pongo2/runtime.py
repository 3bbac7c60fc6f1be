"""Running compiled templates. Lean: a kept compilation needs this, ``values`` and its filters only."""

from ..model.errors import InputError, LimitError, RenderError, TemplaterError
from ..model.source import printable
from . import operations, values
from .state import DEFAULT_LIMITS, Fault, Limits, Program, Render
from .values import Failure, Panic, TooLarge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import CodeType
    from typing import Any

    Scope = dict[str, Any]


def load(code: "CodeType") -> Program:
    """Run a compilation's module and fetch the filters and tags' functions that it names."""
    namespace: dict[str, Any] = dict(operations.NAMESPACE)
    exec(code, namespace)  # noqa: S102 - the code that our own compiler wrote
    if namespace["PLACES"]:
        from . import located

        namespace.update(located.NAMESPACE)
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
    """Render, or raise: LimitError, or a Failure, Panic or Fault that the caller makes an error of."""
    try:
        return program.unit(Render(program, context, clock, seed, limits or DEFAULT_LIMITS), 0)
    except TooLarge as error:
        raise LimitError(f"the template builds {error}, more than the limit of {values.MAX}") from None
    except RecursionError:
        raise LimitError("the template nests too deeply to be rendered") from None
    except MemoryError:
        raise LimitError("the template needs more memory than there is") from None
    except UnicodeEncodeError:
        raise InputError("a value of the context contains half of a surrogate pair") from None


def run(
    code: "CodeType",
    context: "Mapping[str, Any]",
    *,
    clock: "float | None" = None,
    seed: "int | None" = None,
    limits: "Limits | None" = None,
) -> str:
    """Render a kept compilation. A failure has no place: compile again with spans to find it."""
    try:
        return execute(load(code), context, clock, seed, limits)
    except (Failure, Panic, Fault) as error:
        raise unplaced(error) from None


def unplaced(error: "Failure | Panic | Fault") -> TemplaterError:
    """The error without a place."""
    made = RenderError(short_message(error.message))
    if isinstance(error, Fault):
        made.pongo2_error = error.text
    return made


MAX_MESSAGE = 400


def short_message(message: str) -> str:
    """Return pongo2's message in templater's style, printable. Some contain a value of any length."""
    message = message.removesuffix(".")
    if len(message) > MAX_MESSAGE:
        message = f"{message[:MAX_MESSAGE]}…"
    if message[:1].isupper() and not message[1:2].isupper():
        message = message[0].lower() + message[1:]
    return printable(message)
