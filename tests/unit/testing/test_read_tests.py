"""Test files: every mistake is found before a test runs, with its position."""

import os
from pathlib import Path

import pytest

from templater.model.errors import InputError, LimitError, RefusedError, TemplaterError
from templater.model.source import Source
from templater.parsing.yaml_nodes import parse
from templater.testing import read_tests
from templater.testing.read_tests import MAX_CASES, labels_of, read_cases, slug_of
from templater.testing.tests_folder import MAX_FILES, Folder


def read(path: Path, text: str, **others: str):
    path.mkdir(exist_ok=True)
    (path / "a.yaml").write_text(text)
    for name, content in others.items():
        (path / "files").mkdir(exist_ok=True)
        (path / "files" / f"{name}.yaml").write_text(content)
    return read_cases(Folder(str(path)))


def test(body: str) -> str:
    """A file with one test."""
    return "tests:\n  - name: x\n" + "".join(f"    {line}\n" for line in body.split("\n"))


test.__test__ = False  # type: ignore[attr-defined]

MISTAKES = {
    "an unknown key": ("test:\n- {}", "1:1: unknown key 'test'", "did you mean 'tests'?"),
    "an empty file": ("", "1:1: the file is empty", "write: tests: […]"),
    "a list": ("- a", "1:1: the file must be a mapping, not a sequence", ""),
    "no tests": ("tests: []", "1:8: 'tests' is an empty list", ""),
    "no name": ("tests: [{expect: {/a: {equals: b}}}]", "1:9: an entry of 'tests' has no 'name'", ""),
    "a misspelled expectation": (
        test("expect: {/etc/hostname: {equal: a}}"), "3:30: unknown key 'equal'", "did you mean 'equals'?",
    ),
    "an unknown host": (test("host: icnus\nexpect: {/a: {equals: b}}"), "3:11: unknown value 'icnus' of 'host'", "did you mean 'incus'?"),
    "an unknown trigger": (
        test("triggers: [create, boot]\nexpect: {/a: {equals: b}}"), "3:24: unknown value 'boot' of 'triggers'", "known values: create, copy, start, rename",
    ),
    "a mapping as text": (test("expect: {/a: {equals: {b: c}}}"), "3:27: 'equals' must be text, not a mapping", ""),
    "an empty text": (test("expect: {/a: {equals: }}"), "3:27: 'equals' must be text, not empty", ""),
    "no expectation": (test("host: lxd"), "2:5: the test has no expectation", "add 'expect', 'steps', 'snapshot', 'valid' or 'error'"),
    "an empty expectation": (test("expect: {/a: {}}"), "3:18: '/a' is empty", "known keys: equals, contains, lacks, matches, absent, mode, owner, error, snapshot, valid"),
    "a relative path": (test("expect: {etc/a: {equals: b}}"), "3:14: 'etc/a' is not a path", "begin the path with '/'"),
    "absent and equals": (test("expect: {/a: {equals: b, absent: true}}"), "3:30: 'absent' contradicts 'equals'", ""),
    "absent: false": (test("expect: {/a: {absent: false}}"), "3:27: 'absent' must be true", ""),
    "a mode in words": (test("expect: {/a: {mode: rw-r--r--}}"), "3:25: invalid 'mode' 'rw-r--r--'", "The mode of the file, in octal digits."),
    "an owner's name": (test("expect: {/a: {owner: root}}"), "3:26: invalid 'owner' 'root'", "The owner of the file, as UID:GID."),
    "an invalid regular expression": (
        test("expect: {/a: {matches: '(a'}}"), "3:28: invalid regular expression: missing closing ): `(a`", "",
    ),
    "a step that does not exist": (test("steps: [start, sart]"), "3:20: unknown step 'sart'", "known steps: create, start, stop, restart, reboot, copy=NAME, rename=NAME, move=NAME, rebuild, rebuild=IMAGE, snapshot=NAME, restore=NAME, publish=NAME, export=NAME, c:KEY=VALUE, d:DEVICE,KEY=VALUE, p:FILE; to apply a step to another instance, write 'NAME:' before it"),
    "steps with triggers": (
        test("triggers: [copy]\nsteps: [start]"), "3:15: 'triggers' is not allowed beside 'steps': write it in a step", "",
    ),
    "a duplicate key": (test("host: lxd\nhost: lxd\nsnapshot: true"), "4:5: duplicate key 'host', first in line 3", ""),
    "a duplicate name": (
        "tests:\n- {name: a b, snapshot: true}\n- {name: a-b, snapshot: true}", "3:10: too similar name 'a-b', see line 2", "",
    ),
    "a name of dots": ("tests:\n- {name: '..', snapshot: true}", "2:10: the name has no letter or digit", ""),
    "a missing description": (
        test("instance: files/web.yaml\nsnapshot: true"), "3:15: '{folder}/files' does not exist", "",
    ),
    "a description outside": (
        test("instance: ../web.yaml\nsnapshot: true"), "3:15: '../web.yaml' leads out of the folder of tests", "copy the file to a subfolder of '{folder}', and use the new path",
    ),
    "an absolute description": (
        test("instance: /etc/passwd\nsnapshot: true"), "3:15: '/etc/passwd' leads out of the folder of tests", "copy the file to a subfolder of '{folder}', and use the new path",
    ),
    "a device without a type": (
        test("devices: {eth0: {mtu: 1500}}\nsnapshot: true"), "2:5: device 'eth0' has no type, and no profile defines it", "set a type, for example -d eth0,type=nic,network=incusbr0",
    ),
    "a bad name of an instance": (test("instance: {name: a/b}\nsnapshot: true"), "3:15: invalid instance name 'a/b': a name can't be '.' or '..', or contain '/'", "for example: web1"),
    "defaults with steps": (
        "defaults: {steps: [start]}\ntests:\n- {name: a, snapshot: true}", "1:12: 'steps' is not allowed in 'defaults'", "",
    ),
    "a wrong merge key": (test("<<: [a]\nsnapshot: true"), "3:9: '<<' needs a mapping or a list of mappings", ""),
    "an alias of a list as a merge key": (test("config: {a: &x [{b: c}]}\n<<: *x"), "3:17: '<<' needs a mapping or a list of mappings", ""),
    "a key of two lines": ("? [a]\n: b\ntests: []", "1:3: a key must be text, not a sequence", ""),
    "a file in a file": (
        test("rootfs: {/etc: x, /etc/hosts: y}\nsnapshot: true"), "3:13: '/etc' can't be both a file and a directory", "",
    ),
    "an empty matrix": (test("matrix: {}\nsnapshot: true"), "3:13: 'matrix' is empty", "known keys: instance, config, devices, profiles, triggers, host, options, rootfs"),
    "a syntax error": ("tests: [", "1:9: invalid YAML: did not find expected node content, while parsing a flow node", ""),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message", "hint"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_a_test_file_is_reported_with_its_position(text, message, hint, tmp_path):
    with pytest.raises(TemplaterError) as caught:
        read(tmp_path, text)
    assert str(caught.value) == f"{tmp_path}/a.yaml:{message.replace('{folder}', str(tmp_path))}"
    assert caught.value.hint == hint.replace("{folder}", str(tmp_path))


def test_one_error_contains_the_mistakes_of_all_test_files(tmp_path):
    (tmp_path / "b.yaml").write_text("test: []")
    with pytest.raises(InputError) as caught:
        read(tmp_path, "tests:\n- {name: a, host: x, snapshot: no}\n")
    notes = "\n".join(caught.value.notes)
    assert f"{tmp_path}/a.yaml:2:32: 'snapshot' must be true" in notes
    assert f"{tmp_path}/b.yaml:1:1: unknown key 'test'" in notes


def test_mistake_in_instance_description_is_reported_at_its_position(tmp_path):
    with pytest.raises(InputError) as caught:
        read(tmp_path, test("instance: files/web.yaml\nsnapshot: true"), web="name: web\nephemeral: maybe\n")
    assert str(caught.value).startswith(f"{tmp_path}/files/web.yaml:2:12: ")


def test_instance_with_a_profile_of_unknown_content_is_refused(tmp_path):
    with pytest.raises(InputError, match="default"):
        read(
            tmp_path, test("instance: files/web.yaml\nsnapshot: true"), web="name: web\nprofiles: [default]\n"
        )


# --- values


def test_instance_is_built_from_keys_of_the_test(tmp_path):
    (case,) = read(
        tmp_path,
        test(
            "instance: files/web.yaml\nprofiles: [files/p.yaml, {name: q, config: {user.c: 0644}}]\n"
            "config: {user.a: yes}\ndevices: {eth0: {mtu: 1500}}\nhost: lxd\ntriggers: copy\nsnapshot: true"
        ),
        web="name: web1\nconfig: {user.b: 1}\n",
        p="name: p\nconfig: {user.c: 1}\ndevices: {eth0: {type: nic}}\n",
    )
    assert case.instance.name == "web1"
    assert case.instance.expanded_config() == {"user.a": "yes", "user.b": "1", "user.c": "0644"}
    assert case.instance.expanded_devices() == {"eth0": {"type": "nic", "mtu": "1500"}}
    assert (case.host.name, case.triggers) == ("lxd", ("copy",))


def test_the_defaults_of_a_test_file_add_keys_to_each_test(tmp_path):
    first, second = read(
        tmp_path,
        "defaults:\n  host: lxd\n  config: {user.a: one, user.b: two}\n  expect: {/a: {equals: x, mode: 0644}}\n"
        "tests:\n- {name: a, config: {user.b: three}}\n- {name: b, host: incus, expect: {/a: {absent: true}, /b: {equals: y}}}\n",
    )
    assert first.instance.config == {"user.a": "one", "user.b": "three"}
    assert [(each.kind, each.value) for each in first.expected.files] == [("equals", "x"), ("mode", 0o644)]
    assert (first.host.name, second.host.name) == ("lxd", "incus")
    assert [(each.target, each.kind) for each in second.expected.files] == [
        ("/a", "absent"),
        ("/b", "equals"),
    ]


def test_yaml_anchors_and_merge_keys_work_in_a_test_file(tmp_path):
    first, second = read(
        tmp_path, "tests:\n- &one\n  name: a\n  host: lxd\n  snapshot: true\n- {<<: *one, name: b}\n"
    )
    assert (first.name, second.name, second.host.name) == ("a", "b", "lxd")


# --- matrices


def test_a_matrix_gives_a_labelled_test_case_for_every_combination(tmp_path):
    cases = read(
        tmp_path,
        test(
            "matrix:\n  host: [incus, lxd]\n  instance: [files/web.yaml, {name: b}]\n  config: [{user.a: 1}, {}]\nsnapshot: true"
        ),
        web="name: web1\n",
    )
    assert [case.label for case in cases][:3] == [
        "host=incus, instance=web, config=user.a=1", "host=incus, instance=web, config={}",
        "host=incus, instance=b, config=user.a=1",
    ]  # fmt: skip
    assert len(cases) == 8
    assert len({case.snapshot for case in cases}) == 8
    assert cases[0].snapshot == "snapshots/a/x-host=incus-instance=web-config=user.a=1.txt"


def test_cases_with_equal_labels_get_numbers(tmp_path):
    cases = read(tmp_path, test("matrix: {instance: [{}, {ephemeral: true}, {}]}\nsnapshot: true"))
    assert [case.label for case in cases] == [
        "instance={} #1",
        "instance=ephemeral=true #2",
        "instance={} #3",
    ]


def test_matrix_host_all_gives_cases_for_every_daemon_release(tmp_path):
    cases = read(tmp_path, test("matrix: {host: all}\nsnapshot: true"))
    assert "incus" in {case.host.name for case in cases}
    assert "none" not in {case.host.name for case in cases}


def test_duplicate_name_of_a_snapshot_gets_a_number(tmp_path):
    tests = "tests:\n- {name: a host=lxd, snapshot: true}\n"
    tests += "- {name: a, snapshot: true, matrix: {host: [incus, lxd]}}\n"
    names = [os.path.basename(case.snapshot) for case in read(tmp_path, tests)]
    assert names == ["a-host=lxd.txt", "a-host=incus.txt", "a-host=lxd-2.txt"]


def test_cases_with_long_names_and_labels_have_different_snapshot_files(tmp_path):
    config = ", ".join(f"{{user.{'a' * 60}{number}: '{number}'}}" for number in range(3))
    axes = "".join(f"  {name}: [{config}]\n" for name in ("config", "options"))
    cases = read(tmp_path, f"tests:\n- name: x\n  snapshot: true\n  matrix:\n{axes.replace('  ', '    ')}")
    assert len({case.snapshot for case in cases}) == 9
    assert all(len(os.path.basename(case.snapshot)) < 255 for case in cases)


def test_a_matrix_of_10000_cases_gives_an_error_with_its_position(tmp_path):
    names = ", ".join(f"{{name: a{number}}}" for number in range(100))
    values = ", ".join(f"{{user.a: {number}}}" for number in range(100))
    with pytest.raises(LimitError) as caught:
        read(tmp_path, test(f"matrix:\n  instance: [{names}]\n  config: [{values}]\nsnapshot: true"))
    assert str(caught.value) == (
        f"{tmp_path}/a.yaml:4:7: the matrix has 10000 combinations: all files together can have at most {MAX_CASES} cases"
    )


def test_too_many_instance_keys_in_many_test_cases_give_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(read_tests, "MAX_NODES", 20_000)
    config = ", ".join(f"user.k{number}: x" for number in range(200))
    hosts = ", ".join(f"{{name: a{number}}}" for number in range(100))
    with pytest.raises(LimitError, match="the test cases set more than 20000 values in total"):
        read(tmp_path, test(f"matrix: {{instance: [{hosts}]}}\nconfig: {{{config}}}\nsnapshot: true"))


@pytest.mark.parametrize("name", ["MAX_CASES", "MAX_NODES", "MAX_OPTIONS", "MAX_STEPS"])
def test_two_tests_need_twice_the_limit_of_one_test(name, tmp_path, monkeypatch):
    def least(count):
        entries = (
            f"  - {{name: x{number}, options: {{image.release: a}}, expect: {{/a: {{matches: x{number}}}}}}}\n"
            for number in range(count)
        )
        text = "tests:\n" + "".join(entries)
        for limit in range(1000):
            monkeypatch.setattr(read_tests, name, limit)
            try:
                assert len(read(tmp_path, text)) == count
            except LimitError:
                continue
            return limit
        return None

    assert least(2) == 2 * least(1) > 0


def test_reading_a_test_file_ends_at_the_hundredth_mistake(tmp_path):
    with pytest.raises(InputError) as caught:
        read(tmp_path, "tests:\n" + "- {expcet: {}}\n" * 5_000)
    assert caught.value.notes[-1] == "and 79 more mistakes"


# --- hostile folders


def test_a_link_in_the_folder_of_tests_is_not_followed(tmp_path):
    tests, outside = tmp_path / "tests", tmp_path / "outside"
    for folder in (tests, outside):
        folder.mkdir()
    (outside / "a.yaml").write_text("tests: [{name: a, snapshot: true}]")
    (tests / "b.yaml").symlink_to("../outside/a.yaml")
    with pytest.raises(RefusedError, match=r"b.yaml' is a symlink, not a regular file"):
        read_cases(Folder(str(tests)))
    (tests / "b.yaml").unlink()
    (tests / "files").symlink_to("../outside")
    (tests / "a.yaml").write_text(test("instance: files/a.yaml\nsnapshot: true"))
    with pytest.raises(RefusedError, match="symlink"):
        read_cases(Folder(str(tests)))


def test_a_fifo_in_the_folder_of_tests_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "a.yaml")
    with pytest.raises(RefusedError, match="fifo"):
        read_cases(Folder(str(tmp_path)))


