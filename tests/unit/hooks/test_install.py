"""`hook install`: the text written into each runtime's configuration."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from templater.cli.run_command_line import main
from templater.hooks import install
from templater.hooks.runtimes import incus, lxc, nspawn, oci, podman
from templater.model.errors import InputError, UsageError, WriteError


def test_repeated_installation_writes_one_lxc_line_per_stage(
    tmp_path,
):
    config = tmp_path / "c1/config"
    config.parent.mkdir()
    config.write_text("lxc.uts.name = c1\nlxc.hook.pre-start = /bin/mine")
    first = lxc.snippet("c1", ["--source", "/old"], str(tmp_path))
    assert install.write(first) is True
    second = lxc.snippet("c1", ["--source", "/new one"], str(tmp_path))
    assert install.write(second) is True
    assert install.write(second) is False
    lines = config.read_text().splitlines()
    assert lines[:2] == ["lxc.uts.name = c1", "lxc.hook.pre-start = /bin/mine"]
    ours = [line.split(" = ")[0] for line in lines[2:]]
    assert ours == ["lxc.hook.pre-start", "lxc.hook.clone", "lxc.hook.destroy"]
    words = shlex.split(lines[-1].partition(" = ")[2])
    assert words[-3:] == ["--source", "/new one", "--"]


@pytest.mark.parametrize("mark", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_installing_the_lxc_hook_removes_the_whole_old_line(tmp_path, mark):
    """LXC ends lines only at line feeds. Part of a value was removed, and the next setting joined the value."""
    config = tmp_path / "c1/config"
    config.parent.mkdir()
    line = f"lxc.environment = A=b{mark}from templater_hook import b"
    config.write_text(f"lxc.environment = A=b{mark}c\n{line}\nlxc.cap.drop = sys_admin\n", newline="")
    install.write(lxc.snippet("c1", [], str(tmp_path)))
    with config.open(newline="") as file:
        assert file.read().startswith(f"lxc.environment = A=b{mark}c\nlxc.cap.drop = sys_admin\nlxc.hook")


def test_the_install_command_reports_an_unwritable_file():
    """The kernel lets no one, not even root, create files in /proc."""
    with pytest.raises(WriteError, match=r"can't write '/proc/templater\.json'"):
        install.write(podman.snippet("", [], "/proc"))


@pytest.mark.parametrize("package", ["no_such_package", "this"])  # `this` is a module without a directory
def test_the_install_command_mentions_a_missing_python_package(package, monkeypatch):
    monkeypatch.setattr(install, "PACKAGES", ("templater", package))
    with pytest.raises(InputError) as error:
        install.search_path()
    assert str(error.value) == f"{sys.executable} can't find the package '{package}'"


def test_the_install_command_reports_a_missing_container(tmp_path):
    with pytest.raises(InputError):
        install.write(lxc.snippet("c1", [], str(tmp_path)))


def test_hooks_of_other_programs_in_config_json_are_kept(tmp_path):
    config = tmp_path / "config.json"
    other = {"path": "/bin/other", "args": ["other"]}
    config.write_text(
        json.dumps({"ociVersion": "1.2.0", "hooks": {"createRuntime": [other]}, "x": [1, 2.5, None]})
    )
    snippet = oci.snippet(str(tmp_path), [], "")
    assert install.write(snippet) is True
    assert install.write(snippet) is False
    after = json.loads(config.read_text())
    assert after["hooks"]["createRuntime"][0] == other
    (ours,) = after["hooks"]["createRuntime"][1:]
    assert ours["path"] == ours["args"][0]
    assert ours["timeout"] > 60
    assert after["x"] == [1, 2.5, None]


@pytest.mark.parametrize("failure", [None, OSError(), subprocess.TimeoutExpired("", 60)])
@pytest.mark.parametrize("runtime", ["lxc-template", "podman", "nspawn"])
def test_the_install_command_compiles_the_hook_modules(runtime, failure, tmp_path, monkeypatch):
    """The hooks of containers don't write compiled modules."""
    started = []

    def run(words, **_):
        started.append(words[-1])
        if failure is not None:
            raise failure

    monkeypatch.setattr(install.subprocess, "run", run)
    assert main(["hook", "install", runtime, "--path", str(tmp_path)]) == 0
    assert started == ["--probe"]
    assert main(["hook", "install", runtime, "--path", str(tmp_path), "--write"]) == 0
    assert started == ["--probe"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["podman", "nspawn"])
