"""The image under test: opened and compiled once, and rendered for each case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..definitions.choice import CONTAINER, VM, Choice
from ..model.default_triggers import default_triggers
from ..model.entry import TemplateFile
from ..model.errors import HostError, TemplaterError
from ..model.hosts import NONE, Host
from ..model.instance import Instance
from ..model.metadata import Metadata, Rule
from ..model.plan import CREATE, KEEP, SKIP, WRITE, WRITING, Change, Plan
from ..model.render_options import RenderOptions
from ..parsing.instance_description import read_profile
from ..parsing.metadata_yaml import read_metadata
from ..planning.decide_changes import plan_of
from ..planning.generated_keys import new_instance
from ..planning.plan_image import predicted, read_templates
from ..rendering.render import Compiled, render
from ..rootfs.directory_rootfs import DirectoryRootfs
from ..rootfs.memory_rootfs import MemoryRootfs
from ..simulation.run_steps import simulate
from ..simulation.step_report import Report
from ..simulation.writable_copy import WritableCopy
from ..sources.open_source import open_source
from .case import Case
from .read_tests import cleaned
from .tests_folder import Folder

if TYPE_CHECKING:
    from ..limit_option import Given
    from ..model.entry import Image, RootfsView
    from ..model.source import Source
    from ..rendering.rendered_text_cache import Memo
    from ..sources.open_source import OpenedSource

#: the time that templates see in tests: 2001-02-03 04:05:06 UTC
CLOCK = 981173106.0
#: maximum seconds for one template, and for all templates of all cases
SECONDS, TOTAL = 8.0, 300.0


@dataclass(frozen=True, slots=True)
class File:
    """A file that the host writes. ``change`` has its rule, trigger and content."""

    change: Change
    mode: int
    uid: int
    gid: int

    @property
    def text(self) -> str:
        return (self.change.content or b"").decode("utf-8", "surrogateescape")


@dataclass(slots=True)
class Result:
    """The files that a run or step writes, by cleaned path, and the errors of rules and of the whole run."""

    host: Host
    instance: Instance
    rules: tuple[Rule, ...] = ()
    files: dict[str, File] = field(default_factory=dict)
    errors: dict[str, TemplaterError] = field(default_factory=dict)
    error: TemplaterError | None = None
    #: paths whose content on the host is unknown, with the reason
    unknown: Mapping[str, str] = field(default_factory=dict)
    #: the changes whose templates the host renders, for coverage
    due: tuple[Change, ...] = ()
    #: the cleaned paths of ``rules``, or None before their first use
    targets: frozenset[str] | None = None


class HeldImage:
    """An image whose metadata and templates are in memory."""

    complete = True

    def __init__(self, image: Image) -> None:
        self.name = image.name
        self._source = image.read_metadata()
        lenient = read_metadata(self._source)
        self.rules = lenient.rules
        self.metadata: dict[str, Metadata | TemplaterError] = {}
        self.templates: Mapping[str, TemplateFile] = read_templates(image, lenient)
        self.compiled: dict[str, Compiled] = {}

    def read_metadata(self) -> Source:
        return self._source

    def read_templates(self, names: Iterable[str]) -> Mapping[str, TemplateFile]:
        return {name: self.templates.get(name, TemplateFile()) for name in names}


class Subject:
    """The SRC of a run of tests. Use it in a ``with`` block."""

    def __init__(self, path: str, given: Given, choice: Choice, memo: Memo | None = None) -> None:
        self.path = path
        self.given = given
        self.choice = choice
        self.memo = memo
        self.options = RenderOptions(NONE, "", CLOCK, 0, given.for_rendering(SECONDS, TOTAL)).begun()
        self.notes: dict[str, None] = {}
        self._images: dict[Choice, HeldImage] = {}
        self._stack = ExitStack()
        self._opened: OpenedSource | None = None
        self._view: Any = None
        self._on_paper: MemoryRootfs | None = None

    def __enter__(self) -> Subject:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def is_definition(self) -> bool:
        return self._opened is not None and self._opened.definition is not None

    @property
    def images(self) -> Iterable[HeldImage]:
        """The images that the cases have used: a single image, or builds of the definition."""
        return self._images.values()

    def image(self, case: Case) -> HeldImage:
        """Return the image, or the build of a definition, that a case tests."""
        kind = VM if case.instance.is_vm else CONTAINER
        choice = self.choice._replace(
            parameters=(*self.choice.parameters, *case.options), type=kind, **rootfs_of_build(case)
        )
        if self._opened is not None and not self.is_definition:
            choice.refuse_parameters(self.path)
            choice = next(iter(self._images))
        if choice not in self._images:
            opened = open_source(self.path, self.given.for_images(), choice)
            self.notes |= dict.fromkeys(opened.notes)
            self._images[choice] = HeldImage(opened.image)
            if self._opened is None:
                self._opened = opened
                self._view = self._stack.enter_context(self._open_rootfs(opened))
        return self._images[choice]

    def _open_rootfs(self, opened: OpenedSource) -> AbstractContextManager[RootfsView | None]:
        chosen = self.choice.rootfs
        if chosen is None or chosen == "image":
            return opened.open_rootfs()
        if chosen == "none":
            return nullcontext()
        return DirectoryRootfs(chosen)

    def rootfs(self, case: Case) -> Any:
        """Return the root filesystem before the case, or None if it is unknown."""
        if isinstance(case.rootfs, Mapping):
            return MemoryRootfs(case.rootfs)
        return self._view if case.rootfs == "image" else None

    def plan(self, case: Case) -> Result:
        """Render a case that has triggers. Errors of rules are part of the result."""
        try:
            plan = self._plan(case)
        except TemplaterError as error:
            if error.kind == "limit":
                raise
            return Result(case.host, case.instance, error=error)
        return of_plan(plan)

    def _plan(self, case: Case) -> Plan:
        image, rootfs = self.image(case), self.rootfs(case)
        host, options = case.host, self.options_for(case.host)
        metadata = self.metadata(image, host)
        triggers = case.triggers or default_triggers(case.instance, None).passes
        instance = case.instance
        if triggers[0] == "create" and not instance.exists:
            instance = new_instance(instance, metadata.properties, triggers, placeholders=bool(host.product))
        if options.dialect not in image.compiled:
            image.compiled[options.dialect] = (
                Compiled(image.templates, options)
                if self.memo is None
                else self.memo.compiled(image.templates, options)
            )
        renderings = render(metadata, image.compiled[options.dialect], instance, triggers, options)
        plan = plan_of(metadata, instance, renderings, rootfs, host=host, triggers=triggers)
        return predicted(plan, image.templates, rootfs, options)

    def metadata(self, image: HeldImage, host: Host) -> Metadata:
        """Return the metadata as a host's YAML library decodes it. Raises TemplaterError if that fails."""
        if host.yaml not in image.metadata:
            try:
                image.metadata[host.yaml] = read_metadata(
                    image.read_metadata(), yaml=host.yaml, limits=self.given.for_reading()
                )
            except TemplaterError as error:
                image.metadata[host.yaml] = error
        found = image.metadata[host.yaml]
        if isinstance(found, TemplaterError):
            raise found
        return found

    def options_for(self, host: Host) -> RenderOptions:
        own = self.options
        return RenderOptions(host, "", own.clock, own.seed, own.limits)

    def live(self, case: Case, folder: Folder) -> list[Result]:
        """Simulate the steps of a case, and return the result of each step."""
        image = self.image(case)
        rootfs = self.rootfs(case)
        if rootfs is not None and not isinstance(rootfs, MemoryRootfs):
            self._on_paper = self._on_paper or WritableCopy(rootfs)
            rootfs = self._on_paper
        reports = simulate(
            image, case.instance, [each.step for each in case.steps], self.options_for(case.host),
            rootfs=rootfs,
            reading=self.given.for_reading(),
            read_profile=lambda file: read_profile(folder.read(file)),
            placeholders=bool(case.host.product),
        )  # fmt: skip
        return [of_report(report, case) for report in reports]


