"""Signature checks with gpgv. A stream's ``.sjson`` files are signed copies of its JSON files."""

from __future__ import annotations

import os
import subprocess
import tempfile

from ..model.errors import InputError, RefusedError, UsageError
from ..model.source import printable

_SECONDS = 60


def signed_path(path: str) -> str:
    return path if path.endswith(".sjson") else f"{path.removesuffix('.json')}.sjson"


def verified_text(data: bytes, keyring: str, name: str) -> bytes:
    """Return only the text that the signature covers. Raises RefusedError for an invalid signature."""
    if not os.path.isfile(keyring):
        raise InputError(f"the keyring '{printable(keyring)}' is not a file")
    with tempfile.TemporaryDirectory(prefix="templater-gpg-") as home:
        out = os.path.join(home, "text")
        try:
            done = subprocess.run(
                ["gpgv", "--homedir", home, "--keyring", os.path.abspath(keyring), "--output", out, "-"],
                input=data,
                capture_output=True,
                timeout=_SECONDS,
                check=False,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            )
        except FileNotFoundError:
            raise UsageError(
                "--keyring needs the program 'gpgv'", hint="install it: apt install gpgv"
            ) from None
        except subprocess.TimeoutExpired:
            raise InputError(f"'{name}': gpgv did not end within {_SECONDS} s") from None
        if done.returncode != 0 or not os.path.exists(out):
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise RefusedError(
                f"'{name}' has no valid signature: {printable(said[-1] if said else 'gpgv failed')}",
                hint="the keyring must be binary: gpg --export KEY > keyring.gpg",
            )
        with open(out, "rb") as file:
            return file.read()
