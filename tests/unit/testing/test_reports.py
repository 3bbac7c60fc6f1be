"""Reports of test runs for people and for CI."""

from xml.etree import ElementTree

from templater.model.hosts import HOSTS
from templater.model.instance import Instance
from templater.model.source import Source
from templater.testing.case import Case, Failure, Outcome
from templater.testing.reports import case_data, junit, tap, text

SOURCE = Source("image/tests/a.yaml", "tests:\n- name: a\n")
CASE = Case("image/tests/a.yaml", "a <b> #1", "host=lxd", SOURCE.span(9), Instance(), HOSTS["lxd"])
FAILURE = Failure("/etc/x: differs\x1b", SOURCE.span(9), "-a\n+b\x01\n", "look & see")
PASSED, FAILED = case_data(Outcome(CASE, (), 0.25)), case_data(Outcome(CASE, (FAILURE,), 0.5))
REPORT = {"image": "image", "cases": [PASSED, FAILED], "updated": []}
BROKEN = {"image": "other", "error": "tests/a.yaml:1:1: unknown key\nhint: x", "cases": [], "updated": []}


def test_text_report_shows_each_failure_with_position_and_hint():
    assert text(REPORT, verbose=False) == (
        "FAIL image/tests/a.yaml:2: a <b> #1 [host=lxd]\n"
        "  image/tests/a.yaml:2:3: /etc/x: differs\\x1b\n    -a\n    +b\\x01\n    hint: look & see\n"
        "image: 1 passed, 1 failed\n"
    )
    assert text(REPORT, verbose=True).startswith("ok   image/tests/a.yaml:2: a <b> #1 [host=lxd]\nFAIL")


def test_every_case_and_error_has_a_number_in_the_tap_report():
    assert tap([REPORT, BROKEN]).split("\n") == [
        "TAP version 13", "1..3", "ok 1 - image/tests/a.yaml: a <b> \\#1 [host=lxd]",
        "not ok 2 - image/tests/a.yaml: a <b> \\#1 [host=lxd]", "  ---", "  message: |",
        "      image/tests/a.yaml:2:3: /etc/x: differs\\x1b", "        -a", "        +b\\x01",
        "        hint: look & see", "  ...", "not ok 3 - other", "  ---", "  message: |",
        "    tests/a.yaml:1:1: unknown key", "    hint: x", "  ...", "",
    ]  # fmt: skip


def test_junit_report_has_suites_for_each_file_and_error():
    root = ElementTree.fromstring(junit([REPORT, BROKEN]))
    first, second = root.findall("testsuite")
    assert first.attrib == {
        "name": "image/tests/a.yaml", "tests": "2", "failures": "1", "errors": "0", "skipped": "0", "time": "0.750",
    }  # fmt: skip
    assert [case.get("name") for case in first.findall("testcase")] == ["a <b> #1 [host=lxd]"] * 2
    (failure,) = first.iter("failure")
    assert failure.get("message") == "/etc/x: differs\\x1b"
    assert "+b\\x01" in (failure.text or "")
    (error,) = second.iter("error")
    assert (error.get("message") or "").startswith("tests/a.yaml:1:1: unknown key")


def test_json_report_has_positions_of_the_case_and_failure():
    assert (FAILED["line"], FAILED["passed"], FAILED["failures"][0]["line"]) == (2, False, 2)
    assert FAILED["failures"][0] | {"detail": ""} == {
        "message": "/etc/x: differs\x1b", "place": "image/tests/a.yaml:2:3", "file": "image/tests/a.yaml", "line": 2,
        "column": 3, "detail": "", "hint": "look & see",
    }  # fmt: skip
