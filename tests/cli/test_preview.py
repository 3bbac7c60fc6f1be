"""The preview on a terminal."""

from functools import partial

from templater.cli import styled
from templater.cli.output import Highlighter
from templater.cli.preview_output import styled_body
from templater.model.metadata import Rule
from templater.model.plan import CREATE, SKIP, Change
from templater.reporting.plan_text import Block, heading


def test_a_styled_preview_shows_contents_only_for_written_files():
    skipped, created, empty = (
        Change(Rule(path, "a.tpl", ("start",)), "start", path, action)
        for path, action in (("/a", SKIP), ("/b", CREATE), ("/c", CREATE))
    )
    blocks = [
        Block(skipped, heading(skipped)),
        Block(created, heading(created), (), "text\n"),
        Block(empty, heading(empty), (), ""),
    ]
    text = "".join(styled.preview(blocks, (), 80, body=partial(styled_body, Highlighter()), colour=False))
    first, second, third = text.split("── ")[1:]
    assert "/a" in first and "(empty)" not in first
    assert "text" in second and "(empty)" not in second
    assert "/c" in third and "(empty)" in third


def test_the_html_option_writes_host_results_to_standard_error(run, tmp_path):
    (tmp_path / "metadata.yaml").write_text(
        "architecture: x86_64\ncreation_date: 1\ntemplates:\n  /a: {when: [create], when: [start], template: t}\n"
    )
    report = tmp_path / "report.html"
    code, out, err = run("preview", tmp_path, "--as", "all", "-t", "create", "--html", report)
    lines = err.splitlines()
    assert (code, out, lines[-1]) == (2, "", f"wrote {report}")
    assert set(lines[1:-1]) == {
        f"incus on create: {tmp_path}/metadata.yaml:4:24: duplicate key 'when', first in line 4",
        "c1: create: nothing to do",
        f"note: {tmp_path}/metadata.yaml:4:24: duplicate key 'when', first in line 4: the last value is used, but"
        " Incus 7 rejects the file",
        "note: no rule runs on create; the rules run on: start (see -t)",
    }
