"""Pages that tests examine: strict parsing, what a page may contain, and a real browser."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import html5lib
import pytest

#: an attribute of the root element that every payload below sets if it runs
CANARY = "data-owned"
RUN = f"document.documentElement.setAttribute('{CANARY}',1)"

#: texts that run RUN in a page that does not escape them, or that break a page in another way
PAYLOADS = [
    f"<script>{RUN}</script>",
    f"</code></pre><script>{RUN}</script>",
    f"</title><script>{RUN}</script>",
    f"</style><script>{RUN}</script>",
    f"</script><script>{RUN}</script>",
    f"</textarea><script>{RUN}</script>",
    f"--><script>{RUN}</script>",
    f"]]><script>{RUN}</script>",
    f"<!--><script>{RUN}</script>",
    f'"><script>{RUN}</script>',
    f"'><script>{RUN}</script>",
    f"><script>{RUN}</script>",
    f"<ScRiPt>{RUN}</sCrIpT>",
    f"<script\n>{RUN}</script\n>",
    f"<script/x>{RUN}</script>",
    f"<scr\x00ipt>{RUN}</script>",
    f"<script>{RUN}//",
    f'<img src=x onerror="{RUN}">',
    f"<img src=x onerror={RUN}//",
    f'"onerror="{RUN}" src="x',
    f'" autofocus onfocus="{RUN}" x="',
    f"' autofocus onfocus='{RUN}' x='",
    f'<svg onload="{RUN}">',
    f"<svg><script>{RUN}</script></svg>",
    f"<svg><style></style><img src=x onerror={RUN}></svg>",
    f'<body onload="{RUN}">',
    f'<details open ontoggle="{RUN}">x</details>',
    f'<input autofocus onfocus="{RUN}">',
    f'<video><source onerror="{RUN}"></video>',
    f'<iframe srcdoc="<script>parent.{RUN}</script>"></iframe>',
    f'<iframe src="javascript:parent.{RUN}"></iframe>',
    f'<object data="javascript:{RUN}"></object>',
    f'<embed src="javascript:{RUN}">',
    f'<a href="javascript:{RUN}" id=files>x</a>',
    f"javascript:{RUN}",
    f'<form action="javascript:{RUN}"><button>x</button></form>',
    f'<math><mtext><table><mglyph><style><img src=x onerror="{RUN}">',
    f'<noscript><p title="</noscript><script>{RUN}</script>">',
    f"<template><script>{RUN}</script></template><script>{RUN}</script>",
    f"<xmp></xmp><script>{RUN}</script>",
    f"<plaintext><script>{RUN}</script>",
    f'<meta http-equiv="refresh" content="0;url=javascript:{RUN}">',
    '<base href="https://attacker.example/">',
    '<link rel="stylesheet" href="https://attacker.example/x.css">',
    "<style>body{display:none}</style>",
    "<style>@import 'https://attacker.example/x.css'</style>",
    f"&lt;script&gt;{RUN}&lt;/script&gt;",
    f"&#60;script&#62;{RUN}&#60;/script&#62;",
    f"+ADw-script+AD4-{RUN}+ADw-/script+AD4-",
    f"\xbcscript\xbe{RUN}\xbc/script\xbe",
    f"\u2028<script>{RUN}</script>\u202e",
    f"\ud800<script>{RUN}</script>\ufffe",
    f"${{{RUN}}}`;{RUN};`",
    f"';{RUN};'",
    f"\\u003cscript\\u003e{RUN}\\u003c/script\\u003e",
    f"<!DOCTYPE html><html {CANARY}=1><script>{RUN}</script>",
]


def words(text: str) -> set[str]:
    return set(text.split())


#: the elements and attributes that a report may contain
ELEMENTS = words("""
    a article b body caption code del details div h1 h2 h3 h4 head header html ins input label li main
    mark meta nav ol output p pre script section small span strong style summary table tbody td th thead
    title tr ul
""")
ATTRIBUTES = words("""
    aria-label charset class colspan content data-for data-n hidden href http-equiv id lang name open role
    rowspan scope tabindex title
""")


def parsed(page: str) -> Any:
    """Parse a page as strictly as HTML's standard, and return the root element."""
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)


def text_of(element: Any) -> str:
    return "".join(element.itertext())