def rootfs_of_build(case: Case) -> dict[str, Any]:
    """Return the fields of a `Choice` for a test's root filesystem, or {} for the default root filesystem."""
    if isinstance(case.rootfs, Mapping):
        return {"files": tuple(case.rootfs.items())}
    return {} if case.rootfs == "image" else {"rootfs": case.rootfs}


def of_plan(plan: Plan) -> Result:
    found = Result(plan.host, plan.instance, plan.metadata.rules, due=due_of(plan))
    if plan.host_error:
        found.error = HostError(f"{plan.host.name}: {plan.host_error}")
    for change in (*plan.changes, *plan.agent):
        add_error(found, plan, change)
    for change in plan.agent if plan.instance.is_vm else plan.changes:
        outcome = plan.outcome(change)
        if change.action in (*WRITING, KEEP) and (outcome is None or outcome.result not in _FAILING):
            found.files[cleaned(change.rule.path)] = file_of(change, plan.host)
    return found


def due_of(plan: Plan) -> tuple[Change, ...]:
    """Return the changes whose templates the host renders, even if a rendering fails."""
    return tuple(change for change in plan.changes if change.action != SKIP)


_FAILING = ("fails", "hangs", "unknown", "skipped")


def add_error(found: Result, plan: Plan, change: Change) -> None:
    """If a change fails in templater or on the host, add its error to ``found``."""
    error, outcome = change.error, plan.outcome(change)
    if error is None and outcome is not None and outcome.result in ("fails", "hangs"):
        words = outcome.error or outcome.text or outcome.result
        error = HostError(f"{plan.host.name}: {words}", change.rule.spans.get("path"))
    if error is not None and change.action != SKIP:
        found.errors.setdefault(cleaned(change.rule.path), error)


def file_of(change: Change, host: Host) -> File:
    """Return a written file with the owner and mode that the host gives it."""
    if host.family and not host.permissions and change.action in (CREATE, WRITE):
        return File(change, 0o644, 0, 0)
    return File(change, change.mode, change.uid, change.gid)


def of_report(report: Report, case: Case) -> Result:
    started = report.started
    if started is None:
        return Result(case.host, case.instance, error=report.error)
    plan = started.plan
    found = Result(
        plan.host, plan.instance, plan.metadata.rules, error=report.error, unknown=started.unknown,
        due=due_of(plan),
    )  # fmt: skip
    if report.error is not None:
        for change in (*plan.changes, *plan.agent):
            add_error(found, plan, change)
        return found
    for change in plan.as_agent().files() if plan.instance.is_vm else started.changes:
        found.files[cleaned(change.rule.path)] = File(change, change.mode, change.uid, change.gid)
    return found
