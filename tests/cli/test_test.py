"""The command `test`: images without tests, and the smallest allowed branch coverage."""

import json
import os

import pytest

TEMPLATE = "{% if config.user %}x{% else %}y{% endif %}\n"
CASE = 'tests:\n- name: one\n  expect:\n    /etc/a: {equals: "y\\n"}\n'


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Write two images into the current directory. Only ``a`` has tests."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        os.makedirs(f"{name}/templates")
        (tmp_path / name / "templates/t").write_text(TEMPLATE)
        (tmp_path / name / "metadata.yaml").write_text("templates: {/etc/a: {when: [create], template: t}}\n")
    (tmp_path / "a/tests").mkdir()
    (tmp_path / "a/tests/one.yaml").write_text(CASE)
    return tmp_path


def test_an_untested_image_causes_a_note_beside_tested_images(run, images):
    code, out, err = run("test", "a", "b")
    assert code == 0 and out.startswith("a: 1 passed")
    assert err == "note: 'b' has no tests: 'b/tests' does not exist\n"


def test_the_test_command_fails_if_no_image_has_tests(run, images):
    os.makedirs("c")
    code, out, err = run("test", "b", "c")
    assert (code, out) == (2, "")
    assert err == (
        "templater: 'b' has no tests: 'b/tests' does not exist\nhint: docs/testing.md shows a first test\n"
    )


def test_an_untested_image_is_an_error_with_min_coverage(run, images):
    code, _out, err = run("test", "a", "b", "--min-coverage", "10")
    assert code == 2
    assert err == (
        "templater: 'b' has no tests: 'b/tests' does not exist\nhint: docs/testing.md shows a first test\n"
    )


@pytest.mark.parametrize(("least", "code"), [("66", 0), ("66.7", 1), ("100", 1)])
def test_insufficient_branch_coverage_causes_exit_code_1(run, images, least, code):
    found, _out, err = run("test", "a", "--min-coverage", least)
    assert found == code
    assert err == (f"a: the tests reach 66.7 % of the branches, less than {least} %\n" if code else "")


def test_a_note_mentions_an_unused_snapshot(run, images):
    os.makedirs("a/tests/snapshots/one")
    (images / "a/tests/snapshots/one/old.txt").write_text("")
    code, _out, err = run("test", "a")
    assert code == 0 and err == "note: a/tests: no test uses the snapshot 'snapshots/one/old.txt'\n"


def test_an_invalid_test_hides_no_results_of_another_image(run, images):
    os.makedirs("b/tests")
    (images / "b/tests/one.yaml").write_text("tests: [{name: x, nam: x}]\n")
    code, out, err = run("test", "b", "a", "--json")
    assert code == 2 and err.startswith("templater: b/tests/one.yaml:1:19: unknown key 'nam'")
    first, second = json.loads(out)
    assert (first["image"], first["cases"]) == ("b", []) and "unknown key 'nam'" in first["error"]
    assert (second["image"], [case["passed"] for case in second["cases"]]) == ("a", [True])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("valid: 5", "3:10: 'valid' must be true"),
        ("valid: maybe", "3:10: 'valid' must be true"),
        ("triggers: {a: b}", "3:13: 'triggers' must be text or a list, not a mapping"),
        (f"triggers: [{', '.join(['start'] * 11)}]", "3:13: 'triggers' has more than 10 entries"),
        ("snapshot: [1]", "3:13: 'snapshot' must be true, not a sequence"),
        ("host: [incus]", "3:9: 'host' must be text, not a sequence"),
        ("steps: [start, foo]", "3:18: unknown step 'foo'"),
        ("valid: true\n  profiles: [none.yaml]", "4:14: 'a/tests/none.yaml' does not exist"),
    ],
)
def test_the_error_about_an_invalid_test_has_a_position(run, images, keys, message):
    (images / "a/tests/one.yaml").write_text(f"tests:\n- name: one\n  {keys}\n")
    code, out, err = run("test", "a")
    assert (code, out) == (2, "") and err.startswith(f"templater: a/tests/one.yaml:{message}\n")


def test_a_too_large_file_is_not_accepted_as_valid(run, images):
    (images / "a/templates/t").write_text("x" * (300 << 10))
    (images / "a/tests/one.yaml").write_text("tests:\n- name: one\n  expect: {/etc/a: {valid: true}}\n")
    code, out, _err = run("test", "a")
    assert code == 1
    assert out.splitlines()[1].endswith(
        ": /etc/a: not valid: the file has more than 256 KiB, so it was not checked"
    )


def test_a_case_fails_if_only_the_predicted_host_fails(run, images):
    (images / "a/rootfs/etc").mkdir(parents=True)
    (images / "a/rootfs/srv").mkdir()
    (images / "a/rootfs/etc/a").symlink_to("/srv/x")
    (images / "a/tests/one.yaml").write_text(
        "tests:\n- name: one\n  host: incus\n  expect: {/etc/b: {absent: true}}\n"
    )
    code, out, _err = run("test", "a")
    assert code == 1
    assert "/etc/a: incus: Failed to check template file: statat etc/a: path escapes from parent\n" in out


def test_the_update_option_mentions_each_written_or_removed_snapshot(run, images):
    (images / "a/tests/one.yaml").write_text("tests:\n- {name: one, snapshot: true}\n")
    snapshots = images / "a/tests/snapshots/one"
    assert run("test", "a", "--update")[2] == "a: updated snapshots/one/one.txt\n"
    (snapshots / "one.txt").rename(snapshots / "old.txt")
    assert run("test", "a", "--update", "-k", "one")[2] == "a: updated snapshots/one/one.txt\n"
    assert run("test", "a", "--update")[2] == "a: removed snapshots/one/old.txt\n"
    assert run("test", "a", "--update")[2] == ""


def test_tests_pass_with_exactly_the_required_branch_coverage(run, images):
    (images / "a/templates/t").write_text("y\n")
    code, out, err = run("test", "a", "--min-coverage", "100")
    assert (code, err) == (0, "") and "1 of 1 branches" in out
