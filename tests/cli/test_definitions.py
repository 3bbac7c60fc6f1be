"""Definitions as SRC on the command line."""

import json
import shutil
from pathlib import Path

import pytest

from templater.definitions.choice import Choice
from templater.definitions.predicted_image import open_definition
from tests.command_server import run_templater

ROOT = Path(__file__).resolve().parents[2]
DEBIAN = str(ROOT / "sample-images/definitions/debian.yaml")
FIXED = ("-o", "image.serial=1")


def run(*words: str, code: int = 0, **options):
    done = run_templater([*map(str, words)], **options)
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.slow
def test_a_virtual_machine_instance_selects_the_build_for_virtual_machines(tmp_path):
    definition = tmp_path / "d.yaml"
    definition.write_text(
        "image: {distribution: a, architecture: x86_64}\nfiles:\n"
        "- {generator: template, name: vm, path: /vm, types: [vm]}\n"
        "- {generator: template, name: c, path: /c, types: [container]}\n"
    )
    instance = tmp_path / "web1.yaml"
    instance.write_text("name: web1\ntype: virtual-machine\n")

    def names(*words: str) -> set[str]:
        data = json.loads(run("preview", definition, *FIXED, "--json", *words).stdout)
        return {change["template"] for change in data["changes"]}

    assert names() == {"c.tpl"}
    assert names("--vm") == {"vm.tpl"}
    assert names("-i", instance) == {"vm.tpl"}


@pytest.mark.slow
def test_definition_build_respects_rootfs_option_but_not_diff_argument(
    tmp_path,
):
    definition = tmp_path / "d.yaml"
    definition.write_text(
        "image: {distribution: a, architecture: x86_64}\nfiles: [{generator: hostname, path: /etc/hostname}]\n"
    )
    (tmp_path / "root").mkdir()

    def paths(command: str, *words: object) -> list[str]:
        data = json.loads(run(command, definition, *words, *FIXED, "--json").stdout)
        return [each["path"] for each in data.get("changes", data.get("files"))]

    assert paths("preview") == ["/etc/hostname"]
    assert paths("preview", "--rootfs", "none") == paths("preview", "--rootfs", tmp_path / "root") == []
    assert paths("diff", tmp_path / "root") == ["/etc/hostname"], (
        "ROOTFS is that of an instance, not of the build"
    )


def test_one_command_accepts_both_meanings_of_the_o_option(tmp_path):
    run("preview", DEBIAN, *FIXED, "-o", tmp_path / "tree", "-o", "image.variant=cloud")
    assert (tmp_path / "tree/var/lib/cloud/seed/nocloud-net/meta-data").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("preview", "-o", "image.release=a"),
        ("check", "-o", "image.release=a"),
        ("image", "info", "-o", "image.release=a"),
        ("diff", "--set", "user.a=b", "-o", "image.release=a"),
        ("simulate", "-o", "image.release=a"),
    ],
)
def test_the_option_for_definition_fields_is_refused_for_an_image_directory(words):
    steps = ["start"] if words[0] == "simulate" else []
    done = run(*words, ROOT / "sample-images/alpine", *steps, code=2)
    assert "-o image.release=a is for definitions" in done.stderr


def test_the_all_variants_option_is_refused_for_a_directory():
    for command in ("preview", "check"):
        done = run(command, ROOT / "sample-images/alpine", "--all-variants", code=2)
        assert "--all-variants is for definitions" in done.stderr


def test_a_template_mistake_is_reported_at_its_position_in_the_definition(tmp_path):
    definition = tmp_path / "d.yaml"
    text = "image: {distribution: a, architecture: x86_64}\nfiles:\n- generator: template\n  name: t\n  path: /t\n"
    definition.write_text(text + "  content: |\n    fine\n    {{ a|uper }}\n")
    done = run("preview", definition, *FIXED, code=5)
    assert f"{definition}:8:10: unknown filter 'uper'" in done.stdout
    found = json.loads(run("check", definition, *FIXED, "--json", code=1).stdout)[0]["findings"]
    assert {(each["file"], each["line"], each["column"]) for each in found if each["check"] == "syntax"} == {
        (str(definition), 8, 10)
    }
    sarif = json.loads(run("check", definition, *FIXED, "--report", "sarif", code=1).stdout)
    regions = [
        result["locations"][0]["physicalLocation"]["region"]["startLine"]
        for result in sarif["runs"][0]["results"]
    ]
    assert regions == [each["line"] for each in found]


