"""Validators that are missing, fail or may not run: each is a note, and never a finding."""

import json
import os
import sys
from functools import partial

import pytest

from templater.sandbox import refused_calls, validator_process
from templater.validators import runner
from templater.validators.programs import cloud_init, systemd_analyze
from templater.validators.runner import MOST_FAILURES, Runner, Validators, in_this_process

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="confined on Linux only")


def confined() -> bool:
    try:
        return validator_process.run("/bin/true", [], {}).code == 0
    except validator_process.NotConfinedError:
        return False


needs_sandbox = pytest.mark.skipif(not confined(), reason="needs root or user namespaces")


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A function that installs a script as a validator."""

    def install(name: str, script: str) -> None:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return install


FAILING = [
    ("kill -SEGV $$", "the program died of signal 11"),
    ("kill -KILL $$", "the program died of signal 9"),
    ("sleep 60", "the program took longer than 0.5 s"),
    ("exec >&- 2>&-; sleep 60", "the program took longer than 0.5 s"),
    ("while :; do echo line; done", "the program printed more than 64 KiB"),
    ("echo '???'; exit 1", "exit code 1: ???"),
    ("printf '\\033]0;title\\007'; exit 1", "exit code 1: \\x1b]0;title\\x07"),
    ("echo 'Bad YAML.'; exit 1", "exit code 1: bad YAML"),
    ("echo 'YAML is bad'; exit 1", "exit code 1: YAML is bad"),
    ("exit 3", "exit code 3"),
    ("exec /none", "exit code 127"),
]


@pytest.mark.slow
@needs_sandbox
@pytest.mark.parametrize(("script", "reason"), FAILING, ids=[script for script, _ in FAILING])
def test_a_crashed_validator_causes_a_note(stand_in, monkeypatch, script, reason):
    monkeypatch.setattr(validator_process, "Limits", partial(validator_process.Limits, wall=0.5))
    stand_in("visudo", script)
    validators = in_this_process(anyway=False)
    assert validators.mistakes("visudo", "sudoers", "a", "/etc/sudoers") == []
    (note,) = validators.notes
    assert note.startswith(f"validator failed: visudo for '/etc/sudoers': {reason}")


@pytest.mark.slow
@needs_sandbox
def test_a_validator_is_not_used_any_more_after_repeated_failures(stand_in):
    stand_in("visudo", "exit 3")
    validators = in_this_process(anyway=False)
    for number in range(10):
        validators.mistakes("visudo", "sudoers", str(number), "/etc/sudoers")
    assert len(validators.notes) == MOST_FAILURES
    assert validators.notes[-1].endswith("; templater skips this validator for further files")
    assert validators.incomplete == ["visudo"]


def test_an_error_in_a_validator_schema_causes_a_note(monkeypatch, tmp_path):
    pytest.importorskip("jsonschema")
    schema = '{"properties": {"packages": {"$ref": "#/none"}}}'
    (tmp_path / "schema-cloud-config-v1.json").write_text(schema)
    monkeypatch.setenv("TEMPLATER_CLOUD_INIT_SCHEMAS", str(tmp_path))
    validators = in_this_process(anyway=False)
    assert validators.mistakes("cloud-init's schemas", "user-data", "packages: []\n", "/a") == []
    (note,) = validators.notes
    start = "validator failed: cloud-init's schemas for '/a': the sandboxed process failed "
    assert note.startswith(start) and "jsonschema" in note.removeprefix(start)


@pytest.mark.slow
@needs_sandbox
def test_a_validator_of_schemas_has_a_memory_limit(monkeypatch, tmp_path):
    """In an attack, each of many branches of a schema quoted a huge value in its message.

    The messages need 400 MB: the C library reserves 64 MiB for each thread of the tests, which the child may use.
    """
    pytest.importorskip("jsonschema")
    schema = {"properties": {"a": {"anyOf": [{"enum": [number]} for number in range(100)]}}}
    (tmp_path / "schema-cloud-config-v1.json").write_text(json.dumps(schema))
    monkeypatch.setenv("TEMPLATER_CLOUD_INIT_SCHEMAS", str(tmp_path))
    monkeypatch.setattr(cloud_init, "_MEMORY", 32 << 20)
    validators = in_this_process(anyway=False)
    text = '{"a": "' + "\U0010ffff" * 400_000 + '"}'
    assert validators.mistakes("cloud-init's schemas", "user-data", text, "/a") == []
    why = "it needs more than 32 MiB of memory"
    assert validators.notes == [f"validator failed: cloud-init's schemas for '/a': {why}"]
    short = '{"a": "' + "b" * 10_000 + '"}'
    ((line, message, _),) = validators.mistakes("cloud-init's schemas", "user-data", short, "/b")
    assert line == 1 and message.startswith("a: 'bbb") and len(message) < 1000


def test_a_missing_validator_is_mentioned_in_only_one_note(monkeypatch, tmp_path):
    monkeypatch.setenv("TEMPLATER_CLOUD_INIT_SCHEMAS", str(tmp_path))
    validators = in_this_process(anyway=False)
    for number in range(3):
        assert validators.mistakes("cloud-init's schemas", "user-data", f"a: {number}", "/user-data") == []
    (note,) = validators.notes
    assert note.startswith("validator not installed: cloud-init's schemas (for user-data")
    assert validators.incomplete == ["cloud-init's schemas"]


def test_unknown_key_is_reported_with_a_similar_known_key(monkeypatch, tmp_path):
    pytest.importorskip("jsonschema")
    schema = '{"properties": {"package_update": {}, "runcmd": {}}, "additionalProperties": false}'
    (tmp_path / "schema-cloud-config-v1.json").write_text(schema)
    monkeypatch.setenv("TEMPLATER_CLOUD_INIT_SCHEMAS", str(tmp_path))
    text = "packages_update: true\nruncmd: []\nother: 1\n" + "k" * 61 + ": 1\n"
    found = in_this_process(anyway=False).mistakes("cloud-init's schemas", "user-data", text, "/a")
    assert [mistake[:2] for mistake in found] == [
        (1, "packages_update: unknown key: did you mean 'package_update'?"),
        (3, "other: unknown key"),
        (4, "k" * 61 + ": unknown key"),
    ]


def test_a_schema_with_invalid_json_counts_as_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("TEMPLATER_CLOUD_INIT_SCHEMAS", str(tmp_path))
    (tmp_path / "schema-cloud-config-v1.json").write_text("{")
    assert list(Runner().ask("cloud-init's schemas", "user-data", b"a: b")) == ["missing"]


INSTALL_SCHEMAS = "install cloud-init or set TEMPLATER_CLOUD_INIT_SCHEMAS"
INSTALL_EXTRA = "install templater's extra 'check'"


@pytest.mark.parametrize(
    ("has_schemas", "has_library", "hint"),
    [
        (False, True, INSTALL_SCHEMAS),
        (True, False, INSTALL_EXTRA),
        (False, False, f"{INSTALL_SCHEMAS}, and also {INSTALL_EXTRA}"),
    ],
)
def test_the_note_about_missing_schemas_mentions_only_the_missing_parts(
    has_schemas, has_library, hint, monkeypatch, tmp_path
):
    """The note asked for templater's extra even if the library of the extra was installed."""
    if has_library:
        pytest.importorskip("jsonschema")
    else:
        monkeypatch.setitem(sys.modules, "jsonschema.validators", None)
    if has_schemas:
        (tmp_path / "schema-cloud-config-v1.json").write_text("{}")
    monkeypatch.setenv("TEMPLATER_CLOUD_INIT_SCHEMAS", str(tmp_path))
    validators = in_this_process(anyway=False)
    assert validators.mistakes("cloud-init's schemas", "user-data", "a: b", "/a") == []
    what = "cloud-init's schemas (for user-data, vendor-data and network-config)"
    assert validators.notes == [f"validator not installed: {what}; {hint}"]


