"""The page at several widths, in light and dark colours: accessible, without sideways scrolling, and small."""

import os
import re
from pathlib import Path

import pytest

import templater.web
from tests.page.conftest import ROOT

ASSETS = Path(templater.web.__file__).parent / "assets"


@pytest.fixture
def axe():
    folder = os.environ.get("TEMPLATER_AXE")
    if not folder:
        pytest.skip("needs axe-core: npm install axe-core, and TEMPLATER_AXE=node_modules/axe-core")
    return (Path(folder) / "axe.min.js").read_text("utf-8")


VIEWS = {
    "a file with values": "#file=/etc/hosts&words=1",
    "two hosts": "#file=/etc/hosts&beside=host:lxd-debian",
    "metadata.yaml": "#file=metadata.yaml",
}


def violations(page, axe):
    """Return the serious findings of axe-core."""
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        (each["id"], [node["html"][:200] for node in each["nodes"][:3]])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1000, 1600])
def test_the_page_passes_accessibility_rules_and_fits_the_window(
    serve, browser, image, axe, width, colours, expect
):
    server = serve(image, "--name", "web1", "-c", "user.meta-data=role: db")
    size = {"width": width, "height": 900}
    page = browser.open(server, viewport=size, color_scheme=colours, reduced_motion="reduce")
    for fragment in VIEWS.values():
        page.evaluate("fragment => { location.hash = fragment; }", fragment)
        path = re.search(r"file=([^&]*)", fragment)[1]
        expect(page.locator("#file > h2")).to_have_text(path)
        expect(page.locator("#finding-list")).to_contain_text("check found")
        assert violations(page, axe) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_findings_and_errors_on_the_page_pass_accessibility_rules(serve, browser, axe, colours, expect):
    page = browser.open(
        serve(ROOT / "sample-images" / "broken"), color_scheme=colours, reduced_motion="reduce"
    )
    expect(page.locator("#finding-list li").first).to_be_visible()
    page.locator("#add-profile").fill("site")
    page.locator("#add-profile").press("Enter")
    expect(page.locator("fieldset")).to_have_count(1)
    assert violations(page, axe) == []


def test_the_files_of_the_page_contain_no_inline_code():
    files = {path.name: path.read_text("utf-8") for path in ASSETS.iterdir() if path.name != "report.js"}
    assert sum(len(text.encode()) for text in files.values()) <= 60_000
    page = files["page.html"]
    assert not re.search(r"<style|style=|\son\w+=|<script(?! type=\"module\" src=\"/assets/)", page)
    for name, text in files.items():
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), name
        if name.endswith(".js"):
            assert not re.search(
                r"\beval\(|new Function|document\.write|insertAdjacentHTML|outerHTML", text
            ), name
            assert ("innerHTML" in text) == (name == "fragments.js"), "HTML enters the page in one place"
            assert not re.search(r"localStorage|sessionStorage|indexedDB|\.cookie", text), name
