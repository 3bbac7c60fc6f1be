"""Hostile texts in every place of the page: none of them runs, also without the content security policy."""

import json
import os

import pytest

from tests.web_pages import CANARY, PAYLOADS, hostile_image

pytestmark = pytest.mark.slow

OWNED = f"document.documentElement.hasAttribute('{CANARY}')"


def is_owned(page):
    return page.evaluate(OWNED)


def clean(text):
    return text.encode("utf-8", "replace").decode().replace("\x00", "")


@pytest.fixture(params=[False, True], ids=["protected", "without the policy"])
def page(request, serve, browser, tmp_path):
    """The page of an image and an instance whose texts are payloads."""
    image = hostile_image(tmp_path / "image<img src=x onerror=1>", PAYLOADS)
    instance = {
        "name": "c1", "type": "container", "config": {f"user.{clean(text)}": clean(text) for text in PAYLOADS},
        "devices": {clean(PAYLOADS[0]): {"type": clean(PAYLOADS[1])}}, "profiles": [],
    }  # fmt: skip
    (tmp_path / "instance.json").write_text(json.dumps(instance))
    profile = tmp_path / "profile.json"
    profile.write_text(
        json.dumps({"name": clean(PAYLOADS[9]), "config": {f"user.x{PAYLOADS[9]}": PAYLOADS[10]}})
    )
    server = serve(image, "-i", str(tmp_path / "instance.json"), "-p", str(profile), "-t", "create")
    return browser.open(server, bypass_csp=request.param)


def test_the_page_runs_no_script_from_an_image_or_an_instance(page, expect):
    assert len(PAYLOADS) >= 40
    assert not is_owned(page)
    links = page.locator("#list a")
    for number in range(links.count()):
        link = links.nth(number)
        name = link.get_attribute("data-path")
        link.evaluate("link => link.click()")
        page.wait_for_function(
            "name => new URLSearchParams(location.hash.slice(1)).get('file') === name", arg=name
        )
        assert not is_owned(page), name
    expect(page.locator("#finding-list li").first).to_be_visible()
    assert page.locator("#form textarea").count() > 40
    assert not is_owned(page)
    assert "<script>" in page.locator("#list").inner_text()


@pytest.mark.parametrize("field", ["file", "instance", "host", "trigger", "beside", "words", "x"])
def test_the_page_runs_no_script_from_its_address(serve, browser, image, field):
    server = serve(image)
    page = browser.open(server, bypass_csp=True)
    for payload in PAYLOADS[::3]:
        page.evaluate(
            "([field, text]) => { location.hash = new URLSearchParams([[field, text]]); }",
            [field, clean(payload)],
        )
        page.evaluate(
            "text => { history.replaceState(null, '', '#' + text); dispatchEvent(new Event('hashchange')); }",
            clean(payload),
        )
    page.wait_for_timeout(500)
    page.wait_for_selector("#open")
    assert not is_owned(page)


def test_the_page_executes_no_script_from_edits_or_filenames(serve, browser, image, expect):
    page = browser.open(serve(image), bypass_csp=True)
    page.locator('#list a[data-path$="meta-data"]').click()
    field = page.locator('textarea[data-key="user.meta-data"]')
    # A character that is shown as an escape ends the editing of a field, so a payload with one is filled in last.
    payloads = sorted(PAYLOADS[::2], key=lambda payload: not clean(payload).isprintable())
    odd = [payload for payload in payloads if not clean(payload).isprintable()]
    assert odd
    for payload in payloads:
        if payload not in odd[1:]:
            field.fill(clean(payload))
        page.locator("#name").fill(clean(payload)[:40])
        page.locator("[data-add='']").fill(f"user.{clean(payload)}".replace("\n", " "))
        page.locator("[data-add='']").press("Enter")
        page.locator("#add-profile").fill(clean(payload).replace("\n", " "))
        page.locator("#add-profile").press("Enter")
    page.locator("#name").fill("c1")
    for number, payload in enumerate(PAYLOADS):
        name = clean(payload).replace("/", "_")[:100]
        (image / "templates" / f"{number}{name}").write_bytes(os.fsencode(name))
    (image / "metadata.yaml").write_text(f"templates: {{'{PAYLOADS[0]}': [{PAYLOADS[1]}")
    expect(page.locator("#file .code.error")).to_contain_text("metadata.yaml:1")
    assert not is_owned(page)


@pytest.mark.parametrize("payload", [PAYLOADS[17], PAYLOADS[26]])
def test_each_script_payload_runs_in_the_page_if_escaping_is_off(serve, browser, image, payload):
    page = browser.open(serve(image), bypass_csp=True)
    page.evaluate("text => { document.querySelector('#notes').innerHTML = text; }", payload)
    page.wait_for_function(OWNED)
    browser.problems.clear()


def test_the_content_security_policy_stops_an_unescaped_script(serve, browser, image):
    page = browser.open(serve(image))
    stopped = page.evaluate(
        """text => {
      try { document.querySelector('#notes').innerHTML = text; } catch (error) { return error.name; }
      return "";
    }""",
        PAYLOADS[17],
    )
    assert stopped == "TypeError", "only the page's own policy makes HTML"
    page.wait_for_timeout(300)
    assert not is_owned(page)
    browser.problems.clear()
