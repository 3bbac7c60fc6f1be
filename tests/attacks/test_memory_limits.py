"""Limits on names, templates and existing files that are kept in memory."""

import gc
import io
import json
import sys
import tarfile
import tracemalloc
import weakref
from pathlib import Path

import pytest

from templater.checks.finding import Severity
from templater.checks.image_scanner import scan_image
from templater.checks.run_checks import audit
from templater.cli.run_command_line import main
from templater.distribution.catalog_decoder import MOST_VALUES, count_values
from templater.image.limits import DEFAULT
from templater.image.open_image import open_image
from templater.image.read_whole_image import open_contents
from templater.instances import record_of_written_files
from templater.instances.record_of_written_files import Record
from templater.instances.state_directory import StateDirectory
from templater.model.entry import FILE, Entry, TemplateFile
from templater.model.errors import LimitError
from templater.model.hosts import INCUS, NONE
from templater.model.instance import Instance
from templater.model.metadata import Metadata, Rule
from templater.model.plan import KEEP, UPDATE
from templater.model.render_options import RenderOptions
from templater.planning.decide_changes import plan_of
from templater.planning.every_host import plan_every_host
from templater.pongo2.render_state import Limits
from templater.prediction.host_filesystem import Place
from templater.rendering.render import Rendering, render
from templater.rootfs.confined_root import Root
from templater.rootfs.memory_rootfs import MemoryRootfs
from templater.simulation.parse_steps import parse_step
from templater.simulation.run_steps import simulate
from tests.checks.authoring.authoring_builders import file as authored_file
from tests.checks.authoring.authoring_builders import image as authored_image
from tests.image_archives import file as member
from tests.image_archives import image as tarball
from tests.image_archives import pax
from tests.peak_memory import measured

METADATA = "architecture: x86_64\ncreation_date: 1\n"


def archive(path: Path, *files: tuple[str, bytes]) -> str:
    with tarfile.open(path, "w") as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return str(path)


def folder(path: Path, *files: tuple[str, bytes]) -> str:
    for name, data in files:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return str(path)


@pytest.fixture(params=[archive, folder])
def image(request, tmp_path):
    return lambda *files: request.param(tmp_path / "image", ("metadata.yaml", METADATA.encode()), *files)


def findings(path, **limits):
    surveyed = scan_image(path, DEFAULT._replace(**limits))
    return surveyed, {finding.check: finding for finding in audit(surveyed)}


def test_an_audit_stores_member_names_only_up_to_its_limit(image):
    path = image(*[(f"rootfs/{n}", b"") for n in range(50)])
    surveyed, found = findings(path, members=60)
    assert "unreadable" not in found
    assert "unreadable" not in findings(path, members=len(surveyed.names))[1]
    assert "unreadable" in findings(path, members=len(surveyed.names) - 1)[1]
    surveyed, found = findings(path, members=20)
    assert len(surveyed.names) <= 21
    assert found["unreadable"].severity == Severity.HIGH
    assert "more than 20" in found["unreadable"].message


def test_an_audit_stores_template_data_only_up_to_its_limit(image):
    path = image(*[(f"templates/{n}.tpl", b"x" * 1000) for n in range(50)])
    surveyed, _ = findings(path, templates_bytes=20_000)
    held = [file for file in surveyed.templates.values() if file.data is not None]
    assert len(held) == 20
    assert len(surveyed.templates) == 50
    refused = next(file for file in surveyed.templates.values() if file.data is None)
    assert "more than 20000 bytes in total" in str(refused.error)


def test_the_number_of_files_in_an_audit_is_limited(tmp_path, capsys, monkeypatch):
    path = folder(tmp_path / "image", ("metadata.yaml", METADATA.encode()), ("rootfs/etc/a", b""))
    assert main(["audit", path, "--limit", "members=2"]) == 1
    assert "more than 2 files and directories" in capsys.readouterr().out


def planned(rootfs, contents):
    rules = [Rule(path, "a.tpl", ("start",)) for path in contents]
    renderings = [
        Rendering(rule, "start", content) for rule, content in zip(rules, contents.values(), strict=True)
    ]
    made = Metadata(rules=tuple(rules))
    return plan_of(made, Instance("c1"), renderings, rootfs, host=NONE, triggers=("start",))


def test_plan_stores_existing_content_only_up_to_a_limit(monkeypatch):
    """Beyond the limit, templater still recognises existing files that are equal to the rendered files."""
    contents = {f"/{n}": b"x" * 1000 for n in range(10)}
    monkeypatch.setattr(sys.modules["templater.planning.changed_rootfs"], "MAX_KEPT", 4500)
    assert {change.action for change in planned(MemoryRootfs(contents), contents).changes} == {KEEP}
    for size in (999, 1000):
        rootfs = MemoryRootfs(dict.fromkeys(contents, b"y" * size))
        made = planned(rootfs, contents)
        assert {change.action for change in made.changes} == {UPDATE}
        assert [len(change.before or b"") for change in made.changes] == [size] * 4 + [0] * 6


def test_a_large_compiled_template_is_freed_before_it_is_compiled_again(
    monkeypatch,
) -> None:
    """Each host and each trigger compiles the template again.

    Python collected the old code rarely: ``check --as all`` took 2 GB.
    """
    monkeypatch.setattr(sys.modules["templater.rendering.render"], "LARGE", 50_000)
    text = "x" * 60_000 + "\U0001f600{{ config_get('user.a', '') }}"
    templates = {"t": TemplateFile(Entry(FILE), text.encode())}
    metadata = Metadata(rules=(Rule("/t", "t", ("start",)),))

    def peak(count: int) -> int:
        gc.collect()
        gc.disable()
        tracemalloc.start()
        try:
            for _ in range(count):
                render(metadata, templates, Instance("c1"), ("start",), RenderOptions(NONE))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            gc.enable()

    peak(1)  # imports
    assert peak(6) < 2 * peak(1)


USED = "\U0001f600{{ path }}{{ trigger }}{{ config_get('user.a', '') }}\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "templates", "rules", "size", "end"),
    [
        # One emoji makes each character need four bytes, and `check` held each template 11 times: 550 MB.
        (archive, 3, 3, 3_800_000, "\U0001f600{{ config_get('user.a', '') }}\n"),
        # Only three such templates fit into an image. The error of each further template held the parts of every
        # render: 860 MB.
        (folder, 16, 16, 3_800_000, "\U0001f600{{ config_get('user.a', '') }}\n"),
        # The plans of all hosts held every rendered file: 740 MB.
        (folder, 1, 60, 3_800_000, USED),
        # The check held a part of every rendered file: 480 MB.
        (archive, 1, 200, 300_000, USED),
    ],
)
def test_the_check_command_compares_all_hosts_within_the_usual_memory_limit(
    tmp_path, make, templates, rules, size, end
):
    when = "when: [create, start, copy, rename]"
    entries = "".join(f"  /etc/f{n}: {{{when}, template: {n % templates}.tpl}}\n" for n in range(rules))
    metadata = ("metadata.yaml", f"{METADATA}templates:\n{entries}".encode())
    files = [(f"templates/{n}.tpl", f"{n}{'x' * size}{end}".encode()) for n in range(templates)]
    path = make(tmp_path / "image", metadata, *files)
    done, peak = measured(tmp_path / "peak", "check", path, "--as", "all")
    assert path in done.stderr, "the command reports about the image"
    assert peak < 480  # Python 3.11 needs up to 410 MB, and 3.13 about 300


def test_the_rendered_files_of_all_hosts_together_have_a_size_limit(tmp_path, monkeypatch):
    """`preview --as all` held 250 MB for each dialect."""
    monkeypatch.setattr("templater.rendering.render.MAX_TOTAL", 5)
    metadata = ("metadata.yaml", f"{METADATA}templates: {{/a: {{when: [start], template: a}}}}".encode())

    def plans(text: bytes) -> object:
        image = open_image(folder(tmp_path / "image", metadata, ("templates/a", text)))
        return plan_every_host(image, Instance("c1"), RenderOptions(NONE), triggers=("start",))

    assert plans(b"12345")
    with pytest.raises(LimitError, match="the rendered files are larger than"):
        plans(b"123456")


def test_rendered_files_are_kept_only_up_to_a_limit(monkeypatch):
    monkeypatch.setattr("templater.checks.rendered_files.MOST_TEXT", 5)
    late = authored_file("/etc/a", "{{ trigger }}").late
    assert late is not None
    assert late.message == "the rendered files have more than 5 characters in total"
    assert authored_file("/etc/a", "12345").late is None
    equal = authored_image(*(f"/etc/{n}: {{when: [create], template: t}}" for n in range(3)), t="12345")
    assert equal.late is None


