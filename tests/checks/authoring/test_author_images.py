"""Whole images: mistakes that real images shipped, templater.toml, archives and hostile images."""

import json
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from templater.checks.check_report import check_report
from templater.checks.fixes import fix_image
from templater.cli.run_command_line import main
from templater.model.errors import InputError
from templater.validators import runner
from templater.validators.runner import in_this_process
from tests.checks.authoring.authoring_builders import SEED
from tests.processor_time import ends_within

HEAD = "architecture: x86_64\ncreation_date: 1\n"
NETWORK = """version: 1
config:
- type: physical
  name: eth1
  subnets:
  - type: static
    ipv4: true
    address: 10.1.2.28/24
"""


@pytest.fixture
def image(tmp_path):
    """A function that writes an image's files and returns its directory."""

    def write(files: dict[str, str]) -> str:
        for name, text in files.items():
            path = tmp_path / "image" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return str(tmp_path / "image")

    return write


def found(path: str, **options) -> list[tuple[str, str, str]]:
    """Level, check and place of each finding, without the path of the image."""
    report = check_report(path, hosts=("incus", "lxd"), at_least="info", trusted=True, **options)
    return [
        (each["severity"], each["check"], each["place"].removeprefix(f"{path}/"))
        for each in report["findings"]
    ]


def rules(*lines: str) -> str:
    return HEAD + "templates:\n" + "".join(f"  {line}\n" for line in lines)


def test_a_link_in_place_of_a_template_is_found(image):
    path = image({"metadata.yaml": rules("/etc/a: {when: [create], template: a}"), "templates/b": "text\n"})
    Path(path, "templates/a").symlink_to("b")
    report = check_report(path, hosts=("incus", "lxd"), at_least="error", trusted=True)
    assert [each["message"] for each in report["findings"]] == ["template 'a' is a symlink: the start fails"]


def test_an_ubuntu_image_without_its_hostname_template_is_reported(image):
    """lxc-ci 769: distrobuilder skips its hostname generator, and each instance is called distrobuilder-…"""
    files = {
        "metadata.yaml": rules("/etc/hosts: {when: [create, copy, rename], template: hosts.tpl}"),
        "templates/hosts.tpl": "127.0.0.1\tlocalhost\n127.0.1.1\t{{ container.name }}\n",
        "rootfs/etc/hostname": "distrobuilder-8d2a7c7e-8c84-4a1f-8f3a-6d9a1d1c0f3b\n",
        "rootfs/etc/hosts": "127.0.0.1 localhost\n",
    }
    path = image(files)
    assert found(path) == [("error", "build-name", "rootfs/etc/hostname")]
    entry = "/etc/hostname: {when: [create, copy, rename], template: hostname.tpl}"
    fixed = {
        "metadata.yaml": files["metadata.yaml"] + f"  {entry}\n",
        "templates/hostname.tpl": "{{ container.name }}\n",
    }
    assert found(image(fixed)) == []


def test_invalid_ipv4_key_in_a_network_configuration_is_found(image):
    """lxd 5273: cloud-init rejects ``ipv4: true``, which the documentation of LXD recommended."""
    names = ("user-data", "meta-data", "network-config")
    path = image(
        {
            "metadata.yaml": rules(
                *(f"{SEED}/{name}: {{when: [create], template: {name}, mode: 0600}}" for name in names)
            ),
            "templates/user-data": "#cloud-config\n{}\n",
            "templates/meta-data": "instance-id: {{ container.name }}\n",
            "templates/network-config": NETWORK,
        }
    )
    assert found(path) == [("warning", "network-config", "templates/network-config:7:5")]
    image({"templates/network-config": NETWORK.replace("    ipv4: true\n", "")})
    assert found(path) == []


def test_a_windows_image_may_have_an_incomplete_cloud_init_seed(image):
    entry = f"{SEED}/meta-data: {{when: [create], template: t}}"
    files = {"metadata.yaml": rules(entry), "templates/t": "a: b\n"}
    path = image(files)
    assert found(path) == [("error", "nocloud", "metadata.yaml:4:3")]
    image({"metadata.yaml": files["metadata.yaml"] + "properties: {os: Windows}\n"})
    assert found(path) == []


MISTAKE = {
    "metadata.yaml": rules("/etc/motd: {when: [create], template: t}"),
    "templates/t": "{{ instance.nmae }}\n",
}


