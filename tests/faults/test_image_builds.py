"""Image builds with a failing system call or a signal at every step: the image is complete or absent.

The builds use unnamed or hidden temporary files, create or replace an image, and are unified, split or squashfs.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.injection import available
from tests.faults.warm import Warm
from tests.memory_folders import directory_in_memory

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(available() != "", reason=f"NOT RUN: {available()}"),
]

#: the system calls on the image's files
CALLS = ("openat", "write", "fsync", "linkat", "link", "rename", "unlink", "ftruncate", "close")
FAULTS = ("error=ENOSPC", "signal=KILL", "signal=TERM", "signal=INT")
FORMS = {
    "unified": ("--format", "unified"),
    "split": ("--format", "split"),
    "squashfs": ("--format", "split", "--rootfs", "squashfs"),
}
METADATA = "architecture: x86_64\ncreation_date: 1\ntemplates: {}\n"


class Place:
    """A folder for an image build, optionally with an old image in it."""

    def __init__(self, builder: Warm, image: Path, form: str, way: str, old: bool) -> None:
        self.builder = builder
        # a unified image on the disk, the others in memory: so a file system of each kind is tried
        where = None if form == "unified" else directory_in_memory()
        self.folder = Path(tempfile.mkdtemp(prefix="templater-faults-", dir=where))
        self.out = self.folder / "out"
        self.out.mkdir()
        self.trace = self.folder / "trace"
        self.old = dict.fromkeys(("i", "i.root")[: 1 + (form != "unified")], b"old") if old else {}
        for name, data in self.old.items():
            (self.out / name).write_bytes(data)
        words = ["image", "build", str(image), "-o", str(self.out / "i"), "--compression", "gzip"]
        self.words = [way, *words, *FORMS[form], *(["--reuse"] if old else [])]

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder)

    def run(self, *inject: str) -> "subprocess.CompletedProcess[str]":
        trace = f"trace={','.join(CALLS)}"
        return self.builder.run(self.words, ["-y", "-o", str(self.trace), "-e", trace, *inject])

    def run_undisturbed(self) -> "subprocess.CompletedProcess[str]":
        # the first file of the split image may already have its name
        return self.builder.run([*self.words, "--reuse"])

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.out.iterdir()}

    def traced(self) -> Iterator[tuple[str, str]]:
        """Yield each call's name and its text, in which names relative to a descriptor are whole paths.

        A build names its files by ``/proc/self/fd/N/NAME``, and opens the components of a path one by one.
        """
        paths: dict[str, str] = {}
        for line in self.trace.read_text(errors="replace").splitlines():
            match = re.match(r"(\w+)\(", line)
            if match is None or match[1] not in CALLS:
                continue
            text = re.sub(r"/proc/self/fd/(\d+)", lambda found: paths.get(found[1], found[0]), line)
            yield match[1], re.sub(r'<([^<>]*)>, "(?!/)', r'<\1>, "\1/', text)
            if opened := re.search(r" = (\d+)<([^<>]*)>", line):
                paths[opened[1]] = opened[2]

    def hit(self) -> bool:
        return any("(INJECTED)" in text and str(self.out) in text for _, text in self.traced())

    def calls(self) -> list[tuple[str, int]]:
        """Return the calls about the output, with at most three writes, numbered as strace counts."""
        counts = dict.fromkeys(CALLS, 0)
        found = []
        for name, text in self.traced():
            counts[name] += 1
            if str(self.out) in text:
                found.append((name, counts[name]))
        writes = [call for call in found if call[0] == "write"]
        return [call for call in found if call not in writes[1:-1] or call == writes[len(writes) // 2]]


def broken_guarantee(place: Place, whole: dict[str, bytes], call: tuple[str, int], fault: str) -> str:
    """Return the first broken guarantee, after a fault or after the next run, or an empty string."""
    done = place.run("-e", f"inject={call[0]}:{fault}:when={call[1]}")
    if fault.startswith("error") and not place.hit():
        return "the fault was not injected"
    files = place.files()
    named = {name: data for name, data in files.items() if not name.startswith(".")}
    for name, data in named.items():
        if data not in (whole[name], place.old.get(name)):
            return f"{name} is half an image"
    if "i" in named and named not in (whole, place.old):
        return f"metadata without its root filesystem: {sorted(named)}"
    if done.returncode == 0 and named != whole:
        return "exit 0, but not everything is there"
    if "Traceback" in done.stderr:
        return f"a traceback: {done.stderr[-500:]}"
    if fault.startswith("error") and done.returncode:
        if done.returncode != 6 or not re.search("no space left|input/output error|mksquashfs", done.stderr):
            return f"exit {done.returncode}: {done.stderr}"
        if files != place.old:
            return f"an error, but there is {sorted(files)}"
    if fault == "signal=INT" and named not in (place.old, whole):
        return f"interrupted, but there is {sorted(named)}"
    if files in (place.old, whole):
        return ""  # either the old state or the complete new state
    after = place.run_undisturbed()
    if after.returncode or place.files() != whole:
        return f"after the next run there is {sorted(place.files())}: {after.stderr}"
    return ""


@pytest.fixture(scope="module")
def builder() -> Iterator[Warm]:
    with Warm("tests.faults.build", environment={**os.environ}) as warm:
        yield warm


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    top = tmp_path_factory.mktemp("build") / "image"
    (top / "templates").mkdir(parents=True)
    (top / "rootfs").mkdir()
    (top / "metadata.yaml").write_text(METADATA)
    for number in range(3):  # several writes of a quarter of a MiB each
        (top / "rootfs" / str(number)).write_bytes(os.urandom(300_000))
    for path in top.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    return top


@pytest.mark.parametrize("old", [False, True], ids=["new", "over an old one"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", ["nameless", "hidden"])
def test_an_interrupted_build_leaves_no_partial_image(builder, image, form, way, old):
    if form == "squashfs" and shutil.which("mksquashfs") is None:
        pytest.skip("NOT RUN: needs mksquashfs")

    def case(call, fault):
        with Place(builder, image, form, way, old) as place:
            return call, fault, broken_guarantee(place, whole, call, fault)

    with Place(builder, image, form, way, old) as place:
        assert place.run_undisturbed().returncode == 0
        whole = place.files()
    with Place(builder, image, form, way, old) as place:
        assert place.run().returncode == 0 and place.files() == whole
        calls = place.calls()
    assert {"openat", "fsync"} <= {name for name, _ in calls}, calls
    assert {name for name, _ in calls} & {"linkat", "link", "rename"}, calls
    assert way == "nameless" or old or ("unlink" in {name for name, _ in calls})
    assert not old or "rename" in {name for name, _ in calls}, calls
    # nothing that a signal could interrupt happens between a close and the next call
    faults = FAULTS if way == "hidden" else FAULTS[:2]  # an unnamed file needs no removal
    cases = [(call, fault) for call in calls for fault in (FAULTS[:1] if call[0] == "close" else faults)]
    judged = [case(*each) for each in cases]
    assert not [each for each in judged if each[2]], "\n".join(map(str, judged))
