"""Modules with a C extension, which a zipapp does not contain: zstd before Python 3.14, and lz4."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Any

from ..model.errors import InputError

#: modules with the same decompressor: in Python 3.14's standard library, in its backport, and in Debian 13
ZSTD = ("compression.zstd", "backports.zstd", "pyzstd")


def load_zstd() -> Any:
    """Return the first module of ``ZSTD`` that is installed. Raises InputError if no module is installed."""
    for name in ZSTD:
        with suppress(ImportError):
            return import_module(name)
    raise InputError(
        "zstd needs Python 3.14 or a C extension, which is not installed",
        hint="install backports.zstd or pyzstd (Debian: python3-pyzstd), or use another compression",
    )


def load_lz4(name: str = "lz4.frame") -> Any:
    """Return a module of the package ``lz4``. Raises InputError if it is not installed."""
    with suppress(ImportError):
        return import_module(name)
    raise InputError(
        "lz4 needs a C extension, which is not installed",
        hint="install lz4 (Debian: python3-lz4), or use another compression",
    )
