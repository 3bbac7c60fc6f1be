"""The views of the page of `watch --web`. A view answers a request from the page with HTML.

This module runs in the child process that renders.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, redirect_stderr
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from ...model.errors import LimitError, TemplaterError, UsageError
from ...model.file_names import METADATA
from ...model.hosts import HOSTS
from ...model.metadata import TRIGGERS
from ...model.plan import Plan
from ...model.render_options import RenderOptions
from ...model.source import Source
from ...model.unprintable_characters import printable
from ...rootfs.directory_rootfs import limit_reading
from ..enforce_limits import guard
from ..html_report import column
from ..open_and_plan import Opened, fixed_options, opened
from ..options import Request
from .edits import Edits, expect, parse_edits
from .options import listed_instances

if TYPE_CHECKING:
    from ...model.instance import Instance
    from ...web.distinct_results import Column, InstanceView
    from ...web.watch_page import PageView

#: the runs of two triggers that the user can choose, in addition to each single trigger
PASSES: Final = (("create", "start"), ("copy", "start"), ("rename", "start"))
#: the maximum number of findings that the page shows
MOST_FINDINGS: Final = 500
#: the maximum number of files and directories to watch in the root filesystem
MOST_TARGETS: Final = 2000


@dataclass(frozen=True, slots=True)
class Side:
    """One run: its triggers (``passes``), its host, and its instance.

    ``given`` is the instance without the user's edits.
    """

    given: Instance
    edits: Edits
    passes: tuple[str, ...]
    host: str


class Views:
    """The opened SRC, and the instances that the page can show. ``file`` is the FILE of ``--instances``."""

    def __init__(self, request: Request, file: str | None) -> None:
        self.request, self.file = request, file
        self._version = -1
        self._stack = ExitStack()
        self._found: Opened | None = None
        self._instances: list[Instance] = []
        self._notes: list[str] = []

    def answer(self, question: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
        """Answer a request from the page. ``question`` is JSON.

        Return facts for the server (files to watch, or findings), and data for the page.
        """
        try:
            with guard(self.request.limits):
                asked = expect(json.loads(question), dict)
                self._open(expect(asked["version"], int))
                limit_reading(self.found.rootfs, self.request.limits.for_files())
                return self._findings(asked) if asked.get("kind") == "findings" else self._view(asked)
        except TemplaterError as error:
            return {}, _failure(error)
        except RecursionError:
            return {}, _failure(LimitError("the input is nested too deeply"))
        except (OSError, ValueError, KeyError) as error:
            return {}, _failure(UsageError(f"{type(error).__name__}: {printable(str(error))}"))

    def _open(self, version: int) -> None:
        """Open SRC, unless this version of its files is already open."""
        if version == self._version and self._found is not None:
            return
        self._stack.close()
        self._found = None
        said = io.StringIO()
        with redirect_stderr(said):
            own = self.request.rootfs is not None
            found = self._stack.enter_context(opened(self.request, rootfs_of_instance=own))
        self._notes = [line.removeprefix("note: ") for line in said.getvalue().splitlines()]
        self._instances = (
            [found.instance] if self.file is None else listed_instances(self.file, self.request.instance)
        )
        self._found, self._version = found, version

    @property
    def found(self) -> Opened:
        assert self._found is not None
        return self._found

    def _view(self, asked: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        from ...web import watch_page as web_page
        from ...web.instance_form import instance_form, keys_of_templates

        sides = self._sides(asked)
        page = self._page(asked, sides)
        first = sides[0]
        body = {
            "version": self._version,
            "source": self.request.src,
            "choices": {
                "instance": [instance.name for instance in self._instances],
                "trigger": self._passes(),
                "host": list(HOSTS),
            },
            "place": {**page.place, "file": page.path},
            "list": web_page.file_list(page),
            "file": web_page.open_file(page),
            "notes": web_page.notes(page, [*self._notes, *self._instance_notes(sides)]),
            "problems": sum(any(variant.is_problem for variant in file.variants) for file in page.view.files),
            "checked": bool(asked.get("checked")),
            "findings": web_page.finding_list(page),
        }
        if asked.get("form"):
            edits = first.edits
            body["form"] = instance_form(
                first.given, edits.apply(first.given, with_unused=True), edits.unused_profiles,
                keys_of_templates(page.view.columns[0]), edits.empty_keys,
            )  # fmt: skip
            body["given"] = _given(first.given)
        return {"targets": list(islice(dict.fromkeys(self._targets(page.view.columns)), MOST_TARGETS))}, body

    def _instance_notes(self, sides: Sequence[Side]) -> list[str]:
        return [] if self.file is None else [note for side in sides for note in side.given.notes]

    def _sides(self, asked: Mapping[str, Any]) -> list[Side]:
        """Return the one or two runs that the page asks for.

        The second run differs only in the instance, the triggers or the host.
        """
        place = expect(asked.get("place", {}), dict)
        edits = expect(asked.get("edits", {}), dict)
        first = self._side({name: expect(text, str) for name, text in place.items()}, edits)
        field, _, value = str(place.get("beside", "")).partition(":")
        if field not in ("instance", "trigger", "host") or not value:
            return [first]
        return [first, self._side({**place, field: value}, edits)]

    def _side(self, place: Mapping[str, str], edits: Mapping[str, Any]) -> Side:
        names = [instance.name for instance in self._instances]
        asked = place.get("instance", "")
        given = self._instances[names.index(asked) if asked in names else 0]
        passes = tuple(filter(None, place.get("trigger", "").split(",")))
        if not passes or any(name not in TRIGGERS for name in passes) or len(passes) > len(TRIGGERS):
            passes = self.found.runs[0]
        host = place.get("host", "")
        return Side(
            given, parse_edits(edits.get(given.name, {})), passes,
            host if host in HOSTS else self.found.request.host.name,
        )  # fmt: skip

    def _passes(self) -> list[str]:
        every = (*self.found.runs, *PASSES, *((trigger,) for trigger in TRIGGERS))
        return list(dict.fromkeys(",".join(each) for each in every))

    def _page(self, asked: Mapping[str, Any], sides: Sequence[Side]) -> PageView:
        from ...web.distinct_results import instance_view
        from ...web.watch_page import PageView, chosen_path

        path = str(expect(asked.get("place", {}), dict).get("file", ""))
        fixed = fixed_options(self.found.request)
        columns = [self._column(side, fixed) for side in sides]
        silent = [_silent(each) for each in columns]
        view = instance_view(sides[0].given, silent)
        path = chosen_path(view, path)
        views = [instance_view(side.given, [each]) for side, each in zip(sides, silent, strict=True)]
        _explain(view, path, columns)
        if len(sides) > 1:
            for each, shown in zip(views, columns, strict=True):
                _explain(each, path, [shown])
        first = sides[0]
        place = {"instance": first.given.name, "trigger": ",".join(first.passes), "host": first.host}
        labels = [first.host]
        if len(sides) > 1:
            beside = str(expect(asked["place"], dict)["beside"])
            place["beside"] = beside
            name = beside.partition(":")[0]
            labels = [
                {"instance": side.given.name, "trigger": " then ".join(side.passes), "host": side.host}[name]
                for side in sides
            ]
        metadata = Source(METADATA, self.found.source.image.read_metadata().data)
        findings = asked.get("known_findings")
        return PageView(view, views, labels, place, path, metadata, findings, bool(asked.get("all")))

    def _column(self, side: Side, fixed: RenderOptions) -> Column:
        request = self.found.request
        dialect = fixed.dialect if side.host == request.host.name else ""
        own = RenderOptions(HOSTS[side.host], dialect, fixed.clock, fixed.seed, fixed.limits)
        plan: Plan | TemplaterError
        found = self.found._replace(request=request._replace(host=HOSTS[side.host]), runs=(side.passes,))
        try:
            found = found._replace(instance=side.edits.apply(side.given))
            plan = found.plan(side.passes, own.begun())
        except TemplaterError as error:
            # the frames of the traceback would hold all rendered files until garbage is collected
            error.__context__ = error.__cause__ = None
            plan = error.with_traceback(None)
        return column(found, plan, side.passes, own, "", [])

    def _targets(self, columns: Sequence[Column]) -> Iterator[str]:
        """Yield the files that the plans read in a root filesystem on disk, and their directories."""
        root = self.request.rootfs or self.found.source.rootfs_path
        if self.found.rootfs is None or not root or not os.path.isdir(root):
            return
        for each in columns:
            for change in each.plan.changes if isinstance(each.plan, Plan) else ():
                path = root
                for name in change.real.strip("/").split("/"):
                    path = os.path.join(path, name)
                    yield path

    def _findings(self, asked: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the findings of `check` without validators."""
        from ..html_report import found_by_check

        said = io.StringIO()
        hosts = [side.host for side in self._sides(asked)]
        with redirect_stderr(said):
            findings = found_by_check(self.found, list(dict.fromkeys(hosts)))
        count = len(findings or ())
        if findings is not None and count > MOST_FINDINGS:
            message = f"{count - MOST_FINDINGS} more findings are not shown: run 'templater check'"
            rest = {"check": "check", "severity": "info", "message": message, "file": self.request.src}
            findings = [*findings[:MOST_FINDINGS], rest]
        return {"findings": findings}, {"version": self._version, "count": count}


def _silent(each: Column) -> Column:
    """Return a copy of a column without explanations. Each explanation would render a template again."""
    return replace(each, explain=lambda change: None, reads=lambda change: None)


def _explain(view: InstanceView, path: str, columns: Sequence[Column]) -> None:
    """Add the origins of values to the results of one file."""
    for file in view.files:
        for variant in file.variants if printable(file.path) == path else ():
            if variant.has_content:
                variant.lines = columns[variant.columns[0]].explain(variant.change)


def _given(instance: Instance) -> dict[str, Any]:
    """Return the instance as its files describe it. The page compares the user's edits with this data."""
    profiles = [{"name": profile.name, "config": dict(profile.config)} for profile in instance.profiles]
    return {
        "name": instance.name,
        "type": instance.type,
        "config": dict(instance.config),
        "profiles": profiles,
    }


def _failure(error: TemplaterError) -> dict[str, Any]:
    from ...web.watch_page import problem

    return {"file": problem(error.explain()), "problem": str(error)}
