"""Images of a real Incus as SRC: over its socket, and over https as a public server."""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import new_folder, run
from .images import make_directory, templater
from .incus import Incus, an_incus

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def incus() -> Iterator[Incus]:
    yield from an_incus()


@pytest.fixture(scope="module")
def images(incus: Incus) -> Iterator[dict[str, Path]]:
    """Import a unified and a split image. The value of each alias is its directory on disk."""
    for folder in new_folder():
        made = {}
        for alias, words in (("one", ()), ("two", ("--format", "split", "--rootfs", "squashfs"))):
            made[alias] = make_directory(folder / alias, alias)
            target = folder / f"{alias}.built"
            templater("image", "build", str(made[alias]), "-o", str(target), *words)
            files = [str(path) for path in (target, folder / f"{alias}.built.root") if path.exists()]
            incus(
                "image",
                "import",
                *files,
                "--alias",
                f"tiny/{alias}",
                *(("--public",) if alias == "two" else ()),
            )
        yield made


@pytest.fixture
def environment(incus: Incus, tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "INCUS_DIR": str(incus.folder), "HOME": str(tmp_path), "XDG_DATA_HOME": ""}


def preview(src: str, environment: dict[str, str], code: int | None = 0) -> str:
    """Return a preview's files, or its messages if it must fail with this code."""
    words = ("-m", "templater", "preview", src, "--name", "web1", "-t", "create")
    answer = run(sys.executable, *words, env=environment, code=code)
    return answer.stderr if code else answer.stdout


@pytest.mark.parametrize("alias", ["one", "two"])
def test_an_image_in_the_local_daemon_has_the_same_preview_as_its_directory(images, environment, alias):
    there = preview(f"incus:image/tiny/{alias}", environment)
    assert "web1" in there
    here = preview(str(images[alias]), environment).replace("overwrite", "write")
    assert (
        there.splitlines()[1:] == here.splitlines()[1:]
    )  # the directory has a root filesystem to compare with


def test_preview_of_an_image_in_the_incus_daemon_reads_only_its_metadata(images, environment, tmp_path):
    preview("incus:image/tiny/two", environment)
    (file,) = (tmp_path / ".local/share/templater/store/files").iterdir()
    assert file.stat().st_size < 100_000


def test_unpack_fetches_the_complete_image_from_the_daemon(images, environment, tmp_path):
    run(
        sys.executable,
        "-m",
        "templater",
        "unpack",
        "incus:image/tiny/two",
        str(tmp_path / "web1"),
        env=environment,
    )
    assert (tmp_path / "web1/rootfs/etc").is_dir()


@pytest.fixture(scope="module")
def address(incus: Incus) -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    incus("config", "set", "core.https_address", address)
    return address


def add_remote(incus: Incus, address: str, environment: dict[str, str], *words: str) -> None:
    run(
        sys.executable, "-m", "templater", "remote", "add", "host", f"https://{address}", "--protocol", "incus",
        *words, env=environment,
    )  # fmt: skip


def test_a_public_image_can_be_read_over_https_but_a_private_image_cannot(
    incus, images, address, environment
):
    add_remote(incus, address, environment, "--certificate", str(incus.folder / "server.crt"))
    assert preview("host:tiny/two", environment) == preview("incus:image/tiny/two", environment)
    assert "has no image 'tiny/one' that this user may see" in preview("host:tiny/one", environment, code=2)


def test_a_certificate_that_is_not_trusted_gives_one_clear_error(incus, images, address, environment):
    add_remote(incus, address, environment)
    assert "certificate is not trusted" in preview("host:tiny/two", environment, code=2)


def test_templater_reads_the_remotes_that_the_real_client_saved(
    incus, images, address, environment, tmp_path
):
    """`incus remote add` writes the address and the certificate; templater reads both."""
    environment = {**environment, "INCUS_CONF": str(tmp_path / "client")}
    run(
        "incus",
        "remote",
        "add",
        "there",
        f"https://{address}",
        "--public",
        "--accept-certificate",
        env=environment,
    )
    assert preview("there:tiny/two", environment) == preview("incus:image/tiny/two", environment)


def test_a_private_image_can_be_read_with_the_certificate_of_the_client(
    incus, images, address, environment, tmp_path
):
    environment = {**environment, "INCUS_CONF": str(tmp_path / "client")}
    token = incus("config", "trust", "add", "tester").splitlines()[-1]
    run(
        "incus",
        "remote",
        "add",
        "there",
        f"https://{address}",
        "--token",
        token,
        "--accept-certificate",
        env=environment,
    )
    assert preview("there:tiny/one", environment) == preview("incus:image/tiny/one", environment)