@pytest.mark.parametrize(
    "files",
    [
        {"templates/t": "{# templater: ignore unknown-field #}{{ instance.nmae }}a\n"},
        {"templates/t": "{# templater: ignore rename, unknown-field -#}\n{{ instance.nmae }}a\n"},
        {"templater.toml": '[[ignore]]\nid = "unknown-field"\n', "templates/t": "{{ instance.nmae }}a\n"},
        {
            "templater.toml": '[[ignore]]\nid = "unknown-field"\ntarget = "/etc/motd"\n',
            "templates/t": "{{ instance.nmae }}a\n",
        },
    ],
    ids=["comment", "comment with two ids", "configuration", "configuration with a target"],
)
def test_an_ignored_finding_is_suppressed_and_counted(image, files):
    path = image(MISTAKE | files)
    report = check_report(path, hosts=("incus",), trusted=True)
    assert [each["check"] for each in report["suppressed"]] == ["unknown-field"]
    assert {each["check"] for each in report["findings"]} <= {"unused-ignore"}


def test_unused_ignore_entry_is_reported_if_its_validator_ran(image):
    files = {
        "metadata.yaml": rules("/usr/bin/a: {when: [create], template: t}"),
        "templates/t": "{# templater: ignore shell #}#!/bin/sh\n",
    }
    path = image(files)
    assert "unused-ignore" not in {check for _, check, _ in found(path)}
    validators = in_this_process(anyway=True)
    assert "unused-ignore" in {check for _, check, _ in found(path, validators=validators)}
    assert validators.notes == []


@pytest.mark.parametrize(
    ("files", "place"),
    [
        ({"templates/t": "{# templater: ignore rename #}a\n"}, "templates/t:1:22"),
        ({"templates/t": "{# templater: ignore nonsense #}a\n"}, "templates/t:1:22"),
        ({"templates/t": "a\n", "templater.toml": '[[ignore]]\nid = "mode"\n'}, "templater.toml:2:1"),
        (
            {"templates/t": "a\n", "templater.toml": '[[ignore]]\nid = "rename"\ntarget = "/etc/other"\n'},
            "templater.toml:2:1",
        ),
    ],
)
def test_an_ignore_entry_without_a_matching_finding_is_a_warning(image, files, place):
    assert found(image(MISTAKE | files)) == [("warning", "unused-ignore", place)]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ('hots = ["lxd"]\n', "1:1", "unknown key 'hots'"),
        ('hosts = ["lxc"]\n', "1:1", "unknown host 'lxc'"),
        ('hosts = "lxd"\n', "1:1", "'hosts' must be a list of texts"),
        ('a b\n', "1:1", "invalid TOML"),
        ('hosts = []\n[severity]\nrename = "fatal"\n', "3:1", "unknown severity 'fatal'"),
        ('[severity]\nrenam = "info"\n', "2:1", "unknown check 'renam'"),
        ('[[ignore]]\nid = "rename"\n[[ignore]]\nid = "rename"\nwhy = "x"\n', "5:1", "unknown key 'why'"),
        ('[[ignore]]\ntarget = "/etc/motd"\n', "1:1", "an entry of 'ignore' has no id"),
        ('[[ignore]]\nid = 1\n', "2:1", "'id' must be a string"),
        ('ignore = 1\n', "1:1", "'ignore' must be a list of tables"),
        ("severity = 1\n", "1:1", "'severity' must be a table"),
    ],
)  # fmt: skip
def test_a_mistake_in_templater_toml_is_an_error_with_its_position(image, text, place, message):
    path = image(MISTAKE | {"templater.toml": text})
    with pytest.raises(InputError) as caught:
        check_report(path, hosts=(), trusted=True)
    assert caught.value.message.startswith(message)
    assert caught.value.span.place == f"{path}/templater.toml:{place}"


def test_hint_about_an_unknown_key_mentions_the_known_keys(image):
    with pytest.raises(InputError) as caught:
        check_report(image(MISTAKE | {"templater.toml": "x = 1\n"}), hosts=(), trusted=True)
    assert caught.value.message == "unknown key 'x'"
    assert caught.value.hint == "the known keys are hosts, instances, severity, ignore"


def test_a_directory_named_templater_toml_is_an_error(image):
    path = image(MISTAKE | {"templater.toml/a": ""})
    with pytest.raises(InputError, match=r"/templater.toml' is a directory, not a regular file"):
        check_report(path, hosts=(), trusted=True)


