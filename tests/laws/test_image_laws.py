"""Tests that the time and memory of every check, image reader and YAML edit grow in proportion to the input.

The tests find checks and decompressors themselves. Readers and edits are the public functions of
`templater.image` that take an image or a text. Each new public function needs an entry in `READERS`, `EDITS`
or `OTHERS`. A test in test_lists.py fails without this entry.
"""

import bz2
import gzip
import lzma
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from templater.checks.authored_image import AuthoredImage
from templater.checks.base import Check
from templater.checks.check_report import judge
from templater.checks.image_scanner import scan_image
from templater.checks.run_checks import all_checks, run_check
from templater.checks.scanned_image import Name, ScannedImage, Trailing
from templater.checks.templater_toml import Configuration, read_configuration
from templater.image import decompress, metadata_edit
from templater.image.archived_rootfs_in_memory import read_image_rootfs
from templater.image.build import Packing, build
from templater.image.describe import describe
from templater.image.limits import DEFAULT
from templater.image.open_image import open_image
from templater.image.read_whole_image import open_contents
from templater.image.replace_files import replace as replace_in_image
from templater.image.unpack import Policy, unpack
from templater.model.entry import DIRECTORY, FILE, SYMLINK, Entry, TemplateFile
from templater.model.errors import LimitError
from templater.model.source import Source
from templater.parsing.metadata_yaml import read_metadata
from templater.parsing.yaml_nodes import Limits as YamlLimits
from templater.pongo2.render_state import Limits
from tests.checks.authoring.authoring_builders import file as authored_file
from tests.checks.authoring.authoring_builders import image as authored_image
from tests.image_archives import METADATA, file, header, image, pax, sparse_map
from tests.laws.growth import Action, check, seconds

pytestmark = pytest.mark.slow

FACTS = METADATA.decode()
WIDE = YamlLimits(bytes=1 << 30, depth=64, nodes=1 << 30, expanded=1 << 40, compared=1 << 62)
#: limits beyond the sizes that are measured
OPEN = DEFAULT._replace(metadata_bytes=1 << 30, members=1 << 30, held_bytes=1 << 40)
#: nothing is rendered for long: the time of a render is the language's own
NO_RENDERING = Limits(seconds=0.02, total=0.02)

Make = Callable[[int], Action]

# --- checks


def names(n: int, name: Callable[[int], str], **fields: Any) -> ScannedImage:
    kind, packed = fields.pop("kind", FILE), fields.pop("packed", False)
    entry = Entry(kind, **fields)
    return ScannedImage("i", names=tuple(Name(name(number), entry) for number in range(n)), packed=packed)


def linked(n: int) -> ScannedImage:
    link = Entry(SYMLINK, target="x")
    made = [Name(f"rootfs/{number}/l", link) for number in range(n)]
    made += [Name(f"rootfs/{number}/l/below", Entry(FILE), hard_link="rootfs/0/l") for number in range(n)]
    return ScannedImage("i", names=tuple(made))


def ruled(n: int, rule: str, text: str = "x", template: str = "t") -> ScannedImage:
    rules = "".join(rule.replace("N", str(number)) + "\n" for number in range(n))
    source = Source("i/metadata.yaml", f"{FACTS}templates:\n{rules}")
    metadata = read_metadata(source, limits=WIDE)
    return ScannedImage(
        "i", metadata, {template: TemplateFile(Entry(FILE), text.encode())}, limits=NO_RENDERING
    )


def existing(n: int) -> ScannedImage:
    """Return an image with n files in the root filesystem, and with two rules for each file."""
    files = names(n, lambda number: f"rootfs/etc/{number}")
    made = ruled(n, "  /etc/N: {when: [create], template: t}\n  //etc/N: {when: [start], template: t}")
    return replace(made, names=files.names)


