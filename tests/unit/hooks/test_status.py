"""`hook status`: whether a hook would run, and why not."""

import json
import os
import shlex
import subprocess
import sys

import pytest

from templater.cli.run_command_line import main
from templater.hooks import common_status_checks, install, lxc_install_and_status
from templater.hooks.runtimes import lxc, nspawn, oci, podman
from templater.instances.state_directory import State, StateDirectory
from tests.processor_time import ends_within
from tests.rootfs_builders import as_root
from tests.sampling import some_fast

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


def problems(findings) -> list[str]:
    return [finding.text for finding in findings if finding.ok is False]


def test_the_status_command_reports_a_missing_container(tmp_path):
    (finding,) = lxc.status("nosuch", str(tmp_path))
    assert finding.ok is False
    assert "--path" in finding.hint


def test_the_status_command_reports_a_missing_hook_line(container):
    assert "has no lxc.hook.pre-start" in problems(lxc.status("c1", str(container.parent)))[0]


def installed(container):
    install.write(lxc.snippet("c1", [], str(container.parent)))
    return list(lxc.status("c1", str(container.parent)))


def test_a_later_line_that_clears_the_hook_is_reported(container):
    assert not problems(installed(container))
    with (container / "config").open("a") as config:
        config.write("lxc.hook.pre-start =\n")
    assert "has no lxc.hook.pre-start" in problems(lxc.status("c1", str(container.parent)))[0]


def test_the_status_command_reports_no_problem_for_an_installed_container(container):
    assert not problems(installed(container))


def test_the_status_command_shows_the_pending_trigger(container):
    with StateDirectory(str(container)) as state_directory:
        state_directory.remember(State("copy", "c1"))
    assert any("runs copy, then start" in finding.text for finding in installed(container))


def test_the_status_command_reports_a_missing_interpreter(container):
    installed(container)
    config = container / "config"
    config.write_text(config.read_text().replace(install.argv("lxc", [])[0], "/nosuch/python"))
    found = problems(lxc.status("c1", str(container.parent)))
    assert any("the hook line was not run" in text and ": /nosuch/python" in text for text in found)


def test_the_status_command_reports_a_template_that_does_not_compile(container):
    (container / "templates/a.tpl").write_text("{% nosuch %}")
    assert any("unknown tag 'nosuch'" in text for text in problems(installed(container)))


@pytest.mark.slow
def test_the_status_command_stops_compiling_templates_at_a_time_limit(container, monkeypatch):
    """A thousand templates took 25 minutes."""
    monkeypatch.setattr("templater.hooks.common_status_checks.MAX_SECONDS", -1.0)
    texts = [finding.text for finding in installed(container)]
    assert "the templates take longer than -1 seconds to compile" in texts
    assert not any("every template compiles" in text for text in texts)


def test_templates_are_compiled_in_the_hook_lines_dialect(container):
    (container / "templates/a.tpl").write_text('{{ config["user.a"] }}')
    assert not problems(installed(container))
    install.write(lxc.snippet("c1", ["--dialect", "v4"], str(container.parent)))
    (text,) = problems(lxc.status("c1", str(container.parent)))
    assert "this pongo2 release has no subscripts" in text


def test_installation_is_not_suggested_for_a_missing_root_filesystem(container):
    (container / "config").write_text("lxc.net.0.type = empty\n")
    (finding,) = [each for each in installed(container) if each.ok is False]
    assert "names no root filesystem" in finding.text
    assert "lxc.rootfs.path" in finding.hint


def test_a_missing_but_required_mount_hook_is_reported(container):
    (container / "config").write_text("lxc.rootfs.path = loop:/srv/c1.img\n")
    (before,) = lxc.status("c1", str(container.parent))
    assert "hook install lxc" in before.hint
    (finding,) = [each for each in installed(container) if each.ok is False]
    assert "has no lxc.hook.mount" in finding.text
    assert "set lxc.hook.mount to the value of lxc.hook.pre-start" in finding.hint


def test_the_status_command_reports_a_missing_image(container):
    (container / "metadata.yaml").unlink()
    assert any("has no metadata.yaml" in text for text in problems(installed(container)))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to change owners")
