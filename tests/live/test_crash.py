"""Tests that kill a hook at random moments, and tests that run two hooks at the same time."""

import os
import random
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import INSTANCE, METADATA, TEMPLATES, hook_argv, make_image, need, new_folder

pytestmark = [pytest.mark.live, pytest.mark.slow]

KILLS = 200

OLD = {"etc/existing": b"old content\n", "etc/templated": b"an older one\n"}


def instance(folder: Path) -> Path:
    """Create an instance whose templates write large files, so that a test can kill the hook meanwhile."""
    (folder / "rootfs/etc").mkdir(parents=True)
    for name, content in OLD.items():
        (folder / "rootfs" / name).write_bytes(content)
        os.chmod(folder / "rootfs" / name, 0o604)
    metadata = METADATA + "".join(
        f"  /srv/many/{n}:\n    when: [create, start]\n    template: big.tpl\n" for n in range(20)
    )
    big = {"big.tpl": "{{ path }}\n" + "{% for i in 'abcdefghij' %}" + "x" * 4000 + "{% endfor %}\n"}
    make_image(folder, metadata, {**TEMPLATES, **big}, instance=INSTANCE)
    (folder / "config").write_text("")
    return folder


def hook(folder: Path) -> subprocess.Popen:
    environ = {
        "LXC_NAME": "c1", "LXC_HOOK_TYPE": "pre-start", "LXC_CONFIG_FILE": f"{folder}/config",
        "LXC_ROOTFS_PATH": f"{folder}/rootfs",
    }  # fmt: skip
    return subprocess.Popen(hook_argv("lxc"), env=environ, stderr=subprocess.PIPE)


def finish(folder: Path) -> None:
    process = hook(folder)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0, error.decode()


def tree(folder: Path) -> dict[str, tuple]:
    """Return kind, mode, owner and content of every entry in the root filesystem."""
    found = {}
    for path in sorted((folder / "rootfs").rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else None
        name = str(path.relative_to(folder / "rootfs"))
        found[name] = (oct(status.st_mode), status.st_uid, status.st_gid, content)
    return found


def copy(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)
    return target


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder in memory, where fsync is fast.

    These tests are about killed hooks, not power failures.
    """
    yield from new_folder("/dev/shm" if os.path.isdir("/dev/shm") else None)


@pytest.fixture
def calm(folder: Path) -> tuple[Path, dict[str, tuple], float]:
    """Return an instance that never started, and the result of a first start without a kill.

    The result consists of the root filesystem's entries and the duration in seconds. The instance has a
    filled cache of compiled templates.
    """
    need()
    fresh = instance(folder / "fresh")
    first = copy(fresh, folder / "first")
    finish(first)
    shutil.copytree(first / ".templater/cache", fresh / ".templater/cache")
    for path in (fresh / ".templater", fresh / ".templater/cache"):
        path.chmod(0o700)
    calm = copy(fresh, folder / "calm")
    start = time.monotonic()
    finish(calm)
    return fresh, tree(calm), time.monotonic() - start


def wait_for_writing(folder: Path, process: subprocess.Popen) -> None:
    """Wait until the hook has a journal, which is the short phase in which it writes files."""
    while process.poll() is None and not (folder / ".templater/journal").exists():
        time.sleep(0.0002)


def test_a_killed_hook_leaves_no_partial_file(folder: Path, calm):
    fresh, wanted, seconds = calm
    chance = random.Random(4)
    ended = {"before": 0, "between": 0, "after": 0}
    for number in range(KILLS):
        victim = copy(fresh, folder / "victim")
        process = hook(victim)
        if number % 2:
            wait_for_writing(victim, process)
            time.sleep(chance.uniform(0, seconds / 10))
        else:
            time.sleep(chance.uniform(0, seconds * 1.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        after = tree(victim)
        news = 0
        for name, entry in wanted.items():
            content = after.get(name, (None, None, None, None))[3]
            assert name not in after or content in (entry[3], OLD.get(name)), f"kill {number}: {name} is torn"
            news += name in after and content == entry[3] and entry[3] is not None
        files = sum(entry[3] is not None for entry in wanted.values())
        ended["before" if news == 0 else "after" if news == files else "between"] += 1
        state = victim / ".templater/state"
        assert not state.exists() or state.read_bytes() == b"name=c1\n", f"kill {number}: the state"
        finish(victim)
        assert tree(victim) == wanted, f"after kill {number}"
        assert state.read_bytes() == b"name=c1\n"
        assert not [p for p in (victim / ".templater").iterdir() if p.name.endswith(".new")]
    print(ended, f"{seconds * 1000:.0f} ms undisturbed")
    assert ended["before"] > KILLS // 20 and ended["after"] + ended["between"] > KILLS // 20, ended


def test_concurrent_hooks_succeed_and_give_the_same_result(folder: Path, calm):
    fresh, wanted, _ = calm
    for _ in range(10):
        both = copy(fresh, folder / "both")
        processes = [hook(both), hook(both)]
        for process in processes:
            _, error = process.communicate(timeout=60)
            assert process.returncode == 0, error.decode()
        assert tree(both) == wanted
        lines = (both / ".templater/log").read_text().splitlines()
        assert sum("create then start" in line for line in lines) == 1, "the creation ran once"
        assert sum(": start: " in line for line in lines) == 1
