"""Rendering of the rules that match a trigger. This module does not read a root filesystem."""

from ..model.entry import FILE, SYMLINK, TemplateFile
from ..model.errors import (
    LimitError,
    MetadataError,
    RefusedError,
    RenderError,
    TemplateError,
    TemplaterError,
)
from ..model.unprintable_characters import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType
    from typing import Any

    from ..model.instance import Instance
    from ..model.metadata import Metadata, Rule
    from ..model.render_options import RenderOptions
    from ..model.source import Source
    from ..pongo2.compiled_template import Template
    from ..pongo2.render_state import Limits
    from .instance_context import Contexts

MAX_RENDERINGS = 10_000
#: maximum total bytes of the files that one call of `render` renders; the sandboxed child process of a hook
#: may send the same number of bytes
MAX_TOTAL = 64 << 20
#: the size in bytes of a template above which garbage is collected right after the compilation
LARGE = 1 << 19


class Rendering:
    """The ``content`` that one rule renders for one trigger, or the ``error`` of a failed render."""

    __slots__ = ("content", "error", "rule", "trigger")

    def __init__(
        self,
        rule: "Rule",
        trigger: str,
        content: "bytes | None" = None,
        error: "TemplaterError | None" = None,
    ) -> None:
        self.rule = rule
        self.trigger = trigger
        self.content = content
        self.error = error


def render(
    metadata: "Metadata",
    templates: "Mapping[str, TemplateFile] | Compiled",
    instance: "Instance",
    triggers: "tuple[str, ...]",
    options: "RenderOptions",
    *,
    codes: "Mapping[str, CodeType] | None" = None,
) -> "list[Rendering]":
    """Render the matching rules of each trigger, in the order of the triggers and of metadata.yaml.

    The rendering of a failed rule has an ``error``. ``codes`` has cached code by template name.

    Raises LimitError if rendering takes too long, or gives too many files or bytes.
    """
    compiled = templates if isinstance(templates, Compiled) else Compiled(templates, options, codes)
    limits = compiled.begin()
    contexts = None
    renderings: list[Rendering] = []
    earlier: dict[int, Rendering] = {}
    total = 0
    for trigger in triggers:
        for rule in metadata.rules:
            if not is_due(rule, trigger):
                continue
            if contexts is None:
                from .instance_context import Contexts

                contexts = Contexts(instance, options.host)
            if limits is not None and limits.is_over:
                raise _late(limits, rule, trigger, len(renderings))
            again = earlier.get(id(rule))
            if again is not None and again.content is not None and compiled.ignores_trigger(rule.template):
                rendering = Rendering(rule, trigger, again.content)
            else:
                rendering = earlier[id(rule)] = _render_rule(compiled, rule, trigger, contexts)
            total += len(rendering.content or b"")
            renderings.append(rendering)
            if len(renderings) > MAX_RENDERINGS:
                raise LimitError(f"more than {MAX_RENDERINGS} files to render")
            if total > MAX_TOTAL:
                raise LimitError(f"the rendered files are larger than {MAX_TOTAL >> 20} MiB in total")
    return renderings


def render_data(
    data: bytes, rule: "Rule", trigger: str, instance: "Instance", options: "RenderOptions"
) -> bytes:
    """Render ``data`` as a rule's template.

    Raises TemplaterError if the template does not compile or render, or exceeds a limit.
    """
    # Predictions call this function for templates that templater itself refuses to read, such as symlinks.
    from .instance_context import context_for

    options.check_time()
    run = Compiled({}, options).compile(rule.template, data)
    return run(context_for(instance, rule, trigger, options.host)).encode("utf-8", "surrogateescape")


def is_due(rule: "Rule", trigger: str) -> bool:
    """Return whether a rule runs on a trigger."""
    # The daemons panic on a null entry at each trigger.
    return rule.null or trigger in rule.when


