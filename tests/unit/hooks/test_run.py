"""The hook line, its log and its errors."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from templater.hooks import install, run
from templater.hooks.container_state_folder import directory_identity
from templater.hooks.log import MOST_IN_FILE, Log
from templater.hooks.options import Options, parse
from templater.hooks.runtimes import nspawn as nspawn_runtime
from templater.hooks.runtimes import oci
from templater.instances.state_directory import State, StateDirectory
from templater.model.errors import HostError, InputError, UsageError
from templater.rootfs import close_in_another_process
from templater.rootfs.memory_rootfs import MemoryRootfs
from tests.rootfs_builders import a_plan, as_root
from tests.sampling import some_fast

pytestmark = pytest.mark.usefixtures("restored_process")


def options(*words) -> Options:
    return parse(["lxc", *words])[1]


def test_an_equals_sign_before_an_option_value_is_optional():
    assert options("--source", "/a").source == options("--source=/a").source == "/a"


def test_trigger_options_can_be_repeated_or_comma_separated():
    assert options("-t", "create", "--trigger=start").triggers == ("create", "start")
    assert options("-t", "create,start").triggers == ("create", "start")


def test_extra_arguments_from_lxc_are_not_parsed_as_options():
    assert options("--no-child", "c1", "lxc", "pre-start").words == ("c1", "lxc", "pre-start")


@pytest.mark.parametrize(
    "words",
    [
        ("--nosuch", "x"), ("--source",), ("--on-error", "maybe"), ("--time-limit", "soon"),
        ("--time-limit", "0"), ("--time-limit", "nan"), ("--dialect", "v7"),
        ("--owner", "alice"), ("--owner", "-1"), ("--owner", "12345678901"),
    ],
)  # fmt: skip
def test_an_invalid_hook_line_is_reported(words):
    with pytest.raises(UsageError):
        options(*words)


def test_an_unknown_runtime_is_reported():
    with pytest.raises(UsageError):
        parse(["docker"])


def test_a_log_line_has_a_time_and_no_control_characters():
    log = Log("c1")
    log.add("evil\x1b[2J\nfake line")
    (line,) = log.data().decode().splitlines()
    assert line.startswith("20") and " c1: evil\\x1b[2J\\nfake line" in line


def line(*words, **options):
    return subprocess.run(
        [*install.argv("lxc", []), *words], capture_output=True, text=True, check=False, timeout=30, **options
    )


def test_the_hook_line_with_the_probe_option_prints_the_version():
    assert line("--probe").stdout.startswith("templater ")


def test_missing_lxc_variables_do_not_cause_a_traceback():
    answer = line(env={})
    assert answer.returncode == 2
    assert answer.stderr.startswith("templater: LXC did not call this hook\n")
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("name", ["$(id)", "../x", "a\nb", "", "."])
def test_attack_67_a_container_name_is_never_used_as_a_path_or_command(name, tmp_path):
    environ = {
        "LXC_NAME": name, "LXC_HOOK_TYPE": "pre-start", "LXC_ROOTFS_PATH": str(tmp_path),
        "LXC_CONFIG_FILE": str(tmp_path / "config"),
    }  # fmt: skip
    answer = line(env=environ)
    assert answer.returncode == 2
    assert list(tmp_path.iterdir()) == [] or name == "$(id)"


def test_the_hook_line_ignores_python_environment_variables(tmp_path):
    (tmp_path / "templater").mkdir()
    (tmp_path / "templater/__init__.py").write_text("raise SystemExit(99)")
    environ = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nonsense", "LC_ALL": "xx"}
    assert line("--probe", cwd=tmp_path, env=environ).returncode == 0


def test_the_hook_line_starts_the_python_interpreter_directly():
    words = install.argv("lxc", ["--source", "/a b"])
    assert words[:5] == [sys.executable, "-I", "-S", "-X", "utf8"]
    assert words[-2:] == ["--source", "/a b"]
    assert os.path.isabs(words[0])


METADATA = "architecture: x86_64\ntemplates:\n  /etc/a:\n    when: [start]\n    template: a.tpl\n"


@pytest.fixture
def container(tmp_path):
    (tmp_path / "rootfs/etc").mkdir(parents=True)
    (tmp_path / "templates").mkdir()
    (tmp_path / "metadata.yaml").write_text(METADATA)
    (tmp_path / "config").write_text("")
    return tmp_path


def start(folder, *options):
    environ = {
        "LXC_NAME": "c1", "LXC_HOOK_TYPE": "pre-start", "LXC_CONFIG_FILE": f"{folder}/config",
        "LXC_ROOTFS_PATH": f"{folder}/rootfs",
    }  # fmt: skip
    return line(*options, env=environ)


IN_AND_OUT_OF_A_CHILD = pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="in a child"),
        pytest.param(("--no-child",), id="in its own process", marks=pytest.mark.slow),
    ],
)

#: templates that put a value into an error message of pongo2 or into a number that templater prints
REVEALING = (
    '{{ "x"|yesno:secret }}', '{{ 1|yesno:config_get("user.password", "") }}', '{{ "x"|yesno:secret|upper }}',
    '{% set s = secret|make_list|join:"-" %}{{ "x"|yesno:s }}', '{{ "x"|ljust:pin }}',
    '{% include secret %}', '{{ secret.field }}', '{% macro m() %}{% endmacro %}{{ m(secret, pin) }}',
    '{{ secret(pin) }}', '{{ secret|date:"2006" }}',
)  # fmt: skip


@pytest.mark.slow
@IN_AND_OUT_OF_A_CHILD
@pytest.mark.parametrize("template", REVEALING)
def test_attack_50_a_configuration_value_in_an_error_does_not_reach_the_log(container, options, template):
    """Redacting known values missed every value that a template had transformed first."""
    (container / "instance.yaml").write_text(
        "name: c1\nconfig: {user.password: hunter2-hunter2, user.pin: '98765432'}\n"
    )
    (container / "templates/a.tpl").write_text(
        '{% with secret=config_get("user.password", "") pin=config_get("user.pin", "")|integer %}'
        f"{template}{{% endwith %}}"
    )
    answer = start(container, *options)
    said = (container / ".templater/log").read_text() + answer.stderr
    assert answer.returncode in (4, 5), said
    for value in ("hunter", "HUNTER", "h-u-n", "98765432"):
        assert value not in said
    assert answer.returncode == 4 or "templates/a.tpl:1:" in said, "the place is said"


@pytest.mark.slow
def test_template_errors_without_values_are_logged_with_their_text(container):
    for template, message in (
        ("hello {{ x|nosuch }}", "unknown filter 'nosuch'"),
        ("{% if %}", "templates/a.tpl:1:"),
        ("{{ 1|add:2/0 }}", "runtime error: integer divide by zero"),
        ("{{ trigger.a }}", "can't access a field by name on type string (variable trigger.a)"),
    ):
        (container / "templates/a.tpl").write_text(template)
        assert message in start(container).stderr


@pytest.mark.parametrize("count", [1, 2])
def test_the_error_of_a_hook_mentions_other_failed_rules(container, count):
    rules = "".join(f"  /etc/{number}: {{when: [start], template: a.tpl}}\n" for number in range(count))
    (container / "metadata.yaml").write_text(f"architecture: x86_64\ntemplates:\n{rules}")
    (container / "templates/a.tpl").write_text("{{ 1|add:2/0 }}")
    said = start(container, "-t", "start").stderr
    assert "runtime error: integer divide by zero" in said
    assert ("other rules failed too" in said) == (count > 1)


def test_the_hook_log_contains_no_file_sizes(container):
    """A template could encode a secret number as the length of its output."""
    (container / "templates/a.tpl").write_text("x" * 54321)
    assert start(container, "-t", "start").returncode == 0
    log = (container / ".templater/log").read_text()
    assert "/etc/a 0:0 0644 (a.tpl, start)" in log
    assert "54321" not in log


@pytest.mark.slow
@IN_AND_OUT_OF_A_CHILD
@pytest.mark.parametrize(
    "text",
    some_fast(["config: {user.password: hunter2", "ephemeral: hunter2\n", "config: {user.a: [hunter2]}\n", "&hunter2 *hunter2",
     "config: !hunter2 {}\n", '{"name": "c1", "config": hunter2}'], every=3),
)  # fmt: skip
@pytest.mark.parametrize("name", ["instance.yaml", "metadata.yaml"])
def test_hook_errors_never_quote_the_instance_description(container, tmp_path, options, text, name):
    (container / "templates/a.tpl").write_text("x")
    described = tmp_path / "described" / name
    described.parent.mkdir()
    described.write_text(text)
    answer = start(container, "--instance", str(described), *options)
    said = (container / ".templater/log").read_text() + answer.stderr
    assert answer.returncode == 2
    assert "hunter2" not in said
    assert f"{described}:1:" in said


@IN_AND_OUT_OF_A_CHILD
def test_an_unexpected_error_is_logged_with_its_type_and_position(container, options, monkeypatch, capfd):
    from templater.hooks import sandboxed_rendering

    def broken(*_):
        raise KeyError("hunter2")

    monkeypatch.setattr(sandboxed_rendering, "_renderings", broken)
    (container / "templates/a.tpl").write_text("x")
    for name, value in (("LXC_NAME", "c1"), ("LXC_HOOK_TYPE", "pre-start"),
                        ("LXC_CONFIG_FILE", f"{container}/config"), ("LXC_ROOTFS_PATH", f"{container}/rootfs")):  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["hook", "lxc", "--no-cache", *options])
    monkeypatch.setattr(run, "bound_memory", lambda: None)
    assert run.serve() in (5, 70)
    said = capfd.readouterr().err
    assert "hunter2" not in said
    assert "KeyError at " in said and "test_run.py:" in said


def test_an_unknown_trigger_is_reported(container):
    (container / "templates/a.tpl").write_text("x")
    answer = start(container, "-t", "foo,start")
    assert answer.returncode == 2
    assert "unknown trigger 'foo'" in answer.stderr
    assert not (container / "rootfs/etc/a").exists()


def test_an_instance_name_with_a_newline_is_refused(container):
    (container / "templates/a.tpl").write_text("x")
    (container / "instance.yaml").write_text('name: "a\\nb"\n')
    words = install.argv("nspawn", ["--rootfs", f"{container}/rootfs", "--source", str(container), "a\nb"])
    answer = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (2, "templater: invalid machine name 'a\\nb'\n")
    assert not (container / "rootfs/etc/a").exists()


def test_an_error_about_a_state_file_contains_its_path(container):
    (container / "templates/a.tpl").write_text("x")
    (container / ".templater").mkdir(mode=0o700)
    (container / ".templater/state").mkdir()
    assert f"{container}/.templater/state" in start(container).stderr


def test_a_failure_before_rendering_is_logged(container, tmp_path):
    (container / "config").write_text("lxc.rootfs.path = zfs:tank/c1\n")
    environ = {
        "LXC_NAME": "c1", "LXC_HOOK_TYPE": "pre-start", "LXC_CONFIG_FILE": f"{container}/config",
        "LXC_ROOTFS_PATH": "zfs:tank/c1",
    }  # fmt: skip
    words = ("--log", str(tmp_path / "log"), "--on-error", "keep-going")
    assert line(*words, env=environ).returncode == 0
    assert not (container / ".templater").exists(), "what was never started stays as it is"
    (container / ".templater").mkdir(mode=0o700)
    assert line(*words, env=environ).returncode == 0
    for log in (tmp_path / "log", container / ".templater/log"):
        assert "failed: unsupported rootfs type 'zfs'" in log.read_text()
        assert "started anyway" in log.read_text()


def test_a_failed_clone_hook_always_stops_the_copy(container, tmp_path):
    """The first start of a copy without a record ran the trigger create, and overwrote the user's files."""
    new = tmp_path / "c2"
    shutil.copytree(container, new)
    environ = {
        "LXC_NAME": "c2", "LXC_SRC_NAME": "missing", "LXC_HOOK_TYPE": "clone",
        "LXC_CONFIG_FILE": f"{new}/config", "LXC_ROOTFS_PATH": f"{new}/rootfs",
    }  # fmt: skip
    done = line("--on-error", "keep-going", env=environ)
    assert done.returncode == 2
    assert "the original container is missing" in done.stderr
    assert "starts anyway" not in done.stderr


