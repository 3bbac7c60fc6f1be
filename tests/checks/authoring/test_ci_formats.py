"""Reports for continuous integration."""

import copy
from xml.etree import ElementTree

from templater.checks.check_report import combined, summary
from templater.checks.ci_formats import github, gitlab, junit

FINDING = {
    "check": "mode",
    "severity": "warning",
    "message": 'a "b" <c> & 50%',
    "place": "./i/metadata.yaml:3:2",
    "file": "./i/metadata.yaml",
    "line": 3,
    "column": 2,
    "hint": "do, this:\nthat",
}
EMPTY = {"image": "j\x1b", "findings": [], "hidden": {}, "suppressed": [], "not_validated": []}
REPORT = EMPTY | {
    "image": "./i",
    "findings": [FINDING, FINDING],
    "hidden": {"info": 4},
    "suppressed": [FINDING],
}


def test_junit_report_has_one_failed_case_for_each_finding():
    root = ElementTree.fromstring(junit([REPORT, EMPTY]))
    suites = root.findall("testsuite")
    assert [suite.get("name") for suite in suites] == ["./i", "j\\x1b"]
    assert [(suite.get("tests"), suite.get("failures")) for suite in suites] == [("2", "2"), ("1", "0")]
    cases = [[(case.get("name"), len(case)) for case in suite] for suite in suites]
    assert cases == [[("mode at ./i/metadata.yaml:3:2", 1)] * 2, [("check", 0)]]
    failure = root.find(".//failure")
    assert failure.get("message") == 'a "b" <c> & 50%'
    assert failure.text.startswith('a "b" <c> & 50%\nhint: do, this:')


def test_the_github_report_escapes_properties_and_messages():
    first, second = github([REPORT, EMPTY]).splitlines()
    assert first == second
    assert first.startswith(
        '::warning file=i/metadata.yaml,line=3,col=2,title=mode::a "b" <c> & 50%25%0Ahint: do, this:'
    )
    odd = {**FINDING, "file": "a:b,c%", "message": "x:y,z"}
    assert github([{**REPORT, "findings": [odd]}]).startswith(
        "::warning file=a%3Ab%2Cc%25,line=3,col=2,title=mode::x:y,z%0Ahint"
    )
    assert "\x1b" not in github([{**REPORT, "findings": [{**FINDING, "message": "\x1b"}]}])


def test_gitlab_fingerprints_are_unique_and_do_not_depend_on_line_numbers():
    moved = {**REPORT, "findings": [{**FINDING, "line": 9}, FINDING]}
    prints = [found["fingerprint"] for found in gitlab([REPORT])]
    assert prints == [found["fingerprint"] for found in gitlab([moved])]
    assert len(set(prints)) == 2
    assert gitlab([REPORT])[0]["location"] == {"path": "i/metadata.yaml", "lines": {"begin": 3}}


def test_a_summary_counts_hidden_and_ignored_findings():
    assert summary(REPORT) == "./i: 2 warnings; 4 more at level info; 1 ignored"
    assert summary(EMPTY) == "j\x1b: nothing found"


def test_an_unreadable_image_is_an_error_in_a_junit_report():
    root = ElementTree.fromstring(junit([EMPTY | {"error": "a <b> is missing"}]))
    suite = root.find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("1", "0", "1")
    (case,) = suite.findall("testcase")
    assert (case.get("classname"), case.get("name")) == ("j\\x1b", "check")
    assert case.find("error").get("message") == "a <b> is missing"


def test_the_summary_says_which_validators_did_not_validate_all_files():
    assert summary(EMPTY | {"image": "j", "not_validated": ["netplan", "visudo"]}) == (
        "j: nothing found; netplan, visudo did not validate all files"
    )


def test_the_reports_of_several_builds_are_combined_without_repetitions():
    first = REPORT | {"findings": [FINDING], "hidden": {"info": 1}, "notes": ["a"], "sarif": {"runs": [1]}}
    other = {**FINDING, "line": 4}
    second = EMPTY | {
        "findings": [FINDING, other], "hidden": {"info": 3, "warning": 2}, "notes": ["a", "b"], "sarif": {"runs": [2]},
    }  # fmt: skip
    whole = combined(iter([copy.deepcopy(first), second]))
    assert whole["findings"] == [FINDING, other] and whole["notes"] == ["a", "b"]
    assert whole["hidden"] == {"info": 3, "warning": 2} and whole["suppressed"] == [FINDING]
    assert whole["sarif"] == {"runs": [1, 2]} and whole["image"] == "./i"
