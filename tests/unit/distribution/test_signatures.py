"""The start of gpgv, and the error for each of its failures. A script takes the place of gpgv."""

import os

import pytest

from templater.distribution import signatures
from templater.distribution.signatures import Signatures, signed_path
from templater.model.errors import InputError, LimitError, RefusedError, TemplaterError, UsageError

SLOW = "gpgv needs more than 5 s of processor time for all signed files; the last file was 'n'"
BINARY = "the keyring must be binary: gpg --export KEY > keyring.gpg"


@pytest.fixture
def checker(tmp_path, monkeypatch):
    """Return a function that checks a signed text with this script as gpgv."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "ring").write_text("keys")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")

    def check(script, checks=None):
        (tmp_path / "bin/gpgv").write_text(f'#!/bin/sh\nOUT="$6"\nSIGNED="$7"\n{script}\n')
        (tmp_path / "bin/gpgv").chmod(0o755)
        return (checks or Signatures("ring")).verified_text(b"signed text", "n")

    return check


def test_gpgv_gets_the_signed_text_and_gives_the_verified_text(checker, tmp_path):
    assert checker('read -r line <"$SIGNED"; echo "verified $line" >"$OUT"') == b"verified signed text\n"
    words = checker('echo "$1 $3 $4 $5" >"$OUT"; echo "$2" >>"$OUT"; echo "$6 $7" >>"$OUT"').decode()
    first, home, files = words.splitlines()
    assert first == f"--homedir --keyring {tmp_path}/ring --output"
    assert files == f"{home}/text {home}/signed"
    assert not os.path.exists(home)


def test_gpgv_has_limits_and_a_clean_environment(checker, monkeypatch):
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.setenv("GNUPGHOME", "/x")
    limits = checker('{ ulimit -t; ulimit -f; ulimit -c; echo "$LC_ALL,$LANG,$GNUPGHOME"; } >"$OUT"')
    assert limits.decode().split() == ["5", str((32 << 20) // 512), "0", "C,,"]


@pytest.mark.parametrize(
    ("script", "kind", "message", "hint"),
    [
        ("exit 0", RefusedError, "'n' has no valid signature: gpgv failed", BINARY),
        ('echo text >"$OUT"; exit 1', RefusedError, "'n' has no valid signature: gpgv failed", BINARY),
        ("echo one; echo two >&2; echo; exit 2", RefusedError, "'n' has no valid signature: two", BINARY),
        ("kill -XCPU $$", LimitError, SLOW, ""),
        ("kill -KILL $$", RefusedError, "'n' has no valid signature: gpgv failed", BINARY),
        ('printf %1024s x >"$OUT"; exit 1', LimitError, "the signed text of 'n' has more than 0 MiB", ""),
        ('printf %1023s x >"$OUT"; exit 1', RefusedError, "'n' has no valid signature: gpgv failed", BINARY),
        ("exec /bin/sleep 9", InputError, "'n': gpgv did not end within 0.2 s", ""),
    ],
)
def test_a_failure_of_gpgv_is_an_error(script, kind, message, hint, checker, monkeypatch):
    monkeypatch.setattr(signatures, "MOST_BYTES", 1024)
    if "sleep" in script:
        monkeypatch.setattr(signatures, "_WAIT", 0.2)
    with pytest.raises(TemplaterError) as caught:
        checker(script)
    assert (type(caught.value), caught.value.message, caught.value.hint) == (kind, message, hint)


def test_a_missing_gpgv_program_and_a_missing_keyring_are_errors(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "ring").touch()
    with pytest.raises(UsageError) as caught:
        Signatures(f"{tmp_path}/ring").verified_text(b"", "n")
    assert caught.value.message == "--keyring needs the program 'gpgv'"
    assert caught.value.hint == "run: apt install gpgv"
    with pytest.raises(InputError) as missing:
        Signatures("none").verified_text(b"", "n")
    assert missing.value.message == "the keyring 'none' is not a file"


def test_the_files_of_a_stream_share_a_limit_on_processor_time(checker, monkeypatch):
    spent = iter((1.0, 3.5, 3.5, 6.0))
    monkeypatch.setattr(signatures, "_seconds_of_children", lambda: next(spent))
    checks = Signatures("ring")
    assert checker('ulimit -t >"$OUT"', checks) == b"5\n"
    with pytest.raises(RefusedError):
        checker("ulimit -t; exit 1", checks)
    assert checks._left == 0
    with pytest.raises(LimitError) as caught:
        checker('ulimit -t >"$OUT"', checks)
    assert caught.value.message == SLOW


@pytest.mark.parametrize(
    ("path", "signed"), [("a/index.json", "a/index.sjson"), ("b.sjson", "b.sjson"), ("c", "c.sjson")]
)
def test_the_signed_copy_of_a_file_has_the_ending_sjson(path, signed):
    assert signed_path(path) == signed
