"""Images whose many small parts together take long, although each part is within its limit."""

import gzip
import lzma
import os
import unicodedata
from pathlib import Path

import pytest

from templater import plan
from templater.checks import scanned_image
from templater.checks.security import lookalikes, secrets
from templater.checks.security.member_links import Links
from templater.cli.run_command_line import main
from templater.image.decompress import open_stream
from templater.image.limits import DEFAULT
from templater.image.open_image import open_image
from templater.model.entry import SYMLINK, Entry
from templater.model.errors import LimitError
from templater.model.instance import Instance
from templater.model.metadata import Rule
from templater.model.source import Source
from templater.planning import follow_links as resolving
from templater.planning.decide_changes import decide
from templater.pongo2 import compiled_template
from templater.rendering.render import Rendering
from templater.rootfs.memory_rootfs import MemoryRootfs
from tests.image_archives import END, METADATA, file, header, image, pax
from tests.processor_time import ends_within

RULE = METADATA + b"templates:\n  /etc/x: {when: [create], template: a.tpl}\n"


def test_the_lookalike_check_skips_very_long_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Python 3.13.5, ``unicodedata.normalize`` takes minutes for 100,000 combining marks."""
    sizes: list[int] = []
    real = unicodedata.normalize

    def normalize(form: str, text: str) -> str:
        sizes.append(len(text))
        return real(form, text)

    monkeypatch.setattr(lookalikes.unicodedata, "normalize", normalize)
    names = ["a" + "\u0301\u0316" * 50_000, "\u0430.tpl", "a.tpl"]
    assert [found.at for found in lookalikes.lookalikes(names, "")] == ["\u0430.tpl"]
    assert max(sizes) == 5


@pytest.mark.slow
def test_the_audit_checks_equal_templates_only_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two thousand hard links to one template took ten minutes."""
    monkeypatch.setattr(scanned_image, "MAX_SECONDS", 100.0)  # for slow machines
    text = b"{{ a+1-2*3 }}" * 2000
    links = [header(f"templates/{n}.tpl", b"1", linkname="templates/a.tpl") for n in range(2000)]
    path = image(tmp_path / "image", file("templates/a.tpl", text), *links, metadata=RULE)
    with ends_within(10):
        main(["audit", path])
    assert "not checked completely" not in capfd.readouterr().out


def test_check_is_incomplete_if_it_exceeds_its_time_limit(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanned_image, "MAX_SECONDS", -1.0)
    parts = [file(f"templates/{n}.tpl", b"{{ %d }}" % n) for n in range(3)]
    assert main(["audit", image(tmp_path / "image", *parts, metadata=RULE)]) == 1
    assert "language" in (said := capfd.readouterr().out)
    assert "not checked completely: the checks of all templates take more than -1 seconds" in said


@pytest.mark.slow
def test_removed_links_do_not_slow_down_later_link_lookups() -> None:
    links = Links()
    deep = "rootfs" + "/d" * 2000
    above = [deep[: at + 6] for at in range(0, 4000, 2)]
    for path in above:
        links.add(path, "x")
        links.add(path, "y")
    for path in above:
        links.remove(path)
    links.add("rootfs/other", "x")
    with ends_within(5):  # a hash and a copy of each prefix took more than 30 seconds
        for _ in range(1000):
            assert links.link_above(deep) is None
    assert links.link_above("rootfs/other/x") == "rootfs/other"


def chain(tail: str) -> MemoryRootfs:
    """Return a root filesystem of links, each of which leads to the next link and from there to ``tail``."""
    links = {f"/l{n}": Entry(SYMLINK, target=f"/l{n + 1}/{tail}") for n in range(39)}
    return MemoryRootfs(links)


