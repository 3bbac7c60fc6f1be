"""Runs of tests: expectations, matrices, steps of a life, snapshots, definitions and archives."""

import os
import shutil
import tarfile
from pathlib import Path
from time import perf_counter

import pytest

from templater.cli.run_command_line import main
from templater.definitions.choice import Choice
from templater.limit_option import Given
from templater.model.errors import InputError, LimitError, RefusedError, UsageError
from templater.testing import compare_with_expectations
from templater.testing.read_tests import read_cases
from templater.testing.run_tests import MAX_FAILURES, Session
from templater.testing.tests_folder import Folder, folder_of, source_of
from tests.unit.testing.images import an_image, failures, run

ROOT = Path(__file__).parents[3]


def test(expect: str, **keys: str) -> str:
    """A file with one test, whose expectations about /etc/hostname are the flow mapping ``expect``."""
    others = "".join(f"    {name}: {value}\n" for name, value in keys.items())
    return f"tests:\n  - name: x\n    instance: {{name: web1}}\n{others}    expect:\n      /etc/hostname: {expect}\n"


test.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("expect", "message"),
    [
        (r'{equals: "web1\n"}', None),
        ("{equals: web1}", "differs from the expected text"),
        ("{contains: web}", None),
        ("{contains: [web, b2]}", "does not contain 'b2'"),
        ("{lacks: db}", None),
        ("{lacks: [db, web]}", "contains 'web'"),
        (r"{matches: '^web\d$'}", "nothing matches '^web\\d$'"),
        (r"{matches: '(?m)^web\d$'}", None),
        ("{mode: 0644}", None),
        ("{mode: '600'}", "the mode is 0644, not 0600"),
        ("{owner: 0:0}", None),
        ("{owner: 0:33}", "the owner is 0:0, not 0:33"),
        ("{absent: true}", "the file is written, but the test expects 'absent'"),
        ("{error: true}", "no error"),
        ("{valid: true}", None),
    ],
)
def test_each_kind_of_expectation_is_compared_with_the_rendered_file(expect, message, tmp_path):
    found = failures(an_image(tmp_path / "i", test(expect)))
    assert [text.partition("/etc/hostname: ")[2] for text in found] == ([message] if message else [])


def test_the_outcome_of_a_test_case_contains_the_duration(tmp_path):
    begun = perf_counter()
    (outcome,) = run(an_image(tmp_path / "i", test("{mode: 0600}")))
    assert 0 < outcome.seconds < perf_counter() - begun


def test_a_failure_has_the_position_of_its_expectation(tmp_path):
    assert failures(an_image(tmp_path / "i", test("{mode: 0600}"))) == [
        "5:29: /etc/hostname: the mode is 0644, not 0600"
    ]


def test_an_expected_text_without_the_final_newline_gets_a_hint(tmp_path):
    (outcome,) = run(an_image(tmp_path / "i", test("{equals: web1}")))
    assert "ends with a newline" in outcome.failures[0].hint
    assert "+web1" in outcome.failures[0].detail


def test_an_expected_path_without_a_rule_gets_a_suggestion(tmp_path):
    tests = "tests:\n- {name: x, expect: {/etc/hostnam: {absent: true}, /etc/hostnames: {equals: a}}}\n"
    (outcome,) = run(an_image(tmp_path / "i", tests))
    assert [(each.message, each.hint) for each in outcome.failures] == [
        ("/etc/hostnam: no rule writes this file", "did you mean '/etc/hostname'?"),
        ("/etc/hostnames: no rule writes this file", "did you mean '/etc/hostname'?"),
    ]


def test_a_rule_writes_no_file_without_its_trigger(tmp_path):
    image = an_image(tmp_path / "i", test("{absent: true}", triggers="start"))
    assert failures(image) == []
    (image / "tests" / "a.yaml").write_text(test("{equals: a}", triggers="start"))
    assert failures(image) == ["6:31: /etc/hostname: the file is not written"]


MODES = "  /etc/hostname: {when: [create], template: hostname.tpl, mode: 0600, uid: 5, gid: 6}\n"


def test_expected_modes_and_owners_are_those_of_the_host(tmp_path):
    tests = (
        "tests:\n- {name: a, expect: {/etc/hostname: {mode: 0600, owner: 5:6}}}\n"
        "- {name: b, host: lxd, expect: {/etc/hostname: {mode: 0644, owner: 0:0}}}\n"
        "- {name: c, host: none, expect: {/etc/hostname: {mode: 0600}}}\n"
    )
    assert failures(an_image(tmp_path / "i", tests, rules=MODES)) == []


