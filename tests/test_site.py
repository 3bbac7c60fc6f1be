"""The documentation site: it builds without warnings, all its links lead somewhere, and it works without a network."""

import importlib.util
import json
import os
import re
import socketserver
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import html5lib
import pytest

from tests.cli.sessions import steps_of
from tests.web_pages import dumped

ROOT = Path(__file__).resolve().parent.parent
#: search texts of users, each with a page that the search must find
SEARCHES = {
    "volatile.apply_template": "running-instances.html", "config_get": "templates.html",
    "create_only": "metadata.html", "hostname": "checks/hostname.html", "lxc-create": "lxc.html",
    "keep-modified": "commands/apply.html", "open_image": "python.html", "simplestreams": "publishing.html",
    "exit code": "automation.html", "cloud-init": "cloud-init.html", "--limit": "limits.html",
    "--exit-code": "commands/diff.html", "distrobuilder": "definitions.html", "sarif": "checking.html",
}  # fmt: skip
#: attributes that make a browser load a file
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "object": "data"}
#: a request that the test adds to a page, so that it knows that requests are recorded
CANARY = "<script>fetch('http://canary.example/').catch(() => 0)</script>"
#: servers that Chromium itself asks
OF_CHROMIUM = re.compile(r"(^|\.)(google|googleapis|gvt1|gstatic)\.com$")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site. With --strict, a warning fails the build."""
    if not all(map(importlib.util.find_spec, ("mkdocs", "material", "mkdocstrings_handlers"))):
        assert not os.environ.get("CI"), "CI has to have the extra 'docs'"
        pytest.skip("NOT RUN: needs the extra 'docs'")
    folder = tmp_path_factory.mktemp("site")
    words = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "-f",
        ".github/mkdocs.yml",
        "-d",
        str(folder),
    ]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING -" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    """Return the elements of each page, as (tag, attributes)."""
    parsed = {}
    for path in site.rglob("*.html"):
        tree = html5lib.parse(path.read_text("utf-8"), namespaceHTMLElements=False)
        parsed[path] = [(each.tag, each.attrib) for each in tree.iter() if isinstance(each.tag, str)]
    return parsed


def test_every_link_on_the_site_has_an_existing_target(site, pages):
    ids = {path: {attributes.get("id") for _, attributes in found} for path, found in pages.items()}
    dead, links = [], 0
    for path, found in pages.items():
        if path.name == "404.html":  # its links are for the root of a server
            continue
        for tag, attributes in found:
            url = urlsplit(attributes.get("href" if tag == "a" else LOADED.get(tag, ""), ""))
            if url.scheme or url.netloc:
                continue
            links += tag == "a"
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            target = target / "index.html" if target.is_dir() else target
            anchored = not url.fragment or unquote(url.fragment) in ids.get(target, ())
            if not target.is_file() or (not anchored and not url.fragment.startswith("__")):
                dead.append(f"{path.relative_to(site)}: {url.geturl()}")
    assert not dead
    assert links > 5000


def test_no_page_of_the_site_loads_a_file_from_another_server(site, pages):
    for path, found in pages.items():
        loaded = {attributes[LOADED[tag]] for tag, attributes in found if LOADED.get(tag, "") in attributes}
        assert not {url for url in loaded if urlsplit(url).netloc}, path
        # the two parts of the theme that load files only if a page needs them
        assert not any(set(a.get("class", "").split()) & {"mermaid", "md-source"} for _, a in found), path
    for path in site.rglob("*.css"):
        assert not re.search(r"url\(\s*[\"']?(?:https?:)?//|@import", path.read_text("utf-8")), path


@pytest.fixture
def proxy():
    """Yield the address of a proxy that answers nothing, and the list of hosts that it was asked for."""
    hosts = []

    class Recorder(socketserver.StreamRequestHandler):
        def handle(self):
            url = self.rfile.readline().decode("latin-1").split()[1]
            hosts.append(urlsplit(url if "//" in url else f"//{url}").hostname)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Recorder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}", hosts
        server.shutdown()


def test_the_site_search_works_in_a_browser_and_contacts_no_server(site, proxy):
    address, hosts = proxy
    page = site / "canary.html"
    page.write_text((site / "index.html").read_text("utf-8").replace("<head>", f"<head>{CANARY}"), "utf-8")
    document = dumped(
        page, "q=config_get", "--virtual-time-budget=8000", f"--proxy-server={address}",
        "--proxy-bypass-list=<-loopback>",
    )  # fmt: skip
    page.unlink()
    found = re.findall(r'<a href="([^"?#]+)[^"]*" class="md-search-result__link"', document)
    assert f"{site.as_uri()}/templates.html" in found
    assert {host for host in hosts if not OF_CHROMIUM.search(host)} == {"canary.example"}


def test_the_search_index_contains_the_words_that_users_search_for(site):
    index = json.loads((site / "search/search_index.json").read_text("utf-8"))["docs"]
    missing = []
    for words, page in SEARCHES.items():
        found = {
            entry["location"].partition("#")[0] for entry in index if words in entry["title"] + entry["text"]
        }
        missing += [f"{words}: {sorted(found)}"] if page not in found else []
    assert not missing


def test_every_command_and_option_is_on_the_site(site):
    from click import Context, Option

    sys.path.insert(0, str(ROOT / ".github/site"))
    try:
        from hooks import commands_of, page_of, templater
    finally:
        sys.path.pop(0)
    found = commands_of(templater)
    assert len(found) > 60
    for name, command in found:
        text = (site / page_of(name).replace(".md", ".html")).read_text("utf-8")
        for option in command.get_params(Context(command)):
            if isinstance(option, Option) and not option.hidden:
                assert option.opts[-1] in text, (name, option.name)


def test_the_copy_button_of_a_console_session_copies_only_the_commands(site):
    """The style hides prompts and output while the button copies; the rest of the block is copied."""
    page = html5lib.parse((site / "tutorial.html").read_text("utf-8"), namespaceHTMLElements=False)
    copied = ""
    for line in page.findall(".//div[@class='highlight console']//code/span"):
        kinds = [span.get("class") for span in line]
        copied += "" if "go" in kinds else "".join(line.itertext()).removeprefix(line[0].text)
    sessions = re.findall(
        r"^```console\n(.*?)^```$", (ROOT / "docs/tutorial.md").read_text("utf-8"), re.M | re.S
    )
    steps = [step for session in sessions for step in steps_of(session)[1]]
    assert copied == "".join(f"{step.command}\n" for step in steps)