@pytest.mark.parametrize("tail", ["a/" * 2000 + "a", "../" * 1000 + "a", "a/../" * 800 + "a"])
@pytest.mark.slow
def test_targets_behind_long_links_are_planned_within_seconds(tail: str) -> None:
    """One rule of 45 bytes led through 78,000 names, and 15,000 rules fit into an image."""
    rules = [Rule(f"/l0/{n}", "a.tpl", ("create",)) for n in range(3000)]
    with ends_within(8):
        changes = decide([Rendering(rule, "create", b"x") for rule in rules], chain(tail))
    assert all(change.error is not None for change in changes)


def test_resolved_path_longer_than_the_kernel_allows_is_refused() -> None:
    found = resolving.resolve(
        MemoryRootfs({"/l": Entry(SYMLINK, target="d" * 200 + "/x" * 1900)}), "/l/" + "y/" * 100 + "z"
    )
    assert found.error is not None and "too long" in found.error.message
    assert len(found.real) <= resolving.MAX_PATH


@pytest.mark.parametrize("host", ["incus", "incus-6.0", "lxd", "lxd-6.7", "all"])
def test_a_template_with_a_very_long_name_causes_no_traceback(
    host: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rule = METADATA + b"templates:\n  /etc/x: {when: [create], template: " + b"n" * 1000 + b"}\n"
    assert main(["preview", image(tmp_path / "image", metadata=rule), "--as", host]) == 5
    assert "Traceback" not in capfd.readouterr().err


def equal_templates(folder: Path, text: str, count: int, rule: str = "when: [start]") -> str:
    (folder / "templates").mkdir(parents=True)
    (folder / "rootfs").mkdir()
    names = [f"t{n}" for n in range(count)]
    for name in names:
        (folder / "templates" / name).write_text(text)
    rules = "".join(f"  /{name}: {{{rule}, template: {name}}}\n" for name in names)
    (folder / "metadata.yaml").write_text(METADATA.decode() + "templates:\n" + rules)
    return str(folder)


def test_equal_templates_are_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    real = compiled_template.compile_template

    def compile_template(source: Source, *arguments: object, **options: object) -> object:
        compiled.append(source.name)
        return real(source, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(compiled_template, "compile_template", compile_template)
    path = equal_templates(tmp_path / "image", "{{ trigger }}", 5)
    made = plan(open_image(path), Instance(), triggers=("start",))
    assert [change.content for change in made.changes] == [b"start"] * 5
    assert compiled == ["templates/t0"]


@pytest.mark.parametrize("dialect", ["v4", "v6"])
@pytest.mark.parametrize(
    "text", ["x\n{{ 1/0 }}", "x\n{% if %}", "{% macro a() %}{% endmacro %}\n{{ a() }}{{ 1/0 }}"]
)
def test_error_in_equal_templates_mentions_the_right_file(tmp_path: Path, text: str, dialect: str) -> None:
    path = equal_templates(tmp_path / "image", text, 2)
    made = plan(open_image(path), Instance(), triggers=("start",), host="none", dialect=dialect)
    first, second = (str(change.error) for change in made.changes)
    assert first.startswith("templates/t0:2:")
    assert second == first.replace("t0", "t1")


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["{{ a+1-2*3 }}" * 2000, "{{ a+1-2*3 }}" * 2000 + "{{ 1/0 }}", "{{ a+1 }}" * 2000 + "{% if %}"]
)
def test_many_equal_templates_are_previewed_and_compared_quickly(
    tmp_path: Path, text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = equal_templates(tmp_path / "image", text, 900)
    for words in (["preview", path, "-t", "start"], ["diff", path, f"{path}/rootfs", "-t", "start"]):
        with ends_within(10):
            main(words)
    capfd.readouterr()


@pytest.mark.slow
def test_rendering_many_different_templates_stops_at_the_total_time_limit(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = equal_templates(tmp_path / "image", "{{ a+1-2*3 }}" * 2000, 900)
    for n in range(900):
        (tmp_path / "image" / "templates" / f"t{n}").write_text("{{ a+1-2*3 }}" * 2000 + str(n))
    for words, seconds in (
        (["-t", "start"], 8),
        (["-t", "all", "--limit", "time=2"], 2),
        (["--as", "all", "--limit", "time=2"], 2),
    ):
        with ends_within(seconds + 4):
            assert main(["preview", path, *words, "--limit", "templates=64MiB"]) == 4
        assert f"takes longer than {seconds} seconds" in capfd.readouterr().err


def test_equal_templates_are_searched_for_secrets_only_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lexed: list[str] = []
    real = secrets.parts_of

    def parts_of(source: Source, *names: set[str]) -> object:
        lexed.append(source.name)
        return real(source, *names)

    monkeypatch.setattr(secrets, "parts_of", parts_of)
    path = equal_templates(tmp_path / "image", "{{ config_get('user.password', '') }}", 5)
    main(["audit", path])
    assert capfd.readouterr().out.count("the template writes 'user.password' to '/t0'") == 1
    assert lexed == [f"{path}/templates/t0"]


@pytest.mark.slow
def test_an_image_with_four_hundred_large_templates_builds_quickly(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = equal_templates(tmp_path / "image", "{{ a+1-2*3 }}" * 2000, 400)
    with ends_within(10):
        assert main(["image", "build", path, "-o", str(tmp_path / "x.tar"), "--compression", "none"]) == 0
    capfd.readouterr()


@pytest.mark.slow
def test_many_different_templates_are_checked_within_a_total_time_limit(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The separate limits of all checks and rules added up to more than a minute."""
    path = equal_templates(tmp_path / "image", "", 900, "when: [create]")
    for n in range(900):
        (tmp_path / "image" / "templates" / f"t{n}").write_text("{{ a+1-2*3 }}" * 2000 + str(n))
    for command in ("audit", "check"):
        with ends_within(14):
            assert main([command, path]) in (1, 4)
    assert "more than" in "".join(capfd.readouterr())


def test_hole_at_the_images_end_is_not_read(tmp_path: Path) -> None:
    """Sixty gigabytes of zeros took minutes, and eight terabytes would take hours."""
    path = Path(image(tmp_path / "image", file("templates/a.tpl", b"x"), metadata=RULE))
    packed = tmp_path / "image.tar.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    os.truncate(packed, 1 << 42)
    with ends_within(2), open_stream(str(packed)) as stream:
        while stream.read(1 << 16):
            pass


def test_hole_between_streams_does_not_increase_the_size_limit(
    tmp_path: Path,
) -> None:
    packed = tmp_path / "image.tar.xz"
    packed.write_bytes(lzma.compress(b"x"))
    os.truncate(packed, 1 << 30)
    with packed.open("ab") as stream:
        stream.write(lzma.compress(bytes(1 << 22)))
    limits = DEFAULT._replace(ratio_from=1 << 20, ratio=10)
    with open_stream(str(packed), limits) as stream, pytest.raises(LimitError, match="10 times its size"):
        while stream.read(1 << 16):
            pass


@pytest.mark.slow
@pytest.mark.parametrize("parents", [["d/" * 240], ["d/" * 239 + "a/", "d/" * 239 + "b/"]])
def test_a_backup_with_many_deeply_nested_names_is_previewed_within_seconds(
    tmp_path: Path, parents: list[str]
) -> None:
    """Each name was looked up from the root several times: 60,000 names took 15 seconds."""
    top = "backup/container/"
    rule = METADATA + b"templates:\n  /etc/x: {when: [start], template: a.tpl}\n"
    parts = [
        file("backup/index.yaml", b"name: web1\n"),
        file(f"{top}backup.yaml", b"container:\n  name: web1\n"),
        file(f"{top}metadata.yaml", rule),
        file(f"{top}templates/a.tpl", b"x"),
    ]
    names = (f"{top}rootfs/{parents[n % len(parents)]}{n}" for n in range(30_000))
    path = tmp_path / "backup.tar"
    path.write_bytes(b"".join([*parts, *(pax({"path": name.encode()}) + header("x") for name in names), END]))
    with ends_within(5):  # it takes 2 seconds
        assert main(["preview", str(path)]) == 0