def test_an_id_map_contradicting_the_root_filesystem_is_reported(container):
    config = container / "config"
    config.write_text(config.read_text() + "lxc.idmap = u 0 100000 65536\nlxc.idmap = g 0 100000 65536\n")
    assert any("the id map gives root" in text for text in problems(installed(container)))


def test_the_status_command_checks_the_podman_hook_file(tmp_path):
    assert problems(podman.status("", str(tmp_path)))
    install.write(podman.snippet("", [], str(tmp_path)))
    assert not problems(podman.status("", str(tmp_path)))


def test_the_status_command_checks_a_bundle(container):
    (container / "config.json").write_text(json.dumps({"root": {"path": "rootfs"}}))
    assert "has no hook that calls templater" in problems(oci.status(str(container), ""))[0]
    install.write(oci.snippet(str(container), [], ""))
    assert not problems(oci.status(str(container), ""))


def test_foreign_programs_in_a_drop_in_are_not_executed(tmp_path):
    drop_in = tmp_path / "systemd-nspawn@web1.service.d/templater.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(f"[Service]\nExecStartPre=touch {tmp_path}/made #\n")
    said = f"'{drop_in}' has no ExecStartPre that calls templater"
    assert said in problems(nspawn.status("web1", str(tmp_path)))
    assert not (tmp_path / "made").exists()


def test_the_status_command_checks_an_nspawn_machine(container, tmp_path):
    units = str(tmp_path / "units")
    assert problems(nspawn.status("c1", units))
    install.write(nspawn.snippet("c1", ["--source", str(container)], units))
    assert not problems(nspawn.status("c1", units))
    (drop_in,) = (tmp_path / "units").glob("*/*")
    assert next(nspawn.status("c1", units)).text == f"the ExecStartPre of '{drop_in}' calls templater"
    drop_in.write_text("[Service]\nExecStartPre=/bin/true\n")
    finding = next(each for each in nspawn.status("c1", units) if each.ok is False)
    assert finding.text == f"'{drop_in}' has no ExecStartPre that calls templater"
    assert finding.hint == f"templater hook install nspawn c1 --path {units} --write"


def test_problems_of_a_shared_drop_in_file_are_reported(container, tmp_path, monkeypatch):
    monkeypatch.setattr(nspawn, "INSTANCES", str(tmp_path / "state"))
    own = tmp_path / "state/c1"
    install.write(nspawn.snippet("", ["--source", str(container)], str(tmp_path)))
    skipped = [each for each in said(nspawn.status("c1", str(tmp_path))) if each[0] is False]
    assert skipped == [(False, f"the hook skips the machine, because '{own}' does not exist", f"mkdir {own}")]
    own.mkdir(parents=True)
    assert not problems(nspawn.status("c1", str(tmp_path)))
    (drop_in,) = tmp_path.glob("*.d/*")
    text = drop_in.read_text()
    for option in (f"--state {container}", f"--state={container}", "--rootfs /srv/%%i"):
        drop_in.write_text(text.replace(" -- ", f" {option} -- "))
        assert problems(nspawn.status("c1", str(tmp_path))) == [
            f"all machines have the same {option[:8].strip('= ')}"
        ]
    drop_in.write_text(text.replace(" -- ", f" --state {container.parent}/%i -- "))
    assert not problems(nspawn.status("c1", str(tmp_path)))


def test_a_shared_state_directory_is_reported_in_the_podman_status(tmp_path):
    snippet = podman.snippet("", [], str(tmp_path))
    content = json.loads(snippet.text)
    content["hook"]["args"] += ["--state", "/srv"]
    (tmp_path / podman.FILE).write_text(json.dumps(content))
    assert problems(podman.status("", str(tmp_path))) == ["all containers have the same --state"]


