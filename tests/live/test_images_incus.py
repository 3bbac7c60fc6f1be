"""Tests that a real Incus reads images built by templater, and templater reads images exported by Incus."""

import gzip
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from templater.image.build import Packing, build
from templater.image.describe import describe
from templater.image.fingerprint import fingerprint
from templater.image.open_image import open_image
from templater.image.read_whole_image import open_contents
from templater.image.unpack import TRUSTED, unpack
from tests.attacks.refused_archives import (
    ACCEPTED,
    DOTTED,
    FACTS,
    NOT_IMPORTED,
    ODDLY_WRITTEN,
    ROOTFS,
    SKIPPED_BY_INCUS,
    UNPACKED,
    UNPACKED_BY_INCUS,
    archive,
    like_a_compressed_file,
    without_magic,
)

from .harness import SHOW, make_image, make_rootfs, need, new_folder, shown
from .incus import Incus, an_incus

pytestmark = pytest.mark.live

METADATA = """\
# kept through edits
architecture: x86_64
creation_date: 1700000000
properties:
  os: tiny
  description: "built here"
templates:
  /etc/hostname:
    when: [create, copy]
    template: hostname.tpl
  /etc/app.conf:
    when: [start]
    template: app.tpl
    uid: 33
    gid: 34
    mode: "0640"
"""
TEMPLATES = {
    "hostname.tpl": "{{ instance.name }}\n",
    "app.tpl": 'foo = {{ config_get("user.foo", "none") }}\nos = {{ config_get("image.os", "?") }}\n',
}
PATHS = ("/etc/hostname", "/etc/app.conf")


@pytest.fixture(scope="module")
def incus() -> Iterator[Incus]:
    yield from an_incus()


@pytest.fixture(scope="module")
def work() -> Iterator[Path]:
    for folder in new_folder():
        make_image(folder / "image", METADATA, TEMPLATES)
        make_rootfs(folder / "image" / "rootfs")
        os.setxattr(folder / "image/rootfs/etc/passwd", "user.note", b"kept")
        os.link(folder / "image/rootfs/etc/passwd", folder / "image/rootfs/etc/passwd-")
        (folder / "image/rootfs/etc" / ("ü" * 100)).write_text("long and not ASCII")
        with open(folder / "image/rootfs/etc/sparse", "wb") as file:
            file.seek(1 << 20)
            file.write(b"end")
        yield folder


