"""Plans of one image for many instances. The image is read and compiled only once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..model.default_triggers import default_triggers, next_start
from ..model.errors import LimitError, TemplateError, TemplaterError
from ..model.instance_name import require_name
from ..model.plan import WRITING
from ..model.unprintable_characters import printable
from ..parsing.metadata_yaml import read_metadata
from ..planning.decide_changes import plan_of
from ..planning.plan_image import predicted, read_templates
from ..rendering.render import Compiled, Rendering, render
from ..reporting.json_data import plan_data
from ..reporting.json_escapes import safe_json
from ..reporting.patch import diff
from ..reporting.plan_text import outcome_text, summary, verdict
from ..rootfs.directory_rootfs import DirectoryRootfs, limit_reading
from ..rootfs.paths import SlowError

if TYPE_CHECKING:
    from ..model.entry import Image, RootfsView
    from ..model.instance import Instance
    from ..model.plan import Plan
    from ..model.render_options import RenderOptions
    from ..parsing.yaml_nodes import Limits as YamlLimits

#: maximum number of plans that are kept for reuse with other instances
MOST_EXAMPLES = 256
#: pattern of plain names; the plan of an instance with any other name is not reused for other instances
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{,62}")
_ENCODER = json.JSONEncoder(ensure_ascii=False)
#: a JSON string that is a placeholder for an instance name or the contents of a file
_HOLE = re.compile(r'"\\u0000\d+\\u0000"')


@dataclass(slots=True)
class Result:
    """One instance's plan as text.

    * ``skipped`` is the reason why the instance has no plan. If the instance has a plan, ``skipped`` is
      empty.
    * ``triggers`` are the triggers that run.
    * ``notes`` have the reasons for the chosen triggers.
    """

    name: str
    text: str
    code: int
    changes: int
    errors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: str = ""
    triggers: tuple[str, ...] = ()
    is_vm: bool = False


class Fleet:
    """A planner for the instances of one image. It plans one instance at a time.

    * ``show`` is ``json``, ``summary`` or ``patch``.
    * If ``triggers`` is empty or has only ``next``, templater chooses each instance's triggers.
    * ``rootfs`` is the image's root filesystem.
    * ``pattern`` is the path of each instance's own root filesystem, with ``{name}`` for the instance's name.
    """

    def __init__(
        self, image: Image, options: RenderOptions, *, triggers: tuple[str, ...] = (),
        reading: YamlLimits | None = None, show: str = "summary", rootfs: RootfsView | None = None,
        pattern: str = "",
    ) -> None:  # fmt: skip
        self.options = options
        self.triggers = triggers
        self.show = show
        self.rootfs = rootfs
        self.pattern = pattern
        self.metadata = read_metadata(image.read_metadata(), yaml=options.host.yaml, limits=reading)
        self.templates = read_templates(image, self.metadata)
        self.compiled = Compiled(self.templates, options)
        self._examples: dict[tuple[object, ...], Example] = {}

    def results(self, instances: Iterable[Instance]) -> Iterator[Result]:
        for instance in instances:
            passes, notes = self._triggers(instance)
            try:
                result = self._compared(instance, passes) if self.pattern else self._planned(instance, passes)
            except LimitError as error:
                error.notes += (f"rendering for '{printable(instance.name)}'",)
                raise
            result.notes, result.triggers, result.is_vm = notes, passes, instance.is_vm
            yield result

    def _triggers(self, instance: Instance) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the instance's triggers, and notes that give the reasons for these triggers."""
        if self.triggers not in ((), ("next",)):
            return self.triggers, ()
        if self.triggers:
            chosen = next_start(instance)
        else:
            chosen = default_triggers(instance, None, rootfs_of_instance=bool(self.pattern))
        reason = f"triggers {','.join(chosen.passes)}: {chosen.reason} (see -t)"
        return chosen.passes, (reason, *chosen.notes)

    def _compared(self, instance: Instance, passes: tuple[str, ...]) -> Result:
        """Plan an instance, and compare the files with the instance's own root filesystem.

        If the instance's root filesystem is unreadable, skip the instance.
        """
        if instance.is_vm:
            return Result(instance.name, "", 0, 0, skipped="skipped (virtual machine)")
        try:
            require_name(instance.name)  # the instance's name becomes part of a path
            path = self.pattern.replace("{name}", instance.name)
            with DirectoryRootfs(path) as rootfs:
                return self._format(self._plan(instance, passes, self._render(instance, passes), rootfs))
        except TemplaterError as error:
            if isinstance(error, LimitError) and not isinstance(error, SlowError):
                raise
            return Result(instance.name, "", error.exit_code, 0, (str(error),), skipped="unreadable")

    def _planned(self, instance: Instance, passes: tuple[str, ...]) -> Result:
        renderings = self._render(instance, passes)
        if self.show == "json" and _PLAIN_NAME.fullmatch(instance.name):
            signature = instance.type, len(instance.name), passes, *_signature(renderings)
            example = self._examples.get(signature)
            try:
                if example is None:
                    other: list[str] = []
                    plan = self._plan(instance, passes, renderings, self.rootfs, other)
                    if not other and len(self._examples) < MOST_EXAMPLES:
                        self._examples[signature] = Example(plan, renderings)
                    return self._format(plan)
                return example.adapt(instance.name, renderings)
            except (_DiffersError, UnicodeDecodeError):
                pass
        return self._format(self._plan(instance, passes, renderings, self.rootfs))

    def _render(self, instance: Instance, passes: tuple[str, ...]) -> list[Rendering]:
        return render(self.metadata, self.compiled, instance, passes, self.options)

    def _plan(
        self, instance: Instance, passes: tuple[str, ...], renderings: list[Rendering],
        rootfs: RootfsView | None, other: list[str] | None = None,
    ) -> Plan:  # fmt: skip
        host, limits = self.options.host, self.options.limits
        limit_reading(rootfs, None if limits is None else limits.total)
        made = plan_of(self.metadata, instance, renderings, rootfs, host=host, triggers=passes)
        return predicted(made, self.templates, rootfs, self.options.begun(), other)

    def _format(self, plan: Plan) -> Result:
        if self.show == "json":
            text = _json_line(plan_data(plan))
        elif self.show == "patch":
            patch = diff(plan)
            text = f"# {printable(plan.instance.name)}\n{patch}" if patch else ""
        else:
            failed = [f"    {printable(change.path)}: {change.error}" for change in plan.failed]
            text = "".join(f"{line}\n" for line in (summary(plan), *failed))
        return Result(plan.instance.name, text, verdict(plan), len(plan.changes), _errors(plan))


