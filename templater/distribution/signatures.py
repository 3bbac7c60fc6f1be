"""Signature checks with gpgv. A stream's ``.sjson`` files are signed copies of its JSON files."""

from __future__ import annotations

import math
import os
import resource
import signal
import subprocess
import tempfile

from ..model.errors import InputError, LimitError, RefusedError, UsageError
from ..model.unprintable_characters import printable
from .catalog_decoder import MOST_BYTES

#: Limit in seconds on the processor time of gpgv for all files of a stream. A signed text can be compressed
#: in several layers, so a small file can cost gpgv much time.
_SECONDS = 5
#: maximum seconds to wait for gpgv
_WAIT = 60


def signed_path(path: str) -> str:
    return path if path.endswith(".sjson") else f"{path.removesuffix('.json')}.sjson"


class Signatures:
    """Signature checks of the files of one stream. They share a limit on the processor time of gpgv."""

    def __init__(self, keyring: str) -> None:
        self._keyring = keyring
        self._left = float(_SECONDS)

    def verified_text(self, data: bytes, name: str) -> bytes:
        """Check the signature of ``data``, and return only the text that the signature covers.

        Raises RefusedError for an invalid signature, and LimitError for too much text or processor time.
        """
        if not os.path.isfile(self._keyring):
            raise InputError(f"the keyring '{printable(self._keyring)}' is not a file")
        if self._left <= 0:
            raise self._too_slow(name)
        before = _seconds_of_children()
        try:
            return self._verified_text(data, name)
        finally:
            self._left -= _seconds_of_children() - before

    def _verified_text(self, data: bytes, name: str) -> bytes:
        keyring = os.path.abspath(self._keyring)
        with tempfile.TemporaryDirectory(prefix="templater-gpg-") as home:
            signed, text, said = (os.path.join(home, name) for name in ("signed", "text", "said"))
            with open(signed, "wb") as file:
                file.write(data)
            command = ["gpgv", "--homedir", home, "--keyring", keyring, "--output", text, signed]
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
                        preexec_fn=self._limit_resources,
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
                raise self._too_slow(name)
            raise RefusedError(
                f"'{name}' has no valid signature: {_last_line(said) or 'gpgv failed'}",
                hint="the keyring must be binary: gpg --export KEY > keyring.gpg",
            )

    def _too_slow(self, name: str) -> LimitError:
        return LimitError(
            f"gpgv needs more than {_SECONDS} s of processor time for all signed files;"
            f" the last file was '{name}'"
        )

    def _limit_resources(self) -> None:
        for what, most in (
            (resource.RLIMIT_CPU, math.ceil(self._left)),
            (resource.RLIMIT_FSIZE, MOST_BYTES),
            (resource.RLIMIT_CORE, 0),
        ):
            _, hard = resource.getrlimit(what)
            resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _last_line(path: str) -> str:
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - 1000))
        lines = file.read().decode("utf-8", "replace").split("\n")
    return printable(next((line for line in reversed(lines) if line.strip()), ""))
