"""Reading the output of validators: hostile texts can make a program print any line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from templater.sandbox import validator_process
from templater.validators.programs import all_validators, ifquery
from templater.validators.validator import Failure, Missing, short

PROGRAMS = sorted(set(all_validators()) - {"cloud-init's schemas"})
NAMES = {
    "systemd-analyze": "a.service",
    "netplan": "check.yaml",
    "ifquery": "interfaces",
    "visudo": "sudoers",
}
PLACES = ["stdin", "script", "interfaces", "a.service", "etc/netplan/check.yaml", "ifquery: interfaces"]
LINES = st.one_of(
    st.text(max_size=30),
    st.builds(
        "{}:{}{}: {}".format,
        st.sampled_from(PLACES),
        st.sampled_from(["", "line ", " line "]),
        st.one_of(st.integers(), st.just("9" * 5000)),
        st.sampled_from(["Error in network definition: x", "Invalid YAML: x", "syntax error", ""]),
    ),
)


@pytest.mark.parametrize("id", PROGRAMS)
@given(code=st.integers(0, 255), lines=st.lists(LINES, max_size=5))
def test_any_validator_output_gives_mistakes_or_a_failure(id, code, lines):
    try:
        found = list(all_validators()[id].read([NAMES.get(id, "script"), code, "\n".join(lines)], "text"))
    except Failure as failure:
        assert code
        assert str(failure).isprintable()
        return
    assert not found or code
    for line, message, *severity in found:
        assert 0 <= line < 10**9
        assert message.isprintable()
        assert set(severity) <= {"warning", "error"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" Bad YAML.. ", "bad YAML"), ("YAML is bad", "YAML is bad"), ("A file", "A file"), ("", ""),
        ("x" * 200, "x" * 200), ("x" * 201, "x" * 200 + "…"), ("\x1b", "\\x1b"),
    ],
)  # fmt: skip
def test_a_validator_message_is_printable_and_has_at_most_200_characters(text, shown):
    assert short(text) == shown


def test_a_long_validator_message_is_shortened():
    output = "stdin:1:2: " + "x" * 1000
    ((_, message),) = all_validators()["visudo"].read(["sudoers", 1, output], "text")
    assert len(message) < 250


def test_the_ifquery_validator_does_not_report_an_interface_that_another_file_can_define():
    lines = [
        "ifquery: /run/x/interfaces:3: unknown iface to inherit from: eth0",
        "ifquery: /run/x/interfaces:5: misplaced option",
        "ifquery: /run/x/other:5: misplaced option",
    ]
    assert list(ifquery.read(lines, "interfaces")) == [(5, "misplaced option")]


@pytest.mark.parametrize("id", PROGRAMS)
def test_a_validator_whose_program_is_not_installed_says_so(id, monkeypatch):
    monkeypatch.setattr("templater.sandbox.validator_process.find", lambda names: None)
    with pytest.raises(Missing):
        all_validators()[id].run("name", b"", False, 2)


def test_each_validator_says_which_files_it_reads():
    assert {id: validator.about for id, validator in all_validators().items()} == {
        "bash": "bash scripts", "cloud-init's schemas": "user-data, vendor-data and network-config",
        "ifquery": "ifupdown's interfaces", "netplan": "netplan files", "sh": "shell scripts",
        "systemd-analyze": "systemd units", "visudo": "sudoers files",
    }  # fmt: skip


def test_a_validator_whose_process_fails_gives_the_message_of_the_failure(monkeypatch):
    def fail(*arguments, **options):
        raise validator_process.ToolFailure("it took too long")

    monkeypatch.setattr(validator_process, "find", lambda names: "/bin/sh")
    monkeypatch.setattr(validator_process, "run", fail)
    with pytest.raises(Failure, match=r"^it took too long$"):
        all_validators()["sh"].run("script", b"x", False, 1)