def test_the_install_command_says_whether_it_changed_the_file(runtime, tmp_path, capsys):
    words = ["hook", "install", runtime, "--path", str(tmp_path)]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert not os.listdir(tmp_path)
    assert main([*words, "--write"]) == 0
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert capsys.readouterr() == ("", f"{file}: written\n")
    assert file.read_text() == text
    assert main([*words, "--write"]) == 0
    assert capsys.readouterr() == ("", f"{file}: already up to date\n")


def test_podman_runs_the_hook_only_for_containers_with_templater_annotations(tmp_path):
    snippet = podman.snippet("", [], str(tmp_path / "hooks.d"))
    install.write(snippet)
    hook = json.loads((tmp_path / "hooks.d/templater.json").read_text())
    assert hook["when"] == {"annotations": {"^org\\.templater\\.": ".*"}}
    assert hook["stages"] == ["createRuntime"]


def test_the_podman_hook_cannot_be_installed_for_one_container():
    with pytest.raises(
        UsageError, match=r"^unexpected name 'web1': the file for podman is the same for all containers$"
    ):
        podman.snippet("web1", [], "")


def test_systemd_splits_the_installed_unit_line_into_the_intended_arguments():
    line = nspawn.unit_line(["/bin/x", "100%", "$HOME", "a b"])
    assert line == "/bin/x 100%% '$$HOME' 'a b'"


@pytest.mark.parametrize(
    ("text", "is_ignored"),
    [
        ("\x0b", False), ("\t", False), ("\x7f", False), ("\x85", False), ("\u2028", False), ("\xa0", False),
        ("é", False), ("\ufdcf", False), ("\ufffd", False), ("\ufdd0", True), ("\ufffe", True),
        ("\U0001fffe", True), ("\U0010ffff", True), ("\r", True), ("\udce9", True),
    ],
)  # fmt: skip
def test_a_unit_line_that_systemd_ignores_is_not_read(text, is_ignored):
    """The results are those of `systemd-analyze verify` (systemd 257) for a line with this text."""
    assert nspawn.is_ignored(f"/bin/x 'a{text}b'") is is_ignored
    assert nspawn.lines_of_unit(f"[Service]\nExecStartPre=/bin/x 'a{text}b'\n") == (
        [] if is_ignored else [f"/bin/x 'a{text}b'"]
    )


@pytest.mark.parametrize(
    ("runtime", "place"), [(oci, "JSON"), (podman, "JSON"), (incus, "a key of Incus")], ids=lambda each: ""
)
def test_a_json_hook_line_with_invalid_utf_8_is_not_installed(runtime, place, tmp_path):
    """Go's JSON decoder changed the path of a hook line to a different path, and the start failed."""
    name = str(tmp_path) if runtime is oci else ""
    assert runtime.snippet(name, ["--source", "/srv/imé"], "")
    with pytest.raises(UsageError, match=rf"^{place} can't contain bytes that are not UTF-8$"):
        runtime.snippet(name, ["--source", "/srv/im\udce9"], "")


