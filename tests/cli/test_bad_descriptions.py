"""Contradictory descriptions and backups: each command prints one clear message, and guesses nothing."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

BACKUPS = Path(__file__).parents[1] / "backups"
COMMANDS = {
    "preview": lambda src, rootfs: ("preview", src),
    "diff": lambda src, rootfs: ("diff", src, rootfs),
    "simulate": lambda src, rootfs: ("simulate", src, "start"),
}
each_command = pytest.mark.parametrize("command", COMMANDS)


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "image"
    (folder / "templates").mkdir(parents=True)
    (folder / "rootfs/etc").mkdir(parents=True)
    (folder / "templates/t.tpl").write_text("{{ trigger }}\n")
    (folder / "metadata.yaml").write_text(
        "architecture: x86_64\ncreation_date: 1\ntemplates: {/etc/t: {when: [start], template: t.tpl}}\n"
    )
    (tmp_path / "rootfs/etc").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def plan_with(place, run):
    """Return a function that runs a planning command for the image in the folder ``place``."""
    return lambda command, *more, src="": run(
        *COMMANDS[command](src or place / "image", place / "rootfs"), *more
    )


def write(path, text):
    path.write_text(text)
    return path


@each_command
def test_a_note_says_that_no_daemon_sets_the_pending_trigger_of_the_description(command, plan_with, place):
    text = "name: web1\nstatus: Stopped\nconfig: {volatile.apply_template: zzz}\ndevices: {}\n"
    code, _, err = plan_with(command, "-i", write(place / "web1.yaml", text))
    assert code == 0
    assert "no daemon sets volatile.apply_template to 'zzz': a user has set this key by hand" in err


@each_command
def test_a_note_says_that_a_running_instance_has_a_pending_trigger(command, plan_with, place):
    text = "name: web1\nstatus: Running\nconfig: {volatile.apply_template: copy}\ndevices: {}\n"
    _, _, err = plan_with(command, "-i", write(place / "web1.yaml", text))
    assert "the description has the status 'Running' and the pending trigger 'copy'" in err


@each_command
def test_a_note_says_that_a_backup_yaml_belongs_to_another_instance(command, plan_with, place):
    with tarfile.open(BACKUPS / "pending_copy.tar.gz") as tar, tarfile.open(place / "b.tar", "w") as out:
        for member in tar:
            data = tar.extractfile(member).read() if member.isreg() else b""
            if member.name.endswith("backup.yaml"):
                data = data.replace(b"name: c2", b"name: other")
            member.size = len(data)
            out.addfile(member, io.BytesIO(data))
    code, _, err = plan_with(command, src=place / "b.tar")
    assert code == 0
    assert "backup.yaml describes the instance 'other', but index.yaml names 'c2'" in err


@each_command
def test_a_truncated_backup_gives_one_clear_error(command, plan_with, place):
    whole = (BACKUPS / "pending_copy.tar.gz").read_bytes()
    (place / "b.tar.gz").write_bytes(whole[: len(whole) // 2])
    (place / "b.tar").write_bytes(gzip.decompress(whole)[:2048])
    for name in ("b.tar.gz", "b.tar"):
        code, out, err = plan_with(command, src=place / name)
        assert (code, out) == (2, "")
        assert len([line for line in err.splitlines() if line.startswith("templater: ")]) == 1, err


@pytest.mark.parametrize("command", ["preview", "simulate"])
@pytest.mark.parametrize("hostile", ["a link", "a loop", "a fifo"])
def test_no_file_outside_a_hostile_root_filesystem_is_read(command, hostile, plan_with, place):
    rootfs = place / "image/rootfs"
    (place / "outside").mkdir()
    (place / "outside/t").write_text("secret\n")
    (rootfs / "etc").rmdir()
    if hostile == "a link":
        (rootfs / "etc").symlink_to("../../outside")
    elif hostile == "a loop":
        (rootfs / "etc").symlink_to("etc")
    else:
        os.mkfifo(rootfs / "etc")
    code, out, err = plan_with(command, "--as", "incus")
    assert code in (3, 5)  # refused by templater, or by the host alone
    assert "secret" not in out + err


def test_invalid_instance_name_gives_an_error_or_a_note(plan_with, place):
    """Observed on Incus 6.0.4: Incus rejects a number as an instance name. LXC and podman accept it."""
    for command in ("preview", "diff"):
        code, _, err = plan_with(command, "--name", "1234")
        assert code == 0 and "note: the name '1234': LXD and Incus refuse" in err
    code, out, err = plan_with("simulate", "--name", "1234")
    assert (code, out) == (3, "")
    assert "invalid instance name '1234': LXD and Incus refuse" in err
    assert plan_with("simulate", "--name", "1234", "--as", "none")[0] == 0
