"""An image for the authoring checks, with hosts, instances, parsed templates and rendered files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from time import process_time
from typing import TYPE_CHECKING, Any

from ..model.errors import LimitError, TemplaterError
from ..model.hosts import INCUS, Host
from ..model.instance import VIRTUAL_MACHINE, Instance
from ..model.metadata import Rule
from ..model.render_options import RenderOptions
from ..model.source import Source, Span
from ..planning.generated_keys import with_image_keys
from ..pongo2.dialect import DIALECTS
from ..pongo2.names_read import Read, nodes, reads_of
from ..pongo2.parse_with_includes import Compilation
from ..pongo2.render_state import Limits
from ..pongo2.syntax import tree
from ..rendering.render import Compiled, render
from .invented_values import (
    AWKWARD,
    SET,
    invented_instance,
    invented_value,
    literal_defaults,
    other_instances,
)
from .rendered_files import File, distinct_files
from .scanned_image import ScannedImage

if TYPE_CHECKING:
    from ..rendering.rendered_text_cache import Memo
    from ..validators.runner import Validators

_OPENING = re.compile(r"\{[{%#]")
_CLOSING = re.compile(r"[}%#]\}")

#: limits for rendering all templates of an image
LIMITS = Limits(seconds=3.0, total=4.0)
#: maximum processor time in seconds for parsing all templates
MAX_SECONDS = 2.0
#: maximum processor time in seconds that all checks together can spend on rendered files
MAX_FILE_SECONDS = 3.0

#: rendered lines with more characters than this are not compared with template lines that contain ``{{ }}``
LONGEST = 1000
#: maximum number of template bytes that all searches for the lines of findings read together
SEARCHED = 4 << 20


@dataclass(frozen=True, slots=True)
class Template:
    """A template that at least one rule uses.

    ``error`` is the error of the first host that rejects the template.
    """

    name: str
    source: Source
    rules: tuple[Rule, ...]
    document: tree.Document | None
    nodes: tuple[Any, ...]
    reads: tuple[Read, ...]
    #: for each dialect of the image's hosts that rejects the template: the error
    errors: Mapping[str, TemplaterError]

    def span(self, node: tree.Expression) -> Span:
        return node.token.span

    def every(self, *kinds: type) -> Iterator[Any]:
        return (node for node in self.nodes if isinstance(node, kinds))


@dataclass(frozen=True)
class AuthoredImage(ScannedImage):
    """A scanned image for the checks of authors. Its templates are rendered for ``hosts`` and ``instances``.

    If ``instances`` is empty, `probes` chooses the instances.
    """

    hosts: tuple[Host, ...] = (INCUS,)
    instances: tuple[Instance, ...] = ()
    #: instances in addition to the built-in instances
    added: tuple[Instance, ...] = ()
    #: None if no validator should run
    validators: Validators | None = None
    #: the texts that earlier checks have rendered, for reuse, or None
    memo: Memo | None = None

    def can_read(self, rule: Rule) -> bool:
        """Return whether every user of the instance can read the file that a rule writes."""
        return bool(self.file_mode(rule) & 0o004)

    @cached_property
    def used(self) -> Mapping[str, tuple[Rule, ...]]:
        """A dict from the name of each readable template to the rules that use the template."""
        found: dict[str, list[Rule]] = {}
        for rule in self.rules:
            if self.has_source(rule):
                found.setdefault(rule.template, []).append(rule)
        return {name: tuple(rules) for name, rules in found.items()}

    @property
    def parsed(self) -> tuple[Template, ...]:
        """The templates that rules use, sorted by name. A template that no host can parse has no nodes.

        Raises LimitError if parsing takes too long.
        """
        if isinstance(self._parsed_or_error, LimitError):
            raise self._parsed_or_error
        return self._parsed_or_error

    @cached_property
    def _parsed_or_error(self) -> tuple[Template, ...] | LimitError:
        found: list[Template] = []
        end = process_time() + MAX_SECONDS
        for name, rules in sorted(self.used.items()):
            if process_time() > end:
                return LimitError(f"parsing all templates takes more than {MAX_SECONDS:g} seconds")
            found.append(self._parse(name, rules))
        return tuple(found)

    def _parse(self, name: str, rules: tuple[Rule, ...]) -> Template:
        source = self.source(rules[0])
        assert source is not None
        errors: dict[str, TemplaterError] = {}
        document: tree.Document | None = None
        for dialect in dict.fromkeys(host.dialect for host in self.hosts):
            try:
                parsed = Compilation(source, DIALECTS[dialect]).parsed()
            except TemplaterError as error:
                errors[dialect] = error
            else:
                document = document or parsed
        if document is None:
            return Template(name, source, rules, None, (), (), errors)
        found = tuple(nodes(document))
        for node in found:
            if isinstance(node, tree.Text):
                # Save memory: no check reads the literal text, which can be as large as the template.
                node.value = ""
        document.tokens = []
        return Template(name, source, rules, document, found, reads_of(document), errors)

    @property
    def keys(self) -> frozenset[str]:
        """The configuration keys that templates read."""
        return frozenset(read.key for found in self.parsed for read in found.reads if read.key)

    @cached_property
    def probes(self) -> tuple[Instance, ...]:
        """The instances for which the templates are rendered."""
        if self.instances:
            return self.instances
        found = [Instance("c1"), *self.added]
        if self._invented is not None:
            found.append(self._invented)
        if any(VIRTUAL_MACHINE in template.source.text for template in self.parsed):
            found.append(Instance("v1", VIRTUAL_MACHINE))
        return tuple(found)

    @cached_property
    def _invented(self) -> Instance | None:
        """An instance with an invented value for each key that a template reads.

        None if the user chose the instances, or if templates read no key.
        """
        made = invented_instance(self.keys, self._defaults)
        return None if self.instances else made

    def value_of(self, key: str) -> str:
        """Return a plausible value for a configuration key, similar to the template's own default."""
        return invented_value(key, self._defaults.get(key, ""))

    @cached_property
    def _defaults(self) -> Mapping[str, str]:
        return literal_defaults(
            node for template in self.parsed for node in template.every(tree.Path, tree.Filtered)
        )

    @property
    def awkward(self) -> tuple[Instance, ...]:
        """An instance with awkward values: they contain quotes, colons and brackets."""
        free = [key for key in sorted(self.keys) if key.startswith("user.") and self.value_of(key) == SET]
        values = dict.fromkeys(free, AWKWARD)
        return () if self.instances or not values else (Instance("c1", config=values),)

    @cached_property
    def _others(self) -> tuple[Instance, ...]:
        return other_instances({} if self._invented is None else self._invented.config, self._defaults)

    @cached_property
    def _other_renders(self) -> tuple[RenderOptions, dict[str, Compiled]]:
        """The render options for ``alternatives``, and a dict from the names of hosts to compiled templates.

        All renders in the method ``alternatives`` share one time limit.
        """
        return RenderOptions(self.hosts[0], "", 0.0, 0, self.rendering_limits(LIMITS)).begun(), {}

    def _compiled(self, options: RenderOptions) -> Compiled:
        if self.memo is None:
            return Compiled(self.templates, options)
        return self.memo.compiled(self.templates, options)

    def alternatives(self, file: File) -> tuple[File, ...]:
        """Render the rule of ``file`` for each instance in ``_others``.

        Return () if the rendering exceeds the time limit.
        """
        assert self.metadata is not None
        metadata = replace_rules(self.metadata, (file.rule,))
        options, by_host = self._other_renders
        options = RenderOptions(file.host, file.host.dialect, options.clock, options.seed, options.limits)
        compiled = by_host.setdefault(file.host.name, self._compiled(options))
        found = []
        try:
            for other in self._others:
                instance = with_image_keys(other, metadata.properties)
                for made in render(metadata, compiled, instance, (file.trigger,), options):
                    text = None if made.content is None else made.content.decode("utf-8", "surrogateescape")
                    found.append(File(file.rule, file.trigger, file.host, instance, text, made.error))
        except LimitError:
            return ()
        return tuple(found)

    @property
    def files(self) -> tuple[File, ...]:
        """The distinct files that each rule renders, or () if a limit ended the rendering (see ``late``)."""
        return self._files_or_error[0]

    @property
    def late(self) -> LimitError | None:
        """The error that ended the rendering of all files, or None if all files were rendered."""
        return self._files_or_error[1]

    @cached_property
    def _files_or_error(self) -> tuple[tuple[File, ...], LimitError | None]:
        try:
            return self._render(), None
        except LimitError as error:
            return (), error.with_traceback(None)  # the traceback would keep the files in memory

    def _render(self) -> tuple[File, ...]:
        if self.metadata is None:
            return ()
        metadata = replace_rules(self.metadata, tuple(rule for rule in self.rules if not rule.null))
        options = RenderOptions(self.hosts[0], "", 0.0, 0, self.rendering_limits(LIMITS)).begun()
        return distinct_files(
            metadata, self._compiled, options, self.hosts, self.probes, self.awkward, self._invented
        )

    def texts(self, wanted: Callable[[str], bool]) -> Iterator[File]:
        """Yield the rendered files for whose cleaned target path ``wanted`` returns true.

        Raises LimitError if all checks together spend more than ``MAX_FILE_SECONDS`` on the files.
        """
        paths = {id(rule): path for rule, path, _ in self.targets}
        for file in self.files:
            path = paths.get(id(file.rule))
            if path is not None and file.text is not None and wanted(path):
                if self._spent_on_files[0] > MAX_FILE_SECONDS:
                    most = f"{MAX_FILE_SECONDS:g} seconds"
                    raise LimitError(f"the checks of all rendered files take more than {most}")
                begun = process_time()
                yield file
                self._spent_on_files[0] += process_time() - begun

    @cached_property
    def _spent_on_files(self) -> list[float]:
        """The processor seconds that all checks have spent on rendered files.

        The number is in a list, so that ``texts`` can increase it.
        """
        return [0.0]

    @cached_property
    def target_paths(self) -> Mapping[str, Rule]:
        return {path: rule for rule, path, _ in self.targets}

    @property
    def os(self) -> str:
        """The image's property ``os`` in lower case, or an empty string."""
        properties = self.metadata.properties if self.metadata is not None else {}
        return str(properties.get("os", "")).lower()

    @property
    def has_rootfs(self) -> bool:
        return any(name.path.startswith("rootfs/") for name in self.names)

    @cached_property
    def _searched(self) -> list[int]:
        """The number of characters that all searches of ``locate`` have read.

        The number is in a list, so that ``locate`` can increase it.
        """
        return [0]

    def locate(self, file: File, text: str) -> Span:
        """Return the span of the code that renders ``text``, a line of a rendered file.

        If there is no single match, or all searches exceed ``SEARCHED`` bytes, return the span of the rule.
        """
        template = self.templates.get(file.rule.template)
        self._searched[0] += len(template.data or b"") if template is not None else 0
        source = self.source(file.rule) if self._searched[0] <= SEARCHED else None
        if source is not None and (stripped := text.strip()):
            if once := _only(stripped, source.span(0, len(source.text))):
                return once
            found = list(islice(_lines_that_give(source, stripped), 2)) if len(stripped) <= LONGEST else []
            if len(found) == 1:
                return found[0]
            properties = file.rule.spans.get("properties")
            if properties is not None and (once := _only(stripped, properties)):
                return once
        return file.rule.spans.get("template") or file.rule.spans["path"]


