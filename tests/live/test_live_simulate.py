"""Tests that compare `simulate incus:NAME` and `watch incus:NAME` with the results of a real Incus."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.reading_proxy import reading_proxy

from .harness import make_image, make_rootfs, run
from .incus import Incus, an_incus
from .test_next_start import METADATA, TEMPLATES, files

pytestmark = pytest.mark.live

START, STOP = ["start", "NAME"], ["stop", "-f", "NAME"]

#: for each life: the steps before the simulation, and the simulated steps
LIVES: dict[str, tuple[list[list[str]], list[str]]] = {
    "new": ([], ["start"]),
    "new-configured": ([], ["c:user.foo=one", "start", "c:user.foo=two", "restart"]),
    "new-renamed": ([], ["rename=new-renamed-2", "start"]),
    "new-privileged": ([], ["c:security.privileged=true", "start"]),
    "new-copied": ([], ["copy=new-copied-2", "new-copied-2:start"]),
    "running": ([START], ["c:user.foo=other", "restart"]),
    "running-stopped": ([START], ["stop", "c:user.foo=other", "start"]),
    "running-copied": ([START], ["copy=running-copied-2", "running-copied-2:start"]),
    "running-again": ([START], ["c:volatile.apply_template=create", "c:user.foo=again", "restart"]),
    "stopped": ([START, STOP], ["start"]),
    "stopped-unset": ([START, STOP], ["c:user.foo=", "start"]),
    "stopped-renamed": ([START, STOP], ["rename=stopped-renamed-2", "start", "stop", "start"]),
    "stopped-copied": ([START, STOP], ["copy=stopped-copied-2", "stopped-copied-2:rename=stopped-copied-3",
                                       "stopped-copied-3:start"]),
    "edited": ([START, ["exec", "NAME", "--", "/bin/sh", "-c", "echo mine > /etc/start; rm /etc/birth"], STOP],
               ["start", "stop", "c:user.foo=later", "start"]),
    "restored": ([START, STOP], ["snapshot=s0", "c:user.foo=later", "start", "stop", "restore=s0", "start"]),
    "snapshot-copied": ([], ["snapshot=s1", "start", "copy=snapshot-copied-2/s1", "snapshot-copied-2:start"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def incus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Incus]:
    for incus in an_incus():
        source = tmp_path_factory.mktemp("image")
        make_image(source, METADATA, TEMPLATES)
        make_rootfs(source / "rootfs")
        run(
            "tar", "-C", str(source), "-cf", str(source / "image.tar"), "metadata.yaml", "templates", "rootfs"
        )
        incus("image", "import", str(source / "image.tar"), "--alias", "t")
        yield incus


def words_of(name: str, step: str) -> list[str]:
    """Return the words of the `incus` command that performs a step of the simulation."""
    first, colon, rest = step.partition(":")
    if colon and first not in ("c", "d", "p"):
        name, step = first, rest
    verb, _, argument = step.partition("=")
    if step.startswith("c:"):
        return ["config", "set", name, step.removeprefix("c:")]
    if verb == "copy":
        new, _, snapshot = argument.partition("/")
        return ["copy", f"{name}/{snapshot}" if snapshot else name, new]
    if verb in ("rename", "snapshot", "restore"):
        return {"rename": ["rename", name, argument], "snapshot": ["snapshot", "create", name, argument],
                "restore": ["snapshot", "restore", name, argument]}[verb]  # fmt: skip
    return [verb, name, *(["-f"] if verb in ("stop", "restart") else [])]


def followed(
    name: str, before: dict[str, Any], steps: list[str], reports: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the files that each instance must have after the simulated steps, according to their reports."""
    states: dict[str, dict[str, Any]] = {name: dict(before)}
    snapshots: dict[str, dict[str, Any]] = {}
    for step, report in zip(steps, reports, strict=True):
        assert report["error"] is None and not report["unknown"], report
        subject, _, verb = step.rpartition(":") if not step.startswith("c:") else (name, "", step)
        subject = subject or name
        kind, _, argument = verb.partition("=")
        if kind == "copy":
            new, _, snapshot = argument.partition("/")
            states[new] = dict(snapshots[snapshot] if snapshot else states[subject])
        elif kind == "rename":
            states[argument] = states.pop(subject)
            name = argument if subject == name else name
        elif kind == "snapshot":
            snapshots[argument] = dict(states[subject])
        elif kind == "restore":
            states[subject] = dict(snapshots[argument])
        for change in report["changes"]:
            content = change["content"].encode()
            states[report["instance"]][change["path"]] = (
                change["uid"],
                change["gid"],
                change["mode"],
                content,
            )
    return states


@pytest.mark.parametrize("name", LIVES)
def test_a_simulated_lifecycle_gives_the_files_of_the_daemon(incus: Incus, name: str) -> None:
    earlier, steps = LIVES[name]
    incus("create", "t", name, "-c", "user.foo=bar")
    for words in earlier:
        incus(*(word.replace("NAME", name) for word in words))
    before = files(incus.rootfs(name))
    with reading_proxy(str(incus.folder / "unix.socket")) as proxy:
        answer = subprocess.run(
            [sys.executable, "-m", "templater", "simulate", f"incus:{name}", *steps, "--json"],
            capture_output=True, text=True, check=False, env={**os.environ, "INCUS_SOCKET": proxy.path},
        )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert proxy.refused == []
    expected = followed(name, before, steps, json.loads(answer.stdout))
    current = name
    for step in steps:
        incus(*words_of(current, step))
        if step.startswith("rename="):
            current = step.partition("=")[2]
    assert {each: files(incus.rootfs(each)) for each in expected} == expected
    assert (
        any(file != before[path] for found in expected.values() for path, file in found.items())
        or name == "stopped"
    )


def test_the_watch_command_shows_the_diff_again_after_a_change(incus: Incus) -> None:
    incus("launch", "t", "watched", "-c", "user.foo=bar")
    with reading_proxy(str(incus.folder / "unix.socket")) as proxy:
        program = subprocess.Popen(
            [sys.executable, "-m", "templater", "watch", "incus:watched", "--json"], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env={**os.environ, "INCUS_SOCKET": proxy.path},
        )  # fmt: skip
        try:
            lines = Lines(program)
            assert lines.next()["instance"] == "watched"
            incus("config", "set", "watched", "user.foo=changed")
            second = lines.next()
            start = next(file for file in second["files"] if file["path"] == "/etc/start")
            assert start["verdict"] == "change" and "changed" in start["change"]["content"]
            incus("restart", "-f", "watched")
            while any(file["verdict"] == "change" for file in lines.next()["files"]):
                pass
        finally:
            program.terminate()
            program.communicate()
    assert proxy.refused == []


class Lines:
    """The JSON objects that a running program prints. Each line of its output is one object."""

    def __init__(self, program: "subprocess.Popen[str]") -> None:
        self.found: list[dict[str, Any]] = []
        self.arrived = threading.Semaphore(0)
        threading.Thread(target=self.read, args=(program,), daemon=True).start()

    def read(self, program: "subprocess.Popen[str]") -> None:
        assert program.stdout is not None
        with contextlib.suppress(ValueError):
            for line in program.stdout:
                self.found.append(json.loads(line))
                self.arrived.release()

    def next(self) -> dict[str, Any]:
        assert self.arrived.acquire(timeout=60), "no further diff within a minute"
        return self.found.pop(0)
