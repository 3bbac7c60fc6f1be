"""The members of an archive that GNU tar can't unpack."""

import io
import random
import shutil
import subprocess
import tarfile

import pytest

from templater.image import gnu_tar_refusals
from templater.image.gnu_tar_refusals import (
    BELOW_FILE,
    BELOW_LINK,
    DIRECTORY_TARGET,
    NO_TARGET,
    OVER_DIRECTORY,
    TARGET_THROUGH_LINK,
    THROUGH_LINK,
    UnpackedTree,
    described,
)
from templater.model.entry import CHAR_DEVICE, DIRECTORY, FIFO, FILE, SYMLINK
from templater.model.errors import LimitError


def a_file(path):
    return path, FILE


def a_folder(path):
    return path, DIRECTORY


def a_link(path, target):
    return path, SYMLINK, target


def a_hard_link(path, target):
    return path, FILE, "", target


def reasons(*members):
    tree = UnpackedTree()
    return [tree.add(*member) for member in members]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([a_file("a/b/c"), a_folder("a"), a_folder("a"), a_file("a/b/c")], ""),
        ([a_file("a"), a_file("a/b")], BELOW_FILE),
        ([a_file("a"), a_file("a/b/c/d")], BELOW_FILE),
        ([("a", FIFO), a_folder("a/b")], BELOW_FILE),
        ([("a", CHAR_DEVICE), a_link("a/b", "c")], BELOW_FILE),
        ([a_file("a"), a_hard_link("b", "a"), a_file("b/c")], BELOW_FILE),
        ([a_link("a", "/b"), a_file("a/c")], BELOW_LINK),
        ([a_link("a", "../b"), a_file("a/c/d")], BELOW_LINK),
        ([a_link("a", "b/.."), a_hard_link("c", "a"), a_file("c/d")], BELOW_LINK),
        ([a_link("a", "b..c"), a_file("a/c")], THROUGH_LINK),
        ([a_link("a", "b"), a_file("a/c/d")], THROUGH_LINK),
        ([a_hard_link("a", "b")], NO_TARGET),
        ([a_hard_link("a", "a")], NO_TARGET),
        ([a_file("a"), a_hard_link("a", "a")], ""),
        ([a_file("a/b"), a_hard_link("c", "a")], DIRECTORY_TARGET),
        ([a_folder("a"), a_hard_link("c", "a")], DIRECTORY_TARGET),
        ([a_link("a", "b"), a_hard_link("c", "a")], ""),
        ([a_link("a", "b"), a_hard_link("c", "a/d")], TARGET_THROUGH_LINK),
        ([a_hard_link("c", "/d")], TARGET_THROUGH_LINK),
        ([a_hard_link("c", "../d")], TARGET_THROUGH_LINK),
        ([a_file("a/b"), a_file("a")], OVER_DIRECTORY),
        ([a_file("a/b/c"), a_link("a", "d")], OVER_DIRECTORY),
        ([a_file("b"), a_file("a/c"), a_hard_link("a", "b")], OVER_DIRECTORY),
        ([a_folder("a"), a_file("a")], ""),
        ([a_file("a"), a_folder("a"), a_file("a/b")], ""),
    ],
)  # fmt: skip
def test_the_reason_why_gnu_tar_cannot_unpack_a_member_is_found(members, reason):
    *earlier, last = reasons(*members)
    assert (earlier, last) == ([""] * len(earlier), reason)


@pytest.mark.parametrize(
    ("reason", "phrase"),
    [
        (BELOW_FILE, r"'a\n' is below a file"),
        (NO_TARGET, r"'a\n' is a hard link to 'b\n', which does not precede the link in the archive"),
    ],
)
def test_names_in_the_reason_for_a_refusal_are_escaped(reason, phrase):
    assert described("a\n", "b\n", reason) == phrase


def test_names_of_directories_without_a_member_have_a_limit(monkeypatch):
    monkeypatch.setattr(gnu_tar_refusals, "_MOST_IMPLIED", 10)
    tree = UnpackedTree()
    assert not tree.add("aaa/aa/f", FILE)
    assert not tree.add("aaa/aa/g", FILE)
    with pytest.raises(LimitError, match=r"^the names of directories without a member have more than 10"):
        tree.add("b/c/f", FILE)


def random_members(chosen):
    names = ["r/a", "r/b", "r/a/c", "r/a/c/d", "r/b/e", "r/a/f"]
    for _ in range(chosen.randint(1, 6)):
        name = chosen.choice(names)
        yield chosen.choice(
            [
                a_file(name), a_folder(name), a_hard_link(name, chosen.choice(names)),
                a_link(name, chosen.choice(["b", "c", "/x", "../b"])),
            ]
        )  # fmt: skip


def archive(members) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, kind, *targets in members:
            info = tarfile.TarInfo(path)
            info.mode = 0o755
            info.linkname = targets[-1] if targets else ""
            hard = len(targets) == 2
            info.type = (
                tarfile.LNKTYPE if hard
                else {FILE: tarfile.REGTYPE, DIRECTORY: tarfile.DIRTYPE, SYMLINK: tarfile.SYMTYPE}[kind]
            )  # fmt: skip
            tar.addfile(info)
    return data.getvalue()


def replaces_a_late_link(members) -> bool:
    """Return whether a directory takes the place of a symlink that GNU tar makes last.

    The file system decides whether GNU tar can then unpack the archive.
    """
    late = any(kind == SYMLINK and targets[0] in ("/x", "../b") for _, kind, *targets in members)
    return late and any(kind == DIRECTORY for _, kind, *_ in members)


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar")
def test_templater_and_gnu_tar_refuse_the_same_members(tmp_path):
    chosen = random.Random(7)
    failures = 0
    for number in range(60):
        members = list(random_members(chosen))
        found = set(reasons(*members)) - {""}
        if found & {THROUGH_LINK, TARGET_THROUGH_LINK} or replaces_a_late_link(members):
            continue
        folder = tmp_path / str(number)
        folder.mkdir()
        run = subprocess.run(
            ["tar", "-C", folder, "--restrict", "--numeric-owner", "-xf", "-"],
            input=archive(members), capture_output=True, check=False,
        )  # fmt: skip
        assert (run.returncode != 0) == bool(found), (members, found, run.stderr)
        failures += run.returncode != 0
    assert failures > 10