def test_a_folder_without_test_files_is_an_error(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="has no test file"):
        read_cases(Folder(str(tmp_path)))


def test_too_many_or_too_large_test_files_give_an_error(tmp_path):
    for number in range(MAX_FILES + 1):
        (tmp_path / f"{number}.yaml").write_text("")
    with pytest.raises(LimitError, match=f"more than {MAX_FILES} test files"):
        read_cases(Folder(str(tmp_path)))
    large = tmp_path / "large"
    with pytest.raises(LimitError):
        read(large, "#" * (1 << 20) + "\ntests: []")


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"b{n}: &b{n} [*{'a' if not n else f'b{n - 1}'}, *{'a' if not n else f'b{n - 1}'}]\n" for n in range(25)),
        "[" * 10_000,
        "{" * 1000,
        pytest.param("tests:\n" + "- {a: x}\n" * 40_000, marks=pytest.mark.slow),
        "tests: &a [*a]",
        "tests: !!python/object:os.system x",
        "\x00",
        "tests: [{name: x, expect: {? [a] : b}}]",
    ],
)  # fmt: skip
def test_a_hostile_test_file_gives_one_error(text, tmp_path):
    with pytest.raises(TemplaterError) as caught:
        read(tmp_path, text)
    assert caught.value.span is not None
    assert len(caught.value.explain()) < 20_000


@pytest.mark.parametrize(
    ("axis", "choices", "labels"),
    [
        ("host", "[incus, lxd]", ["host=incus", "host=lxd"]),
        ("instance", "[a/b.c.yaml, a/b.yaml#web1, {name: n, type: container}, {}]", ["instance=b", "instance=web1", "instance=n", "instance={}"]),
        ("profiles", "[[{name: p}, {name: q}], []]", ["profiles=p,q", "profiles="]),
        ("config", "[{name: x, a: {b: c}}, {name: y}]", ["config=name=x a=b=c", "config=name=y"]),
        ("config", "[{a: A}, {a: a}]", ["config=a=A #1", "config=a=a #2"]),
        ("config", f"[{'x' * 41}, y]", [f"config={'x' * 40}", "config=y"]),
    ],
)  # fmt: skip
def test_each_value_of_a_matrix_axis_has_a_label(axis, choices, labels):
    assert labels_of(axis, parse(Source("a", choices)).children) == labels


def test_the_file_name_of_a_snapshot_has_only_safe_characters():
    assert slug_of("-a b/ü.c=d_E.-") == "a-b-.c=d_E"
    assert slug_of("x" * 101) == "x" * 100


@pytest.mark.parametrize(
    ("default", "own", "found"),
    [
        ("{equals: a}", "{mode: 0600}", [("equals", "a"), ("mode", 0o600)]),
        ("{contains: a, lacks: b}", "{contains: [c]}", [("contains", ("c",)), ("lacks", ("b",))]),
        ("{absent: true}", "{equals: a}", [("equals", "a")]),
        ("{equals: a, mode: 0600}", "{absent: true}", [("absent", True)]),
        ("{error: true}", "{error: x}", [("error", "x")]),
        ("{error: x}", "{absent: true}", [("absent", True)]),
        (
            "{owner: '5:6'}",
            "{valid: true, snapshot: true}",
            [("owner", (5, 6)), ("valid", True), ("snapshot", True)],
        ),
        ("{error: 'true'}", "{error: true}", [("error", "")]),
        ("{error: true}", "{error: 'true'}", [("error", "true")]),
    ],
)
def test_the_expectations_of_a_test_extend_or_replace_the_default_expectations(default, own, found, tmp_path):
    (case,) = read(
        tmp_path,
        f"defaults: {{expect: {{/a: {default}, /b: {{equals: b}}}}}}\ntests: [{{name: x, expect: {{//a: {own}}}}}]\n",
    )
    first = [each for each in case.expected.files if each.target == "/a"]
    assert [(each.kind, each.value) for each in first] == found
    assert [each.value for each in case.expected.files if each.target == "/b"] == ["b"]


