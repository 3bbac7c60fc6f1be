"""The pages about checks."""

from pathlib import Path

import pytest

from templater.checks.finding import all_checks, page
from tests.command_server import run_templater

PAGES = Path(__file__).resolve().parents[3] / "docs" / "checks"
CHECKS = all_checks("authoring")


@pytest.mark.parametrize("check", CHECKS, ids=[check.id for check in CHECKS])
def test_a_page_has_the_text_of_its_check(check, update):
    path = PAGES / f"{check.id}.md"
    if update:
        path.write_text(page(check))
    assert path.read_text() == page(check)


def test_each_page_belongs_to_a_check():
    assert {path.stem for path in PAGES.glob("*.md")} == {check.id for check in CHECKS}


def test_check_ids_are_the_names_of_the_check_files():
    names = {path.stem for path in (PAGES.parents[1] / "templater/checks/authoring").glob("*.py")}
    assert names - {"__init__"} == {check.id.replace("-", "_") for check in CHECKS}


def test_check_with_the_option_rule_prints_the_page_of_that_rule():
    assert run_templater(["check", "--rule", "line-break"]).stdout == (PAGES / "line-break.md").read_text()
