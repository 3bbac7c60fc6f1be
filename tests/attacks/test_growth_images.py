"""Small images and templates that once took minutes to hours: work grew with the product of two sizes."""

import gzip
import itertools
import lzma
import random
import tarfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from templater import pongo2
from templater.checks import scanned_image
from templater.checks.image_scanner import scan_image
from templater.checks.run_checks import audit
from templater.checks.scanned_image import Name
from templater.cli import open_and_plan
from templater.cli.run_command_line import main
from templater.image import compression_modules, decompress, describe, unpack
from templater.image.decompress import open_stream
from templater.image.open_image import open_image
from templater.image.read_whole_image import open_contents
from templater.model.entry import FILE, Entry, TemplateFile
from templater.model.errors import LimitError, MetadataError, RefusedError
from templater.model.source import Source
from templater.parsing.metadata_yaml import read_metadata
from templater.rootfs.confined_directory import Directory
from templater.rootfs.confined_root import Root
from tests.laws import growth
from tests.processor_time import ends_within
from tests.sampling import some_fast


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    with ends_within(5):
        yield


def header(name: str, type: bytes = tarfile.REGTYPE, size: int = 0) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = type, size
    return info.tobuf(tarfile.USTAR_FORMAT)


def tarball(path: Path, *blocks: bytes) -> str:
    path.write_bytes(b"".join(blocks) + bytes(10240))
    return str(path)


def file(name: str, data: bytes) -> bytes:
    return header(name, size=len(data)) + data + bytes(-len(data) % 512)


def test_too_many_global_pax_records_are_refused(tmp_path: Path) -> None:
    records = b"".join(b"11 a%05d=\n" % number for number in range(50_000))
    shared = header("g", tarfile.XGLTYPE, len(records)) + records + bytes(-len(records) % 512)
    image = tarball(tmp_path / "i.tar", shared, *(header(f"rootfs/{n}") for n in range(3000)))
    with pytest.raises(RefusedError, match="global headers"):
        open_image(image).read_metadata()


def test_the_global_header_of_git_archive_is_accepted(tmp_path: Path) -> None:
    record = b"52 comment=" + b"0" * 40 + b"\n"
    shared = header("pax_global_header", tarfile.XGLTYPE, len(record)) + record.ljust(512, b"\0")
    image = tarball(tmp_path / "i.tar", shared, file("metadata.yaml", b"architecture: x86_64\n"))
    assert open_image(image).read_metadata().text == "architecture: x86_64\n"


@pytest.mark.slow
def test_computing_the_total_template_size_takes_linear_time(tmp_path: Path) -> None:
    names = [header(f"templates/{number}") for number in range(30_000)]
    image = tarball(tmp_path / "i.tar", file("metadata.yaml", b"architecture: x86_64\n"), *names)
    assert len(open_contents(image).parts()) == 30_001


@pytest.mark.slow
def test_reading_many_templates_takes_linear_time(tmp_path: Path) -> None:
    names = [str(number) for number in range(10_000)]
    templates = [header(f"templates/{name}") for name in names]
    fillers = [header(f"rootfs/{number}") for number in range(20_000)]
    image = tarball(tmp_path / "i.tar", file("metadata.yaml", b"a: b\n"), *templates, *fillers)
    found = open_image(image).read_templates([*names, "missing"])
    assert found["missing"].data is None
    assert found["9999"].data == b""


@pytest.mark.slow
def test_describing_many_templates_takes_linear_time() -> None:
    """The names of all rules were collected again for each template."""
    rules = "".join(f"  /{n}: {{when: [start], template: '{n}'}}\n" for n in range(3000))
    source = Source("metadata.yaml", f"architecture: x86_64\ncreation_date: 1\ntemplates:\n{rules}")
    templates = {str(number): TemplateFile(Entry(FILE, size=1)) for number in range(100_000)}
    assert len(describe._described("i", "directory", source, templates).unused) == 97_000