def assert_safe(page: str) -> Any:
    """Check that a page is valid and contains no code but its own, and no address. Return its root element."""
    root = parsed(page)
    for element in root.iter():
        if not isinstance(element.tag, str):
            continue  # the comment at the beginning
        assert element.tag in ELEMENTS, element.tag
        assert set(element.attrib) <= ATTRIBUTES, element.attrib
        assert element.get("href", "#").startswith("#")
    (policy,) = [each.get("content") for each in root.iter("meta") if each.get("http-equiv")]
    for name in ("script", "style"):
        (code,) = root.iter(name)
        digest = base64.b64encode(hashlib.sha256(code.text.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    ids = [each.get("id") for each in root.iter() if isinstance(each.tag, str) and each.get("id")]
    assert len(ids) == len(set(ids))
    return root


def dumped(page: Path, query: str = "", *options: str) -> str:
    """Return the document of a page after a real Chromium has run its scripts."""
    chromium = shutil.which("chromium")
    if chromium is None:
        assert not os.environ.get("CI"), "CI has to have chromium"
        pytest.skip("needs chromium")
    profile = page.parent / f"profile-{page.stem}"
    words = [chromium, "--headless", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={profile}"]
    words += ["--no-sandbox"] if os.geteuid() == 0 else []
    address = page.as_uri() + (f"?{query}" if query else "")
    done = subprocess.run(
        [*words, *options, "--dump-dom", address], capture_output=True, text=True, check=True, timeout=300
    )
    assert "</html>" in done.stdout, done.stderr
    return done.stdout


def is_owned(document: str) -> bool:
    """Return whether a payload has run."""
    found = re.search(r"<html[^>]*>", document)
    assert found is not None
    return CANARY in found[0]


def an_image(folder: Path, rules: dict[str, Any], templates: dict[str, str | bytes], **more: Any) -> Path:
    (folder / "templates").mkdir(parents=True)
    for name, content in templates.items():
        data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        (folder / "templates" / name).write_bytes(data)
    metadata = {"architecture": "x86_64", "creation_date": 1, "templates": rules, **more}
    (folder / "metadata.yaml").write_text(json.dumps(metadata))
    return folder


def hostile_image(folder: Path, payloads: list[str]) -> Path:
    """Return an image whose texts are payloads: contents, names, keys, properties, triggers and errors."""
    rules, templates = {}, {}
    for number, payload in enumerate(payloads):
        key = payload.replace('"', "").replace("\\", "").replace("\n", " ")
        templates[f"t{number}"] = (
            "{% autoescape off %}"
            + payload.replace("{", "")
            + '{{ config_get("user.'
            + key
            + '", properties.p) }}'
            + "{{ properties.q }}{% endautoescape %}\n"
        )
        templates[f"bad{number}"] = "{{ x|" + payload.replace("}", "") + " }}"
        text = payload.encode("utf-8", "replace").decode()
        name = f"/etc/{number}{text}".replace("\x00", "")
        rules[name] = {
            "when": ["create", text],
            "template": f"t{number}",
            "properties": {"p": text, "q": text},
        }
        rules[f"/bad/{number}"] = {"when": ["create"], "template": f"bad{number}"}
        rules[f"/missing/{number}"] = {"when": ["create"], "template": text, "mode": text, "uid": text}
    return an_image(folder, rules, templates, properties={"os": payloads[0], "name": payloads[17]})


#: further elements and attributes that a fragment of the page may contain
FIELDS = words("button datalist fieldset i legend option select textarea")
FIELD_ATTRIBUTES = words("""
    aria-current autocomplete checked data-add data-add-for data-add-profile data-all data-apply data-key
    data-path data-profile data-raise for list placeholder readonly rows selected spellcheck type value
""")


def assert_valid_fragment(fragment: str) -> Any:
    """Check that a fragment of the page is valid and contains no code, no style and no address."""
    root = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(
        f"<!DOCTYPE html><html><head><title>x</title></head><body>{fragment}</body></html>"
    )
    for element in root.find("body").iter():
        assert element.tag in (ELEMENTS | FIELDS) - {"script", "style", "head"}, element.tag
        assert set(element.attrib) <= ATTRIBUTES | FIELD_ATTRIBUTES, element.attrib
        assert element.get("href", "#").startswith("#")
    ids = [each.get("id") for each in root.iter() if isinstance(each.tag, str) and each.get("id")]
    assert len(ids) == len(set(ids))
    return root.find("body")
