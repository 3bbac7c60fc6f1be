"""The exact messages about images on servers and about republished streams, without a server."""

import contextlib
import hashlib
import json
from types import SimpleNamespace

import pytest

from templater.distribution import downloads, fetch_image, republish
from templater.distribution.catalog_decoder import Item, Product, Version
from templater.distribution.downloads import Downloads, expected_size
from templater.distribution.fetch_image import Fetched, fetch_source
from templater.distribution.https_client import RangeError
from templater.distribution.remotes import Remote
from templater.distribution.republish import Described
from templater.distribution.tree import Tree
from templater.distribution.tree_catalog import Catalog
from templater.model.errors import (
    InputError,
    LimitError,
    RefusedError,
    TemplaterError,
    UsageError,
    WriteError,
)

HASH = "ab" * 32
OTHER = "cd" * 32


def failed(function, *arguments, **options):
    with pytest.raises(TemplaterError) as caught:
        function(*arguments, **options)
    return type(caught.value), caught.value.message, caught.value.hint


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "INCUS_CONF", "LXD_CONF"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


LOCAL = "does not name an image of the local daemon"


@pytest.mark.parametrize(
    ("src", "error", "message", "hint"),
    [
        ("http://h/i", UsageError, "templater fetches images only over https", "begin the URL with https://"),
        ("incus:web1", UsageError, f"'incus:web1' {LOCAL}", "give incus:image/ALIAS"),
        ("lxd:image/", UsageError, f"'lxd:image/' {LOCAL}", "give lxd:image/ALIAS"),
        ("imagse:a", InputError, "'imagse:a' does not exist, and 'imagse' is not a known remote", "did you mean 'images:'?"),
        ("zzzzzz:a", InputError, "'zzzzzz:a' does not exist, and 'zzzzzz' is not a known remote", "templater remote list shows the known remotes"),
        ("images:", UsageError, "'images:' names no image", "images:ALIAS or images:FINGERPRINT"),
        ("store:", UsageError, "'store:' names no image", "store:ALIAS or store:FINGERPRINT"),
        ("new:a", UsageError, "templater can't read images from 'new:': its protocol is 'oci\\x07'", ""),
    ],
)  # fmt: skip
def test_an_invalid_image_source_is_refused(src, error, message, hint, monkeypatch):
    known = {name: Remote(name, "https://h", protocol, "here") for name, protocol in (("images", "simplestreams"), ("new", "oci\a"))}  # fmt: skip
    monkeypatch.setattr(fetch_image, "read_remotes", lambda: known)
    assert failed(fetch_source, src) == (error, message, hint)


def test_the_limits_and_texts_about_fetched_images_have_the_expected_values():
    assert fetch_image._MOST_METADATA == 268_435_456
    assert (fetch_image._MOST_COMPARED, fetch_image._LONGEST) == (10_000, 200)
    assert republish._MOST_METADATA == 67_108_864
    assert (fetch_image._UBUNTU, fetch_image._PREFIX) == ("https://cloud-images.ubuntu.com", "ubuntu/")
    assert fetch_image._ONLY_TLS == (
        "only TLS protects the metadata: to check the fingerprint, templater would have to fetch the whole image"
    )


def stored(monkeypatch, **fields):
    image = SimpleNamespace(fingerprint=HASH, **{"complete": True, "source": "", **fields})
    files = ["/m/" + HASH] if not image.complete else ["/m/" + HASH, "/m/root"]
    monkeypatch.setattr(
        fetch_image, "Store", lambda: SimpleNamespace(use=lambda alias: image, paths=lambda image: files)
    )


def test_a_root_filesystem_cannot_be_fetched_without_a_source(monkeypatch):
    stored(monkeypatch, complete=False)
    assert failed(fetch_source, "store:a", whole=True) == (
        InputError,
        "the store has only the metadata of 'a'",
        "",
    )
    notes = "the metadata was fetched from ''", fetch_image._ONLY_TLS
    assert fetch_source("store:a") == Fetched(HASH, "/m/" + HASH, None, notes, "")
    stored(monkeypatch)
    for whole in (False, True):
        assert fetch_source("store:a", whole=whole) == Fetched(HASH, "/m/" + HASH, "/m/root", (), "")


def test_a_stored_image_is_refused_if_its_source_changed(monkeypatch):
    stored(monkeypatch, complete=False, source="images:a")
    monkeypatch.setattr(fetch_image, "read_remotes", dict)
    real = fetch_image.fetch_source
    for found, message in (
        (HASH, ""),
        (OTHER, "'images:a' now has another image: cdcdcdcdcdcd, not abababababab"),
    ):
        fetched = Fetched(found, "m", "r", ())
        monkeypatch.setattr(fetch_image, "fetch_source", lambda src, fetched=fetched, **options: fetched)
        if message:
            assert failed(real, "store:a", whole=True) == (InputError, message, "")
        else:
            assert real("store:a", whole=True) == fetched


class Stream:
    """Stands for a server's stream: each request gets the next answer."""

    base = "https://h"

    def __init__(self, *answers):
        self.answers, self.asked, self.small = list(answers), [], 0

    def url(self, path):
        return f"https://h/{path.lstrip('/')}"

    def small_file(self):
        self.small += 1
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def open(self, url, method="GET", headers=()):
        self.asked.append((url, dict(headers)))
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        yield answer

    def body(self, answer, url):
        return iter(answer.body)

    @contextlib.contextmanager
    def pieces(self, path):
        with self.open(path) as answer:
            yield iter(answer.body)


def answer(*body, status=200, **headers):
    return SimpleNamespace(
        status=status, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


@pytest.mark.parametrize(
    ("start", "most", "answers", "result"),
    [
        (0, 5, [answer(b"abcde")], (0, [b"abcde"])),
        (0, 4, [answer(b"abc", b"de")], "'u' is larger than the server announced"),
        (3, 5, [answer(b"de", status=206, Content_Range="bytes 3-4/5")], (3, [b"de"])),
        (3, 5, [answer(b"def", status=206, Content_Range="bytes 3-4/5")], "'u' is larger than the server announced"),
        (3, 5, [answer(b"abcde", status=200, Content_Range="bytes 3-4/5")], (0, [b"abcde"])),
        (3, 5, [answer(b"x", status=206, Content_Range="bytes 30-4/5"), answer(b"ab")], (0, [b"ab"])),
        (3, 5, [answer(b"x", status=206), answer(b"ab")], (0, [b"ab"])),
        (3, 5, [RangeError("none"), answer(b"ab")], (0, [b"ab"])),
        (5, 5, [answer(b"ab")], (0, [b"ab"])),
        (0, 5, [FileNotFoundError()], "'u' does not exist"),
    ],
)  # fmt: skip
def test_a_download_continues_at_the_first_missing_byte(start, most, answers, result):
    stream = Stream(*answers)

    def read():
        with downloads.download_of(stream, "u", most)(start) as (first, pieces):
            return first, list(pieces)

    if isinstance(result, str):
        assert failed(read) == (InputError, result, "")
    else:
        assert read() == result
    asked = {"Range": f"bytes={start}-"} if start == 3 else {}
    assert stream.asked[0] == ("u", asked)
    assert stream.asked[1:] == [("u", {})] * (len(answers) - 1)


def test_the_whole_file_is_requested_once_after_wrong_ranges():
    stream = Stream(answer(b"x", status=206), answer(b"ab", status=206))
    with (
        pytest.raises(InputError, match="'u': the server did not send the requested byte range"),
        downloads.download_of(stream, "u", 5)(3),
    ):
        pass
    assert stream.asked == [("u", {"Range": "bytes=3-"}), ("u", {})]


@pytest.mark.parametrize(
    ("headers", "result"),
    [
        ({}, ("", "")),
        ({"Incus-Image-Hash": HASH}, ("", "")),
        ({"LXD-Image-URL": "https://h/x"}, ("", "")),
        ({"LXD-Image-Hash": HASH, "LXD-Image-URL": "https://h/x"}, (HASH, "https://h/x")),
        (
            {"LXD-Image-Hash": OTHER, "LXD-Image-URL": "https://l", "Incus-Image-Hash": HASH, "Incus-Image-URL": "https://i"},
            (HASH, "https://i"),
        ),
        (
            {"Incus-Image-Hash": "h" * 201, "Incus-Image-URL": "https://i"},
            (InputError, f"'https://h/a' announces the invalid hash '{'h' * 200}'", ""),
        ),
        (
            {"Incus-Image-Hash": HASH, "Incus-Image-URL": "http://" + "i" * 300},
            (RefusedError, f"'https://h/a' leads to a URL without https: 'http://{'i' * 193}'", ""),
        ),
    ],
)  # fmt: skip
def test_hash_and_url_come_from_the_response_headers(headers, result, monkeypatch):
    sent = []

    class Found(dict):
        def __missing__(self, name):
            return None

    def read(url, headers_sent):
        sent.append((url, headers_sent))
        return Found(headers)

    monkeypatch.setattr(fetch_image.platform, "machine", lambda: "amd64x")
    stream = SimpleNamespace(headers=read)
    if len(result) == 3:
        assert failed(fetch_image._announced, stream, "https://h/a") == result
    else:
        assert fetch_image._announced(stream, "https://h/a") == result
    assert sent == [
        (
            "https://h/a",
            {
                "Incus-Server-Architectures": "amd64x", "LXD-Server-Architectures": "amd64x",
                "Incus-Server-Version": "7.0.0", "LXD-Server-Version": "6.8",
            },
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("alias", "text"),
    [
        ("web", "using r:abababababab (facts); use r:FINGERPRINT for another image"),
        ("abab", "using r:abababababab (facts)"),
    ],
)
def test_the_note_about_the_chosen_image_contains_its_fingerprint(alias, text):
    assert fetch_image._chosen("r", alias, HASH, "facts") == text


def test_files_are_refused_if_they_do_not_have_the_announced_fingerprint(tmp_path):
    (tmp_path / "a").write_bytes(b"ab")
    (tmp_path / "b").write_bytes(b"c" * ((1 << 20) + 1))
    both = hashlib.sha256(b"ab" + b"c" * ((1 << 20) + 1)).hexdigest()
    paths = [f"{tmp_path}/a", f"{tmp_path}/b"]
    fetch_image._compare_fingerprint(paths, both, "s")
    message = f"'s' announced the fingerprint {HASH}, but the files have {both}"
    assert failed(fetch_image._compare_fingerprint, paths, HASH, "s") == (InputError, message, "")


def image(fingerprint=HASH, files=("m",), aliases=(), kind="container", arch="amd64", sha256=HASH, name="p"):
    product = Product(name, os="tiny", release="1", arch=arch)
    parts = tuple(Item(path=path, sha256=sha256, size=3) for path in files)
    return SimpleNamespace(
        fingerprint=fingerprint, files=parts, aliases=aliases, random=(), type=kind, product=product,
        architecture={"amd64": "x86_64"}.get(arch, arch), version=Version("v1"),
        metadata=parts[0], root=parts[1] if len(parts) > 1 else None,
    )  # fmt: skip


@pytest.fixture
def found(monkeypatch):
    """Return a function that sets the images that each client lists."""

    def listed(**images):
        monkeypatch.setattr(fetch_image, "read_products", lambda stream: images)
        monkeypatch.setattr(
            fetch_image,
            "list_images",
            lambda products, client: (products.get(client.replace("-", "_"), []), []),
        )
        monkeypatch.setattr(fetch_image.platform, "machine", lambda: "x86_64")

    return listed


def test_an_image_is_found_by_alias_or_fingerprint_prefix(found):
    machine, arm, ours = (
        image(aliases=("a",), kind="virtual-machine"),
        image(aliases=("a",), arch="arm64"),
        image(OTHER, aliases=("a",)),
    )
    for_lxd = image("ef" * 32, aliases=("a", "only"))
    found(incus_7=[machine, arm, ours], lxd=[for_lxd])
    stream = SimpleNamespace(base="https://h")

    def find(alias):
        return fetch_image._find(stream, "r", alias)

    assert find("a") == (ours, "incus-7")
    assert find("only") == (for_lxd, "lxd")
    assert find("cdcdcd") == (ours, "incus-7")
    assert find("efefef") == (for_lxd, "lxd")
    for alias, hint in (
        ("efefe", ""),
        ("onyl", "did you mean 'r:only'?"),
        ("ef" * 31 + "ff", ""),
        ("ubuntu/a", ""),
    ):
        assert failed(find, alias) == (InputError, f"'https://h' has no image '{alias}'", hint)
    stream.base = "https://cloud-images.ubuntu.com/releases"
    assert find("ubuntu/a") == (ours, "incus-7")
    found(incus_7=[image("abcdef1" + "0" * 57), image("abcdef2" + "0" * 57)])
    assert failed(find, "abcdef") == (
        InputError,
        "several fingerprints begin with 'abcdef'",
        "give more characters",
    )


def test_the_hint_suggests_three_similar_aliases(found):
    found(incus_7=[image(aliases=("debian/12", "debian/13", "debian/14", "debian/15"))])
    error = failed(fetch_image._find, SimpleNamespace(base="https://h"), "r", "debian/1")
    assert error[2].startswith("did you mean 'r:debian/1") and error[2].count(" or ") == 2


@pytest.fixture
def fetcher(tmp_path, monkeypatch):
    (tmp_path / "store").mkdir(mode=0o700)
    kept = []
    store = SimpleNamespace(prune=lambda: None, files=f"{tmp_path}/store", cache=kept.append)
    fetcher = fetch_image._Fetcher(store, "r:a", False, lambda *words: None)
    fetcher.kept = kept
    monkeypatch.setattr(fetch_image, "UrlStream", lambda url, trust=None: fetcher.stream)
    return fetcher


REMOTE = Remote("r", "https://h", "simplestreams", "here")


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (image("x" * 100, aliases=("a",)), f"'https://h' announces the invalid fingerprint '{'x' * 80}'"),
        (image(sha256="", aliases=("a",)), "'https://h' announces no valid SHA-256 hash for 'https://h/m'"),
        (
            image(sha256=hashlib.sha256(b"abc").hexdigest(), aliases=("a",)),
            f"'https://h' announced the fingerprint {HASH}, but the files have {hashlib.sha256(b'abc').hexdigest()}",
        ),
    ],
)
def test_an_image_with_wrong_hashes_is_refused(listed, message, found, fetcher):
    found(incus_7=[listed])
    fetcher.stream = Stream(answer(b"abc"))
    assert failed(fetcher.from_stream, REMOTE, "a") == (InputError, message, "")
    assert fetcher.kept == []


def test_a_fetched_image_has_notes_and_is_recorded_in_the_store(found, fetcher):
    digest = hashlib.sha256(b"abc").hexdigest()
    found(lxd=[image(digest, sha256=digest, aliases=("a",))])
    fetcher.stream = Stream(answer(b"abc"))
    fetched = fetcher.from_stream(REMOTE, "a")
    note = f"using r:{digest[:12]} (container, amd64, version v1); use r:FINGERPRINT for another image"
    assert fetched.notes == (note, "r publishes this image only for LXD")
    assert (fetched.source, fetched.fingerprint, fetched.rootfs, fetched.hashes) == (
        "r:a",
        digest,
        None,
        [digest],
    )
    (kept,) = fetcher.kept
    assert (kept.complete, kept.cached, kept.public, kept.auto_update, kept.metadata, kept.root) == (
        True, True, False, False, digest, "",
    )  # fmt: skip
    assert kept.properties == {"os": "tiny", "release": "1", "serial": "v1"}
    assert fetcher.stream.small == 0


def test_a_metadata_only_download_has_the_deadline_for_small_files(found, fetcher):
    digest = hashlib.sha256(b"abc").hexdigest()
    both = hashlib.sha256(b"abcabc").hexdigest()
    found(incus_7=[image(both, files=("m", "root"), sha256=digest, aliases=("a",))])
    fetcher.stream = Stream(answer(b"abc"), answer(b"abc"))
    assert fetcher.from_stream(REMOTE, "a").rootfs is None
    assert (fetcher.kept[0].complete, fetcher.stream.small) == (False, 1)
    fetcher._whole = True
    assert fetcher.from_stream(REMOTE, "a").hashes == [digest, digest]
    assert fetcher.kept[1].complete


@pytest.mark.parametrize(
    ("announced", "stream", "result"),
    [
        (("", ""), Stream(answer(b"abc")), "the server announced no hash: only TLS protects https://h/i"),
        (("", ""), Stream(FileNotFoundError()), (InputError, "'https://h/i' does not exist", "")),
        ((hashlib.sha256(b"abc").hexdigest(), "https://h/j"), Stream(answer(b"abc")), "using the image ba7816bf8f01 that https://h announces"),
        ((HASH, "https://[::1/" + "x" * 300), Stream(), (InputError, f"'https://h/i' leads to the invalid URL 'https://[::1/{'x' * 187}': the URL has an invalid host", "")),
    ],
)  # fmt: skip
def test_an_image_at_a_url_has_a_note_about_its_hash(announced, stream, result, fetcher, monkeypatch):
    monkeypatch.setattr(fetch_image, "_announced", lambda stream, address: announced)
    fetcher.stream = stream
    if isinstance(result, str):
        assert fetcher.from_url("https://u:p@h/i").notes == (result,)
        assert fetcher.kept[0].complete and fetcher.kept[0].source == "https://h/i"
    else:
        assert failed(fetcher.from_url, "https://u:p@h/i") == result


@pytest.mark.parametrize("size", [7, 8])
def test_an_announced_size_above_the_limit_is_refused(size):
    message = "the catalog announces 8 bytes for 'u', more than the limit of 7"
    if size == 8:
        assert failed(expected_size, size, "u", 7) == (LimitError, message, "")
    else:
        assert (expected_size(size, "u", 7), expected_size(0, "u", 7)) == (7, 7)


def test_a_download_is_stored_under_its_hash(tmp_path):
    folder = Downloads(f"{tmp_path}/d")
    most = 1 << 20
    path = folder.keep(iter([bytes(most)]), "n", lambda *words: None, most)
    assert path == f"{tmp_path}/d/{hashlib.sha256(bytes(most)).hexdigest()}"
    message = "'n' has more than 1 MiB"
    assert failed(folder.keep, iter([bytes(most), b"1"]), "n", lambda *words: None, most) == (
        InputError,
        message,
        "",
    )
    (tmp_path / "file").write_text("")
    assert failed(Downloads, f"{tmp_path}/file/d") == (
        WriteError, f"can't create '{tmp_path}/file/d': not a directory", "",
    )  # fmt: skip
    (tmp_path / "d" / f"{HASH}.part").mkdir()
    begun = failed(folder.fetch, HASH, "n", None, lambda *words: None)
    assert begun == (WriteError, f"can't write '{tmp_path}/d/{HASH}.part': is a directory", "")


def test_a_download_with_a_wrong_hash_is_removed(tmp_path):
    folder = Downloads(f"{tmp_path}/d")

    @contextlib.contextmanager
    def download(start):
        yield start, iter([b"abc"])

    digest = hashlib.sha256(b"abc").hexdigest()
    message = f"'n' has the SHA-256 hash {digest}, but the server announced {HASH}"
    assert failed(folder.fetch, HASH, "n", download, lambda *words: None) == (InputError, message, "")
    assert list((tmp_path / "d").iterdir()) == []
    calls = []
    assert (
        folder.fetch(digest, "n", download, lambda *words: calls.append(words), announced=9)
        == f"{tmp_path}/d/{digest}"
    )
    assert calls == [(0, 3, "n", 9)]


# republish


class Origin(Stream):
    def read(self, path):
        self.asked.append(path)
        found = self.answers.pop(0)
        if isinstance(found, BaseException):
            raise found
        return json.dumps(found).encode()


def index(**fields):
    return {
        "index": {"images": {"datatype": "image-downloads", "path": "p.json", "products": ["p"], **fields}}
    }


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([FileNotFoundError()], "'https://h/streams/v1/index.json' is missing"),
        ([index(), FileNotFoundError()], "'https://h/p.json' is missing"),
        ([{"index": {}}], "'https://h' publishes no images"),
        ([index(products=[])], "'https://h' publishes no images"),
        ([index(path="")], "'https://h' publishes no images"),
        ([index(datatype="x")], "'https://h' publishes no images"),
        ([index(), None], "'https://h' publishes no images"),
        ([index(), {"products": {"p": {"arch": 1}}}], "invalid catalog at the origin: product 'p': arch: 1 is a number, not a string"),
        ([index(), {"products": {"p": {"Arch": "x"}}}], "invalid catalog at the origin: upper case in the key product 'p': Arch"),
    ],
)  # fmt: skip
def test_a_catalog_is_refused_if_it_cannot_be_republished(answers, message):
    assert failed(republish.read_origin, Origin(*answers), None) == (InputError, message, "")


def test_the_products_of_all_index_entries_are_merged():
    origin = Origin({"index": {n: index(path=f"{n}.json")["index"]["images"] for n in "ab"}}, {"products": {"a": {}}, "x": "1"}, {"products": {"b": {}}})  # fmt: skip
    assert republish.read_origin(origin, None) == {
        "content_id": "images", "format": "products:1.0", "x": "1", "products": {"a": {}, "b": {}},
    }  # fmt: skip
    assert origin.asked == ["streams/v1/index.json", "a.json", "b.json"]


@pytest.mark.parametrize(
    ("os", "aliases", "found"),
    [
        ("Ubuntu Core", "a, b ,,ubuntucore/c,ubuntucore", ["ubuntucore/a", "ubuntucore/b", "ubuntucore/c", "ubuntucore"]),
        ("", "a,a", ["a"]),
        (None, None, []),
    ],
)  # fmt: skip
def test_aliases_get_the_name_of_the_operating_system_as_a_prefix(os, aliases, found):
    assert republish.prefixed_aliases({"os": os, "aliases": aliases}) == found


def test_a_republished_catalog_has_metadata_for_both_daemons():
    items = {
        "a": {"ftype": "lxd.tar.xz", "n": 1}, "b": {"ftype": "squashfs"}, "c": {"ftype": "squashfs.vcdiff"},
        "d": {"ftype": "manifest"}, "e": {"ftype": "incus_combined.tar.gz", "n": 2}, "f": None,
    }  # fmt: skip
    assert republish._both_families(items) == {
        "a": items["a"], "b": items["b"], "c": items["c"], "e": items["e"],
        "incus.tar.xz": {"ftype": "incus.tar.xz", "n": 1}, "lxd_combined.tar.gz": {"ftype": "lxd_combined.tar.gz", "n": 2},
    }  # fmt: skip
    kept = republish._both_families({"a": {"ftype": "lxd.tar.xz"}, "b": {"ftype": "incus.tar.xz"}})
    assert list(kept) == ["a", "b"]


def test_an_origin_without_an_image_for_incus_is_refused():
    warnings = []
    assert failed(republish.usable_images, {}, warnings) == (
        InputError,
        "the origin has no image that Incus could list",
        "",
    )
    products = {"p": {"arch": "odd", "versions": {"v": {"items": {"a": {"ftype": "incus.tar.xz"}}}}}}
    assert failed(republish.usable_images, products, warnings)[0] == InputError
    assert warnings == [
        "skipped 1 entries that Incus does not list, such as 'p' (unknown architecture 'odd')"
    ]


