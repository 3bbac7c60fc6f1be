"""Trees that `templater streams` created or verified, in Debian's real clients over TLS on loopback."""

import contextlib
import json
import os
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
from pathlib import Path

import pytest

from templater.distribution.add_to_tree import add
from templater.distribution.https_client import UrlStream
from templater.distribution.list_stream import list_stream
from templater.distribution.local_stream import LocalStream
from templater.distribution.prune_tree import prune
from templater.distribution.remove_from_tree import remove
from templater.distribution.republish import republish
from templater.distribution.tree import Tree
from templater.distribution.verify import verify
from tests.streams.builders import CREATED, DAY, listed, split_image
from tests.streams.mutations import CASES
from tests.streams.server import Server, serving

from .harness import new_folder, run
from .images import CONTAINERS, Client, need_programs, same_as_list

pytestmark = pytest.mark.live

CLIENT = "incus-6.0"
STREAMS = Path(__file__).parents[1] / "streams"


def comparable(images: list[dict]) -> list[tuple]:
    """Return a client's list in a comparable form; clients do not guarantee the order of equal images."""
    return sorted(
        (
            image["fingerprint"],
            image["type"],
            image["architecture"],
            image["size"],
            image["properties"]["serial"],
        )
        for image in images
    )


def predicted(images) -> list[tuple]:
    return sorted(
        (image.fingerprint, image.type, image.architecture, image.size, image.version.name)
        for image in images
    )


#: problems that `image list` does not show, but a download does
FATAL = {"type", "index", "products", "short-fingerprint"}


@pytest.mark.parametrize(
    "case", [case for case in CASES if "size" not in case.title], ids=lambda case: case.title
)
def test_the_real_client_fails_exactly_where_the_verify_command_reports_an_error(
    case, certificates, tmp_path
):
    tree = case.build(tmp_path / "tree")
    report = verify(LocalStream(Tree(str(tree))))
    codes = {problem.code for problem in report.errors((CLIENT,))}
    with serving(tree, certificates) as server:
        client = Client(tmp_path / "home", certificates).add(server)
        answer = client("image", "list", "s:", "-f", "json")
        assert (answer.returncode != 0) == bool(codes & FATAL), answer.stderr
        if answer.returncode:
            return
        assert comparable(json.loads(answer.stdout)) == predicted(listed(Tree(str(tree)), CLIENT))
        for variant in ("default", "tarxz", "unified"):
            (tmp_path / variant).mkdir()
            product = f"tiny:1:amd64:{variant}"
            image = next(
                (each for each in listed(Tree(str(tree)), CLIENT) if each.product.name == product), None
            )
            if image is None or image.architecture != "x86_64":
                continue
            answer = client("image", "export", f"s:{image.fingerprint}", str(tmp_path / variant))
            broken = any(
                _is_about(problem.place, image) and "can't be downloaded" in problem.message
                for problem in report.errors((CLIENT,))
            )
            assert (answer.returncode != 0) == broken, answer.stderr


def _is_about(place: str, image) -> bool:
    """Return whether a problem at this place prevents downloading this image."""
    product, version = f"product '{image.product.name}'", f", version '{image.version.name}'"
    if place in {f"'{item.path.lstrip('/')}'" for item in image.files}:
        return True
    items = {"", *(f", item '{name}'" for name in (image.kind, image.metadata.ftype))}
    return place in {product + version + item for item in items}


@pytest.mark.parametrize(
    "case", [case for case in CASES if "size" in case.title], ids=lambda case: case.title
)
def test_the_real_client_rejects_a_size_of_the_wrong_type_but_accepts_a_wrong_number(
    case, certificates, tmp_path
):
    tree = case.build(tmp_path / "tree")
    fails = verify(LocalStream(Tree(str(tree)))).images[CLIENT] is None
    with serving(tree, certificates) as server:
        client = Client(tmp_path / "home", certificates).add(server)
        assert (client("image", "list", "s:").returncode != 0) == fails
        if not fails:
            assert client("image", "export", "s:tiny/1", str(tmp_path / "out")).returncode == 0


