"""Small images that once kept `check` busy for minutes, or made it hold gigabytes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from templater.checks.authored_image import SEARCHED
from templater.checks.check_report import judge
from templater.checks.ignores import MAX_COMMENTS, Ignores
from templater.checks.image_scanner import scan_image
from templater.checks.run_checks import MAX_FINDINGS
from templater.checks.templater_toml import (
    MAX_IGNORES,
    WANTED,
    Configuration,
    described,
    read_configuration,
    with_configuration,
)
from templater.cli.run_command_line import main
from templater.model.errors import LimitError
from templater.model.metadata import UNCOUNTED
from templater.model.source import Source
from templater.parsing.toml_text import MAX_PARTS
from tests.checks.authoring.authoring_builders import file, image
from tests.processor_time import ends_within


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    with ends_within(4):
        yield


def messages(path: str, text: str) -> list[str]:
    return [finding.message for finding in judge(file(path, text), Configuration()).findings]


@pytest.mark.parametrize(
    "key", ["a." * 20_000 + "a", "[" + "a." * 20_000 + "a]\nb", "b = {" + "'a' . " * 20_000 + "a"]
)
def test_a_dotted_toml_key_with_many_parts_is_refused(key: str) -> None:
    """`tomllib` keeps every prefix of a key: 40 kB needed 1.6 GB."""
    assert any(
        f"not checked: a key has more than {MAX_PARTS} parts" in each
        for each in messages("/etc/a.toml", key + " = 1\n")
    )
    with pytest.raises(LimitError, match=f"a key has more than {MAX_PARTS} parts"):
        read_configuration(Source("templater.toml", key + " = 1\n"))


def test_many_unclosed_ignore_comments_are_parsed_in_linear_time() -> None:
    """The parser read each opened comment to the end of its line: 10,000 comments took 8 seconds."""
    text = (
        "{% verbatim %}" + "{# templater: ignore " * 50_000 + "{# templater: ignore mode #}{% endverbatim %}"
    )
    (comment,) = Ignores(file("/etc/a", text), Configuration()).comments.values()
    assert comment.id == "mode"


@pytest.mark.slow
def test_the_number_of_ids_in_ignore_comments_is_limited() -> None:
    """Each of 500,000 ids was a finding, so a check needed 1.1 GB."""
    found = messages("/etc/a", "{# templater: ignore " + " ".join(f"a{n}" for n in range(100_000)) + " #}x")
    assert f"{MAX_COMMENTS - MAX_FINDINGS} more ignore comments have no effect" in found
    assert f"the ignore comments contain more than {MAX_COMMENTS} ids: later ids have no effect" in found
    assert len(found) < MAX_FINDINGS + 10


def test_a_repeated_id_in_an_ignore_comment_gives_one_finding() -> None:
    found = messages("/etc/a", "{# templater: ignore " + "mode " * (MAX_COMMENTS // 2) + "#}x")
    assert found.count("'mode' matches no finding here: the comment has no effect") == 1


def test_templater_toml_with_many_blank_lines_is_read_in_linear_time() -> None:
    """The parser read from each blank line to the last blank line, and did so again for each entry."""
    text = "[[ignore]]\nid = 'mode'\n" + "\n" * 500_000
    (ignore,) = read_configuration(Source("templater.toml", text)).ignores
    assert ignore.at.line == 2


def test_one_search_finds_the_lines_of_all_configuration_entries() -> None:
    text = "ignore = [" + '{"i\\u0064" = "mode"}, ' * MAX_IGNORES + "]\n# " + "id" * 300_000
    ignores = read_configuration(Source("templater.toml", text)).ignores
    assert {ignore.at.place for ignore in ignores} == {"templater.toml:1:1"}


def test_the_number_of_instances_in_templater_toml_is_limited(tmp_path: Path) -> None:
    """templater.toml could name 100,000 instances. templater read and parsed each instance again."""
    (tmp_path / "a.yaml").write_text("name: c1\n")
    (tmp_path / "b.yaml").write_text("name: c1\n#" + "x" * 600_000)
    (tmp_path / "c.yaml").write_text("name: c1\n#" + "x" * 600_000)
    assert [instance.name for instance in described(str(tmp_path), ("a.yaml",))] == ["a"]
    with pytest.raises(LimitError, match="more than 50 instances"):
        described(str(tmp_path), tuple(f"{n}.yaml" for n in range(51)))
    with pytest.raises(LimitError, match="larger than 1 MiB in total"):
        described(str(tmp_path), ("a.yaml", "b.yaml", "c.yaml"))


@pytest.mark.slow
def test_an_instance_listed_twice_in_templater_toml_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n")
    (tmp_path / "a.yaml").write_text("name: c1\n")
    (tmp_path / "templater.toml").write_text('instances = ["a.yaml"' + ', "a.yaml"' * 100_000 + "]\n")
    image, _ = with_configuration(scan_image(str(tmp_path), heads=WANTED), (), (), None)
    assert len(image.added) == 1


BAD_HOSTS = "".join(f"bad{n:02}{{{{ instance.name }}}}\n" for n in range(20))


@pytest.mark.parametrize("line", ["{{" * 60_000 + "\n", "{{}}\n" * 20_000, "b{{}}" * 20_000])
@pytest.mark.slow
def test_the_search_for_a_wrong_line_takes_linear_time(line: str) -> None:
    """For each mistake, the search read each opened tag to the end of its line: 16 kB took a second."""
    hidden = "{% if 0 %}{% verbatim %}" + line + "{% endverbatim %}{% endif %}\n"
    found = judge(file("/etc/hosts", hidden + BAD_HOSTS), Configuration()).findings
    lines = {finding.span.text for finding in found if finding.check == "hosts" and finding.span is not None}
    assert "bad19{{ instance.name }}" in lines


def test_the_search_for_a_wrong_line_has_a_limit() -> None:
    """Above the limit, a mistake is reported at the position of its rule."""
    hidden = "{% if 0 %}{% verbatim %}" + "x" * (SEARCHED // 10) + "{% endverbatim %}{% endif %}\n"
    found = judge(file("/etc/hosts", hidden + BAD_HOSTS), Configuration()).findings
    names = [finding.span.source.name for finding in found if finding.check == "hosts" and finding.span]
    assert names.count("image/templates/t") == 9
    assert names.count("image/metadata.yaml") >= 11


@pytest.mark.slow
def test_many_unknown_triggers_of_one_rule_are_reported_in_linear_time() -> None:
    """The correction of the rule was computed again for each trigger: 2,000 triggers took 5 seconds."""
    when = ", ".join(f"x{n}" for n in range(20_000))
    found = judge(image(f"/etc/a: {{when: [{when}], template: t}}"), Configuration()).findings
    assert f"300 more findings of this kind; {UNCOUNTED}" in {finding.message for finding in found}


def test_fixing_templates_with_long_or_hidden_names_loses_no_file(tmp_path: Path) -> None:
    """Templates whose names begin alike shared a staged file.

    A template with the staged file's name was deleted.
    """
    long = "x" * 210
    texts = {f"{long}1": "one", f"{long}2": "two", "a.tpl": "three", ".a.tpl.templater-new": "four"}
    (tmp_path / "templates").mkdir()
    rules = "".join(f"  /{n}: {{when: [create], template: {name}}}\n" for n, name in enumerate(texts))
    (tmp_path / "metadata.yaml").write_text(f"architecture: x86_64\ncreation_date: 1\ntemplates:\n{rules}")
    for name, text in texts.items():
        (tmp_path / "templates" / name).write_text(text + " {{ instence.name }}\n")
    main(["check", str(tmp_path), "--fix"])
    found = {path.name: path.read_text() for path in (tmp_path / "templates").iterdir()}
    assert found == {name: text + " {{ instance.name }}\n" for name, text in texts.items()}


def test_a_long_target_does_not_widen_the_rows_of_other_targets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each row of `preview --as all` was padded to the longest row: 450 kB of metadata became 800 MB."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "a.tpl").write_text("x")
    rules = "".join(f"  /e{n}: {{when: [create], template: a.tpl}}\n" for n in range(50))
    rules += f"  ? /{'p' * 20_000}\n  : {{when: [create], template: a.tpl}}\n"
    (tmp_path / "metadata.yaml").write_text(f"architecture: x86_64\ncreation_date: 1\ntemplates:\n{rules}")
    main(["preview", str(tmp_path), "--as", "incus,lxd"])
    assert len(capsys.readouterr().out) < 80_000


def test_a_line_break_in_metadata_is_escaped_in_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "a.tpl").write_text("x")
    rule = '{when: [create, "a\\n::stop-commands::x"], template: a.tpl, "b\\n::c": 1}'
    (tmp_path / "metadata.yaml").write_text(
        f'architecture: x86_64\ncreation_date: 1\ntemplates:\n  /a: {rule}\n  "/b\\n::d": 1\n'
    )
    for command in ("check", "audit", "preview"):
        main([command, str(tmp_path)])
        shown = capsys.readouterr()
        assert "\n::" not in shown.out + shown.err


def test_a_slow_template_does_not_hide_the_findings_about_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("templater.checks.authored_image.MAX_SECONDS", -1.0)
    found = judge(image("/etc/a: {when: [boot], template: t}"), Configuration()).findings
    assert "unknown-when" in {finding.check for finding in found}
    assert any("not checked completely" in finding.message for finding in found)
