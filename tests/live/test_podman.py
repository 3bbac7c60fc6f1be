"""Tests of hooks with podman. A file in hooks.d runs templater for containers with an annotation."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from templater.hooks import install
from templater.hooks.runtimes.podman import snippet

from .harness import CG2, born, log_of, make_image, make_rootfs, need, run, show_words, shown

pytestmark = pytest.mark.live


class Podman:
    """podman with a separate storage for the test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.hooks = path / "hooks.d"
        self.hooks.mkdir()
        make_rootfs(path / "rootfs")
        run("tar", "-C", str(path / "rootfs"), "-cf", str(path / "tiny.tar"), ".")
        self("import", "-q", str(path / "tiny.tar"), "localhost/tiny:1")

    def __call__(self, *words: str, code: int | None = 0):
        return run(
            *CG2, "podman", "--root", str(self.path / "root"), "--runroot", str(self.path / "runroot"),
            "--storage-driver", "vfs", "--events-backend", "none", "--cgroup-manager", "cgroupfs",
            "--hooks-dir", str(self.hooks), *words, code=code,
        )  # fmt: skip

    def install(self, *options: str, stage: str = "createRuntime") -> None:
        words = ["--allow", str(self.path), "--allow-instance", str(self.path / "descriptions")]
        words += ["--stage", stage, *options]
        install.write(snippet("", words, str(self.hooks)))

    def run(self, *options: str, words: list[str] | None = None, code: int | None = 0):
        return self(
            "run", "--network", "none", "--cgroups=disabled", *options, "localhost/tiny:1",
            *(words or show_words()), code=code,
        )  # fmt: skip

    def bundle(self, container: str) -> Path:
        return self.path / "root/vfs-containers" / container / "userdata"


@pytest.fixture
def podman(folder: Path) -> Iterator[Podman]:
    need("podman", "crun")
    podman = Podman(folder)
    make_image(folder / "image")
    describe(podman, "bar")
    try:
        yield podman
    finally:
        podman("rm", "-fa", "-t", "0", code=None)
        shutil.rmtree(folder / "root", ignore_errors=True)


def describe(podman: Podman, value: str) -> None:
    (podman.path / "descriptions").mkdir(exist_ok=True)
    (podman.path / "descriptions/c1.yaml").write_text(f"name: c1\nconfig:\n  user.foo: {value}\n")


def annotation(podman: Podman) -> tuple[str, ...]:
    return (
        "--annotation", f"org.templater.source={podman.path}/image",
        "--annotation", f"org.templater.instance={podman.path}/descriptions/c1.yaml",
    )  # fmt: skip


def test_an_annotation_selects_the_image_to_render(podman: Podman):
    podman.install()
    assert shown(podman.run("--rm", *annotation(podman)).stdout) == born("c1")


def test_a_container_without_an_annotation_is_not_rendered(podman: Podman):
    podman.install()
    seen = shown(podman.run("--rm", words=show_words("/etc/existing")).stdout, "/etc/existing")
    assert seen == {"/etc/existing": ("33:34 604", "old content\n")}


def test_a_restart_runs_only_the_start_trigger(podman: Podman):
    podman.install()
    podman.run("-d", "--name", "x1", *annotation(podman), words=["/bin/sleep", "1000"])
    describe(podman, "changed")
    podman("restart", "-t", "0", "x1")
    assert podman("exec", "x1", "cat", "/etc/templated").stdout == "c1 start changed\n"
    assert podman("exec", "x1", "cat", "/etc/birth").stdout == "born by create as c1 of ?\n"


def test_annotations_with_the_directory_of_another_instance_are_refused(podman: Podman):
    """The hook runs as root. Older versions of podman pass the annotations of an image to the hook."""
    victim = podman.path / "instances/web1"
    make_image(victim, instance="name: web1\nconfig:\n  user.foo: hunter2\n")
    podman.install("--log", str(podman.path / "log"))
    answer = podman.run(
        "--rm", "--annotation", f"org.templater.source={victim}",
        "--annotation", f"org.templater.instance={victim}/instance.yaml", code=None,
    )  # fmt: skip
    assert answer.returncode == 126
    assert "it contains" in (podman.path / "log").read_text()
    assert "hunter2" not in answer.stdout + answer.stderr + (podman.path / "log").read_text()