def test_every_finding_mentions_the_definition_and_never_a_generated_file(tmp_path):
    definition = tmp_path / "d.yaml"
    definition.write_text(
        "image: {distribution: a, architecture: x86_64, expiry: x}\nfiles:\n"
        "- {generator: cloud-init, name: user-data}\n"
        "- {generator: template, name: t, path: /etc/t, content: '{{ nosuch }}', template: {when: [boot]}}\n"
        "- {generator: template, name: t, path: ../t, template: {properties: {a: b}}}\n"
    )
    found = json.loads(run("check", definition, *FIXED, "--json", "--at-least", "info", code=1).stdout)[0]
    assert len(found["findings"]) > 5
    assert {each["file"] for each in found["findings"]} == {str(definition)}


def test_the_new_command_writes_the_predicted_image_of_a_definition(tmp_path):
    folder = tmp_path / "image"
    run("new", folder, "--from", DEBIAN, *FIXED, "-o", "image.variant=cloud")
    image = open_definition(DEBIAN, Choice(("image.serial=1", "image.variant=cloud")))
    for name, file in image.read_to_end().items():
        assert (folder / "templates" / name).read_bytes() == file.data
    assert (folder / "rootfs").is_dir()
    direct = json.loads(run("preview", DEBIAN, *FIXED, "-o", "image.variant=cloud", "--json").stdout)
    made = json.loads(run("preview", folder, "--rootfs", "none", "--json").stdout)

    def contents(data: dict) -> list:
        return [(change["path"], change["content"]) for change in data["changes"]]

    assert contents(made) == contents(direct)
    done = run("new", folder, "--from", DEBIAN, code=2)
    assert "exists" in done.stderr


def test_the_variants_of_a_definition_are_printed_as_one_json_list():
    plans = json.loads(run("preview", DEBIAN, *FIXED, "--all-variants", "--json").stdout)
    assert [plan["build"] for plan in plans] == [
        f"trixie amd64 {variant} {kind}" for variant in ("default", "cloud") for kind in ("container", "vm")
    ]


def test_the_diff_command_compares_two_definitions(tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text(Path(DEBIAN).read_text().replace("Debian trixie", "Debian 13"))
    done = run("diff", DEBIAN, *FIXED, "--against-image", other)
    assert "+c1: Debian 13, no role" in done.stdout


def test_the_explain_and_simulate_commands_can_read_a_definition():
    assert "user.role" in run("explain", DEBIAN, "/etc/motd", *FIXED).stdout
    assert "writes 3 files" in run("simulate", DEBIAN, *FIXED, "create", "start").stdout


def test_the_apply_command_refuses_a_definition(tmp_path):
    done = run("apply", DEBIAN, tmp_path, "-t", "create", code=3)
    assert "templater new" in done.stderr
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "content", [b"", b"\0", b"[", b"files: 1", b"image: {}", b"\xff\xfea", b"- a", b"&a [*a]"]
)
def test_an_invalid_definition_file_gives_one_clear_message(content, tmp_path):
    path = tmp_path / "d.yaml"
    path.write_bytes(content)
    for command in (("preview",), ("check",), ("image", "info")):
        done = run(*command, path, code=2)
        assert str(path) in done.stderr
        assert "Traceback" not in done.stderr


def test_a_definition_file_can_have_any_name(tmp_path):
    path = tmp_path / "debian"
    shutil.copy(DEBIAN, path)
    assert "hostname.tpl" in run("preview", path, *FIXED).stdout
