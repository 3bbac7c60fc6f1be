"""Recorded daemons for the tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.recorded_daemon import RecordedDaemon, recorded_daemon


@pytest.fixture
def incus(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Iterator[RecordedDaemon]:
    """Return a daemon that gives recorded answers of Incus, and make it the daemon of this machine."""
    yield from serving("incus", monkeypatch, tmp_path)


@pytest.fixture
def lxd(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Iterator[RecordedDaemon]:
    yield from serving("lxd", monkeypatch, tmp_path)


def serving(family: str, monkeypatch: pytest.MonkeyPatch, tmp_path) -> Iterator[RecordedDaemon]:
    for name in ("INCUS_PROJECT", "LXD_PROJECT", "INCUS_DIR", "LXD_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("INCUS_CONF", str(tmp_path / "no-configuration"))
    monkeypatch.setenv("LXD_CONF", str(tmp_path / "no-configuration"))
    with recorded_daemon(family) as daemon:
        daemon.put_file("c1", "/etc", kind="directory", mode="0755")  # only its files were recorded
        monkeypatch.setenv(f"{family.upper()}_SOCKET", daemon.socket)
        yield daemon
        assert daemon.refused == []