def test_modes_of_existing_files_are_kept(tmp_path):
    rules = MODES + "  /etc/once: {when: [create], template: hostname.tpl, create_only: true}\n"
    tests = (
        "defaults: {rootfs: {/etc/hostname: old}}\n"
        "tests:\n- {name: a, expect: {/etc/hostname: {mode: 0644}, /etc/once: {contains: c1}}}\n"
        "- {name: b, rootfs: {/etc/once: x}, expect: {/etc/once: {absent: true}}}\n"
        "- {name: c, rootfs: none, expect: {/etc/hostname: {mode: 0600}}}\n"
    )
    image = an_image(tmp_path / "i", tests, rules=rules)
    assert failures(image) == []
    (image / "rootfs" / "etc").mkdir(parents=True)
    (image / "rootfs" / "etc" / "once").write_text("here")
    (image / "tests" / "a.yaml").write_text("tests:\n- {name: a, expect: {/etc/once: {absent: true}}}\n")
    assert failures(image) == []


# --- errors

BROKEN = {"hostname.tpl": "{{ instance.name|uper }}", "other.tpl": "x"}
TWO_RULES = "  /etc/hostname: {when: [create], template: hostname.tpl}\n  /etc/other: {when: [create], template: other.tpl}\n"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("expect: {/etc/hostname: {error: uper}}", []),
        ("expect: {/etc/hostname: {error: true}}", []),
        ("error: unknown filter", []),
        ("error: nothing", ["2:20: the error does not contain 'nothing': unknown filter 'uper'"]),
        (
            "expect: {/etc/hostname: {error: lower}}",
            ["2:45: /etc/hostname: the error does not contain 'lower': unknown filter 'uper'"],
        ),
        ("expect: {/etc/other: {equals: x}}", ["2:10: /etc/hostname: unknown filter 'uper'"]),
        ("expect: {/etc/hostname: {equals: x}}", ["2:10: /etc/hostname: unknown filter 'uper'"]),
    ],
)
def test_a_test_fails_after_an_unexpected_error(body, found, tmp_path):
    image = an_image(tmp_path / "i", f"tests:\n- {{name: x, {body}}}\n", rules=TWO_RULES, templates=BROKEN)
    assert failures(image) == found


def test_error_on_one_host_affects_only_its_own_case(tmp_path):
    templates = {"hostname.tpl": "{{ 'a' + 'b' }}{{ x.0[1] }}"}
    tests = "tests:\n- {name: x, matrix: {host: [incus, lxd]}, expect: {/etc/hostname: {contains: a}}}\n"
    incus, lxd = run(an_image(tmp_path / "i", tests, templates=templates))
    assert incus.passed
    assert not lxd.passed


def test_a_test_can_expect_an_error_for_unreadable_metadata(tmp_path):
    tests = "tests:\n- {name: x, host: incus, error: second document}\n- {name: y, host: lxd, expect: {/etc/hostname: {contains: c1}}}\n"
    image = an_image(tmp_path / "i", tests)
    (image / "metadata.yaml").write_text((image / "metadata.yaml").read_text() + "---\na: b\n")
    assert failures(image) == []


def test_a_test_of_a_missing_image_gives_an_error(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "a.yaml").write_text("tests: [{name: a, snapshot: true}]")
    with pytest.raises(InputError, match=r"has no metadata.yaml"):
        run(tmp_path)


# --- regular expressions


@pytest.mark.parametrize("pattern", [r"(a*)*b", r"(a|a)*b", r"(a|aa)+$", r"(.*)(.*)(.*)(.*)(.*)x"])
def test_a_regular_expression_in_a_test_takes_linear_time(pattern, tmp_path):
    templates = {"hostname.tpl": "a" * 20_000}
    found = failures(an_image(tmp_path / "i", test(f"{{matches: '{pattern}'}}"), templates=templates))
    assert len(found) == ("$" not in pattern)


def test_a_regular_expression_above_the_work_limit_is_a_test_failure(tmp_path):
    templates = {"hostname.tpl": "a" * 200_000}
    found = failures(an_image(tmp_path / "i", test("{matches: 'a{1000}a{1000}b'}"), templates=templates))
    assert "in 200000 characters takes too long" in found[0]


