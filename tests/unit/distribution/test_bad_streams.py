"""Hostile and broken streams as SRC: one clear error, and nothing is written outside the store."""

import errno
import json
import os
from pathlib import Path

import pytest

from templater.cli.run_command_line import main
from templater.distribution.add_to_tree import add
from templater.distribution.remotes import add_remote
from templater.distribution.store import Store
from templater.distribution.tree import Tree
from tests.streams.builders import split_image, unified_image
from tests.streams.server import serving

pytestmark = pytest.mark.slow  # the fast tests have two minutes

NAME = "tiny:1:amd64:default"
IMAGES, INDEX = "streams/v1/images.json", "streams/v1/index.json"


@pytest.fixture
def stream(tmp_path, certificates, monkeypatch):
    """A stream with one split image as `ours:`, in a directory that the server and the test share."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    tree = Tree(str(tmp_path / "tree"))
    first, second = split_image(tmp_path / "image", root=b"hsqs" + bytes(1 << 20))
    add(tree, first, [second])
    (tmp_path / "secret").write_text("not for anyone")
    with serving(Path(tree.path), certificates) as server:
        add_remote("ours", server.url)
        server.folder = Path(tree.path)
        yield server


def change(stream, function):
    path = stream.folder / IMAGES
    document = json.loads(path.read_text())
    product = document["products"][NAME]
    function(document, product, product["versions"]["20260101_0000"]["items"])
    path.write_text(json.dumps(document))


def everywhere(**fields):
    return lambda document, product, items: [item.update(fields) for item in items.values()]


def metadata(**fields):
    return lambda document, product, items: items["incus.tar.xz"].update(fields)


HOSTILE = {
    "path upwards": everywhere(path="../secret"),
    "absolute path": everywhere(path="/../../secret"),
    "NUL in the path": everywhere(path="images/\0"),
    "another server in the path": everywhere(path="https://127.0.0.1:9/x"),
    "no path": everywhere(path=""),
    "path of a hash": everywhere(sha256="../../../../secret"),
    "short hash": everywhere(sha256="abc"),
    "other hash": everywhere(sha256="0" * 64),
    "fingerprint of 5 characters": metadata(combined_squashfs_sha256="abcde"),
    "fingerprint with a path": metadata(combined_squashfs_sha256="../../../secret"),
    "path of another type": everywhere(path=5),
    "items of another type": lambda document, product, items: product["versions"].update(x={"items": []}),
    "aliases of another type": lambda document, product, items: product.update(aliases=["tiny/1"]),
    "products of another type": lambda document, product, items: document.update(products=[]),
    "size of another type": everywhere(size="1"),
    "deeply nested": lambda document, product, items: document.update(x=json.loads("[" * 900 + "]" * 900)),
    "many items": lambda document, product, items: items.update(
        {str(number): {"ftype": "squashfs", "path": "x"} for number in range(300)}
    ),
}  # fmt: skip


def files_outside(tmp_path):
    store = tmp_path / "home/.local/share/templater/store"
    return {
        path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and store not in path.parents
    }  # fmt: skip


@pytest.mark.parametrize("command", [("preview",), ("store", "import")], ids=" ".join)
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_catalog_writes_nothing_outside_the_store(stream, tmp_path, capsys, case, command):
    change(stream, HOSTILE[case])
    before = files_outside(tmp_path)
    code = main([*command, "ours:tiny/1"])
    _, err = capsys.readouterr()
    assert files_outside(tmp_path) == before
    if case in ("deeply nested",):  # clients ignore unknown keys, so they accept this
        assert code == 0, err
        return
    assert code in (2, 3, 4), err
    assert sum(line.startswith("templater: ") for line in err.splitlines()) == 1
    assert "Traceback" not in err
    assert "not for anyone" not in err
    assert not Store().images()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("{", "not valid JSON"),
        ("[" * 200_000, "nested too deeply"),
        ('{"products": {"a": NaN}}', "not valid JSON"),
        ('{"products": {"a": {}}, "products": {}}', "the key 'products' occurs twice in an object"),
        ("[" + "0," * 4_000_000 + "0]", "values"),
        (" " * (33 << 20), "MiB"),
        ('{"products": {}}', "no image"),
    ],
    ids=["empty", "cut", "nested", "NaN", "twice", "values", "size", "nothing"],
)
@pytest.mark.parametrize("path", [INDEX, IMAGES])
def test_an_unreadable_catalog_gives_one_error(stream, capsys, path, text, said):
    (stream.folder / path).write_text(text)
    code = main(["preview", "ours:tiny/1"])
    err = capsys.readouterr().err
    assert code in (2, 4)
    assert sum(line.startswith("templater: ") for line in err.splitlines()) == 1
    if path == IMAGES:
        assert said in err


def cut(handler):
    if not handler.path.startswith("/images/"):
        return False
    handler.send_response(200)
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    handler.wfile.write(b"x" * 100)
    handler.close_connection = True
    return True


def test_the_store_stays_usable_after_a_truncated_download(stream, capsys):
    stream.fault = cut
    assert main(["store", "import", "ours:tiny/1"]) == 2
    assert "was cut short" in capsys.readouterr().err
    assert not Store().images()
    stream.fault = None
    assert main(["store", "import", "ours:tiny/1"]) == 0
    assert len(Store().images()) == 1


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_during_a_fetch_gives_one_error(stream, capsys, monkeypatch, call):
    def full(fd, *arguments):
        if "store/files" in os.readlink(f"/proc/self/fd/{fd}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(fd, *arguments)

    original = getattr(os, call)
    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        assert main(["store", "import", "ours:tiny/1"]) == 6
    err = capsys.readouterr().err
    assert "no space left on device" in err
    assert sum(line.startswith("templater: ") for line in err.splitlines()) == 1
    assert not Store().images()
    assert main(["store", "import", "ours:tiny/1"]) == 0


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_during_an_import_gives_one_error(stream, tmp_path, capsys, monkeypatch, call):
    image = unified_image(tmp_path / "unified")

    def full(fd, *arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        assert main(["store", "import", image]) == 6
    assert "no space left on device" in capsys.readouterr().err
    assert not Store().images()
    assert main(["store", "import", image]) == 0


def test_an_untrusted_certificate_gives_one_error(stream, capsys, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    assert main(["preview", "ours:tiny/1"]) == 2
    err = capsys.readouterr().err
    assert "certificate is not trusted" in err
    assert "SSL_CERT_FILE" in err


def test_previewing_a_large_image_fetches_little_data(stream, tmp_path, capsys):
    """The server counts all bytes of bodies and headers that it sends."""
    (root,) = (path for path in (stream.folder / "images").iterdir() if path.stat().st_size > 1 << 20)
    os.truncate(root, 500 << 20)  # the catalog's hash is wrong now, but a preview does not read the file
    change(stream, lambda document, product, items: items["squashfs"].update(size=500 << 20))
    sent = []

    def count(handler):
        write = handler.wfile.write
        handler.wfile.write = lambda data: (sent.append(len(data)), write(data))[1]
        return False

    stream.fault = count
    assert main(["preview", "ours:tiny/1"]) == 0
    assert 0 < sum(sent) < 100_000
    assert [path for path in stream.paths if path.startswith("/images/")] != [], "the metadata"
