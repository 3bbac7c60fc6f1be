"""Render the templates of the rules that are due; no root filesystem is read here."""

from ..model.entry import FILE, SYMLINK
from ..model.errors import LimitError, MetadataError, RefusedError, TemplateError, TemplaterError
from ..model.source import Source, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType
    from typing import Any

    from ..model.entry import TemplateFile
    from ..model.instance import Instance
    from ..model.metadata import Metadata, Rule
    from ..model.options import RenderOptions
    from ..pongo2.state import Limits
    from .context import Contexts

MAX_RENDERINGS = 20_000
MAX_TOTAL = 256 << 20


class Rendering:
    """The result of one rule in one pass: ``content``, or the ``error`` that prevented it."""

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
    """Return one rendering for each rule due in each pass, in the order in which they happen.

    A rule that fails does not hide the others. With ``codes``, compiled templates by name as the cache
    has them, no compiler is imported. The run begins here, unless it has begun before.

    Raises LimitError if the run takes too long, or renders too many files or bytes.
    """
    compiled = templates if isinstance(templates, Compiled) else Compiled(templates, options, codes)
    limits = compiled.begin()
    contexts = None
    renderings: list[Rendering] = []
    total = 0
    for trigger in triggers:
        for rule in metadata.rules:
            if not is_due(rule, trigger):
                continue
            if contexts is None:
                from .context import Contexts

                contexts = Contexts(instance, options.host)
            if limits is not None and limits.is_over:
                raise _late(limits, rule, trigger, len(renderings))
            rendering = _render_rule(compiled, rule, trigger, contexts)
            total += len(rendering.content or b"")
            renderings.append(rendering)
            if len(renderings) > MAX_RENDERINGS:
                raise LimitError(f"more than {MAX_RENDERINGS} files to render")
            if total > MAX_TOTAL:
                raise LimitError(f"the rendered files are larger than {MAX_TOTAL >> 20} MiB together")
    return renderings


def render_data(
    data: bytes, rule: "Rule", trigger: str, instance: "Instance", options: "RenderOptions"
) -> bytes:
    """Render ``data`` as the template of a rule, for hosts that read templates which templater refuses."""
    from .context import context_for

    options.check_time()
    run = Compiled({}, options).compile(rule.template, data)
    return run(context_for(instance, rule, trigger, options.host)).encode("utf-8", "surrogateescape")


def is_due(rule: "Rule", trigger: str) -> bool:
    """Return whether a rule runs on a trigger. A null entry always does: the daemons panic at it."""
    return rule.null or trigger in rule.when


def check_name(rule: "Rule") -> None:
    """Refuse a template name that is not one plain file name."""
    name = rule.template
    if name and name not in (".", "..") and "/" not in name and "\0" not in name:
        return
    raise RefusedError(
        f"template name '{printable(name)}' is not a plain file name"
        if name
        else "the rule names no template",
        rule.spans.get("template") or rule.spans.get("entry"),
        hint="a template is named by its file name in the image's templates folder",
    )


def _render_rule(compiled: "Compiled", rule: "Rule", trigger: str, contexts: "Contexts") -> Rendering:
    try:
        if rule.null:
            raise MetadataError(
                f"the entry for '{printable(rule.path)}' is null",
                rule.spans.get("entry"),
                hint="give it at least a template and when; LXD and Incus panic at it",
            )
        check_name(rule)
        run = compiled.template(rule.template)
        content = run(contexts.of(rule, trigger))
    except TemplaterError as error:
        return Rendering(rule, trigger, error=_with_rule(error, rule, trigger))
    return Rendering(rule, trigger, content.encode("utf-8", "surrogateescape"))


def _late(limits: "Limits", rule: "Rule", trigger: str, done: int) -> TemplaterError:
    error = limits.late()
    error.message += f": {done} are done"
    return _with_rule(error, rule, trigger)


def _with_rule(error: TemplaterError, rule: "Rule", trigger: str) -> TemplaterError:
    """Return a copy that names the rule: the error of a template is shared by all its rules."""
    span = rule.spans.get("path")
    place = f" at {span.place}" if span is not None else ""
    about = error.span or rule.spans.get("template") or span
    note = f"in the rule for '{printable(rule.path)}'{place}, trigger {printable(trigger)}"
    return error.replace(span=about, notes=(*error.notes, note))


class Compiled:
    """Templates that are compiled once, when first used, for any number of instances.

    Takes the place of ``templates`` in ``render``; which ones can't be had is remembered too.
    """

    __slots__ = ("codes", "limits", "made", "options", "templates")

    def __init__(
        self,
        templates: "Mapping[str, TemplateFile]",
        options: "RenderOptions",
        codes: "Mapping[str, CodeType] | None" = None,
    ) -> None:
        self.templates = templates
        self.options = options
        #: those of the run that has begun
        self.limits: Limits | None = options.limits
        self.codes = codes
        self.made: dict[str, Callable[[Mapping[str, Any]], str] | TemplaterError] = {}

    def begin(self) -> "Limits | None":
        """Begin a run over all rules: each instance has its own time."""
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

    def prepare(self, name: str) -> "Callable[[Mapping[str, Any]], str]":
        if self.codes is not None and name in self.codes:
            return self.kept(self.codes[name])
        return self.compile(name, template_bytes(name, self.templates))

    def compile(self, name: str, data: bytes) -> "Callable[[Mapping[str, Any]], str]":
        from ..pongo2 import compile as compile_template
        from ..pongo2.dialect import DIALECTS

        source = Source(f"templates/{name}", data)
        options = self.options
        template = compile_template(source, DIALECTS[options.dialect], mode="incus", limits=self.limits)
        return lambda context: template.render(
            context, clock=options.clock, seed=options.seed, limits=self.limits
        )

    def kept(self, code: "CodeType") -> "Callable[[Mapping[str, Any]], str]":
        from ..pongo2.runtime import run

        options = self.options
        return lambda context: run(code, context, clock=options.clock, seed=options.seed, limits=self.limits)


def template_bytes(name: str, templates: "Mapping[str, TemplateFile]") -> bytes:
    """Return the bytes of a template. Raises TemplaterError if it is missing or not a regular file."""
    file = templates.get(name)
    shown = printable(name)
    if file is not None and file.error is not None:
        raise file.error
    if file is None or file.entry is None:
        raise TemplateError(
            f"template '{shown}' does not exist",
            hint="templates lie in the image's templates folder, beside metadata.yaml",
        )
    if file.entry.kind != FILE or file.data is None:
        hint = "LXD and Incus refuse it too" if file.entry.kind == SYMLINK else ""
        raise RefusedError(f"template '{shown}' is a {file.entry.kind}, not a regular file", hint=hint)
    return file.data
