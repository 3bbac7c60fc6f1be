"""Tests that Debian's clients read the trees of `templater streams`, and fail where `verify` reports errors.

The clients read the trees over TLS on the loopback interface.
"""

import contextlib
import gzip
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.message import Message
from pathlib import Path

import pytest

from templater.distribution.add_to_tree import add
from templater.distribution.client_image_list import Image
from templater.distribution.https_client import UrlStream
from templater.distribution.list_stream import list_stream
from templater.distribution.remove_and_prune import prune, remove
from templater.distribution.republish import republish
from templater.distribution.stream_interface import LocalStream
from templater.distribution.tree import Tree
from templater.distribution.verify import verify
from tests.streams.builders import CREATED, DAY, listed, split_image, squashfs
from tests.streams.mutations import CASES, EXAMPLE, MORE_CASES
from tests.streams.server import Server, serving

from .harness import new_folder, run
from .images import CONTAINERS, WRITTEN, Client, need_programs, same_as_list
from .test_serve import preview

pytestmark = pytest.mark.live

CLIENT = "incus-6.0"
ALL_CASES = [*CASES, *MORE_CASES]
STREAMS = Path(__file__).parents[1] / "streams"


def comparable(images: list[dict], random: set[str]) -> list[tuple]:
    """Return a client's list of images as a sorted list, because clients list equal images in any order.

    Omit the aliases ``random``, because a client can give them to different images each time.
    """
    return sorted(
        (
            image["fingerprint"], image["type"], image["architecture"], image["size"],
            image["properties"]["serial"], sorted({alias["name"] for alias in image["aliases"] or ()} - random),
        )
        for image in images
    )  # fmt: skip


def predicted(images: list[Image], random: set[str]) -> list[tuple]:
    return sorted(
        (
            image.fingerprint, image.type, image.architecture, image.size,
            image.version.name, sorted(set(shown_aliases(image)) - random),
        )
        for image in images
    )  # fmt: skip


def shown_aliases(image: Image) -> list[str]:
    """Return the aliases of an image that a client on amd64 shows.

    For an image of another architecture, the client shows only the aliases of the form ALIAS/ARCHITECTURE.
    """
    native = image.architecture == "x86_64"
    return [name for name in image.aliases if native or name.endswith(f"/{image.product.arch}")]


#: problems that `image list` does not show, but a download does
FATAL = {"type", "index", "products", "short-fingerprint"}


#: the client reads the entries of an index in a random order
RANDOM = "another entry with a file of the same name"


@pytest.mark.parametrize(
    "case",
    [case for case in ALL_CASES if "size" not in case.title and case.title != RANDOM],
    ids=lambda case: case.title,
)
def test_the_real_client_fails_exactly_where_verify_finds_errors(case, certificates, tmp_path):
    tree = case.build(tmp_path / "tree")
    report = verify(LocalStream(Tree(str(tree))))
    codes = {problem.code for problem in report.errors((CLIENT,))}
    with serving(tree, certificates) as server:
        client = Client(tmp_path / "home", certificates).add(server)
        answer = client("image", "list", "s:", "-f", "json")
        assert (answer.returncode != 0) == bool(codes & FATAL), answer.stderr
        if answer.returncode:
            return
        images = listed(Tree(str(tree)), CLIENT)
        if case.title == "another entry for the same file":  # the client lists the images of both entries
            images += [replace(image, aliases=[]) for image in images]
        assert report.images[CLIENT] == len(images)
        random = {name for image in images for name in image.random}
        assert comparable(json.loads(answer.stdout), random) == predicted(images, random)
        for variant in ("default", "tarxz", "unified", "vm"):
            (tmp_path / variant).mkdir()
            product = f"tiny:1:amd64:{variant}"
            image = next((each for each in images if each.product.name == product), None)
            if image is None or image.architecture != "x86_64":
                continue
            answer = client("image", "export", f"s:{image.fingerprint}", str(tmp_path / variant))
            broken = any(
                _is_about(problem.place, image) and "can't be downloaded" in problem.message
                for problem in report.errors((CLIENT,))
            )
            assert (answer.returncode != 0) == broken, answer.stderr


