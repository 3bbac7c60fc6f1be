"""Commands about servers and catalogs, with stand-ins for the network: `serve`, `store refresh`, `streams reindex`."""

from contextlib import contextmanager
from itertools import count
from types import SimpleNamespace

import pytest

from templater.cli.commands import serve
from templater.cli.commands.store import refresh
from templater.cli.commands.streams import reindex
from templater.cli.run_command_line import main
from templater.limit_option import Given
from templater.model.errors import InputError, LimitError, TemplaterError, UsageError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("8443", ("127.0.0.1", 8443)), (":0", ("127.0.0.1", 0)), ("a.example:65535", ("a.example", 65535)),
        ("[::1]:80", ("::1", 80)), ("a:65536", None), ("a:-1", None), ("a:", None), ("a:\u0661", None),
        ("a:\u00b2", None), ("a:000080", None), ("a:00080", ("a", 80)),
    ],
)  # fmt: skip
def test_a_listen_address_consists_of_an_optional_host_and_a_port(text, found):
    if found is not None:
        assert serve.address(text) == found
        return
    with pytest.raises(UsageError) as caught:
        serve.address(text)
    assert caught.value.message == f"invalid address '{text}'"
    assert caught.value.hint == "for example: --listen 127.0.0.1:8443"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ""), ("https://a.example", "https://a.example"), ("https://a.example/b/c-1/", "https://a.example/b/c-1"),
        ("https://[::1]:80/", "https://[::1]:80"), ("http://a", None), ("https://a//b", None),
        ("https://a/b?c", None), ("xhttps://a", None), ("https://a b", None), ("https://", None),
    ],
)  # fmt: skip
def test_a_public_url_invalid_for_clients_is_refused(text, found):
    if found is not None:
        assert serve.public_url(text) == found
        return
    with pytest.raises(UsageError) as caught:
        serve.public_url(text)
    assert caught.value.message == f"invalid URL '{text}'"
    assert caught.value.hint == "for example: --url https://images.example.com"


def test_reopening_a_renamed_access_log_creates_a_new_file(tmp_path, capsys):
    path = tmp_path / "log"
    log = serve.AccessLog(str(path))
    log.write("one \udcff")
    path.rename(tmp_path / "old")
    log.write("two")
    log.open()
    log.write("three")
    assert (tmp_path / "old").read_text() == "one \\udcff\ntwo\n"
    assert path.read_text() == "three\n"
    path.unlink()
    path.mkdir()
    log.open()
    log.write("four")
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(f"note: can't open '{path}' again: ")


def test_creating_an_access_log_fails_if_its_file_cannot_be_opened(tmp_path):
    with pytest.raises(TemplaterError) as caught:
        serve.AccessLog(str(tmp_path / "none/log"))
    assert caught.value.message.startswith(f"can't write '{tmp_path}/none/log': ")


def test_an_access_log_named_dash_goes_to_standard_output(capsys):
    log = serve.AccessLog("-")
    log.open()
    log.write("a line")
    assert capsys.readouterr().out == "a line\n"


def test_reloading_the_certificate_prints_its_success_or_error(capsys):
    asked = []
    certificates = SimpleNamespace(load=lambda *words: asked.append(words))
    serve.reload(certificates, "context", ("a", "b"))
    assert asked == [("context", "a", "b")]

    def fail(*words):
        raise InputError("no key")

    serve.reload(SimpleNamespace(load=fail), "context", ("a", "b"))
    assert capsys.readouterr().err == "note: reloaded the certificate\nnote: no key\n"


@pytest.fixture
def stored(monkeypatch):
    """A store of four images: three from a server (current, old and failing), and one from files."""
    names = ("current", "old", "failing", "files")
    images = [
        SimpleNamespace(
            fingerprint=name[0] * 64,
            aliases=(name,) if name != "old" else (),
            auto_update=name != "files",
            source="" if name == "files" else f"images:{name}",
        )
        for name in names
    ]
    store = SimpleNamespace(
        images=lambda: images, find=lambda name: images[names.index(name)], replaced=[], asked=[],
    )  # fmt: skip
    store.replace_image = lambda image, hashes: store.replaced.append((image.source, hashes))

    def fetch(source, *, whole, progress):
        store.asked.append((source, whole))
        progress(1, 2, "x")
        if source == "images:failing":
            raise InputError("no answer")
        return SimpleNamespace(fingerprint=("n" if source == "images:old" else "c") * 64, hashes="hashes")

    monkeypatch.setattr("templater.distribution.store.Store", lambda: store)
    monkeypatch.setattr("templater.distribution.fetch_image.fetch_source", fetch)
    return store


def test_the_refresh_command_replaces_an_outdated_image(stored, capsys):
    assert main(["store", "refresh"]) == 2
    assert stored.asked == [("images:current", True), ("images:old", True), ("images:failing", True)]
    assert stored.replaced == [("images:old", "hashes")]
    assert capsys.readouterr().err.splitlines() == [
        "current: already the newest version",
        f"{'o' * 12}: replaced {'o' * 12} with {'n' * 12}",
        "failing: no answer",
    ]


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("current", 0, "already the newest version"),
        ("files", 2, "not refreshed, because it was imported from files"),
    ],
)
def test_the_refresh_command_reports_the_result_for_one_named_image(name, code, said, stored, capsys):
    assert main(["store", "refresh", name]) == code
    assert capsys.readouterr().err == f"{name}: {said}\n"