def test_an_audit_counts_the_memory_of_many_short_extended_attributes(tmp_path):
    """Members with thousands of attributes with short names took 914 MB: only the characters were counted."""
    attributes = {f"SCHILY.xattr.user.{number}": b"x" for number in range(2000)}
    members = [pax(attributes) + member(f"rootfs/{number}") for number in range(5)]
    path = tarball(tmp_path / "i.tar", *members)
    assert "unreadable" not in findings(path)[1]
    assert "names and attributes" in findings(path, held_bytes=1 << 20)[1]["unreadable"].message


@pytest.fixture
def attributes(monkeypatch):
    """Give each file 8,000 extended attributes of 64 KiB, as tmpfs and XFS allow.

    Return the numbers of calls that list or read attributes.
    """
    calls = {"list": 0, "read": 0}

    def listed(*_, **__):
        calls["list"] += 1
        return [f"user.{number:05}" for number in range(8000)]

    def read(*_, **__):
        calls["read"] += 1
        return bytes(1 << 16)

    monkeypatch.setattr("os.listxattr", listed, raising=False)
    monkeypatch.setattr("os.getxattr", read, raising=False)
    return calls


def test_a_file_with_half_a_gigabyte_of_extended_attributes_is_refused(tmp_path, attributes):
    """`publish` needed 2 GB for one file, and wrote an image that no command of templater could read."""
    path = folder(tmp_path / "image", ("metadata.yaml", METADATA.encode()), ("rootfs/a", b""))
    with pytest.raises(LimitError, match="bytes for its extended attributes") as caught:
        list(open_contents(path).rootfs())
    assert "--limit header" in caught.value.hint
    assert attributes["read"] <= 16
    with pytest.raises(LimitError, match="bytes for its extended attributes"):
        open_contents(path).parts()


def test_the_size_limit_of_templates_includes_their_attributes(tmp_path, monkeypatch):
    files = [(f"templates/{number}", b"") for number in range(50)]
    path = folder(tmp_path / "image", ("metadata.yaml", METADATA.encode()), ("rootfs/a", b""), *files)
    monkeypatch.setattr("os.listxattr", lambda *_, **__: ["user.a"], raising=False)
    monkeypatch.setattr("os.getxattr", lambda *_, **__: bytes(1000), raising=False)
    assert len(open_contents(path).parts()) == 52
    with pytest.raises(LimitError, match="its templates have more than 20000 bytes"):
        open_contents(path, limits=DEFAULT._replace(templates_bytes=20_000)).parts()


def test_the_size_limit_of_templates_includes_many_empty_attributes(tmp_path, monkeypatch):
    """Only the values of attributes counted: an image of 14 MB with five million attributes needed 777 MB."""
    files = [(f"templates/{number}", b"") for number in range(50)]
    path = folder(tmp_path / "image", ("metadata.yaml", METADATA.encode()), ("rootfs/a", b""), *files)
    names = [f"user.{number}" for number in range(1000)]
    monkeypatch.setattr("os.listxattr", lambda *_, **__: names, raising=False)
    monkeypatch.setattr("os.getxattr", lambda *_, **__: b"", raising=False)
    with pytest.raises(LimitError, match="its templates have more than 1000000 bytes"):
        open_contents(path, limits=DEFAULT._replace(templates_bytes=1_000_000)).parts()


def test_reading_templates_stops_at_the_total_size_limit(tmp_path, monkeypatch):
    """All templates were read before their sizes were added: 1,000 sparse files needed 4 GB."""
    files = [(f"templates/{number}", bytes(1000)) for number in range(50)]
    path = folder(tmp_path / "image", ("metadata.yaml", METADATA.encode()), *files)
    read = []
    original = Root.read
    monkeypatch.setattr(Root, "read", lambda *words, **more: read.append(words) or original(*words, **more))
    with pytest.raises(LimitError, match="its templates have more than 5000 bytes"):
        open_contents(path, limits=DEFAULT._replace(templates_bytes=5000)).parts()
    assert len(read) <= 7


