"""One image for many instances: read and compiled once, planned for each of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..model.errors import LimitError, RefusedError, TemplateError
from ..model.source import printable
from ..parsing.instance_yaml import overridden
from ..parsing.metadata_yaml import read_metadata
from ..planning.planner import plan_of, predicted
from ..rendering.render import Compiled, Rendering, render
from ..reporting.patch import diff
from ..reporting.report import plan_data, summary, verdict

if TYPE_CHECKING:
    from ..model.entry import Image, RootfsView
    from ..model.instance import Instance
    from ..model.options import RenderOptions
    from ..model.plan import Plan
    from ..parsing.yaml_nodes import Limits as YamlLimits
    from ..rootfs.directory import DirectoryRootfs

#: plans that are kept to be adapted for other instances
MOST_EXAMPLES = 256
#: other names may change more of a plan than the field that holds the name
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{,62}")

#: what decides a plan if no root filesystem is given
Signature = tuple[object, ...]


@dataclass(slots=True)
class Result:
    """One instance's plan: its text in the requested format, exit code, number of changes, and errors."""

    name: str
    text: str
    code: int
    changes: int
    errors: tuple[str, ...] = ()


class Fleet:
    """An image whose templates are planned for one instance after the other.

    ``show`` is ``json``, ``summary`` or ``patch``. ``config`` and ``devices`` override those of every
    instance. ``rootfs`` is the path of each instance's root filesystem, with ``{name}`` for its name.
    """

    def __init__(
        self,
        image: Image,
        options: RenderOptions,
        *,
        triggers: tuple[str, ...],
        reading: YamlLimits | None = None,
        show: str = "summary",
        config: Mapping[str, str] | None = None,
        devices: Mapping[str, Mapping[str, str]] | None = None,
        rootfs: str | None = None,
    ) -> None:
        self.triggers = triggers
        self.options = options
        self.show = show
        self.config = config or {}
        self.devices = devices or {}
        self.rootfs = rootfs
        self.metadata = read_metadata(image.read_metadata(), yaml=options.host.yaml, limits=reading)
        self.templates = image.read_templates({r.template for r in self.metadata.rules if r.template})
        self.compiled = Compiled(self.templates, options)
        self._examples: dict[Signature, Example] = {}

    def results(self, instances: Iterable[Instance]) -> Iterator[Result]:
        for instance in instances:
            if self.config or self.devices:
                instance = overridden(instance, config=self.config, devices=self.devices)
            try:
                yield self.result(instance)
            except LimitError as error:
                error.notes += (f"rendering for '{printable(instance.name)}'",)
                raise

    def result(self, instance: Instance) -> Result:
        renderings = render(self.metadata, self.compiled, instance, self.triggers, self.options)
        if self.rootfs is not None:
            with _open_rootfs(self.rootfs, instance.name) as rootfs:
                return self._format(self._plan(instance, renderings, rootfs))
        if self.show != "json" or not _PLAIN_NAME.fullmatch(instance.name):
            return self._format(self._plan(instance, renderings))
        signature = instance.type, len(instance.name), *_signature(renderings)
        example = self._examples.get(signature)
        try:
            if example is not None:
                return example.adapt(instance.name, renderings)
            plan = self._plan(instance, renderings)
            if len(self._examples) < MOST_EXAMPLES:
                self._examples[signature] = Example(plan, renderings)
        except UnicodeDecodeError:
            plan = self._plan(instance, renderings)
        return self._format(plan)

    def plan(self, instance: Instance, rootfs: RootfsView | None = None) -> Plan:
        renderings = render(self.metadata, self.compiled, instance, self.triggers, self.options)
        return self._plan(instance, renderings, rootfs)

    def _plan(
        self, instance: Instance, renderings: list[Rendering], rootfs: RootfsView | None = None
    ) -> Plan:
        made = plan_of(
            self.metadata, instance, renderings, rootfs, host=self.options.host, triggers=self.triggers
        )
        return predicted(made, self.templates, rootfs, self.options.begun())

    def _format(self, plan: Plan) -> Result:
        text = FORMATS[self.show](plan)
        return Result(plan.instance.name, text, verdict(plan), len(plan.changes), _errors(plan))


class Example:
    """A plan as JSON data, reused for instances whose plans differ only in name and contents.

    Planning and predicting take twenty times as long as everything else.
    """

    def __init__(self, plan: Plan, renderings: list[Rendering]) -> None:
        self.data = plan_data(plan)
        self.code = verdict(plan)
        self.errors = _errors(plan)
        #: the entries of ``data`` that show a content, each with the number of its rendering
        self.shown: list[tuple[dict[str, Any], int]] = []
        numbers = {rendering.content: n for n, rendering in reversed(list(enumerate(renderings)))}
        entries = [*self.data["changes"], *self.data.get("agent", ())]
        for change, entry in zip((*plan.changes, *plan.agent), entries, strict=True):
            if change.content is not None:
                change.content.decode()  # other contents are shown in another field
                self.shown.append((entry, numbers[change.content]))

    def adapt(self, name: str, renderings: list[Rendering]) -> Result:
        """Return another instance's result; UnicodeDecodeError if a content is not UTF-8."""
        for entry, number in self.shown:
            entry["content"] = (renderings[number].content or b"").decode()
        self.data["instance"] = name
        return Result(name, _json_line(self.data), self.code, len(self.data["changes"]), self.errors)


def _signature(renderings: list[Rendering]) -> Iterator[object]:
    """Yield what decides a plan without a root filesystem: which contents are equal, and every error."""
    numbers: dict[bytes, int] = {}
    for number, rendering in enumerate(renderings):
        error = rendering.error
        if rendering.content is not None:
            yield numbers.setdefault(rendering.content, number)
        elif error is not None:
            pongo2_error = error.pongo2_error if isinstance(error, TemplateError) else None
            yield type(error), str(error), error.hint, error.notes, pongo2_error


def _errors(plan: Plan) -> tuple[str, ...]:
    return tuple(str(change.error) for change in plan.failed if change.error is not None)


def _json_line(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False) + "\n"


def _summary_lines(plan: Plan) -> str:
    lines = [summary(plan), *(f"    {printable(change.path)}: {change.error}" for change in plan.failed)]
    return "".join(f"{line}\n" for line in lines)


def _patch(plan: Plan) -> str:
    text = diff(plan)
    return f"# {printable(plan.instance.name)}\n{text}" if text else ""


FORMATS: Mapping[str, Callable[[Plan], str]] = {
    "json": lambda plan: _json_line(plan_data(plan)),
    "summary": _summary_lines,
    "patch": _patch,
}


def _open_rootfs(pattern: str, name: str) -> AbstractContextManager[DirectoryRootfs]:
    from ..rootfs.directory import DirectoryRootfs, refuse_link

    if "/" in name or name in ("", ".", ".."):
        raise RefusedError(f"invalid instance name '{printable(name)}': it can't be part of a path")
    path = pattern.replace("{name}", name)
    refuse_link(path)
    return DirectoryRootfs(path)
