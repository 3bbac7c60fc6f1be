"""Every attack of the list has a test with its number, or a reason why it has no test."""

from pathlib import Path

import pytest

from tests.attacks.cases import CASES, page, tried

PAGE = Path(__file__).with_name("README.md")


def test_the_list_of_attacks_contains_every_case_number():
    assert list(CASES) == list(range(1, 105))
    assert all(case.answer or case.reason for case in CASES.values())


@pytest.mark.parametrize("number", CASES)
def test_every_listed_attack_has_a_test_or_a_reason(number):
    if CASES[number].answer:
        files = [file for file in tried().get(number, set()) if not file.startswith("checks/")]
        assert files, f"test_attack_{number:02}_… is missing (tests/checks only show what audit reports)"
    else:
        assert CASES[number].reason
        assert number not in tried(), "a test tries this case, so it needs an answer"


def test_every_case_number_of_an_attack_test_is_listed():
    assert set(tried()) <= set(CASES)


def test_the_readme_of_the_attacks_is_up_to_date(update):
    if update:
        PAGE.write_text(page())
    assert PAGE.read_text() == page(), "pytest tests/attacks/test_cases.py --update"
