"""Tests of `templater serve` with the real clients and daemons of Debian.

The clients and daemons use the server as a simplestreams remote or as a public image server, or import an
image by its URL.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from templater.distribution.https_client import UrlStream
from templater.distribution.list_stream import list_stream
from templater.distribution.republish import republish
from templater.distribution.stream_interface import LocalStream
from templater.distribution.tree import Tree
from templater.distribution.verify import verify
from tests.streams.builders import listed
from tests.streams.server import Server, serving

from .daemon import Daemon
from .harness import new_folder, run
from .images import CONTAINERS, WRITTEN, Client, need_programs, templater

pytestmark = pytest.mark.live


@contextmanager
def templater_serve(*words: str, **environment: str) -> Iterator[Server]:
    process = subprocess.Popen(
        [sys.executable, "-m", "templater", "serve", *words, "--listen", "127.0.0.1:0"],
        env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield Server(process.stdout.readline().split()[-1])
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def tls(certificates: Path) -> tuple[str, ...]:
    return "--certificate", str(certificates / "server.pem"), "--key", str(certificates / "server.key")


@pytest.fixture(scope="module")
def served(image_tree: Tree, certificates: Path) -> Iterator[Server]:
    with templater_serve(image_tree.path, *tls(certificates)) as server:
        yield server


@pytest.fixture(scope="module")
def stored(image_tree: Tree, certificates: Path) -> Iterator[Server]:
    """Import the tree's images into a store with `templater store import`, and serve this store."""
    for folder in new_folder():
        environment = {"XDG_DATA_HOME": str(folder)}
        for image in list_stream(LocalStream(image_tree)):
            parts = [str(folder / image.fingerprint), str(folder / f"{image.fingerprint}.root")]
            files = served_files(image_tree, image.fingerprint)
            for part, item in zip(parts, files, strict=False):
                Path(part).write_bytes((Path(image_tree.path) / item.path).read_bytes())
            words = [word for alias in image.aliases for word in ("--alias", alias)]
            run(sys.executable, "-m", "templater", "store", "import", *parts[: len(files)], "--public", *words,
                env={**os.environ, **environment})  # fmt: skip
        with templater_serve("store:", *tls(certificates), **environment) as server:
            yield server


def served_files(tree: Tree, fingerprint: str) -> list:
    (image,) = (each for each in listed(tree, "incus-6.0") if each.fingerprint == fingerprint)
    return list(image.files)


@pytest.fixture(params=["served", "stored"])
def server(request: pytest.FixtureRequest) -> Server:
    return request.getfixturevalue(request.param)


def public(client: Client, server: Server) -> Client:
    answer = client("remote", "add", "s", server.url, "--public", "--accept-certificate")
    assert answer.returncode == 0, answer.stderr
    return client


@pytest.mark.parametrize("program", ["incus", "lxc"])
@pytest.mark.parametrize("protocol", ["simplestreams", "public"])
def test_a_client_can_list_and_export_every_image(
    server, image_tree, certificates, tmp_path, program, protocol
):
    need_programs(program)
    client = Client(tmp_path / "home", certificates, program)
    client = client.add(server) if protocol == "simplestreams" else public(client, server)
    images = client.list()
    ours = {image.fingerprint: image for image in list_stream(LocalStream(image_tree))}
    assert {image["fingerprint"] for image in images} == set(ours)
    for image in images:
        mine = ours[image["fingerprint"]]
        names = {alias["name"].removesuffix("/amd64") for alias in image["aliases"]}
        assert names == set(mine.aliases)
        assert (image["size"], image["type"], image["architecture"]) == (
            mine.size,
            mine.type,
            mine.architecture,
        )
        folder = tmp_path / image["fingerprint"]
        folder.mkdir()
        words = ("--vm",) if image["type"] == "virtual-machine" else ()
        answer = client("image", "export", f"s:{mine.aliases[0]}", str(folder), *words)
        assert answer.returncode == 0, answer.stderr
        assert sum(path.stat().st_size for path in folder.iterdir()) == image["size"]
        assert client("image", "info", f"s:{image['fingerprint'][:12]}").returncode == 0


def remote(daemon: Daemon, server: Server, protocol: str) -> str:
    """Add the server as a remote of the daemon's client, and return the remote's name."""
    name = f"{protocol[0]}{server.url.rpartition(':')[2]}"
    if name not in daemon("remote", "list", "-f", "csv"):
        words = ("--public", "--accept-certificate") if protocol == "public" else ("--protocol", protocol)
        daemon("remote", "add", name, server.url, *words)
    return name


def preview(tree: Tree, variant: str, name: str) -> dict[str, str]:
    """Return the contents of the files that `templater preview` shows for an image of the tree."""
    (image,) = (each for each in list_stream(LocalStream(tree)) if each.variant == variant)
    source = Path(tree.path) / served_files(tree, image.fingerprint)[0].path
    for folder in new_folder():
        templater("preview", str(source), "--name", name, "-c", "user.foo=bar", "-o", str(folder / "files"))
        files = [path for path in (folder / "files").rglob("*") if path.is_file()]
        return {f"/{path.relative_to(folder / 'files')}": path.read_text() for path in files}
    raise AssertionError


