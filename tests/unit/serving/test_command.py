"""The command `templater serve` without its libraries, and its option --listen."""

import sys
from types import SimpleNamespace

import pytest

from templater.cli.commands.serve import AccessLog, address, public_url
from templater.cli.run_command_line import main
from templater.model.errors import UsageError, WriteError
from templater.serving import connections


@pytest.mark.parametrize("library", ["aiohttp", "cryptography"])
def test_a_missing_library_gives_one_clear_message(tree, monkeypatch, capsys, library):
    for name in list(sys.modules):
        if name.startswith(("templater.serving", library)):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys.modules["templater"], "serving", None, raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    assert main(["serve", str(tree)]) == 2
    assert capsys.readouterr().err == (
        f"templater: `templater serve` needs the library '{library}'\nhint: install templater's extra 'server'; in a Git clone: pip install -e '.[server]'\n"
    )


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("8443", "127.0.0.1", 8443),
        (":8443", "127.0.0.1", 8443),
        ("0.0.0.0:1", "0.0.0.0", 1),
        ("[::1]:8443", "::1", 8443),
    ],
)
def test_the_listening_address_is_parsed_to_a_host_and_a_port(text, host, port):
    assert address(text) == (host, port)


@pytest.mark.parametrize(
    "text", ["", "x", "host:", "host:x", "host:70000", "127.0.0.1:-1", "host:" + "9" * 5000]
)
def test_an_invalid_listening_address_is_refused(text):
    with pytest.raises(UsageError, match="invalid address"):
        address(text)


def test_the_access_log_is_opened_again_after_it_was_renamed(tmp_path):
    path = tmp_path / "log"
    path.write_text("before\n")
    log = AccessLog(str(path))
    log.write("one")
    path.rename(tmp_path / "log.1")
    log.write("two")
    log.open()
    log.write("three\udcff")
    assert (tmp_path / "log.1").read_text() == "before\none\ntwo\n"
    assert path.read_text() == "three\\udcff\n"


def test_an_unwritable_access_log_gives_one_clear_error(tmp_path):
    with pytest.raises(WriteError, match="can't write"):
        AccessLog(str(tmp_path / "absent/log"))


def test_the_access_log_can_go_to_standard_output(capsys):
    AccessLog("-").write("one")
    assert capsys.readouterr().out == "one\n"


@pytest.mark.parametrize(
    "text", ["http://host", "host", "https://", "https://h/a?b", "https://h/\r\nX: y", "https://u@h"]
)
def test_an_invalid_public_url_is_refused(text):
    with pytest.raises(UsageError, match="invalid URL"):
        public_url(text)


def test_the_slash_at_the_end_of_a_public_url_is_removed():
    assert public_url("https://images.example.com:8443/base/") == "https://images.example.com:8443/base"
    assert public_url("") == ""


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_the_serve_command_prints_its_address_and_certificate_path(
    host, shown, tree, tmp_path, monkeypatch, capsys
):
    async def serve(answer, listener, context):
        listener.close()

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(connections, "serve", serve)
    monkeypatch.setattr(
        connections, "bind", lambda host, port: SimpleNamespace(getsockname=lambda: (host, 8443), close=bool)
    )
    assert main(["serve", str(tree), "--listen", f"{shown}:1"]) == 0
    out, err = capsys.readouterr()
    assert out == f"serving 4 images on https://{shown}:8443\n"
    assert err.startswith(
        f"note: to let clients trust this server, give them the certificate '{tmp_path}/config/"
    )
    assert err.endswith("'\n")
