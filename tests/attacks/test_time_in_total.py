"""An image of many slow templates, each within its own limits: their total has a limit too."""

import io
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from templater.batch.plan_instances import Fleet
from templater.checks.security import runaway
from templater.cli import open_and_plan
from templater.cli.run_command_line import main
from templater.hooks import precompile, sandboxed_rendering
from templater.hooks import run as hook_run
from templater.hooks.sandboxed_rendering import Job
from templater.image.open_image import open_image
from templater.model.errors import LimitError, RefusedError, TemplateError, UsageError
from templater.model.hosts import INCUS, NONE
from templater.model.instance import Instance
from templater.model.render_options import RenderOptions
from templater.model.source import Source
from templater.parsing.instance_list import stream_instances
from templater.parsing.metadata_yaml import read_metadata
from templater.planning.plan_image import plan
from templater.pongo2.render_state import Limits
from templater.rendering import render as rendering
from templater.rendering.render import Compiled, Rendering, render
from templater.sandbox.child import Bounds
from templater.simulation.parse_steps import parse_step
from templater.simulation.run_steps import simulate
from tests.checks.builders import an_image, observed, rules
from tests.processor_time import ends_within

pytestmark = pytest.mark.slow  # the fast tests have two minutes

#: each takes some hundredths of a second
SLOW = "{% for a in 'x'|ljust:300 %}{% for b in 'x'|ljust:300 %}{{ a|upper }}{% endfor %}{% endfor %}"
RULES = 400


@pytest.fixture
def image(tmp_path: Path) -> str:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "slow.tpl").write_text(SLOW)
    entries = [f"/etc/{n}: {{when: [create, start], template: slow.tpl}}" for n in range(RULES)]
    (tmp_path / "metadata.yaml").write_text(rules(*entries))
    return str(tmp_path)


def limit_error(call):
    """Call a function that must fail at its limit within 3 seconds, and return the error.

    Without the limit, the call takes many seconds.
    """
    with ends_within(3), pytest.raises(LimitError) as caught:
        call()
    return caught.value


def limits() -> Limits:
    return Limits(seconds=60, total=0.4)


def test_the_error_about_total_time_mentions_the_rule(image):
    error = limit_error(lambda: plan(open_image(image), Instance("c1"), limits=limits()))
    assert error.message.startswith("rendering all templates together takes longer than 0.4 seconds after ")
    assert error.span is not None and error.span.source.name.endswith("metadata.yaml")
    assert "in the rule for '/etc/" in error.explain()
    assert "--limit time=" in error.hint
    assert error.exit_code == 4


def test_the_total_time_limit_ends_a_running_template(image):
    """A template slower than the total limit fails, and the next rule is not rendered."""
    long = SLOW.replace("300", "1500")
    Path(image, "templates", "slow.tpl").write_text(long)
    limit_error(lambda: plan(open_image(image), Instance("c1"), limits=limits()))


@pytest.mark.slow
def test_commands_have_a_total_time_limit(image, monkeypatch, capsys):
    monkeypatch.setattr(open_and_plan, "TOTAL", 0.4)
    Path(image, "rootfs").mkdir()
    for words in (
        ["preview", image],
        ["diff", image, f"{image}/rootfs"],
        ["apply", image, f"{image}/rootfs", "-t", "create"],
        ["simulate", image, "start"],
    ):
        assert main(words) == 4, words
        said = "".join(capsys.readouterr())
        assert "together takes longer than 0.4 seconds" in said
    assert list(Path(image, "rootfs").iterdir()) == []


@pytest.mark.slow
def test_the_steps_of_a_simulation_share_one_time_limit(image):
    """Each start stays far below the limit, but all starts together exceed the limit."""
    Path(image, "metadata.yaml").write_text(rules("/etc/a: {when: [start], template: slow.tpl}"))
    steps = [parse_step(word) for word in ("start", *["restart"] * 200)]
    options = RenderOptions(INCUS, limits=Limits(seconds=60, total=0.6))
    with ends_within(3):
        reports = simulate(open_image(image), Instance("c1"), steps, options)
    started = sum(report.error is None for report in reports)
    assert 1 <= started < 200
    assert [type(report.error) for report in reports[started:]] == [LimitError] + [UsageError] * (
        200 - started
    ), "after a failed start, the instance is stopped and cannot be restarted"


