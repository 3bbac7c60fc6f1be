"""Fixes: what they change, that their findings disappear, and that they write nothing else."""

import os
import resource
import tarfile

import pytest

from templater.checks import fixes
from templater.checks.authored_image import AuthoredImage
from templater.checks.base import Fix
from templater.checks.check_report import judge
from templater.checks.finding import Finding, Severity
from templater.checks.fixes import FixedImage, fix, fix_image, key_of
from templater.checks.templater_toml import Configuration
from templater.checks.typos import ClosestWords, differ_by_one, only_candidate
from templater.cli.run_command_line import main
from templater.model.source import Source
from tests.checks.authoring.authoring_builders import file, image
from tests.checks.authoring.test_mistakes import CASES, name
from tests.processor_time import ends_within
from tests.unit.image.test_build_unpack import root_only

#: the checks of which some findings have a fix
FIXABLE = {
    "config-dots", "config-key", "copy", "crlf", "final-newline", "jinja", "map-order", "metadata-key", "missing-property",
    "mode",
    "nocloud-readable", "refused-import", "rename", "syntax", "trigger-comparison", "unknown-field", "unknown-variable",
    "unknown-when",
}  # fmt: skip


def findings_of(of: AuthoredImage) -> list:
    return judge(of, Configuration()).findings


def fixed(of: AuthoredImage, *, unsafe: bool = True) -> FixedImage:
    return fix(of, findings_of, lambda finding: unsafe or not finding.fix.unsafe)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=name(case), marks=pytest.mark.slow if number % 3 else ())
        for number, case in enumerate(CASES)
    ],
)
def test_a_fix_removes_the_finding_and_a_second_fix_changes_nothing(case):
    done = fixed(case[3])
    assert not {key_of(finding) for finding in done.fixed} & {
        key_of(each) for each in findings_of(done.image)
    }
    again = fixed(done.image)
    assert again.fixed == () and again.changes(done.image) == {}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=list(map(name, CASES)))
def test_the_fix_option_does_not_change_an_image_without_mistakes(case):
    right = case[4]
    if not any(finding.fix for finding in findings_of(right)):
        assert fixed(right).changes(right) == {}


def test_every_fixable_check_has_an_example():
    found = {finding.check for case in CASES for finding in findings_of(case[3]) if finding.fix}
    assert found == FIXABLE


MOTD = "/etc/motd: {when: [create], template: t}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{{ instnace.name }}\n{{ instnace.type }}\n", "{{ instance.name }}\n{{ instance.type }}\n"),
        ("{{ instance.nmae }}\n", "{{ instance.name }}\n"),
        ('{{ config.user.a.b|default:"x" }}\n', '{{ config_get("user.a.b", "")|default:"x" }}\n'),
        ('{{ config.get("user.a", "b") }}\n', '{{ config_get("user.a", "b") }}\n'),
        ('{{ config_get("user.user-dat", "") }}\n', '{{ config_get("user.user-data", "") }}\n'),
        ("{{ instance.name|uper }}{{ instance.name|lowr }}\n", "{{ instance.name|upper }}{{ instance.name|lower }}\n"),
        ("{% fro a in devices sorted %}{{ a }}{% endfor %}\n", "{% for a in devices sorted %}{{ a }}{% endfor %}\n"),
        ('{{ instance.name|default("x") }}\n', '{{ instance.name|default:"x" }}\n'),
        ("{{ instance.name }}", "{{ instance.name }}\n"),
        ("#!/bin/sh\r\necho\r\n", "#!/bin/sh\necho\n"),
        (
            "{% for a in devices sorted %}{{ loop.index }}{{ loop.first }}\n{% endfor %}\n",
            "{% for a in devices sorted %}{{ forloop.Counter }}{{ forloop.First }}\n{% endfor %}\n",
        ),
    ],
)  # fmt: skip
def test_a_safe_fix_changes_only_the_intended_text_of_a_template(before, after):
    wrong = image(MOTD, t=before)
    assert fixed(wrong, unsafe=False).changes(wrong) == {"templates/t": (before.encode(), after.encode())}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{% if trigger == "start" %}a{% endif %}\n', '{% if trigger|lower == "start" %}a{% endif %}\n'),
        ("{% for a, b in devices %}{{ a }}\n{% endfor %}", "{% for a, b in devices sorted %}{{ a }}\n{% endfor %}"),
    ],
)  # fmt: skip
def test_fix_that_changes_written_files_requires_unsafe_fixes_option(before, after):
    wrong = image(MOTD, t=before)
    assert fixed(wrong, unsafe=False).changes(wrong) == {}
    assert fixed(wrong).changes(wrong) == {"templates/t": (before.encode(), after.encode())}


@pytest.mark.parametrize(
    "template",
    [
        "{{ zzz.name }}\n",  # not close to a known name
        "{% set instnce = 1 %}{{ instnce }}{{ instnc }}\n",  # close to a name of the template's own, which wins
        "{{ config.color }}\n",  # the key is a guess
        '{{ config_get("user.hostname", "") }}{% if 1 -%}a{% endif -%}',  # the tag would remove the newline
        "{% for a in devices reversed %}{{ a }}\n{% endfor %}\n",
        '{{ instance.name|default(config_get("user.a", "")) }}\n',
        "{{ config.user[instance.name] }}\n",
    ],
)
def test_a_mistake_with_several_possible_corrections_is_not_fixed(template):
    wrong = image(MOTD, t=template)
    changes = fixed(wrong).changes(wrong)
    assert changes == {} or b"{{ instnce }}{{ instnce }}" in changes["templates/t"][1]


@pytest.mark.parametrize(
    ("written", "mode"),
    [
        ("4755", "04755"), ("420", "0644"), ("384", "0600"), ("493", "0755"), ("rw-r-----", "0640"),
        ("1777", "01777"), ('"416"', "0640"),
    ],
)  # fmt: skip
def test_a_mode_with_one_plausible_meaning_is_written_in_quotes(written, mode):
    wrong = image(f"/etc/motd: {{when: [create], template: t, mode: {written}}}")
    (change,) = fixed(wrong, unsafe=False).changes(wrong).values()
    assert f'mode: "{mode}"'.encode() in change[1]


@pytest.mark.parametrize("written", ["0044", "9", "rwx", "888888", "0644", "644", "511"])
def test_mode_is_changed_only_if_its_meaning_is_unambiguous(written):
    wrong = image(f"/etc/motd: {{when: [create], template: t, mode: {written}}}")
    assert fixed(wrong).changes(wrong) == {}


def test_several_fixes_of_one_rule_do_not_overwrite_each_other():
    wrong = image("/etc/hostname: {when: [create, copi], template: t}", t="{{ instance.name }}\n")
    assert b"when: [create, copy, rename]" in fixed(wrong).changes(wrong)["metadata.yaml"][1]


def test_unsafe_fix_of_stale_hostname_adds_missing_triggers():
    wrong = file("/etc/hostname", "{{ instance.name }}\n")
    done = fix(wrong, findings_of, lambda finding: finding.severity >= Severity.WARNING)
    assert [finding.check for finding in done.fixed] == ["copy"]
    assert b"when: [create, copy, rename]" in done.changes(wrong)["metadata.yaml"][1]
    assert not {"copy", "rename"} & {finding.check for finding in done.findings}
    assert fixed(wrong, unsafe=False).changes(wrong) == {}


def test_a_fix_is_not_applied_if_it_would_break_a_file():
    """A duplicate key is an error for Incus 7."""
    wrong = image("/etc/motd: {when: [create], create-only: true, create_only: true, template: t}")
    assert fixed(wrong).changes(wrong) == {}


def test_a_fix_without_effect_does_not_prevent_the_other_fixes():
    wrong = image(MOTD, "/etc/issue: {when: [create], template: u}", templates={
        "t": "{{ config.user[instance.name] }}{{ instnace.name }}\n", "u": "{{ instnace.name }}\n",
    })  # fmt: skip
    assert fixed(wrong).changes(wrong)["templates/u"][1] == b"{{ instance.name }}\n"


def test_an_ignored_finding_is_not_fixed():
    wrong = image(MOTD, t="{# templater: ignore unknown-variable #}{{ instnace.name }}\n")
    assert fixed(wrong).changes(wrong) == {}