# --- steps

STEPS = """tests:
- name: life
  instance: {name: web1}
  steps:
  - step: start
    expect: {/etc/hostname: {equals: "web1\\n"}}
  - c:user.role=db
  - step: restart
    expect: {/etc/hostname: {absent: true}}
  - copy=web2
  - step: web2:start
    expect: {/etc/hostname: {equals: "web2\\n"}}
"""


def test_each_step_of_a_test_has_its_own_expectations(tmp_path):
    assert failures(an_image(tmp_path / "i", STEPS)) == []


def test_a_test_fails_after_an_unexpected_error_in_a_step(tmp_path):
    tests = "tests:\n- {name: a, steps: [start, start]}\n- {name: b, steps: [start, {step: start, error: already running}]}\n"
    assert failures(an_image(tmp_path / "i", tests)) == ["2:28: 'c1' is already running"]


def test_the_failure_of_a_start_in_a_test_mentions_the_rule(tmp_path):
    tests = (
        "tests:\n- {name: a, steps: [start]}\n- {name: b, steps: [{step: start, error: uper}]}\n"
        "- {name: c, steps: [{step: start, expect: {/etc/hostname: {error: uper}}}]}\n"
    )
    image = an_image(tmp_path / "i", tests, rules=TWO_RULES, templates=BROKEN)
    assert failures(image) == ["2:21: /etc/hostname: unknown filter 'uper'"]


def test_a_test_step_cannot_read_files_outside_the_folder_of_tests(tmp_path):
    tests = {
        "a.yaml": "tests:\n- {name: a, steps: [p:files/p.yaml, start]}\n- {name: b, steps: [{step: 'p:../p.yaml', error: leads out}]}\n",
        "files/p.yaml": "name: p\nconfig: {user.a: x}\n",
    }
    assert failures(an_image(tmp_path / "i", tests)) == []
    with pytest.raises(RefusedError, match="leads out"):
        failures(an_image(tmp_path / "j", "tests:\n- {name: a, steps: ['c:user.a=@/etc/passwd']}\n"))


def test_a_test_step_cannot_open_another_image(tmp_path):
    tests = "tests:\n- {name: a, steps: ['rebuild=/etc', start]}\n"
    assert "can't open image" in failures(an_image(tmp_path / "i", tests))[0]


def test_virtual_machine_also_has_files_from_the_agent(tmp_path):
    tests = "tests:\n- {name: a, instance: {name: v, type: virtual-machine}, expect: {/etc/hostname: {contains: v}}}\n- {name: b, instance: {name: v, type: virtual-machine}, steps: [{step: start, expect: {/etc/hostname: {contains: v}}}]}\n"
    assert failures(an_image(tmp_path / "i", tests)) == []


# --- snapshots

SNAPSHOT = "tests:\n- {name: a, snapshot: true}\n"


def test_a_snapshot_is_first_recorded_and_then_compared(tmp_path):
    image = an_image(tmp_path / "i", SNAPSHOT)
    assert failures(image) == ["2:23: the snapshot 'snapshots/a/a.txt' is missing"]
    assert failures(image, update=True) == []
    recorded = image / "tests" / "snapshots" / "a" / "a.txt"
    assert recorded.read_text() == "==> /etc/hostname 0644 0:0\nc1\n"
    assert failures(image) == []
    (image / "templates" / "hostname.tpl").write_text("{{ instance.name }}.local\n")
    (outcome,) = run(image)
    assert outcome.failures[0].message == "the files differ from the snapshot"
    assert "-c1\n+c1.local\n" in outcome.failures[0].detail


def test_a_snapshot_of_several_steps_has_a_heading_for_each_step(tmp_path):
    image = an_image(
        tmp_path / "i", "tests:\n- {name: a, snapshot: true, steps: [start, restart, copy=c2, 'c2:start']}\n"
    )
    failures(image, update=True)
    assert (image / "tests" / "snapshots" / "a" / "a.txt").read_text() == (
        "### start\n\n==> /etc/hostname 0644 0:0\nc1\n\n### restart\n\n### copy=c2\n\n### c2:start\n\n"
        "==> /etc/hostname 0644 0:0\nc2\n"
    )


