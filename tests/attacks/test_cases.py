"""Every attack of the list is tried by a test that has its number, or says why not."""

from pathlib import Path

import pytest

from tests.attacks.cases import CASES, table, tried

PAGE = Path(__file__).resolve().parents[2] / "docs" / "security.md"
BEGIN, END = "<!-- the table of cases: pytest tests/attacks/test_cases.py --update -->\n", "<!-- end -->\n"


def test_the_list_is_whole():
    assert list(CASES) == list(range(1, 74))
    assert all(case.answer or case.reason for case in CASES.values())


@pytest.mark.parametrize("number", CASES)
def test_a_case_is_tried_or_has_a_reason(number):
    if CASES[number].answer:
        files = [file for file in tried().get(number, {}) if not file.startswith("checks/")]
        assert files, f"no test is called test_attack_{number:02}_… but those of what audit says"
    else:
        assert CASES[number].reason
        assert number not in tried(), "it is tried: say how it is answered"


def test_no_test_has_a_number_beyond_the_list():
    assert set(tried()) <= set(CASES)


def test_the_page_has_the_table(update):
    before, rest = PAGE.read_text().split(BEGIN)
    written, after = rest.split(END)
    if update:
        PAGE.write_text(f"{before}{BEGIN}{table()}{END}{after}")
        written = table()
    assert written == table(), "pytest tests/attacks/test_cases.py --update"
