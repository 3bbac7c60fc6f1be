"""Signature checks with gpgv. A stream's ``.sjson`` files are signed copies of its JSON files."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import tempfile

from ..model.errors import InputError, LimitError, RefusedError, UsageError
from ..model.source import printable
from .catalog_decoder import MOST_BYTES

#: limit in seconds on the processor time of gpgv: a signed text can be compressed again and again
_SECONDS = 5
#: maximum seconds to wait for gpgv
_WAIT = 60


def signed_path(path: str) -> str:
    return path if path.endswith(".sjson") else f"{path.removesuffix('.json')}.sjson"


def verified_text(data: bytes, keyring: str, name: str) -> bytes:
    """Return only the text that the signature covers. Raises RefusedError for an invalid signature."""
    if not os.path.isfile(keyring):
        raise InputError(f"the keyring '{printable(keyring)}' is not a file")
    with tempfile.TemporaryDirectory(prefix="templater-gpg-") as home:
        signed, text, said = (os.path.join(home, name) for name in ("signed", "text", "said"))
        with open(signed, "wb") as file:
            file.write(data)
        command = ["gpgv", "--homedir", home, "--keyring", os.path.abspath(keyring), "--output", text, signed]
        try:
            with open(said, "wb") as errors:
                done = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=errors,
                    stderr=errors,
                    timeout=_WAIT,
                    check=False,
                    env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
                    preexec_fn=_limit_resources,
                )
        except FileNotFoundError:
            raise UsageError("--keyring needs the program 'gpgv'", hint="run: apt install gpgv") from None
        except subprocess.TimeoutExpired:
            raise InputError(f"'{name}': gpgv did not end within {_WAIT} s") from None
        size = os.path.getsize(text) if os.path.exists(text) else -1
        if done.returncode == 0 and size >= 0:
            with open(text, "rb") as file:
                return file.read()
        if size >= MOST_BYTES:
            raise LimitError(f"the signed text of '{name}' has more than {MOST_BYTES >> 20} MiB")
        if done.returncode == -signal.SIGXCPU:
            raise LimitError(f"gpgv needs more than {_SECONDS} s of processor time for '{name}'")
        raise RefusedError(
            f"'{name}' has no valid signature: {_last_line(said) or 'gpgv failed'}",
            hint="the keyring must be binary: gpg --export KEY > keyring.gpg",
        )


def _limit_resources() -> None:
    for what, most in (
        (resource.RLIMIT_CPU, _SECONDS),
        (resource.RLIMIT_FSIZE, MOST_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _last_line(path: str) -> str:
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - 1000))
        lines = file.read().decode("utf-8", "replace").split("\n")
    return printable(next((line for line in reversed(lines) if line.strip()), ""))
