"""The certificate that the server makes for itself, and certificates that the user gives."""

import datetime
import os
import socket
import ssl
import stat
import subprocess

import pytest

from templater.model.errors import InputError, RefusedError
from templater.serving import certificate
from templater.serving.certificate import context, first_certificate, own_certificate, public_part


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def test_only_the_owner_can_read_the_private_key():
    path = own_certificate("127.0.0.1")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with open(public_part(path)) as public:
        assert "PRIVATE" not in public.read()
    before = os.stat(path).st_ino
    assert own_certificate("127.0.0.1") == path
    assert os.stat(path).st_ino == before, "the certificate is kept"
    assert own_certificate("::1") != path


def test_the_certificate_contains_the_host_name_and_an_elliptic_curve_key():
    path = public_part(own_certificate("192.0.2.7"))
    shown = subprocess.run(
        ["openssl", "x509", "-in", path, "-noout", "-text"], capture_output=True, text=True, check=True
    ).stdout
    for words in (
        "IP Address:192.0.2.7",
        "IP Address:127.0.0.1",
        "DNS:localhost",
        "prime256v1",
        "CA:TRUE, pathlen:0",
    ):
        assert words in shown


@pytest.mark.parametrize(("hours", "is_kept"), [(-1, False), (23, False), (25, True)])
def test_a_certificate_is_renewed_in_the_day_before_it_expires(hours, is_kept, monkeypatch):
    path = own_certificate("127.0.0.1")
    before = first_certificate(public_part(path))
    expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=hours)
    monkeypatch.setattr(certificate, "_expires", lambda asked: expires)
    assert own_certificate("127.0.0.1") == path
    assert (first_certificate(public_part(path)) == before) == is_kept
    assert first_certificate(path) == first_certificate(public_part(path))


@pytest.mark.parametrize(
    ("host", "added"),
    [
        ("example.org", ["example.org"]),
        ("a" * 63 + ".b", ["a" * 63 + ".b"]),
        ("a" * 64 + ".b", []),
        ("a..b", []),
        ("b\u00fccher.example", []),
        ("0.0.0.0", []),
        ("::", []),
        ("192.0.2.7", ["192.0.2.7"]),
        ("localhost", []),
    ],
)
def test_the_certificate_omits_unverifiable_host_names(host, added, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "me")
    monkeypatch.setattr(socket, "getfqdn", lambda: "me.example")
    names = [str(name.value) for name in certificate._names(host)]
    assert names == [*added, "localhost", "127.0.0.1", "::1", "me", "me.example"]


def test_the_tls_context_refuses_old_versions_of_tls():
    path = own_certificate("127.0.0.1")
    made = context(path, path)
    assert made.minimum_version == ssl.TLSVersion.TLSv1_2
    assert made.maximum_version in (ssl.TLSVersion.MAXIMUM_SUPPORTED, ssl.TLSVersion.TLSv1_3)


def test_the_fingerprint_of_a_certificate_equals_the_fingerprint_from_openssl():
    path = own_certificate("127.0.0.1")
    shown = subprocess.run(
        ["openssl", "x509", "-in", path, "-noout", "-fingerprint", "-sha256"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    text, fingerprint = first_certificate(path)
    assert shown.strip().partition("=")[2].replace(":", "").lower() == fingerprint
    with open(public_part(path)) as file:
        assert file.read() == text


def test_an_invalid_certificate_file_gives_one_error(tmp_path):
    (tmp_path / "x").write_text("x")
    with pytest.raises(InputError, match="can't use the certificate"):
        context(str(tmp_path / "x"), str(tmp_path / "x"))
    with pytest.raises(InputError, match="no such file"):
        context(str(tmp_path / "absent"), str(tmp_path / "absent"))
    path = own_certificate("127.0.0.1")
    with open(path, "w") as file:
        file.write("damaged")
    with pytest.raises(InputError, match="no valid certificate") as caught:
        own_certificate("127.0.0.1")
    assert caught.value.hint == "delete the file: the next start of the server makes a new one"


def test_a_private_key_with_a_password_gives_one_error(tmp_path):
    key = str(tmp_path / "key")
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-aes256", "-pass", "pass:x",
         "-out", key], check=True, capture_output=True,
    )  # fmt: skip
    with pytest.raises(InputError, match="the key has a password"):
        context(public_part(own_certificate("127.0.0.1")), key)


def test_a_world_writable_certificate_directory_is_refused(tmp_path):
    (tmp_path / "templater/serve").mkdir(parents=True)
    os.chmod(tmp_path / "templater/serve", 0o777)
    with pytest.raises(RefusedError, match="another user can write") as caught:
        own_certificate("127.0.0.1")
    assert caught.value.hint == "set XDG_DATA_HOME to another directory"