@pytest.mark.slow
def test_each_instance_of_a_list_has_its_own_time_limit(image):
    """All instances together exceed the limit for one instance, but each instance stays below the limit."""
    Path(image, "metadata.yaml").write_text(rules("/etc/a: {when: [create], template: slow.tpl}"))
    many = json.dumps([{"name": f"c{n}"} for n in range(40)]).encode()
    fleet = Fleet(open_image(image), RenderOptions(NONE, limits=limits()), triggers=("create",))
    begin = time.process_time()
    results = fleet.results(stream_instances(io.BytesIO(many).read, "all.json"))
    assert [result.code for result in results] == [0] * 40
    assert time.process_time() - begin > 0.4, "the test shows nothing on such a machine"


def test_the_time_limit_error_says_which_instance_takes_too_long(image):
    many = json.dumps([{"name": "c1"}, {"name": "c2"}]).encode()
    fleet = Fleet(open_image(image), RenderOptions(NONE, limits=limits()), triggers=("create",))
    error = limit_error(lambda: list(fleet.results(stream_instances(io.BytesIO(many).read, "all.json"))))
    assert "rendering for 'c1'" in error.explain()


def test_an_audit_stops_at_the_total_time_limit(monkeypatch):
    monkeypatch.setattr(runaway, "LIMITS", Limits(seconds=10, total=0.4))
    entries = [f"/etc/{n}: {{when: [create], template: t}}" for n in range(RULES)]
    with ends_within(4):
        found = observed("runaway", an_image(rules(*entries), {"t": SLOW}))
    assert [severity for severity, _, _ in found] == ["high"]
    assert "together" in found[0][2]


def test_the_default_total_time_includes_the_time_for_reading_an_image(image, monkeypatch, capsys):
    monkeypatch.setattr(open_and_plan, "process_time", iter((0.0, 7.6, 0.0, 7.6)).__next__)
    assert main(["preview", image]) == 4
    assert "together takes longer than 1 seconds" in "".join(capsys.readouterr())
    assert main(["preview", image, "--limit", "time=60", "--limit", "steps=100"]) != 4, (
        "the user's time applies"
    )


def test_all_steps_of_an_audit_share_one_time_limit():
    entries = [f"/etc/{n}: {{when: [create], template: t}}" for n in range(RULES)]
    image = an_image(rules(*entries), {"t": SLOW}, begun=time.process_time() - 100)
    with ends_within(2):  # each of two instances, and each branch, could take 4 seconds
        found = observed("runaway", image)
    assert "together takes longer than 0.5 seconds" in found[0][2]
    assert image.rendering_limits(runaway.LIMITS).total == 0.5
    chosen = an_image(rules(*entries), {"t": SLOW}, begun=0, limits=Limits(total=60))
    assert chosen.rendering_limits(runaway.LIMITS).total == 60


def test_starting_the_total_time_limit_twice_keeps_the_first_deadline():
    begun = Limits(total=5).begun()
    assert begun.begun() is begun
    assert Limits().begun().deadline is None


