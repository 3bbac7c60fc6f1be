"""Attacks through the input that a runtime gives to a hook: cases 66 to 68, with the installed hook line."""

import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from templater.hooks import install
from tests.rootfs_builders import a_directory, snapshot

pytestmark = pytest.mark.slow  # the fast tests have two minutes

RULES = "architecture: x86_64\ncreation_date: 1\ntemplates:\n  /etc/x: {when: [start], template: a.tpl}\n"
GIB = 1 << 30


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Return a bundle that is also an image, next to files that must not change."""
    a_directory(tmp_path / "host", {"canary": "untouched", "etc/x": "the host's own"})
    return an_image(tmp_path / "deep/bundle")


def an_image(top: Path) -> Path:
    a_directory(top, {"rootfs/etc/hosts": "old", "templates/a.tpl": "{{ container.name }}"})
    (top / "metadata.yaml").write_text(RULES)
    (top / "config.json").write_text(json.dumps({"ociVersion": "1.2.0", "root": {"path": "rootfs"}}))
    (top / "config").write_text("")
    return top


def a_state(bundle: Path | str, **fields: object) -> dict[str, object]:
    return {
        "ociVersion": "1.2.0", "id": "c1", "status": "created", "pid": 4711, "bundle": str(bundle), **fields
    }  # fmt: skip


def oci(state: object, *options: str) -> subprocess.CompletedProcess[str]:
    data = state if isinstance(state, str) else json.dumps(state)
    return run_hook("oci", *options, input=data)


def run_hook(runtime: str, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run one hook and check that it succeeds or fails with an ordinary error."""
    answer = subprocess.run(
        [*install.argv(runtime, []), *words],
        check=False, capture_output=True, text=True, timeout=60, **options,
    )  # fmt: skip
    assert "Traceback" not in answer.stderr and "please report" not in answer.stderr
    assert answer.returncode == 0 or answer.stderr.startswith("templater: ")
    return answer


def test_a_container_with_a_valid_oci_state_is_rendered(bundle: Path) -> None:
    assert oci(a_state(bundle)).returncode == 0
    assert (bundle / "rootfs/etc/x").read_text() == "c1"


# --- case 66


def test_attack_66_a_gibibyte_on_standard_input_is_not_read(bundle: Path) -> None:
    begun = time.monotonic()
    process = subprocess.Popen(
        ["prlimit", f"--as={256 << 20}", *install.argv("oci", [])],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    sent = []
    feeder = threading.Thread(target=lambda: sent.append(feed(process)))
    feeder.start()
    assert process.stderr is not None
    said = process.stderr.read().decode()
    process.stderr.close()
    feeder.join()
    assert process.wait() == 4
    assert said == "templater: the state on standard input is larger than 1048576 bytes\n"
    assert sent[0] < 4 << 20, "more was taken than a pipe holds beyond the limit"
    assert time.monotonic() - begun < 30


def feed(process: "subprocess.Popen[bytes]") -> int:
    """Offer a gibibyte of blanks to a process. Return how many bytes the process reads."""
    assert process.stdin is not None
    sent, piece = 0, b" " * (1 << 16)
    try:
        while sent < GIB:
            sent += os.write(process.stdin.fileno(), piece)
    except BrokenPipeError:
        pass
    process.stdin.close()
    return sent


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        ("", 2, "no state on standard input"),
        ("not JSON", 2, "is not JSON"),
        ("[" * 100_000, 2, "is not JSON"),
        ('{"a":' * 100_000, 2, "is not JSON"),
        ('{"ociVersion": "1.0.2", "bundle": "/x"', 2, "is not JSON"),
        ("[1, 2]", 2, "is not a JSON object"),
        ('{"ociVersion": "1.0.2", "bundle": "/x"} {}', 2, "is not a JSON object"),
        ("{}", 2, "has no ociVersion"),
        ('{"ociVersion": 1}', 2, "has no ociVersion"),
        ('{"ociVersion": "2.0.0"}', 2, "has ociVersion '2.0.0': only 1.x is supported"),
        ('{"ociVersion": "\\u001b[2J\\n"}', 2, r"has ociVersion '\\x1b[2J\\n'"),
        ('{"ociVersion": "1.0.2"}', 2, "has no 'bundle'"),
        ('{"ociVersion": "1.0.2", "bundle": "relative"}', 2, "has a relative bundle path 'relative'"),
        ('{"ociVersion": "1.0.2", "bundle": "/a\\u0000b"}', 2, "has no 'bundle'"),
        ('{"ociVersion": "1.0.2", "bundle": 7}', 2, "has no 'bundle'"),
    ],
)  # fmt: skip
def test_attack_66_an_invalid_state_is_reported(data: str, code: int, says: str) -> None:
    answer = oci(data)
    assert (answer.returncode, answer.stdout) == (code, "")
    assert says.replace("\\\\", "\\") in answer.stderr
    assert "\x1b" not in answer.stderr