def templated(n: int, piece: str) -> ScannedImage:
    text = (piece * (n // len(piece) + 1))[:n].encode()
    rule = f"{FACTS}templates: {{/etc/x: {{when: [create], template: t}}}}\n"
    metadata = read_metadata(Source("i/metadata.yaml", rule))
    return ScannedImage("i", metadata, {"t": TemplateFile(Entry(FILE), text)}, limits=NO_RENDERING)


PIECES = (
    "x", "{{ ", "{{ config.", "{# {{ config. #}", '"password', "{{ 'password' }}", "{{ '", "{%", "{% ", "{%  autoescape ",
    "{% endautoescape %}", "{{ __a", "|attr", "{", "}", "\n", "x {{ config.a }}\n", "{% include 'a' %}", "{% if a %}", "(",
    "{% for k, d in devices %}{{ d|join:config.a }}", "{% macro m(c=config) %}{{ 1|yesno:m(config.a) }}",
    "{{ config|a:f(config, devices.b.c['d']) }}", "{% with c=devices.Sorted %}",
)  # fmt: skip
IMAGES: dict[str, Callable[[int], ScannedImage]] = {
    "names": lambda n: names(n, lambda number: f"rootfs/etc/{number}"),
    "one name": lambda n: names(n, lambda number: "rootfs/etc/passwd", mode=0o4777),
    "one name outside": lambda n: names(n, lambda number: "metadata.yaml"),
    "names outside": lambda n: names(n, lambda number: f"n{number}"),
    "odd names": lambda n: names(n, lambda number: f"../\x1b\\{number}"),
    "deep names": lambda n: names(n // 50 + 1, lambda number: "rootfs/" + "d/" * 500 + str(number)),
    "links": linked,
    "links in an archive": lambda n: replace(linked(n), packed=True),
    "members below a file": lambda n: names(n, lambda number: f"rootfs/a/{number}/b" if number else "rootfs/a", packed=True),
    "deep members": lambda n: names(n // 50 + 1, lambda number: f"rootfs/{number}/" + "d/" * 500, packed=True),
    "devices": lambda n: names(n, lambda number: f"rootfs/.wh.{number}", kind="char device"),
    "directories": lambda n: names(n, lambda number: f"rootfs/d{number}", kind=DIRECTORY),
    "attributes": lambda n: ScannedImage(
        "i",
        names=tuple(Name(f"rootfs/{number}", Entry(FILE), frozenset((f"trusted.{number}",))) for number in range(n)),
    ),
    "rules": lambda n: ruled(n, "  /etc/N: {when: [create], template: t}"),
    "rules of one file": lambda n: ruled(n, "  /N/../etc/x: {when: [create, start, copy], template: t}"),
    "rules in each other": lambda n: ruled(n // 10 + 1, "  /etc/N/N/N: {when: [create], template: t}"),
    "rules of existing files": lambda n: existing(n // 3 + 1),
    "odd rules": lambda n: ruled(n, '  "/../\\eN": {when: [odd], template: ../t, uid: x, mode: 0999, foo: 1}'),
    "null rules": lambda n: ruled(n, "  /etc/N:"),
    "secrets": lambda n: ruled(n // 10 + 1, "  /etc/N: {when: [create], template: t}", "{{ 'password' }}" * (n // 16 + 1)),
    "missing templates": lambda n: ruled(n, "  /etc/N: {when: [create], template: tN}"),
    "templates": lambda n: ScannedImage(
        "i", templates={f"t{number}": TemplateFile(Entry(FILE), b"x") for number in range(n)}, limits=NO_RENDERING
    ),
    "links as templates": lambda n: ScannedImage(
        "i", templates={f"t{number}": TemplateFile(Entry(SYMLINK, target="/")) for number in range(n)}
    ),
    "lookalikes": lambda n: ScannedImage("i", templates={f"\u043e{n}" * 3: TemplateFile(Entry(FILE))} if n < 0 else {
        f"t\u043e{number}": TemplateFile(Entry(FILE)) for number in range(n)
    }),
    "errors": lambda n: ScannedImage("i", errors=tuple(LimitError(f"{number}") for number in range(n))),
    "trailing": lambda n: ScannedImage("i", trailing=tuple(Trailing("i", number, False) for number in range(n))),
    "accounts": lambda n: ScannedImage("i", heads={"rootfs/etc/passwd": b"r:x:0:0\n" * n, "rootfs.img": b"x" * n}),
    "documents": lambda n: ruled(n, "---\n/etc/N: {}"),
    **{f"text {piece!r}": (lambda n, piece=piece: templated(n, piece)) for piece in PIECES},
}  # fmt: skip


def checking(found: Check, make: Callable[[int], ScannedImage]) -> Make:
    make = cache(make)  # each run asks for the input again

    def subject(n: int) -> Action:
        made = make(n)

        def action() -> object:
            # cached properties belong to the work of a check
            return sum(1 for _ in run_check(found, replace(made)))

        return action

    return subject


def slowest(makers: list[Make], n: int = 500, count: int = 2) -> list[Make]:
    return sorted(makers, key=lambda maker: -seconds(maker, n))[:count]


@pytest.mark.parametrize("found", [*all_checks("security")], ids=lambda found: found.id)
def test_every_audit_check_takes_linear_time(found: Check) -> None:
    for subject in slowest([checking(found, make) for make in IMAGES.values()]):
        check(subject, start=500, largest=16_000)


#: templates and configurations of authors that grow with ``n``
AUTHORED: dict[str, Callable[[int], AuthoredImage]] = {
    "openings of ignores": lambda n: authored_file("/etc/a", "{% verbatim %}" + "{# templater: ignore " * n + "{% endverbatim %}"),
    "ignored ids": lambda n: authored_file("/etc/a", "{# templater: ignore " + "a " * n + "#}"),
    "openings": lambda n: authored_file("/etc/hosts", "{% if 0 %}{% verbatim %}" + "{{" * n + "\n{% endverbatim %}{% endif %}\n" + WRONG),
    "expressions": lambda n: authored_file("/etc/hosts", "{% if 0 %}{% verbatim %}" + "a{{}}" * n + "{% endverbatim %}{% endif %}\n" + WRONG),
    "unknown triggers": lambda n: authored_image(f"/etc/a: {{when: [{', '.join(f'x{i}' for i in range(n // 4))}], template: t}}"),
}  # fmt: skip
WRONG = "".join(f"bad{n:02}{{{{ instance.name }}}}\n" for n in range(20))
CONFIGURATIONS: dict[str, Callable[[int], str]] = {
    "blank lines": lambda n: "[[ignore]]\nid = 'mode'\n" + "\n" * n * 8,
    "entries": lambda n: "[[ignore]]\nid = 'mode'\n" * (n // 16),
    "instances": lambda n: "instances = [" + "'a', " * n + "]\n",
}


@pytest.mark.parametrize("make", AUTHORED.values(), ids=AUTHORED)
def test_every_check_for_authors_takes_linear_time(
    make: Callable[[int], AuthoredImage],
) -> None:
    make = cache(make)

    def subject(n: int) -> Action:
        made = make(n)
        return lambda: judge(replace(made), Configuration())

    check(subject, start=500, largest=16_000)


@pytest.mark.parametrize("make", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_reading_a_configuration_takes_linear_time(
    make: Callable[[int], str],
) -> None:
    check(
        lambda n: lambda text=make(n): read_configuration(Source("templater.toml", text)),
        start=500,
        largest=32_000,
    )


# --- readers

MEMBERS: dict[str, Callable[[int], list[bytes]]] = {
    "files": lambda n: [header(f"rootfs/{number}") for number in range(n)],
    "directories": lambda n: [header(f"rootfs/{number}", tarfile.DIRTYPE) for number in range(n)],
    "links": lambda n: [header(f"rootfs/{number}", tarfile.SYMTYPE, linkname="x" * 90) for number in range(n)],
    "hard links": lambda n: [
        header("rootfs/a"),
        *(header(f"rootfs/l{number}", tarfile.LNKTYPE, linkname="rootfs/a") for number in range(n)),
    ],
    "deep names": lambda n: [
        pax({"path": b"rootfs/" + b"d/" * 400 + b"%d" % number}) + header("x") for number in range(n // 20 + 1)
    ],
    "attributes": lambda n: [
        pax({f"SCHILY.xattr.user.{number}": b"x" * 50 for number in range(100)}) + header(f"rootfs/{number}", tarfile.DIRTYPE)
        for number in range(n // 50 + 1)
    ],
    "pieces": lambda n: [
        sparse_map(b",".join(b"%d,512" % (1024 * number) for number in range(n // 16)), 1024 * (n // 16) - 512)
        + file("rootfs/a", bytes(512 * (n // 16)))
    ],
    "records": lambda n: [pax({f"a{number}": b"" for number in range(n)}) + header("rootfs/a")],
    "templates": lambda n: [header(f"templates/{number}") for number in range(n)],
    "data": lambda n: [file("rootfs/a", b"x" * (20 * n)), file("templates/a", b"x" * n)],
    "names outside": lambda n: [header(f"o{number}/x") for number in range(n)],
}  # fmt: skip


def exported(path: str, folder: Path) -> object:
    contents = open_contents(path, limits=OPEN)
    return build(
        contents, contents.parts(), str(folder / "out.tar"), Packing(compression="none"), replace=True
    )


def unpacked(path: str, folder: Path) -> object:
    contents = open_contents(path, limits=OPEN._replace(ratio=1 << 30))
    try:
        return unpack(contents, contents.parts(), str(folder / "out"), policy=Policy(owners=False))
    finally:
        shutil.rmtree(folder / "out", ignore_errors=True)


#: by the name of the function that reads
READERS: dict[str, Callable[[str, Path], object]] = {
    "open_image": lambda path, folder: open_image(path, OPEN).read_to_end(),
    "open_contents": lambda path, folder: [None for _, data in open_contents(path, limits=OPEN).rootfs() for _ in data],
    "read_image_rootfs": lambda path, folder: read_image_rootfs(path, targets=["/a"], limits=OPEN),
    "describe": lambda path, folder: describe(path, limits=OPEN),
    "replace": lambda path, folder: replace_in_image(path, {"metadata.yaml": METADATA}, limits=OPEN),
    "build": exported,
    "unpack": unpacked,
    "scan_image": lambda path, folder: scan_image(path, OPEN),
}  # fmt: skip


def reading(reader: str, members: Callable[[int], list[bytes]], folder: Path) -> Make:
    folder.mkdir()

    def subject(n: int) -> Action:
        path = str(folder / f"{n}.tar")
        if not os.path.exists(path):
            image(Path(path), *members(n))
        return lambda: READERS[reader](path, folder)

    return subject


@pytest.mark.parametrize("reader", READERS)
def test_every_archive_reader_takes_linear_time(reader: str) -> None:
    with tempfile.TemporaryDirectory(prefix="laws") as name:
        makers = [reading(reader, make, Path(name) / kind) for kind, make in MEMBERS.items()]
        for subject in slowest(makers, 500):
            check(subject, start=250, largest=20_000)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 1),
    "bzip2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=0),
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE, preset=0),
    "zstd": lambda data: import_module("backports.zstd").compress(data),
    "lz4": lambda data: import_module("lz4.frame").compress(data),
}


@pytest.mark.parametrize(
    ("kind", "streams"),
    # the lzma format has only one stream
    [
        (kind, several)
        for kind in decompress._DECOMPRESSORS
        for several in (False, True)
        if kind != "lzma" or not several
    ],
)
def test_every_decompressor_takes_linear_time_in_the_size_of_the_data(
    kind: str, streams: bool, tmp_path: Path
) -> None:
    """The data is one compressed stream, or many streams with 2 KiB of data each."""
    pack = PACKERS[kind]

    def subject(n: int) -> Action:
        piece = bytes(range(256)) * 8
        path = tmp_path / f"{kind}{n}"
        try:
            path.write_bytes(pack(piece) * n if streams else pack(piece * n))
        except ImportError:
            pytest.skip(f"NOT RUN: no module for {kind}")

        def action() -> None:
            with decompress.open_stream(str(path), DEFAULT._replace(ratio=1 << 30)) as stream:
                while stream.skip(1 << 30):
                    pass

        return action

    check(subject, start=250, largest=1 << 15)


# --- edits of metadata.yaml

TEXTS: dict[str, Callable[[int], str]] = {
    "properties": lambda n: "properties:\n" + "".join(f"  p{number}: x\n" for number in range(n)),
    "rules": lambda n: (
        "templates:\n" + "".join(f"  /{number}: {{when: [create], template: t}}\n" for number in range(n))
    ),
    "duplicates": lambda n: "properties:\n" + "  a: x\n" * n,
    "comments": lambda n: "# x\n" * n + "properties: {a: x}\n",
    "anchors": lambda n: "x: &x {a: x}\ny:\n" + "".join(f"- &a{number} {number}\n" for number in range(n)),
    "aliases": lambda n: "x: &x [a]\ny:\n" + "- *x\n" * n + "properties: &p {a: x}\n",
    "anchored properties": lambda n: (
        "properties:\n"
        + "".join(f"  p{number}: &p{number} x\n" for number in range(n))
        + "x:\n"
        + "".join(f"- *p{number}\n" for number in range(n))
    ),
    "merges": lambda n: "x: &x {q: x}\nproperties:\n  a: x\n" + "  <<: *x\n" * n,
}
RULE = metadata_edit.NewRule("/new", "t", ("create",))
#: by the name of the function that edits
EDITS: dict[str, Callable[[Source], object]] = {
    "set_values": lambda source: metadata_edit.set_values(
        source, facts={"expiry_date": "7"}, properties={"a": None}
    ),
    "set_property": lambda source: metadata_edit.set_property(source, "a", "new"),
    "unset_property": lambda source: metadata_edit.unset_property(source, "a"),
    "set_fact": lambda source: metadata_edit.set_fact(source, "architecture", "aarch64"),
    "unset_fact": lambda source: metadata_edit.unset_fact(source, "creation_date"),
    "add_rule": lambda source: metadata_edit.add_rule(source, RULE),
    "change_rule": lambda source: metadata_edit.change_rule(source, "/1", {"mode": "0600"}),
    "remove_rule": lambda source: metadata_edit.remove_rule(source, "/1"),
}


@pytest.mark.parametrize("name", EDITS)
def test_every_metadata_edit_takes_linear_time(name: str) -> None:
    def editing(make: Callable[[int], str]) -> Make:
        def subject(n: int) -> Action:
            source = Source("metadata.yaml", FACTS + make(n))
            return lambda: EDITS[name](source)

        return subject

    for subject in slowest([editing(make) for make in TEXTS.values()], 200):
        check(subject, start=50, largest=8000)


# --- nothing is forgotten

#: public functions that read neither an image nor a text of an image
OTHERS = {
    "clean_name", "close_with", "open_archive", "compressing", "compression_named", "compressor", "open_stream", "data", "extension",
    "file_names", "fingerprint", "of_descriptors", "refuse_deep", "bad_template_name", "refuse_kind", "kind_of_file",
    "open_rootfs", "read_planned_rootfs", "read_rootfs", "refuse_same_file", "refuse_special", "find", "publication", "publish_all", "stale_of",
    "properties_of", "architecture_of", "running", "refuse_running", "make", "presets",
    "add", "has", "move", "put", "take", "read", "search", "column", "line_end", "line_start", "newline", "unshared", "written_out",
    "double", "flow", "in_style", "key", "number", "scalar",
    "compression_by_name", "decompress_lzo", "is_same_file", "memory_of", "open_regular", "refuse_many", "reading", "refuse_extension",
    "require_same_identity", "set_xattr", "size_of", "squashfs_end", "start_sqfs2tar",
    "check_directories", "check_tables", "data_bytes", "holes_of", "load_compression",
    "xattrs_of", "xattrs_of_entry",  # the kernel limits the attributes of a file to 64 KiB
    # measured with "build"
    "save_tar", "write_tar", "rootfs_members", "unified_members", "part_members", "dotted", "bounded_writer",
    "protect", "squash", "storable",
    "decoded_attribute", "described", "encoded_attribute", "has_dots",  # they take one name; the laws of checks measure the tree
    "has_pax_format", "read_number",  # they read a header of 512 bytes, or one of its fields
    "load_lz4", "load_zstd",  # they take no image
    "identity_of", "opened", "refuse_private", "replaced_error", "sqfs2tar_for", "xattr_names",  # they read no data of an image
    "refuse_holes",  # it reads no content
    "whole_content",  # its time grows with the file, which a law of fingerprints measures
    "fingerprints_around",  # two fingerprints
    "one_account", "privilege_names", "stored_bytes", "too_many_pieces",  # they take no image or text
    "describe_definition", "write_new",  # they take a built definition, which has its own limits
}  # fmt: skip


def test_the_measurement_fails_for_a_check_with_quadratic_time() -> None:
    """This test shows that the tests in this file can fail."""
    pairs = Check(
        "pairs", "info", "", "", lambda found: [None for a in found.names for b in found.names if a is b][:0]
    )
    with pytest.raises(AssertionError, match="time grows too fast"):
        check(checking(pairs, IMAGES["names"]), start=500, largest=1 << 12)