def test_templater_toml_can_have_exactly_1_mib(image):
    text = 'hosts = ["lxd"]\n#'
    check_report(image(MISTAKE | {"templater.toml": text.ljust(1 << 20, "x")}), hosts=(), trusted=True)
    with pytest.raises(InputError, match=r"templater\.toml' is larger than 1 MiB"):
        check_report(image({"templater.toml": text.ljust((1 << 20) + 1, "x")}), hosts=(), trusted=True)


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ('hots = ["lxd"]\n', "hots"), ('"hosts" \t= 5\n', '"hosts"'), ("'severity'=1\n", "'severity'"),
        ('[[ignore]]\nid = "rename"\n[[ignore]]\nid = 1\n', "id"), ("[ignore]\n", "ignore"),
    ],
)  # fmt: skip
def test_the_error_about_templater_toml_points_at_the_whole_key(image, text, marked):
    with pytest.raises(InputError) as caught:
        check_report(image(MISTAKE | {"templater.toml": text}), hosts=(), trusted=True)
    assert caught.value.span.text == marked


def test_templater_toml_can_set_the_hosts_and_instances_and_severities(image):
    text = 'hosts = ["lxd"]\ninstances = ["tests/web1.yaml"]\n[severity]\nhost-syntax = "info"\nrename = "error"\n'
    path = image(
        {
            "metadata.yaml": rules(
                "/etc/hostname: {when: [create], template: a}",
                "/etc/hosts: {when: [create, copy], template: b}",
            ),
            "templates/a": '{{ config["user.a"] }}\n',
            "templates/b": '127.0.1.1 {{ instance.name }}\n{% if config_get("user.a", "") == "x" %}bad\n{% endif %}',
            "tests/web1.yaml": "config:\n  user.a: x\n",
            "templater.toml": text,
        }
    )
    report = check_report(path, hosts=(), trusted=True)
    assert {each["check"] for each in report["findings"]} == {"syntax", "rename", "hosts"}
    assert "'web1'" not in report["findings"][0]["message"]


def test_configured_instances_are_checked_besides_the_built_in_instances(image):
    path = image(
        {
            "metadata.yaml": rules(
                "/etc/hosts: {when: [create, rename], template: a}",
                "/etc/fstab: {when: [create], template: b}",
                "/etc/a.json: {when: [create], template: c}",
            ),
            "templates/a": '{% if config_get("user.a", "") == "" %}bare\n{% endif %}127.0.0.1 localhost\n',
            "templates/b": '{% if config_get("user.b", "") %}set\n{% endif %}',
            "templates/c": '{"a": "{{ config_get("user.a", "") }}"}\n',
            "tests/web1.yaml": "config:\n  user.a: x\n",
            "templater.toml": 'instances = ["tests/web1.yaml"]\n',
        }
    )
    found = check_report(path, hosts=(), trusted=True, at_least="info")["findings"]
    assert {"hosts", "fstab", "json"} <= {each["check"] for each in found}


@pytest.mark.parametrize("name", ["../outside.yaml", "link.yaml", "/etc/passwd"])
def test_templater_toml_cannot_name_an_instance_outside_the_image(image, tmp_path, name):
    (tmp_path / "outside.yaml").write_text("config: {}\n")
    path = image(MISTAKE | {"templater.toml": f'instances = ["{name}"]\n'})
    (tmp_path / "image/link.yaml").symlink_to(tmp_path / "outside.yaml")
    with pytest.raises(Exception) as caught:
        check_report(path, hosts=(), trusted=True)
    assert "root:" not in str(caught.value)


def archive(path: str, target) -> str:
    with tarfile.open(target, "w") as tar:
        tar.add(path, ".")
    return str(target)


def test_templater_toml_in_an_archive_is_ignored_by_default(image, tmp_path, capsys):
    path = image(MISTAKE | {"templater.toml": '[[ignore]]\nid = "unknown-field"\n'})
    packed = archive(path, tmp_path / "image.tar")
    assert main(["check", packed]) == 1
    assert "[unknown-field]" in capsys.readouterr().out
    assert main(["check", packed, "--trust-config"]) == 0
    assert "1 ignored" in capsys.readouterr().err


