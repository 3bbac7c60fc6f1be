"""SRC: images, instance directories, storage pool folders of LXD and Incus, and recorded Incus backups."""

import gzip
import io
import tarfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from templater.image.limits import DEEPEST
from templater.model.default_triggers import default_triggers
from templater.model.errors import InputError, LimitError, RefusedError, UsageError
from templater.planning.plan_image import plan
from templater.sources.backup import is_backup
from templater.sources.open_source import (
    BACKUP,
    IMAGE,
    INSTANCE_DIRECTORY,
    INSTANCE_FOLDER,
    OpenedSource,
    open_source,
)

BACKUPS = Path(__file__).parents[2] / "backups"


def unpacked(name: str, folder: Path) -> Path:
    """Unpack a backup and return the instance's folder as in the storage pool."""
    with tarfile.open(BACKUPS / f"{name}.tar.gz") as tar:
        tar.extractall(folder, filter="tar")
    place = folder / "backup/container"
    place.chmod(0o755)
    return place


def repacked(name: str, target: Path, edit: "Callable[[str, bytes], bytes | None]") -> Path:
    """Rewrite a backup with changed contents; None removes a member."""
    with tarfile.open(BACKUPS / f"{name}.tar.gz") as tar, tarfile.open(target, "w") as out:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            data = edit(member.name, b"" if file is None else file.read())
            if data is not None:
                member.size = len(data) if member.isreg() else 0
                out.addfile(member, io.BytesIO(data))
    return target


def rewritten(
    name: str,
    target: Path,
    change: Callable[[tarfile.TarInfo], bool | None] = lambda member: None,
    end: Callable[[tarfile.TarFile], None] = lambda tar: None,
) -> Path:
    """Rewrite a backup with changed members, without those for which ``change`` returns False."""
    with tarfile.open(BACKUPS / f"{name}.tar.gz") as tar, tarfile.open(target, "w") as out:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            if change(member) is not False:
                out.addfile(member, file)
        end(out)
    return target


def changes(source: OpenedSource) -> dict[str, tuple[str, bytes | None]]:
    instance = source.read_instance()
    triggers = default_triggers(instance, source.pending(instance))
    with source.open_rootfs() as rootfs:
        made = plan(source.image, instance, triggers=triggers.passes, rootfs=rootfs)
    return {f"{change.path} {change.trigger}": (change.action, change.content) for change in made.changes}


@pytest.mark.parametrize(
    ("name", "instance", "expected"),
    [
        ("never_started", "c0", {
            "/etc/hostname create": ("create", b"c0 create Tiny bar\n"),
            "/etc/motd create": ("skip", b"c0 create\n"),
            "/etc/started start": ("create", b"c0 start\n"),
            "/etc/motd start": ("skip", b"c0 start\n"),
        }),
        ("stopped_with_snapshot", "c1", {
            "/etc/started start": ("keep", b"c1 start\n"), "/etc/motd start": ("skip", b"c1 start\n"),
        }),
        ("pending_copy", "c2", {
            "/etc/hostname copy": ("update", b"c2 copy Tiny bar\n"),
            "/etc/started start": ("update", b"c2 start\n"), "/etc/motd start": ("skip", b"c2 start\n"),
        }),
        ("pending_rename", "c4", {
            "/etc/hostname rename": ("update", b"c4 rename Tiny bar\n"),
            "/etc/started start": ("update", b"c4 start\n"), "/etc/motd start": ("skip", b"c4 start\n"),
        }),
    ],
)  # fmt: skip
def test_plan_from_backup_shows_next_start_of_its_instance(name, instance, expected, tmp_path):
    source = open_source(BACKUPS / f"{name}.tar.gz")
    assert (source.kind, source.read_instance().name) == (BACKUP, instance)
    assert changes(source) == expected
    # the same instance as a folder in the storage pool
    folder = open_source(unpacked(name, tmp_path))
    assert folder.kind == INSTANCE_FOLDER
    assert changes(folder) == expected


def test_templates_after_root_filesystem_of_a_backup_are_read():
    image = open_source(BACKUPS / "pending_copy.tar.gz").image
    assert image.read_templates(["started.tpl"])["started.tpl"].data == b"{{ instance.name }} {{ trigger }}\n"
    assert image.complete