def check_name(rule: "Rule") -> None:
    """Raise RefusedError if a rule's template is not a plain file name."""
    name = rule.template
    if name and name not in (".", "..") and "/" not in name and "\0" not in name:
        return
    raise RefusedError(
        f"template name '{printable(name)}' is not a plain file name"
        if name
        else "the rule has no template name",
        rule.spans.get("template") or rule.spans.get("entry"),
        hint="give the name of a file in the image's templates folder, without a directory",
    )


def _render_rule(compiled: "Compiled", rule: "Rule", trigger: str, contexts: "Contexts") -> Rendering:
    try:
        if rule.null:
            raise MetadataError(
                f"the entry for '{printable(rule.path)}' is null",
                rule.spans.get("entry"),
                hint="add at least 'template' and 'when'; LXD and Incus panic on null entries",
            )
        check_name(rule)
        run = compiled.template(rule.template)
        content = run(contexts.of(rule, trigger))
    except TemplaterError as error:
        # A template's error is raised again for each render. Each time, its traceback would hold more frames.
        error.__traceback__ = None
        return Rendering(rule, trigger, error=_with_rule(error, rule, trigger))
    return Rendering(rule, trigger, content.encode("utf-8", "surrogateescape"))


def _late(limits: "Limits", rule: "Rule", trigger: str, done: int) -> TemplaterError:
    error = limits.late()
    error.message += f" after {done} files"
    return _with_rule(error, rule, trigger)


def _with_rule(error: TemplaterError, rule: "Rule", trigger: str) -> TemplaterError:
    """Return a copy of an error with a note that names the rule."""
    # All rules with the same template share the original error.
    span = rule.spans.get("path")
    place = f" at {span.place}" if span is not None else ""
    about = error.span or rule.spans.get("template") or span
    note = f"in the rule for '{printable(rule.path)}'{place}, trigger {printable(trigger)}"
    return error.replace(span=about, notes=(*error.notes, note))


#: Template errors that a log or a report may quote, because they contain no values.
#: An error with one of ``_FIXED_BEGINNINGS`` contains no values either: after the beginning, it has only a
#: type, or a name from the template.
_FIXED_TEXTS = frozenset((
    "filename for 'include'-tag evaluated to an empty string", "filter 'pluralize' does only work on numbers",
    "filter input argument must be of type 'time.Time'", "negative sign on a non-number expression",
    "runtime error: integer divide by zero", "unable to resolve template",
    "you cannot pass more than 2 arguments to filter 'pluralize'",
))  # fmt: skip
_FIXED_BEGINNINGS = ("can't access a field by name on type ", "can't access an index on type ",
                     "filter with name '", "unknown filter '")  # fmt: skip


#: the first words of limit errors that contain a value or its size, each with a message without it
_WITHOUT_VALUE = {
    "templater does not know the class": "templater does not know a class of a regular expression",
    "the template builds a value of": "the template builds a value that is larger than the limit",
    "one filter or operator needs": "one filter or operator exceeds its limit on work",
}


def without_values(error: TemplaterError) -> TemplaterError:
    """Return a render error without the values of the template's variables."""
    # An error can contain a password in any encoding. Logs and reports can be visible to users who must not
    # read the instance's configuration.
    message, hint = error.message, error.hint
    if isinstance(error, RenderError):
        if message not in _FIXED_TEXTS and not message.startswith(_FIXED_BEGINNINGS):
            message, hint = "the template fails here", "templater preview shows the whole message"
    elif isinstance(error, LimitError):
        for beginning, text in _WITHOUT_VALUE.items():
            if message.startswith(beginning):
                message = text
    return type(error)(message, error.span, hint, error.notes)


