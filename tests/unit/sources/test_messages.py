"""The notes about a source, and the message and the hint of each refusal."""

import io
import tarfile

import pytest

from templater.model.errors import InputError, RefusedError, TemplaterError, UsageError
from templater.sources.backup import BackupImage
from templater.sources.open_source import open_source

BACKUP = (
    "instance: {name: b, type: container, architecture: x86_64, config: {%s}, devices: {}, profiles: []}\n"
)
PENDING = "volatile.apply_template: copy"
OUT_OF_DATE = (
    "the pending trigger in backup.yaml may have run already, because a start leaves the trigger in "
    "backup.yaml; for the current state, save the output of `incus query /1.0/instances/NAME` to a "
    "file, and add -i FILE"
)


def failed(function, *arguments):
    with pytest.raises(TemplaterError) as caught:
        function(*arguments)
    return type(caught.value), caught.value.message, caught.value.hint


def folder(path, **files):
    (path / "rootfs").mkdir(parents=True)
    (path / "metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n")
    for name, text in files.items():
        (path / name.replace("_", ".")).write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("name", "files", "notes"),
    [
        ("b", {"instance_yaml": "name: b\nconfig: {}\n"}, ["using the instance from '{}/instance.yaml'", "'.templater' records no start: the next start counts as the first"]),
        ("b", {"instance_yaml": f"name: b\nconfig: {{{PENDING}}}\n"}, ["using the instance from '{}/instance.yaml'"]),
        ("b", {"backup_yaml": BACKUP % ""}, ["using the instance from '{}/backup.yaml'"]),
        ("p_b", {"backup_yaml": BACKUP % ""}, ["using the instance from '{}/backup.yaml'"]),
        ("b", {"backup_yaml": BACKUP % PENDING}, ["using the instance from '{}/backup.yaml'", OUT_OF_DATE]),
        ("c", {"backup_yaml": BACKUP % ""}, ["using the instance from '{}/backup.yaml'", "backup.yaml describes the instance 'b', but its folder is named 'c': the file or the folder may belong to another instance"]),
    ],
)  # fmt: skip
def test_a_note_says_which_file_describes_the_instance(name, files, notes, tmp_path):
    path = folder(tmp_path / name, **files)
    found = open_source(path)
    assert list(found.read_instance().notes) == [note.format(path) for note in notes]
    assert found.read_instance(name="z").name == "z"
    assert found.has_rootfs and found.is_instance


def test_a_directory_without_an_instance_is_refused(tmp_path):
    image = folder(tmp_path / "i")
    found = open_source(image)
    assert failed(found.read_instance) == (UsageError, f"'{image}' is an image, not an instance", "")
    assert found.pending(None) is None
    for place in ("", "backup/"):
        path = tmp_path / f"u{len(place)}"
        (path / place).mkdir(parents=True)
        (path / place / "index.yaml").write_text("")
        hint = f"give the tarball, or '{path}/{place}container'"
        assert failed(open_source, str(path)) == (InputError, f"'{path}' is an unpacked backup", hint)
    path = tmp_path / "f"
    path.mkdir()
    (path / "rootfs").write_text("")
    assert failed(open_source, str(path)) == (
        RefusedError,
        f"'{path}': 'rootfs' is a file, not a directory",
        "",
    )


@pytest.mark.parametrize(
    ("members", "error", "message", "hint"),
    [
        (["backup/container.bin", "backup/index.yaml"], InputError, "is an optimized backup: its files are in the storage pool's own format", "export the instance again without --optimized-storage"),
        (["backup/virtual-machine.bin"], InputError, "is an optimized backup: its files are in the storage pool's own format", "export the instance again without --optimized-storage"),
        (["backup/container/metadata.yaml"], InputError, "has no backup/index.yaml: it is not a complete backup", ""),
        (["backup/index.yaml", "metadata.yaml"], RefusedError, "contains a backup and an image: 'backup/' and 'metadata.yaml'", "pack the backup and the image in two archives"),
        (["backup/index.yaml/"], RefusedError, ": 'backup/index.yaml' is a directory, not a regular file", ""),
    ],
)  # fmt: skip
def test_an_unusable_backup_is_refused_with_the_reason(members, error, message, hint, tmp_path):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in members:
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            archive.addfile(member)
    path = tmp_path / "backup.tar"
    path.write_bytes(data.getvalue())
    separator = "" if message.startswith(":") else " "
    assert failed(BackupImage(str(path)).read_whole) == (error, f"'{path}'{separator}{message}", hint)
