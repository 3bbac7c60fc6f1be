"""The runtime of compiled templates.

A cached compilation needs only this module, ``values`` and the filters that it uses. Its imports are few.
"""

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
    """Run the module of a compilation, and import the functions of filters and tags that it uses."""
    namespace: dict[str, Any] = dict(operations.NAMESPACE)
    exec(code, namespace)  # noqa: S102 - templater's compiler wrote this code
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
    """Render a template.

    Raises LimitError if a limit is exceeded, and InputError for text that is not valid Unicode. Any other
    failure is a Failure, Panic or Fault, which the caller converts to a TemplaterError.
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
        raise InputError("a value of the context contains half of a surrogate pair") from None


def run(
    code: "CodeType",
    context: "Mapping[str, Any]",
    *,
    clock: "float | None" = None,
    seed: "int | None" = None,
    limits: "Limits | None" = None,
) -> str:
    """Render a cached compilation. Raises TemplaterError without a place.

    To find the place, compile the template again with spans.
    """
    try:
        return execute(load(code), context, clock, seed, limits)
    except (Failure, Panic, Fault) as error:
        raise unplaced(error) from None


def unplaced(error: "Failure | Panic | Fault") -> TemplaterError:
    """Return a failure as an error without a place."""
    made = RenderError(short_message(error.message))
    if isinstance(error, Fault):
        made.pongo2_error = error.text
    return made


MAX_MESSAGE = 400


def short_message(message: str) -> str:
    """Return a message of pongo2 in templater's style: printable, and cut if a value makes it too long."""
    message = message.removesuffix(".")
    if len(message) > MAX_MESSAGE:
        message = f"{message[:MAX_MESSAGE]}…"
    if message[:1].isupper() and not message[1:2].isupper():
        message = message[0].lower() + message[1:]
    return printable(message)