def templater(*words: str) -> subprocess.CompletedProcess:
    answer = subprocess.run(
        [sys.executable, "-m", "templater", *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer


def previewed(image: Path, *words: str) -> dict[str, str]:
    """Return the contents of the files that `preview` predicts for the first start."""
    plan = json.loads(templater("preview", str(image), "--as", "incus-debian", "--json", *words).stdout)
    return {change["path"]: change["content"] for change in plan["changes"]}


def stored(work: Path, **packing: object) -> list[str]:
    name = "-".join(str(value) for value in packing.values())
    contents = open_contents(str(work / "image"))
    return list(build(contents, contents.parts(), str(work / name), Packing(**packing), replace=True).files)


def started(incus: Incus, alias: str, name: str, paths: Iterable[str] = PATHS) -> dict[str, tuple[str, str]]:
    """Start a new instance. Return owner, mode and content of files as a program in the instance sees them.

    The program writes its output to a file in the instance. Under load, the Incus client sometimes loses the
    standard output of a short program.
    """
    incus("create", alias, name, "-c", "user.foo=bar")
    incus("start", name)
    show = " ".join(("/bin/sh -c", shlex.quote(f"({SHOW}) >/root/seen"), "show", *paths))
    incus("exec", name, "--", "/bin/sh", "-c", show)
    return shown((incus.rootfs(name) / "root/seen").read_text(), *paths)


@pytest.fixture(autouse=True)
def clean(incus: Incus) -> Iterator[None]:
    """Delete all instances and images after each test, so that they cannot affect the next test."""
    yield
    for instance in incus.json("list", "-f", "json"):
        incus("delete", "-f", instance["name"])
    for image in incus.json("image", "list", "-f", "json"):
        incus("image", "delete", image["fingerprint"])


def expected_of(image: Path, name: str, os_: str) -> dict[str, tuple[str, str]]:
    """Return the expected owner and mode, and the previewed content, of two files of an image."""
    files = previewed(image, "--name", name, "-c", "user.foo=bar", "-c", f"image.os={os_}")
    return {
        "/etc/hostname": ("0:0 644", files["/etc/hostname"]),
        "/etc/app.conf": ("33:34 640", files["/etc/app.conf"]),
    }


def exported_by(incus: Incus, alias: str, into: Path) -> list[str]:
    """Export an image with Incus. Return the paths of the exported files, the metadata tarball first."""
    into.mkdir()
    incus("image", "export", alias, str(into))
    return [str(path) for path in sorted(into.iterdir(), key=lambda path: path.name[:5] != "meta-")]


FORMS = [
    *(
        {"layout": "unified", "compression": each}
        for each in ("gzip", "xz", "zstd", "none", "bzip2", "lzma", "lz4")
    ),
    *({"layout": "split", "compression": each, "rootfs": "tar"} for each in ("gzip", "xz", "zstd", "none")),
    *({"layout": "split", "compression": each, "rootfs": "squashfs"} for each in ("gzip", "xz", "zstd")),
    {"layout": "unified", "compression": "none", "tar": "gnu"},
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(form.values()))
def test_a_built_image_starts_in_incus_with_the_previewed_files(incus, work, form):
    need("mksquashfs")
    if form.get("tar") == "gnu":
        os.removexattr(work / "image/rootfs/etc/passwd", "user.note")
    files = stored(work, **form)
    alias = "-".join(form.values())
    incus("image", "import", *files, "--alias", alias)
    name = f"c{FORMS.index(form)}"
    found = started(incus, alias, name)
    assert found == expected_of(work / "image", name, "tiny")
    shown = incus.image(alias)
    assert shown["fingerprint"] == fingerprint(*files)
    assert shown["properties"] == {"os": "tiny", "description": "built here"}
    rootfs = incus.rootfs(name)
    assert (rootfs / "etc" / ("ü" * 100)).read_text() == "long and not ASCII"
    assert (rootfs / "etc/passwd").stat().st_ino == (rootfs / "etc/passwd-").stat().st_ino
    assert (rootfs / "etc/sparse").read_bytes() == bytes(1 << 20) + b"end"
    if form.get("tar") == "gnu":
        os.setxattr(work / "image/rootfs/etc/passwd", "user.note", b"kept")
    else:
        assert os.getxattr(rootfs / "etc/passwd", "user.note") == b"kept"


def test_incus_renders_the_edited_template_of_an_edited_image(incus, work):
    (file,) = stored(work, layout="unified", compression="xz")
    (work / "new.tpl").write_text("edited for {{ instance.name }}\n")
    old, _, new = templater("image", "set-property", file, "os=edited").stdout.partition(" -> ")
    templater("image", "template", "edit", file, "hostname.tpl", "--from", str(work / "new.tpl"))
    templater("image", "template", "delete", file, "app.tpl")
    assert old != new.strip()
    incus("image", "import", file, "--alias", "edited")
    assert incus.image("edited")["properties"]["os"] == "edited"
    assert incus.image("edited")["fingerprint"] == fingerprint(file)
    incus("create", "edited", "e1")
    incus("start", "e1")
    assert (incus.rootfs("e1") / "etc/hostname").read_text() == "edited for e1\n"
    assert not (incus.rootfs("e1") / "etc/app.conf").exists()
    assert open_image(file).read_metadata().text.startswith("# kept through edits\n")


@pytest.mark.parametrize(
    "form",
    [
        {"layout": "unified", "compression": "gzip"},
        {"layout": "split", "compression": "xz", "rootfs": "squashfs"},
        {"layout": "split", "compression": "gzip", "rootfs": "tar"},
    ],
    ids=lambda form: "-".join(form.values()),
)
def test_incus_imports_an_exported_image_after_repacking(incus, work, form):
    files = stored(work, **form)
    incus("image", "import", *files, "--alias", "x")
    out = work / "exported"
    out.mkdir()
    incus("image", "export", "x", str(out))
    theirs = sorted(path.name for path in out.iterdir())
    ours = work / "ours"
    ours.mkdir()
    rootfs = ["--rootfs", form["rootfs"]] if "rootfs" in form else []
    templater(
        "image",
        "export",
        *files,
        str(ours),
        "--format",
        form["layout"],
        "--compression",
        form["compression"],
        *rootfs,
    )
    assert theirs and [name.replace(fingerprint(*files), "FP") for name in theirs] == sorted(
        path.name.replace(
            fingerprint(*map(str, sorted(ours.iterdir(), key=lambda p: p.name[:4] != "meta"))), "FP"
        )
        for path in ours.iterdir()
    )
    exported = [str(path) for path in sorted(out.iterdir(), key=lambda path: path.name[:4] != "meta")]
    assert fingerprint(*exported) == incus.image("x")["fingerprint"] == describe(*exported).fingerprint
    incus("image", "delete", "x")
    shutil.rmtree(out)
    shutil.rmtree(ours)


EXPORTS = [
    *({"layout": "unified", "compression": each} for each in ("gzip", "xz", "zstd", "none")),
    *({"layout": "split", "compression": each, "rootfs": "tar"} for each in ("gzip", "zstd")),
    {"layout": "split", "compression": "xz", "rootfs": "squashfs"},
]
#: how an exported image is repacked: never in its original format
AGAIN = [
    ("--format", "unified", "--compression", "zstd", "--level", "5"),
    ("--format", "split", "--compression", "gzip", "--level", "5"),
    ("--format", "split", "--compression", "xz", "--level", "5", "--rootfs", "squashfs"),
]


@pytest.mark.parametrize("again", AGAIN, ids=lambda words: "-".join(words[1::2]))
@pytest.mark.parametrize("form", EXPORTS, ids=lambda form: "-".join(form.values()))
def test_a_container_from_a_repacked_incus_export_has_the_previewed_files(incus, work, tmp_path, form, again):
    need("mksquashfs", "sqfs2tar")
    incus("image", "import", *stored(work, **form), "--alias", "before")
    exported = exported_by(incus, "before", tmp_path / "exported")
    before = incus.image("before")["fingerprint"]
    assert fingerprint(*exported) == before
    incus("image", "delete", "before")
    (tmp_path / "ours").mkdir()
    said = json.loads(
        templater("image", "export", *exported, str(tmp_path / "ours"), *again, "--json").stdout
    )
    assert said["fingerprint"] != before
    incus("image", "import", *said["files"], "--alias", "after")
    assert incus.image("after")["fingerprint"] == said["fingerprint"]
    assert started(incus, "after", "r1") == expected_of(Path(exported[0]), "r1", "tiny")
    rootfs = incus.rootfs("r1")
    assert (rootfs / "etc/passwd").stat().st_ino == (rootfs / "etc/passwd-").stat().st_ino
    assert (rootfs / "etc/sparse").read_bytes() == bytes(1 << 20) + b"end"


@pytest.mark.parametrize("form", EXPORTS, ids=lambda form: "-".join(form.values()))
def test_a_container_from_an_edited_incus_export_has_the_previewed_files(incus, work, tmp_path, form):
    incus("image", "import", *stored(work, **form), "--alias", "before")
    first, *rest = exported_by(incus, "before", tmp_path / "exported")
    incus("image", "delete", "before")
    words = ["--rootfs", rest[0]] if rest else []
    old, _, new = templater("image", "set-property", first, "os=edited", *words).stdout.partition(" -> ")
    assert old != new.strip() == fingerprint(first, *rest)
    incus("image", "import", first, *rest, "--alias", "after")
    assert incus.image("after")["fingerprint"] == new.strip()
    assert started(incus, "after", "r2") == expected_of(Path(first), "r2", "edited")


@pytest.mark.parametrize("again", AGAIN, ids=lambda words: "-".join(words[1::2]))
@pytest.mark.parametrize("compression", ["gzip", "xz", "zstd", "none"])
def test_incus_can_start_a_repacked_image_of_incus_publish(incus, work, tmp_path, compression, again):
    (file,) = stored(work, layout="unified", compression="gzip")
    incus("image", "import", file, "--alias", "base")
    incus("create", "base", "p1", "-c", "user.foo=bar")
    incus("publish", "p1", "--alias", "published", "--compression", compression, "os=published")
    (published,) = exported_by(incus, "published", tmp_path / "exported")
    names = subprocess.run(
        ["tar", "-tf", published], check=True, capture_output=True, text=True
    ).stdout.split()
    assert names.index("templates/app.tpl") > names.index("rootfs/etc/passwd")  # so reading cannot stop early
    found = describe(published)
    assert found.metadata.properties["os"] == "published"
    assert found.fingerprint == incus.image("published")["fingerprint"]
    assert found.files[0].compression == compression
    read = open_image(published).read_templates(TEMPLATES)
    assert {name: read[name].data.decode() for name in TEMPLATES} == TEMPLATES
    incus("delete", "-f", "p1")
    for alias in ("base", "published"):
        incus("image", "delete", alias)
    (tmp_path / "ours").mkdir()
    said = json.loads(
        templater("image", "export", published, str(tmp_path / "ours"), *again, "--json").stdout
    )
    assert said["fingerprint"] != found.fingerprint
    incus("image", "import", *said["files"], "--alias", "again")
    assert incus.image("again")["fingerprint"] == said["fingerprint"]
    assert started(incus, "again", "p2") == expected_of(Path(published), "p2", "published")


def test_incus_can_start_an_image_of_templater_publish(incus, work):
    contents = open_contents(str(work / "image"))
    unpack(contents, contents.parts(), str(work / "web1"), policy=TRUSTED)
    (work / "web1/rootfs/etc/motd").write_text("ours\n")
    templater(
        "publish", str(work / "web1"), "-o", str(work / "web1.tar.gz"), "--compression", "gzip", "os=ours"
    )
    incus("image", "import", str(work / "web1.tar.gz"), "--alias", "ours")
    assert incus.image("ours")["properties"] == {"os": "ours"}
    assert started(incus, "ours", "o1")["/etc/app.conf"] == ("33:34 640", "foo = bar\nos = ours\n")
    assert (incus.rootfs("o1") / "etc/motd").read_text() == "ours\n"


def test_incus_and_the_unpack_command_create_the_same_tree(incus, work):
    (file,) = stored(work, layout="unified", compression="zstd")
    incus("image", "import", file, "--alias", "t")
    incus("create", "t", "t1")
    contents = open_contents(file)
    unpack(contents, contents.parts(), str(work / "t1"), policy=TRUSTED)
    theirs, ours = incus.rootfs("t1"), work / "t1" / "rootfs"
    names = sorted(str(path.relative_to(ours)) for path in ours.rglob("*"))
    assert names == sorted(str(path.relative_to(theirs)) for path in theirs.rglob("*"))
    for name in names:
        a, b = (theirs / name).lstat(), (ours / name).lstat()
        assert (a.st_mode, a.st_uid, a.st_gid, int(a.st_mtime), a.st_nlink) == (
            b.st_mode, b.st_uid, b.st_gid, int(b.st_mtime), b.st_nlink,
        ), name  # fmt: skip
        if (ours / name).is_file() and not (ours / name).is_symlink():
            assert (theirs / name).read_bytes() == (ours / name).read_bytes()


@pytest.mark.parametrize("preset", ["minimal", "cloud-init", "netplan", "openwrt"])
def test_a_container_starts_from_an_image_of_each_preset(incus, work, preset):
    folder = work / preset
    templater("new", str(folder), "--preset", preset, "os=new", "--architecture", "x86_64")
    make_rootfs(folder / "rootfs")
    templater("image", "build", str(folder), "-o", str(work / f"{preset}.tar.xz"))
    incus("image", "import", str(work / f"{preset}.tar.xz"), "--alias", preset)
    promised = previewed(
        folder, "--name", "n1", "-c", "user.foo=bar", "-d", "root,type=disk,path=/,pool=default"
    )
    found = started(incus, preset, "n1", promised)
    assert {path: content or "" for path, (_, content) in found.items()} == promised


def test_incus_and_the_unpack_command_restore_acls_only_from_extended_attributes(incus, work, tmp_path):
    need("setfacl", "tar")
    folder = tmp_path / "image"
    make_image(folder, METADATA, TEMPLATES)
    make_rootfs(folder / "rootfs")
    subprocess.run(["setfacl", "-m", "u:1000:r--,g:44:rw-", folder / "rootfs/etc/passwd"], check=True)
    for alias, words, there in (("text", ["--acls"], False), ("attributes", ["--xattrs-include=*"], True)):
        packed = tmp_path / f"{alias}.tar.gz"
        subprocess.run(["tar", "-C", folder, *words, "-czf", packed, *sorted(os.listdir(folder))], check=True)
        incus("image", "import", str(packed), "--alias", alias)
        incus("create", alias, alias)
        contents = open_contents(str(packed))
        unpack(contents, contents.parts(), str(tmp_path / alias), policy=TRUSTED)
        for rootfs in (incus.rootfs(alias), tmp_path / alias / "rootfs"):
            file = rootfs / "etc/passwd"
            assert ("system.posix_acl_access" in os.listxattr(file)) == there
            assert file.stat().st_mode & 0o777 == 0o664


def test_incus_cannot_create_an_instance_of_a_refused_archive(incus, tmp_path):
    refused = {**UNPACKED, **DOTTED, **UNPACKED_BY_INCUS}
    accepted = {**ACCEPTED, **SKIPPED_BY_INCUS, **ODDLY_WRITTEN}
    for number, (name, members) in enumerate({**refused, **accepted}.items()):
        incus("image", "import", archive(tmp_path / f"{number}.tar", members), "--alias", f"image{number}")
        if name in refused:
            assert "Unpack failed" in incus.fails("init", f"image{number}", f"c{number}"), name
        else:
            incus("init", f"image{number}", f"c{number}")


def test_incus_does_not_import_an_uncompressed_archive_of_unknown_format(incus, tmp_path):
    archive(tmp_path / "v7.tar", ROOTFS)
    old = Path(without_magic(tmp_path / "v7.tar"))
    odd = [like_a_compressed_file(tmp_path / f"{start}.tar", start) for start in ("BZ", "a7zXZ")]
    for image in (old, *odd):
        incus.fails("image", "import", image)
    (tmp_path / "v7.tar.gz").write_bytes(gzip.compress(old.read_bytes()))
    incus("image", "import", tmp_path / "v7.tar.gz")
    metadata = archive(tmp_path / "metadata.tar", [])
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        tar.addfile(ROOTFS[1])
    incus("image", "import", metadata, tmp_path / "root.tar")
    incus.fails("image", "import", metadata, without_magic(tmp_path / "root.tar"))


def test_incus_does_not_import_an_archive_with_invalid_names_or_dates(incus, tmp_path):
    for number, (members, metadata, _) in enumerate(NOT_IMPORTED):
        incus.fails("image", "import", archive(tmp_path / f"{number}.tar", members, metadata))
    for field in ("creation_date", "expiry_date"):
        facts = b"architecture: x86_64\ncreation_date: 1\n".replace(b"creation_date", field.encode())
        facts += b"" if field == "creation_date" else b"creation_date: 1\n"
        for seconds, accepted in ((b"253402300799", True), (b"253402300800", False)):
            image = archive(
                tmp_path / "image.tar", ROOTFS, facts=facts.replace(b": 1\n", b": " + seconds + b"\n", 1)
            )
            (incus if accepted else incus.fails)("image", "import", image)


def test_the_database_of_incus_truncates_a_property_at_a_nul_character(incus, tmp_path):
    facts = FACTS + b'properties: {a: "x\\0y", "os\\0b": Evil}\n'
    incus("image", "import", archive(tmp_path / "image.tar", ROOTFS, facts=facts), "--alias", "nul")
    incus("init", "nul", "c1")
    assert incus("config", "get", "c1", "image.a").strip() == "x"
    assert incus("config", "get", "c1", "image.os").strip() == "Evil"
