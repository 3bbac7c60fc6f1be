"""The benchmarks measure what is the same: every engine that is installed gives the same bytes."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.bench import instances
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


@pytest.mark.slow
def test_every_engine_gives_the_same_bytes():
    comparison = Comparison(list(CASES), rounds=0)
    assert not comparison.wrong
    assert comparison.cases == list(CASES)
    assert {"templater", "jinja2"} <= {engine.name for engine in comparison.engines}


def test_a_case_that_differs_is_left_out_and_shown():
    odd = CASES[0]._replace(name="odd", jinja="{{ container.name|upper }}")
    comparison = Comparison([odd, CASES[1]], rounds=0)
    assert comparison.cases == [CASES[1]]
    assert "WEB01" in comparison.wrong[0]


def test_ratios_are_how_many_times_as_long_the_others_take():
    times = {("hosts", "templater"): 2000.0, ("hosts", "jinja2"): 5000.0}
    assert "2.50 x" in table("render", times, [CASES[1]])


def has_history() -> bool:
    """A shallow clone, or a folder that was copied, has no earlier revision to compare with."""
    words = ["git", "-C", str(REPOSITORY), "cat-file", "-e", f"{REVISION}^{{commit}}"]
    return (
        bool(shutil.which("git")) and not subprocess.run(words, check=False, capture_output=True).returncode
    )


@as_root
@pytest.mark.slow
@pytest.mark.skipif(not has_history(), reason="needs a clone with its history")
def test_before_and_after_the_hardening_the_same_is_written(tmp_path: Path):
    with sides(REVISION) as pair:
        assert [compare(case, pair, Ground(tmp_path)) for case in SAMPLES] == [8, 6, 3, 3, 2, 3, 4, 3]


def test_only_writing_without_any_care_has_no_limit():
    fast, slow = Series(), Series()
    fast.rounds = [(Times(10, 5), Times(10.5, 5)), (Times(20, 5), Times(22, 5)), (Times(10, 5), Times(99, 5))]
    slow.rounds = [(Times(1, 1), Times(2, 3))]
    assert summary({"a": {"called": fast, PLAIN: slow}})[1]
    assert not summary({"a": {"called": slow, PLAIN: fast}})[1]
    assert "| called | 1.10 | 1.00 |" in summary({"a": {"called": fast}})[0]


def test_many_instances_are_rendered_the_same_by_everybody(capsys):
    assert instances.main(["--counts", "1", "40", "--rounds", "1"]) == 0
    said = capsys.readouterr().out
    assert "| 40 | templater |" in said


def test_a_list_that_is_rendered_otherwise_is_not_measured(tmp_path):
    instances.write_list(tmp_path / "3.json", 3)
    text = '{"instance": "web0", "contents": ["no"]}'
    ours = '{"instance": "web0", "changes": [{"content": "yes"}]}'
    jobs = [
        instances.Contestant(name, lambda file, said=said: ["/bin/echo", said])
        for name, said in [("templater", ours), ("go", text)]
    ]
    with pytest.raises(SystemExit, match="not the same"):
        instances.check(jobs, tmp_path, tmp_path / "3.json")