def test_only_findings_of_the_chosen_severities_are_fixed():
    wrong = file("/etc/motd", "{{ instnace.name }}")
    done = fix(wrong, findings_of, lambda finding: finding.severity >= Severity.WARNING)
    assert done.changes(wrong)["templates/t"][1] == b"{{ instance.name }}"


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("abc", "abd", True), ("abc", "ab", True), ("ab", "abc", True), ("abc", "acb", True), ("abc", "abc", False),
        ("abc", "cba", False), ("abc", "abcde", False), ("", "a", True),
    ],
)  # fmt: skip
def test_words_that_differ_by_one_edit_are_similar(a, b, expected):
    assert differ_by_one(a, b) is expected and differ_by_one(b, a) is expected


def test_a_word_close_to_two_known_words_gets_no_suggestion():
    assert only_candidate("cat", ["car", "dog"]) == "car"
    assert only_candidate("cat", ["car", "bat"]) == ""


# directories

METADATA = """architecture: x86_64  # the machine
creation_date: 1
templates:
    /etc/motd:  # the greeting
        when: [create, strat]  # twice
        template: t
        mode: 420
"""
FIXED = METADATA.replace("strat", "start").replace("420", '"0644"')


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "image/templates").mkdir(parents=True)
    (tmp_path / "image/metadata.yaml").write_text(METADATA)
    (tmp_path / "image/templates/t").write_text("{{ instnace.name }}\r\n")
    return tmp_path / "image"


def test_diff_option_prints_fixes_without_writing_them(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder.parent)
    assert main(["check", "image", "--diff"]) == 1
    shown = capsys.readouterr()
    assert '-        mode: 420\n+        mode: "0644"\n' in shown.out
    assert "--- image/templates/t\n+++ image/templates/t\n" in shown.out
    assert shown.err == "image: would fix 3 findings (1 mode, 1 unknown-variable, 1 unknown-when)\n"
    assert (folder / "metadata.yaml").read_text() == METADATA


def test_the_fix_option_keeps_comments_and_file_modes_and_other_files(folder, capsys):
    (folder / "metadata.yaml").chmod(0o640)
    (folder / "templates/t").chmod(0o444)
    (folder / "rootfs").mkdir()
    before = (folder / "rootfs").stat().st_ctime_ns
    assert main(["check", str(folder), "--fix"]) == 0
    assert "fixed 3 findings" in capsys.readouterr().err
    assert (folder / "metadata.yaml").read_text() == FIXED
    assert (folder / "templates/t").read_bytes() == b"{{ instance.name }}\r\n"
    assert [path.stat().st_mode & 0o777 for path in (folder / "metadata.yaml", folder / "templates/t")] == [
        0o640,
        0o444,
    ]
    assert sorted(os.listdir(folder)) == ["metadata.yaml", "rootfs", "templates"]
    assert os.listdir(folder / "templates") == ["t"] and (folder / "rootfs").stat().st_ctime_ns == before
    times = [path.stat().st_mtime_ns for path in folder.rglob("*")]
    assert main(["check", str(folder), "--fix"]) == 0
    assert [path.stat().st_mtime_ns for path in folder.rglob("*")] == times


def test_the_fix_option_reports_the_remaining_findings(folder, capsys):
    (folder / "templates/t").write_text("{{ instnace.name }}{{ zzz }}\n")
    assert main(["check", str(folder), "--fix"]) == 1
    assert "[unknown-variable]" in (shown := capsys.readouterr().out) and "instnace" not in shown
    assert (folder / "templates/t").read_text() == "{{ instance.name }}{{ zzz }}\n"


@pytest.mark.parametrize("name", ["metadata.yaml", "templates/t"])
def test_the_fix_option_never_writes_through_a_link(folder, tmp_path, name, capsys):
    target = tmp_path / "target"
    (folder / name).rename(target)
    (folder / name).symlink_to(target)
    before = target.read_bytes()
    main(["check", str(folder), "--fix"])
    assert target.read_bytes() == before and (folder / name).is_symlink()