@pytest.mark.parametrize("packed", [False, True], ids=["directory", "archive"])
@pytest.mark.slow
def test_the_reports_in_text_and_json_mention_each_missing_validator(
    image, tmp_path, monkeypatch, capsys, packed
):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("TEMPLATER_CLOUD_INIT_SCHEMAS", str(tmp_path / "empty"))
    names = ("user-data", "meta-data")
    entries = [f"{SEED}/{name}: {{when: [create], template: {name}, mode: 0600}}" for name in names]
    contents = {"user-data": "#cloud-config\nlocale: C\n", "meta-data": "a: b\n"}
    files = {f"templates/{name}": text for name, text in contents.items()}
    path = image({"metadata.yaml": rules(*entries), **files})
    path = archive(path, tmp_path / "image.tar") if packed else path
    assert main(["check", path]) == 0
    written = capsys.readouterr().err
    assert "nothing found; cloud-init's schemas did not validate all files\n" in written
    assert "note: validator not installed: cloud-init's schemas" in written
    assert main(["check", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["not_validated"] == ["cloud-init's schemas"]
    assert main(["check", path, "--json", "--no-run-validators"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["not_validated"] == []


def test_the_audit_command_disregards_ignore_comments_and_templater_toml(image, capsys):
    files = {
        "metadata.yaml": rules("/etc/motd: {when: [create], template: t}"),
        "templates/t": '{# templater: ignore language #}{% include "/etc/passwd" %}',
        "templater.toml": '[[ignore]]\nid = "unknown-field"\nnonsense = 1\n',
    }
    assert main(["audit", image(files)]) == 1
    assert "language" in capsys.readouterr().out


def test_the_image_build_command_packs_neither_templater_toml_nor_tests(image, tmp_path):
    path = image(MISTAKE | {"templater.toml": "", "tests/web1.yaml": "config: {}\n", "rootfs/etc/motd": ""})
    target = tmp_path / "built.tar"
    assert main(["image", "build", path, "-o", str(target), "--compression", "none"]) == 0
    with tarfile.open(target) as tar:
        names = {member.name.partition("/")[0] for member in tar}
    assert names == {"metadata.yaml", "templates", "rootfs"}


HOSTILE = {
    "endless": "{% for a in config_get %}{% endfor %}{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "long loop": '{% for a in "'
    + "x" * 5000
    + '" %}{% for b in "'
    + "x" * 5000
    + '" %}{{ a }}{% endfor %}{% endfor %}',
    "deep YAML": "[" * 60_000,
    "deep JSON": "[" * 60_000 + "]" * 60_000,
    "aliases": "a: &a [x]\n"
    + "".join(f"a{n}: &a{n} [*a{n - 1 if n else ''}, *a{n - 1 if n else ''}]\n" for n in range(40)),
    "long number": "1" * 200_000,
    "control characters": "\0\x1b[31m\u202e\ud7ff",
    "comments": "{# templater: ignore " + "a " * 20_000 + "#}",
    "names": "{{ " + " }}{{ ".join(f"n{n}" for n in range(5000)) + " }}",
    "long lines": "a" * 300_000,
}
TARGETS = (
    "a.yaml",
    "a.json",
    "a.toml",
    "a.service",
    "hosts",
    "fstab",
    "hostname",
    "resolv.conf",
    "netplan/a.yaml",
)


@pytest.mark.slow
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_the_check_command_stays_within_its_limits_for_a_hostile_template(image, text, capsys):
    entries = [f"/etc/{name}: {{when: [create, start], template: t}}" for name in TARGETS]
    entries += [
        f"{SEED}/{name}: {{when: [create], template: t}}"
        for name in ("user-data", "meta-data", "network-config")
    ]
    path = image({"metadata.yaml": rules(*entries), "templates/t": text})
    with ends_within(30):
        assert main(["check", path, "--at-least", "info", "--as", "all"]) in (1, 4)
    written = capsys.readouterr().out
    assert "Traceback" not in written
    assert not set(written) & {"\x1b", "\0", "\u202e"}


@pytest.mark.slow
def test_thousands_of_rules_are_checked_within_the_limits(image):
    entries = [f"/etc/{n}.service: {{when: [create], template: t}}" for n in range(3000)]
    text = "{{ instance.name }} a b\n" * 30 + "{{ 1 }}{{ 2 }} x = y\n" * 2000
    path = image(
        {
            "metadata.yaml": rules(*(entry.replace("/etc/", "/etc/systemd/") for entry in entries)),
            "templates/t": text,
        }
    )
    with ends_within(30):
        report = check_report(path, hosts=("incus",))
    assert "systemd-unit" in {each["check"] for each in report["findings"]}


@pytest.mark.slow
def test_many_scripts_are_validated_within_the_limits(image, monkeypatch):
    monkeypatch.setattr(runner, "SECONDS", 3.0)
    files = {f"templates/t{n}": f"#!/bin/sh\n: {n}\n" for n in range(1000)}
    entries = [f"/bin/{n}: {{when: [create], template: t{n}}}" for n in range(1000)]
    path = image(files | {"metadata.yaml": rules(*entries)})
    validators = in_this_process(anyway=False)
    before = time.monotonic()
    report = check_report(path, hosts=("incus",), validators=validators)
    assert time.monotonic() - before < 20
    note, *_ = report["notes"]
    assert "because all validators together take longer than 3 s" in note


def test_validator_module_is_imported_only_if_it_is_needed(image):
    code = (
        "import sys\nfrom templater.cli.run_command_line import main\n"
        f"main(['check', {image(MISTAKE)!r}])\n"
        "print([n for n in sys.modules if n in ('jsonschema', 'templater.sandbox.validator_process')], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.endswith("[]\n")


@pytest.mark.slow
def test_the_many_findings_of_one_check_are_summarised_with_their_number(image):
    entries = [f"/proc/{n}: {{when: [create], template: t}}" for n in range(1000)]
    path = image({"metadata.yaml": rules(*entries), "templates/t": "a\n"})
    report = check_report(path, hosts=("incus",))
    assert len(report["findings"]) == 201
    assert "800 more findings of this kind" in {each["message"] for each in report["findings"]}


@pytest.mark.parametrize("report", ["json", "sarif", "gitlab"])
def test_a_report_of_the_check_command_is_valid_json(image, report, capsys):
    path = image(MISTAKE)
    shutil.copytree(path, f"{path}2")
    assert main(["check", path, f"{path}2", "--report", report]) == 1
    written = json.loads(capsys.readouterr().out)
    assert len(written["runs"] if report == "sarif" else written) == 2


def test_the_check_command_loads_no_network_code(image):
    code = (
        "import sys\nfrom templater.cli.run_command_line import main\n"
        f"main(['check', {image(MISTAKE)!r}])\n"
        "print(sorted({'requests', 'aiohttp', 'http.client'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.endswith("[]\n")


def test_a_rendered_yaml_file_with_many_directives_is_not_parsed(image):
    text = "".join(f"%TAG !a{number}! b\n" for number in range(101)) + "---\na: [\n"
    path = image({"metadata.yaml": rules("/etc/a.yaml: {when: [create], template: t}"), "templates/t": text})
    (found,) = (each for each in check_report(path, hosts=("incus",))["findings"] if each["check"] == "yaml")
    assert "the file has more than 100 '%TAG' directives, and was not checked" in found["message"]


def test_the_instances_in_templater_toml_cannot_be_read_from_an_archive(image, tmp_path):
    files = {"templater.toml": 'instances = ["tests/web1.yaml"]\n', "tests/web1.yaml": "config: {}\n"}
    packed = archive(image(MISTAKE | files), tmp_path / "image.tar")
    with pytest.raises(InputError) as caught:
        check_report(packed, hosts=(), trusted=True)
    assert (
        caught.value.message
        == "can't read 'tests/web1.yaml', which templater.toml names: the image is not a directory"
    )
    assert caught.value.hint == "pass -i FILE"
    assert check_report(packed, hosts=())["findings"]


def test_the_error_about_a_missing_instance_file_mentions_templater_toml(image):
    path = image(MISTAKE | {"templater.toml": 'instances = ["tests/web1.yaml"]\n'})
    with pytest.raises(InputError) as caught:
        check_report(path, hosts=(), trusted=True)
    assert caught.value.message == f"'{path}/tests/web1.yaml' does not exist"
    assert caught.value.hint == "templater.toml names this file"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_misspelt_key_in_utf_16_metadata_is_not_corrected(image, tmp_path, encoding):
    path = image(MISTAKE)
    text = rules("/etc/motd: {when: [create], template: t, create-only: true}")
    (tmp_path / "image/metadata.yaml").write_bytes(text.encode(encoding))
    done = fix_image(path, hosts=("incus",))
    assert done.report["notes"] == []
    fixed = done.changes.get("metadata.yaml")
    assert (fixed is None) is (encoding == "utf-16")
    assert fixed is None or b"create_only: true" in fixed[1]