def test_keys_of_a_test_apply_to_all_its_steps(tmp_path):
    (case,) = read(
        tmp_path,
        "defaults: {expect: {/a: {equals: a}}, error: x, valid: true}\ntests:\n"
        "- name: x\n  snapshot: true\n  steps: [start, {step: stop, error: busy, expect: {/b: {absent: true}}}]\n",
    )
    first, second = case.steps
    assert [step.step.text for step in case.steps] == ["start", "stop"]
    assert (first.expected.files, first.expected.error) == ((), None)
    assert [each.kind for each in second.expected.files] == ["absent"]
    assert second.expected.error.value == "busy"
    assert [step.span.line for step in case.steps] == [5, 5]
    for step in case.steps:
        assert (step.expected.snapshot.line, step.expected.valid.line) == (4, 1)
    assert case.has_snapshot


def test_a_test_instance_gets_container_defaults_for_omitted_fields(tmp_path):
    plain, full = read(
        tmp_path,
        "tests:\n- {name: a, snapshot: true}\n- name: b\n  snapshot: true\n"
        "  instance: {name: v, type: virtual-machine, architecture: aarch64, ephemeral: true, config: {user.a: 1},"
        " devices: {eth0: {type: nic}}}\n",
    )
    assert (plain.instance.name, plain.instance.type, plain.instance.ephemeral) == ("c1", "container", False)
    assert (plain.host.name, plain.triggers, plain.rootfs, plain.options) == ("incus", (), "image", ())
    made = full.instance
    assert (made.name, made.type, made.architecture, made.ephemeral) == (
        "v",
        "virtual-machine",
        "aarch64",
        True,
    )
    assert (made.config, made.devices) == ({"user.a": "1"}, {"eth0": {"type": "nic"}})
    assert plain.instance.architecture == "x86_64"
    assert (plain.title, full.label, plain.file) == ("a", "", f"{tmp_path}/a.yaml")


