"""Exceptions with a message, a source position, a hint and an exit code."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from .source import Span


class TemplaterError(Exception):
    """The base class of every error that templater raises on purpose.

    * ``message``: one line in lower case, without a full stop
    * ``span``: the position in the source, or None
    * ``hint``: what the user should do, or empty
    * ``notes``: further facts, one in each line
    """

    exit_code = 2
    kind = "error"

    def __init__(
        self,
        message: str,
        span: "Span | None" = None,
        hint: str = "",
        notes: "tuple[str, ...]" = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.span = span
        self.hint = hint
        self.notes = notes

    def __str__(self) -> str:
        return f"{self.span.place}: {self.message}" if self.span is not None else self.message

    def replace(
        self,
        *,
        message: "str | None" = None,
        span: "Span | None" = None,
        hint: "str | None" = None,
        notes: "tuple[str, ...] | None" = None,
    ) -> "Self":
        """Return a copy with the given fields replaced. The class and all other attributes stay the same."""
        copy = self.__class__.__new__(self.__class__)
        copy.__dict__.update(self.__dict__)
        for name, value in (("message", message), ("span", span), ("hint", hint), ("notes", notes)):
            if value is not None:
                copy.__dict__[name] = value
        copy.args = (copy.message,)
        return copy

    def explain(self) -> str:
        """Return the error as several lines: message, source line with carets, notes and hint."""
        lines = [str(self)]
        if self.span is not None:
            excerpt = self.span.excerpt()
            if excerpt:
                lines.append(excerpt)
        lines.extend(self.notes)
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class UsageError(TemplaterError):
    """The error for an invalid command line, or for an invalid argument of a call."""

    exit_code = 2
    kind = "usage"


class InputError(TemplaterError):
    """The error for an unreadable input: an image, an archive, or an instance description."""

    exit_code = 2
    kind = "input"


class MetadataError(InputError):
    """The error for a metadata.yaml that the daemons cannot decode.

    ``yaml_error`` is the error text of the host's YAML library, or None if it is unknown.
    """

    kind = "metadata"
    yaml_error: "str | None" = None


class RefusedError(TemplaterError):
    """The error for a refusal: templater changed nothing, because continuing would not be safe."""

    exit_code = 3
    kind = "refused"


class LimitError(TemplaterError):
    """The error for an input or a render that exceeds a limit on size, depth or time."""

    exit_code = 4
    kind = "limit"


class TemplateError(TemplaterError):
    """The error for a template that does not compile or render.

    ``pongo2_error`` is the error text that pongo2 would print, or None if it is unknown.
    """

    exit_code = 5
    kind = "template"
    pongo2_error: "str | None" = None


class TemplateSyntaxError(TemplateError):
    """The error for a template that does not compile."""

    kind = "syntax"


class RenderError(TemplateError):
    """The error for a template that compiles but fails while rendering."""

    kind = "render"


class HostError(TemplaterError):
    """The error for a failure that is predicted for the chosen host, but does not occur in templater."""

    exit_code = 5
    kind = "host"


class WriteError(TemplaterError):
    """The error for a write that the operating system refused.

    The previous content of the file is unchanged.
    """

    exit_code = 6
    kind = "write"


class KeptError(TemplaterError):
    """The error for files that templater did not overwrite, because a user has changed them.

    All other files are written.
    """

    exit_code = 1
    kind = "kept"


class BusyError(TemplaterError):
    """The error for a lock that another process holds."""

    exit_code = 7
    kind = "busy"


def reason(error: OSError) -> str:
    """Return the operating system's error text in lower case, as templater's messages use it."""
    return (error.strerror or str(error)).lower()


def described_bug(error: BaseException) -> str:
    """Return the type and position of an unexpected error.

    Leave out the message, which may quote a password.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
    return type(error).__name__ + place