@pytest.mark.parametrize("version", ["1.0.0", "1.2.0", "1.0.2-dev", "v1.0.2", "1.0"])
def test_every_compatible_oci_state_version_is_accepted(bundle: Path, version: str) -> None:
    assert oci(a_state(bundle, ociVersion=version)).returncode == 0


@pytest.mark.skipif(shutil.which("strace") is None, reason="NOT RUN: needs strace")
def test_attack_66_the_process_id_in_the_state_is_ignored(bundle: Path, tmp_path: Path) -> None:
    """A reused process id cannot redirect templater.

    templater needs the id only if the bundle joins a user namespace by its path.
    """
    stranger = subprocess.Popen(["sleep", "60"], cwd=tmp_path / "host")
    try:
        trace = str(tmp_path / "trace")
        words = ["strace", "-f", "-qq", "-e", "trace=file,kill,pidfd_open,setns,ptrace", "-o", trace]
        answer = subprocess.run(
            [*words, *install.argv("oci", [])], input=json.dumps(a_state(bundle, pid=stranger.pid)),
            check=False, capture_output=True, text=True,
        )  # fmt: skip
    finally:
        stranger.kill()
        stranger.wait()
    assert answer.returncode == 0, answer.stderr
    seen = Path(trace).read_text()
    assert "openat" in seen
    # without the process id of the caller, and without sizes of files, which can have the same number
    lines = [re.sub(r"\{.*?\}", "", line.partition(" ")[2]) for line in seen.splitlines()]
    assert not [line for line in lines if re.search(rf"\b{stranger.pid}\b", line)]


def test_attack_66_a_bundle_path_with_a_link_is_accepted(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "way").symlink_to(tmp_path / "deep")
    assert oci(a_state(tmp_path / "way/bundle")).returncode == 0
    assert (bundle / "rootfs/etc/x").read_text() == "c1"


@pytest.mark.slow
@pytest.mark.parametrize("what", ["config.json", "metadata.yaml", "templates", "templates/a.tpl", "rootfs"])
@pytest.mark.parametrize("way", ["link", "dangling", "fifo"])
def test_attack_66_a_link_or_fifo_as_bundle_entry_is_refused(
    bundle: Path, tmp_path: Path, what: str, way: str
) -> None:
    place, elsewhere = bundle / what, tmp_path / "deep/elsewhere"
    place.rename(elsewhere)
    if what == "rootfs":
        elsewhere = tmp_path / "host"
    if way == "fifo":
        os.mkfifo(place)
    else:
        place.symlink_to(elsewhere if way == "link" else "nowhere")
    before = snapshot(tmp_path / "host", times=True)
    answer = oci(a_state(bundle))
    assert answer.returncode in (2, 3, 5), answer.stderr
    assert re.search("symlink|fifo|no such file|not a directory", answer.stderr, re.I), answer.stderr
    assert snapshot(tmp_path / "host", times=True) == before
    if what != "rootfs":
        assert not (bundle / "rootfs/etc/x").exists()


@pytest.mark.parametrize(
    "config",
    [
        "", "[]", "{", '{"root": "rootfs"}', '{"root": {"path": 1}}', '{"root": {"path": ""}}',
        '{"root": {"path": "a\\u0000b"}}', '{"root": {"path": "nowhere"}}',
        '{"root": {"path": "rootfs"}, "linux": {"uidMappings": [1], "gidMappings": [1]}}',
        '{"root": {"path": "rootfs"}, "linux": {"uidMappings": [{"containerID": 0, "hostID": 4294967296, "size": 1}],'
        ' "gidMappings": [{"containerID": 0, "hostID": 0, "size": 1}]}}',
        " " * ((16 << 20) + 1),
    ],
    ids=lambda text: text[:30] or "empty",
)  # fmt: skip
def test_attack_66_a_malformed_configuration_gives_a_clear_error(bundle: Path, config: str) -> None:
    (bundle / "config.json").write_text(config)
    answer = oci(a_state(bundle))
    assert answer.returncode in (2, 3, 4), answer.stderr
    assert not (bundle / "rootfs/etc/x").exists()


# --- case 67

NAMES = ["$(touch CANARY)", "`touch CANARY`", "a;touch CANARY", "a\ntouch CANARY", "../c1", "a/b", "..", ""]


