"""Named image servers: the configuration of the clients, and templater's own file of remotes."""

import os

import pytest
import yaml

from templater.distribution import remotes
from templater.distribution.remotes import (
    Remote,
    add_remote,
    client_remote,
    client_remotes,
    client_trust,
    is_remote,
    own_file,
    read_remotes,
    read_yaml,
    remove_remote,
)
from templater.model.errors import InputError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "INCUS_CONF", "LXD_CONF"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def write(path, **remotes):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"remotes": remotes}))
    return str(path)


@pytest.mark.parametrize(
    ("family", "variables", "folders"),
    [
        ("incus", {}, ["~/.config/incus", "/etc/incus"]),
        ("incus", {"INCUS_CONF": "/i", "LXD_CONF": "/l"}, ["/i", "/etc/incus"]),
        ("lxd", {}, ["~/snap/lxd/common/config", "~/.config/lxc", "/etc/lxc"]),
        ("lxd", {"INCUS_CONF": "/i", "LXD_CONF": "/l"}, ["/l", "~/.config/lxc", "/etc/lxc"]),
        ("", {}, ["~/.config/incus", "/etc/incus", "~/snap/lxd/common/config", "~/.config/lxc", "/etc/lxc"]),
    ],
)
def test_the_configuration_folders_are_read_in_the_order_of_each_client(
    family, variables, folders, home, monkeypatch
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    asked = []
    monkeypatch.setattr(remotes, "read_yaml", lambda path: asked.append(path) or {})
    assert list(client_remotes(family)) == []
    assert asked == [f"{folder.replace('~', str(home))}/config.yml" for folder in folders]


def test_the_first_configuration_with_a_valid_remote_is_used(home):
    first = write(home / ".config/incus/config.yml", a={"addr": "x"}, b="text")
    second = write(home / ".config/lxc/config.yml", a={"addr": "y"}, b={"addr": "z"})
    write(home / "snap/lxd/common/config/config.yml")
    (home / "snap/lxd/common/config/config.yml").write_text("remotes: []\n")
    assert client_remote("", "a") == ({"addr": "x"}, first)
    assert client_remote("", "b") == ({"addr": "z"}, second)
    assert client_remote("incus", "b") == client_remote("lxd", "c") == ({}, "")
    assert client_remote("lxd", "a") == ({"addr": "y"}, second)


@pytest.mark.parametrize(
    ("value", "files", "server", "client"),
    [
        ({}, ("client.crt", "client.key", "servercerts/a.crt"), True, True),
        ({"protocol": "incus"}, ("client.crt", "client.key"), False, True),
        ({"public": True}, ("client.crt", "client.key", "servercerts/a.crt"), True, False),
        ({"protocol": "simplestreams"}, ("client.crt", "client.key", "servercerts/a.crt"), True, False),
        ({}, ("client.crt", "servercerts/b.crt"), False, False),
        ({}, ("client.key",), False, False),
    ],
)
def test_only_a_private_server_gets_the_certificate_of_the_client(value, files, server, client, home):
    (home / "servercerts").mkdir()
    for name in files:
        (home / name).touch()
    found = client_trust(f"{home}/config.yml", "a", value)
    assert found.server == (f"{home}/servercerts/a.crt" if server else "")
    assert found.client == ((f"{home}/client.crt", f"{home}/client.key") if client else None)


def test_an_unreadable_or_invalid_configuration_is_an_error(home):
    assert read_yaml(f"{home}/none") == {}
    for text, value in (("", {}), ("a: 1\n", {"a": 1})):
        (home / "c").write_text(text)
        assert read_yaml(f"{home}/c") == value
    (home / "c").write_text("[a]\n")
    with pytest.raises(InputError) as caught:
        read_yaml(f"{home}/c")
    assert caught.value.message == f"'{home}/c' has no mapping at the top level"
    with pytest.raises(InputError) as caught:
        read_yaml(str(home))
    assert caught.value.message == f"can't read '{home}': is a directory"


@pytest.mark.parametrize(
    "text",
    ["x: 2024-99-99", "x: !!int false", "x: !!float y", "x: !!bool maybe", "x: !!timestamp soon", "x: {[a]: b}",
     "x: 2024-01-01T00:00:00+99:99", "x: !!python/name:os.system", pytest.param("[" * 5000, marks=pytest.mark.slow), "x: *a", "x: \x01", "x: !!int ''"],
)  # fmt: skip
def test_an_invalid_yaml_value_in_a_client_configuration_is_an_error(text, home):
    (home / "c").write_text(text)
    with pytest.raises(InputError) as caught:
        read_yaml(f"{home}/c")
    assert caught.value.message.startswith(f"'{home}/c' is not valid YAML: ")


def test_only_the_beginning_of_a_large_configuration_is_read(home, monkeypatch):
    monkeypatch.setattr(remotes, "_MOST_BYTES", 9)
    (home / "c").write_text("a: 1\n#89\nb: [")
    assert read_yaml(f"{home}/c") == {"a": 1}


def test_unusable_remotes_in_the_configuration_of_a_client_are_skipped(home):
    path = write(
        home / ".config/incus/config.yml",
        good={"addr": "https://a"}, old={"addr": "https://b", "protocol": "lxd"},
        stream={"addr": "https://c", "protocol": "simplestreams"}, oci={"addr": "https://d", "protocol": "oci"},
        plain={"addr": "http://e"}, store={"addr": "https://f"}, text="https://g", none={"addr": 5},
        images={"addr": "https://h", "protocol": "simplestreams"},
    )  # fmt: skip
    found = {remote.name: (remote.url, remote.protocol, remote.source) for remote in read_remotes().values()}
    built_in = {"ubuntu", "ubuntu-daily", "ubuntu-minimal", "ubuntu-minimal-daily"}
    assert found.keys() == built_in | {"good", "old", "stream", "oci", "images"}
    assert found["ubuntu"] == ("https://cloud-images.ubuntu.com/releases", "simplestreams", "built in")
    assert found["good"] == ("https://a", "incus", path)
    assert found["old"] == ("https://b", "incus", path)
    assert found["stream"] == ("https://c", "simplestreams", path)
    assert found["oci"] == ("https://d", "oci", path)
    assert found["images"] == ("https://h", "simplestreams", path)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example/b", "https://a.example/b"),
        ("https://u@a.example/b", "https://u@a.example/b"),
        ("https://u:p@a.example:8443/b", "https://u:***@a.example:8443/b"),
        ("https://u:p@x@a.example/b", "https://u:***@a.example/b"),
        ("https://a.example:x/b", "invalid URL"),
        ("https://u:1/p@a.example/b", "invalid URL"),
    ],
)
def test_the_url_of_a_remote_is_shown_without_its_password(url, shown):
    assert Remote("a", url, "incus", "here").shown_url == shown
    assert "p@" not in repr(Remote("a", url, "incus", "here"))


