"""Tests of the benchmarks: for example, all compared programs must write the same bytes."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench import against, hostile, instances, page
from tests.bench.cases import CASES
from tests.bench.hardening import (
    PLAIN,
    REPOSITORY,
    REVISION,
    SAMPLES,
    Ground,
    Series,
    Times,
    compare,
    sides,
    summary,
)
from tests.bench.render import Comparison, table
from tests.rootfs_builders import as_root

#: commands that read no image, or read it with the code of a measured command
NOT_MEASURED = {
    "completion", "explain", "hook install", "hook status", "image edit", "new", "publish", "remote add", "remote list",
    "remote remove", "schema", "status", "store alias", "store delete", "store edit", "store export", "store info",
    "store list", "store prune", "store refresh", "store set-property", "store show", "streams list",
    "streams prune", "streams reindex", "streams remove", "test", "trigger", "watch",
}  # fmt: skip
GROUPS = {"image", "store", "streams"}
CLI = REPOSITORY / "templater/cli/commands"


@pytest.mark.slow
def test_every_benchmarked_template_engine_gives_the_same_bytes():
    comparison = Comparison(list(CASES), rounds=0)
    assert not comparison.wrong
    assert comparison.cases == list(CASES)
    assert {"templater", "jinja2"} <= {engine.name for engine in comparison.engines}


@pytest.mark.slow
def test_benchmark_case_with_different_outputs_is_not_measured():
    odd = CASES[0]._replace(name="odd", jinja="{{ container.name|upper }}")
    comparison = Comparison([odd, CASES[1]], rounds=0)
    assert comparison.cases == [CASES[1]]
    assert "WEB01" in comparison.wrong[0]


def test_benchmark_ratio_above_one_means_templater_is_faster():
    times = {("hosts", "templater"): 2000.0, ("hosts", "jinja2"): 5000.0}
    assert "2.50 x" in table("render", times, [CASES[1]])


def has_history() -> bool:
    """Return whether the Git repository has the earlier revision that the benchmark compares.

    A shallow Git clone does not have this revision.
    """
    words = ["git", "-C", str(REPOSITORY), "cat-file", "-e", f"{REVISION}^{{commit}}"]
    return (
        bool(shutil.which("git")) and not subprocess.run(words, check=False, capture_output=True).returncode
    )


@as_root
@pytest.mark.slow
@pytest.mark.skipif(not has_history(), reason="needs a clone with its history")
def test_templater_writes_the_same_files_before_and_after_the_security_changes(tmp_path: Path):
    with sides(REVISION) as pair:
        assert [compare(case, pair, Ground(tmp_path)) for case in SAMPLES] == [8, 6, 3, 3, 2, 3, 4, 3]


def test_the_benchmark_passes_even_if_apply_is_much_slower():
    fast, slow = Series(), Series()
    fast.rounds = [(Times(10, 5), Times(10.5, 5)), (Times(20, 5), Times(22, 5)), (Times(10, 5), Times(99, 5))]
    slow.rounds = [(Times(1, 1), Times(2, 3))]
    assert summary({"a": {"called": fast, PLAIN: slow}})[1]
    assert not summary({"a": {"called": slow, PLAIN: fast}})[1]
    assert "| called | 1.10 | 1.00 |" in summary({"a": {"called": fast}})[0]


@pytest.mark.slow
def test_the_time_from_key_press_to_preview_is_measured(capsys):
    pytest.importorskip("playwright", reason="needs playwright: pip install playwright")
    if shutil.which("chromium") is None:
        pytest.skip("needs chromium")
    page.main(["--rounds", "2"])  # the exit code is about the speed of this machine
    assert re.search(r"\| debian-cloud \| \d+ \| \d+ \| \d+ \|", capsys.readouterr().out)


@pytest.mark.slow
def test_the_benchmark_can_compare_a_checkout_with_itself(capsys):
    assert against.main([str(REPOSITORY), "--image", "alpine", "--rounds", "0"]) == 0
    rows = re.findall(
        r"^\| (.+?) \| \d+\.\d \| \d+\.\d \| \d\.\d+ \|$", capsys.readouterr().out, re.MULTILINE
    )
    packed = [
        f"{name}, {form}" for form in ("directories", "packed, xz") for name in ("preview", "audit", "unpack")
    ]
    assert rows == ["warm hook without a child", "warm hook with a child", *packed]


@pytest.mark.slow
def test_all_benchmarked_programs_render_a_list_of_instances_equally(capsys):
    assert instances.main(["--counts", "1", "40", "--rounds", "1"]) == 0
    said = capsys.readouterr().out
    assert "| 40 | templater |" in said


def test_the_benchmark_stops_if_a_program_renders_a_list_differently(tmp_path):
    instances.write_list(tmp_path / "3.json", 3)
    text = '{"instance": "web0", "contents": ["no"]}'
    ours = '{"instance": "web0", "changes": [{"content": "yes"}]}'
    jobs = [
        instances.Contestant(name, lambda file, said=said: ["/bin/echo", said])
        for name, said in [("templater", ours), ("go", text)]
    ]
    with pytest.raises(SystemExit, match="not the same"):
        instances.check(jobs, tmp_path, tmp_path / "3.json")


def test_the_benchmark_of_hostile_images_accepts_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m tests.bench hostile` failed, because the benchmark's function ``main`` took no arguments."""
    monkeypatch.setattr("sys.argv", ["bench", "hostile", "--help"])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == 0


@pytest.mark.slow
def test_the_benchmark_runs_every_image_reading_command_on_hostile_images() -> None:
    """Run the benchmark in a small process.

    Linux counts the memory of the process that starts a command as memory of the command.
    """
    words = ["hostile", "--only", "a fifo as disk", "--command", "audit", "--verbose"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *words],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "exit 1" in done.stdout
    assert "| audit |" in done.stdout
    tested = {
        words[0] if words[0] not in GROUPS else " ".join(words[:2]) for words in hostile.COMMANDS.values()
    }
    files = {path.relative_to(CLI).with_suffix("").as_posix() for path in CLI.rglob("*.py")}
    names = {name.replace("/", " ").replace("_", "-") for name in files if not name.endswith("__init__")}
    assert names - tested == NOT_MEASURED