def test_equal_file_names_make_the_client_fail_at_random(certificates, tmp_path):
    """The file of the second entry does not exist.

    The client uses its cached copy of the first entry's file instead. The client has this copy only if it has
    read the first entry before the second entry.
    """
    (case,) = (case for case in ALL_CASES if case.title == RANDOM)
    tree = case.build(tmp_path / "tree")
    codes = {problem.code for problem in verify(LocalStream(Tree(str(tree)))).errors((CLIENT,))}
    assert {"cache-name", "products"} <= codes
    failed = set()
    with serving(tree, certificates) as server:
        for number in range(80):
            client = Client(tmp_path / f"home{number}", certificates).add(server)
            failed.add(client("image", "list", "s:").returncode != 0)
            if len(failed) == 2:
                break
    assert failed == {True, False}


def test_the_real_client_reads_the_last_of_equal_keys(certificates, tmp_path):
    tree = shutil.copytree(EXAMPLE, tmp_path / "tree")
    file = tree / "streams/v1/images.json"
    file.write_text(file.read_text().replace('"os": "tiny"', '"os": "other", "os": "tiny"'))
    report = verify(LocalStream(Tree(str(tree))))
    assert {each.code for each in report.problems} == {"repeated-key"} and not report.errors()
    with serving(tree, certificates) as server:
        client = Client(tmp_path / "home", certificates).add(server)
        images = json.loads(client("image", "list", "s:", "-f", "json").stdout)
        assert len(images) == report.images[CLIENT] == 4
        assert {image["properties"]["os"] for image in images} == {"tiny"}


def _stored_with_encoding(handler) -> bool:
    if not handler.path.endswith("unified.tar.gz"):
        return False
    _answer(handler, 200, (EXAMPLE / handler.path.lstrip("/")).read_bytes(), {"Content-Encoding": "gzip"})
    return True


def _compressed(handler) -> bool:
    data = gzip.compress((EXAMPLE / handler.path.lstrip("/")).read_bytes())
    _answer(handler, 200, data, {"Content-Encoding": "gzip"})
    return True


def _partial(handler) -> bool:
    if not handler.path.endswith("unified.tar.gz"):
        return False
    _answer(handler, 206, (EXAMPLE / handler.path.lstrip("/")).read_bytes(), {})
    return True


def _moved(full: bool):
    """Return a function that changes the answers of the test server.

    The server then asks for a password, and redirects image files to a full URL or to a path.
    """

    def fault(handler) -> bool:
        if "Authorization" not in handler.headers:
            _answer(handler, 401, b"", {})
        elif handler.path.startswith("/images"):
            start = f"https://{handler.headers['Host']}" if full else ""
            _answer(handler, 302, b"", {"Location": f"{start}/moved{handler.path}"})
        else:
            handler.path = handler.path.removeprefix("/moved")
            return False
        return True

    return fault


def _answer(handler, status: int, body: bytes, headers: dict[str, str]) -> None:
    handler.send_response(status)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        handler.send_header(name, value)
    handler.end_headers()
    if handler.command == "GET":
        handler.wfile.write(body)