def test_adding_a_remote_saves_url_and_certificate_path(home, certificates, monkeypatch):
    monkeypatch.chdir(certificates)
    name = next(name for name in sorted(os.listdir(certificates)) if name.endswith((".crt", ".pem")))
    with pytest.raises(InputError):
        add_remote("ours", "https://a.example", "incus", "missing.crt")
    assert not os.path.exists(own_file())
    remote = add_remote("ours", "https://a.example", "incus", name)
    assert (remote.url, remote.protocol, remote.source) == ("https://a.example", "incus", own_file())
    assert remote.trust.server == str(certificates / name)
    add_remote("list", "https://b.example")
    with open(own_file()) as file:
        assert yaml.safe_load(file) == {
            "list": {"protocol": "simplestreams", "url": "https://b.example"},
            "ours": {
                "certificate": str(certificates / name),
                "protocol": "incus",
                "url": "https://a.example",
            },
        }
    assert os.stat(own_file()).st_mode & 0o777 == 0o600
    remove_remote("ours")
    assert "ours" not in read_remotes() and "list" in read_remotes()


@pytest.mark.parametrize(
    ("src", "found"),
    [
        ("images:a", True), ("https://a/b", True), ("http://a/b", True), ("a:b", False), ("ab:", True), ("a.b-c_d:x", True),
        ("-ab:x", False), ("ab", False), ("ab/c:d", False), ("ftp:x", True), ("", False), ("ab\n:x", False),
    ],
)  # fmt: skip
def test_a_url_or_remote_prefix_makes_a_source_remote(src, found, home, monkeypatch):
    monkeypatch.chdir(home)
    assert is_remote(src) is found
    if src and "/" not in src:
        os.symlink("nowhere", src)
        assert is_remote(src) is False