def test_snapshot_test_fails_if_rules_stop_writing_its_files(tmp_path):
    image = an_image(tmp_path / "i", SNAPSHOT)
    failures(image, update=True)
    metadata = image / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("[create, copy]", "[copy]"))
    assert failures(image) == ["2:23: the files differ from the snapshot"]
    assert failures(image, update=True) == []
    assert (image / "tests" / "snapshots" / "a" / "a.txt").read_text() == ""


def test_the_update_option_keeps_the_snapshot_of_an_unwritten_file(tmp_path):
    image = an_image(tmp_path / "i", test("{snapshot: true}"))
    failures(image, update=True)
    metadata = image / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("[create, copy]", "[copy]"))
    assert failures(image, update=True) == ["5:33: /etc/hostname: the file is not written"]
    assert (image / "tests" / "snapshots" / "a" / "x.txt").exists()


def test_a_snapshot_of_one_file_omits_the_other_files(tmp_path):
    rules = TWO_RULES
    templates = {"hostname.tpl": "one\n", "other.tpl": "two"}
    image = an_image(
        tmp_path / "i",
        "tests:\n- {name: a, expect: {/etc/other: {snapshot: true}}}\n",
        rules=rules,
        templates=templates,
    )
    failures(image, update=True)
    text = (image / "tests" / "snapshots" / "a" / "a.txt").read_text()
    assert text == "==> /etc/other 0644 0:0\ntwo\n\\ No newline at end of file\n"


def test_the_update_option_removes_unused_snapshots(tmp_path):
    image = an_image(tmp_path / "i", SNAPSHOT)
    failures(image, update=True)
    snapshots = image / "tests" / "snapshots" / "a"
    (snapshots / "old.txt").write_text("x")
    (snapshots / "notes.md").write_text("mine")
    failures(image, update=True)
    assert sorted(os.listdir(snapshots)) == ["a.txt", "notes.md"]


@pytest.mark.parametrize("data", [b"a\0b", b"\xff"])
def test_a_binary_snapshot_file_is_a_test_failure(data, tmp_path):
    image = an_image(tmp_path / "i", SNAPSHOT)
    failures(image, update=True)
    (image / "tests" / "snapshots" / "a" / "a.txt").write_bytes(data)
    assert failures(image) == ["2:23: the snapshot 'snapshots/a/a.txt' is binary"]
    assert failures(image, update=True) == []
    assert failures(image) == []


def test_a_binary_rendered_file_is_not_recorded_in_a_snapshot(tmp_path):
    image = an_image(tmp_path / "i", SNAPSHOT, templates={"hostname.tpl": "a\0"})
    expected = ["2:23: /etc/hostname: the file is binary, so it can't be in a snapshot"]
    assert failures(image, update=True) == expected
    assert not (image / "tests" / "snapshots").exists()


@pytest.mark.parametrize("place", ["snapshots", "snapshots/a", "snapshots/a/a.txt"])
def test_the_update_option_never_writes_through_a_link(place, tmp_path):
    image = an_image(tmp_path / "i", SNAPSHOT)
    outside = tmp_path / "outside"
    (outside / "a").mkdir(parents=True)
    (outside / "a.txt").write_text("untouched")
    link = image / "tests" / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(
        outside if place == "snapshots" else outside / "a" if place.endswith("a") else outside / "a.txt"
    )
    try:
        found = failures(image, update=True)
    except RefusedError as error:
        found = [error.message]
    assert found
    assert "is a symlink" in found[0]
    assert sorted(path.name for path in outside.rglob("*")) == ["a", "a.txt"]
    assert (outside / "a.txt").read_text() == "untouched"


# --- sources


def test_the_tests_option_selects_the_folder_of_tests_for_an_archive(tmp_path):
    image = an_image(tmp_path / "i", SNAPSHOT + "- {name: b, expect: {/etc/hostname: {contains: c1}}}\n")
    (image / "rootfs").mkdir()
    archive = tmp_path / "i.tar.xz"
    assert main(["image", "build", str(image), "-o", str(archive)]) == 0
    before = archive.read_bytes()
    with pytest.raises(UsageError, match="contains no tests") as caught:
        run(archive)
    assert caught.value.hint == "give the folder of the tests with --tests DIR"
    assert failures(archive, str(image / "tests"), update=True) == []
    assert failures(archive, str(image / "tests")) == []
    assert archive.read_bytes() == before