def _only(text: str, within: Span) -> Span | None:
    """Return the span of ``text`` in ``within``. Return None unless ``text`` occurs exactly once."""
    whole = within.source.text
    start = whole.find(text, within.start, within.end)
    if start < 0 or whole.find(text, start + 1, within.end) >= 0:
        return None
    return within.source.span(start, start + len(text))


def _lines_that_give(source: Source, text: str) -> Iterator[Span]:
    """Yield each template line whose fixed parts occur in ``text``, in the same order.

    Fixed parts are outside of ``{{ }}``.
    """
    start = 0
    for line in source.text.split("\n"):
        if "{{" in line:
            first, *others = (part.strip() for part in _fixed_texts(line.strip()))
            position = len(first) if text.startswith(first) else -1
            for part in others:
                position = (
                    text.find(part, position) + len(part) if position >= 0 and part in text[position:] else -1
                )
            if position >= 0 and (first or any(others)) and text.endswith(others[-1] if others else ""):
                yield source.span(start + len(line) - len(line.lstrip()), start + len(line.rstrip()))
        start += len(line) + 1


def _fixed_texts(line: str) -> Iterator[str]:
    """Yield the texts around the expressions of a template line.

    An expression ends at its first closing delimiter.
    """
    start = 0
    while opening := _OPENING.search(line, start):
        closing = _CLOSING.search(line, opening.end())
        if closing is None:
            break
        yield line[start : opening.start()]
        start = closing.end()
    yield line[start:]


def replace_rules(metadata: Any, rules: tuple[Rule, ...]) -> Any:
    """Return a copy of the metadata in which ``rules`` replace the old rules."""
    from ..model.metadata import Metadata

    fields = {name: getattr(metadata, name) for name in Metadata.__slots__}
    return Metadata(**{**fields, "rules": rules})


def authored(
    image: ScannedImage,
    hosts: tuple[Host, ...],
    instances: tuple[Instance, ...],
    validators: Validators | None = None,
    added: tuple[Instance, ...] = (),
    memo: Memo | None = None,
) -> AuthoredImage:
    """Add hosts, instances and validators to a scanned image.

    The tuple ``added`` has instances that are not built in. ``memo`` has texts that earlier checks rendered.
    """
    fields = {name: getattr(image, name) for name in ScannedImage.__dataclass_fields__}
    return AuthoredImage(
        **fields, hosts=hosts, instances=instances, added=added, validators=validators, memo=memo
    )
