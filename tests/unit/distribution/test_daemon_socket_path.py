"""The socket that the client of Incus or LXD would use."""

import os

import pytest

from templater.distribution import daemon_socket_path
from templater.distribution.daemon_socket_path import Socket, find_socket

VARIABLES = {"incus": ("INCUS_SOCKET", "INCUS_DIR"), "lxd": ("LXD_SOCKET", "LXD_DIR")}


@pytest.fixture(params=["incus", "lxd"])
def family(request, tmp_path, monkeypatch):
    for names in VARIABLES.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)
    places = (f"{tmp_path}/first", f"{tmp_path}/last")
    for name in ("first", "last", "own", "user"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(daemon_socket_path, "_PLACES", {request.param: (*VARIABLES[request.param], places)})
    monkeypatch.setattr(
        daemon_socket_path, "_USER_SOCKETS", {request.param: (f"{tmp_path}/user/unix.socket",)}
    )
    return request.param


@pytest.mark.parametrize(
    ("directory", "writable", "others", "found", "is_user"),
    [
        ("", "first last", "", "first/unix.socket", False),
        ("", "last", "", "last/unix.socket", False),
        ("", "last", "first", "last/unix.socket", False),
        ("", "", "", "last/unix.socket", False),
        ("", "", "first last", "first/unix.socket", False),
        ("", "user", "", "user/unix.socket", True),
        ("", "user", "first", "user/unix.socket", True),
        ("", "first user", "", "first/unix.socket", False),
        ("", "first.user user", "first", "first/unix.socket.user", True),
        ("", "first.user", "", "last/unix.socket", False),
        ("own", "own first", "", "own/unix.socket", False),
        ("own", "first", "", "own/unix.socket", False),
        ("own", "own.user first user", "own", "own/unix.socket", False),
    ],
)
def test_the_first_writable_socket_is_used(
    directory, writable, others, found, is_user, family, tmp_path, monkeypatch
):
    allowed = set()
    for name in (*writable.split(), *others.split()):
        folder, _, ending = name.partition(".")
        path = tmp_path / folder / ("unix.socket.user" if ending else "unix.socket")
        path.touch()
        if name in writable.split():
            allowed.add(str(path))
    monkeypatch.setattr("os.access", lambda path, mode: mode == os.W_OK and path in allowed)
    if directory:
        monkeypatch.setenv(VARIABLES[family][1], str(tmp_path / directory))
    assert find_socket(family) == Socket(f"{tmp_path}/{found}", VARIABLES[family][0], is_user=is_user)


def test_a_given_socket_is_used_even_if_it_does_not_exist(family, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLES[family][1], str(tmp_path / "own"))
    monkeypatch.setenv(VARIABLES[family][0], "/nowhere/socket")
    assert find_socket(family) == Socket("/nowhere/socket", VARIABLES[family][0])


@pytest.mark.parametrize(
    ("error", "exists"), [(PermissionError, True), (FileNotFoundError, False), (NotADirectoryError, False)]
)
def test_sockets_in_unsearchable_directories_are_assumed_to_exist(
    error, exists, family, tmp_path, monkeypatch
):
    def failing(path):
        raise error

    monkeypatch.setattr("os.stat", failing)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    place = "first" if exists else "last"
    assert find_socket(family).path == f"{tmp_path}/{place}/unix.socket"
