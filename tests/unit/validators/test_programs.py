"""Reading the output of validators: hostile texts can make a program print any line."""

import os
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from templater.sandbox import validator_process
from templater.validators.programs import all_validators, cloud_init, ifquery
from templater.validators.validator import Failure, Missing, program, short

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


@pytest.mark.slow
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


def test_ifquery_does_not_report_interfaces_that_other_files_may_define():
    lines = [
        "ifquery: /run/x/interfaces:3: unknown iface to inherit from: eth0",
        "ifquery: /run/x/interfaces:5: misplaced option",
        "ifquery: /run/x/other:5: misplaced option",
    ]
    assert list(ifquery.read(lines, "interfaces")) == [(5, "misplaced option")]


@pytest.mark.parametrize("id", PROGRAMS)
def test_a_validator_reports_a_missing_program(id, monkeypatch):
    monkeypatch.setattr("templater.sandbox.validator_process.find", lambda names: None)
    with pytest.raises(Missing):
        all_validators()[id].run("name", b"", False, 2)


def test_each_validator_says_which_files_it_reads():
    assert {id: validator.about for id, validator in all_validators().items()} == {
        "bash": "bash scripts", "cloud-init's schemas": "user-data, vendor-data and network-config",
        "ifquery": "ifupdown's interfaces", "netplan": "netplan files", "sh": "shell scripts",
        "systemd-analyze": "systemd units", "visudo": "sudoers files",
    }  # fmt: skip


def test_a_validator_with_a_failed_process_gives_the_failure_message(monkeypatch):
    def fail(*arguments, **options):
        raise validator_process.ToolFailure("it took too long")

    monkeypatch.setattr(validator_process, "find", lambda names: "/bin/sh")
    monkeypatch.setattr(validator_process, "run", fail)
    with pytest.raises(Failure, match=r"^it took too long$"):
        all_validators()["sh"].run("script", b"x", False, 1)


@pytest.mark.parametrize(("stdin", "place"), [(False, os.devnull), (True, "etc/x/a.yaml")])
def test_validator_program_gets_the_text_in_a_file(stdin, place, monkeypatch):
    calls = []

    def run(*arguments, **options):
        calls.append((arguments, options))
        return validator_process.Result(3, "said")

    monkeypatch.setattr(validator_process, "find", lambda names: f"/bin/{names[0]}")
    monkeypatch.setattr(validator_process, "run", run)
    words = ("-f", "{folder}/{name}")
    made = program(
        "id", "files", ("x", "y"), words, lambda lines, name: (), "$^", folder="etc/x/", stdin=stdin
    )
    assert made.run("a.yaml", b"text", True, 2) == ["a.yaml", 3, "said"]
    ((arguments, options),) = calls
    assert arguments == ("/bin/x", ["-f", "{folder}/a.yaml"], {"etc/x/a.yaml": b"text"})
    assert options == {"stdin": place, "confined": True, "limits": validator_process.Limits(cpu=2)}


@pytest.mark.parametrize(
    ("code", "output", "found"),
    [
        (0, "bad x", []),
        (1, "bad x\nother\nbad y", [(1, "bad x of a"), (1, "bad y of a")]),
        (1, "other\nthe file is missing", []),
        (1, "first\nLast words.\n \n", "exit code 1: last words"),
        (1, "missing is the file", "exit code 1: missing is the file"),
        (2, "\n", "exit code 2"),
        (2, "", "exit code 2"),
    ],
)
def test_error_exit_without_known_message_is_a_validator_failure(code, output, found):
    def read(lines, name):
        return [(1, f"{line} of {name}") for line in lines if line.startswith("bad")]

    made = program("id", "files", ("x",), (), read, "missing$")
    if isinstance(found, list):
        assert made.read(["a", code, output], "text") == found
        return
    with pytest.raises(Failure) as caught:
        made.read(["a", code, output], "text")
    assert str(caught.value) == found


@pytest.mark.parametrize(
    ("size", "shown"), [(200, "m" * 200), (201, "m" * 200 + "…"), (900, "m" * 200 + "…")]
)
def test_a_long_schema_message_is_shortened(size, shown):
    error = SimpleNamespace(context=[], validator="type", absolute_path=["a", 0], message="m" * size)
    described = list(cloud_init._described(error))
    assert len(described[0][1]) <= 201
    assert list(cloud_init._read(described, "b: 1\na: [x]\n")) == [(2, f"a.0: {shown}", "warning")]


@pytest.mark.parametrize(
    ("path", "context", "chooses"),
    [(["x", "type"], [], True), (["version"], [], True), (["type"], ["inner"], False), (["x"], [], False), ([], [], False)],
)  # fmt: skip
def test_schema_branch_that_rejects_the_type_key_comes_last(path, context, chooses):
    error = SimpleNamespace(path=path, context=context, validator="enum")
    assert cloud_init._distance([error])[0] is chooses
