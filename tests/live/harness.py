"""Shared helpers of the live tests: small root filesystems, an image with rules, and runtimes.

A test calls ``need`` with the programs that it needs. If a program or root's privileges are missing, the test
is skipped. In CI, the test fails instead.
"""

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from templater.hooks import install

BUSYBOX = "/usr/bin/busybox"
APPLETS = ("sh", "cat", "ls", "sleep", "stat", "id", "reboot", "mount", "true", "hostname", "find", "kill")

METADATA = """\
architecture: x86_64
creation_date: 1700000000
properties:
  os: tiny
templates:
  /etc/templated:
    when: [create, copy, start, rename]
    template: templated.tpl
  /etc/birth:
    when: [create, copy, rename]
    template: birth.tpl
  /etc/once:
    when: [create]
    create_only: true
    template: birth.tpl
  /srv/new/deep/file:
    when: [create, copy, start]
    template: deep.tpl
    uid: 33
    gid: 34
    mode: 0604
  /etc/existing:
    when: [start]
    template: existing.tpl
"""
TEMPLATES = {
    "templated.tpl": '{{ container.name }} {{ trigger }} {{ config_get("user.foo", "none") }}\n',
    "birth.tpl": "born by {{ trigger }} as {{ instance.name }} of {{ properties.os|default:'?' }}\n",
    "deep.tpl": "{% for i in 'abc' %}{{ forloop.Counter }}{{ i }} {% endfor %}\n",
    "existing.tpl": "new content\n",
}


def need(*programs: str) -> None:
    """Skip the test, or let it fail in CI, if a program, root's privileges or busybox is missing."""
    missing = [name for name in programs if shutil.which(name) is None]
    if os.geteuid() != 0:
        missing.append("root")
    if not os.path.exists(BUSYBOX):
        missing.append("busybox-static")
    if missing:
        lack(f"needs {', '.join(missing)}")


def lack(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and CI has to have it")
    pytest.skip(reason)


def run(*words: str, code: int | None = 0, timeout: float = 60, **options) -> subprocess.CompletedProcess:
    """Run a program, and check that its exit code is ``code``.

    If ``code`` is None, accept every exit code.
    """
    answer = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        **options,
    )
    if code is not None and answer.returncode != code:
        raise AssertionError(
            f"{shlex.join(words)}: exit code {answer.returncode}, not {code}\n{answer.stdout}\n{answer.stderr}"
        )
    return answer


#: a mount namespace with only cgroup2, which crun and podman need on a host with hybrid cgroups
CG2 = (
    "unshare", "-m", "--propagation", "private", "bash", "-c",
    'umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; exec "$@"', "cg2",
)  # fmt: skip


def make_rootfs(path: Path) -> Path:
    for name in ("bin", "sbin", "etc", "proc", "sys", "dev", "tmp", "run", "usr", "root", "var"):
        (path / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(BUSYBOX, path / "bin/busybox")
    for name in APPLETS:
        (path / "bin" / name).symlink_to("busybox")
    (path / "sbin/init").symlink_to("../bin/busybox")
    (path / "etc/inittab").write_text("::respawn:/bin/sleep 100000\n::ctrlaltdel:/bin/true\n")
    (path / "etc/os-release").write_text("ID=busybox\n")
    (path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nwww:x:33:34::/:/bin/sh\n")
    (path / "etc/group").write_text("root:x:0:\nwww:x:34:\n")
    (path / "etc/existing").write_text("old content\n")
    os.chown(path / "etc/existing", 33, 34)
    os.chmod(path / "etc/existing", 0o604)
    path.chmod(0o755)
    return path


def shift(path: Path, base: int) -> None:
    """Add ``base`` to each user id and group id below ``path``.

    Containers need such owners if the user id ``base`` on the host is root in the container.
    """
    for folder, folders, files in os.walk(path):
        for name in (".", *folders, *files):
            entry = os.path.join(folder, name) if name != "." else folder
            status = os.lstat(entry)
            if status.st_uid < base:
                mode = status.st_mode
                os.lchown(entry, status.st_uid + base, status.st_gid + base)
                if not os.path.islink(entry):
                    os.chmod(entry, mode & 0o7777)


def make_image(
    path: Path, metadata: str = METADATA, templates: Mapping[str, str] = TEMPLATES, instance: str = ""
) -> Path:
    (path / "templates").mkdir(parents=True, exist_ok=True)
    (path / "metadata.yaml").write_text(metadata)
    for name, text in templates.items():
        (path / "templates" / name).write_text(text)
    if instance:
        (path / "instance.yaml").write_text(instance)
    path.chmod(0o755)
    return path


INSTANCE = "name: c1\nconfig:\n  user.foo: bar\ndevices: {}\n"

#: every file that the first start writes, as seen in the container: owner, mode, content
BORN = {
    "/etc/templated": ("0:0 644", "{name} start bar\n"),
    "/etc/birth": ("0:0 644", "born by create as {name} of ?\n"),
    "/etc/once": ("0:0 644", "born by create as {name} of ?\n"),
    "/srv/new/deep/file": ("33:34 604", "1a 2b 3c \n"),
    "/etc/existing": ("33:34 604", "new content\n"),
    "/srv": ("0:0 755", None),
    "/srv/new": ("0:0 755", None),
    "/srv/new/deep": ("0:0 755", None),
}

#: a shell script that prints owner, mode and (for a file) content of each argument
SHOW = 'for f; do stat -c "%u:%g %a" $f; [ -f $f ] && cat $f; echo --; done'


def show_words(*paths: str) -> list[str]:
    return ["/bin/sh", "-c", SHOW, "show", *(paths or tuple(BORN))]


def shown(text: str, *paths: str) -> dict[str, tuple[str, str | None]]:
    """Parse the output of the command ``show_words``: return owner, mode and content of each path."""
    found = {}
    for path, part in zip(paths or tuple(BORN), text.split("--\n"), strict=False):
        owner, _, content = part.partition("\n")
        found[path] = (owner, content if content else None)
    return found


def born(name: str, **others: tuple[str, str | None]) -> dict[str, tuple[str, str | None]]:
    whole = {
        path: (owner, None if content is None else content.format(name=name))
        for path, (owner, content) in BORN.items()
    }
    return {**whole, **others}


def hook_argv(runtime: str, *options: str) -> list[str]:
    """Return the words of the hook line that ``templater hook install`` writes for a runtime."""
    return install.argv(runtime, list(options))


def hook_line(runtime: str, *options: str) -> str:
    return install.shell_line(hook_argv(runtime, *options))


def umount_below(path: Path) -> None:
    with open("/proc/self/mountinfo") as mounts:
        points = [line.split()[4].encode().decode("unicode_escape") for line in mounts]
    for point in sorted((p for p in points if p.startswith(f"{path}/")), reverse=True):
        subprocess.run(["umount", "-l", point], check=False, capture_output=True)


def new_folder(where: str | None = None) -> Iterator[Path]:
    """Yield a new folder, and remove the folder afterwards.

    The mapped root of a container can enter the folder.
    """
    path = Path(tempfile.mkdtemp(prefix="templater-live.", dir=where))
    path.chmod(0o755)
    try:
        yield path
    finally:
        umount_below(path)
        shutil.rmtree(path, ignore_errors=True)


def state_of(folder: Path) -> dict[str, str]:
    lines = (folder / ".templater/state").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def log_of(folder: Path) -> str:
    return (folder / ".templater/log").read_text()
