"""The command `templater serve` without its libraries, and its option --listen."""

import sys

import pytest

from templater.cli.commands.serve import address
from templater.cli.main import main
from templater.model.errors import UsageError


@pytest.mark.parametrize("library", ["aiohttp", "cryptography"])
def test_a_missing_library_is_one_clear_message(tree, monkeypatch, capsys, library):
    for name in list(sys.modules):
        if name.startswith(("templater.serving", library)):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys.modules["templater"], "serving", None, raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    assert main(["serve", str(tree)]) == 2
    assert capsys.readouterr().err == (
        f"templater: `templater serve` needs the library '{library}'\nhint: pip install 'image-templater[server]'\n"
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
def test_an_address_is_a_host_and_a_port(text, host, port):
    assert address(text) == (host, port)


@pytest.mark.parametrize("text", ["", "x", "host:", "host:x", "host:70000", "127.0.0.1:-1"])
def test_an_invalid_address_is_refused(text):
    with pytest.raises(UsageError, match="invalid address"):
        address(text)