def test_rootfs_key_accepts_a_keyword_or_additional_files(tmp_path):
    word, files = read(
        tmp_path,
        "defaults: {rootfs: {/etc/a: one, /etc/b: two}}\ntests:\n- {name: a, rootfs: none, snapshot: true}\n"
        "- {name: b, rootfs: {/etc//b: three, /etc/a-b: x}, snapshot: true}\n",
    )
    assert word.rootfs == "none"
    assert files.rootfs == {"/etc/a": "one", "/etc/b": "three", "/etc/a-b": "x"}


def test_the_reader_of_tests_can_select_some_cases_or_one_file(tmp_path):
    tmp_path.mkdir(exist_ok=True)
    for name in ("b", "a"):
        (tmp_path / f"{name}.yaml").write_text(
            f"tests: [{{name: {name}1, snapshot: true}}, {{name: {name}2, snapshot: true}}]"
        )
    folder = Folder(str(tmp_path))
    assert [case.name for case in read_cases(folder)] == ["a1", "a2", "b1", "b2"]
    assert [case.name for case in read_cases(folder, lambda case: case.name[1] == "2")] == ["a2", "b2"]
    assert [case.name for case in read_tests.read_file(folder, "b.yaml")] == ["b1", "b2"]
    assert next(case.snapshot for case in read_cases(folder)) == "snapshots/a/a1.txt"