def test_a_compiled_template_has_a_new_time_limit_in_each_run(image):
    options = RenderOptions(NONE, limits=Limits(total=1000))
    opened = open_image(image)
    compiled = Compiled(opened.read_templates({"slow.tpl"}), options)
    from templater.parsing.metadata_yaml import read_metadata

    metadata = read_metadata(opened.read_metadata())
    metadata.rules = metadata.rules[:1]
    render(metadata, compiled, Instance("c1"), ("create",), options)
    first = compiled.limits.deadline
    render(metadata, compiled, Instance("c1"), ("create",), options)
    assert compiled.limits.deadline > first


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux")
@pytest.mark.usefixtures("restored_process")
@pytest.mark.parametrize("words", [(), ("--no-child",), ("--no-cache",), ("--limit", "steps=3M")])
def test_a_hook_has_a_total_time_limit(words, image, monkeypatch, capfd):
    """Each template has a different text, so that compiling takes time as well."""
    Path(image, "rootfs").mkdir()
    Path(image, "config").touch()
    entries = []
    for number in range(RULES):
        Path(image, "templates", f"{number}.tpl").write_text(f"{{# {number} #}}{SLOW}")
        entries.append(f"/{number}: {{when: [create, start], template: {number}.tpl}}")
    Path(image, "metadata.yaml").write_text(rules(*entries))
    for name, value in (("NAME", "c1"), ("HOOK_TYPE", "pre-start"), ("CONFIG_FILE", f"{image}/config")):
        monkeypatch.setenv(f"LXC_{name}", value)
    monkeypatch.setenv("LXC_ROOTFS_PATH", f"{image}/rootfs")
    monkeypatch.setattr(sandboxed_rendering, "TOTAL", 0.4)
    begin = sum(os.times()[:4])
    assert hook_run.run(["lxc", *words]) == LimitError.exit_code
    assert sum(os.times()[:4]) - begin < 3
    assert "together takes longer than 0.4 seconds" in capfd.readouterr().err
    assert list(Path(image, "rootfs").iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux")
@pytest.mark.usefixtures("restored_process")
def test_hook_prepares_files_within_the_time_left_after_rendering(image, monkeypatch, capfd):
    """Rendering took nearly the whole limit, and 20,000 files needed nine more seconds of processor time."""
    for name, value in (("NAME", "c1"), ("HOOK_TYPE", "pre-start"), ("CONFIG_FILE", f"{image}/config")):
        monkeypatch.setenv(f"LXC_{name}", value)
    monkeypatch.setenv("LXC_ROOTFS_PATH", f"{image}/rootfs")
    Path(image, "rootfs").mkdir()
    Path(image, "config").touch()
    Path(image, "templates", "slow.tpl").write_text("x")
    monkeypatch.setattr(hook_run, "LEAST_SECONDS", 0.001)
    left = Job.left
    monkeypatch.setattr(Job, "left", lambda job: -1)
    assert hook_run.run(["lxc", "--no-child"]) == LimitError.exit_code
    assert "rendering and preparing all files takes longer than the limit 'time'" in capfd.readouterr().err
    assert list(Path(image, "rootfs").iterdir()) == []
    monkeypatch.setattr(Job, "left", left)
    assert hook_run.run(["lxc"]) == 0
    assert len(list(Path(image, "rootfs/etc").iterdir())) == RULES


def test_hook_keeps_its_deadline_after_a_cache_error(image, monkeypatch):
    """After an error in cached code, the hook renders again from the sources."""
    deadlines = []

    def failing(metadata, templates, instance, triggers, options, *, codes):
        deadlines.append(options.limits.deadline)
        return [Rendering(metadata.rules[0], "start", error=TemplateError("it fails"))]

    monkeypatch.setattr(rendering, "render", failing)
    job = Job(Source("m", Path(image, "metadata.yaml").read_bytes()), {}, None, ("start",), NONE)
    metadata = read_metadata(job.metadata)
    sandboxed_rendering._renderings(job, metadata, Instance("c1"), {"slow.tpl": compile("", "", "exec")})
    assert deadlines == [job.deadline] * 2
    job.deadline -= 9
    with pytest.raises(LimitError, match="together takes longer than 8 seconds"):
        sandboxed_rendering._compiled(job, metadata)


def test_second_child_has_only_the_first_childs_remaining_time(image, monkeypatch):
    """After an error in cached code, a second child parsed and rendered for up to nine more seconds."""
    job = Job(Source("m", b"templates: {}\n"), {}, None, ("start",), NONE)
    run = sandboxed_rendering.Run(job, None, Bounds(9), in_child=False)
    monkeypatch.setattr("templater.sandbox.child.start", lambda prepare, work, bounds: bounds)
    assert run.fork().cpu in (8, 9)
    job.deadline -= 6
    assert run.fork().cpu == 2
    job.deadline -= 6
    assert run.fork().cpu == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux")
@pytest.mark.usefixtures("restored_process")
def test_planning_has_only_the_time_left_by_the_rendering_child(image, monkeypatch):
    """The system counts a child's time only after its end, so planning had the whole limit again."""
    for name, value in (("NAME", "c1"), ("HOOK_TYPE", "pre-start"), ("CONFIG_FILE", f"{image}/config")):
        monkeypatch.setenv(f"LXC_{name}", value)
    monkeypatch.setenv("LXC_ROOTFS_PATH", f"{image}/rootfs")
    Path(image, "rootfs").mkdir()
    Path(image, "config").touch()
    Path(image, "templates", "slow.tpl").write_text("x")
    children, left = [], Job.left

    def spy(job):
        children.append(sandboxed_rendering.children_seconds() - job.before)
        return left(job)

    monkeypatch.setattr(Job, "left", spy)
    assert hook_run.run(["lxc"]) == 0
    assert children[0] == 0, "before the child"
    assert children[-1] > 0, "before planning"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux")
@pytest.mark.usefixtures("restored_process")
def test_preparing_files_leaves_time_to_place_or_remove_them(image, monkeypatch):
    """After 8 seconds of rendering and preparing, the removal of 9,900 files took two more seconds."""
    for name, value in (("NAME", "c1"), ("HOOK_TYPE", "pre-start"), ("CONFIG_FILE", f"{image}/config")):
        monkeypatch.setenv(f"LXC_{name}", value)
    monkeypatch.setenv("LXC_ROOTFS_PATH", f"{image}/rootfs")
    Path(image, "rootfs").mkdir()
    Path(image, "config").touch()
    Path(image, "templates", "slow.tpl").write_text("x")
    monkeypatch.setattr(hook_run, "COMMIT_SECONDS", 2 / RULES)
    bounds = []
    monkeypatch.setattr(hook_run, "start_processor_timer", lambda seconds, _=0: bounds.append(seconds))
    assert hook_run.run(["lxc"]) == 0
    _, planning, preparing = bounds
    assert preparing < planning - 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux")
@pytest.mark.usefixtures("restored_process")
def test_second_plan_has_only_the_time_left_over(image, monkeypatch):
    """After an error in cached code, the second plan had all the time that the first child had not used."""
    for name, value in (("NAME", "c1"), ("HOOK_TYPE", "pre-start"), ("CONFIG_FILE", f"{image}/config")):
        monkeypatch.setenv(f"LXC_{name}", value)
    monkeypatch.setenv("LXC_ROOTFS_PATH", f"{image}/rootfs")
    Path(image, "rootfs").mkdir()
    Path(image, "config").touch()
    Path(image, "templates", "slow.tpl").write_text("x")
    assert hook_run.run(["lxc"]) == 0
    bounds, recompile = [], hook_run.PlannedRun.recompile

    def slow(run):
        run.job.deadline -= 5
        return recompile(run)

    monkeypatch.setattr(hook_run.PlannedRun, "recompile", slow)
    monkeypatch.setattr(hook_run, "start_processor_timer", lambda seconds, _=0: bounds.append(seconds))
    path = Path(image, "rootfs/etc", sorted(os.listdir(Path(image, "rootfs/etc")))[0])
    path.unlink()
    path.mkdir()
    assert hook_run.run(["lxc"]) == RefusedError.exit_code
    _, first, second, _ = bounds
    assert second < first - 5


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux")
def test_all_compilation_steps_share_one_limit_on_processor_time(image, monkeypatch, capfd):
    """The child, the warnings and the second compilation had separate limits. Together, they took 11.9 s."""
    times = iter((1.0, 7.0))
    monkeypatch.setattr(sandboxed_rendering, "children_seconds", lambda: next(times))
    monkeypatch.setattr("templater.hooks.precompile.precompile", lambda *_: {})
    left = []

    def status(*_):
        left.append(signal.getitimer(signal.ITIMER_PROF)[0])
        return ()

    monkeypatch.setattr("templater.hooks.common_status_checks.image_status", status)
    assert main(["compile", image]) == 5
    assert 0 < left[0] <= 3


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux")
def test_child_of_unpack_gets_only_the_remaining_time(image, tmp_path_factory, monkeypatch):
    """The child of `unpack` had its own limit of 8 seconds.

    Unpacking a small image took 11.2 s of processor time.
    """
    jobs = []

    class Spy(precompile.Run):
        def __init__(self, job, store, bounds, **options):
            jobs.append((job.total, bounds))
            super().__init__(job, store, bounds, **options)

    monkeypatch.setattr(precompile, "Run", Spy)
    Path(image, "rootfs").mkdir()
    Path(image, "templates", "slow.tpl").write_text("x")
    assert (
        main(
            [
                "unpack",
                image,
                str(tmp_path_factory.mktemp("unpacked") / "made"),
                "--limit",
                "command-processor=3",
            ]
        )
        == 0
    )
    ((seconds, bounds),) = jobs
    assert 1 <= seconds <= 3
    assert bounds is not None