@pytest.mark.parametrize(
    ("fault", "maximum", "lists", "exports"),
    [
        (None, ssl.TLSVersion.TLSv1_3, True, True),
        (None, ssl.TLSVersion.TLSv1_2, False, False),
        (_compressed, ssl.TLSVersion.TLSv1_3, True, True),
        (_stored_with_encoding, ssl.TLSVersion.TLSv1_3, True, False),
        (_partial, ssl.TLSVersion.TLSv1_3, True, False),
        (_moved(full=False), ssl.TLSVersion.TLSv1_3, True, True),
        (_moved(full=True), ssl.TLSVersion.TLSv1_3, True, False),
    ],
    ids=["good", "TLS 1.2", "compressed", "encoding of a stored file", "206", "path", "full URL"],
)
def test_verify_and_the_real_client_refuse_the_same_answers(
    fault, maximum, lists, exports, certificates, tmp_path, monkeypatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    with serving(EXAMPLE, certificates, maximum=maximum) as server:
        server.fault = fault
        server.url = server.url.replace("https://", "https://me:secret@")
        report = verify(UrlStream(server.url))
        assert (report.images[CLIENT] is not None) == lists
        assert (not report.errors((CLIENT,))) == exports
        client = Client(tmp_path / "home", certificates).add(server)
        assert (client("image", "list", "s:").returncode == 0) == lists
        answer = client("image", "export", "s:tiny/1/unified", str(tmp_path / "out"))
        assert (answer.returncode == 0) == exports, answer.stderr


def _is_about(place: str, image) -> bool:
    """Return whether a problem of `verify` at ``place`` is about this image or one of its files."""
    product, version = f"product '{image.product.name}'", f", version '{image.version.name}'"
    if place in {f"'{item.path.lstrip('/')}'" for item in image.files}:
        return True
    items = {"", *(f", item '{name}'" for name in (image.kind, image.metadata.ftype))}
    return place in {product + version + item for item in items}


@pytest.mark.parametrize(
    "case", [case for case in ALL_CASES if "size" in case.title], ids=lambda case: case.title
)
def test_the_real_client_rejects_sizes_of_the_wrong_type(case, certificates, tmp_path):
    tree = case.build(tmp_path / "tree")
    fails = verify(LocalStream(Tree(str(tree)))).images[CLIENT] is None
    with serving(tree, certificates) as server:
        client = Client(tmp_path / "home", certificates).add(server)
        assert (client("image", "list", "s:").returncode != 0) == fails
        if not fails:
            assert client("image", "export", "s:tiny/1", str(tmp_path / "out")).returncode == 0


@pytest.fixture(scope="module")
def published(image_tree: Tree, certificates: Path) -> Iterator[tuple[Tree, Server]]:
    """Serve the tree ``image_tree``, which has images of every kind. Yield the tree and the server."""
    with serving(Path(image_tree.path), certificates) as server:
        yield image_tree, server


@pytest.mark.parametrize("program", ["incus", "lxc"])
def test_a_client_can_list_and_export_all_images(published, certificates, tmp_path, program):
    need_programs(program)
    tree, server = published
    client = Client(tmp_path / "home", certificates, program).add(server)
    images = client.list()
    assert len(images) == 5
    same_as_list(tree, images)
    for image in images:
        folder = tmp_path / image["fingerprint"]
        folder.mkdir()
        # the client compares the hashes of the files and of the image
        answer = client("image", "export", f"s:{image['fingerprint']}", str(folder))
        assert answer.returncode == 0, answer.stderr
        assert sum(path.stat().st_size for path in folder.iterdir()) == image["size"]
    (machine,) = (image for image in images if image["type"] == "virtual-machine")
    assert machine["properties"]["requirements.secureboot"] == "false"


def test_the_official_simplestreams_tool_lists_and_verifies_the_tree(published, tmp_path):
    need_programs("incus-simplestreams")
    tree, _ = published
    shown = run(
        "incus-simplestreams", "list", "-f", "csv", cwd=tree.path, env={**os.environ, "HOME": str(tmp_path)}
    ).stdout
    assert {line.split(",")[0] for line in shown.splitlines()} == {
        image.fingerprint for image in list_stream(LocalStream(tree))
    }
    run("incus-simplestreams", "verify", cwd=tree.path, env={**os.environ, "HOME": str(tmp_path)})


def test_the_incus_and_lxd_clients_can_list_ten_thousand_images(certificates, tmp_path):
    from tests.bench.streams import make_tree

    need_programs("incus", "lxc")
    make_tree(tmp_path / "tree", 10_000)
    with serving(tmp_path / "tree", certificates) as server:
        for program in ("incus", "lxc"):
            client = Client(tmp_path / program, certificates, program).add(server)
            assert len(client.list()) == 10_000


def test_a_client_can_still_download_a_recently_removed_image(certificates, tmp_path):
    tree = Tree(str(tmp_path / "tree"))
    shutil.copytree(STREAMS / "example", tree.path)
    with serving(Path(tree.path), certificates) as server:
        client = Client(tmp_path / "home", certificates).add(server)
        assert len(client.list()) == 4
        remove(tree, ["tiny:1:amd64:default"])
        prune(tree, keep=1)
        answer = client(
            "image", "export", "s:tiny/1", str(tmp_path / "out")
        )  # the client's catalog can be up to 5 minutes old
        assert answer.returncode == 0, answer.stderr
        prune(tree, grace=0)
        assert client("image", "export", "s:tiny/1", str(tmp_path / "out2")).returncode != 0
        fresh = Client(tmp_path / "home2", certificates).add(server)
        assert len(fresh.list()) == 3


@pytest.mark.slow
def test_a_client_reads_without_error_while_the_tree_changes(certificates, tmp_path):
    """The test repeats two steps for 60 seconds: a new client lists all images, and then downloads them."""
    tree = Tree(str(tmp_path / "tree"))
    pairs = [
        split_image(tmp_path / str(number), created=CREATED + number * DAY, root=squashfs(number, 1000))
        for number in range(6)
    ]
    add(tree, pairs[0][0], [pairs[0][1]])
    stopped, changes, failures = threading.Event(), [], []

    def write() -> None:
        try:
            while not stopped.is_set():
                number = len(changes)
                meta, root = pairs[number % 6]
                changes.append(add(tree, meta, [root]).version)
                if number % 3 == 2:
                    prune(tree, keep=2)
                if number % 4 == 3 and len(list_stream(LocalStream(tree))) > 1:
                    remove(tree, [f"tiny:1:amd64:default@{changes[-1]}"])
                stopped.wait(0.02)  # leave the processor to the client and to other tests
        except BaseException as error:
            failures.append(error)

    writer = threading.Thread(target=write)
    exported = 0
    with serving(Path(tree.path), certificates) as server:
        writer.start()
        try:
            rounds, end = 0, time.monotonic() + 60
            while time.monotonic() < end and not failures:
                rounds += 1
                client = Client(tmp_path / f"home{rounds}", certificates).add(server)
                images = client.list()
                assert images
                for image in images:
                    folder = tmp_path / f"home{rounds}" / image["fingerprint"]
                    folder.mkdir()
                    answer = client("image", "export", f"s:{image['fingerprint']}", str(folder))
                    assert answer.returncode == 0, answer.stderr
                    exported += 1
        finally:
            stopped.set()
            writer.join()
    assert not failures
    assert len(changes) > 100
    assert exported > 20
    assert not verify(LocalStream(tree)).errors()


PAGE = (Path(__file__).parents[2] / "docs/publishing.md").read_text()
#: the first line of a web server's configuration on the page, the command that runs it, and the line that
#: includes the rules of `reindex`
SERVERS = {
    "nginx": ("server {", ("nginx", "-g", "daemon off;", "-c"), r"`(include \S+\*\.nginx\.conf;)`"),
    "caddy": (
        "images.example.com {", ("caddy", "run", "--adapter", "caddyfile", "--config"), r"`(import \S+\*\.caddy)`"
    ),
}  # fmt: skip


def changed(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


def site(kind: str, port: int, certificates: Path, tree: Tree, rules: Path | None) -> str:
    """Return the web server's configuration in docs/publishing.md, with another address and directories."""
    first, _, include = SERVERS[kind]
    (text,) = (each.partition("\n")[2] for each in PAGE.split("```")[1::2] if f"\n{first}\n" in each[:99])
    if rules is not None:
        (line,) = re.findall(include, PAGE)
        text = text.removesuffix("}\n") + line.replace(os.path.dirname(line.split()[1]), str(rules)) + "\n}\n"
    key, pem = f"{certificates}/server.key", f"{certificates}/server.pem"
    if kind == "nginx":
        return changed(
            text,
            {
                "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;", "/srv/images": tree.path,
                "/etc/ssl/images.pem": pem, "/etc/ssl/images.key": key,
            },
        )  # fmt: skip
    return changed(text, {first: f"https://127.0.0.1:{port} {{\ntls {pem} {key}", "/srv/images": tree.path})


def configuration(kind: str, folder: Path, text: str) -> str:
    """Return the text of a configuration file for nginx or Caddy that contains the site ``text``."""
    if kind == "caddy":
        return f"{{\nadmin off\nauto_https off\n}}\n{text}"
    (folder / "site").write_text(text)
    return changed(
        Path("/etc/nginx/nginx.conf").read_text(),
        {"/etc/nginx/sites-enabled/*": f"{folder}/site", "/run/nginx.pid": f"{folder}/pid", "/var/log/nginx": str(folder)},
    )  # fmt: skip


@contextmanager
def running(
    kind: str, folder: Path, certificates: Path, tree: Tree, rules: Path | None = None
) -> Iterator[Server]:
    """Serve a tree with Debian's nginx or Caddy, as docs/publishing.md describes.

    ``rules`` is the folder with the rules that `streams reindex` has written, or None.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words, config = SERVERS[kind][1], folder / f"{kind}.conf"
    config.write_text(configuration(kind, folder, site(kind, port, certificates, tree, rules)))
    process = subprocess.Popen(
        [*words, str(config)], env={**os.environ, "HOME": str(folder)}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=(folder / "log").open("wb"),
    )  # fmt: skip
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield Server(f"https://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Yield a folder that the user of a web server, such as www-data, can read."""
    for folder in new_folder():
        folder.chmod(0o755)
        yield folder


@pytest.mark.parametrize("kind", SERVERS)
def test_a_web_server_with_documented_configuration_serves_incus(
    image_tree, certificates, open_folder, trusting_incus, kind
):
    need_programs(kind)
    add_words, launch_words = (
        line.split()[1:]
        for line in PAGE.splitlines()
        if line.startswith(("incus remote add our", "incus launch our"))
    )
    with running(kind, open_folder, certificates, image_tree) as server:
        for path in Path(image_tree.path, "images").iterdir():
            found = headers(certificates, f"{server.url}/images/{path.name}")
            assert found["Content-Encoding"] is None, (
                "the client would unpack the file before it compares the hash"
            )
            assert int(found["Content-Length"]) == path.stat().st_size
        changes = {"https://images.example.com": server.url, "our:debian/trixie/cloud": "our:tiny/1"}
        trusting_incus(*(changes.get(word, word) for word in add_words))
        try:
            options = ("-c", "security.privileged=true", "-c", "user.foo=bar")
            trusting_incus(*(changes.get(word, word) for word in launch_words), *options)
            found = {path: trusting_incus("exec", "web", "--", "cat", path) for path in WRITTEN}
            assert found == preview(image_tree, "default", "web")
            for variant in CONTAINERS:
                (image,) = (each for each in list_stream(LocalStream(image_tree)) if each.variant == variant)
                trusting_incus("image", "copy", f"our:tiny/1/{variant}", "local:", "--alias", "copied")
                assert trusting_incus.image("copied")["fingerprint"] == image.fingerprint
                trusting_incus("image", "delete", "copied")
        finally:
            trusting_incus("delete", "-f", "web", code=None)
            trusting_incus("remote", "remove", "our")


@pytest.mark.parametrize("kind", SERVERS)
def test_incus_downloads_images_through_redirects_if_the_origin_has_the_form_of_the_ubuntu_stream(
    certificates, open_folder, kind, monkeypatch
):
    need_programs(kind)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    tree, rules = Tree(str(open_folder / "tree")), open_folder / "rules"
    with serving(STREAMS / "ubuntu-shape/origin", certificates) as origin:
        before = Client(open_folder / "before", certificates).add(origin)
        assert before.list() == [], "Incus lists nothing from the origin"
        republish(UrlStream(origin.url), tree, redirects=str(rules))
        origin.requests.clear()
        with running(kind, open_folder, certificates, tree, rules) as server:
            client = Client(open_folder / "home", certificates).add(server)
            images = client.list()
            assert {image["properties"]["type"] for image in images} == {
                "squashfs", "root.tar.xz", "disk-kvm.img", "disk1.img",
            }  # fmt: skip
            for image in images:
                folder = open_folder / image["fingerprint"]
                folder.mkdir()
                answer = client("image", "export", f"s:{image['fingerprint']}", str(folder))
                assert answer.returncode == 0, answer.stderr
                assert sum(path.stat().st_size for path in folder.iterdir()) == image["size"]
            assert client("image", "info", "s:ubuntu/noble").returncode == 0
            assert not verify(UrlStream(server.url)).errors()
        assert any(path.startswith("/server/releases") for path in origin.paths), (
            "the files came from the origin"
        )


@contextmanager
def object_store(folder: Path, certificates: Path) -> Iterator[int]:
    """Run the S3 server of SeaweedFS over TLS on the loopback interface, and yield its port."""
    with contextlib.ExitStack() as free:
        sockets = [free.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(8)]
        ports = [each.getsockname()[1] for each in sockets]
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
             "s3.port", "s3.port.grpc")  # fmt: skip
    (folder / "weed").mkdir()
    process = subprocess.Popen(
        ["weed", "server", f"-dir={folder / 'weed'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3",
         "-volume.max=4", "-master.volumeSizeLimitMB=64",
         f"-s3.cert.file={certificates / 'server.pem'}", f"-s3.key.file={certificates / 'server.key'}",
         *(f"-{name}={port}" for name, port in zip(names, ports, strict=True))],
        cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=(folder / "weed.log").open("wb"),
    )  # fmt: skip
    try:
        yield ports[6]
    finally:
        process.kill()
        process.wait(30)


def upload_script() -> str:
    return PAGE.partition("```sh\n")[2].partition("```")[0]


def test_the_documented_upload_script_fills_an_object_store(certificates, folder, monkeypatch):
    monkeypatch.setenv(
        "PATH", f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    )  # pip installs them there
    need_programs("rclone", "weed")
    tree = Tree(str(folder / "tree"))
    shutil.copytree(STREAMS / "example", tree.path)
    with object_store(folder, certificates) as port:
        url = f"https://127.0.0.1:{port}"
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "TREE": tree.path, "REMOTE": "s3:images",
            "RCLONE_CONFIG_S3_TYPE": "s3", "RCLONE_CONFIG_S3_PROVIDER": "SeaweedFS", "RCLONE_CONFIG_S3_ENDPOINT": url,
            "RCLONE_CONFIG_S3_ACCESS_KEY_ID": "any", "RCLONE_CONFIG_S3_SECRET_ACCESS_KEY": "any",
            "RCLONE_CA_CERT": str(certificates / "ca.pem"),
        }  # fmt: skip
        for _ in range(60):
            if run("rclone", "mkdir", "s3:images", code=None, env=environment).returncode == 0:
                break
            time.sleep(1)

        def upload() -> None:
            run("sh", "-c", upload_script(), env=environment, timeout=120)

        def kept() -> set[str]:
            return set(
                run("rclone", "lsf", "-R", "--files-only", "s3:images/images", env=environment).stdout.split()
            )

        upload()
        client = Client(folder / "home", certificates).add(Server(f"{url}/images"))
        same_as_list(tree, client.list())
        for variant in ("default", "tarxz", "unified"):
            assert client("image", "export", f"s:tiny/1/{variant}", str(folder / variant)).returncode == 0
        index = headers(certificates, f"{url}/images/streams/v1/index.json")
        assert index["Cache-Control"] == "public, max-age=60"
        for name in kept():
            assert "immutable" in headers(certificates, f"{url}/images/images/{name}")["Cache-Control"]
        before = kept()
        remove(tree, ["tiny:1:amd64:default"])
        upload()
        assert kept() == before, "clients may still download what the old catalog names"
        assert len(Client(folder / "second", certificates).add(Server(f"{url}/images")).list()) == 3
        prune(tree, grace=0)
        upload()
        assert len(kept()) == len(before) - 3


