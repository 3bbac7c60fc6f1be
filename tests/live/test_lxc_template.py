"""`lxc-create -t templater`: from an image to a running container, as root and with mapped ids."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import need, run
from .images import make_directory, templater
from .test_lxc import BASE, Lxc
from .test_serve import templater_serve, tls

pytestmark = pytest.mark.live


@pytest.fixture
def lxc(folder: Path) -> Iterator[Lxc]:
    need("lxc-create", "lxc-start", "lxc-attach")
    lxc = Lxc(folder)
    templater("hook", "install", "lxc-template", "-P", str(folder), "--write")
    try:
        yield lxc
    finally:
        lxc.close()


MAP = f"lxc.idmap = u 0 {BASE} 65536\nlxc.idmap = g 0 {BASE} 65536\n"


def create(lxc: Lxc, settings: str, *words: str, code: int | None = 0):
    config = lxc.path / "default.conf"
    config.write_text(f"lxc.net.0.type = empty\n{settings}")
    return run(
        "lxc-create", "-P", str(lxc.path), "-f", str(config), "-n", "web1", "-t", str(lxc.path / "lxc-templater"),
        "--", *words, code=code,
    )  # fmt: skip


@pytest.mark.parametrize("settings", ["", MAP], ids=["root", "mapped"])
def test_a_container_is_created_from_an_image_and_started(lxc: Lxc, settings: str):
    image = make_directory(lxc.path / "image", "default")
    (image / "templates/hostname.tpl").write_text("{{ instance.name }} {{ config_get('user.role', '') }}\n")
    templater("image", "build", str(image), "-o", str(lxc.path / "image.tar.gz"))
    (lxc.path / "image.tar.gz").chmod(0o644)
    create(lxc, settings, str(lxc.path / "image.tar.gz"), "-o", 'user.role=it\'s "$HOME"')
    lxc.start("web1")
    assert lxc.cat("web1", "/etc/hostname") == 'web1 it\'s "$HOME"\n'
    owner = os.stat(lxc.path / "web1/rootfs/etc/hostname").st_uid
    assert owner == (BASE if settings else 0)
    assert not {".new", ".fetched"} & set(os.listdir(lxc.path / "web1"))


@pytest.mark.parametrize("words", [(), ("--unknown",), ("/absent.tar",)])
def test_a_failed_creation_leaves_no_container(lxc: Lxc, words):
    assert create(lxc, "", *words, code=None).returncode != 0
    assert not (lxc.path / "web1").exists()


@pytest.mark.parametrize("settings", ["", MAP], ids=["root", "mapped"])
@pytest.mark.parametrize("source", ["URL/tiny/1/unified", "ours:tiny/1", "ours:tiny/1/tarxz"])
def test_a_container_is_created_from_a_server(
    lxc: Lxc, image_tree, certificates, tmp_path, monkeypatch, settings, source
):
    shutil.copy(certificates / "ca.pem", lxc.path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(lxc.path / "ca.pem"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(lxc.path / "remotes"))
    with templater_serve(image_tree.path, *tls(certificates)) as server:
        templater("remote", "add", "ours", server.url)
        for path in (lxc.path / "remotes", *(lxc.path / "remotes").rglob("*")):
            path.chmod(0o755)  # the mapped root must be able to read the list of remotes
        create(lxc, settings, source.replace("URL", server.url))
    lxc.start("web1")
    assert lxc.cat("web1", "/etc/hostname") == "web1\n"