def test_the_image_build_command_does_not_pack_tests_into_an_archive(tmp_path):
    image = an_image(tmp_path / "i", SNAPSHOT)
    (image / "rootfs").mkdir()
    assert main(["image", "build", str(image), "-o", str(tmp_path / "i.tar.gz")]) == 0
    with tarfile.open(tmp_path / "i.tar.gz") as archive:
        assert not [name for name in archive.getnames() if "tests" in name]


def a_definition(folder: Path, name: str = "debian.yaml") -> Path:
    folder.mkdir(exist_ok=True)
    return Path(shutil.copy(ROOT / "sample-images" / "definitions" / "debian.yaml", folder / name))


def test_the_tests_of_a_definition_can_cover_several_builds(tmp_path):
    definition = a_definition(tmp_path / "d")
    tests = tmp_path / "d" / "tests" / "debian"
    tests.mkdir(parents=True)
    (tests / "a.yaml").write_text(
        "defaults: {options: {image.serial: s}}\ntests:\n- {name: a, expect: {/etc/hostname: {contains: c1}}}\n"
        "- {name: default, matrix: {options: [{image.variant: default}, {image.variant: cloud}]},"
        " expect: {/var/lib/cloud/seed/nocloud-net/meta-data: {absent: true}}}\n"
        "- {name: vm, instance: {type: virtual-machine}, expect: {/etc/hostname: {contains: c1}}}\n"
    )
    assert failures(definition) == [
        "4:151: /var/lib/cloud/seed/nocloud-net/meta-data: the file is written, but the test expects 'absent'"
    ]


def with_tests(definition: Path, text: str) -> Path:
    folder = definition.parent / "tests"
    folder.mkdir()
    (folder / "a.yaml").write_text(text)
    return definition


HOSTS_FILE = 'rootfs: {/etc/hosts: "127.0.1.1 distrobuilder\\n10.0.0.1 gw\\n"}'
OF_ROOTFS = f"""\
tests:
- {{name: assumed, expect: {{/etc/hosts: {{contains: localhost}}, /etc/hostname: {{contains: c1}}}}}}
- {{name: none, rootfs: none, expect: {{/etc/hosts: {{absent: true}}, /etc/hostname: {{absent: true}}}}}}
- name: hosts only
  {HOSTS_FILE}
  expect: {{/etc/hosts: {{equals: "127.0.1.1 c1\\n10.0.0.1 gw\\n"}}, /etc/hostname: {{absent: true}}}}
- {{name: same build, {HOSTS_FILE}, steps: [start, stop, {{step: rename=c2, expect: {{/etc/hostname: {{absent: true}}}}}}]}}
"""


def test_definition_is_built_with_root_filesystem_of_the_test(tmp_path):
    assert failures(with_tests(a_definition(tmp_path / "d"), OF_ROOTFS)) == []


def test_tests_without_a_rootfs_key_use_the_chosen_root_filesystem(tmp_path):
    text = "tests:\n- {name: a, expect: {/etc/hosts: {equals: c1!}, /etc/hostname: {absent: true}}}\n"
    definition = with_tests(a_definition(tmp_path / "d"), text)
    (tmp_path / "rootfs" / "etc").mkdir(parents=True)
    (tmp_path / "rootfs" / "etc" / "hosts").write_text("distrobuilder!")
    tests = Folder(str(definition.parent / "tests"))

    def failed(rootfs):
        with Session(str(definition), tests, Given(), choice=Choice(rootfs=rootfs)) as session:
            return [failure.message for each in session.run(read_cases(tests)) for failure in each.failures]

    assert failed(str(tmp_path / "rootfs")) == []
    assert failed("none") == ["/etc/hosts: no rule writes this file"]
    assert len(failed(None)) == 2
    with pytest.raises(InputError, match="no such file"):
        failed(str(tmp_path / "missing"))
    (tmp_path / "link").symlink_to("rootfs")
    with pytest.raises(RefusedError, match="symlink"):
        failed(str(tmp_path / "link"))


@pytest.mark.parametrize("rootfs", [None, "image"])
def test_an_image_is_tested_with_its_own_root_filesystem(tmp_path, rootfs):
    rules = MODES + "  /etc/once: {when: [create], template: hostname.tpl, create_only: true}\n"
    text = "tests: [{name: a, expect: {/etc/once: {absent: true}}}]\n"
    image = an_image(tmp_path / "i", text, rules=rules)
    (image / "rootfs/etc").mkdir(parents=True)
    (image / "rootfs/etc/once").write_text("here")
    tests = Folder(str(image / "tests"))
    with Session(str(image), tests, Given(), choice=Choice(rootfs=rootfs)) as session:
        assert [each.failures for each in session.run(read_cases(tests))] == [()]