def test_the_note_about_a_missing_program_has_no_hint(monkeypatch):
    monkeypatch.setattr(validator_process, "find", lambda names: None)
    validators = in_this_process(anyway=False)
    assert validators.mistakes("visudo", "sudoers", "a", "/a") == []
    assert validators.notes == ["validator not installed: visudo (for sudoers files)"]


@needs_sandbox
def test_equal_texts_are_validated_only_once():
    asked = []
    runner = Runner()
    validators = Validators(lambda *question: (asked.append(question), runner.ask(*question))[1])
    for _ in range(3):
        assert [line for line, *_ in validators.mistakes("sh", "script", "#!/bin/sh\nfi\n", "/a")] == [2]
    assert len(asked) == 1


@pytest.mark.slow
@needs_sandbox
def test_all_validators_share_one_time_limit(monkeypatch):
    monkeypatch.setattr(runner, "SECONDS", 0.2)
    validators = in_this_process(anyway=False)
    for number in range(200):
        validators.mistakes("sh", "script", f"#!/bin/sh\n: {number}\n", "/a")
    assert "because all validators together take longer than 0.2 s" in validators.notes[0]
    assert validators.notes[1:] == ["validator did not check all files: sh"]
    assert validators.incomplete == ["sh"]


@pytest.mark.slow
@needs_sandbox
def test_all_validators_share_one_limit_on_processor_time(monkeypatch):
    monkeypatch.setattr(runner, "SECONDS", 1000.0)
    validators = Validators(Runner(processor_seconds=0.1).ask)
    for number in range(200):
        validators.mistakes("sh", "script", f"#!/bin/sh\n: {number}\n" + ": a\n" * 9000, "/a")
    assert "because all validators together take more than 0.1 s of processor time" in validators.notes[0]
    assert validators.incomplete == ["sh"]