def test_the_log_lines_of_one_hook_are_limited(tmp_path):
    """A container that restarted in a loop filled the disk of the host."""
    log = Log("c1")
    for number in range(1000):
        log.add(f"wrote '/{number:03}{'x' * 400}'")
    for _ in range(2):
        log.write(None, str(tmp_path / "log"))
    lines = (tmp_path / "log").read_text().splitlines()
    assert (tmp_path / "log").stat().st_size < 2 * (MOST_IN_FILE + 100)
    shown = len(lines) // 2 - 1
    assert lines[shown] == lines[-1] == f"… and {1000 - shown} more lines"
    assert f"'/{shown - 1:03}" in lines[shown - 1]


def test_clone_and_rename_appear_in_the_new_containers_log(container, tmp_path):
    """One process runs the hooks for both events, as lxc-copy -R does."""
    (container / "templates/a.tpl").write_text("x")
    (container / "instance.yaml").write_text("name: c1\n")
    old, new = tmp_path / "lxc/old", tmp_path / "lxc/new"
    new.mkdir(parents=True)
    shutil.copytree(container, old, ignore=shutil.ignore_patterns("lxc"))
    for folder in (old, new):
        (folder / "config").write_text("lxc.arch = amd64\n")
    hook = shlex.join(install.argv("lxc", []))
    script = (
        f"LXC_HOOK_TYPE=clone LXC_CONFIG_FILE={new}/config {hook} || exit 1; cat {new}/.templater/log;"
        f"LXC_HOOK_TYPE=destroy LXC_CONFIG_FILE={old}/config {hook} || exit 1"
    )
    answer = subprocess.run(
        ["lxc-copy", "-c", script, "-R"], executable="/bin/sh", env={"LXC_NAME": "new", "LXC_SRC_NAME": "old"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert "new: made from old; the next start runs the copy trigger" in answer.stdout
    log = (new / ".templater/log").read_text()
    assert "new: renamed; the next start runs the create trigger" in log


def test_the_time_limit_does_not_interrupt_error_reporting(monkeypatch):
    """An alarm during error reporting would print a traceback and change the exit code."""
    said = []

    def slowly(text):
        time.sleep(0.1)
        said.append(text)

    monkeypatch.setattr(run, "write_stderr", slowly)
    before = signal.getsignal(signal.SIGALRM)
    try:
        run.start_timer(0.05)
        assert run.report_failure(UsageError("wrong"), "lxc", run.Options(), Log()) == 2
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert said == ["templater: wrong"]


def test_an_nspawn_machine_may_be_named_probe(container):
    words = [
        *install.argv(
            "nspawn",
            ["--source", str(container), "--state", str(container), "--rootfs", f"{container}/rootfs"],
        ),
        "probe",
    ]
    (container / "templates/a.tpl").write_text("{{ instance.name }}\n")
    answer = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    assert answer.returncode == 0, answer.stderr
    assert (container / "rootfs/etc/a").read_text() == "probe\n"


def nspawn(container, *options):
    """Start a machine whose image has the rules /etc/once (create) and /etc/always (start)."""
    words = ["--source", str(container), "--state", str(container), "--rootfs", f"{container}/rootfs"]
    (container / "metadata.yaml").write_text(
        "architecture: x86_64\ncreation_date: 1\ntemplates:\n"
        "  /etc/once: {when: [create], template: a.tpl}\n  /etc/always: {when: [start], template: a.tpl}\n"
    )
    (container / "templates/a.tpl").write_text("text\n")
    subprocess.run([*install.argv("nspawn", [*words, *options]), "web1"], check=True, timeout=30)
    return sorted(path.name for path in (container / "rootfs/etc").iterdir())


def replace_rootfs(container):
    """Replace the root filesystem by a new, empty directory, which can get the same inode number."""
    shutil.rmtree(container / "rootfs")
    (container / "rootfs/etc").mkdir(parents=True)


@pytest.mark.slow
def test_a_new_machine_with_an_old_name_is_recognised(container):
    """The new machine got the state of the old machine, so no rule with the trigger create ran."""
    assert nspawn(container) == ["always", "once"]
    (container / "rootfs/etc/once").unlink()
    assert nspawn(container) == ["always"], "the same machine"
    replace_rootfs(container)
    assert nspawn(container) == ["always", "once"]
    said = "a different root directory than at its last start: templater treats the machine as new\n"
    assert said in (container / ".templater/log").read_text()
    (container / "rootfs/etc/once").unlink()
    assert nspawn(container) == ["always"], "the new machine is known now"


@as_root
def test_a_second_btrfs_clone_is_considered_a_new_machine(tmp_path, mounts):
    """Snapshots have the inode number and the time of creation of their original."""
    place = mounts.btrfs(tmp_path)

    def btrfs(*words):
        subprocess.run(["btrfs", "subvolume", *words], check=True, capture_output=True)

    btrfs("create", place / "base")
    found = []
    for _ in range(2):
        btrfs("snapshot", place / "base", place / "web1")
        found.append(directory_identity(str(place / "web1")))
        assert directory_identity(str(place / "web1")) == found[-1]
        btrfs("delete", place / "web1")
    assert found[0] != found[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recorded", "is_known"), [("256 1.5 a", True), ("256 1.5", True), ("256 1.5 b", False)]
)
def test_a_root_directory_with_an_older_identity_is_recognised(container, monkeypatch, recorded, is_known):
    monkeypatch.setattr(nspawn_runtime, "directory_identity", lambda path: "256 1.5 a")
    (container / "metadata.yaml").write_text("templates: {/etc/once: {when: [create], template: a.tpl}}\n")
    (container / "templates/a.tpl").write_text("text\n")
    with StateDirectory(str(container)) as state_directory:
        state_directory.remember(State("", "web1", "", recorded))
    place = str(container)
    assert (
        run.run(["nspawn", "--source", place, "--state", place, "--rootfs", f"{place}/rootfs", "web1"]) == 0
    )
    assert (container / "rootfs/etc/once").exists() != is_known


def test_a_state_without_root_directory_fits_any_machine(container):
    """Older versions of templater recorded no root directory."""
    nspawn(container)
    state = container / ".templater/state"
    state.write_text("".join(line for line in state.read_text().splitlines(True) if "root=" not in line))
    replace_rootfs(container)
    assert nspawn(container) == ["always"]
    assert "root=" in state.read_text()


def test_an_empty_state_file_repeats_the_create_trigger(container):
    assert nspawn(container) == ["always", "once"]
    state = container / ".templater/state"
    recorded = state.read_bytes()
    state.write_bytes(b"")
    (container / "rootfs/etc/once").unlink()
    assert nspawn(container) == ["always", "once"]
    assert state.read_bytes() == recorded


@pytest.mark.slow
def test_a_new_machine_has_no_record_of_old_files(container):
    nspawn(container)
    replace_rootfs(container)
    (container / "rootfs/etc/once").write_text("by the new image\n")
    assert nspawn(container, "--keep-modified") == ["always", "once"]
    assert (container / "rootfs/etc/once").read_text() == "text\n", "no file of the old machine"


@pytest.fixture
def german(tmp_path):
    """Return the environment of a locale whose encoding is not UTF-8."""
    name = "de_DE.ISO-8859-1"
    words = ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(tmp_path / name)]
    if not shutil.which("localedef") or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("no locale can be made here")
    return {"LOCPATH": str(tmp_path), "LC_ALL": name}


@pytest.mark.parametrize("how", ["hook", "apply"])
@pytest.mark.slow
def test_the_locale_does_not_change_file_names(container, german, how):
    """File names are bytes. templater treats them as UTF-8 even in a locale with another encoding."""
    (container / "metadata.yaml").write_text(METADATA.replace("/etc/a", "/etc/\u00fcn\u00ef"))
    (container / "templates/a.tpl").write_text("x")
    environ = german | {
        "LXC_NAME": "c1", "LXC_HOOK_TYPE": "pre-start", "LXC_CONFIG_FILE": f"{container}/config",
        "LXC_ROOTFS_PATH": f"{container}/rootfs",
    }  # fmt: skip
    if how == "hook":
        answer = line(env=environ)
    else:
        words = [
            sys.executable,
            "-m",
            "templater",
            "apply",
            str(container),
            f"{container}/rootfs",
            "-t",
            "start",
        ]
        answer = subprocess.run(words, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert answer.returncode == 0, answer.stderr
    assert os.listdir(os.fsencode(container / "rootfs/etc")) == ["\u00fcn\u00ef".encode()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_has_no_effect_while_a_failure_is_reported(number, monkeypatch, capfd):
    write = run.write_stderr

    def stopped(text):
        os.kill(os.getpid(), number)
        write(text)

    monkeypatch.setattr(run, "write_stderr", stopped)
    monkeypatch.setattr(sys, "argv", ["hook", "lxc", "--on-error", "fail"])
    monkeypatch.setattr(run, "bound_memory", lambda: None)
    assert run.serve() == UsageError.exit_code
    assert "LXC did not call this hook" in capfd.readouterr().err
    others = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGPROF)
    monkeypatch.setattr(run, "report_failure", lambda *_: [*map(signal.raise_signal, others), 7][-1])
    assert run.serve() == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_after_a_hook_has_no_effect(number, monkeypatch):
    """While the process wrote its compiled modules, the signal gave a traceback and a wrong exit code."""
    monkeypatch.setattr(sys, "argv", ["hook", "lxc"])
    monkeypatch.setattr(run, "bound_memory", lambda: None)
    monkeypatch.setenv("LXC_NAME", "c1")
    monkeypatch.setenv("LXC_HOOK_TYPE", "post-stop")
    assert run.serve() == 0
    signal.raise_signal(number)
    signal.raise_signal(signal.SIGALRM)


@pytest.mark.parametrize("has_changed", [False, True])
def test_a_hook_reports_an_upgrade_during_its_run(monkeypatch, has_changed):
    finder = SimpleNamespace(has_changed=lambda: has_changed, find_spec=lambda *_: None)
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    reported = run._reported(AttributeError("x"), Options())
    if not has_changed:
        assert reported is None
        reported = run._reported(ImportError("No module named 'templater.x'"), Options())
        assert reported.message == (
            "can't load a module, for example during an upgrade: No module named 'templater.x'"
        )
    else:
        assert reported.message == "templater was upgraded while the hook ran"


def test_an_error_on_stderr_contains_no_control_characters(capfd):
    """An image could clear the terminal of the operator."""
    run.write_stderr("failed\nhint: \x1b[2J\x9b2J")
    assert capfd.readouterr().err == "failed\nhint: \\x1b[2J\\x9b2J\n"


def test_paths_in_the_notes_of_a_comparison_are_escaped():
    plan = a_plan({"/etc/a\x1b[2J\nok: x": "new"}, MemoryRootfs({}))
    with pytest.raises(HostError) as caught:
        run.compare(plan, Log())
    assert caught.value.notes == ("/etc/a\\x1b[2J\\nok: x differs from the result of x.tpl on start",)


def test_the_error_after_a_signal_has_the_notes_about_unrestored_files():
    """The operator did not see that the rollback had failed, because a signal replaced the error."""
    error = run.StoppedError(15)
    error.add_note("can't restore '/etc/a'")
    reported = run._reported(error, run.Options())
    assert (reported.message, reported.notes) == ("stopped by signal 15", ("can't restore '/etc/a'",))


@pytest.mark.parametrize("keep_going", [False, True])
@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (UsageError("no", hint="do"), 2, "no\nhint: do"),
        (
            MemoryError(), 4,
            f"the hook needs more than {run.MEMORY >> 20} MiB of memory, or more than the runtime allows"
            " (RLIMIT_DATA)",
        ),
        (run.StoppedError(24), 4, "the hook needs more processor time than the runtime allows (RLIMIT_CPU)"),
        (run.StoppedError(15), 6, "stopped by signal 15"),
        (run.TimeUpError(), 4, "the hook took longer than 7 s\nhint: to allow more time, add --time-limit SECONDS to the hook line"),
        (OSError(5, "Input/output error"), 6, "a system call failed: [errno 5] input/output error"),
    ],
)  # fmt: skip
def test_each_failure_of_a_hook_is_printed_and_logged(
    error, code, text, keep_going, monkeypatch, capfd, tmp_path
):
    def read_request(options, environ):
        raise error

    monkeypatch.setattr(
        run, "function_of", lambda runtime, name: read_request if name == "read_request" else None
    )
    monkeypatch.setattr(Log, "to_syslog", lambda log: None)
    words = [
        "lxc",
        "--time-limit",
        "7",
        "--log",
        f"{tmp_path}/log",
        *(["--on-error", "keep-going"] if keep_going else []),
    ]
    assert run.run(words) == (0 if keep_going else code)
    started = (
        "templater: the container starts anyway, because of --on-error keep-going\n" if keep_going else ""
    )
    assert capfd.readouterr().err == f"templater: {text}\n{started}"
    logged = [line.partition(": ")[2] for line in (tmp_path / "log").read_text().splitlines()]
    assert logged == [
        f"failed: {text.partition(chr(10))[0]}",
        *(["started anyway: --on-error keep-going"] if keep_going else []),
    ]