def started(daemon: Daemon, image: str, name: str) -> dict[str, str]:
    """Launch a container.

    Return the contents of the files that the image's templates write in the container.
    """
    daemon("launch", image, name, "-c", "security.privileged=true", "-c", "user.foo=bar")
    try:
        return {path: daemon("exec", name, "--", "cat", path) for path in WRITTEN}
    finally:
        daemon("delete", "-f", name)


@pytest.mark.parametrize("variant", CONTAINERS)
@pytest.mark.parametrize("protocol", ["simplestreams", "public"])
def test_the_daemon_copies_and_starts_every_container_image(
    image_tree, served, trusting_daemon, protocol, variant
):
    daemon, name = trusting_daemon, f"{protocol}-{variant}"
    (image,) = (each for each in list_stream(LocalStream(image_tree)) if each.variant == variant)
    daemon("image", "copy", f"{remote(daemon, served, protocol)}:tiny/1/{variant}", "local:", "--alias", name)
    assert daemon.image(name)["fingerprint"] == image.fingerprint
    assert started(daemon, name, name) == preview(image_tree, variant, name)
    daemon("image", "delete", name)


@pytest.mark.parametrize("protocol", ["simplestreams", "public"])
def test_the_daemon_launches_a_container_directly_from_a_remote_image(
    image_tree, served, trusting_daemon, protocol
):
    daemon, name = trusting_daemon, f"direct-{protocol}"
    image = f"{remote(daemon, served, protocol)}:tiny/1"
    assert started(daemon, image, name) == preview(image_tree, "default", name)


@pytest.mark.parametrize("protocol", ["simplestreams", "public"])
def test_the_daemon_copies_the_virtual_machine_image(served, trusting_daemon, protocol):
    daemon, alias = trusting_daemon, f"vm-{protocol}"
    daemon(
        "image", "copy", f"{remote(daemon, served, protocol)}:tiny/1/vm", "local:", "--vm", "--alias", alias
    )
    image = daemon.image(alias)
    assert image["type"] == "virtual-machine"
    assert image["properties"]["requirements.secureboot"] == "false"
    daemon("image", "delete", alias)


def test_the_daemon_imports_images_from_urls_in_response_headers(image_tree, server, trusting_daemon):
    daemon = trusting_daemon
    daemon("image", "import", f"{server.url}/tiny/1/unified", "--alias", "imported")
    (image,) = (each for each in list_stream(LocalStream(image_tree)) if each.variant == "unified")
    assert daemon.image("imported")["fingerprint"] == image.fingerprint
    assert started(daemon, "imported", "imported") == preview(image_tree, "unified", "imported")
    daemon("image", "delete", "imported")


def test_a_client_needs_only_the_generated_certificate_for_a_public_remote(
    image_tree, trusting_daemon, tmp_path
):
    daemon = trusting_daemon
    with templater_serve(image_tree.path, XDG_CONFIG_HOME=str(tmp_path)) as server:
        name = remote(daemon, server, "public")
        daemon("image", "copy", f"{name}:tiny/1", "local:", "--alias", "pinned")
        daemon("image", "delete", "pinned")
        key = tmp_path / "templater/serve/127.0.0.1.pem"
        assert key.stat().st_mode & 0o777 == 0o600
    trusted = {**os.environ, "SSL_CERT_FILE": str(key.with_suffix(".crt"))}
    assert (
        run("openssl", "x509", "-in", trusted["SSL_CERT_FILE"], "-noout", "-text").stdout.count("ecdsa") >= 1
    )


def test_a_client_trusts_the_server_through_ssl_cert_file(image_tree, certificates, tmp_path):
    with templater_serve(image_tree.path, XDG_CONFIG_HOME=str(tmp_path)) as server:
        client = Client(tmp_path / "home", certificates)
        client.environment["SSL_CERT_FILE"] = str(tmp_path / "templater/serve/127.0.0.1.crt")
        assert len(client.add(server).list()) == 5


@pytest.mark.parametrize("words", [("os=Tiny",), ("type=virtual-machine",), ("os=Other",), ("tiny/1/vm",)])
def test_a_client_filter_selects_the_same_images_with_both_protocols(served, certificates, tmp_path, words):
    both = []
    for protocol in ("simplestreams", "public"):
        client = Client(tmp_path / protocol, certificates)
        client = client.add(served) if protocol == "simplestreams" else public(client, served)
        answer = client("image", "list", "s:", *words, "-f", "csv", "-c", "F")
        assert answer.returncode == 0, answer.stderr
        both.append(sorted(answer.stdout.split()))
    assert both[0] == both[1]


def test_incus_downloads_images_through_redirects_if_the_origin_has_the_form_of_the_ubuntu_stream(
    certificates, tmp_path, monkeypatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    tree, rules = Tree(str(tmp_path / "tree")), str(tmp_path / "rules")
    with serving(Path(__file__).parents[1] / "streams/ubuntu-shape/origin", certificates) as origin:
        republish(UrlStream(origin.url), tree, redirects=rules)
        origin.requests.clear()
        with templater_serve(tree.path, "--redirect", rules, *tls(certificates)) as server:
            client = Client(tmp_path / "home", certificates).add(server)
            images = client.list()
            assert len(images) == 4
            for image in images:
                folder = tmp_path / image["fingerprint"]
                folder.mkdir()
                answer = client("image", "export", f"s:{image['fingerprint']}", str(folder))
                assert answer.returncode == 0, answer.stderr
            assert not verify(UrlStream(server.url)).errors()
        assert any(path.startswith("/server/releases") for path in origin.paths)
