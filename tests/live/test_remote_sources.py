"""Tests that templater reads images of a real Incus and a real LXD, over their sockets and over https."""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .daemon import Daemon
from .harness import new_folder, run
from .images import make_directory, templater
from .incus import an_incus
from .lxd import an_lxd

pytestmark = pytest.mark.live


@pytest.fixture(scope="module", params=[an_incus, an_lxd], ids=["incus", "lxd"])
def daemon(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    yield from request.param()


@pytest.fixture(scope="module")
def images(daemon: Daemon) -> Iterator[dict[str, Path]]:
    """Import a unified image and a split image into the daemon.

    Yield a dict from each alias to the directory from which the image was built.
    """
    for folder in new_folder():
        made = {}
        for alias, words in (("one", ()), ("two", ("--format", "split", "--rootfs", "squashfs"))):
            made[alias] = make_directory(folder / alias, alias)
            target = folder / f"{alias}.built"
            templater("image", "build", str(made[alias]), "-o", str(target), *words)
            files = [str(path) for path in (target, folder / f"{alias}.built.root") if path.exists()]
            public = ("--public",) if alias == "two" else ()
            daemon("image", "import", *files, "--alias", f"tiny/{alias}", *public)
        yield made


@pytest.fixture
def environment(daemon: Daemon, tmp_path: Path) -> dict[str, str]:
    prefix = daemon.name.upper()
    return {
        **os.environ, f"{prefix}_DIR": str(daemon.folder), f"{prefix}_CONF": str(tmp_path / "client"),
        "HOME": str(tmp_path), "XDG_DATA_HOME": "",
    }  # fmt: skip


def preview(src: str, environment: dict[str, str], code: int | None = 0) -> str:
    """Preview an image, and return the output.

    If ``code`` is not 0, check that `preview` fails with this exit code, and return its messages.
    """
    words = ("-m", "templater", "preview", src, "--name", "web1", "-t", "create")
    answer = run(sys.executable, *words, env=environment, code=code)
    return answer.stderr if code else answer.stdout


@pytest.mark.parametrize("alias", ["one", "two"])
def test_an_image_has_the_same_preview_as_its_directory(daemon, images, environment, alias):
    there = preview(f"{daemon.name}:image/tiny/{alias}", environment)
    assert "web1" in there
    here = preview(str(images[alias]), environment).replace("overwrite", "write")
    assert (
        there.splitlines()[1:] == here.splitlines()[1:]
    )  # the directory has a root filesystem to compare with


def test_a_preview_of_a_daemons_image_reads_only_metadata(daemon, images, environment, tmp_path):
    preview(f"{daemon.name}:image/tiny/two", environment)
    (file,) = (tmp_path / ".local/share/templater/store/files").iterdir()
    assert file.stat().st_size < 100_000


def test_unpack_fetches_the_complete_image_from_the_daemon(daemon, images, environment, tmp_path):
    target = str(tmp_path / "web1")
    run(sys.executable, "-m", "templater", "unpack", f"{daemon.name}:image/tiny/two", target, env=environment)
    assert (tmp_path / "web1/rootfs/etc").is_dir()


@pytest.fixture(scope="module")
def address(daemon: Daemon) -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    daemon("config", "set", "core.https_address", address)
    return address


def add_remote(address: str, environment: dict[str, str], *words: str) -> None:
    run(
        sys.executable, "-m", "templater", "remote", "add", "host", f"https://{address}", "--protocol", "incus",
        *words, env=environment,
    )  # fmt: skip


def add_to_client(daemon: Daemon, address: str, environment: dict[str, str], *words: str) -> None:
    """Add the daemon as the remote `there` to the configuration of the client `incus` or `lxc`."""
    url = f"https://{address}"
    run(daemon.client, "remote", "add", "there", url, "--accept-certificate", *words, env=environment)


def test_anonymous_clients_can_read_only_public_images(daemon, images, address, environment):
    add_remote(address, environment, "--certificate", str(daemon.folder / "server.crt"))
    assert preview("host:tiny/two", environment) == preview(f"{daemon.name}:image/tiny/two", environment)
    assert "has no image 'tiny/one' that this user may see" in preview("host:tiny/one", environment, code=2)


def test_an_untrusted_certificate_gives_one_clear_error(images, address, environment):
    add_remote(address, environment)
    assert "certificate is not trusted" in preview("host:tiny/two", environment, code=2)


def test_templater_reads_the_saved_remotes_of_the_real_client(daemon, images, address, environment):
    """`incus remote add` saves the address and the certificate of the remote. templater reads both."""
    add_to_client(daemon, address, environment, "--public")
    assert preview("there:tiny/two", environment) == preview(f"{daemon.name}:image/tiny/two", environment)


def test_a_client_certificate_gives_access_to_private_images(daemon, images, address, environment):
    if daemon.name == "incus":
        token = daemon("config", "trust", "add", "tester").splitlines()[-1]
        add_to_client(daemon, address, environment, "--token", token)
    else:
        token = daemon("config", "trust", "add", "--name", "tester").splitlines()[-1]
        run(daemon.client, "remote", "add", "there", token, env=environment)
    assert preview("there:tiny/one", environment) == preview(f"{daemon.name}:image/tiny/one", environment)
