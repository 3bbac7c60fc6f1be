"""docs/automation.md is correct: it lists the keys of the printed JSON, and templater's exit codes."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from templater.cli.run_command_line import main
from templater.model import errors
from tests.cli.sessions import Stage
from tests.command_server import run_templater
from tests.recorded_daemon import error, incus, sync  # noqa: F401

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "automation.md").read_text()
#: for each heading of the page, the keys whose values other headings describe
INSIDE = {
    "a plan": {"changes": "a change", "agent": "a change", "cloud_init": "a prediction for cloud-init"},
    "the status of an instance": {"files": "the status of a file"},
    "the status of a file": {"recorded": "an entry of the record of written files", "error": "an error"},
    "a change": {"error": "an error", "host": "an outcome"},
    "a step of `simulate`": {"changes": "a change", "error": "an error"},
    "`audit`": {"findings": "a finding of `audit`"},
    "`check`": {"findings": "a finding of `check`", "suppressed": "a finding of `check`"},
    "a test run of `test`": {"cases": "a case of a test run"},
    "a case of a test run": {"failures": "a failure of a case"},
    "an image": {"files": "a file of an image", "rules": "a rule of an image"},
    "an explanation": {"files": "an explained file", "templates": "the names that a template reads"},
    "an explained file": {"lines": "a line of an explained file", "error": "an error"},
    "a line of an explained file": {"parts": "a part of a line"},
    "a part of a line": {"origins": "an origin", "because": "an origin"},
    "the names that a template reads": {"reads": "an origin"},
    "`diff` for the next start of a running instance": {"files": "a verdict on a file"},
    "a comparison": {
        "before": "a side of a comparison", "after": "a side of a comparison", "files": "a compared file",
    },
    "a compared file": {"before": "a change", "after": "a change"},
}  # fmt: skip
#: headings whose objects need a daemon
LIVE = {"`diff` for the next start of a running instance", "a verdict on a file"}
SAMPLES = "sample-images"
PRINTED = {
    "a plan": [
        *(f"preview {SAMPLES}/{name} --json" for name in ("alpine", "broken", "permissions")),
        f"preview {SAMPLES}/rocky-vm --vm --json",
        "preview null --json",
        "preview bytes --json",
        f"diff {SAMPLES}/debian-cloud rootfs --json",
        f"preview {SAMPLES}/alpine --instances all.json --json",
    ],
    "a change": ["apply sample-images/debian-cloud rootfs -t create --json"],
    "a step of `simulate`": [
        "simulate bytes create start --json",
        f"simulate {SAMPLES}/broken create start --json",
    ],
    "the status of an instance": [
        "status web1 -t create,start --json",
        f"status {SAMPLES}/broken --rootfs rootfs --json",
    ],
    "`audit`": [f"audit {SAMPLES}/broken --json", f"audit {SAMPLES}/alpine --json", "audit bytes --json"],
    "`check`": [
        f"check {SAMPLES}/broken {SAMPLES}/alpine bytes none --at-least info --json",
        "check bytes --as lxd,incus --json",
    ],
    "a test run of `test`": [
        f"test {SAMPLES}/alpine bytes none {SAMPLES}/openwrt --coverage --json",
    ],
    "an explanation": [
        f"explain {SAMPLES}/debian-cloud -i web1.yaml -p default.yaml -p web.yaml --json",
        f"explain {SAMPLES}/debian-cloud --reads --json",
        f"explain {SAMPLES}/broken --json",
        f"explain {SAMPLES}/alpine -t create,copy --json",
        f"explain {SAMPLES}/permissions -t create,start --json",
    ],
    "a comparison": [
        f"diff {SAMPLES}/debian-cloud --set user.meta-data=x --json",
        f"diff {SAMPLES}/alpine --against-image null --json",
    ],
    "an image": [f"image info {SAMPLES}/alpine --json", "image info image.tar.gz --json"],
    "a packed image": [
        "image build bytes -o again.tar.gz --json",
        "image export image.tar.gz out/ --json",
        "publish bytes -o published.tar.gz --json",
    ],
    "an edit": ["image set-property image.tar.gz os=b --json", "image set-property bytes os=b --json"],
    "a status check": ["hook status lxc nosuch --json"],
}


def documented():
    """Return the documented keys of each heading, and whether each key is optional."""
    found = {}
    for heading, text in re.findall(
        r"^### JSON keys of ([^(\n]+?)(?: \([^\n]*)?\n(.*?)(?=^##|\Z)", PAGE, re.M | re.S
    ):
        cells = re.findall(r"^\| (`.*?) \|", text, re.M)
        found[heading] = {
            key: bool(mark) for cell in cells for key, mark in re.findall(r"`(\w+)(\??)`", cell)
        }
    return found


def typed(folder, words):
    done = run_templater(words.split(), cwd=folder)
    assert done.stdout, done.stderr
    if "--instances" in words:
        return [json.loads(line) for line in done.stdout.splitlines()]
    value = json.loads(done.stdout)
    return value if isinstance(value, list) else [value]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("automation")
    Stage.set_up(folder)
    subprocess.run(["cp", "-a", f"{SAMPLES}/debian-cloud/rootfs", "rootfs"], cwd=folder, check=True)
    for name, text in (("null", "null\n"), ("bytes", "architecture: x86_64\ncreation_date: 1\n")):
        (folder / name / "templates").mkdir(parents=True)
        (folder / name / "rootfs").mkdir()
        (folder / name / "metadata.yaml").write_text(text)
    with (folder / "bytes/metadata.yaml").open("a") as file:
        deep = "/d" * 30
        file.write(
            f"properties: {{os: a}}\ntemplates: {{/a: &a {{when: [start], template: a.tpl}}, {deep}: *a}}\n"
        )
    (folder / "bytes/templates/a.tpl").write_bytes(b"\xff")
    (folder / "bytes/tests").mkdir()
    (folder / "bytes/tests/a.yaml").write_text(
        'tests: [{name: a, expect: {/a: {equals: "\\n"}, /aa: {equals: x}}}]'
    )
    (folder / "default.yaml").write_text("name: default\nconfig: {user.meta-data: b}\n")
    (folder / "web.yaml").write_text("name: web\nconfig: {user.meta-data: a}\n")
    (folder / "web1.yaml").write_text("name: web1\nconfig: {}\nprofiles: [default, web]\n")
    (folder / "all.json").write_text('[{"name": "a", "config": {}}, {"name": "b", "config": {}}]')
    typed(folder, "image build bytes -o image.tar.gz --json")
    subprocess.run(["cp", "-a", f"{SAMPLES}/alpine", "web1"], cwd=folder, check=True)
    run_templater(["trigger", "web1", "create", "--name", "web1"], cwd=folder)
    typed(folder, "apply web1 web1/rootfs -t create,start --json")
    return folder


def objects(heading, value, found):
    """Collect the objects that each heading describes."""
    found.setdefault(heading, []).append(value)
    for key, inner in INSIDE.get(heading, {}).items():
        inside = value.get(key) or []
        for each in inside if isinstance(inside, list) else [inside]:
            objects(inner, each, found)
    return found


@pytest.mark.slow
def test_the_documented_json_keys_equal_the_printed_json_keys(folder):
    found = {}
    for heading, commands in PRINTED.items():
        for words in commands:
            for value in typed(folder, words):
                objects(heading, value, found)
    said = documented()
    assert said.keys() - LIVE == found.keys()
    check_keys({heading: keys for heading, keys in said.items() if heading not in LIVE}, found)


def test_documented_and_printed_keys_of_running_instances_are_equal(incus, capfd):  # noqa: F811
    found = {}

    def diff():
        main(["diff", "incus:c1", "--json"])
        objects("`diff` for the next start of a running instance", json.loads(capfd.readouterr().out), found)

    incus.put_file("c1", "/etc/once", b"x")
    diff()
    incus.put_file("c1", "/etc/hostname", b"")
    data = incus.data("GET /1.0/instances/c1")
    for key in ("config", "expanded_config"):
        data[key] |= {"cloud-init.user-data": "#cloud-config", "volatile.apply_template": "create"}
    incus.put("GET /1.0/instances/c1", sync(data))
    incus.put("GET /1.0/instances/c1/metadata/templates?path=deep.tpl", (200, {}, b"{{ x|nosuch }}"))
    diff()
    del data["config"]["volatile.apply_template"]
    incus.put("GET /1.0/instances/c1", sync(data))
    for method in ("GET", "HEAD"):
        incus.put(f"{method} /1.0/instances/c1/files?path=/", error(403, "not authorized"))
    diff()
    said = {heading: keys for heading, keys in documented().items() if heading in LIVE}
    assert said["`diff` for the next start of a running instance"].pop(
        "newer_image"
    )  # tests/unit/live/test_newer_image.py has one
    check_keys(said, {heading: found[heading] for heading in LIVE})


def check_keys(said, found):
    """Compare documented keys with those of the objects under each heading."""
    for heading, keys in said.items():
        assert keys.keys() == set().union(*found[heading]), heading
        missing = {key for key in keys if any(key not in value for value in found[heading])}
        assert missing <= {key for key, mark in keys.items() if mark}, heading


def test_all_exit_codes_are_documented():
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.M)}
    kinds = [each for each in vars(errors).values() if isinstance(each, type)]
    assert told == {0, 1, 130} | {kind.exit_code for kind in kinds if issubclass(kind, errors.TemplaterError)}


@pytest.mark.slow
def test_a_failed_command_prints_nothing_to_standard_output(folder):
    done = run_templater(["preview", "nosuch", "--json"], cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr
