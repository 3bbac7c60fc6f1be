"""The web page of a stream, for users who open its address in a browser."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from ..model.unprintable_characters import printable
from .list_stream import Listed

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8884; }}
th, td {{ vertical-align: top; }}
td.number, th.number {{ text-align: right; }}
code {{ font-size: .9em; }}
:root {{ color-scheme: light dark; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{count} images. Add this server to a client, then launch by alias:</p>
<pre><code>incus remote add NAME https://THIS-SERVER --protocol simplestreams
lxc remote add NAME https://THIS-SERVER --protocol simplestreams</code></pre>
<table>
<thead><tr><th>Image</th><th>Aliases</th><th>Type</th><th>Architecture</th><th>Version</th>\
<th class="number">Size</th><th>Fingerprint</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
"""


def page(images: Iterable[Listed], title: str) -> str:
    """Render the page. All text from the catalog is escaped."""
    rows = [_row(image) for image in images]
    return _PAGE.format(title=_text(title), count=len(rows), rows="\n".join(rows))


def _row(image: Listed) -> str:
    name = " ".join(part for part in (image.os, image.release, image.variant) if part)
    aliases = ", ".join(f"<code>{_text(alias)}</code>" for alias in image.shown_aliases())
    cells = [
        f"<td>{_text(name)}</td>",
        f"<td>{aliases}</td>",
        f"<td>{_text(image.type)}</td>",
        f"<td>{_text(image.architecture)}</td>",
        f"<td>{_text(image.version)}</td>",
        f'<td class="number">{image.size / (1 << 20):.1f} MiB</td>',
        f'<td><code title="{_text(image.fingerprint)}">{_text(image.fingerprint[:12])}</code></td>',
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _text(text: str) -> str:
    return escape(printable(text))
