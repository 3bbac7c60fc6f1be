"""Images on servers as SRC: what is fetched, what is verified, and what a faulty server can do."""

import hashlib
import io
import json
import lzma
import os
import platform
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler

import pytest
from hypothesis import given
from hypothesis import strategies as st

from templater.cli.run_command_line import main
from templater.distribution import fetch_image, image_api_client
from templater.distribution.add_to_tree import add
from templater.distribution.downloads import Downloads
from templater.distribution.fetch_image import fetch_source
from templater.distribution.remotes import add_remote, is_remote, read_remotes, remove_remote
from templater.distribution.store import UNUSED, Store, StoredImage
from templater.distribution.tree import Tree
from templater.model.errors import InputError, LimitError, RefusedError, TemplaterError, UsageError
from tests.processor_time import ends_within
from tests.streams.builders import CREATED, DAY, QCOW2, split_image, tarball, unified_image
from tests.streams.mutations import EXAMPLE
from tests.streams.server import redirect, serving

ROOT = b"hsqs" + bytes(1 << 20)
ORIGIN = EXAMPLE.parent / "ubuntu-shape" / "origin"


def content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def fetch(src: str, *, whole: bool = False):
    return fetch_source(src, whole=whole)


@pytest.fixture(autouse=True)
def home(certificates, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "INCUS_CONF", "LXD_CONF"):
        monkeypatch.delenv(name, raising=False)
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A tree with a split container image, a virtual machine of the same name, and a unified image."""
    folder = tmp_path_factory.mktemp("tree")
    tree = Tree(str(folder / "tree"))
    first, second = split_image(folder / "split", root=ROOT)
    add(tree, first, [second], aliases=["both"])
    first, second = split_image(folder / "vm", root=QCOW2, variant="vm")
    add(tree, first, [second], aliases=["machine"])
    add(tree, unified_image(folder / "unified", variant="unified"), aliases=["one"])
    return tree


@pytest.fixture
def server(certificates, tree):
    with serving(os.fsdecode(tree.path), certificates) as running:
        add_remote("ours", running.url)
        yield running


def downloaded(server) -> list[str]:
    return [path for path in server.paths if path.startswith("/images/")]


def files_of(home) -> list[str]:
    folder = home / ".local/share/templater/store/files"
    return sorted(os.listdir(folder)) if folder.exists() else []


def test_a_preview_fetches_only_the_metadata_of_a_split_image(server, home):
    fetched = fetch("ours:both")
    assert fetched.rootfs is None
    assert len(downloaded(server)) == 1
    assert hashlib.sha256(content(fetched.image)).hexdigest() == os.path.basename(fetched.image)
    assert "container" in fetched.notes[0]


def test_the_check_command_says_which_checks_need_the_root_filesystem(server, capsys):
    assert main(["check", "ours:both"]) in (0, 1)
    shown = capsys.readouterr().err
    assert "was fetched without its root filesystem: build-name, create-only, refused-link" in shown


def test_a_remote_image_is_downloaded_only_once(server):
    fetch("ours:both")
    before = len(downloaded(server))
    fetch("ours:both")
    assert len(downloaded(server)) == before


def test_both_files_of_a_fetched_split_image_match_its_fingerprint(server):
    fetched = fetch("ours:both", whole=True)
    assert content(fetched.rootfs) == ROOT
    joined = content(fetched.image) + ROOT
    assert hashlib.sha256(joined).hexdigest().startswith(fetched.notes[0].split(":")[1][:12])


METADATA = b"""\
architecture: x86_64
creation_date: 1767225600
properties: {os: Tiny, release: "1", variant: templated}
templates:
  /etc/hostname:
    when: [create, copy]
    template: hostname.tpl
"""
EXPECTED = """\
tests:
  - name: hostname
    instance: {name: web1}
    config: {user.role: db}
    expect:
      /etc/hostname: {equals: "web1 db\\n"}
"""


@pytest.fixture
def templated(certificates, tmp_path):
    """Serve a split image with a template as `new:own`. Yield the server and the two files."""
    files = tmp_path / "templated.tar", tmp_path / "templated.root"
    template = b"{{ instance.name }} {{ config_get('user.role', 'none') }}\n"
    files[0].write_bytes(
        tarball({"metadata.yaml": METADATA, "templates": None, "templates/hostname.tpl": template})
    )
    root = tarball({"etc": None, "etc/hostname": b"old\n", "etc/passwd": b"root:x:0:0::/root:/bin/sh\n"})
    files[1].write_bytes(lzma.compress(root))
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/hostname.yaml").write_text(EXPECTED)
    tree = Tree(str(tmp_path / "tree"))
    add(tree, str(files[0]), [str(files[1])], aliases=["own"])
    with serving(tmp_path / "tree", certificates) as running:
        add_remote("new", running.url)
        yield running, [str(path) for path in files]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "whole", "shown"),
    [
        ("audit SRC --report json --at-least info", True, "templates/hostname.tpl"),
        ("diff SRC --name web1 --set user.role=db", False, "+web1 db"),
        ("simulate SRC --name web1 create c:user.role=db copy=web2", False, "web2"),
        ("explain SRC /etc/hostname --name web1 -c user.role=db", False, "web1 db"),
        ("test SRC --tests tests --verbose", False, "hostname"),
        ("image info SRC", False, "/etc/hostname"),
    ],
    ids=lambda value: value.partition(" SRC")[0] if isinstance(value, str) and "SRC" in value else "",
)
def test_a_remote_image_and_local_files_give_equal_output(
    templated, tmp_path, monkeypatch, capsys, home, command, whole, shown
):
    """Only `audit` reads the root filesystem. `audit` also has a finding, so its exit code is 1."""
    server, files = templated
    monkeypatch.chdir(tmp_path)

    def output(*src: str) -> tuple[int, str]:
        words = [part for word in command.split() for part in (src if word == "SRC" else (word,))]
        code = main(words)
        text = capsys.readouterr().out
        stored = [str(home / ".local/share/templater/store/files" / name) for name in files_of(home)]
        for each in sorted((*src, *stored), key=len, reverse=True):
            text = text.replace(each, "SRC").replace(os.path.basename(each), "SRC")
        return code, text

    code, text = output("new:own")
    assert code == (1 if whole else 0)
    assert shown in text
    assert len(downloaded(server)) == (2 if whole else 1)
    assert output(*files[: 2 if whole else 1]) == (code, text)


def test_a_fetch_removes_other_fetched_images_after_ten_days_without_use(server, home):
    old = fetch("ours:one")
    store = Store()
    (image,) = store.images()
    assert image.cached
    store.change(image.fingerprint, lambda image: replace(image, used=image.used - UNUSED - 1))
    new = fetch("ours:both")
    assert [each.fingerprint for each in store.images()] == [new.fingerprint]
    assert not os.path.exists(old.image)
    assert os.path.exists(new.image)


def test_a_fetch_keeps_an_imported_image_after_ten_days_without_use(server, tmp_path):
    store = Store()
    image = store.import_files(unified_image(tmp_path / "imported", variant="imported"))
    store.change(image.fingerprint, lambda image: replace(image, used=image.used - UNUSED - 1))
    fetch("ours:both")
    assert image.fingerprint in [each.fingerprint for each in store.images()]


def test_metadata_above_the_size_limit_is_not_downloaded(server, monkeypatch):
    monkeypatch.setattr(fetch_image, "_MOST_METADATA", 100)
    with pytest.raises(LimitError, match="more than the limit of 100"):
        fetch("ours:both", whole=True)
    assert downloaded(server) == []


def test_a_root_filesystem_above_the_limit_is_not_downloaded(server, monkeypatch):
    monkeypatch.setattr(fetch_image, "MOST_BYTES", 500)
    with pytest.raises(
        LimitError, match=r"the catalog announces [0-9]+ bytes for .*, more than the limit of 500"
    ):
        fetch("ours:both", whole=True)
    assert len(downloaded(server)) == 1, "only the metadata"


def test_a_unified_image_is_fetched_as_one_file(server):
    fetched = fetch("ours:one", whole=True)
    assert fetched.rootfs is None
    assert content(fetched.image).startswith(b"metadata.yaml")


@pytest.mark.parametrize("name", ["ours:machine", "ours:tiny/1/vm"])
def test_a_virtual_machine_image_is_fetched_by_its_alias(server, name):
    assert "virtual-machine" in fetch(name).notes[0]


def test_an_alias_is_refused_if_it_selects_a_random_image(certificates, tmp_path):
    tree = Tree(str(tmp_path / "tree"))
    add(tree, unified_image(tmp_path / "a", variant="a"), aliases=["own"])
    add(tree, unified_image(tmp_path / "b", variant="b"), aliases=["other"])
    file = tmp_path / "tree/streams/v1/images.json"
    products = json.loads(file.read_text())
    first, second = products["products"].values()
    first["variant"], second["aliases"] = "", "own"
    file.write_text(json.dumps(products))
    with serving(os.fsdecode(tree.path), certificates) as running:
        add_remote("ours", running.url)
        with pytest.raises(
            InputError, match=r"^'own' is an alias of several images: clients select a random one"
        ) as raised:
            fetch("ours:own")
        assert not downloaded(running)
        name = raised.value.hint.split("'")[1]
        assert "container" in fetch(name).notes[0]


def test_the_error_for_an_unknown_alias_suggests_a_similar_alias(server):
    with pytest.raises(InputError, match="has no image 'bohth'") as raised:
        fetch("ours:bohth")
    assert "'ours:both'" in raised.value.hint


def test_a_fingerprint_prefix_selects_an_image(server):
    fingerprint = fetch("ours:both").notes[0].split(":")[1][:12]
    assert fingerprint in fetch(f"ours:{fingerprint}").notes[0]
    assert fingerprint in fetch(f"ours:{fingerprint[:6]}").notes[0]
    with pytest.raises(InputError, match=f"has no image '{fingerprint[:5]}'"):
        fetch(f"ours:{fingerprint[:5]}")


def test_an_image_only_for_lxd_gives_a_note(certificates):
    with serving(ORIGIN, certificates) as running:
        add_remote("ubuntu-like", running.url)
        assert any("only for LXD" in note for note in fetch("ubuntu-like:noble").notes)


def broken(handler, path: str, data: bytes, sent: int) -> bool:
    """Send only the first bytes of a file, although the headers announce all bytes.

    Answer requests for ranges completely.
    """
    if not handler.path.endswith(path):
        return False
    wanted = handler.headers.get("Range")
    start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
    handler.send_response(206 if wanted else 200)
    handler.send_header("Content-Length", str(len(data) - start))
    if wanted:
        handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
    handler.end_headers()
    handler.wfile.write(data[start:] if wanted else data[:sent])
    handler.close_connection = True
    return True


def test_an_interrupted_download_continues(server, home):
    name = hashlib.sha256(ROOT).hexdigest()
    server.fault = lambda handler: broken(handler, f"{name}.squashfs", ROOT, 300_000)
    with pytest.raises(InputError, match="fewer bytes than it announced"):
        fetch("ours:both", whole=True)
    assert f"{name}.part" in files_of(home)
    fetched = fetch("ours:both", whole=True)
    assert content(fetched.rootfs) == ROOT
    ranges = [headers.get("Range") for method, path, headers in server.requests if name in path]
    assert ranges == [None, "bytes=300000-"]
    assert f"{name}.part" not in files_of(home)


def test_an_interrupted_download_begins_again_without_range_support(server, home):
    name = hashlib.sha256(ROOT).hexdigest()
    server.fault = lambda handler: broken(handler, f"{name}.squashfs", ROOT, 300_000)
    with pytest.raises(InputError):
        fetch("ours:both", whole=True)
    server.fault = None  # this server ignores Range
    assert content(fetch("ours:both", whole=True).rootfs) == ROOT


def test_a_damaged_partial_download_is_downloaded_again_at_once(server, home):
    name = hashlib.sha256(ROOT).hexdigest()
    server.fault = lambda handler: broken(handler, f"{name}.squashfs", ROOT, 300_000)
    with pytest.raises(InputError):
        fetch("ours:both", whole=True)
    with open(home / f".local/share/templater/store/files/{name}.part", "r+b") as file:
        file.write(b"damaged")
    server.fault = lambda handler: broken(handler, f"{name}.squashfs", ROOT, len(ROOT))
    assert content(fetch("ours:both", whole=True).rootfs) == ROOT
    ranges = [headers.get("Range") for method, path, headers in server.requests if name in path]
    assert ranges == [None, "bytes=300000-", None]


def test_attack_64_a_fetch_succeeds_despite_an_incomplete_file_from_a_hostile_server(
    server, home, certificates, tmp_path
):
    name = hashlib.sha256(ROOT).hexdigest()

    def hostile(handler):
        if handler.path == "/i":
            return announced(handler, f"{evil.url}/file")
        return broken(handler, "/file", bytes(len(ROOT)), 3000)

    with serving(tmp_path, certificates) as evil:
        evil.fault = hostile
        with pytest.raises(InputError, match="fewer bytes than it announced"):
            fetch(f"{evil.url}/i")
    assert files_of(home) == [f"{name}.part"]
    server.fault = lambda handler: broken(handler, f"{name}.squashfs", ROOT, len(ROOT))
    assert content(fetch("ours:both", whole=True).rootfs) == ROOT


def test_attack_64_a_file_with_a_wrong_hash_is_refused_and_not_stored(server, home):
    name = hashlib.sha256(ROOT).hexdigest()
    other = bytes(len(ROOT))
    server.fault = lambda handler: broken(handler, f"{name}.squashfs", other, len(other))
    with pytest.raises(InputError, match="has the SHA-256 hash"):
        fetch("ours:both", whole=True)
    assert name not in files_of(home)


def test_a_download_longer_than_the_announced_size_is_an_error(server, home):
    name = hashlib.sha256(ROOT).hexdigest()
    longer = ROOT + bytes(1 << 20)
    server.fault = lambda handler: broken(handler, f"{name}.squashfs", longer, len(longer))
    with pytest.raises(InputError, match="larger than the server announced"):
        fetch("ours:both", whole=True)


def test_two_concurrent_downloads_of_one_image_succeed(server, home):
    results: list[str] = []
    errors: list[BaseException] = []

    def work():
        try:
            results.append(fetch("ours:both", whole=True).rootfs)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(set(results)) == 1
    assert len(results) == 4
    assert not [name for name in files_of(home) if name.endswith(".part")]


def test_a_directory_is_refused_if_other_users_can_write_to_it(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    with pytest.raises(RefusedError, match=r"^another user can write to '.*'$") as caught:
        Downloads(str(tmp_path / "cache"))
    assert caught.value.hint == "set XDG_DATA_HOME to another directory"


# https


@pytest.mark.parametrize("place", ["https://[x/y", "https://[::1", "https://h:x/", "https:///y"])
def test_an_invalid_url_in_response_headers_is_an_input_error(server, place):
    def announce(handler):
        handler.send_response(200)
        handler.send_header("Incus-Image-Hash", "a" * 64)
        handler.send_header("Incus-Image-URL", place)
        handler.end_headers()
        return True

    server.fault = announce
    with pytest.raises(InputError, match="leads to the invalid URL 'https:"):
        fetch(f"{server.url}/image")


def test_an_image_can_be_fetched_through_response_headers(server, tree):
    (path,) = (name for name in tree.content_files() if name.endswith(".tar") and _is_unified(tree, name))
    digest = os.path.basename(path).partition(".")[0]

    def fault(handler):
        if handler.path != "/image":
            return False
        handler.send_response(405)  # clients do not look at the status
        handler.send_header("Incus-Image-Hash", digest)
        handler.send_header("Incus-Image-URL", f"{server.url}/{path}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    server.fault = fault
    fetched = fetch(f"{server.url}/image")
    assert os.path.basename(fetched.image) == digest
    (headers,) = (headers for method, asked, headers in server.requests if asked == "/image")
    headers = {name.lower(): value for name, value in headers.items()}
    machine = "x86_64" if platform.machine() == "x86_64" else platform.machine()
    assert headers["incus-server-architectures"] == headers["lxd-server-architectures"] == machine


def _is_unified(tree: Tree, name: str) -> bool:
    return b"rootfs/etc/hostname" in content(os.path.join(tree.path, name))


def test_a_plain_https_file_gives_a_note_about_tls(server, tree):
    path = next(name for name in tree.content_files() if name.endswith(".tar"))
    fetched = fetch(f"{server.url}/{path}")
    assert os.path.basename(path).startswith(os.path.basename(fetched.image))
    assert "only TLS protects" in fetched.notes[0]


def test_the_characters_of_a_url_are_not_escaped_twice(server):
    with pytest.raises(InputError):
        fetch(f"{server.url}/a%40b%20c")
    assert set(server.paths) == {"/a@b%20c"}


def test_response_headers_with_an_http_url_are_refused(server):
    def fault(handler):
        handler.send_response(200)
        handler.send_header("LXD-Image-Hash", "0" * 64)
        handler.send_header("LXD-Image-URL", "http://127.0.0.1/image")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    server.fault = fault
    with pytest.raises(RefusedError, match="without https"):
        fetch(f"{server.url}/image")


@pytest.mark.parametrize(
    ("src", "kind", "said"),
    [
        ("http://example.com/image", UsageError, "only over https"),
        ("nowhere:debian", InputError, "not a known remote"),
        ("images:", UsageError, "names no image"),
        ("incus:web1", UsageError, "local daemon"),
        ("store:debian", InputError, "store has no image"),
    ],
)
def test_an_unusable_source_gives_one_clear_error(src, kind, said):
    with pytest.raises(kind, match=said):
        fetch(src)


def test_a_remote_with_invalid_url_gives_one_clear_error(tmp_path, capsys):
    folder = tmp_path / "home/.config/incus"
    folder.mkdir(parents=True)
    (folder / "config.yml").write_text("remotes: {odd: {addr: 'https://[x', protocol: simplestreams}}")
    assert main(["remote", "list"]) == 0
    assert "invalid URL" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"^the URL has an invalid host$"):
        fetch("odd:debian")


def test_a_missing_remote_file_gives_one_clear_error(server):
    with pytest.raises(InputError, match="does not exist"):
        fetch(f"{server.url}/nothing.tar")


def test_an_existing_path_is_never_a_remote_image(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_remote("images:debian")
    os.mkdir("images:debian")
    assert not is_remote("images:debian")
    assert not is_remote("C:")
    assert not is_remote("./a:b")


# remotes


def test_a_password_is_kept_private_and_never_shown(server, home, tree):
    url = server.url.replace("https://", "https://me:s3cret@")
    remote = add_remote("secret", url)
    assert "s3cret" not in remote.shown_url + repr(remote)
    assert (home / ".config/templater/remotes.yaml").stat().st_mode & 0o777 == 0o600
    assert not any("s3cret" in note for note in fetch("secret:both").notes)
    assert all("Authorization" in headers for _, _, headers in server.requests)
    server.fault = lambda handler: handler.send_error(500) or True
    with pytest.raises(InputError) as raised:
        fetch("secret:both")
    assert "s3cret" not in raised.value.explain()


def test_the_remotes_of_the_incus_and_lxd_clients_are_read(home):
    for folder, text in (
        (".config/incus", "remotes:\n  mine:\n    addr: https://a.example\n    protocol: simplestreams\n"
         "  host:\n    addr: https://b.example:8443\n    protocol: incus\n  local:\n    addr: unix://\n"),
        (".config/lxc", "remotes:\n  mine:\n    addr: https://c.example\n  theirs:\n    addr: https://d.example\n"
         "    protocol: lxd\n    public: true\n"),
    ):  # fmt: skip
        (home / folder).mkdir(parents=True)
        (home / folder / "config.yml").write_text(text)
    remotes = read_remotes()
    assert {name: (remotes[name].url, remotes[name].protocol) for name in ("mine", "host", "theirs")} == {
        "mine": ("https://a.example", "simplestreams"),
        "host": ("https://b.example:8443", "incus"),
        "theirs": ("https://d.example", "incus"),
    }
    assert "local" not in remotes


def test_the_client_certificates_are_used_only_for_private_servers(home):
    folder = home / ".config/incus"
    (folder / "servercerts").mkdir(parents=True)
    for name in ("client.crt", "client.key", "servercerts/host.crt"):
        (folder / name).write_text("x")
    (folder / "config.yml").write_text(
        "remotes:\n  host: {addr: 'https://a.example', protocol: incus}\n"
        "  open: {addr: 'https://b.example', protocol: incus, public: true}\n"
        "  list: {addr: 'https://c.example', protocol: simplestreams}\n"
    )
    remotes = read_remotes()
    assert remotes["host"].trust.server == str(folder / "servercerts/host.crt")
    assert remotes["host"].trust.client == (str(folder / "client.crt"), str(folder / "client.key"))
    assert remotes["open"].trust.client is None
    assert remotes["list"].trust.client is None


def test_a_stopped_local_daemon_is_not_reported_as_a_missing_image(tmp_path, monkeypatch):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        def log_message(self, *_):
            pass

    socket = str(tmp_path / "socket")
    monkeypatch.setenv("INCUS_SOCKET", socket)
    with pytest.raises(InputError) as raised:
        fetch("incus:image/web")
    assert raised.value.message == f"incus does not answer on '{socket}': no such file or directory"
    with socketserver.UnixStreamServer(socket, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.005,))
        thread.start()
        try:
            with pytest.raises(InputError) as raised:
                fetch("incus:image/web")
        finally:
            server.shutdown()
            thread.join()
    assert raised.value.message == "'incus' has no image 'web' that this user may see"


def test_headers_are_refused_at_once_if_parsing_is_slow(tmp_path, monkeypatch):
    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.recv(4096)
            with suppress(OSError):  # the client closes the connection early
                self.request.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: multipart/x; a="\r\n')
                for _ in range(10):
                    self.request.sendall(b" " + b";" * 20_000 + b"\r\n")

    path = str(tmp_path / "socket")
    monkeypatch.setenv("INCUS_SOCKET", path)
    with socketserver.UnixStreamServer(path, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.005,))
        thread.start()
        try:
            with ends_within(1), pytest.raises(InputError, match=r"more than 32 KiB of headers$"):
                fetch("incus:image/web")
        finally:
            server.shutdown()
            thread.join()


def test_adding_an_existing_remote_is_an_error(home):
    add_remote("ours", "https://a.example")
    with pytest.raises(UsageError, match=r"^the remote 'ours' already exists$") as caught:
        add_remote("ours", "https://b.example")
    assert caught.value.hint == "remove it first: templater remote remove ours"
    remove_remote("ours")
    assert "ours" not in read_remotes()
    with pytest.raises(UsageError, match=r"^unknown remote 'ours'$"):
        remove_remote("ours")
    with pytest.raises(UsageError, match=r"^unknown remote 'images'$") as raised:
        remove_remote("images")
    assert raised.value.hint == ("this remote is built in, or comes from the configuration of Incus or LXD")
    assert caught.value.hint == "remove it first: templater remote remove ours"
    with pytest.raises(UsageError) as raised:
        remove_remote("none")
    assert raised.value.hint == ""


@pytest.mark.parametrize("name", ["incus", "lxd", "store", "local", "a", "a/b", "-x", "a b", ""])
def test_a_reserved_or_invalid_name_of_a_remote_is_refused(name):
    with pytest.raises(UsageError, match="invalid name"):
        add_remote(name, "https://a.example")


@pytest.mark.parametrize(
    "text",
    ["- list", "ours: https://a", "ours: {url: 1, protocol: incus}", "ours: {protocol: incus}", "a: [", "\0"],
)
def test_a_damaged_list_of_remotes_gives_one_clear_error(home, text):
    (home / ".config/templater").mkdir(parents=True)
    (home / ".config/templater/remotes.yaml").write_text(text)
    with pytest.raises(InputError, match=r"remotes\.yaml"):
        read_remotes()


# the image API


def multipart(parts: list[tuple[str, bytes]], boundary: str = "b0undary") -> bytes:
    body = b""
    for name, data in parts:
        head = f'Content-Disposition: form-data; name="{name}"; filename="x"\r\nContent-Type: application/octet-stream'
        body += f"--{boundary}\r\n{head}\r\n\r\n".encode() + data + b"\r\n"
    return body + f"--{boundary}--\r\n".encode()


@given(
    st.binary(max_size=60), st.binary(max_size=60), st.lists(st.integers(1, 40), max_size=30), st.booleans()
)
def test_multipart_parsing_does_not_depend_on_chunk_sizes(first, second, cuts, skip):
    delimiter = b"\r\n--b0undary"
    if delimiter in first + second:
        return
    stream = io.BytesIO(multipart([("metadata", first), ("rootfs", second)]))

    def pieces() -> Iterator[bytes]:
        for cut in cuts:
            yield from (piece for piece in (stream.read(cut),) if piece)
        yield stream.read()

    found = []
    for name, body in image_api_client._parts(pieces(), delimiter, "server"):
        found.append((name, b"" if skip else b"".join(body)))
    assert found == [("metadata", b"" if skip else first), ("rootfs", b"" if skip else second)]


SHORT = "'server' sent an image that is cut short"


@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        pytest.param(b"", InputError, SHORT, id="empty"),
        pytest.param(b"--b0undary", InputError, SHORT, id="cut"),
        pytest.param(b"--b0undary\r\n", InputError, SHORT, id="no headers"),
        pytest.param(b"--b0undaryXX", InputError, "'server' sends an invalid multipart response", id="no line end"),
        pytest.param(multipart([("metadata", b"data")])[:-4], InputError, SHORT, id="no end"),
        pytest.param(
            multipart([("other", b"data")]), RefusedError,
            "'server' sends the part 'other' instead of 'metadata'", id="unknown part",
        ),
        pytest.param(
            multipart([("rootfs", b"data")]), RefusedError,
            "'server' sends the part 'rootfs' instead of 'metadata'", id="no metadata",
        ),
        pytest.param(
            multipart([("metadata", b"a"), ("metadata", b"b")]), RefusedError,
            "'server' sends the part 'metadata' instead of 'rootfs'", id="metadata twice",
        ),
        pytest.param(
            multipart([("x" * 101, b"a")]), RefusedError,
            f"'server' sends the part '{'x' * 100}' instead of 'metadata'", id="long name",
        ),
        pytest.param(
            multipart([("metadata", b"a"), ("rootfs", b"b"), ("rootfs", b"c")]), RefusedError,
            "'server' sends more parts than an image has", id="three parts",
        ),
        pytest.param(multipart([]), InputError, "'server' sends an image without parts", id="no part"),
        pytest.param(
            b"x" * 8191 + b"\r\n" + multipart([("metadata", b"a")]), LimitError,
            "'server' sends more than 8192 bytes before the image's first file", id="preamble",
        ),
        pytest.param(
            b"--b0undary\r\n" + b"A" * 8193, LimitError,
            "'server' sends a part with more than 8192 bytes of headers", id="headers",
        ),
    ],
)  # fmt: skip
def test_a_damaged_multipart_answer_gives_one_clear_error(body, error, said):
    with pytest.raises(TemplaterError) as raised:
        for _, data in image_api_client._parts(iter([body] if body else []), b"\r\n--b0undary", "server"):
            for _ in data:
                pass
    assert (type(raised.value), raised.value.message) == (error, said)


def test_a_multipart_answer_with_the_largest_allowed_headers_is_read():
    part = multipart([("metadata", b"data")])
    long = part.replace(b"\r\n", b"\r\nA: " + b"b" * 8192 + b"\r\n", 1)
    head = len(b"--b0undary\r\n") + 8192
    for pieces in ([b"x" * 8190 + b"\r\n" + part], [long[:head], long[head:]]):
        (found,) = [
            (name, b"".join(data))
            for name, data in image_api_client._parts(iter(pieces), b"\r\n--b0undary", "server")
        ]
        assert found == ("metadata", b"data")


@pytest.mark.parametrize("length", [0, 1, 200, 201])
def test_a_multipart_boundary_may_have_up_to_200_characters(length):
    kind = f'multipart/form-data; boundary="{"b" * length}"'
    if 0 < length <= 200:
        assert image_api_client._boundary(kind) == b"\r\n--" + b"b" * length
        return
    with pytest.raises(InputError, match=r"^the server sends a multipart response without a valid boundary$"):
        image_api_client._boundary(kind)


def test_a_duplicate_header_parameter_gives_no_python_error():
    """Python 3.11 raised TypeError. Other releases of Python read one of the two values."""
    with suppress(InputError):
        image_api_client._boundary("multipart/form-data; boundary*=a; boundary*0=b")
    body = b"--b0undary\r\nContent-Disposition: form-data; name*=a; name*0=b\r\n\r\n"
    with pytest.raises(RefusedError, match="instead of 'metadata'"):
        next(image_api_client._parts(iter([body]), b"\r\n--b0undary", "server"))


def test_metadata_is_fetched_before_the_root_filesystem(certificates, home, tmp_path):
    metadata, root = b"m" * 1000, ROOT
    fingerprint = hashlib.sha256(metadata + root).hexdigest()
    answers = {
        "/1.0/images/aliases/deb%2F13": ("application/json", b'{"metadata": {"target": "%s"}}' % fingerprint.encode()),
        f"/1.0/images/{fingerprint}": ("application/json", b'{"metadata": {"fingerprint": "%s", "type": "container",'
                                       b' "architecture": "x86_64"}}' % fingerprint.encode()),
        f"/1.0/images/{fingerprint}/export": ("multipart/form-data; boundary=b0undary",
                                              multipart([("metadata", metadata), ("rootfs", root)])),
    }  # fmt: skip

    def fault(handler):
        kind, body = answers.get(handler.path, ("", b""))
        handler.send_response(200 if kind else 404)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        return True

    with serving(tmp_path, certificates) as server:
        server.fault = fault
        add_remote("api", server.url, "incus")
        fetched = fetch("api:deb/13")
        assert content(fetched.image) == metadata
        assert fetched.rootfs is None
        assert "only TLS protects" in fetched.notes[1]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fetch_image, "_MOST_METADATA", len(metadata))
            fetched = fetch("api:deb/13", whole=True)
        assert content(fetched.rootfs) == root
        answers[f"/1.0/images/{fingerprint}/export"] = (
            "multipart/form-data; boundary=b0undary", multipart([("metadata", metadata), ("rootfs", root[:-1])]))  # fmt: skip
        with pytest.raises(InputError, match="announced the fingerprint"):
            fetch("api:deb/13", whole=True)
        with pytest.raises(InputError, match="has no image 'gone'"):
            fetch("api:gone")


# progress and resumption


def an_api(body, kind="application/octet-stream"):
    """Return a fault of a server that has one image and answers range requests.

    Also return the fingerprint of the image.
    """
    parts = [data for _, data in body] if isinstance(body, list) else [body]
    fingerprint = hashlib.sha256(b"".join(parts)).hexdigest()
    sent = multipart(body) if isinstance(body, list) else body
    found = (
        b'{"metadata": {"fingerprint": "%s", "type": "container", "architecture": ""}}' % fingerprint.encode()
    )

    def fault(handler):
        if "/aliases/" in handler.path:
            return False
        if not handler.path.endswith("/export"):
            return broken(handler, handler.path, found, len(found))
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(sent)))
        handler.end_headers()
        handler.wfile.write(sent)
        return True

    return fault, fingerprint, len(sent)


@pytest.fixture
def api(certificates, tmp_path):
    with serving(tmp_path, certificates) as running:
        add_remote("api", running.url, "incus")
        yield running


def totals(src):
    """Fetch an image. Return the last progress report of each file: its size and the announced total."""
    seen = {}

    def show(items, size, name, total=0, /):
        seen[name.rpartition("/")[2].rpartition(" ")[2]] = (size, total)

    fetch_source(src, whole=True, progress=show)
    return seen


def test_the_progress_of_each_kind_of_download_has_the_total_size(server, api, tree):
    size = len(ROOT)
    assert totals("ours:both")[f"{hashlib.sha256(ROOT).hexdigest()}.squashfs"] == (size, size)
    path = next(name for name in tree.content_files() if name.endswith(".squashfs"))
    assert totals(f"{server.url}/{path}") == {os.path.basename(path): (size, size)}
    server.fault = lambda handler: handler.path == "/image" and announced(handler, f"{server.url}/{path}")
    os.unlink(Store().files + "/" + hashlib.sha256(ROOT).hexdigest())
    assert totals(f"{server.url}/image") == {os.path.basename(path): (size, size)}
    api.fault, fingerprint, _ = an_api(b"unified" * 1000)
    assert totals(f"api:{fingerprint}") == {"image": (7000, 7000)}
    kind = "multipart/form-data; boundary=b0undary"
    api.fault, fingerprint, whole = an_api([("metadata", b"m" * 1000), ("rootfs", ROOT)], kind)
    found = totals(f"api:{fingerprint}")
    assert found == {"metadata": (1000, whole), "rootfs": (size, whole - 1000)}
    assert 0 < whole - 1000 - size < 1000, "the total also has the headers of the parts"


def announced(handler, url):
    handler.send_response(200)
    handler.send_header("Incus-Image-Hash", hashlib.sha256(ROOT).hexdigest())
    handler.send_header("Incus-Image-URL", url)
    handler.send_header("Content-Length", "0")
    handler.end_headers()
    return True


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_unified_download_from_the_image_api_continues(api, home, ranges):
    data = b"unified" * 100_000
    whole, fingerprint, _ = an_api(data)
    api.fault = lambda handler: (
        broken(handler, "/export", data, 300_000) if handler.path.endswith("/export") else whole(handler)
    )
    with pytest.raises(InputError, match="fewer bytes than it announced"):
        fetch(f"api:{fingerprint}", whole=True)
    assert files_of(home) == [f"{fingerprint}.part"]
    if not ranges:
        api.fault = whole
    assert content(fetch(f"api:{fingerprint}", whole=True).image) == data
    asked = [headers.get("Range") for _, path, headers in api.requests if path.endswith("/export")]
    assert asked == [None, None, "bytes=300000-"]
    assert files_of(home) == [fingerprint]


def test_a_too_long_partial_file_is_downloaded_again(api, home):
    data = b"short"
    whole, fingerprint, _ = an_api(data)

    def fault(handler):
        if handler.headers.get("Range"):
            return handler.send_error(416) or True
        return whole(handler)

    api.fault = fault
    fetch(f"api:{fingerprint}")
    folder = home / ".local/share/templater/store/files"
    (folder / fingerprint).unlink()
    (folder / f"{fingerprint}.part").write_bytes(b"a longer file of another server")
    assert content(fetch(f"api:{fingerprint}").image) == data


@pytest.mark.parametrize("part", [b"unifieX", b"wrong"])
def test_a_resumed_download_begins_again_after_a_wrong_hash(api, home, part):
    data = b"unified" * 100
    whole, fingerprint, _ = an_api(data)
    api.fault = lambda handler: (
        broken(handler, "/export", data, len(data)) if handler.path.endswith("/export") else whole(handler)
    )
    fetch(f"api:{fingerprint}")
    folder = home / ".local/share/templater/store/files"
    (folder / fingerprint).unlink()
    (folder / f"{fingerprint}.part").write_bytes(part)
    api.requests.clear()
    assert content(fetch(f"api:{fingerprint}").image) == data
    asked = [headers.get("Range") for _, path, headers in api.requests if path.endswith("/export")]
    assert asked == [None, f"bytes={len(part)}-", None]
    assert files_of(home) == [fingerprint]


def test_an_image_is_requested_again_after_a_wrong_range(api, home):
    data = b"unified" * 100
    whole, fingerprint, _ = an_api(data)

    def fault(handler):
        if not handler.headers.get("Range"):
            return whole(handler)
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 2-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - 2))
        handler.end_headers()
        handler.wfile.write(data[2:])
        return True

    api.fault = fault
    fetch(f"api:{fingerprint}")
    folder = home / ".local/share/templater/store/files"
    (folder / fingerprint).unlink()
    (folder / f"{fingerprint}.part").write_bytes(data[:5])
    assert content(fetch(f"api:{fingerprint}").image) == data


def test_a_unified_image_with_a_wrong_hash_is_refused(api, home):
    whole, fingerprint, _ = an_api(b"image")
    other, _, _ = an_api(b"other")
    api.fault = lambda handler: (other if handler.path.endswith("/export") else whole)(handler)
    with pytest.raises(InputError, match=f"but the server announced {fingerprint}"):
        fetch(f"api:{fingerprint}")
    assert files_of(home) == []


def send_slowly(handler, head: bytes, size: int = 1100) -> None:
    """Send the beginning of an answer, then ``size`` bytes every 10 ms until the client closes."""
    handler.close_connection = True
    with suppress(OSError):
        handler.wfile.write(head)
        while True:
            handler.wfile.write(bytes(size))
            time.sleep(0.01)


@pytest.mark.slow
def test_a_slow_metadata_download_from_a_stream_is_aborted(server, monkeypatch):
    monkeypatch.setattr("templater.distribution.https_client_limits.MOST_CATALOG_SECONDS", 0.5)

    def fault(handler):
        if not handler.path.startswith("/images/"):
            return False
        send_slowly(handler, b"HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n", 1)
        return True

    server.fault = fault
    for whole in (False, True):
        with pytest.raises(InputError, match="fetching catalogs and metadata takes longer"):
            fetch("ours:both", whole=whole)


@pytest.mark.parametrize("slow", ["alias", "image", "metadata"])
@pytest.mark.slow
def test_a_slow_metadata_download_from_an_image_api_is_aborted(certificates, tmp_path, monkeypatch, slow):
    monkeypatch.setattr("templater.distribution.https_client_limits.MOST_CATALOG_SECONDS", 0.5)
    fingerprint = "ab" * 32
    described = b'{"metadata": {"target": "%s", "fingerprint": "%s"' % ((fingerprint.encode(),) * 2)

    def fault(handler):
        kind = {"aliases": "alias", "export": "metadata"}.get(handler.path.split("/")[-1], "image")
        kind = "alias" if "/aliases/" in handler.path else kind
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
        if kind == "metadata":
            first = b'--b\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n'
            head += b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + first
        else:
            head += b"\r\n" + described
        if kind == slow:
            send_slowly(handler, head)
        else:
            handler.wfile.write(head + b"}}")
            handler.close_connection = True
        return True

    with serving(tmp_path, certificates) as server:
        server.fault = fault
        add_remote("api", server.url, "incus")
        begun = time.monotonic()
        with pytest.raises(InputError, match="fetching catalogs and metadata takes longer"):
            fetch("api:x")
        assert time.monotonic() - begun < 3


def test_a_redirect_loop_gives_one_clear_error(server):
    server.fault = lambda handler: redirect(handler, handler.path)
    with pytest.raises(InputError, match="answered 302"):
        fetch("ours:both")


def test_reading_an_endless_answer_ends_at_the_limit(certificates, tmp_path, monkeypatch):
    monkeypatch.setattr(image_api_client, "_MOST_JSON", 1 << 16)

    def fault(handler):
        handler.send_response(200)
        handler.end_headers()
        with pytest.raises(OSError):
            while True:
                handler.wfile.write(b" " * 65536)
        return True

    with serving(tmp_path, certificates) as server:
        server.fault = fault
        add_remote("api", server.url, "incus")
        with pytest.raises(TemplaterError, match="more than"):
            fetch("api:debian")


def test_the_module_for_remote_sources_is_imported_only_for_remote_sources(monkeypatch):
    from templater.cli.fetched_source import local_files

    monkeypatch.setattr(fetch_image, "fetch_source", None)
    assert local_files("image.tar") == ("image.tar", None)
    assert local_files("./a:b") == ("./a:b", None)


def test_the_store_refresh_command_replaces_an_image_with_its_newer_version(certificates, tmp_path, capfd):
    tree = Tree(str(tmp_path / "tree"))
    add(tree, *_parts_of(split_image(tmp_path / "old", root=ROOT)))
    with serving(tmp_path / "tree", certificates) as server:
        add_remote("fresh", server.url)
        assert main(["store", "import", "fresh:tiny/1", "--alias", "mine", "--auto-update", "--public"]) == 0
        old = Store().find("mine")
        assert main(["store", "refresh"]) == 0
        assert "mine: already the newest version" in capfd.readouterr().err
        add(tree, *_parts_of(split_image(tmp_path / "new", root=ROOT, created=CREATED + DAY)))
        assert main(["store", "refresh"]) == 0
    new = Store().find("mine")
    assert new.fingerprint != old.fingerprint
    assert (new.public, new.auto_update, new.cached, new.source) == (True, True, False, "fresh:tiny/1")
    assert len(Store().images()) == 1


@pytest.mark.slow
def test_a_slow_server_gets_only_a_share_of_time(certificates, tmp_path, capfd, monkeypatch):
    """A server that sent two kilobytes in each second held the command for a day."""

    def slow(handler):
        if ".squashfs" not in handler.path:
            return False
        handler.send_response(200)
        handler.end_headers()
        with suppress(OSError):
            while True:
                handler.wfile.write(bytes(1000))
                time.sleep(0.1)

    names = ("fast", "slow")
    trees = {name: Tree(str(tmp_path / name)) for name in names}
    with ExitStack() as stack:
        for name in names:
            add(trees[name], *_parts_of(split_image(tmp_path / f"{name}1", root=ROOT + name.encode())))
            server = stack.enter_context(serving(tmp_path / name, certificates))
            add_remote(name, server.url)
            assert main(["store", "import", f"{name}:tiny/1", "--alias", name, "--auto-update"]) == 0
            newer = split_image(tmp_path / f"{name}2", root=ROOT + name.encode(), created=CREATED + DAY)
            add(trees[name], *_parts_of(newer))
        server.fault = slow
        os.unlink(Store().paths(Store().find("slow"))[1])  # the new version has the same root filesystem
        monkeypatch.setattr("templater.cli.commands.store.refresh.time_left", lambda: 1.0)
        assert main(["store", "refresh", "slow", "fast"]) == 2
    said = capfd.readouterr().err
    message = (
        "fetching the image takes longer than 0 seconds: the limit command-time is divided among the images"
    )
    assert f"slow: {message}" in said
    assert "fast: replaced" in said


def test_the_store_refresh_command_reports_an_image_of_a_removed_remote(server, capfd):
    assert main(["store", "import", "ours:both", "--alias", "mine", "--auto-update"]) == 0
    remove_remote("ours")
    assert main(["store", "refresh"]) == 2
    assert "mine: 'ours:both' does not exist" in capfd.readouterr().err


def _parts_of(files: tuple[str, str]) -> tuple[str, list[str]]:
    return files[0], [files[1]]


def test_a_stored_image_can_be_used_after_its_remote_is_removed(server):
    assert main(["store", "import", "ours:both", "--alias", "mine"]) == 0
    remove_remote("ours")
    fetched = fetch("store:mine", whole=True)
    assert content(fetched.rootfs) == ROOT


def test_a_missing_root_filesystem_is_fetched_when_needed(server):
    fetch("ours:both")
    assert not Store().images()[0].complete
    fingerprint = Store().images()[0].fingerprint
    assert content(fetch(f"store:{fingerprint}", whole=True).rootfs) == ROOT
    assert Store().images()[0].complete


def test_an_alias_for_an_incomplete_image_gives_a_note(server, capsys):
    fingerprint = fetch("ours:both").fingerprint
    assert main(["store", "alias", "create", "mine", fingerprint]) == 0
    assert "the store has only this image's metadata, fetched from 'ours:both'" in capsys.readouterr().err
    fetch("ours:both", whole=True)
    assert main(["store", "alias", "create", "other", fingerprint]) == 0
    assert not capsys.readouterr().err


def test_a_note_says_that_only_tls_protects_metadata(server):
    fingerprint = fetch("ours:both").fingerprint
    source, note = fetch(f"store:{fingerprint}").notes
    assert source == "the metadata was fetched from 'ours:both'"
    assert note.startswith("only TLS protects the metadata")
    fetch("ours:both", whole=True)
    assert fetch(f"store:{fingerprint}").notes == ()


def test_a_changed_source_does_not_replace_a_stored_image(server):
    fingerprint = fetch("ours:both").fingerprint
    Store().change(fingerprint, lambda image: replace(image, source="ours:one"))
    with pytest.raises(
        InputError, match=f"'ours:one' now has another image: [0-9a-f]+, not {fingerprint[:12]}"
    ):
        fetch(f"store:{fingerprint}", whole=True)


@pytest.mark.parametrize("wanted", ["0123456789ab", "0123456789abcdef" * 4, "0123456789ABCDEF" * 4])
def test_an_alias_like_a_fingerprint_selects_no_image(server, tmp_path, wanted):
    copy = tmp_path / "copy"
    add(Tree(str(copy)), *_parts_of(split_image(tmp_path / "other", root=ROOT)), aliases=[wanted])
    server.fault = lambda handler: setattr(handler, "directory", str(copy))
    assert fetch("ours:tiny/1")
    with pytest.raises(InputError, match=f"has no image '{wanted}'") as raised:
        fetch(f"ours:{wanted}")
    assert not raised.value.hint


@pytest.mark.parametrize("length", [12, 64])
def test_an_answer_with_a_different_fingerprint_is_refused(length):
    server = Answers(alias=b'{"metadata": {"target": "x"}}', image=image_answer())
    assert image_api_client.find_image(server, "a" * length).fingerprint == "a" * 64
    with pytest.raises(InputError, match=f"^'server' sent the image {'a' * 12} instead of {'b' * 12}$"):
        image_api_client.find_image(server, "b" * length)


class Answers:
    """A server of the image API that gives the answers of a test. None stands for a missing file."""

    name = "server"

    def __init__(self, **answers):
        self.answers = answers

    def small_file(self):
        return nullcontext()

    @contextmanager
    def get(self, path):
        body = self.answers.get("alias" if "/aliases/" in path else "image")
        if body is None:
            raise FileNotFoundError(path)
        yield {}, iter((body,))


def image_answer(**fields):
    return json.dumps({"metadata": {"fingerprint": "a" * 64, **fields}}).encode()


def test_an_image_without_a_type_is_found_by_alias():
    found = image_api_client.find_image(
        Answers(alias=b'{"metadata": {"target": "x"}}', image=image_answer()), "web"
    )
    assert (found.fingerprint, found.type, found.architecture) == ("a" * 64, "", "")
    found = image_api_client.find_image(
        Answers(image=image_answer(type="container", architecture="b")), "aaaa"
    )
    assert (found.type, found.architecture) == ("container", "b")


def test_a_lone_surrogate_in_a_stored_text_is_replaced(tmp_path):
    server = Answers(alias=rb'{"metadata": {"target": "\ud800"}}', image=image_answer())
    store = Store(str(tmp_path / "store"))
    for name in ("web", "\udcff"):
        found = image_api_client.find_image(server, name)
        image = StoredImage(
            found.fingerprint, "\ud800", "\udfff", 0, 0, 0, 0, False, False, True, f"r:{name}", "b" * 64,
            "", False, {"\ud800": "\udcff"},
        )  # fmt: skip
        store.cache(image)
        assert (store.find("a" * 12).type, store.find("a" * 12).architecture) == ("\ufffd", "\ufffd")
    with pytest.raises(InputError, match=r"^the store has no image 'x\\xff'$") as caught:
        store.find("x\udcff")
    assert caught.value.hint == "to list the images, run: templater store list"
    with pytest.raises(UsageError, match=r"^unknown alias 'x\\xff'$"):
        store.delete_alias("x\udcff")


@pytest.mark.parametrize(
    ("image", "error", "said"),
    [
        (None, InputError, "'server' has no image 'web' that this user may see"),
        (b"", InputError, "'server/1.0/images/web' is empty"),
        (b"{}", InputError, "'server' gives the invalid fingerprint ''"),
        (b"[]", InputError, "'server' gives the invalid fingerprint ''"),
        (b'{"metadata": []}', InputError, "'server' gives the invalid fingerprint ''"),
        (
            image_answer(architecture="x" * 65),
            InputError,
            "'server' sent an invalid description of the image 'web'",
        ),
        (image_answer(type=1), InputError, "'server' sent an invalid description of the image 'web'"),
        (
            image_answer(fingerprint={"a": 1}),
            InputError,
            "'server' sent an invalid description of the image 'web'",
        ),
        (
            image_answer(fingerprint="a" * 80),
            InputError,
            f"'server' gives the invalid fingerprint '{'a' * 70}'",
        ),
    ],
)
def test_an_unusable_answer_of_the_image_api_gives_one_clear_error(image, error, said):
    with pytest.raises(TemplaterError) as raised:
        image_api_client.find_image(Answers(image=image), "web")
    assert (type(raised.value), raised.value.message) == (error, said)


def test_only_an_answer_above_the_size_limit_is_refused():
    assert (
        image_api_client.find_image(Answers(image=image_answer().ljust(4 << 20)), "web").fingerprint
        == "a" * 64
    )
    with pytest.raises(LimitError) as raised:
        image_api_client.find_image(Answers(image=image_answer().ljust((4 << 20) + 1)), "web")
    assert raised.value.message == "'server' answers '/1.0/images/web' with more than 4 MiB"


def test_an_invalid_fingerprint_from_the_api_is_refused_and_not_printed(certificates, tmp_path):
    def fault(handler):
        body = (
            b'{"metadata": {"target": "x", "fingerprint": "%s", "type": "container", "architecture": "a"}}'
            % (b"a" * 10**6)
        )
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        return True

    with serving(tmp_path, certificates) as server:
        server.fault = fault
        add_remote("api", server.url, "incus")
        with pytest.raises(InputError, match="invalid fingerprint") as raised:
            fetch("api:debian")
        assert len(raised.value.explain()) < 1000


def test_a_long_content_type_is_refused_at_once():
    kind = f'multipart/form-data; a="{";" * 100_000}; boundary=b'
    with (
        ends_within(1),
        pytest.raises(InputError, match=r"^the server sends a multipart response without a valid b"),
    ):
        image_api_client._boundary(kind)


def test_a_suggestion_compares_only_a_limited_number_of_aliases(server, monkeypatch):
    compared = []
    monkeypatch.setattr(fetch_image, "_MOST_COMPARED", 3)
    monkeypatch.setattr(
        fetch_image, "get_close_matches", lambda word, names, **_: compared.extend(names) or []
    )
    with pytest.raises(InputError, match="has no image 'bohth'"):
        fetch("ours:bohth")
    assert len(compared) == 3


def test_a_download_begins_again_if_ranges_are_refused(server, home):
    name = hashlib.sha256(ROOT).hexdigest()
    server.fault = lambda handler: broken(handler, f"{name}.squashfs", ROOT, 300_000)
    with pytest.raises(InputError):
        fetch("ours:both", whole=True)
    server.fault = lambda handler: "Range" in handler.headers and (handler.send_error(416) or True)
    assert content(fetch("ours:both", whole=True).rootfs) == ROOT
