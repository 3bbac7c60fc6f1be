"""The pages about checks."""

from pathlib import Path

import pytest

from templater.checks.page_about_check import page
from templater.checks.run_checks import all_checks
from tests.command_server import run_templater

PAGES = Path(__file__).resolve().parents[3] / "docs" / "checks"
CHECKS = all_checks("authoring")


@pytest.mark.parametrize("check", CHECKS, ids=[check.id for check in CHECKS])
def test_the_documentation_page_of_a_check_equals_its_generated_text(check, update):
    path = PAGES / f"{check.id}.md"
    if update:
        path.write_text(page(check))
    assert path.read_text() == page(check)


def test_every_check_has_a_page_and_every_page_has_a_check():
    assert {path.stem for path in PAGES.glob("*.md")} - {"README"} == {check.id for check in CHECKS}


def index() -> str:
    """Return the page that lists the checks, with their default severities."""
    authored = sorted(CHECKS, key=lambda check: check.id)
    rows = [f"| [{check.id}]({check.id}.md) | {check.severity} | {check.about} |\n" for check in authored]
    audited = sorted(all_checks("security"), key=lambda check: check.id)
    others = [f"| {check.id} | {check.severity} | {check.about} |\n" for check in audited]
    head = "| check | severity | reported |\n|---|---|---|\n"
    return (
        "# All checks\n\n`templater check` runs these checks on [your own image](../checking.md). The table shows the"
        "\ndefault severity of each check. Some checks report certain findings with another severity."
        "\n`templater check --rule list` prints this list, and `templater check --rule ID` prints the page about a"
        " check."
        f"\n\n{head}{''.join(rows)}"
        f"\n## Checks of `templater audit`\n\n`templater audit` runs these checks on an untrusted image.\n\n{head}"
        f"{''.join(others)}"
    )


def test_the_documentation_index_contains_every_check(update):
    path = PAGES / "README.md"
    if update:
        path.write_text(index())
    assert path.read_text() == index()


@pytest.mark.slow
def test_check_table_is_printed_if_rule_option_is_list():
    said = run_templater(["check", "--rule", "list"]).stdout
    printed = [line.split(maxsplit=2) for line in said.splitlines() if line and not line.endswith(":")]
    cells = [line.strip("| ").split(" | ") for line in index().splitlines() if line.startswith("| ")]
    listed = [[id.partition("]")[0].strip("["), *rest] for id, *rest in cells if id != "check"]
    assert printed == listed
    assert len({id for id, *_ in printed}) > 70


def test_each_check_id_is_the_name_of_its_check_file():
    names = {path.stem for path in (PAGES.parents[1] / "templater/checks/authoring").glob("*.py")}
    assert names - {"__init__"} == {check.id.replace("-", "_") for check in CHECKS}


@pytest.mark.slow
def test_rule_option_with_a_check_id_prints_its_page():
    assert run_templater(["check", "--rule", "line-break"]).stdout == (PAGES / "line-break.md").read_text()