def test_snapshots_in_a_backup_are_ignored():
    source = open_source(BACKUPS / "stopped_with_snapshot.tar.gz")
    with source.open_rootfs() as rootfs:
        assert rootfs is not None
        assert rootfs.read("/etc/hostname", 99) == b"c1 create Tiny bar\n"


def test_a_truncated_backup_gives_one_clear_error(tmp_path):
    data = gzip.decompress((BACKUPS / "pending_copy.tar.gz").read_bytes())
    for size in range(512, len(data) - 10_240, 1024):
        (tmp_path / "cut.tar").write_bytes(data[:size])
        with pytest.raises(InputError, match=r"cut short|not a complete backup|metadata\.yaml"):
            open_source(tmp_path / "cut.tar")
    whole = (BACKUPS / "pending_copy.tar.gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        InputError, match=r"^'.*' is damaged: gzip: the compressed data ends early: the file was cut short$"
    ):
        open_source(tmp_path / "cut.tar.gz")


def test_a_note_says_that_backup_yaml_contradicts_index_yaml(tmp_path):
    def rename(name, data):
        return data.replace(b"name: c2", b"name: other") if name.endswith("backup.yaml") else data

    source = open_source(repacked("pending_copy", tmp_path / "two.tar", rename))
    assert source.notes == (
        "backup.yaml describes the instance 'other', but index.yaml names 'c2': an import takes the name"
        " from index.yaml, and everything else from backup.yaml",
    )
    # recorded: Incus 6.0.4 imports such a backup as 'c2'
    assert source.read_instance().name == "c2"


def test_the_configuration_of_an_imported_backup_comes_from_backup_yaml(tmp_path):
    def differ(name, data):
        value = b"frombackup" if name.endswith("backup.yaml") else b"fromindex"
        return data.replace(b"user.foo: bar", b"user.foo: " + value) if name.endswith(".yaml") else data

    source = open_source(repacked("pending_copy", tmp_path / "two.tar", differ))
    assert source.read_instance().config["user.foo"] == "frombackup"  # recorded on Incus 6.0.4


def test_a_backup_without_backup_yaml_uses_its_index_yaml(tmp_path):
    path = repacked("pending_copy", tmp_path / "b.tar", lambda n, d: None if n.endswith("backup.yaml") else d)
    assert open_source(path).read_instance().config["volatile.apply_template"] == "copy"


def test_a_backup_without_index_yaml_has_no_note_about_another_name(tmp_path):
    path = repacked("pending_copy", tmp_path / "b.tar", lambda n, d: None if n.endswith("index.yaml") else d)
    assert open_source(path).notes == ()


def test_an_optimized_backup_is_refused_with_a_hint(tmp_path):
    def optimize(name, data):
        return data if name == "backup/index.yaml" else None

    path = repacked("pending_copy", tmp_path / "b.tar", optimize)
    with tarfile.open(path, "a") as tar:
        tar.addfile(tarfile.TarInfo("backup/container.bin"))
    with pytest.raises(
        InputError, match=r"^'.*' is an optimized backup: its files are in the storage pool's own format$"
    ) as caught:
        open_source(path)
    assert "--optimized-storage" in caught.value.hint


def test_an_archive_with_a_backup_and_an_image_is_refused(tmp_path):
    """`preview` showed the backup's templates, and the daemon imported the image; or the other way round."""
    path = repacked("pending_copy", tmp_path / "b.tar", lambda name, data: data)
    with tarfile.open(path, "a") as tar:
        tar.addfile(tarfile.TarInfo("metadata.yaml"))
    with pytest.raises(
        RefusedError, match=r"^'.*' contains a backup and an image: 'backup/' and 'metadata\.yaml'$"
    ) as caught:
        open_source(path)
    assert caught.value.hint == "pack the backup and the image in two archives"


def test_an_unpacked_backup_is_recognised(tmp_path):
    unpacked("pending_copy", tmp_path)
    for folder in (tmp_path, tmp_path / "backup"):
        with pytest.raises(InputError, match="unpacked backup") as caught:
            open_source(folder)
        assert str(tmp_path / "backup/container") in caught.value.hint


def test_the_instance_can_be_read_from_index_yaml(tmp_path):
    from templater.instances.description_file import read_instance

    unpacked("pending_rename", tmp_path)
    instance = read_instance(tmp_path / "backup/index.yaml")
    assert (instance.name, instance.config["volatile.apply_template"]) == ("c4", "rename")