def test_the_fix_option_never_writes_through_a_linked_folder(folder, tmp_path, capsys):
    (folder / "templates").rename(tmp_path / "other")
    (folder / "templates").symlink_to(tmp_path / "other")
    main(["check", str(folder), "--fix"])
    assert (tmp_path / "other/t").read_text() == "{{ instnace.name }}\n"
    assert sorted(os.listdir(tmp_path / "other")) == ["t"]


@pytest.mark.parametrize("name", ["metadata.yaml", "templates/t"])
def test_fix_option_leaves_other_hard_links_unchanged(folder, tmp_path, name, capsys):
    other = tmp_path / "other"
    other.hardlink_to(folder / name)
    before = other.read_bytes()
    assert main(["check", str(folder), "--fix"]) == 0
    assert other.read_bytes() == before != (folder / name).read_bytes()


@pytest.mark.parametrize("what", ["content", "link", "folder"])
def test_fix_option_does_not_overwrite_a_concurrently_changed_file(
    folder, tmp_path, what, monkeypatch, capsys
):

    def fix_then_change(*arguments, **options):
        done = fix_image(*arguments, **options)
        if what == "content":
            (folder / "templates/t").write_text("mine")
        elif what == "link":
            (tmp_path / "target").write_text("mine")
            (folder / "templates/t").unlink()
            (folder / "templates/t").symlink_to(tmp_path / "target")
        else:
            (folder / "templates").rename(tmp_path / "target")
            (folder / "templates").symlink_to(tmp_path / "target")
        return done

    monkeypatch.setattr(fixes, "fix_image", fix_then_change)
    assert main(["check", str(folder), "--fix"]) in (3, 6)
    assert (folder / "metadata.yaml").read_text() == METADATA
    assert (folder / "templates/t").read_text() in ("mine", "{{ instnace.name }}\n")
    assert not [name for name in os.listdir(folder / "templates") if "templater-new" in name]
    assert "Traceback" not in capsys.readouterr().err