def test_the_message_about_a_bug_asks_for_a_report(monkeypatch, capfd):
    def broken(arguments):
        raise KeyError("x")

    monkeypatch.setattr(run, "run", broken)
    monkeypatch.setattr(run, "bound_memory", lambda: None)
    monkeypatch.setattr(Log, "to_syslog", lambda log: None)
    assert run.serve() == 70
    said = capfd.readouterr().err
    assert said.startswith("templater: ") and said.endswith("; please report this\n")


def test_attack_86_another_process_closes_a_bundle_that_was_removed_during_a_hook(
    tmp_path, monkeypatch, capfd
):
    """The error left the bundle open: with 150,000 attributes, the end of the hook took 2 seconds."""
    bundle, handed_over = tmp_path / "bundle", []
    bundle.mkdir()
    (bundle / "config.json").write_text("{}")
    number, before = bundle.stat().st_ino, os.listdir("/proc/self/fd")
    parse_json = oci.parse_json

    def removing(data, shown):
        if shown == "config.json":
            shutil.rmtree(bundle)
        return parse_json(data, shown)

    def hand_over(held, patience):
        handed_over.extend(os.fstat(held[0]).st_ino for _ in held)
        os.close(held.pop())

    monkeypatch.setattr(oci, "_stdin", lambda: json.dumps(
        {"ociVersion": "1.2.0", "id": "c1", "bundle": str(bundle)}).encode()
    )  # fmt: skip
    monkeypatch.setattr(oci, "parse_json", removing)
    monkeypatch.setattr(close_in_another_process, "_hand_over", hand_over)
    monkeypatch.setattr(run, "bound_memory", lambda: None)
    monkeypatch.setattr(Log, "to_syslog", lambda log: None)
    monkeypatch.setattr(sys, "argv", ["hook", "oci"])
    assert run.serve() == InputError.exit_code
    assert "config.json has no root.path" in capfd.readouterr().err
    assert handed_over == [number]
    assert os.listdir("/proc/self/fd") == before


def test_a_known_container_name_appears_in_each_log_line():
    for log, name in ((Log(), ""), (Log("c1"), " c1")):
        log.add("text")
        log.add("secret", private=True)
        assert re.fullmatch(rf"\S+Z{name}: text\n\S+Z{name}: secret\n", log.data().decode())
        assert re.fullmatch(rf"\S+Z{name}: text\n", log.data(public=True).decode())