class _DiffersError(Exception):
    """Raised if plans differ in more than the instance's name and the files' contents."""


class Example:
    """A plan as JSON with placeholders for the instance's name and the contents of the files.

    Other instances can reuse this plan instead of making their own.
    """

    # Planning and prediction take twenty times as long as all other work.
    def __init__(self, plan: Plan, renderings: list[Rendering]) -> None:
        data = plan_data(plan)
        self.code = verdict(plan)
        self.errors = _errors(plan)
        self.count = len(data["changes"])
        numbers = {rendering.content: n for n, rendering in reversed(list(enumerate(renderings)))}
        entries = [*data["changes"], *data.get("agent", ())]
        #: For each change, a tuple of three values: the index of the first rendering with the same content;
        #: the existing content, or None; whether the existing content equals the new content.
        self.shown: list[tuple[int, bytes | None, bool]] = []
        holes = [(data, "instance")]
        written: set[str] = set()
        for change, entry in zip((*plan.changes, *plan.agent), entries, strict=True):
            if change.content is not None:
                before = None if change.real in written else change.before
                self.shown.append((numbers[change.content], before, change.content == before))
                holes.append((entry, "content"))
            if change.action in WRITING:
                written.add(change.real)
        if any(key not in entry for entry, key in holes):
            raise _DiffersError  # content that is not UTF-8 is in another field of the JSON object
        for number, (entry, key) in enumerate(holes):
            entry[key] = f"\0{number}\0"
        #: the line of JSON, split at the placeholders for the name and the contents
        self.start, *self.parts = _HOLE.split(_json_line(data))
        if len(self.parts) != len(holes):
            raise _DiffersError

    def adapt(self, name: str, renderings: list[Rendering]) -> Result:
        """Return the result for the instance ``name``, whose files have the contents in ``renderings``.

        Raises _DiffersError if this example's plan cannot be adapted for the instance.
        """
        texts = [self.start, _json(name), self.parts[0]]
        for (number, before, equal), part in zip(self.shown, self.parts[1:], strict=True):
            content = renderings[number].content or b""
            if before is not None and (content == before) != equal:
                raise _DiffersError
            texts += (_json(content.decode()), part)
        return Result(name, "".join(texts), self.code, self.count, self.errors)


def _signature(renderings: list[Rendering]) -> Iterator[object]:
    """Yield the parts of a cache key for the rendered files of one instance.

    The part for a file is its error, or the number of the first file with the same content.
    """
    # If two instances have equal keys, ``Example.adapt`` can usually adapt the plan of one for the other.
    numbers: dict[bytes, int] = {}
    for number, rendering in enumerate(renderings):
        error = rendering.error
        if rendering.content is not None:
            yield numbers.setdefault(rendering.content, number)
        elif error is not None:
            pongo2_error = error.pongo2_error if isinstance(error, TemplateError) else None
            yield type(error), str(error), error.hint, error.notes, pongo2_error


def _errors(plan: Plan) -> tuple[str, ...]:
    """Return the errors of the changes that fail in templater.

    If no change fails in templater, return the failures that are predicted for the chosen host.
    """
    ours = tuple(str(change.error) for change in plan.failed if change.error is not None)
    return ours or tuple(filter(None, (outcome_text(plan, change) for change in plan.host_fails)))


def _json_line(data: Any) -> str:
    return _json(data) + "\n"


def _json(data: Any) -> str:
    return safe_json(_ENCODER.encode(data))