@pytest.fixture(scope="module")
def published(image_tree: Tree, certificates: Path) -> Iterator[tuple[Tree, Server]]:
    """Serve the tree with images of every kind."""
    with serving(Path(image_tree.path), certificates) as server:
        yield image_tree, server


@pytest.mark.parametrize("program", ["incus", "lxc"])
def test_a_client_lists_every_image_with_its_aliases_and_exports_every_image(
    published, certificates, tmp_path, program
):
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


def test_the_incus_and_lxd_clients_list_ten_thousand_images(certificates, tmp_path):
    from tests.bench.streams import make_tree

    need_programs("incus", "lxc")
    make_tree(tmp_path / "tree", 10_000)
    with serving(tmp_path / "tree", certificates) as server:
        for program in ("incus", "lxc"):
            client = Client(tmp_path / program, certificates, program).add(server)
            assert len(client.list()) == 10_000


def test_a_client_with_an_old_catalog_can_still_download_a_removed_image(certificates, tmp_path):
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
def test_a_client_reads_without_an_error_while_the_tree_changes(certificates, tmp_path):
    """Each round has a new client, which lists all images and then downloads them."""
    tree = Tree(str(tmp_path / "tree"))
    pairs = [
        split_image(tmp_path / str(number), created=CREATED + number * DAY, root=b"hsqs%0996d" % number)
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
        except BaseException as error:
            failures.append(error)

    writer = threading.Thread(target=write)
    exported = 0
    with serving(Path(tree.path), certificates) as server:
        writer.start()
        try:
            rounds = 0
            while (len(changes) <= 100 or exported <= 20) and not failures:
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
    assert not verify(LocalStream(tree)).errors()


NGINX = """\
daemon off; pid {folder}/pid; error_log stderr; events {{}}
http {{ access_log off; server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {certificates}/server.pem; ssl_certificate_key {certificates}/server.key;
    root {tree};
    include {rules};
}} }}
"""
CADDY = """\
{{
    admin off
    auto_https off
}}
https://127.0.0.1:{port} {{
    tls {certificates}/server.pem {certificates}/server.key
    import {rules}
    root * {tree}
    file_server
}}
"""
SERVERS = {
    "nginx": (NGINX, ".nginx.conf", ("nginx", "-c")),
    "caddy": (CADDY, ".caddy", ("caddy", "run", "--adapter", "caddyfile", "--config")),
}


@contextmanager
def running(kind: str, folder: Path, certificates: Path, tree: Tree, rules: Path) -> Iterator[Server]:
    """Run Debian's nginx or Caddy for a tree, with the rules that `reindex` wrote."""
    text, ending, words = SERVERS[kind]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (file,) = rules.glob(f"*{ending}")
    config = folder / f"{kind}.conf"
    config.write_text(
        text.format(folder=folder, port=port, certificates=certificates, tree=tree.path, rules=file)
    )
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
    """Yield a folder that a web server's own user can read."""
    for folder in new_folder():
        folder.chmod(0o755)
        yield folder


@pytest.mark.parametrize("kind", SERVERS)
def test_incus_downloads_a_stream_like_the_ubuntu_stream_through_redirects(
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
    """Run SeaweedFS's S3 server over TLS on loopback and yield its port."""
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
    page = (Path(__file__).parents[2] / "docs/publishing.md").read_text()
    return page.partition("```sh\n")[2].partition("```")[0]


def test_the_upload_script_of_the_docs_serves_a_tree_from_an_object_store(certificates, folder, monkeypatch):
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
        assert headers(certificates, f"{url}/images/streams/v1/index.json") == "public, max-age=60"
        assert all("immutable" in headers(certificates, f"{url}/images/images/{name}") for name in kept())
        before = kept()
        remove(tree, ["tiny:1:amd64:default"])
        upload()
        assert kept() == before, "clients may still download what the old catalog names"
        assert len(Client(folder / "second", certificates).add(Server(f"{url}/images")).list()) == 3
        prune(tree, grace=0)
        upload()
        assert len(kept()) == len(before) - 3


def headers(certificates: Path, url: str) -> str:
    """Return the Cache-Control header that the store sends."""
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    with urllib.request.urlopen(url, context=context, timeout=30) as answer:
        return answer.headers["Cache-Control"]


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