@pytest.mark.slow
def test_listing_many_templates_takes_linear_time(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """The rules of each template were searched among all rules."""
    rules = "".join(f"  /{n}: {{when: [start], template: '{n}'}}\n" for n in range(6000))
    metadata = f"architecture: x86_64\ncreation_date: 1\ntemplates:\n{rules}"
    templates = [header(f"templates/{number}") for number in range(60_000)]
    image = tarball(tmp_path / "i.tar", file("metadata.yaml", metadata.encode()), *templates)
    assert main(["image", "template", "list", image]) == 0
    assert capsysbinary.readouterr().out.count(b"no rule") == 54_000


@pytest.mark.slow
def test_yaml_with_a_long_key_has_a_lower_limit(tmp_path: Path) -> None:
    """libyaml refuses the key at the end, so the whole text was parsed again in Python, twice: 14 seconds."""
    second = "---\nz: [" + ("[a, " * 58 + "{}," * 4900 + "]" * 58 + ",\n") * 38 + "]\n"
    text = f"architecture: x86_64\ncreation_date: 1\n{second}{'k' * 1100}: 1\n"
    path = tarball(tmp_path / "i.tar", file("metadata.yaml", text.encode()))
    found = audit(scan_image(path))
    assert ("unreadable", "more than 50000 nodes") in [(each.check, each.message) for each in found]
    assert "second-document" in [each.check for each in found]


def test_deeply_nested_brackets_are_refused_after_a_long_key() -> None:
    text = "a" * 1100 + ": x\nb: " + "[" * 16_000
    with pytest.raises(LimitError, match="nested more than 64 levels deep"):
        read_metadata(Source("metadata.yaml", text), "v4")


@pytest.mark.slow
def test_values_inside_nested_brackets_are_parsed_in_linear_time() -> None:
    """Each open bracket can be a key. For each token, the parser looked at all open brackets."""

    def seconds(brackets: int) -> float:
        text = f"{'a' * 1100}: x\nb: {'[' * brackets}{'a,' * 12_000}{']' * brackets}\ny: [\n"
        begun = time.process_time()
        with pytest.raises(MetadataError, match="while parsing a flow node"):
            read_metadata(Source("metadata.yaml", text), "v4")
        return time.process_time() - begun

    # With the methods of PyYAML, 55 brackets take 2.5 times as long as one. Other processes can disturb a measurement.
    few, many = seconds(1), seconds(55)
    for _ in range(8):
        if many >= 1.8 * few:
            few, many = min(few, seconds(1)), min(many, seconds(55))
    assert many < 1.8 * few


@pytest.mark.parametrize("name", ["", "a*"])
def test_removing_thousands_of_html_tags_hits_a_limit(name: str) -> None:
    names = ",".join([name] * 20_000)
    with pytest.raises(LimitError):
        pongo2.compile('{{ "' + "<" * 20_000 + '"|removetags:"' + names + '" }}').render({})


def test_preview_with_slow_filters_stops_at_the_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The kernel stops a hook's child; a preview has to check the clock itself."""
    (tmp_path / "templates").mkdir()
    rule = "templates: {/etc/x: {when: [create], template: a.tpl}}\n"
    (tmp_path / "metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n" + rule)
    loop = '{% for i in "' + "x" * 100_000 + '" %}{{ b|wordcount }}{% endfor %}'
    (tmp_path / "templates" / "a.tpl").write_text('{% set b = "' + "a " * 20_000 + '" %}' + loop)
    monkeypatch.setattr(open_and_plan, "SECONDS", 0.01)
    assert main(["preview", str(tmp_path)]) == 5
    assert "runs longer than 0.01 seconds" in capfd.readouterr().out


@pytest.mark.slow
def test_audit_with_slow_filters_stops_at_the_time_limit(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "templates").mkdir()
    rule = "templates: {/etc/x: {when: [create], template: a.tpl}}\n"
    (tmp_path / "metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n" + rule)
    loop = '{% for i in "' + "x" * 100_000 + '" %}{{ b|wordcount }}{% endfor %}'
    (tmp_path / "templates" / "a.tpl").write_text('{% set b = "' + "a " * 20_000 + '" %}' + loop)
    assert main(["audit", str(tmp_path), "--limit", "template-time=1", "--limit", "steps=1G"]) == 1
    assert "runs longer than 1 second" in capfd.readouterr().out


@pytest.mark.slow
def test_the_compile_command_compiles_equal_templates_only_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rules = "".join(f"  /{number}: {{when: [start], template: t{number}}}\n" for number in range(400))
    (tmp_path / "metadata.yaml").write_text(f"architecture: x86_64\ncreation_date: 1\ntemplates:\n{rules}")
    (tmp_path / "templates").mkdir()
    for number in range(400):
        (tmp_path / f"templates/t{number}").write_text("{{ a+1-2*3 }}" * 2000)
    assert main(["compile", str(tmp_path)]) == 0  # the child may use ten seconds of processor time
    assert "cached image" in capfd.readouterr().err


@pytest.mark.parametrize("text", ["{{ a|uper }}", "{{ config_get('user.b', '') }}{% include 'x' %}"])
def test_an_image_is_not_cached_if_a_template_does_not_compile(
    text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rules = "".join(f"  /{name}: {{when: [start], template: {name}}}\n" for name in "abc")
    (tmp_path / "metadata.yaml").write_text(f"architecture: x86_64\ncreation_date: 1\ntemplates:\n{rules}")
    (tmp_path / "templates").mkdir()
    for name, content in (("a", text), ("b", "fine"), ("c", text)):
        (tmp_path / "templates" / name).write_text(content)
    assert main(["compile", str(tmp_path)]) == 5
    assert "not cached, because a template does not compile" in capfd.readouterr().err


class CountingZlib:
    """The decompressor of zlib, with a count of the bytes that all decompressors receive."""

    received = 0

    def __init__(self) -> None:
        self._real = decompress._Inflate()

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        CountingZlib.received += len(data)
        return self._real.decompress(data, max_length)


def test_each_decompressor_receives_little_data_of_later_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each decompressor received all streams that follow its own stream."""
    streams = 5000
    path = tmp_path / "i.tar.gz"
    path.write_bytes(gzip.compress(file("metadata.yaml", b"a: b\n")) + gzip.compress(bytes(600)) * streams)
    monkeypatch.setitem(decompress._DECOMPRESSORS, "gzip", lambda limits: CountingZlib)
    monkeypatch.setattr(CountingZlib, "received", 0)
    with open_stream(str(path)) as stream:
        assert len(stream.read(1 << 30)) == 1024 + 600 * streams
    assert path.stat().st_size < CountingZlib.received < streams * 5000


@pytest.mark.slow
@pytest.mark.parametrize("size", some_fast([1, 600, 4070, 4075, 4085, 9000], every=3))
@pytest.mark.parametrize(
    ("compress", "zeros"),
    [
        (partial(gzip.compress, compresslevel=0), 0),
        (partial(lzma.compress, preset=0), 0),
        (partial(lzma.compress, preset=0), 4),
        (partial(lzma.compress, preset=0), 5000),
    ],
    ids=["gzip", "xz", "xz padded by 4", "xz padded by 5000"],
)
def test_compressed_streams_are_joined_even_if_padding_separates_them(
    tmp_path: Path, size: int, compress: Callable[[bytes], bytes], zeros: int
) -> None:
    data = file("metadata.yaml", b"a: b\n") + random.Random(size).randbytes(300 * size)
    streams = [compress(data[at : at + size]) for at in range(0, len(data), size)]
    (tmp_path / "i.tar").write_bytes(bytes(zeros).join(streams))
    with open_stream(str(tmp_path / "i.tar")) as stream:
        assert stream.read(len(data) + 1) == data


def test_the_zstd_module_is_loaded_once_for_many_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each stream, a search for modules of other versions of Python took most of the time."""
    loads = []
    zstd = compression_modules.load_zstd()
    monkeypatch.setattr(decompress, "load_zstd", lambda: loads.append(1) or zstd)
    (tmp_path / "i.tar.zst").write_bytes(zstd.compress(file("metadata.yaml", b"a: b\n")) * 50)
    with open_stream(str(tmp_path / "i.tar.zst")) as stream:
        assert len(stream.read(1 << 20)) == 50 * 1024
    assert loads == [1]


@pytest.mark.slow
def test_unpack_skips_many_hard_links_to_devices_in_linear_time(tmp_path: Path) -> None:
    """Each link searched the list of all skipped devices."""

    def unpacking(count: int) -> growth.Action:
        devices = [header(f"rootfs/d{n}", tarfile.CHRTYPE) for n in range(count)]
        link = tarfile.TarInfo("rootfs/l")
        link.type, link.linkname = tarfile.LNKTYPE, f"rootfs/d{count - 1}"
        links = []
        for number in range(count):
            link.name = f"rootfs/l{number}"
            links.append(link.tobuf(tarfile.USTAR_FORMAT))
        metadata = file("metadata.yaml", b"architecture: x86_64\ncreation_date: 1\n")
        place = tmp_path / f"{count}-{next(numbers)}"
        opened = open_contents(tarball(place, metadata, *devices, *links))
        return lambda: unpack.unpack(opened, opened.parts(), f"{place}.unpacked")

    numbers = itertools.count()
    growth.check(unpacking, start=500, largest=4000, memory=False)


def test_unpack_opens_each_unlisted_directory_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of 490 directories was looked up from the root, twice."""
    walks = []
    original = Root.directory

    def directory(root: Root, path: str, **options: bool) -> Directory:
        walks.append(path)
        return original(root, path, **options)

    monkeypatch.setattr(Root, "directory", directory)
    metadata = file("metadata.yaml", b"architecture: x86_64\ncreation_date: 1\n")
    deep = ["a/" * 20 + "f", "a/" * 20 + "b/" * 20 + "f"]
    opened = open_contents(tarball(tmp_path / "i.tar", metadata, *(file(f"rootfs/{n}", b"") for n in deep)))
    unpack.unpack(opened, opened.parts(), str(tmp_path / "out"), finish=lambda path: walks.append("end"))
    made = sum(path.count("a/") > 0 for path in walks[: walks.index("end")])
    assert (tmp_path / "out/rootfs" / deep[1]).is_file()
    assert made <= 2 + 40, "one for each file, and one to set the mode of each directory"


def test_an_implied_directory_counts_towards_the_limit_on_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [Name(f"rootfs/{n}/" + "a/" * 9 + "f", Entry(FILE, 0o644)) for n in range(10)]
    monkeypatch.setattr(scanned_image, "_MOST_ENTRIES", 111)
    view = scanned_image.RootfsNames(names)
    assert view.entry("/9/a/a") is view.entry("/0/a"), "equal entries share memory"
    monkeypatch.setattr(scanned_image, "_MOST_ENTRIES", 110)
    with pytest.raises(LimitError, match="more than 110 files and directories"):
        scanned_image.RootfsNames(names)
