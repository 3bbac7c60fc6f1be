"""One image for many instances: read and compiled once, told for each of them."""

from __future__ import annotations

import json
import marshal
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..model.errors import LimitError, RefusedError, TemplaterError
from ..model.hosts import HOSTS
from ..model.source import printable
from ..parsing.instance_list import instance_of
from ..parsing.instance_yaml import overridden
from ..parsing.metadata_yaml import read_metadata
from ..planning.planner import plan_of
from ..prediction import predict
from ..rendering.render import Compiled, Rendering, render
from ..reporting.patch import diff
from ..reporting.report import plan_data, summary, verdict
from .output_templates import Form, alike, form_of, is_plain, stand_ins

if TYPE_CHECKING:
    from ..model.entry import Image, RootfsView, TemplateFile
    from ..model.instance import Instance
    from ..model.plan import Plan
    from ..model.source import Source
    from ..parsing.instance_list import Value
    from ..parsing.yaml_nodes import Limits as YamlLimits
    from ..pongo2.state import Limits

#: instances and characters that are told at once
MOST_TOGETHER = 100
LONGEST_TOGETHER = 128 << 10
#: a form for each way in which contents can be the same and rules can fail; beyond that, without one
MOST_FORMS = 64


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked of every instance."""

    metadata: Source
    templates: Mapping[str, TemplateFile]
    triggers: tuple[str, ...]
    host: str
    dialect: str | None
    show: str
    file: str = ""
    config: Mapping[str, str] | None = None
    devices: Mapping[str, Mapping[str, str]] | None = None
    #: a root filesystem for each instance, ``{name}`` in it standing for the name
    rootfs: str | None = None
    #: what rendering may take; its time in total begins anew with each instance
    limits: Limits | None = None
    reading: YamlLimits | None = None


@dataclass(slots=True)
class Result:
    """What came of one instance: its text as asked for, its exit code, and what went wrong."""

    name: str
    text: str
    code: int
    changes: int
    errors: tuple[str, ...] = ()


class Batch:
    """What came of some instances, one after the other."""

    __slots__ = ("_data", "_texts", "changes", "code", "errors", "failing", "instances", "length")

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._data: bytes | None = None
        self.length = 0
        self.instances = 0
        self.changes = 0
        self.failing = 0
        #: the worst exit code
        self.code = 0
        #: errors, each with the name of its instance
        self.errors: list[tuple[str, str]] = []

    def add(self, result: Result) -> None:
        self._texts.append(result.text)
        self.length += len(result.text)
        self.instances += 1
        self.changes += result.changes
        if result.code:
            self.failing += 1
            self.code = max(self.code, result.code)
        for error in result.errors:
            self.errors.append((error, result.name))

    @property
    def data(self) -> bytes:
        """What is told of them, as it is written."""
        if self._data is None:
            self._data = "".join(self._texts).encode("utf-8", "surrogateescape")
        return self._data

    def packed(self) -> tuple[bytes, bytes]:
        """The batch as it goes through a pipe: what is known of it, and what is told."""
        known = self.instances, self.changes, self.failing, self.code, self.errors, bool(self.data)
        return marshal.dumps(known), self.data

    @classmethod
    def unpacked(cls, known: bytes, parts: Iterator[bytes | None]) -> Batch | None:
        """None for a word of trouble."""
        # from a process of our own, through a pipe that nobody else has
        fields = marshal.loads(known)  # noqa: S302
        if fields is None:
            return None
        batch = cls()
        batch.instances, batch.changes, batch.failing, batch.code, batch.errors, more = fields
        batch._data = next(parts) if more else b""
        return batch


def order(
    image: Image,
    *,
    triggers: tuple[str, ...],
    host: str,
    dialect: str | None = None,
    show: str = "summary",
    reading: YamlLimits | None = None,
    **more: Any,
) -> Order:
    """Everything of the image that is needed, read once."""
    source = image.read_metadata()
    metadata = read_metadata(source, yaml=HOSTS[host].yaml, limits=reading)
    templates = image.read_templates({rule.template for rule in metadata.rules if rule.template})
    return Order(source, dict(templates), triggers, host, dialect, show, reading=reading, **more)


class Fleet:
    """An order ready to be carried out for one instance after the other."""

    def __init__(self, given: Order) -> None:
        self.order = given
        self.host = HOSTS[given.host]
        self.metadata = read_metadata(given.metadata, yaml=self.host.yaml, limits=given.reading)
        self.compiled = Compiled(given.templates, given.dialect or self.host.dialect, limits=given.limits)
        self._forms: dict[tuple[str, tuple[object, ...]], Form | None] = {}
        # nothing that an image says can look like it
        self._blank = f"blank-{os.urandom(8).hex()}"

    def batches(self, values: Iterable[Value]) -> Iterator[Batch]:
        """What comes of each, together where that is little; before an error what came before it."""
        batch = Batch()
        try:
            for value in values:
                batch.add(self.result(value))
                if batch.instances >= MOST_TOGETHER or batch.length >= LONGEST_TOGETHER:
                    yield batch
                    batch = Batch()
        except TemplaterError:
            if batch.instances:
                yield batch
            raise
        if batch.instances:
            yield batch

    def result(self, value: Value) -> Result:
        place, description = value
        given = self.order
        instance = instance_of(description, place, given.file)
        if given.config or given.devices:
            instance = overridden(instance, config=given.config or {}, devices=given.devices or {})
        try:
            renderings = self.render(instance)
            result = self.formed(instance, renderings) if given.rootfs is None else None
            if result is None:
                with _rootfs(given.rootfs, instance.name) as rootfs:
                    result = self.told(self.planned(instance, renderings, rootfs))
        except LimitError as error:
            error.notes += (f"rendering for '{printable(instance.name)}'",)
            raise
        return result

    def plan(self, instance: Instance, rootfs: RootfsView | None = None) -> Plan:
        return self.planned(instance, self.render(instance), rootfs)

    def render(self, instance: Instance) -> list[Rendering]:
        return render(self.metadata, self.compiled, instance, self.order.triggers, self.host)

    def planned(self, instance: Instance, renderings: list[Rendering], rootfs: RootfsView | None) -> Plan:
        triggers = self.order.triggers
        made = plan_of(self.metadata, instance, renderings, rootfs, host=self.host, triggers=triggers)
        predict(made, self.order.templates, rootfs)
        return made

    def told(self, made: Plan) -> Result:
        errors = tuple(str(change.error) for change in made.failed if change.error is not None)
        text = SHOWS[self.order.show](made)
        return Result(made.instance.name, text, verdict(made), len(made.changes), errors)

    def formed(self, instance: Instance, renderings: list[Rendering]) -> Result | None:
        """The result by a form, in a hundredth of the time; None where it has to be told by itself."""
        if self.order.show not in FORMED or not is_plain(instance.name):
            return None
        form = self.form(instance, renderings, alike(renderings))
        if form is None:
            return None
        try:
            text = form.fill(instance.name, renderings)
        except UnicodeDecodeError:
            return None
        return Result(instance.name, text, form.code, form.changes, form.errors_of(instance.name))

    def form(self, instance: Instance, renderings: list[Rendering], same: tuple[object, ...]) -> Form | None:
        key = instance.type, same
        if key not in self._forms and len(self._forms) < MOST_FORMS:
            nameless = copy(instance)
            nameless.name = self._blank
            made = self.planned(nameless, stand_ins(renderings, same, self._blank), None)
            self._forms[key] = form_of(made, SHOWS[self.order.show](made), self._blank)
        return self._forms.get(key)


def json_line(plan: Plan) -> str:
    return json.dumps(plan_data(plan), ensure_ascii=False) + "\n"


def summary_line(plan: Plan) -> str:
    lines = [summary(plan), *(f"    {printable(change.path)}: {change.error}" for change in plan.failed)]
    return "".join(f"{line}\n" for line in lines)


def patch_text(plan: Plan) -> str:
    text = diff(plan)
    return f"# {printable(plan.instance.name)}\n{text}" if text else ""


SHOWS: Mapping[str, Callable[[Plan], str]] = {
    "json": json_line,
    "summary": summary_line,
    "patch": patch_text,
}


#: ways of showing in which contents stand as they are, or not at all
FORMED = ("json", "summary")


@contextmanager
def _rootfs(pattern: str | None, name: str) -> Iterator[RootfsView | None]:
    """The root filesystem of one instance, if there are any."""
    if pattern is None:
        yield None
        return
    from ..rootfs.directory import DirectoryRootfs, refuse_link

    if "/" in name or name in ("", ".", ".."):
        raise RefusedError(f"'{printable(name)}' can't be part of a path")
    path = pattern.replace("{name}", name)
    refuse_link(path)
    with DirectoryRootfs(path) as rootfs:
        yield rootfs