def test_a_duplicate_image_is_skipped_with_a_warning():
    catalog = Catalog({}, {})
    one, two = image(), image(OTHER)
    warnings = []
    assert republish._without_duplicates(catalog, "p", [one, one, two], warnings) == [one, two]
    assert warnings == [f"skipped an image of 'p', because the tree already has it: {HASH}"]


def test_clients_know_each_alias_with_and_without_the_architecture():
    versions = {"v": {"items": {"a": {"ftype": "squashfs"}, "b": {"ftype": "disk-kvm.img"}}}}
    product = {"arch": "amd64", "aliases": "a,,b", "versions": versions}
    expected = {
        (("x86_64", kind, name), alias)
        for kind in ("container", "virtual-machine")
        for alias in ("a", "b")
        for name in (alias, f"{alias}/amd64")
    }
    assert set(republish._owned_aliases(product)) == expected
    assert not list(republish._owned_aliases({**product, "aliases": None}))


def test_products_of_an_origin_get_defaults_for_missing_fields():
    products = {
        "p": None,
        "q": {"os": "X", "variant": "cloud", "aliases": "a", "lxd_requirements": {"b": "c"}, "requirements": {"d": "e"}},
        "r": {"variant": None, "versions": {"v": None, "w": {"items": None}}, "lxd_requirements": {}},
        "s": {"requirements": {"d": "e"}},
    }  # fmt: skip
    assert republish.convert({"products": products}) == {
        "p": {"versions": {}, "variant": "default", "aliases": ""},
        "q": {
            "os": "X", "variant": "cloud", "aliases": "x/a", "lxd_requirements": {"b": "c"}, "versions": {},
            "requirements": {"b": "c"},
        },
        "r": {
            "variant": "default", "aliases": "", "versions": {"v": {"items": {}}, "w": {"items": {}}},
            "lxd_requirements": {}, "requirements": {},
        },
        "s": {"requirements": {"d": "e"}, "versions": {}, "variant": "default", "aliases": ""},
    }  # fmt: skip
    assert products["p"] is None and "versions" not in products["q"]


def test_an_image_is_usable_if_incus_can_download_it():
    item = {
        "ftype": "incus.tar.xz",
        "path": "m",
        "size": 3,
        "sha256": HASH,
        "combined_squashfs_sha256": OTHER,
    }
    root = {"ftype": "squashfs", "path": "r", "size": 3, "sha256": HASH}
    product = {"arch": "amd64", "os": "x", "release": "1", "variant": "default", "aliases": "a"}
    product["versions"] = {"20260101_0000": {"items": {"m": item, "r": root}}}
    warnings = []
    (found,) = republish.usable_images({"p": product}, warnings)
    assert (found.fingerprint, found.product.name, warnings) == (OTHER, "p", [])


def test_an_image_already_in_another_catalog_is_skipped():
    items = {"m": {"ftype": "incus_combined.tar.gz", "sha256": HASH}}
    file = {"products": {"q": {"versions": {"v": {"items": items}}}}}
    for path, kept in (("other", [OTHER]), ("p", [HASH, OTHER])):
        catalog, warnings = Catalog({}, {path: file}), []
        found = republish._without_duplicates(catalog, "p", [image(), image(OTHER)], warnings)
        assert [each.fingerprint for each in found] == kept
        assert len(warnings) == 2 - len(kept)
        assert catalog.files == {path: file}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([b"x" * 8], "'https://h/m' has the sha256 a1f85b1b7b2d9f1c, not abab"),
        ([b"x" * 9], "'https://h/m' is larger than 8 bytes"),
        ([], "'https://h/m' is missing"),
    ],
)
def test_a_file_is_not_copied_if_it_differs_from_the_catalog(body, message, tmp_path, monkeypatch):
    tree = Tree(f"{tmp_path}/tree")
    tree.create()
    listed = image()
    listed.files = (Item(path="m", sha256=HASH, size=8),)
    stream = Stream(answer(*body) if body else FileNotFoundError())
    error = failed(republish._copy_files, stream, tree, [listed], lambda *words: None)
    digest = hashlib.sha256(b"x" * 8).hexdigest()
    expected = message if "sha256" not in message else f"'https://h/m' has the sha256 {digest}, not {HASH}"
    assert error == (InputError if "missing" in message else RefusedError, expected, "")