def locked_notes(*, anyway: bool) -> tuple[list[str], int]:
    """The notes and the number of mistakes in a process that can create no namespaces."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            validator_process.libc("prctl")(validator_process.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            refused_calls.refuse()
            validators = in_this_process(anyway=anyway)
            found = validators.mistakes("sh", "script", "#!/bin/sh\nfi\n", "/a")
            found += validators.mistakes("bash", "script", "#!/bin/bash\nfi\n", "/b")
            os.write(writer, repr((validators.notes, len(found))).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        text = file.read().decode()
    os.waitpid(pid, 0)
    notes, count = eval(text)
    return notes, count


@pytest.mark.slow
@pytest.mark.skipif(
    os.uname().machine not in refused_calls.ARCHITECTURES, reason="no filter for this machine"
)
def test_unconfined_validators_run_only_on_request():
    notes, count = locked_notes(anyway=False)
    assert count == 0
    assert notes[0].startswith("this machine cannot confine programs: ")
    assert "--run-validators" in notes[0]
    assert [note.partition(" (")[0] for note in notes[1:]] == [
        "validator did not run: sh",
        "validator did not run: bash",
    ]
    assert locked_notes(anyway=True) == ([], 2)


@pytest.mark.slow
@needs_sandbox
def test_a_validator_runs_even_if_another_validator_cannot_be_confined():
    """The schemas of cloud-init need no program."""
    runner = Runner()
    validators = Validators(lambda id, *rest: {"off": "why"} if id == "sh" else runner.ask(id, *rest))
    assert validators.mistakes("sh", "script", "#!/bin/sh\nfi\n", "/a") == []
    assert len(validators.mistakes("bash", "script", "#!/bin/bash\nfi\n", "/b")) == 1
    assert validators.notes[1:] == ["validator did not run: sh (for shell scripts)"]
    assert validators.incomplete == ["sh"]


@pytest.mark.slow
@needs_sandbox
def test_cloud_init_schema_depends_on_file_name_and_version(monkeypatch, tmp_path):
    pytest.importorskip("jsonschema")
    for name in ("cloud-config-v1", "network-config-v1", "network-config-v2"):
        schema = {"additionalProperties": False, "properties": {name: {}, "version": {}, "config": {}}}
        (tmp_path / f"schema-{name}.json").write_text(json.dumps(schema))
    monkeypatch.setenv("TEMPLATER_CLOUD_INIT_SCHEMAS", str(tmp_path))
    validators = in_this_process(anyway=False)
    for file, text, known in (
        ("user-data", "a: b", "cloud-config-v1"),
        ("vendor-data", "version: 1\na: b", "cloud-config-v1"),
        ("network-config", "version: 1\na: b", "network-config-v1"),
        ("network-config", "version: 2\na: b", "network-config-v2"),
        ("network-config", "a: b", "network-config-v2"),
    ):
        assert validators.mistakes("cloud-init's schemas", file, f"{text}\n{known}: c\n", f"/{file}") == [
            (1 + text.count("\n"), "a: unknown key", "warning")
        ]
    assert validators.mistakes("cloud-init's schemas", "network-config", "config: disabled\na: b", "/c") == []
    assert validators.mistakes("cloud-init's schemas", "user-data", "- a", "/d") == []
    words = "cloud-init cannot read the file: could not determine a constructor for the tag '!c'"
    assert cloud_init._run("user-data", b"a: 1\nb: !c d", True, 2) == [[[], words, 2]]


@pytest.mark.slow
@needs_sandbox
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("2001-99-99", "2001-99-99"),
        ("1" * 5000, "1" * 40 + "\u2026"),
        ("2001-01-01 00:00:00+99:99", "2001-01-01 00:00:00+99:99"),
        ("!!int ''", ""),
        ("!!bool x", "x"),
        ("!!timestamp x", "x"),
        ("!!float x", "x"),
    ],
)
def test_an_unreadable_cloud_init_value_is_a_mistake_in_the_file(monkeypatch, tmp_path, value, shown):
    """A value that cloud-init cannot read ended the validator: the report had only a note about a failure."""
    pytest.importorskip("jsonschema")
    (tmp_path / "schema-cloud-config-v1.json").write_text("{}")
    monkeypatch.setenv("TEMPLATER_CLOUD_INIT_SCHEMAS", str(tmp_path))
    words = f"cloud-init cannot read the file: invalid value '{shown}'"
    text = f"a: 1\nb:\n- {{c: {value}}}\n"
    assert cloud_init._run("user-data", text.encode(), True, 2) == [[[], words, 3]]


@needs_sandbox
def test_the_most_specific_message_of_a_schema_is_reported(monkeypatch, tmp_path):
    pytest.importorskip("jsonschema")
    kind = {"type": "object", "required": ["type"]}
    branches = [
        {**kind, "properties": {"type": {"enum": ["bond"]}, "mtu": {"type": "integer"}}},
        {**kind, "properties": {"type": {"enum": ["vlan"]}, "id": {"type": "integer"}}},
    ]
    schema = {
        "properties": {
            "x": {"oneOf": branches},
            "y": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "integer"}}]},
        }
    }
    (tmp_path / "schema-cloud-config-v1.json").write_text(json.dumps(schema))
    monkeypatch.setenv("TEMPLATER_CLOUD_INIT_SCHEMAS", str(tmp_path))
    validators = in_this_process(anyway=False)
    for text, mistakes in (
        ("x: {type: none}", []),
        ("x: {type: bridge}", ["x.type: 'bridge' is not one of bond, vlan"]),
        ("x: {type: bond, mtu: a}", ["x.mtu: 'a' is not of type 'integer'"]),
        ("y: [1, b]", ["y.1: 'b' is not of type 'integer'"]),
    ):
        found = validators.mistakes("cloud-init's schemas", "user-data", text, "/a")
        assert [message for _, message, _ in found] == mistakes, text


def answering(*answers):
    """Validators that get these answers, one after the other."""
    left = list(answers)
    return Validators(lambda *question: left.pop(0))


def test_one_note_says_why_files_were_not_validated():
    validators = answering({"late": "all validators together take longer than 20 s"})
    assert validators.mistakes("sh", "script", "a", "/a\x1b") == []
    assert validators.mistakes("bash", "script", "b", "/b") == []
    assert validators.notes == [
        "not all files were validated, because all validators together take longer than 20 s; the first file"
        " that was not validated is '/a\\x1b'",
        "validator did not check all files: sh",
        "validator did not check all files: bash",
    ]
    assert validators.incomplete == ["sh", "bash"] and not validators.ran("sh")


def test_only_one_note_says_that_programs_cannot_be_confined():
    validators = answering({"off": "no namespaces"}, {"off": "no namespaces"})
    assert validators.mistakes("sh", "script", "a", "/a") == []
    assert validators.mistakes("bash", "script", "b", "/b") == []
    assert validators.mistakes("sh", "script", "c", "/c") == []
    assert validators.notes == [
        "this machine cannot confine programs: no namespaces"
        " (with --run-validators, templater runs validators without a sandbox)",
        "validator did not run: sh (for shell scripts)",
        "validator did not run: bash (for bash scripts)",
    ]
    assert not validators.ran("sh")


def test_unknown_program_output_is_a_failure_of_the_validator():
    validators = answering({"value": ["a", 1, "???"]})
    assert validators.mistakes("sh", "script", "a", "/a") == []
    assert validators.notes == ["validator failed: sh for '/a': exit code 1: ???"]
    assert validators.incomplete == ["sh"] and validators.ran("sh")


def test_a_runner_without_remaining_time_runs_no_validator(monkeypatch):
    monkeypatch.setattr(runner, "SECONDS", 0.0)
    assert Runner().ask("sh", "script", b"a") == {"late": "all validators together take longer than 0 s"}
    monkeypatch.setattr(runner, "SECONDS", 20.0)
    late = "all validators together take more than 0 s of processor time"
    assert Runner(processor_seconds=0.0).ask("sh", "script", b"a") == {"late": late}


def test_validator_may_use_only_remaining_processor_time_of_command(monkeypatch):
    """The processor time of the command and of its validators added up to 11 seconds."""
    allowed = []

    class Program:
        def run(self, name, data, confined, seconds):
            allowed.append(seconds)
            return []

    monkeypatch.setattr("templater.validators.programs.all_validators", lambda: {"sh": Program()})
    left = iter((9.0, 2.9, 2.1, 1.5, 1.0))
    asked = Runner(command_left=lambda: next(left))
    answers = [asked.ask("sh", "script", b"%d" % number) for number in range(5)]
    assert allowed == [2, 2, 2, 1]
    assert answers[-1] == {"late": "the command has nearly reached its limit 'command-processor'"}


@pytest.mark.parametrize(("anyway", "answer"), [(False, {"off": "no"}), (True, {"value": ["unconfined"]})])
def test_an_unconfined_program_runs_only_on_request(monkeypatch, anyway, answer):
    class Program:
        def run(self, name, data, confined, seconds):
            if confined:
                raise validator_process.NotConfinedError("no")
            return ["unconfined"]

    monkeypatch.setattr("templater.validators.programs.all_validators", lambda: {"sh": Program()})
    assert Runner(anyway=anyway).ask("sh", "script", b"a") == answer


def test_systemd_messages_are_reported_with_their_level():
    lines = [
        "/x/a.service:2: Unknown key 'Foo' in section [Service], ignoring.",
        "a.service:3: Invalid section header '[Unit'",
        "a.service:4: Unit uses an obsolete setting",
        "/x/b.service:5: Invalid section header '[Unit'",
        "a.service: Service has no ExecStart=, ExecStop=, or SuccessAction=. Refusing.",
        "a.service: Command /none is not executable: No such file",
    ]
    assert [(line, *rest) for line, _, *rest in systemd_analyze.read(lines, "a.service")] == [
        (2, "warning"), (3, "error"), (1,),
    ]  # fmt: skip