def names_of_runtimes() -> Iterator[Any]:
    """Yield each runtime with each container name.

    Half of these pairs are marked as slow, so that two runtimes test each name in the fast tests.
    """
    for place, runtime in enumerate(("lxc", "incus", "nspawn", "oci")):
        for number, name in enumerate(NAMES):
            yield pytest.param(runtime, name, marks=pytest.mark.slow if (place + number) % 2 else ())


@pytest.mark.parametrize(("runtime", "name"), list(names_of_runtimes()))
def test_attack_67_an_odd_container_name_is_refused_or_used_only_as_text(
    bundle: Path, tmp_path: Path, runtime: str, name: str
) -> None:
    """Shell syntax does not run, a path creates no directory, and a newline adds no line."""
    name = name.replace("CANARY", str(tmp_path / "CANARY")) if "/" not in name else name
    before = snapshot(tmp_path / "host", times=True)
    answer = started(runtime, name, bundle, tmp_path / "state_directory")
    assert snapshot(tmp_path / "host", times=True) == before
    assert sorted(os.listdir(tmp_path)) in (["deep", "host"], ["deep", "host", "state_directory"])
    assert len(answer.stderr.splitlines()) <= 3
    written = bundle / "rootfs/etc/x"
    if answer.returncode:
        assert re.search(r"invalid \w+ name|has no 'id'|can't be kept|no name|line break", answer.stderr), (
            answer.stderr
        )
        assert not written.exists()
    else:
        assert runtime == "incus" or written.read_text() == name


def started(
    runtime: str, name: str, bundle: Path, state_directory: Path
) -> "subprocess.CompletedProcess[str]":
    options = ["--source", str(bundle), "--rootfs", str(bundle / "rootfs"), "--state", str(state_directory)]
    state_directory.mkdir()
    if runtime == "oci":
        return oci(a_state(bundle, id=name), *options)
    if runtime == "nspawn":
        return run_hook("nspawn", *options, name)
    environ = {
        "LXC_NAME": name, "LXC_HOOK_TYPE": "pre-start", "LXC_CONFIG_FILE": str(bundle / "config"),
        "LXC_ROOTFS_PATH": str(bundle / "rootfs"),
    }  # fmt: skip
    if runtime == "incus":
        (bundle / "backup.yaml").write_text("container: {name: c1, config: {}, devices: {}}\n")
        options += ["--instance", str(bundle / "backup.yaml")]
    return run_hook(runtime, *options, env=environ)


def test_attack_67_no_module_uses_a_shell() -> None:
    """Hooks and all other modules start programs with a list of arguments."""
    shells = re.compile(
        r"shell\s*=\s*True|os\.(system|popen)|subprocess\.(getoutput|getstatusoutput)|/bin/sh"
    )
    package = Path(sys.modules["templater"].__file__ or "").parent
    sources = list(package.rglob("*.py"))
    assert len(sources) > 100
    found = {path.name for path in sources if shells.search(path.read_text())}
    # These name a shell, or write a script or a passwd file for other programs.
    assert found <= {"crlf.py", "first_line.py", "lxc_template.py", "shell.py", "validator_process.py"}


# --- case 68


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("zfs:tank/c1", "'zfs'"), ("nbd:/img.qcow2:1", "'nbd'"), ("loop:/img.raw", "'loop'"),
        ("lvm:/dev/vg/c1", "'lvm'"), ("rbd:pool/c1", "'rbd'"), ("dir:/nowhere/rootfs", "'dir'"),
        ("overlay:/nowhere/a:/nowhere/b", "'overlay'"), ("/nowhere/a:/nowhere/b", ""), ("/nowhere", ""), ("tank/c1", ""),
    ],
)  # fmt: skip
def test_attack_68_a_root_filesystem_of_an_unsupported_type_is_an_error(
    bundle: Path, path: str, kind: str
) -> None:
    """If the hook skipped the root filesystem silently, the container would have the wrong host name."""
    (bundle / "config").write_text(f"lxc.uts.name = c1\nlxc.rootfs.path = {path}\n")
    answer = run_hook("lxc", env=lxc(bundle, path))
    assert answer.returncode == 3
    assert f"unsupported rootfs type {kind}".rstrip() in answer.stderr
    assert path in answer.stderr
    assert "lxc.hook.mount" in answer.stderr