class Compiled:
    """Templates that are compiled on first use. If a template does not compile, its error is stored.

    Several calls of `render` can share one object.
    """

    __slots__ = ("alike", "codes", "limits", "made", "options", "templates", "texts")

    def __init__(
        self,
        templates: "Mapping[str, TemplateFile]",
        options: "RenderOptions",
        codes: "Mapping[str, CodeType] | None" = None,
    ) -> None:
        self.templates = templates
        self.options = options
        #: the limits of the current run
        self.limits: Limits | None = options.limits
        self.codes = codes
        self.made: dict[str, Callable[[Mapping[str, Any]], str] | TemplaterError] = {}
        #: the compiled templates or their errors, by text: an image can repeat one text under many names
        self.texts: dict[bytes, Template | TemplaterError] = {}
        #: whether a template gives the same text in every pass, by name
        self.alike: dict[str, bool] = {}

    def begin(self) -> "Limits | None":
        """Start the total time limit, unless it has already started, and return the limits."""
        self.limits = self.options.begun().limits
        return self.limits

    def template(self, name: str) -> "Callable[[Mapping[str, Any]], str]":
        made = self.made.get(name)
        if made is None:
            try:
                made = self.prepare(name)
            except TemplaterError as error:
                made = error
            self.made[name] = made
        if isinstance(made, TemplaterError):
            raise made
        return made

    def ignores_trigger(self, name: str) -> bool:
        """Return whether a template gives the same text for every trigger of a start.

        Such a template contains neither ``trigger`` nor ``random``.
        """
        found = self.alike.get(name)
        if found is None:
            file = self.templates.get(name)
            data = None if file is None else file.data
            found = data is not None and b"trigger" not in data and b"random" not in data
            self.alike[name] = found
        return found

    def prepare(self, name: str) -> "Callable[[Mapping[str, Any]], str]":
        if self.codes is not None and name in self.codes:
            return self.load(self.codes[name])
        return self.compile(name, template_bytes(name, self.templates))

    def compile(self, name: str, data: bytes) -> "Callable[[Mapping[str, Any]], str]":
        file = self.templates.get(name)
        source = (TemplateFile(data=data) if file is None else file).source(f"templates/{name}")
        options = self.options
        template = self.texts.get(data)
        if template is None:
            try:
                template = self.compile_source(source)
            except TemplaterError as error:
                template = error
            self.texts[data] = template
            if len(data) > LARGE:
                # Commands collect garbage rarely, and each large template leaves much garbage.
                import gc

                gc.collect()
        elif isinstance(template, TemplaterError):
            span = template.span
            template = template.replace(span=None if span is None else source.span(span.start, span.end))
        else:
            template = template.named(source)
        if isinstance(template, TemplaterError):
            raise template
        return lambda context: template.render(
            context, clock=options.clock, seed=options.seed, limits=self.limits
        )

    def compile_source(self, source: "Source") -> "Template":
        from ..pongo2 import compile as compile_template
        from ..pongo2.dialect import DIALECTS

        return compile_template(source, DIALECTS[self.options.dialect], mode="incus", limits=self.limits)

    def load(self, code: "CodeType") -> "Callable[[Mapping[str, Any]], str]":
        from ..pongo2.execution import run

        options = self.options
        return lambda context: run(code, context, clock=options.clock, seed=options.seed, limits=self.limits)


def template_bytes(name: str, templates: "Mapping[str, TemplateFile]") -> bytes:
    """Return the bytes of a template.

    Raises TemplaterError if the template is missing, unreadable, or not a regular file.
    """
    file = templates.get(name)
    shown = printable(name)
    if file is not None and file.error is not None:
        raise file.error
    if file is None or file.entry is None:
        raise TemplateError(
            f"template '{shown}' does not exist",
            hint="put the template into the image's templates folder, next to metadata.yaml",
        )
    if file.entry.kind != FILE or file.data is None:
        hint = ""
        if file.entry.kind == SYMLINK:
            hint = "replace the symlink with a regular file; most releases of LXD and Incus refuse symlinks"
        raise RefusedError(f"template '{shown}' is a {file.entry.kind}, not a regular file", hint=hint)
    return file.data
