"""A check for templates whose rendering exceeds a limit, and for rules that make a daemon panic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import Any

from ...model.errors import LimitError, TemplaterError
from ...model.file_names import METADATA
from ...model.hosts import INCUS
from ...model.instance import CONTAINER, VIRTUAL_MACHINE, Instance
from ...model.metadata import TRIGGERS, Metadata
from ...model.options import RenderOptions
from ...model.source import Source, Span, printable
from ...pongo2.dialect import V6
from ...pongo2.reads import fields, nodes
from ...pongo2.state import Limits
from ...pongo2.syntax import tree
from ...pongo2.template import Compilation, Template
from ...rendering.context import with_image_keys
from ...rendering.render import Compiled, render
from ..base import Observation, check
from ..scanned_image import ScannedImage

#: limits in seconds: the limit on steps is not enough, because one step can process megabytes of text
LIMITS = Limits(seconds=3.0, total=4.0)

#: loops of real templates are nested at most two deep
MOST_NESTED = 4

PROBES = (Instance("c1", CONTAINER), Instance("v1", VIRTUAL_MACHINE))


@check(
    "runaway",
    "high",
    "a template whose rendering never ends: the daemons have no limits, so they hang or get killed",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    """Render each rule within limits, for the user's instance, a plain container and a plain VM.

    A condition can hide a loop from these instances. So the check also renders each template with every
    branch of its conditions, one after the other, and reports loops that are nested deeply.
    """
    if image.metadata is None:
        return
    try:
        yield from _rendered(image, image.metadata)
    except LimitError as error:  # the time limit for all rules together
        yield Observation(error.message, _of_image(image, error.span) or METADATA)
    for rule in image.rules:
        if rule.null:
            yield Observation(
                f"the entry for '{printable(rule.path)}' is null: the daemons panic when they read it",
                rule.spans["path"],
                advisory="CVE-2026-40195",
                severity="medium",
            )


def _rendered(image: ScannedImage, metadata: Metadata) -> Iterator[Observation]:
    reported: set[str] = set()
    options = RenderOptions(INCUS, limits=image.rendering_limits(LIMITS)).begun()
    compiled, every = Compiled(image.templates, options), EveryBranch(image.templates, options)
    probes = (*_described(image, metadata), *PROBES)
    for templates, probe in (*((compiled, probe) for probe in probes), (every, PROBES[0])):
        for rendering in render(metadata, templates, probe, TRIGGERS, options):
            error, rule = rendering.error, rendering.rule
            if not isinstance(error, LimitError) or rule.template in reported:
                continue
            reported.add(rule.template)
            at = _of_image(image, error.span) or rule.spans.get("template") or rule.spans["path"]
            if templates is every:
                message = f"if certain conditions are true, {error.message}"
                hint = "preview the template for an instance that makes the conditions true"
                yield Observation(message, at, hint, severity="medium")
            else:
                yield Observation(error.message, at, error.hint)
    names = {rule.template for rule in metadata.rules} - reported
    for source in image.sources(sorted(names)):
        depth, loop = Loops(source).deepest() if b"for" in source.data else (0, None)
        if loop is not None and depth > MOST_NESTED:
            message = f"loops are nested {depth} deep, so the template may not end for some instances"
            yield Observation(message, loop.expression.token.span, severity="medium")


class Loops:
    """The loops of a template. A loop that calls a macro also contains the loops of the macro."""

    def __init__(self, source: Source) -> None:
        self.macros: dict[str, tree.Macro] = {}
        self.found: dict[str, tuple[int, tree.For | None]] = {}
        try:
            self.body = Compilation(source, V6).parsed().body
        except TemplaterError:  # the check 'language' reports the error
            self.body = []

    def deepest(self) -> tuple[int, tree.For | None]:
        """Return how deep the loops of the template are nested, and the outermost of these loops, or None."""
        return self._below(self.body)

    def _below(self, parts: object) -> tuple[int, tree.For | None]:
        deepest: tuple[int, tree.For | None] = (0, None)
        waiting = [parts]
        while waiting:
            node = waiting.pop()
            below: tuple[int, tree.For | None] = (0, None)
            if isinstance(node, list | tuple):
                waiting += reversed(node)
            elif isinstance(node, tree.Macro):
                self.macros[node.name] = node
            elif isinstance(node, tree.For):
                below = self._below(node.body)[0] + 1, node
                waiting += [node.expression, node.empty]
            elif isinstance(node, tree.NODES):
                waiting += [getattr(node, name) for name in reversed(fields(type(node)))]
                if isinstance(node, tree.Path) and node.name in self.macros:
                    below = self._of_macro(node.name)
            deepest = max(deepest, below, key=itemgetter(0))
        return deepest

    def _of_macro(self, name: str) -> tuple[int, tree.For | None]:
        if name not in self.found:
            self.found[name] = 0, None  # for a macro that calls itself
            self.found[name] = self._below(self.macros[name].body)
        return self.found[name]


class EveryBranch(Compiled):
    """Templates in which every branch of each condition runs.

    A template without conditions gives an empty text, because the check has already rendered it.
    """

    __slots__ = ()

    def compile(self, name: str, data: bytes) -> Callable[[Mapping[str, Any]], str]:
        return super().compile(name, data) if b"if" in data else lambda context: ""

    def compile_source(self, source: Source) -> Template:
        return Template(_Unconditional(source, V6), self.limits)


class _Unconditional(Compilation):
    def parsed(self) -> tree.Document:
        document = super().parsed()
        conditions = [node for node in nodes(document) if isinstance(node, tree.If)]
        for node in conditions:
            bodies = [body for _, body in node.branches] + ([node.otherwise] if node.otherwise else [])
            always = tree.Literal(node.branches[0][0].token, True)
            node.branches = [(always, [statement for body in bodies for statement in body])]
            node.otherwise = None
        return document


def _described(image: ScannedImage, metadata: Metadata) -> tuple[Instance, ...]:
    """Return the user's instance in a tuple, or () if the user gave none.

    A new instance also gets the keys that a daemon copies from the image.
    """
    instance = image.instance
    if instance is None:
        return ()
    return (instance if instance.exists else with_image_keys(instance, metadata.properties),)


def _of_image(image: ScannedImage, span: Span | None) -> Span | None:
    """Add the image's name to a position, because the renderer knows only the name of the template."""
    if span is None:
        return None
    return Source(f"{image.name}/{span.source.name}", span.source.text).span(span.start, span.end)