def test_files_of_a_container_with_a_uid_map_have_mapped_owners(podman: Podman):
    podman.install()
    answer = podman.run(
        "--rm", "--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536", *annotation(podman)
    )
    assert shown(answer.stdout) == born("c1")


def test_a_failing_template_stops_the_start_and_reports_the_reason(podman: Podman):
    podman.install("--log", str(podman.path / "log"))
    (podman.path / "image/templates/birth.tpl").write_text("{% if %}")
    answer = podman.run("--name", "x1", *annotation(podman), code=None)
    assert answer.returncode == 126
    assert "templates/birth.tpl:1:" in (podman.path / "log").read_text()
    identity = podman("inspect", "-f", "{{.Id}}", "x1").stdout.strip()
    assert "templates/birth.tpl:1:" in log_of(podman.bundle(identity))


MOUNTED = """\
architecture: x86_64
creation_date: 1700000000
templates:
  /etc/{name}:
    when: [create, start]
    template: name.tpl
"""
NAME = {"name.tpl": "10.0.0.1 {{ container.name }}\n"}


def test_the_in_place_option_allows_writing_a_bind_mounted_file(podman: Podman):
    make_image(podman.path / "image", MOUNTED.format(name="hostname"), NAME)
    podman.install("--in-place", stage="createContainer")
    words = ["/bin/cat", "/etc/hostname"]
    assert podman.run("--rm", *annotation(podman), words=words).stdout == "10.0.0.1 c1\n"


@pytest.mark.parametrize("option", ["-v={}/volume:/etc/app", "--tmpfs=/etc/app"])
def test_a_file_below_a_volume_is_refused_by_default(podman: Podman, option: str):
    (podman.path / "volume").mkdir()
    make_image(podman.path / "image", MOUNTED.format(name="app/conf"), NAME)
    podman.install("--log", str(podman.path / "log"))
    words = ["/bin/cat", "/etc/app/conf"]
    option = option.format(podman.path)
    assert podman.run("--rm", option, *annotation(podman), words=words, code=None).returncode == 126
    said = "the container's mount at '/etc/app' would hide '/etc/app/conf'"
    assert said in (podman.path / "log").read_text()
    podman.install("--in-place", stage="createContainer")
    assert podman.run("--rm", option, *annotation(podman), words=words).stdout == "10.0.0.1 c1\n"


def test_the_no_hosts_option_preserves_the_rendered_etc_hosts(podman: Podman):
    """Without --no-hosts, podman mounts another file over /etc/hosts.

    podman writes the mounted file after every hook.
    """
    make_image(podman.path / "image", MOUNTED.format(name="hosts"), NAME)
    podman.install()
    words = ["/bin/cat", "/etc/hosts"]
    assert podman.run("--rm", "--no-hosts", *annotation(podman), words=words).stdout == "10.0.0.1 c1\n"


def test_a_bind_mounted_file_is_refused_without_the_in_place_option(podman: Podman):
    make_image(podman.path / "image", MOUNTED.format(name="hosts"), NAME)
    podman.install("--log", str(podman.path / "log"), stage="createContainer")
    assert podman.run("--rm", *annotation(podman), code=None).returncode == 126
    assert "mount" in (podman.path / "log").read_text()


def test_the_apply_command_keeps_the_mounts_of_a_running_container(podman: Podman):
    """podman mounts a file over /etc/hostname. The kernel removes the mount if the file below it is replaced."""
    make_image(podman.path / "image", MOUNTED.format(name="hostname"), NAME)
    podman.run("-d", "--name", "x1", "--hostname", "h1", words=["/bin/sleep", "1000"])
    rootfs = podman("mount", "x1").stdout.strip()
    words = [sys.executable, "-m", "templater", "apply", str(podman.path / "image"), rootfs]
    words += ["-i", str(podman.path / "descriptions/c1.yaml"), "-t", "start"]
    assert "a running container has mounted another file over '/etc/hostname'" in run(*words, code=3).stderr
    assert podman("exec", "x1", "cat", "/etc/hostname").stdout == "h1\n"
    podman("stop", "-t", "0", "x1")
    run(*words)
    assert Path(rootfs, "etc/hostname").read_text() == "10.0.0.1 c1\n"
