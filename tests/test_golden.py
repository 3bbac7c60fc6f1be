"""Each sample image, instance and trigger, compared with the real pongo2 v4 (tests/golden/record.py)."""

import hashlib
import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from templater.image.open_image import open_image
from templater.model.hosts import HOSTS
from templater.planning.decide_changes import FAILED
from templater.planning.plan_image import plan
from templater.reporting.patch import diff
from templater.rootfs.directory_rootfs import DirectoryRootfs
from templater.rootfs.memory_rootfs import MemoryRootfs
from templater.writing.apply_plan import apply
from tests.differential.oracle import Oracle, Unavailable, program_for
from tests.golden.record import CASES, IMAGES, TRIGGERS, Engine, kept, record, rewrite

LIFE = [
    pytest.param(case, trigger, id=f"{case.image}-{case.name}-{trigger}")
    for case in CASES
    for trigger in TRIGGERS
]


def planned(case, *triggers, image=None, host="incus-debian", rootfs=None):
    return plan(
        image or open_image(str(IMAGES / case.image)),
        case.read(),
        triggers=triggers,
        host=HOSTS[host],
        dialect="v4",
        rootfs=rootfs,
    )


def manifest(changes):
    """Return the plan as lines of a MANIFEST, without the kind of an error."""
    lines = []
    for change in changes:
        if change.action == FAILED:
            lines.append(f"error - - {change.path}")
        else:
            digest = hashlib.sha256(change.content).hexdigest()
            lines.append(f"{digest} {change.uid}:{change.gid} {change.mode:04o} {change.path}")
    return sorted(lines, key=lambda line: line.split(" ", 3)[3])


def recorded(case, trigger):
    file = case.folder / trigger / "MANIFEST"
    lines = file.read_text().splitlines() if file.exists() else []
    lines = [" ".join(line.split(" ")[:-1]) if line.startswith("error") else line for line in lines]
    return sorted(lines, key=lambda line: line.split(" ", 3)[3])


def test_the_golden_files_match_the_output_of_the_real_pongo2(update):
    try:
        program = program_for("v4")
    except Unavailable as reason:
        assert not os.environ.get("CI"), reason
        pytest.skip(str(reason))
    with Oracle(program) as oracle:
        files = record(Engine(oracle))
    if update:
        rewrite(files)
    assert kept() == files


def test_every_sample_image_and_instance_has_a_golden_file():
    assert {case.image for case in CASES} == {
        path.name for path in IMAGES.iterdir() if (path / "metadata.yaml").exists()
    }
    assert all((case.folder / "create" / "MANIFEST").exists() for case in CASES)
    files = {case.file for case in CASES}
    assert files == {path for path in IMAGES.glob("*/instances/**/*") if path.is_file()}


@pytest.mark.parametrize(("case", "trigger"), LIFE)
def test_a_plan_gives_the_same_output_as_the_real_pongo2(case, trigger):
    changes = planned(case, trigger).changes
    assert manifest(changes) == recorded(case, trigger)
    for change in changes:
        if change.action != FAILED:
            assert change.content == (case.folder / trigger / "tree" / change.path.lstrip("/")).read_bytes()


def tarball(folder):
    """Return a unified image as the daemons pack it. Do not use templater's own builder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder / "metadata.yaml", "metadata.yaml")
        tar.add(folder / "templates", "templates")
        if (folder / "rootfs").exists():
            tar.add(folder / "rootfs", "rootfs")
    return buffer.getvalue()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.image}-{case.name}")
def test_a_tarball_gives_the_same_plan_as_its_directory(case, tmp_path):
    file = tmp_path / "image.tar.gz"
    file.write_bytes(tarball(IMAGES / case.image))
    packed = planned(case, "create", "start", image=open_image(str(file)))
    assert manifest(packed.changes) == manifest(planned(case, "create", "start").changes)


GOOD = [param for param in LIFE if param.values[0].image not in ("broken", "rocky-vm")]


def a_rootfs(case, tmp_path):
    folder = tmp_path / "rootfs"
    source = IMAGES / case.image / "rootfs"
    if source.exists():
        shutil.copytree(source, folder, symlinks=True)
    else:
        folder.mkdir()
    return folder


def identities(folder):
    """Return the inode and the times of each entry of a tree."""
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in folders + files:
            path = Path(parent) / name
            status = path.lstat()
            found[str(path)] = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
    return found


def skip_without_root(case):
    if case.image == "permissions" and os.geteuid() != 0:
        pytest.skip("NOT RUN: needs root, for files that belong to other users")


@pytest.mark.parametrize(("case", "trigger"), GOOD)
def test_diff_and_apply_find_no_changes_after_an_earlier_apply(case, trigger, tmp_path):
    skip_without_root(case)
    folder = a_rootfs(case, tmp_path)
    with DirectoryRootfs(str(folder)) as rootfs:
        apply(planned(case, trigger, host="none", rootfs=rootfs), rootfs)
        again = planned(case, trigger, host="none", rootfs=rootfs)
        assert diff(again) == ""
        before = identities(folder)
        assert apply(again, rootfs) == []
        assert identities(folder) == before


@pytest.mark.slow
@pytest.mark.parametrize(("case", "trigger"), GOOD)
def test_the_plan_is_equal_in_memory_and_on_disk(case, trigger, tmp_path):
    skip_without_root(case)
    folder = tmp_path / "rootfs"
    folder.mkdir()
    with DirectoryRootfs(str(folder)) as rootfs:
        on_disk = planned(case, trigger, rootfs=rootfs)
    in_memory = planned(case, trigger, rootfs=MemoryRootfs())
    assert [repr(change) for change in on_disk.changes] == [repr(change) for change in in_memory.changes]
    assert manifest(on_disk.changes) == manifest(in_memory.changes)
