"""Web server rules that redirect clients to the origin of an image's files."""

from __future__ import annotations

import json
import os
import re

from ..model.errors import InputError, UsageError, reason
from ..model.unprintable_characters import printable
from ..rootfs.trusted_paths import open_file
from .catalog_decoder import parse_json
from .tree_catalog import clean_path

#: URLs that are safe in web server rules. Other characters could end a word, line or block of a rule.
_SAFE = re.compile(r"https://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~-]+)*")

_ENDING = ".templater.json"
_MOST_BYTES = 1 << 20


def prefix_of(base: str) -> str:
    """Return the tree's directory for an origin's files.

    The directory is named after the origin's host and path.
    """
    if not _SAFE.fullmatch(base) or ".." in base:
        raise UsageError(f"'{printable(base)}' can't be written into a web server's configuration")
    return re.sub(r"[:\[\]]", "_", base.removeprefix("https://"))


def file_stem(base: str) -> str:
    stem = prefix_of(base).replace("/", "-")
    if stem in ("index", "images"):
        raise UsageError(f"the products file of '{base}' would get the reserved name '{stem}.json'")
    return stem


def rules(base: str) -> dict[str, str]:
    """Return the contents of the files with redirect rules for one origin, by file name."""
    prefix, stem = prefix_of(base), file_stem(base)
    nginx = (
        "# nginx: include this file in the server block of the tree.\n"
        f"location ^~ /{prefix}/ {{\n    rewrite ^/{re.escape(prefix)}/(.*)$ {base}/$1 redirect;\n}}\n"
    )
    caddy = (
        "# Caddy: import this file in the site block of the tree.\n"
        f"handle_path /{prefix}/* {{\n    redir {base}{{uri}} 302\n}}\n"
    )
    serve = json.dumps({"redirects": [{"from": f"/{prefix}/", "to": f"{base}/"}]}, indent=2) + "\n"
    return {f"{stem}.nginx.conf": nginx, f"{stem}.caddy": caddy, f"{stem}{_ENDING}": serve}


def read_rules(path: str) -> dict[str, str]:
    """Return the redirect rules for `templater serve` from a file, or from all rule files in a directory.

    The result maps a prefix of paths to the URL that replaces the prefix.
    """
    rules: dict[str, str] = {}
    try:
        files = [path]
        if os.path.isdir(path):
            files = [os.path.join(path, name) for name in sorted(os.listdir(path)) if name.endswith(_ENDING)]
        for file in files:
            with open(open_file(file), "rb") as opened:
                value = parse_json(opened.read(_MOST_BYTES), file)
            found = value.get("redirects") if isinstance(value, dict) else None
            for rule in found if isinstance(found, list) else (None,):
                prefix, to = (
                    (str(rule.get(key)) for key in ("from", "to")) if isinstance(rule, dict) else ("", "")
                )
                if (
                    prefix != f"/{clean_path(prefix)}/"
                    or not to.endswith("/")
                    or not _SAFE.fullmatch(to[:-1])
                ):
                    raise InputError(f"'{printable(file)}' has an invalid redirect rule")
                rules[prefix] = to
    except OSError as error:
        raise InputError(f"can't read '{printable(path)}': {reason(error)}") from error
    if not rules:
        raise InputError(
            f"'{printable(path)}' has no redirect rules",
            hint="`templater streams reindex --redirect DIR` writes these rules",
        )
    return rules
