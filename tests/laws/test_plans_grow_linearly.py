"""Tests that the time and memory of planning, prediction and reports grow in proportion to the image.

The tests double the number of rules, the depth of paths, the length of contents, or the number of links. An
image of 1.2 kB with 400 rules, for files in ``d/``, ``d/d/`` and so on, once made planning run without end.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from templater.model.entry import DIRECTORY, FILE, SYMLINK, Entry, TemplateFile
from templater.model.errors import LimitError, RefusedError
from templater.model.hosts import HOSTS, INCUS, NONE
from templater.model.instance import VIRTUAL_MACHINE, Instance
from templater.model.metadata import Metadata, Rule
from templater.model.plan import Plan
from templater.model.render_options import RenderOptions
from templater.planning.decide_changes import plan_of
from templater.planning.follow_links import clean, resolve
from templater.planning.plan_image import predicted
from templater.pongo2.render_state import Limits
from templater.prediction.deviations import deviations_at
from templater.rendering.render import Rendering, render
from templater.reporting import json_data, plan_text
from templater.reporting.patch import diff
from templater.rootfs.memory_rootfs import MemoryRootfs
from tests.laws.growth import assert_linear

TEMPLATES = {"a.tpl": TemplateFile(Entry(FILE), b"x")}


def deep(n: int) -> list[str]:
    """Return eight deep paths in the same directory. All paths together have about n names."""
    return [f"/{'d/' * (n // 8)}f{number}" for number in range(8)]


def apart(n: int) -> list[str]:
    """Return eight deep paths that have no directory in common, except the root directory."""
    return [f"/{number}/{'d/' * (n // 8)}f" for number in range(8)]


def many(n: int) -> list[str]:
    return [f"/etc/{number}/f" for number in range(n)]


def same(n: int) -> list[str]:
    """Return n paths in different spellings, which all lead to the same file."""
    return [f"/etc/{'./' * (number % 3)}f" for number in range(n)]


def nested(n: int) -> list[str]:
    """Return n paths.

    Most paths have the previous path as their parent, and no path has more than 41 names.
    """
    return [f"/{number // 40}" + "/d" * (number % 40 + 1) for number in range(n)]


def linked(n: int) -> list[str]:
    """Return n paths that lead through the symlink ``/run`` of ``LINKS``."""
    return [f"/run/{number}/f" for number in range(n)]


def absolute(n: int) -> list[str]:
    """Return n paths that lead through an absolute symlink.

    Hosts refuse this symlink, or follow it on the host.
    """
    return [f"/var/{number}" for number in range(n)]


SHAPES: dict[str, tuple[Callable[[int], list[str]], int]] = {
    "deep": (deep, 1000), "apart": (apart, 1000), "many": (many, 150), "same": (same, 150),
    "nested": (nested, 150), "linked": (linked, 150), "absolute": (absolute, 150),
}  # fmt: skip
LINKS = {
    "/etc": Entry(DIRECTORY, 0o755),
    "/run": Entry(SYMLINK, target="srv/./../srv"),
    "/srv": Entry(DIRECTORY, 0o755),
    "/var": Entry(SYMLINK, target="/srv"),
}

FAST = [(host, shape) for host in ("incus", "lxd", "incus-6.0.4") for shape in ("deep", "many", "linked")]

Subject = tuple[Plan, MemoryRootfs | None]


def plan_without_prediction(paths: list[str], host: str, *, vm: bool, known: bool, fails: bool) -> Subject:
    rules = tuple(Rule(path, "a.tpl", ("create", "start")) for path in paths)
    rootfs = MemoryRootfs(LINKS) if known else None
    error = RefusedError("no") if fails else None
    renderings = [
        Rendering(rule, trigger, None if number == 0 and error else b"x", error if number == 0 else None)
        for trigger in ("create", "start")
        for number, rule in enumerate(rules)
    ]
    instance = Instance("c1", VIRTUAL_MACHINE if vm else "container")
    return (
        plan_of(
            Metadata(rules=rules), instance, renderings, rootfs,
            host=HOSTS[host], triggers=("create", "start"),
        ),
        rootfs,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("known", [True, False])
def test_planning_a_start_takes_linear_time_in_the_number_of_rules(shape: str, known: bool) -> None:
    paths, n = SHAPES[shape]

    def run(paths: list[str]) -> object:
        return plan_without_prediction(paths, "none", vm=False, known=known, fails=False)

    assert_linear(run, paths, n)


CASES = [
    # the same code predicts all hosts of a family: all shapes of all hosts are for the slow tests
    pytest.param(shape, host, vm, marks=() if (host, shape) in FAST and not vm else pytest.mark.slow)
    for shape in SHAPES
    for host in HOSTS
    for vm in (False, True)
    if host != "none"
]


@pytest.mark.parametrize(("shape", "host", "vm"), CASES)
def test_predicting_a_start_takes_linear_time_in_the_number_of_rules(shape: str, host: str, vm: bool) -> None:
    paths, n = SHAPES[shape]

    def run(subject: Subject) -> Plan:
        plan, rootfs = subject
        return predicted(plan, TEMPLATES, rootfs, RenderOptions(HOSTS[host]))

    def make(n: int) -> Subject:
        return plan_without_prediction(paths(n), host, vm=vm, known=True, fails=False)

    assert_linear(run, make, n)


@pytest.mark.slow
@pytest.mark.parametrize("host", ["incus", "lxd", "incus-6.0.4"])
def test_predicting_a_start_with_a_failing_rule_takes_linear_time(host: str) -> None:
    def make(n: int) -> Subject:
        return plan_without_prediction(many(n), host, vm=False, known=True, fails=True)

    assert_linear(lambda made: predicted(made[0], TEMPLATES, made[1], RenderOptions(HOSTS[host])), make, 150)


def a_plan(paths: list[str], content: bytes = b"x", before: str | None = None) -> Plan:
    rules = tuple(Rule(path, "a.tpl", ("create",)) for path in paths)
    tree: dict[str, Any] = {**LINKS, **({"/etc/f": before} if before is not None else {})}
    renderings = [Rendering(rule, "create", content) for rule in rules]
    rootfs = MemoryRootfs(tree)
    made = plan_of(Metadata(rules=rules), Instance(), renderings, rootfs, host=INCUS, triggers=("create",))
    return predicted(made, TEMPLATES, rootfs, RenderOptions(INCUS))


REPORTS: dict[str, Callable[[Plan], object]] = {
    "preview": plan_text.preview,
    "json": lambda plan: json.dumps(json_data.plan_data(plan)),
    "summary": plan_text.summary,
    "rules that are not due": plan_text.not_due,
    "patch": diff,
    "deviations": lambda plan: [deviations_at(plan, change) for change in plan.changes],
    "files": lambda plan: list(plan.files()),
}


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", REPORTS)
def test_writing_a_report_takes_linear_time_in_the_number_of_files(kind: str, shape: str) -> None:
    paths, n = SHAPES[shape]
    assert_linear(REPORTS[kind], lambda n: a_plan(paths(n)), n)


BODIES: dict[str, Callable[[int], tuple[str, bytes]]] = {
    "equal lines": lambda n: ("a\n" * n, b"a\n" * n + b"b\n"),
    "other lines": lambda n: (
        "".join(f"{k}\n" for k in range(n)), b"".join(b"%d\n" % -k for k in range(n)),
    ),
    "lines that recur": lambda n: (
        "".join(f"{k * 7 % 150}\n" for k in range(n)), b"".join(b"%d\n" % (k * 11 % 150) for k in range(n)),
    ),
    "one long line": lambda n: ("a" * 50 * n, b"b" * 50 * n),
    "carriage returns": lambda n: ("a\r" * n, b"b\r" * n),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("body", BODIES)
def test_a_patch_of_a_long_file_takes_linear_time(body: str) -> None:
    def make(n: int) -> Plan:
        before, after = BODIES[body](n)
        return a_plan(["/etc/f"], after, before)

    assert_linear(diff, make, 5000)


@pytest.mark.slow
@pytest.mark.parametrize("body", BODIES)
def test_a_preview_of_a_long_file_takes_linear_time(body: str) -> None:
    assert_linear(plan_text.preview, lambda n: a_plan(["/etc/f"], BODIES[body](n)[1]), 5000)


PATHS: dict[str, Callable[[int], str]] = {
    "names": lambda n: "/" + "d/" * n + "f",
    "slashes": lambda n: "/" * n + "f",
    "dots": lambda n: "/./" * n + "f",
    "up and down": lambda n: "/d/.." * n + "/f",
    "one name": lambda n: "/" + "d" * n,
}


@pytest.mark.slow
@pytest.mark.parametrize("shape", PATHS)
def test_normalising_a_path_takes_linear_time_in_its_length(shape: str) -> None:
    def run(path: str) -> object:
        try:
            return clean(path)
        except RefusedError as error:
            return error

    assert_linear(run, PATHS[shape], 20_000)


@pytest.mark.slow
def test_resolving_a_chain_of_links_takes_linear_time() -> None:
    def run(rootfs: MemoryRootfs) -> object:
        return resolve(rootfs, "/a/f")

    assert_linear(
        run, lambda n: MemoryRootfs({"/a": Entry(SYMLINK, target="x/../" * n + "x"), "/x/y": ""}), 500
    )


@pytest.mark.slow
def test_rendering_takes_linear_time_in_the_number_of_rules() -> None:
    def run(metadata: Metadata) -> object:
        return render(metadata, TEMPLATES, Instance(), ("create",), RenderOptions(NONE))

    def make(n: int) -> Metadata:
        return Metadata(rules=tuple(Rule(path, "a.tpl", ("create",)) for path in many(n)))

    assert_linear(run, make, 500)


def test_the_prediction_of_a_start_ends_at_the_time_limit() -> None:
    plan, rootfs = plan_without_prediction(many(100), "incus", vm=False, known=True, fails=False)
    limits = Limits(total=1e-9).begun()
    with pytest.raises(LimitError, match="longer than"):
        predicted(plan, TEMPLATES, rootfs, RenderOptions(INCUS, limits=limits))
