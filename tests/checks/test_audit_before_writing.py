"""Errors and warnings of commands that write an image."""

import tarfile
from pathlib import Path

import pytest

from templater.cli.run_command_line import main

FACTS = "architecture: x86_64\ncreation_date: 1\n"


def directory(folder: Path, metadata: str, **templates: str) -> str:
    (folder / "image/rootfs").mkdir(parents=True)
    (folder / "image/templates").mkdir()
    (folder / "image/metadata.yaml").write_text(metadata)
    for name, text in templates.items():
        (folder / f"image/templates/{name}").write_text(text)
    return str(folder / "image")


def packed(image: str, path: Path) -> str:
    with tarfile.open(path, "w") as tar:
        for name in ("metadata.yaml", "templates", "rootfs"):
            tar.add(f"{image}/{name}", name)
    return str(path)


def commands(image: str, folder: Path) -> list[list[str]]:
    """Each command that writes an image. `publish` itself adds the required facts."""
    return [
        ["image", "build", image, "-o", str(folder / "out.tar")],
        ["image", "export", image, str(folder / "out.tar")],
        ["image", "export", packed(image, folder / "packed.tar"), str(folder / "out.tar")],
        ["publish", image, "-o", str(folder / "out.tar")],
    ]


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ("creation_date: 1\n", "has no architecture"),
        ("architecture: foo\ncreation_date: 1\n", "unknown architecture 'foo'"),
        ("architecture: x86_64\n", "has no creation_date"),
        (
            FACTS + "templates: {/etc/a: }\n",
            "the entry for '/etc/a' is null: the daemons panic when they read it\n 3 | templates: {/etc/a: }\n   |             ^^^^^^\nhint: remove the entry, or set its 'when' and 'template'\n",
        ),
        (FACTS + "expiry_date: 253402300800\n", "expiry_date is after the year 9999"),
        (FACTS + "templates: {/etc/a: {when: start, template: a}}\n", "metadata.yaml:3:"),
    ],
)
def test_no_image_is_written_if_every_daemon_refuses_it(
    tmp_path: Path, metadata: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Recorded of Incus: imports without facts fail, and a null entry makes the start panic."""
    for words in commands(directory(tmp_path, metadata), tmp_path):
        if words[0] == "publish" and "templates" not in metadata:
            continue
        assert main(words) == 2, words
        assert says in capfd.readouterr().err
        assert not (tmp_path / "out.tar").exists()


def test_build_prints_the_audit_findings_as_warnings(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rules = (
        "templates:\n"
        "  /etc/a: {when: [create], template: a}\n"
        "  /etc/b: {when: [create], template: missing}\n"
        "  /etc/c: {when: [create], template: c}\n"
        "  /../d: {when: [create], template: a}\n"
    )
    image = directory(tmp_path, FACTS + rules, a="{{ 1|uper }}", c='{% include "x" %}')
    assert main(["audit", image]) == 1
    found = [line[10:].strip() for line in capfd.readouterr().out.splitlines() if line[0] != " "]
    for words in commands(image, tmp_path):
        assert main([*words, "--reuse"]) == 0
        warnings = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning: ")]
        if words[2].endswith("/image") and words[0] == "image":
            expected = [f"warning: {line.split(' ', 1)[1].strip()}".replace("  [", " [") for line in found]
            assert warnings == expected
        assert len(warnings) == len(found) >= 5


def test_duplicate_key_refused_only_by_incus_7_gives_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = directory(tmp_path, FACTS + "architecture: x86_64\n")
    assert main(["image", "build", image, "-o", str(tmp_path / "out.tar")]) == 0
    assert "warning: " in capfd.readouterr().err


def test_building_an_image_without_problems_gives_no_warnings(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = directory(tmp_path, FACTS + "templates: {/etc/a: {when: [create], template: a}}\n", a="x")
    for words in commands(image, tmp_path):
        assert main([*words, "--reuse"]) == 0
    assert "warning" not in capfd.readouterr().err


def test_a_published_image_is_readable_only_by_its_owner(tmp_path: Path) -> None:
    """The published image contains the container's password hashes and keys."""
    image = directory(tmp_path, FACTS)
    assert main(["publish", image, "-o", str(tmp_path / "out.tar")]) == 0
    assert main(["publish", image, "-o", str(tmp_path / "split.tar"), "--format", "split"]) == 0
    for name in ("out.tar", "split.tar", "split.tar.root"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_attack_81_a_build_refuses_a_property_with_a_nul(tmp_path, capfd):
    text = FACTS + 'properties: {os: Debian, "os\\0": Evil}\n'
    for words in commands(directory(tmp_path, text), tmp_path):
        assert main(words) == 3, words
        assert r"the property 'os\x00' contains a NUL" in capfd.readouterr().err
    assert not (tmp_path / "out.tar").exists()
