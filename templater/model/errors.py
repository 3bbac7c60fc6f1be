"""Everything that can go wrong, as values a caller can act on: a message, a place, a hint, an exit code."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from .source import Span


class TemplaterError(Exception):
    """The root of every error that this package raises on purpose.

    ``message`` is one line, lower case, no full stop. ``span`` is the place it is about, if one is
    known. ``hint`` is what the user can do, or empty. ``notes`` are further places or facts, one a
    line (the metadata.yaml line of the rule, pongo2's own words), shown by ``explain()`` only.
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
        """Return a copy, of the same class and with everything else that it knows, in which these differ."""
        copy = self.__class__.__new__(self.__class__)
        copy.__dict__.update(self.__dict__)
        for name, value in (("message", message), ("span", span), ("hint", hint), ("notes", notes)):
            if value is not None:
                copy.__dict__[name] = value
        copy.args = (copy.message,)
        return copy

    def explain(self) -> str:
        """The error with its source line, the caret, notes and hint, as several lines."""
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
    """The command line, or a call, asks for something that does not exist or does not fit."""

    exit_code = 2
    kind = "usage"


class InputError(TemplaterError):
    """Something handed in can't be read: an image, an archive, an instance description."""

    exit_code = 2
    kind = "input"


class MetadataError(InputError):
    """metadata.yaml is not what Go would decode.

    ``yaml_error`` is the text of the host's YAML library, where it is known.
    """

    kind = "metadata"
    yaml_error: "str | None" = None


class RefusedError(TemplaterError):
    """Carrying on would not be safe, so nothing was done."""

    exit_code = 3
    kind = "refused"


class LimitError(TemplaterError):
    """An input or a render is larger, deeper or slower than its limit."""

    exit_code = 4
    kind = "limit"


class TemplateError(TemplaterError):
    """A template does not compile or does not render.

    ``pongo2_error`` is the text that pongo2 itself would have printed, where it is known.
    """

    exit_code = 5
    kind = "template"
    pongo2_error: "str | None" = None


class TemplateSyntaxError(TemplateError):
    """A template does not compile."""

    kind = "syntax"


class RenderError(TemplateError):
    """A template compiled, and failed while rendering."""

    kind = "render"


class HostError(TemplaterError):
    """The chosen host would fail where templater itself would not."""

    exit_code = 5
    kind = "host"


class WriteError(TemplaterError):
    """The kernel refused a write; what was there before is still there."""

    exit_code = 6
    kind = "write"


class BusyError(TemplaterError):
    """Another process holds the lock."""

    exit_code = 7
    kind = "busy"


def reason(error: OSError) -> str:
    """The kernel's own words, as ours are written: lower case."""
    return (error.strerror or str(error)).lower()