def test_invalid_utf_8_in_a_json_hook_is_reported(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    for snippet, status, name in (
        (oci.snippet(str(tmp_path), ["--source", "/srv/imX"], ""), oci.status, str(tmp_path)),
        (podman.snippet("", ["--source", "/srv/imX"], str(tmp_path)), podman.status, ""),
    ):
        install.write(snippet)
        path = Path(snippet.file)
        path.write_text(path.read_text().replace("/imX", "/im\\udce9"))
        (found,) = status(name, str(tmp_path))
        assert found.ok is False and found.text.endswith(
            "bytes that are not UTF-8: the runtime would replace them"
        )


def test_systemd_variables_in_a_unit_line_are_expanded():
    line = nspawn.unit_line(["/bin/x", "100%i", "$$", "\\%i"])
    assert shlex.split(nspawn.words_of_unit(line, "web1")) == ["/bin/x", "100%i", "$$", "\\%i"]
    assert nspawn.words_of_unit("/bin/x /srv/%i %%i", "web1") == "/bin/x /srv/web1 %i"


@pytest.mark.parametrize("path", ["$LXC_ROOTFS_PATH/x", "%i/x", "x"])
def test_a_path_with_a_leading_variable_becomes_absolute(path, monkeypatch, tmp_path):
    """A hook line quotes all words, so no runtime expands a variable in a path."""
    monkeypatch.chdir(tmp_path)
    assert install.from_anywhere(path) == f"{tmp_path}/{path}"


def test_a_machines_own_drop_in_affects_no_other_machine(tmp_path):
    one = nspawn.snippet("m1", [], str(tmp_path))
    every = nspawn.snippet("", [], str(tmp_path))
    assert one.file.endswith("systemd-nspawn@m1.service.d/templater.conf")
    assert every.file.endswith("systemd-nspawn@.service.d/templater.conf")
    assert one.text.startswith("[Service]\nExecStartPre=") and one.text.endswith(" %i\n")
    assert "--if-present" in every.text and "--if-present" not in one.text


@pytest.mark.parametrize(
    "hooks", ["null", '{"createRuntime": null}', '{"poststop": [{"path": "/x", "args": null}]}']
)
def test_the_install_command_treats_null_hooks_in_config_json_as_absent(tmp_path, hooks):
    (tmp_path / "config.json").write_text(f'{{"ociVersion": "1.0.2", "hooks": {hooks}}}')
    assert [finding.ok for finding in oci.status(str(tmp_path), "")] == [False]
    assert install.write(oci.snippet(str(tmp_path), [], ""))
    assert next(oci.status(str(tmp_path), "")).ok


@pytest.mark.parametrize("hooks", ["5", '{"createRuntime": {}}', "[1]"])
def test_the_install_command_reports_invalid_hooks_in_config_json(tmp_path, hooks):
    (tmp_path / "config.json").write_text(f'{{"ociVersion": "1.0.2", "hooks": {hooks}}}')
    assert [finding.ok for finding in oci.status(str(tmp_path), "")] == [False]
    with pytest.raises(InputError, match="invalid hooks in"):
        install.write(oci.snippet(str(tmp_path), [], ""))


def test_a_number_too_large_for_a_float_is_refused(tmp_path):
    """1e999 became Infinity, and the bundle no longer started."""
    (tmp_path / "config.json").write_text('{"a": 1e999}')
    with pytest.raises(InputError, match=r"^'.*' has a number that is too large for a float$"):
        install.write(oci.snippet(str(tmp_path), [], ""))
    assert (tmp_path / "config.json").read_text() == '{"a": 1e999}'


def test_an_oci_hook_replaces_the_hook_of_another_stage(tmp_path):
    """The hooks of both stages ran: one hook with the old options, and one with the new options."""
    other = {"path": "/bin/true", "args": ["true"]}
    config = {"hooks": {"createRuntime": [other], "poststop": [other]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    install.write(oci.snippet(str(tmp_path), ["--on-error", "keep-going"], ""))
    install.write(oci.snippet(str(tmp_path), ["--in-place"], ""))
    hooks = json.loads((tmp_path / "config.json").read_text())["hooks"]
    assert (hooks["createRuntime"], hooks["poststop"]) == ([other], [other])
    (hook,) = hooks["createContainer"]
    assert "--in-place" in hook["args"] and "keep-going" not in hook["args"]
    install.write(oci.snippet(str(tmp_path), [], ""))
    assert set(json.loads((tmp_path / "config.json").read_text())["hooks"]) == {"createRuntime", "poststop"}
