"""Two concurrent ``apply`` commands on one root filesystem: case 69."""

import os
import subprocess
import sys
import time

import pytest

from templater.model.errors import BusyError
from templater.writing.apply_plan import apply
from tests.attacks.outside import Scene
from tests.rootfs_builders import a_plan, strays

#: writes four files again and again, each process with its own text
WRITER = """
import sys
from templater.writing.apply_plan import apply
from tests.rootfs_builders import a_plan, opened
from pathlib import Path
for round in range(int(sys.argv[3])):
    with opened(Path(sys.argv[1])) as rootfs:
        lock = None
        text = sys.argv[2] * 1000 + str(round)
        while True:
            try:
                apply(a_plan({"/etc/%d" % n: text for n in range(4)}, rootfs), rootfs, wait=60, durable=False)
                break
            except Exception as error:
                if "since the plan was made" not in str(error):
                    raise
print("done")
"""


@pytest.mark.slow
def test_attack_69_concurrent_apply_commands_succeed_and_never_mix_their_files(scene: Scene):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(scene.top), letter, "25"], stdout=subprocess.PIPE, text=True
        )
        for letter in "ab"
    ]
    mixed = []
    while any(writer.poll() is None for writer in started):
        for n in range(4):
            try:
                text = (scene.top / f"etc/{n}").read_text()
            except FileNotFoundError:
                continue
            if len(set(text.rstrip("0123456789"))) != 1 or len(text) < 1001:
                mixed.append(text)
    assert [writer.communicate()[0] for writer in started] == ["done\n", "done\n"]
    assert mixed == []
    assert len({(scene.top / f"etc/{n}").read_text() for n in range(4)}) == 1
    assert strays(scene.top) == []


@pytest.mark.slow
def test_attack_69_the_lock_error_says_which_process_holds_the_lock(scene: Scene):
    import fcntl

    holder = os.open(scene.top, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    try:
        with scene.rootfs() as rootfs:
            began = time.monotonic()
            with pytest.raises(BusyError, match=rf"is being written by process {os.getpid()} \(") as caught:
                apply(a_plan({"/etc/hosts": "x"}, rootfs), rootfs, wait=0.3)
            assert 0.25 < time.monotonic() - began < 30
    finally:
        os.close(holder)
    assert caught.value.exit_code == 7
    assert scene.text("etc/hosts") == "old"