def test_an_unwritable_file_is_an_error_and_nothing_changes(folder, capsys):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        code = main(["check", str(folder), "--fix"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 6
    shown = capsys.readouterr()
    assert "can't change" in shown.err and "fixed" not in shown.err
    assert (folder / "metadata.yaml").read_text() == METADATA
    assert os.listdir(folder / "templates") == ["t"]


def test_an_image_in_an_archive_is_not_fixed(folder, tmp_path, capsys):
    with tarfile.open(tmp_path / "image.tar", "w") as tar:
        tar.add(folder, ".")
    before = (tmp_path / "image.tar").read_bytes()
    for option in ("--fix", "--diff"):
        assert main(["check", str(folder), str(tmp_path / "image.tar"), option]) == 3
        assert "is not a directory, so it can't be fixed" in capsys.readouterr().err
    assert (tmp_path / "image.tar").read_bytes() == before
    assert (folder / "metadata.yaml").read_text() == METADATA


def test_a_remote_image_is_not_fixed_and_not_fetched(capsys):
    assert main(["check", "https://127.0.0.1:1/image.tar.xz", "--fix"]) == 3
    assert "is not a directory, so it can't be fixed" in capsys.readouterr().err


def test_metadata_in_utf_16_is_fixed_in_its_encoding(folder, capsys):
    (folder / "metadata.yaml").write_text(METADATA, encoding="utf-16")
    main(["check", str(folder), "--fix"])
    text = (folder / "metadata.yaml").read_text(encoding="utf-16")
    assert "[create, start]" in text and "0644" in text


@root_only
def test_the_fix_option_keeps_the_owner_of_a_file(folder, capsys):
    os.chown(folder / "templates/t", 1234, 4321)
    assert main(["check", str(folder), "--fix"]) == 0
    status = (folder / "templates/t").stat()
    assert (status.st_uid, status.st_gid) == (1234, 4321)


@pytest.mark.slow
def test_the_fix_option_mentions_the_untried_fixes_after_its_time_limit(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(fixes, "MAX_SECONDS", 0.5)
    rules = "".join(f"  /etc/{n}:\n    when: [create]\n    template: t\n    mode: 420\n" for n in range(3000))
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/t").write_text("x\n")
    (tmp_path / "metadata.yaml").write_text(
        f"architecture: x86_64\ncreation_date: 1\nproperties: {{os: x}}\ntemplates:\n{rules}"
    )
    with ends_within(15):
        words = ["--fix", "--unsafe-fixes", "--no-run-validators", "--limit", "command-processor=1h"]
        main(["check", str(tmp_path), *words])
    assert "some fixes were not tried, because the time limit was reached" in capfd.readouterr().err


def test_edits_are_refused_if_they_overlap_an_earlier_edit():
    source = Source("t", "abcdefghij")

    def edit(start, end, text):
        return source.span(start, end), text

    edits = fixes._Edits()
    assert edits.add((edit(6, 8, "X"), edit(2, 3, "Y")))
    assert edits.add((edit(2, 3, "Y"), edit(4, 5, "Z")))  # one is equal to an earlier edit
    for start, end in ((1, 2), (3, 3), (3, 9), (5, 6), (7, 7), (8, 9), (0, 9)):
        assert not edits.add((edit(start, end, "N"),)), (start, end)
    assert edits.add((edit(0, 1, ""), edit(9, 10, "!")))
    assert edits.edited().text == "bYdZfXi!"


def test_a_fix_is_refused_if_its_finding_remains():
    wrong = image(MOTD, t='{{ x|default("{{") }}{{ instnace.name|default("a") }}\n')
    assert fixed(wrong).changes(wrong) == {}


def edit_of(of: AuthoredImage, text: str, new: str, check: str = "syntax") -> Finding:
    """A finding whose fix replaces a text of the template ``t``."""
    source = of.templates["t"].source("image/templates/t")
    start = source.text.index(text)
    span = source.span(start, start + len(text))
    return Finding(check, Severity.ERROR, f"'{text}' is wrong", span, "", fix=Fix(((span, new),)))


def test_fixes_are_left_out_only_if_they_break_the_file():
    wrong = image(MOTD, t="one two three four\n")
    edits = {"one": "1", "two": "{% broken %}", "three": "3", "four": "4"}

    def judged(of: AuthoredImage) -> list[Finding]:
        text = of.templates["t"].data.decode()
        found = [edit_of(of, word, new, "mode") for word, new in edits.items() if word in text]
        return found + ([edit_of(of, "broken", "")] if "broken" in text else [])

    done = fix(wrong, judged, lambda finding: finding.check == "mode")
    assert done.image.templates["t"].data == b"1 two 3 4\n"
    assert len(done.fixed) == 3 and not done.late


def test_a_fix_without_effect_on_its_finding_is_tried_only_once():
    wrong = image(MOTD, t="one two\n")
    calls = []

    def judged(of: AuthoredImage) -> list[Finding]:
        calls.append(of)
        text = of.templates["t"].data.decode()
        found = [edit_of(of, "two", "2", "mode")] if "two" in text else []
        source = of.templates["t"].source("image/templates/t")
        return [
            *found,
            Finding("copy", Severity.ERROR, "stays", source.span(0), "", fix=Fix(((source.span(0), "x"),))),
        ]

    done = fix(wrong, judged, lambda finding: True)
    assert done.image.templates["t"].data == b"one 2\n"
    assert [finding.check for finding in done.fixed] == ["mode"]
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("word", "known", "found"),
    [
        ("nmae", ["name", "mode", "n" * 61], "name"), ("zzz", ["name"], ""), ("nmae", [], ""), ("zzzz", ["name", "zzzy"], "zzzy"),
        ("nmae", ["name", *map(str, range(99))], "name"), ("nmae", ["name", *map(str, range(100))], ""),
        ("a" * 60, ["a" * 59], "a" * 59), ("a" * 61, ["a" * 60], ""), ("a" * 60, ["a" * 61], ""), ("a" * 59, ["a" * 60], "a" * 60),
    ],
)  # fmt: skip
def test_word_is_compared_with_at_most_100_known_words(word, known, found):
    assert ClosestWords().find(word, known) == found


def test_only_the_first_20_unknown_words_are_compared_with_known_words():
    words = ClosestWords()
    assert [words.find("nmae", ["name"]) for _ in range(21)] == ["name"] * 20 + [""]