def headers(certificates: Path, url: str) -> Message:
    """Return the headers of a web server's answer to a request that accepts gzip."""
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    request = urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, context=context, timeout=30) as answer:
        return answer.headers


@pytest.mark.parametrize("variant", CONTAINERS)
def test_the_daemon_copies_and_starts_every_container_image(published, trusting_daemon, variant):
    tree, server = published
    name = f"s{server.url.rpartition(':')[2]}"
    if name not in trusting_daemon("remote", "list", "-f", "csv"):
        trusting_daemon("remote", "add", name, server.url, "--protocol", "simplestreams")
    (image,) = (each for each in list_stream(LocalStream(tree)) if each.variant == variant)
    trusting_daemon("image", "copy", f"{name}:tiny/1/{variant}", "local:", "--alias", variant)
    assert trusting_daemon.image(variant)["fingerprint"] == image.fingerprint
    trusting_daemon("launch", variant, f"c-{variant}", "-c", "security.privileged=true")
    try:
        assert trusting_daemon("exec", f"c-{variant}", "--", "cat", "/etc/hostname") == f"c-{variant}\n"
    finally:
        trusting_daemon("delete", "-f", f"c-{variant}")


def test_the_daemon_copies_the_virtual_machine_image(published, trusting_daemon):
    _, server = published
    name = f"s{server.url.rpartition(':')[2]}"
    if name not in trusting_daemon("remote", "list", "-f", "csv"):
        trusting_daemon("remote", "add", name, server.url, "--protocol", "simplestreams")
    trusting_daemon("image", "copy", f"{name}:tiny/1/vm", "local:", "--vm", "--alias", "vm")
    assert trusting_daemon.image("vm")["type"] == "virtual-machine"