@pytest.mark.parametrize("path", ["zfs:tank/c1", "tank/c1", "rbd:tank/c1", "dir:tank/c1", "zfs:./tank/c1"])
def test_attack_68_a_relative_rootfs_path_ignores_the_current_directory(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A hook wrote files into a directory of another user, who could then read the files."""
    (bundle / "config").write_text(
        f"lxc.rootfs.path = {path}\nlxc.hook.pre-start = from templater_hook import\n"
    )
    (tmp_path / "tank/c1/etc").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for of_lxc in (path, path.partition(":")[2] or path):
        answer = run_hook("lxc", env=lxc(bundle, of_lxc))
        assert answer.returncode == 3
        assert "unsupported rootfs type" in answer.stderr and f"'{path}'" in answer.stderr
    assert list((tmp_path / "tank/c1/etc").iterdir()) == []


def test_attack_68_a_container_without_a_root_filesystem_is_an_error(bundle: Path) -> None:
    answer = run_hook("lxc", env=lxc(bundle, ""))
    assert answer.returncode == 3
    assert "has no root filesystem of its own" in answer.stderr


@pytest.mark.parametrize("path", ["dir:{}/rootfs", "{}/rootfs"])
def test_attack_68_a_rootfs_directory_is_accepted_under_every_spelling_of_its_path(
    bundle: Path, path: str
) -> None:
    assert run_hook("lxc", env=lxc(bundle, path.format(bundle))).returncode == 0
    assert (bundle / "rootfs/etc/x").read_text() == "c1"


def test_attack_68_pre_start_hook_does_nothing_beside_a_mount_hook(bundle: Path) -> None:
    line = " ".join(install.argv("lxc", []))
    (bundle / "config").write_text(f"lxc.hook.mount = {line}\n")
    answer = run_hook("lxc", env=lxc(bundle, "loop:/img.raw"))
    assert (answer.returncode, answer.stderr) == (0, "")
    assert not (bundle / "rootfs/etc/x").exists()


def lxc(bundle: Path, path: str) -> dict[str, str]:
    return {
        "LXC_NAME": "c1", "LXC_HOOK_TYPE": "pre-start", "LXC_CONFIG_FILE": str(bundle / "config"),
        "LXC_ROOTFS_PATH": path,
    }  # fmt: skip


# --- the host's own root as a container's root


@pytest.fixture
def absolute(bundle: Path) -> Path:
    """Let the rule name a target by its path on the host, next to the bundle, and return that path."""
    place = bundle.parent / "written"
    (bundle / "metadata.yaml").write_text(RULES.replace("/etc/x", str(place)))
    return place


ROOTS = ["/", "//", "/./.", "/tmp/..", "/proc/self/root/."]


@pytest.mark.parametrize("path", [*ROOTS, "../" * 40])
def test_a_bundle_is_refused_if_its_root_is_the_host_root(bundle: Path, absolute: Path, path: str) -> None:
    (bundle / "config.json").write_text(json.dumps({"ociVersion": "1.2.0", "root": {"path": path}}))
    answer = oci(a_state(bundle))
    assert (answer.returncode, absolute.exists()) == (3, False)
    assert "is the root filesystem of the host" in answer.stderr or "is a symlink" in answer.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: needs root to mount")
def test_bundle_with_the_mounted_host_root_is_refused(bundle: Path, absolute: Path) -> None:
    script = f"mount --bind / {bundle}/rootfs && exec {shlex.join(install.argv('oci', []))}"
    answer = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        input=json.dumps(a_state(bundle)), check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    if "mount:" in answer.stderr or "unshare:" in answer.stderr:
        pytest.skip(f"nothing can be mounted here: {answer.stderr}")
    assert (answer.returncode, absolute.exists()) == (3, False)
    assert "is the root filesystem of the host" in answer.stderr


@pytest.mark.parametrize("path", ROOTS)
def test_no_runtime_hook_writes_to_the_host_root(bundle: Path, absolute: Path, path: str) -> None:
    for answer in (
        run_hook("lxc", env=lxc(bundle, path)),
        run_hook("nspawn", "--source", str(bundle), "--state", str(bundle), "--rootfs", path, "m1"),
    ):
        assert (answer.returncode, absolute.exists()) == (3, False)
        assert "is the root filesystem of the host" in answer.stderr or "is a symlink" in answer.stderr


# --- resources of the hook process


def test_attack_66_a_hook_with_few_resources_succeeds_or_gives_a_clear_error(bundle: Path) -> None:
    """A runtime may leave few resources to a hook. The hook then works, or fails with an ordinary error."""

    def poor() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
        resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))

    answer = run_hook("oci", input=json.dumps(a_state(bundle)), preexec_fn=poor)
    assert answer.returncode == 0
    assert (bundle / "rootfs/etc/x").read_text() == "c1"
