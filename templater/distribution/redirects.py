"""Web server rules that redirect clients to the origin of an image's files."""

from __future__ import annotations

import json
import re

from ..model.errors import UsageError
from ..model.source import printable

#: Safe URLs: other characters could end a word, line or block in one of the configuration languages.
_SAFE = re.compile(r"https://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~-]+)*")


def prefix_of(base: str) -> str:
    """Return the directory in a tree for an origin's files, named after the origin's host and path."""
    if not _SAFE.fullmatch(base) or ".." in base:
        raise UsageError(f"'{printable(base)}' can't be written into a web server's configuration")
    return re.sub(r"[:\[\]]", "_", base.removeprefix("https://"))


def file_stem(base: str) -> str:
    return prefix_of(base).replace("/", "-")


def rules(base: str) -> dict[str, str]:
    """Return the rules for one origin: file names and their contents."""
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
    return {f"{stem}.nginx.conf": nginx, f"{stem}.caddy": caddy, f"{stem}.templater.json": serve}