def test_note_appears_if_folder_name_differs_from_instance_name(tmp_path):
    folder = unpacked("pending_copy", tmp_path)
    source = open_source(folder)
    assert any("its folder is named 'container'" in note for note in source.read_instance().notes)
    for name in ("c2", "other-project_c2"):
        folder = folder.rename(folder.with_name(name))
        assert not any("its folder" in note for note in open_source(folder).read_instance().notes)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return an instance directory made by templater."""
    (tmp_path / "web1/rootfs/etc").mkdir(parents=True)
    (tmp_path / "web1/templates").mkdir()
    (tmp_path / "web1/metadata.yaml").write_text(
        "templates:\n  /etc/hostname: {when: [create, copy, start], template: a.tpl}\n"
    )
    (tmp_path / "web1/templates/a.tpl").write_text("{{ instance.name }} {{ trigger }}\n")
    (tmp_path / "web1/instance.yaml").write_text("name: web1\nconfig: {user.foo: bar}\n")
    return tmp_path / "web1"


def record(directory: Path, text: str) -> None:
    (directory / ".templater").mkdir(mode=0o700)
    (directory / ".templater/state").write_text(text)


def test_a_recorded_pending_trigger_of_an_instance_directory_is_used(directory):
    record(directory, "pending=copy\nname=web9\n")
    source = open_source(directory)
    instance = source.read_instance()
    assert (source.kind, instance.name, source.pending(instance)) == (INSTANCE_DIRECTORY, "web9", "copy")
    assert instance.config == {"user.foo": "bar"}
    assert [*changes(source)] == ["/etc/hostname copy", "/etc/hostname start"]


def test_instance_without_pending_trigger_fires_only_start_trigger(directory):
    record(directory, "name=web1\n")
    assert [*changes(open_source(directory))] == ["/etc/hostname start"]


@pytest.mark.parametrize("recorded", [None, ""])
def test_an_instance_directory_without_a_record_counts_as_never_started(directory, recorded):
    if recorded is not None:
        record(directory, recorded)
    source = open_source(directory)
    instance = source.read_instance()
    assert source.pending(instance) == "create"  # as the hooks do
    assert any("counts as the first" in note for note in instance.notes)


def test_directory_without_instance_file_still_counts_as_instance_directory(directory):
    (directory / "instance.yaml").unlink()
    record(directory, "pending=rename\nname=web2\n")
    source = open_source(directory)
    assert (source.kind, source.read_instance().name) == (INSTANCE_DIRECTORY, "web2")


def test_command_line_values_override_the_keys_of_a_backup(directory):
    instance = open_source(directory).read_instance(name="x1", config={"user.foo": "", "user.b": "c"})
    assert (instance.name, instance.config) == ("x1", {"user.b": "c"})


def test_an_image_directory_has_no_instance_description(directory):
    (directory / "instance.yaml").unlink()
    source = open_source(directory)
    assert (source.kind, source.has_rootfs, source.is_instance) == (IMAGE, True, False)
    with pytest.raises(UsageError):
        source.read_instance()


@pytest.mark.parametrize("target", ["/", "..", "missing"])
def test_a_symlink_as_rootfs_is_refused(directory, target):
    (directory / "rootfs/etc").rmdir()
    (directory / "rootfs").rmdir()
    (directory / "rootfs").symlink_to(target)
    with pytest.raises(RefusedError, match="'rootfs' is a symlink"):
        open_source(directory)


@pytest.mark.parametrize("name", ["instance.yaml", "backup.yaml", ".templater/state"])
def test_a_link_in_place_of_an_instance_description_is_refused(directory, name):
    (directory / "instance.yaml").unlink()
    (directory / name).parent.mkdir(exist_ok=True)
    (directory / name).symlink_to("/etc/passwd")
    with pytest.raises(RefusedError, match="is a symlink"):
        open_source(directory)


def test_a_backup_with_shifted_ids_is_read_with_container_ids(tmp_path):
    def shift(member):
        member.uid, member.gid = (member.uid + 1_000_000, member.gid + 1_000_000)

    with open_source(rewritten("pending_copy", tmp_path / "shifted.tar", shift)).open_rootfs() as rootfs:
        assert rootfs is not None
        entry = rootfs.entry("/etc/hostname")
        assert entry is not None
        assert (entry.uid, entry.gid) == (0, 0)


@pytest.mark.parametrize(
    ("root", "owner", "inside"),
    [(0, 1_000_000, 1_000_000), (65_535, 65_535, 65_535), (65_536, 65_537, 1), (1_000_000, 0, 65_534)],
)
def test_the_root_directory_owner_decides_if_backup_ids_are_shifted(root, owner, inside, tmp_path):
    def give(member):
        member.uid = member.gid = root if member.name == "backup/container/rootfs" else owner

    with open_source(rewritten("pending_copy", tmp_path / "owned.tar", give)).open_rootfs() as rootfs:
        assert rootfs is not None
        entry = rootfs.entry("/etc/hostname")
        assert entry is not None
        assert (entry.uid, entry.gid) == (inside, inside)


def test_root_filesystem_lacks_backup_members_outside_its_directory(tmp_path):
    def add(tar):
        tar.addfile(tarfile.TarInfo("backup/container/rootfs2/etc/x"))

    with open_source(rewritten("stopped_with_snapshot", tmp_path / "b.tar", end=add)).open_rootfs() as rootfs:
        assert rootfs is not None
        assert rootfs.entry("/etc/hostname") is not None
        for name in ("backup", "backup/index.yaml", "backup/container/metadata.yaml", "etc/x", "2/etc/x"):
            assert rootfs.entry(f"/{name}") is None


def test_the_mode_of_the_root_directory_in_a_backup_is_read(tmp_path):
    def close(member):
        if member.name == "backup/container/rootfs":
            member.mode = 0o711

    with open_source(rewritten("pending_copy", tmp_path / "b.tar", close)).open_rootfs() as rootfs:
        assert rootfs is not None
        assert rootfs.entry("/").mode == 0o711


def test_the_depth_of_the_root_filesystem_in_a_backup_is_limited(tmp_path):
    for depth in (DEEPEST, DEEPEST + 1):

        def add(tar, depth=depth):
            tar.addfile(tarfile.TarInfo("backup/container/rootfs/" + "a/" * depth + "b"))

        source = open_source(rewritten("pending_copy", tmp_path / "b.tar", end=add))
        refused = pytest.raises(LimitError, match=f"is more than {DEEPEST} directories deep$")
        with refused if depth > DEEPEST else nullcontext(), source.open_rootfs():
            pass


def test_a_backup_of_a_virtual_machine_has_no_root_filesystem(tmp_path):
    def move(member):
        member.name = member.name.replace("backup/container", "backup/virtual-machine")
        return "/rootfs" not in member.name

    source = open_source(rewritten("pending_copy", tmp_path / "b.tar", move))
    assert source.read_instance().name == "c2"
    assert source.image.read_templates(["started.tpl"])["started.tpl"].data is not None
    assert not source.has_rootfs


def test_a_backup_without_metadata_yaml_is_refused_when_it_is_opened(tmp_path):
    path = repacked(
        "pending_copy", tmp_path / "b.tar", lambda n, d: None if n.endswith("metadata.yaml") else d
    )
    with pytest.raises(InputError, match=r"metadata\.yaml"):
        open_source(path)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["backup/index.yaml"], True), (["./backup/index.yaml"], True), (["backup/"], True), (["./backup/"], True),
        (["backup"], False), (["backups/index.yaml"], False), (["a/"], False), (["metadata.yaml", "backup/"], False),
        ([], False),
    ],
)  # fmt: skip
def test_the_first_member_decides_if_an_archive_is_a_backup(names, found, tmp_path):
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            tar.addfile(member)
    assert is_backup(str(tmp_path / "b.tar")) is found
    (tmp_path / "text").write_text("backup/")
    assert is_backup(str(tmp_path / "text")) is False


@pytest.mark.parametrize("prefix", ["", "./"])
def test_hard_links_in_a_backup_refer_to_one_file(prefix, tmp_path):
    def add(tar):
        link = tarfile.TarInfo("backup/container/rootfs/etc/other")
        link.type, link.linkname = tarfile.LNKTYPE, f"{prefix}backup/container/rootfs/etc/hostname"
        tar.addfile(link)

    with open_source(rewritten("pending_copy", tmp_path / "linked.tar", end=add)).open_rootfs() as rootfs:
        assert rootfs is not None
        assert rootfs.read("/etc/other", 99) == b"c1 create Tiny bar\n"
        assert rootfs.entry("/etc/hostname").nlink == 2
