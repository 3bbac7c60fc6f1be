"""Whether a hook would run, and why not."""

import json
import os
import sys

import pytest

from templater.cli import main
from templater.hooks import install
from templater.hooks.runtimes import lxc, nspawn, oci, podman
from templater.instances.directory import State, StateDirectory

METADATA = "architecture: x86_64\ntemplates:\n  /etc/a:\n    when: [start]\n    template: a.tpl\n"


@pytest.fixture
def container(tmp_path):
    folder = tmp_path / "c1"
    (folder / "rootfs").mkdir(parents=True)
    (folder / "templates").mkdir()
    (folder / "templates/a.tpl").write_text("{{ container.name }}\n")
    (folder / "metadata.yaml").write_text(METADATA)
    (folder / "config").write_text(f"lxc.rootfs.path = dir:{folder}/rootfs\n")
    return folder


def wrong(findings) -> list[str]:
    return [finding.text for finding in findings if finding.ok is False]


def test_a_container_that_does_not_exist_would_not_run(tmp_path):
    (finding,) = lxc.status("nosuch", str(tmp_path))
    assert finding.ok is False
    assert "--path" in finding.hint


def test_a_container_without_the_line_would_not_run(container):
    assert "has no lxc.hook.pre-start" in wrong(lxc.status("c1", str(container.parent)))[0]


def installed(container):
    install.write(lxc.snippet("c1", [], str(container.parent)))
    return list(lxc.status("c1", str(container.parent)))


def test_a_line_that_is_cleared_below_would_not_run(container):
    assert not wrong(installed(container))
    with (container / "config").open("a") as config:
        config.write("lxc.hook.pre-start =\n")
    assert "has no lxc.hook.pre-start" in wrong(lxc.status("c1", str(container.parent)))[0]


def test_a_container_with_everything_would_run(container):
    assert not wrong(installed(container))


def test_what_is_owed_is_said(container):
    with StateDirectory(str(container)) as state_directory:
        state_directory.remember(State("copy", "c1"))
    assert any("runs copy, then start" in finding.text for finding in installed(container))


def test_an_interpreter_that_is_gone_is_said(container):
    installed(container)
    config = container / "config"
    config.write_text(config.read_text().replace(install.argv("lxc", [])[0], "/nosuch/python"))
    assert any("the hook line fails" in text for text in wrong(lxc.status("c1", str(container.parent))))


def test_a_template_that_does_not_compile_is_said(container):
    (container / "templates/a.tpl").write_text("{% nosuch %}")
    assert any("unknown tag 'nosuch'" in text for text in wrong(installed(container)))


def test_templates_are_compiled_in_the_dialect_of_the_line(container):
    (container / "templates/a.tpl").write_text('{{ config["user.a"] }}')
    assert not wrong(installed(container))
    install.write(lxc.snippet("c1", ["--dialect", "v4"], str(container.parent)))
    (text,) = wrong(lxc.status("c1", str(container.parent)))
    assert "can't be subscripted" in text


def test_a_container_without_a_root_filesystem_is_not_told_to_install_again(container):
    (container / "config").write_text("lxc.net.0.type = empty\n")
    (finding,) = [each for each in installed(container) if each.ok is False]
    assert "names no root filesystem" in finding.text
    assert "lxc.rootfs.path" in finding.hint


def test_a_stage_that_install_does_not_write_is_to_be_written_by_hand(container):
    (container / "config").write_text("lxc.rootfs.path = loop:/srv/c1.img\n")
    (before,) = lxc.status("c1", str(container.parent))
    assert "hook install lxc" in before.hint
    (finding,) = [each for each in installed(container) if each.ok is False]
    assert "has no lxc.hook.mount" in finding.text
    assert "line of lxc.hook.pre-start" in finding.hint


def test_an_image_that_is_missing_is_said(container):
    (container / "metadata.yaml").unlink()
    assert any("has no metadata.yaml" in text for text in wrong(installed(container)))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to change owners")
def test_a_map_that_contradicts_the_root_filesystem_is_said(container):
    config = container / "config"
    config.write_text(config.read_text() + "lxc.idmap = u 0 100000 65536\nlxc.idmap = g 0 100000 65536\n")
    assert any("the id map gives root" in text for text in wrong(installed(container)))


def test_podman_s_file_is_looked_at(tmp_path):
    assert wrong(podman.status("", str(tmp_path)))
    install.write(podman.snippet("", [], str(tmp_path)))
    assert not wrong(podman.status("", str(tmp_path)))


def test_a_bundle_is_looked_at(container):
    (container / "config.json").write_text(json.dumps({"root": {"path": "rootfs"}}))
    assert "has no hook that calls templater" in wrong(oci.status(str(container), ""))[0]
    install.write(oci.snippet(str(container), [], ""))
    assert not wrong(oci.status(str(container), ""))


def test_a_machine_is_looked_at(container, tmp_path):
    units = str(tmp_path / "units")
    assert wrong(nspawn.status("c1", units))
    install.write(nspawn.snippet("c1", ["--source", str(container)], units))
    assert not wrong(nspawn.status("c1", units))


def test_a_source_that_depends_on_the_directory_is_said(container):
    install.write(lxc.snippet("c1", ["--source", "some/image"], str(container.parent)))
    found = wrong(lxc.status("c1", str(container.parent)))
    assert found == ["'--source some/image' is a relative path, but hooks run in any directory"]


def test_the_command_writes_whole_paths(container, monkeypatch, capsys):
    monkeypatch.chdir(container.parent)
    words = ["hook", "install", "lxc", "c1", "-P", ".", "--source", "c1", "--allow", "c1", "--write"]
    assert main(words) == 0
    line = (container / "config").read_text()
    assert f"--source {container}" in line
    assert f"--allow {container}" in line
    monkeypatch.chdir("/")
    assert main(["hook", "status", "lxc", "c1", "-P", str(container.parent)]) == 0
    capsys.readouterr()


def test_it_is_said_in_json_too(container, capsys):
    assert main(["hook", "status", "lxc", "c1", "-P", str(container.parent), "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)
    assert finding["ok"] is False
    assert "has no lxc.hook.pre-start" in finding["text"]
    assert finding["hint"] == f"templater hook install lxc c1 --path {container.parent} --write"


@pytest.mark.parametrize("runtime", ["lxc", "oci", "nspawn", "incus"])
def test_a_hook_says_how_it_is_used(runtime, capsys):
    assert main(["hook", runtime, "--help"]) == 0
    assert "--on-error fail|keep-going" in capsys.readouterr().out


def test_a_missing_hook_is_told_in_words(tmp_path):
    (finding,) = podman.status("", str(tmp_path))
    assert finding.text.endswith("is not a valid hook: no such file or directory")
    assert finding.hint == f"templater hook install podman --path {tmp_path} --write"


def test_a_line_of_an_earlier_templater_is_known_and_replaced(container):
    config = container / "config"
    old = f"lxc.hook.pre-start = {sys.executable} -I -S -c 'from templater.hooks.nosuch import main;main()' lxc\n"
    config.write_text(config.read_text() + old)
    assert wrong(lxc.status("c1", str(container.parent)))[0].startswith("the hook line fails")
    installed(container)
    assert old not in config.read_text()
    assert not wrong(lxc.status("c1", str(container.parent)))