def test_image_is_tested_with_root_filesystem_from_option(tmp_path):
    rules = MODES + "  /etc/once: {when: [create], template: hostname.tpl, create_only: true}\n"
    image = an_image(
        tmp_path / "i", "tests:\n- {name: a, expect: {/etc/once: {absent: true}}}\n", rules=rules
    )
    (tmp_path / "rootfs" / "etc").mkdir(parents=True)
    (tmp_path / "rootfs" / "etc" / "once").write_text("here")
    tests = Folder(str(image / "tests"))
    for rootfs, count in ((str(tmp_path / "rootfs"), 0), ("none", 1), (None, 1)):
        with Session(str(image), tests, Given(), choice=Choice(rootfs=rootfs)) as session:
            assert sum(len(each.failures) for each in session.run(read_cases(tests))) == count


def test_only_tests_of_definitions_may_have_the_options_key(tmp_path):
    tests = "tests:\n- {name: a, snapshot: true}\n- {name: b, options: {image.release: x}, snapshot: true}\n"
    with pytest.raises(UsageError, match="is for definitions"):
        run(an_image(tmp_path / "i", tests))


def test_pytest_finds_the_image_or_definition_of_a_test_file(tmp_path):
    image = an_image(tmp_path / "i", {"a.yaml": "", "files/b.yaml": ""})
    assert source_of(str(image / "tests" / "a.yaml")) == str(image)
    assert source_of(str(image / "tests" / "files" / "b.yaml")) is None
    assert source_of(str(image / "metadata.yaml")) is None
    one = a_definition(tmp_path / "d")
    assert source_of(str(tmp_path / "d" / "tests" / "a.yaml")) == str(one)
    assert source_of(str(tmp_path / "d" / "tests" / "debian" / "a.yaml")) == str(one)
    a_definition(tmp_path / "d", "other.yml")
    assert source_of(str(tmp_path / "d" / "tests" / "a.yaml")) is None
    assert source_of(str(tmp_path / "d" / "tests" / "other" / "a.yaml")) == str(tmp_path / "d" / "other.yml")


@pytest.mark.parametrize(
    "text", ["services: {}\n", "image:\n  repository: nginx\nfiles: []\n", "[", "\0", ""]
)
def test_an_unrelated_yaml_file_is_not_a_definition(text, tmp_path):
    (tmp_path / "values.yaml").write_text(text)
    (tmp_path / "tests").mkdir()
    assert source_of(str(tmp_path / "tests" / "a.yaml")) is None


def test_a_link_as_tests_folder_is_refused(tmp_path):
    image = an_image(tmp_path / "i", SNAPSHOT)
    (image / "tests").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="has no tests") as caught:
        folder_of(str(image))
    assert caught.value.hint == "docs/testing.md shows a first test"
    (image / "tests").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RefusedError, match="is a symlink"):
        folder_of(str(image))


# --- limits and validity


def test_all_test_cases_share_one_time_limit(tmp_path):
    given = Given()
    given.rendering["total"] = 0
    tests = Folder(str(an_image(tmp_path / "i", SNAPSHOT) / "tests"))
    with (
        Session(str(tmp_path / "i"), tests, given) as session,
        pytest.raises(
            LimitError, match=r"^rendering all templates together takes longer than 0 seconds$"
        ) as caught,
    ):
        session.run(read_cases(tests))
    assert caught.value.hint == "find the slow template, or allow ten minutes with --limit time=10m"


def test_a_test_case_shows_at_most_a_hundred_failures(tmp_path):
    words = ", ".join(f"word{number}" for number in range(500))
    templates = {"hostname.tpl": "a line of a file\n" * 1000}
    (outcome,) = run(
        an_image(tmp_path / "i", test(f"{{contains: [{words}], snapshot: true}}"), templates=templates)
    )
    assert len(outcome.failures) == MAX_FAILURES
    assert sum(len(failure.detail) for failure in outcome.failures) < 5000


def test_update_option_keeps_a_snapshot_despite_too_many_failures(tmp_path):
    words = ", ".join(f"word{number}" for number in range(200))
    image = an_image(tmp_path / "i", test(f"{{contains: [{words}], snapshot: true}}"))
    run(image, update=True)
    run(image, update=True)
    assert (image / "tests" / "snapshots" / "a" / "x.txt").exists()