def test_the_status_command_reports_a_state_directory_that_the_hook_refuses(container, tmp_path):
    (tmp_path / "state").mkdir()
    with StateDirectory(str(tmp_path / "state")) as state_directory:
        state_directory.remember(State("copy", "c1"))
    install.write(lxc.snippet("c1", ["--state", f"{tmp_path}/state"], str(tmp_path)))
    found = said(lxc.status("c1", str(tmp_path)))
    assert (None, "the next start runs copy, then start", "") in found
    (tmp_path / "state").chmod(0o777)
    (text,) = problems(lxc.status("c1", str(tmp_path)))
    assert text.startswith(f"other users can write to '{tmp_path}/state'")


def test_an_oci_hook_that_cannot_render_templates_is_reported(container):
    file = container / "config.json"
    file.write_text(json.dumps({"root": {"path": "rootfs"}}))
    install.write(oci.snippet(str(container), [], ""))
    file.write_text(file.read_text().replace("createRuntime", "poststart"))
    finding = next(each for each in oci.status(str(container), "") if each.ok is False)
    assert finding.text == "the hook of stage 'poststart' can't render templates"
    assert finding.hint == "use one of createRuntime, createContainer, prestart"


@pytest.mark.parametrize(
    ("before", "after"),
    some_fast([
        ("ExecStartPre", "#ExecStartPre"), ("ExecStartPre", "; ExecStartPre"), (" %i\n", " %i\nExecStartPre = \n"),
        ("[Service]", "[Unit]"), ("[Service]\n", "[Service]\n[Unit]\n"), ("ExecStartPre", "XExecStartPre"),
    ], every=3),
)  # fmt: skip
def test_an_nspawn_line_that_systemd_ignores_is_reported(before, after, container, tmp_path):
    install.write(nspawn.snippet("c1", ["--source", str(container)], str(tmp_path)))
    (drop_in,) = tmp_path.glob("*.d/*")
    text = drop_in.read_text()
    drop_in.write_text(text.replace(before, after))
    assert f"'{drop_in}' has no ExecStartPre that calls templater" in problems(
        nspawn.status("c1", str(tmp_path))
    )
    other = text.replace("ExecStartPre=", "ExecStartPre=/bin/true\n ExecStartPre = ")
    drop_in.write_text(f"[Unit]\nAfter=a\n{other}")
    assert not problems(nspawn.status("c1", str(tmp_path)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stages", "options", "text"),
    some_fast(
        [
            (["prestart"], [], ""),
            (["createRuntime", "createRuntime"], [], ""),
            (["createContainer"], ["--in-place"], ""),
            (["poststop"], [], "the hook of stage 'poststop' can't render templates"),
            (["createRuntime", "poststop"], [], "the hook of stage 'poststop' can't render templates"),
            (
                ["createContainer"],
                [],
                "the hook runs in stage 'createContainer', but its command is for stage 'createRuntime'",
            ),
            (
                ["prestart"],
                ["--in-place"],
                "the hook runs in stage 'prestart', but its command is for stage 'createContainer'",
            ),
            (
                ["prestart"],
                ["--stage", "poststop"],
                "the hook runs in stage 'prestart', but its command is for stage 'poststop'",
            ),
        ],
        every=3,
    ),
)
def test_the_status_command_reports_an_unsupported_stage_of_a_podman_hook(stages, options, text, tmp_path):
    install.write(podman.snippet("", options, str(tmp_path)))
    file = tmp_path / "templater.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"stages": stages}))
    first, *_ = podman.status("", str(tmp_path))
    said = (
        f"the hook of '{file}' runs at {', '.join(stages)} for containers with an annotation org.templater.…"
    )
    assert (first.ok, first.text) == (not text, text or said)


@pytest.mark.slow
@pytest.mark.parametrize("when", [{"annotations": {"^org.other": ".*"}}, {"always": True}, None])
def test_an_unexpected_condition_in_a_podman_hook_is_reported(when, tmp_path):
    install.write(podman.snippet("", [], str(tmp_path)))
    file = tmp_path / "templater.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"when": when}))
    first, *_ = podman.status("", str(tmp_path))
    assert first == common_status_checks.Finding(
        None,
        f"'{file}' has a different 'when' than `hook install` writes: podman might never run the hook",
        f"templater hook install podman --path {tmp_path} --write",
    )


@pytest.mark.slow
@as_root
@pytest.mark.parametrize("path", ["u/web1/rootfs", "/bin:u/web1/delta0"])
def test_a_root_filesystem_replaceable_by_another_user_is_reported(container, path):
    """The hook of an ordinary user runs in the container's user namespace.

    In this namespace, the hook can't see the user who can replace the root filesystem.
    """
    other = container.parent / "u"
    for name in ("rootfs", "delta0"):
        (other / "web1" / name).mkdir(parents=True)
    config = container / "config"
    config.write_text(f"lxc.rootfs.path = {path.replace('u/', f'{other}/')}\n")
    assert not problems(installed(container))
    os.chown(other, 2000, 2000)
    (text,) = problems(lxc.status("c1", str(container.parent)))
    assert text.startswith(f"'{other}' belongs to another user (uid 2000), who can replace '{other}/web1/")


def test_the_status_command_reports_a_hook_without_a_path(container, tmp_path):
    """The status showed "None" as the program of the hook."""
    (container / "config.json").write_text(json.dumps({"root": {"path": "rootfs"}}))
    for module, folder, file in ((podman, tmp_path, "templater.json"), (oci, container, "config.json")):
        install.write(module.snippet("" if module is podman else str(container), [], str(folder)))
        text = (folder / file).read_text()
        (folder / file).write_text(text.replace('"path": "/', '"nopath": "/'))
        (finding,) = module.status(str(folder), str(folder))
        assert finding.ok is False
        assert f"'{folder}/{file}'" in finding.text
        assert finding.text.endswith(": the hook has no 'path'")


def test_a_bundle_hook_in_the_wrong_stage_is_reported(container):
    file = container / "config.json"
    file.write_text(json.dumps({"root": {"path": "rootfs"}}))
    install.write(oci.snippet(str(container), [], ""))
    file.write_text(file.read_text().replace('"createRuntime": [', '"createContainer": ['))
    (text,) = problems(oci.status(str(container), ""))
    assert text == "the hook runs in stage 'createContainer', but its command is for stage 'createRuntime'"


def test_a_relative_image_path_is_reported(container):
    install.write(lxc.snippet("c1", ["--source", "some/image"], str(container.parent)))
    found = problems(lxc.status("c1", str(container.parent)))
    assert found == ["'--source some/image' is a relative path, but hooks run in any directory"]


def test_the_install_command_writes_absolute_paths(container, monkeypatch, capsys):
    monkeypatch.chdir(container.parent)
    words = ["hook", "install", "lxc", "c1", "-P", ".", "--source", "c1", "--allow", "c1", "--write"]
    assert main(words) == 0
    line = (container / "config").read_text()
    assert f"--source {container}" in line
    assert f"--allow {container}" in line
    monkeypatch.chdir("/")
    assert main(["hook", "status", "lxc", "c1", "-P", str(container.parent)]) == 0
    capsys.readouterr()


def test_the_json_of_the_status_command_includes_the_hint(container, capsys):
    assert main(["hook", "status", "lxc", "c1", "-P", str(container.parent), "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)
    assert finding["ok"] is False
    assert "has no lxc.hook.pre-start" in finding["text"]
    assert finding["hint"] == f"templater hook install lxc c1 --path {container.parent} --write"


def test_overlay_layers_of_the_rootfs_option_are_written_unchanged(capsys):
    assert main(["hook", "install", "lxc", "c1", "-P", "/nosuch", "--rootfs", "overlay:/a:/b"]) == 0
    assert " --rootfs overlay:/a:/b -- " in capsys.readouterr().out.replace("\n", " \n")


@pytest.mark.parametrize("runtime", ["lxc", "oci", "nspawn", "incus"])
def test_the_help_option_prints_the_usage_of_a_hook(runtime, capsys):
    assert main(["hook", runtime, "--help"]) == 0
    assert "--on-error fail|keep-going" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        '{"hook": {"args": ["a"]}, "stages": [1]}', '{"hook": {"args": ["a"]}, "stages": null}',
        '{"hook": {"args": [1, 2]}, "stages": ["x"]}', '{"hook": {"args": null}, "stages": ["x"]}',
        '{"hook": {"args": ["a"]}, "stages": "abc"}', '{"hook": 1, "stages": ["x"]}', '{"hook": {"args": ["a"]}, "stages": []}', "[]", "[" * 100_000,
    ],
)  # fmt: skip
def test_values_of_wrong_types_in_podman_hooks_are_reported(tmp_path, text):
    (tmp_path / "templater.json").write_text(text)
    ((said, _),) = [(each.text, each.hint) for each in podman.status("", str(tmp_path))]
    assert f"invalid hook '{tmp_path}/templater.json': " in said


def test_a_missing_hook_file_is_reported_in_the_podman_status(tmp_path):
    (finding,) = podman.status("", str(tmp_path))
    assert finding.text.endswith("templater.json' does not exist")
    assert finding.hint == f"templater hook install podman --path {tmp_path} --write"


def test_the_install_command_replaces_the_line_of_an_earlier_release(container):
    config = container / "config"
    old = f"lxc.hook.pre-start = {sys.executable} -I -S -c 'from templater.hooks.nosuch import main;main()' lxc\n"
    config.write_text(config.read_text() + old)
    finding = next(each for each in lxc.status("c1", str(container.parent)) if each.ok is False)
    assert "was not run, because this installation of templater writes a different line" in finding.text
    assert f": templater hook install lxc c1 --path {container.parent} --write" in finding.hint
    installed(container)
    assert old not in config.read_text()
    assert not problems(lxc.status("c1", str(container.parent)))


def test_the_options_of_a_very_long_hook_line_are_not_read():
    """Splitting a line of one megabyte took 36 seconds."""
    assert common_status_checks.option_of("a" * 60_000 + " --source /a", "--source") == "/a"
    with ends_within(1):
        assert common_status_checks.option_of("a" * 4_000_000 + " --source /a", "--source") == ""


def said(findings):
    """Return the result, the text and the hint of each finding."""
    return [(each.ok, each.text, each.hint) for each in findings]


def test_the_lxc_status_has_the_expected_messages_and_hints(container, monkeypatch):
    monkeypatch.setattr(common_status_checks, "code_status", lambda: ())
    place = f"--path {container.parent}"
    found = said(lxc.status("nosuch", str(container.parent)))
    assert [each[2] for each in found] == ["create the container first, or give its directory with --path"]
    (container / "config").write_text("lxc.net.0.type = empty\n")
    assert said(lxc.status("c1", str(container.parent))) == [
        (
            False,
            f"'{container}/config' names no root filesystem",
            f"for example: lxc.rootfs.path = dir:{container}/rootfs",
        )
    ]
    (container / "config").write_text(f"lxc.rootfs.path = dir:{container}/rootfs\n")
    again = f"templater hook install lxc c1 {place} --write"
    assert said(lxc.status("c1", str(container.parent))) == [
        (False, f"'{container}/config' has no lxc.hook.pre-start that calls templater", again)
    ]
    install.write(lxc.snippet("c1", [], str(container.parent)))
    text = (container / "config").read_text()
    lines = [
        line for line in text.splitlines() if not line.startswith(("lxc.hook.clone", "lxc.hook.destroy"))
    ]
    (container / "config").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(common_status_checks, "runs", lambda *_: common_status_checks.Finding(True, "runs"))
    assert said(lxc.status("c1", str(container.parent)))[:6] == [
        (True, "lxc.hook.pre-start calls templater", ""),
        (None, "no lxc.hook.clone: copies get no trigger", again),
        (None, "no lxc.hook.destroy: a rename counts as a copy", again),
        (True, "runs", ""),
        (True, f"'{container}' has 1 rules, and every template compiles", ""),
        (None, "never started with templater: the next start runs create, then start", ""),
    ]
    by_hand = (
        "set lxc.hook.mount to the value of lxc.hook.pre-start: the hook must run after LXC has mounted"
        " this rootfs"
    )
    monkeypatch.chdir(container)
    for path in ("loop:/srv/c1.img", "zfs:rootfs"):  # the name of a data set is not a path
        (container / "config").write_text(f"lxc.rootfs.path = {path}\n" + "\n".join(lines[1:]) + "\n")
        assert said(lxc.status("c1", str(container.parent))) == [
            (False, f"'{container}/config' has no lxc.hook.mount that calls templater", by_hand)
        ]


AGAIN = "to write the line again, run this command with the options of the old line: templater hook install x"


@pytest.mark.parametrize(
    ("script", "ok", "text", "hint"),
    [
        ("print('versions')", True, "the hook line runs: versions", ""),
        ("sys.exit('a\\nb')", False, "the hook line fails: b", AGAIN),
        ("sys.exit(1)", False, "the hook line fails: no reason given", AGAIN),
    ],
)
def test_the_status_says_whether_the_hook_line_ran_successfully(script, ok, text, hint, monkeypatch):
    words = [sys.executable, "-c", f"import sys; {script}"]
    monkeypatch.setattr(common_status_checks, "argv", lambda runtime, options, *, write_bytecode: words)
    assert said([common_status_checks.runs("lxc", shlex.join(words), "templater hook install x")]) == [
        (ok, text, hint)
    ]


def test_the_status_says_why_a_hook_line_could_not_be_run(monkeypatch):
    monkeypatch.setattr(common_status_checks, "argv", lambda runtime, options, *, write_bytecode: ["/nosuch"])
    ((ok, text, hint),) = said([common_status_checks.runs("lxc", "/nosuch", "templater hook install x")])
    assert (ok, hint) == (False, AGAIN)
    assert text.startswith("the hook line can't be run: ")


@pytest.mark.parametrize("runtime", ["lxc", "oci", "nspawn"])
def test_the_status_command_runs_only_hook_lines_of_this_installation(runtime, monkeypatch):
    """Root also owns the files of a container, so a container can have written the line.

    The command runs no part of such a line.
    """
    runs = []
    answer = subprocess.CompletedProcess([], 0, "versions", "")
    monkeypatch.setattr(subprocess, "run", lambda words, **_: runs.append(words) or answer)
    for bytecode in (True, False):
        words = install.argv(runtime, [], write_bytecode=bytecode)
        line = shlex.join([*words, "--source", "/a b"]) + ' --rootfs "$LXC_ROOTFS_PATH" -- '
        for each in (line, f"env {line}"):
            assert common_status_checks.runs(runtime, each, "").ok
        assert runs == [[*words, "--probe"]] * 2
        runs.clear()
        (python, *_, code, _), start = words, shlex.join(words)
        hostile = [
            f"{start} ; touch a", f"{start} && touch a", f"{start} -- ; touch a", f"{start} -- $(touch a)",
            f"touch a; {start}", f"X=y {start}", f"sh -c {shlex.quote(start)}", f"env -i {start}", f"{start} '",
            start.replace(python, "/nosuch/python"), start.replace("-I ", ""), start.removesuffix(runtime),
            start.removesuffix(runtime) + "incus", shlex.join([*words[:-2], f"{code};print()", runtime]), "",
        ]  # fmt: skip
        for each in hostile:
            finding = common_status_checks.runs(runtime, each, "")
            assert not finding.ok
            assert "because this installation of templater writes a different line" in finding.text
        finding = common_status_checks.runs(runtime, f"{start} --nosuch x", "")
        assert (finding.ok, finding.text) == (False, "the hook line fails: unknown option '--nosuch'")
    assert not runs


def test_the_status_command_shows_the_beginning_of_a_skipped_hook_line():
    shown = "the hook line was not run, because this installation of templater writes a different line: "
    assert common_status_checks.runs("lxc", "a\x1bb", "").text == f"{shown}a\\x1bb"
    assert common_status_checks.runs("lxc", "x" * 201, "").text == f"{shown}{'x' * 200}…"


def test_hook_lines_for_a_foreign_namespace_are_not_executed(container, monkeypatch):
    runs = []
    answer = subprocess.CompletedProcess([], 0, "versions", "")
    monkeypatch.setattr(subprocess, "run", lambda words, **_: runs.append(words) or answer)
    own = "lxc-usernsexec -m u:0:100000:65536 -m g:0:100000:65536"
    inside = shlex.join(install.argv("lxc", [], write_bytecode=False))
    config = str(container / "config")
    for current, before, is_run in (
        (own, own, True),
        (own, "lxc-usernsexec -m g:0:100000:65536 -m u:0:100000:65536", True),
        (own, "lxc-usernsexec -m u:0:0:65536", False),
        ("", own, False),
    ):
        monkeypatch.setattr(lxc_install_and_status, "namespace_words", lambda _, current=current: current)
        finding = lxc_install_and_status.line_status(
            f"{before} -- {inside} --", config, "templater hook install x"
        )
        assert finding.ok is (True if is_run else None)
        assert runs == ([[*own.split(), "--", *shlex.split(inside), "--probe"]] if is_run else [])
        runs.clear()
    said = (
        "the hook line was not run: for this user, `hook install` would write a line with a different user"
        " namespace"
    )
    again = "write the line again: templater hook install x"
    assert (finding.text, finding.hint) == (
        said, f"run this command as the user who starts the container, or {again}",
    )  # fmt: skip


def test_a_missing_or_wrong_owner_option_is_reported(container, monkeypatch):
    """The status was "ok", but the hook refused the container in the user's home directory."""
    answer = subprocess.CompletedProcess([], 0, "versions", "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    own = "lxc-usernsexec -m u:0:100000:65536"
    monkeypatch.setattr(lxc_install_and_status, "namespace_words", lambda _: own)
    monkeypatch.setattr(lxc_install_and_status, "owner_words", lambda _: ["--owner", "1000"])
    for options, is_ok in ((["--owner", "1000"], True), ([], False), (["--owner", "1"], False)):
        inside = shlex.join(install.argv("lxc", options, write_bytecode=False))
        finding = lxc_install_and_status.line_status(f"{own} -- {inside} --", "config", "install")
        assert finding.ok is is_ok, finding
    assert finding.text == (
        "the hook line has no --owner 1000, so the hook refuses directories of the user who starts the"
        " container"
    )
    assert finding.hint == "write the line again: install"


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["$LXC_ROOTFS_PATH", "${LXC_ROOTFS_PATH}"])
def test_the_rootfs_variable_of_lxc_is_accepted(variable, container):
    """``status`` took the variable of LXC for the path of an image."""
    installed(container)
    config = container / "config"
    config.write_text(config.read_text().replace(" lxc --", f' lxc --rootfs "{variable}" --'))
    found = list(lxc.status("c1", str(container.parent)))
    assert not problems(found)
    assert any(finding.text.startswith("the container's root user is ") for finding in found)


def test_the_status_command_reports_a_rootfs_option_for_another_root_filesystem(container, tmp_path):
    for name in ("c2", "other"):
        (tmp_path / name / "rootfs").mkdir(parents=True)
    (tmp_path / "c2/config").touch()
    (container / "link").symlink_to("rootfs")
    found = []
    for path in (f"{tmp_path}/c2/rootfs", f"{tmp_path}/other/rootfs", f"{container}/link"):
        install.write(lxc.snippet("c1", ["--rootfs", path], str(tmp_path)))
        found += [each for each in said(lxc.status("c1", str(tmp_path))) if "--rootfs" in each[1]]
    assert found == [
        (
            False, f"--rootfs '{tmp_path}/c2/rootfs' is in the directory of another container",
            "install the hook again, without --rootfs or with the directory of this container",
        ),
        (None, f"the hook writes to --rootfs '{tmp_path}/other/rootfs', not to lxc.rootfs.path", ""),
    ]  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to change owners")
@pytest.mark.parametrize("owner", [100_000, 0])
def test_a_state_readable_only_by_container_root_is_reported(owner, container, monkeypatch):
    """The container's hook runs as the container's root. Only this root user can read the state."""
    with StateDirectory(str(container)) as state_directory:
        state_directory.remember(State("", "c1"))
    for path in (container, container / ".templater"):
        os.chown(path, owner, owner)
    monkeypatch.setattr(os, "access", lambda path, _: not str(path).endswith(".templater"))
    text = (
        f"only the container's root can read '{container}/.templater',"
        " so the triggers of the next start are unknown"
    )
    assert common_status_checks.pending(str(container)) == (text if owner else "the next start runs start")


def test_problems_with_the_image_or_the_dialect_are_reported(container, monkeypatch, tmp_path):
    monkeypatch.setattr(common_status_checks, "code_status", lambda: ())
    assert said(common_status_checks.source_status("x --source a", str(container), str(container))) == [
        (
            False, "'--source a' is a relative path, but hooks run in any directory",
            "install the hook again: the new line contains the absolute path",
        )
    ]  # fmt: skip
    assert said(common_status_checks.source_status("x", str(tmp_path), str(tmp_path))) == [
        (
            False, f"'{tmp_path}' has no metadata.yaml",
            "give an image directory with --source, or make an instance directory with templater unpack",
        )
    ]  # fmt: skip
    line = f"x --source {container} --dialect v5"
    assert said(common_status_checks.source_status(line, "", str(container)))[0] == (
        False, "the hook line has the unknown dialect 'v5'", "install the hook again",
    )  # fmt: skip


def test_a_missing_or_different_bundle_hook_is_reported(container, monkeypatch):
    monkeypatch.setattr(common_status_checks, "code_status", lambda: ())
    file = f"{container}/config.json"
    ((ok, text, hint),) = said(oci.status(str(container), ""))
    assert (ok, hint) == (False, "") and text.startswith(f"'{file}' can't be used: ")
    (container / "config.json").write_text(json.dumps({"root": {"path": "rootfs"}}))
    assert said(oci.status(str(container), "")) == [
        (
            False,
            f"'{file}' has no hook that calls templater",
            f"templater hook install oci {container} --write",
        )
    ]
    install.write(oci.snippet(str(container), [], ""))
    config = json.loads((container / "config.json").read_text())
    (hook,) = config["hooks"]["createRuntime"]
    hook["path"] = "/bin/other"
    (container / "config.json").write_text(json.dumps(config))
    (stage, (ok, text, hint)) = said(oci.status(str(container), ""))[:2]
    assert stage == (True, "the hook of stage 'createRuntime' calls templater", "")
    assert ok is False and text.startswith("the hook line was not run, because")
    assert f": /bin/other {sys.executable} -I" in text
    assert hint.endswith(f": templater hook install oci {container} --write")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for which the code of hooks is checked")
def test_the_status_command_warns_if_another_user_can_change_the_code(monkeypatch):
    monkeypatch.setattr(common_status_checks, "is_changeable", lambda path: path == sys.executable)
    ((ok, text, hint),) = said(common_status_checks.code_status())
    assert (ok, text) == (
        None,
        f"another user can change '{sys.executable}', and every start runs code from this path as root",
    )
    assert (
        hint
        == "run chmod go-w on this path and delete the .pyc files below it, or install templater as root, for example in /opt"
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ("{}", "'hook'"),
        ('{"hook": {"args": "a"}, "stages": ["prestart"]}', "'args' and 'stages' are not lists of texts"),
        ('{"hook": {"args": []}, "stages": ["prestart"]}', "'args' and 'stages' are not lists of texts"),
        (
            '{"hook": {"args": ["a", 1]}, "stages": ["prestart"]}',
            "'args' and 'stages' are not lists of texts",
        ),
        ('{"hook": {"args": ["a"]}, "stages": "prestart"}', "'args' and 'stages' are not lists of texts"),
    ],
)
def test_the_reason_for_an_invalid_podman_hook_is_reported(tmp_path, text, why):
    (tmp_path / podman.FILE).write_text(text)
    (found,) = podman.status("", str(tmp_path))
    place = f"'{tmp_path}/{podman.FILE}'"
    assert not found.ok
    assert found.text.startswith(f"invalid hook {place}: ") and why in found.text, found.text
    assert found.hint == f"templater hook install podman --path {tmp_path} --write"