def test_copied_files_must_match_the_image_fingerprint(tmp_path):
    tree = Tree(f"{tmp_path}/tree")
    tree.create()
    digest = hashlib.sha256(b"abc").hexdigest()
    listed = image(sha256=digest)
    calls = []
    error = failed(
        republish._copy_files, Stream(answer(b"abc")), tree, [listed], lambda *words: calls.append(words)
    )
    assert error == (RefusedError, f"the files of 'p' have the fingerprint {digest}, not {HASH}", "")
    assert calls == [(0, 3, "m", 3)]
    listed.fingerprint = digest
    places, copied, size = republish._copy_files(Stream(), tree, [listed], lambda *words: None)
    assert (list(places), copied, size) == (["m"], 0, 0)


def test_metadata_from_the_origin_server_is_checked_before_templater_uses_it(monkeypatch):
    monkeypatch.setattr(republish, "_MOST_METADATA", 1 << 20)
    digest = hashlib.sha256(bytes(1 << 20)).hexdigest()
    listed = image(files=("m", "r"), sha256=digest)

    def read(image, *body):
        with (
            republish.metadata_file(Stream(answer(*body)), Described(image, "")) as path,
            open(path, "rb") as file,
        ):
            return file.read()

    assert read(listed, bytes(1 << 20)) == bytes(1 << 20)
    found = hashlib.sha256(b"a").hexdigest()
    for body, message in (
        ([bytes(1 << 20), b"1"], "the metadata is larger than 1 MiB"),
        ([b"a"], f"'https://h/m' has the sha256 {found}, not {digest}"),
    ):
        assert failed(read, listed, *body) == (RefusedError, message, "")
    inside = "the templates are inside a unified image, which was not copied"
    assert failed(read, image()) == (RefusedError, inside, "")
    with republish.metadata_file(None, Described(listed, "/copy")) as path:
        assert path == "/copy"


def test_republishing_needs_exactly_one_of_the_redirect_and_copy_options():
    hint = "--redirect DIR leaves the image files at the origin; --copy copies them into the tree"
    for options in ({}, {"redirects": "d", "copying": True}):
        error = failed(republish.republish, None, None, **options)
        assert error == (UsageError, "give either --redirect or --copy", hint)


@pytest.mark.parametrize("signed", [False, True])
def test_the_size_limit_includes_each_catalog_of_an_origin(signed):
    counted, checked = [], []
    origin = SimpleNamespace(
        read=lambda path: b"signed" if path.endswith(".sjson") else b'{"a": 1}',
        url=lambda path: f"https://h/{path}",
        small_file=contextlib.nullcontext,
    )
    signatures = SimpleNamespace(verified_text=lambda *words: checked.append(words) or b'{"a": 2}')
    size = SimpleNamespace(add=lambda file, name: counted.append((file.read(), name)))
    name = "https://h/p.sjson" if signed else "https://h/p.json"
    found = republish._read(origin, "p.json", signatures if signed else None, size)
    assert found == ({"a": 2} if signed else {"a": 1})
    assert counted == [(b'{"a": 2}' if signed else b'{"a": 1}', name)]
    assert checked == ([(b"signed", name)] if signed else [])


def test_a_missing_catalog_of_an_origin_is_an_error():
    def missing(_):
        raise FileNotFoundError

    origin = SimpleNamespace(read=missing, url=lambda path: f"https://h/{path}")
    error = failed(republish._read, origin, "p.json", None, None)
    assert error == (InputError, "'https://h/p.json' is missing", "")