@pytest.mark.slow
def test_the_check_of_expectations_stops_at_the_time_limit(tmp_path):
    """Each regular expression may take seconds, so the time is checked between them."""
    patterns = ", ".join(f"'(a|a)*x{number}'" for number in range(1000))
    templates = {"hostname.tpl": "a" * 100_000}
    image = an_image(tmp_path / "i", test(f"{{matches: [{patterns}]}}"), templates=templates)
    given = Given()
    given.rendering["total"] = 1
    tests = Folder(str(image / "tests"))
    with (
        Session(str(image), tests, given) as session,
        pytest.raises(LimitError, match="longer than 1 seconds"),
    ):
        session.run(read_cases(tests))


def test_a_snapshot_above_the_size_limit_is_a_test_failure(tmp_path):
    rules = "".join(f"  /etc/{number}: {{when: [create], template: hostname.tpl}}\n" for number in range(5))
    image = an_image(
        tmp_path / "i", SNAPSHOT, rules=rules, templates={"hostname.tpl": "0123456789abcde\n" * (1 << 17)}
    )
    assert failures(image, update=True) == ["2:23: the snapshot is larger than 8 MiB"]


def test_key_named_valid_finds_same_mistakes_as_check_command(tmp_path):
    tests = (
        "tests:\n- {name: a, instance: {name: web1}, valid: true}\n"
        "- {name: b, expect: {/etc/hostname: {valid: true}}, config: {user.a: 'a b'}}\n"
    )
    image = an_image(
        tmp_path / "i", tests, templates={"hostname.tpl": '{{ config_get("user.a", instance.name) }}\n'}
    )
    assert failures(image) == [
        "3:45: /etc/hostname: not valid: line 1: a hostname cannot contain ' ' [hostname]"
    ]


def test_the_key_named_valid_rejects_a_script_without_an_interpreter_line(tmp_path):
    image = an_image(
        tmp_path / "i", "tests:\n- {name: a, valid: true}\n",
        rules="  /usr/local/bin/a: {when: [create], template: a.tpl}\n",
        templates={"a.tpl": "{# the greeting #}\n#!/bin/sh\necho hello\n"},
    )  # fmt: skip
    (failure,) = failures(image)
    assert failure.endswith("the script does not begin with '#!', so the kernel cannot run it [first-line]")


def test_random_values_and_time_are_always_the_same(tmp_path):
    image = an_image(
        tmp_path / "i",
        "tests:\n- {name: a, expect: {/etc/hostname: {equals: '2001'}}}\n",
        templates={"hostname.tpl": '{% now "2006" %}'},
    )
    assert failures(image) == []


def test_the_key_named_valid_runs_every_check_of_rendered_files():
    """Add a new check of rendered files to ``CHECKS`` in templater/checks/checks_of_one_file.py."""
    from templater.checks import checks_of_one_file
    from templater.checks.run_checks import all_checks

    readers = {
        check.id
        for check in all_checks("authoring")
        if {"mistakes_of", "mistakes_in", "yaml_mapping"} & set(check.run.__globals__)
    }
    about_all = {"network-key", "first-line"}
    assert about_all <= checks_of_one_file.CHECKS <= readers | about_all
    missing = readers - checks_of_one_file.CHECKS
    assert not missing, "CHECKS in templater/checks/checks_of_one_file.py does not name them"


def test_many_expected_paths_without_a_rule_are_checked_in_linear_time(tmp_path, monkeypatch):
    """A search for a similar path takes milliseconds, so a run searches only some."""
    searched, cleaned = [], []
    monkeypatch.setattr(
        compare_with_expectations, "did_you_mean", lambda path, paths: searched.append(path) or "hint"
    )
    monkeypatch.setattr(compare_with_expectations, "cleaned", lambda path: cleaned.append(path) or path)
    expected = "".join(f"    /x/{number}: {{contains: a}}\n" for number in range(60))
    tests = "tests:\n" + "".join(f"- name: t{number}\n  expect:\n{expected}" for number in range(5))
    found = failures(an_image(tmp_path / "image", tests))
    assert len(found) == 300 and found[0].endswith("/x/0: no rule writes this file")
    assert len(searched) == compare_with_expectations.MAX_HINTS
    assert len(cleaned) == 5
