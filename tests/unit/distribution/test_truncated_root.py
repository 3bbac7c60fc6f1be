"""Root filesystems and disks without their end, which templater adds to no tree and to no store."""

import random
import shutil
import subprocess

import pytest

from templater.distribution import truncated_root
from templater.distribution.add_to_tree import add
from templater.distribution.store import Store
from templater.distribution.truncated_root import refuse_truncated
from templater.model.errors import InputError
from tests.streams.builders import QCOW2, SQUASHFS, split_image, squashfs

CLUSTER = 1 << 9
COPIED = 1 << 63


def disk(*clusters, tables=1, version=3, features=0, bits=9, refcounts=CLUSTER):
    """A qcow2 disk, in this order: header, reference counts, first table, second tables, a cluster of data.

    The second tables have these entries.
    """
    first, second = 2 * CLUSTER, 3 * CLUSTER
    head = (
        b"QFI\xfb"
        + version.to_bytes(4, "big")
        + bytes(12)
        + bits.to_bytes(4, "big")
        + (1 << 20).to_bytes(8, "big")
    )
    head += (
        bytes(4)
        + tables.to_bytes(4, "big")
        + first.to_bytes(8, "big")
        + refcounts.to_bytes(8, "big")
        + bytes(16)
    )
    data = head.ljust(72, b"\0") + features.to_bytes(8, "big")
    data = data.ljust(first, b"\0") + (COPIED | second).to_bytes(8, "big")
    return data.ljust(second, b"\0") + b"".join(each.to_bytes(8, "big") for each in clusters).ljust(
        CLUSTER, b"\0"
    )


def refused(tmp_path, data):
    path = tmp_path / "root"
    path.write_bytes(data)
    try:
        refuse_truncated(str(path))
    except InputError as error:
        return error.message.removeprefix(f"'{path}' is cut short: it has ")
    return ""


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (SQUASHFS, ""),
        (squashfs(7), ""),
        (b"hsqs" + bytes(36) + (96).to_bytes(8, "little") + bytes(48), ""),
        (b"hsqs" + bytes(36) + (96).to_bytes(8, "little") + bytes(47), "95 bytes, and needs at least 96"),
        (b"hsqs", ""),
        (b"other", ""),
        (QCOW2, ""),
        (QCOW2[:71], "71 bytes, and needs at least 72"),
        (disk(), ""),
        (disk(refcounts=9000), "2048 bytes, and needs at least 9001"),
        (disk()[: 2 * CLUSTER], "1024 bytes, and needs at least 1032"),
        (disk()[: 3 * CLUSTER], "1536 bytes, and needs at least 1537"),
        (disk(COPIED | 4 * CLUSTER), "2048 bytes, and needs at least 2049"),
        (disk(COPIED | 4 * CLUSTER) + b"1", ""),
        (disk(4 * CLUSTER, COPIED | 6 * CLUSTER, 0) + bytes(CLUSTER), "2560 bytes, and needs at least 3073"),
        (disk(1 << 62 | 5 * CLUSTER + 7, 1 << 62 | 1 << 61 | 9), "2048 bytes, and needs at least 2568"),
        (disk(COPIED | 9 * CLUSTER, version=2, features=4), "2048 bytes, and needs at least 4609"),
        (disk(COPIED | 9 * CLUSTER, features=4), ""),
        (disk(COPIED | 9 * CLUSTER, features=16), ""),
        (disk(COPIED | 9 * CLUSTER, bits=8), ""),
        (disk(COPIED | 9 * CLUSTER, bits=22), ""),
        (disk(tables=1 << 31), f"2048 bytes, and needs at least {1024 + (8 << 31)}"),
    ],
)  # fmt: skip
def test_a_truncated_file_is_refused(data, message, tmp_path):
    assert refused(tmp_path, data) == message


def test_the_tables_of_a_very_large_disk_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(truncated_root, "_MOST_TABLES", CLUSTER - 1)
    assert refused(tmp_path, disk(COPIED | 9 * CLUSTER)) == ""
    assert refused(tmp_path, disk()[: 3 * CLUSTER]) == "1536 bytes, and needs at least 1537"


@pytest.mark.parametrize("command", ["add", "import"])
@pytest.mark.parametrize(
    "whole", [disk(COPIED | 4 * CLUSTER) + bytes(CLUSTER), b"hsqs" + bytes(36) + b"\x60" + bytes(55)]
)
def test_a_truncated_root_filesystem_is_not_added(command, whole, tree, tmp_path):
    meta, root = split_image(tmp_path / "cut", root=whole[: len(whole) // 2])
    store = Store(str(tmp_path / "store"))
    with pytest.raises(InputError, match="is cut short"):
        add(tree, meta, [root]) if command == "add" else store.import_files(meta, root)
    assert not (tmp_path / "tree").exists() and store.images() == []
    meta, root = split_image(tmp_path / "whole", root=whole)
    if command == "add":
        add(tree, meta, [root])


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["-c"], ["-o", "cluster_size=4k"], ["-o", "compat=0.10"]])
def test_half_of_a_qemu_disk_is_refused(options, tmp_path):
    if shutil.which("qemu-img") is None:
        pytest.skip("needs qemu-img")
    raw, made = tmp_path / "raw", tmp_path / "disk"
    raw.write_bytes(b"".join(bytes([number % 251 + 1]) * 5000 for number in range(1000)))
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", *options, raw, made], check=True)
    whole = made.read_bytes()
    assert refused(tmp_path, whole) == ""
    assert "needs at least" in refused(tmp_path, whole[: len(whole) // 2])
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", made, "1G"], check=True)
    assert refused(tmp_path, made.read_bytes()) == ""


@pytest.mark.slow
def test_half_of_a_squashfs_file_is_refused(tmp_path):
    if shutil.which("mksquashfs") is None:
        pytest.skip("needs mksquashfs")
    (tmp_path / "files").mkdir()
    (tmp_path / "files/a").write_bytes(random.Random(1).randbytes(256_000))
    subprocess.run(
        ["mksquashfs", tmp_path / "files", tmp_path / "made", "-quiet", "-no-progress"], check=True
    )
    whole = (tmp_path / "made").read_bytes()
    assert refused(tmp_path, whole) == ""
    assert "needs at least" in refused(tmp_path, whole[: len(whole) // 2])