def test_audit_reads_attributes_of_each_file_separately(tmp_path, attributes):
    """The attributes of all files of a folder were listed first: 3,000 files needed 266 MB."""
    files = [(f"rootfs/{number}", b"") for number in range(50)]
    path = folder(tmp_path / "image", ("metadata.yaml", METADATA.encode()), *files)
    _, found = findings(path, held_bytes=8 << 20)
    assert "names and attributes" in found["unreadable"].message
    assert attributes["list"] < 10


def test_a_predicted_file_tree_is_freed_without_a_garbage_collection():
    """Each prediction kept all rendered files until the next collection: `test` took 250 MB for each test."""
    gc.disable()
    try:
        top = Place(None, "")
        place = top.child("a").child("b")
        assert place.path == "/a/b"
        freed = weakref.ref(place)
        del top, place
        assert freed() is None
    finally:
        gc.enable()


def test_error_of_a_failed_start_keeps_no_rendered_files(tmp_path):
    """Five failed starts took 1.2 GB."""
    metadata = ("metadata.yaml", f"{METADATA}templates: {{/a: {{when: [start], template: a}}}}".encode())
    image = open_image(folder(tmp_path / "image", metadata, ("templates/a", b"x")))
    options = RenderOptions(INCUS, limits=Limits(total=-1))
    reports = simulate(image, Instance("c1"), [parse_step("start")], options)
    error = reports[0].error
    assert isinstance(error, LimitError)
    while error is not None:
        assert error.__traceback__ is None
        error = error.__context__


@pytest.mark.slow
@pytest.mark.parametrize("product", ['"p{}-{}":{{"os":"{}"}}', '"p{}-{}":null'], ids=["objects", "null"])
def test_the_largest_catalogs_need_less_than_500_mb(tmp_path, product):
    number = MOST_VALUES // count_values(product.format(0, 0, 0).encode() + b",") - 10
    folder = tmp_path / "tree/streams/v1"
    folder.mkdir(parents=True)
    entries = {}
    for file in range(2):
        products = ",".join(product.format(file, n, n) for n in range(number))
        (folder / f"{file}.json").write_text(f'{{"products":{{{products}}}}}')
        path = f"streams/v1/{file}.json"
        entries[str(file)] = {"datatype": "image-downloads", "path": path, "products": ["x"]}
    (folder / "index.json").write_text(json.dumps({"index": entries}))
    for command in ("list", "verify"):
        done, peak = measured(tmp_path / "peak", "streams", command, str(tmp_path / "tree"))
        assert (done.returncode, done.stderr) == (4, "templater: the stream has more than 50000 images\n")
        assert peak < 500


@pytest.mark.slow
@pytest.mark.parametrize("is_killed", [False, True])
def test_the_record_of_written_files_needs_memory_proportional_to_its_size(is_killed, tmp_path):
    """One emoji in each key made Python keep four bytes for each character: a start needed 552 MB."""
    keys = {"a.tpl": tuple(f"u\U0001f600{number:09}" for number in range(100))}
    first, second = ({f"/{n}": text for n in range(2000)} for text in (b"1", b"2"))
    plans = [planned(MemoryRootfs({}), contents) for contents in (first, second)]
    folder = tmp_path / ".templater"
    with StateDirectory(str(tmp_path)) as state, Record(state).updated(plans[0], {}, keys):
        pass
    size = (folder / "written").stat().st_size
    if is_killed:
        (folder / "written").rename(folder / "written.new")
    tracemalloc.start()
    with StateDirectory(str(tmp_path)) as state:
        record = Record(state)
        record.settle(MemoryRootfs(first))
        with record.updated(plans[1], {}, keys):
            peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (folder / "written").stat().st_size == size > 3_000_000
    assert peak < 6 * size


def test_a_record_with_too_many_keys_is_an_error(tmp_path, monkeypatch):
    """The start had exit code 0 and wrote no record."""
    monkeypatch.setattr(record_of_written_files, "MAX_KEYS", 10)
    keys = {"a.tpl": tuple(map(str, range(7)))}
    with StateDirectory(str(tmp_path)) as state:
        with Record(state).updated(planned(MemoryRootfs({}), {"/a": b""}), {}, keys):
            pass
        with pytest.raises(LimitError, match="would have more than 100000 files, 10 configuration keys or"):
            Record(state).updated(planned(MemoryRootfs({}), {"/a": b"", "/b": b""}), {}, keys)
        assert [*Record(state).files()] == ["/a"]
