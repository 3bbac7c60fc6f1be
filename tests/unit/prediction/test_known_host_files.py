"""The view of a host of which only one instance's directory is known."""

import pytest

from templater.model.entry import DIRECTORY, FILE, Entry, TemplateFile
from templater.prediction.known_host_files import InstanceView, Unknown, UnknownRootfs
from templater.rootfs.memory_rootfs import MemoryRootfs

FOLDER = Entry(DIRECTORY, 0o755)
VIEW = InstanceView(
    "/i/c1",
    MemoryRootfs({"/etc": Entry(DIRECTORY, 0o700)}),
    {"t": TemplateFile(Entry(FILE, 0o600), b"text"), "u": TemplateFile()},
    b"meta",
)


@pytest.mark.parametrize(
    ("path", "entry"),
    [
        *((path, FOLDER) for path in ("/", "/i", "/i/c1", "/i/c1/rootfs", "/i/c1/templates")),
        ("/i/c1/rootfs/etc", Entry(DIRECTORY, 0o700)),
        ("/i/c1/templates/t", Entry(FILE, 0o600)),
        ("/i/c1/metadata.yaml", Entry(FILE, 0o644, size=4)),
        *((f"/i/c1/{name}", None) for name in ("rootfs/no", "templates/u", "templates/no", "other")),
    ],
)
def test_an_instance_directory_contains_rootfs_and_templates_and_metadata(path, entry):
    found = VIEW.entry(path)
    assert (repr(found), found and found.size) == (repr(entry), entry and entry.size)


@pytest.mark.parametrize("path", ["/i/c10", "/i/c2", "/x", "/i/c"])
def test_paths_outside_the_directory_of_the_instance_are_unknown(path):
    with pytest.raises(Unknown):
        VIEW.entry(path)


def test_the_known_files_of_an_instance_can_be_read():
    assert VIEW.read("/i/c1/templates/t", 9) == b"text"
    assert VIEW.read("/i/c1/templates/u", 9) == b""
    assert VIEW.read("/i/c1/metadata.yaml", 9) == b"meta"


def test_an_unknown_root_filesystem_has_no_known_files():
    assert UnknownRootfs().entry("/etc/hosts") is None
    with pytest.raises(Unknown):
        UnknownRootfs().read("/etc/hosts", 9)