def test_an_image_refresh_fails_after_its_share_of_the_time_limit(monkeypatch):
    now, shown = [10.0], []
    monkeypatch.setattr(refresh, "monotonic", lambda: now[0])
    show = refresh._in_time(5.0, lambda *words: shown.append(words))
    now[0] = 15.0
    show(1, 2, "a", 3)
    show(1, 2, "a")
    assert shown == [(1, 2, "a", 3), (1, 2, "a", 0)]
    now[0] = 15.1
    with pytest.raises(LimitError) as caught:
        show(1, 2, "a")
    assert caught.value.message == (
        "fetching the image takes longer than 5 seconds: the limit command-time is divided among the images"
    )


def described(name, sha256="a", kind="container", version="v1"):
    product, version = SimpleNamespace(name=f"{name}\n"), SimpleNamespace(name=version)
    image = SimpleNamespace(
        metadata=SimpleNamespace(sha256=sha256), type=kind, product=product, version=version
    )
    return SimpleNamespace(image=image)


@pytest.mark.parametrize(("limits", "first"), [({}, 6), ({"total": 9, "steps": 5}, 9)])
def test_the_reindex_command_combines_equal_tables(limits, first, monkeypatch, capsys):
    given, asked, now = Given(), [], [100.0]
    given.rendering = limits

    def table(origin, each, within):
        asked.append((each.image.metadata.sha256, each.image.type, within.rendering))
        now[0] += first - 0.5 if len(asked) == 3 else 0
        return "no templates\n" if each.image.metadata.sha256 == "b" else "table\n"

    monkeypatch.setattr(reindex, "table_of", table)
    monkeypatch.setattr(reindex, "processor_seconds", lambda: now[0])
    images = (
        described("one"), described("two"), described("three", "b"), described("one", kind="virtual-machine"),
        described("four", "c"), described("late", "d"),
    )  # fmt: skip

    def late(origin, each, within):
        found = table(origin, each, within)
        now[0] += 1 if each.image.metadata.sha256 == "c" else 0
        return found

    monkeypatch.setattr(reindex, "table_of", late)
    reindex.write_tables("origin", images, given)
    assert capsys.readouterr().out == (
        "==> one\\n v1 (container)\n==> two\\n v1 (container)\n==> one\\n v1 (virtual-machine)\n"
        "==> four\\n v1 (container)\ntable\n\n==> three\\n v1 (container)\nno templates\n\n"
        f"==> late\\n v1 (container)\n{reindex._LATE}"
    )
    assert [each[:2] for each in asked] == [
        ("a", "container"), ("b", "container"), ("a", "virtual-machine"), ("c", "container")
    ]  # fmt: skip
    assert [each[2]["total"] for each in asked] == [first, first, first, 1]
    assert all(each[2].get("steps") == limits.get("steps") for each in asked)
    assert given.rendering == limits


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ("architecture: x86_64\ncreation_date: 1\n", "no templates\n"),
        ("[", "file  on  incus"),
        ("", "no table: broken\\n\n"),
        (None, "no table: the metadata is missing at the origin\n"),
    ],
)
def test_an_image_without_templates_or_without_valid_metadata_has_no_table(
    metadata, text, tmp_path, monkeypatch
):
    @contextmanager
    def downloaded(origin, each):
        if metadata is None:
            raise FileNotFoundError
        (tmp_path / "templates").mkdir()
        if not metadata:
            raise InputError("broken\n")
        (tmp_path / "metadata.yaml").write_text(metadata)
        yield str(tmp_path)

    monkeypatch.setattr("templater.distribution.republish.metadata_file", downloaded)
    found = reindex.table_of("origin", described("a"), Given())
    assert found.startswith(text)
    assert ("incus: the start fails: " in found) == (metadata == "[")


@pytest.mark.slow
def test_the_time_limit_of_reindex_includes_reading_images(monkeypatch, capsys):
    """A server could make the command decompress for minutes, because only rendering had a limit."""

    @contextmanager
    def slow(origin, each):
        while True:
            pass
        yield

    monkeypatch.setattr("templater.distribution.republish.metadata_file", slow)
    # the kernel's timer can end a table a millisecond before the measured second is over
    real, calls = reindex.processor_seconds, count()
    monkeypatch.setattr(reindex, "processor_seconds", lambda: real() + 0.05 * next(calls))
    given = Given()
    given.rendering = {"total": 1}
    reindex.write_tables("origin", (described("slow"), described("late", "b")), given)
    late = "no table: the command takes longer than 1 seconds of processor time\n"
    assert capsys.readouterr().out == (
        f"==> slow\\n v1 (container)\n{late}\n==> late\\n v1 (container)\n{reindex._LATE}"
    )


def test_the_reindex_command_reports_the_number_of_republished_images(monkeypatch, capsys, tmp_path):
    asked = []

    def republish(origin, tree, *, redirects, copying, keyring, progress):
        asked.append((redirects, copying, keyring))
        progress(1, 2, "x")
        return SimpleNamespace(
            warnings=["w"], images=1, products=2, copied=3, bytes=3 << 20, rules=["r"] if redirects else [],
            described="described",
        )  # fmt: skip

    tables = []
    monkeypatch.setattr("templater.distribution.republish.republish", republish)
    monkeypatch.setattr(reindex, "write_tables", lambda *words: tables.append(words[1]))
    words = ["streams", "reindex", "https://a.example", str(tmp_path)]
    assert main([*words, "--copy", "--keyring", "k"]) == 0
    lines = ["warning: w", "republished 1 image of 2 products"]
    assert capsys.readouterr().err.splitlines() == [*lines, "copied 3 files, 3.0 MiB"]
    assert main([*words, "--redirect", str(tmp_path), "--no-tables"]) == 0
    assert capsys.readouterr().err.splitlines() == [*lines, "wrote r"]
    assert asked == [(None, True, "k"), (str(tmp_path), False, None)]
    assert tables == ["described"]
