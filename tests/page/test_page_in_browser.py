"""The page of `watch --web` in a real browser: edits, changes of files, tabs, a restart, sizes, the keyboard."""

import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.page.conftest import ROOT
from tests.web_pages import an_image

pytestmark = pytest.mark.slow

META_DATA = "/var/lib/cloud/seed/nocloud-net/meta-data"


def value_of(page):
    """Return the text of the open file's results."""
    return page.locator("#file .results")


def open_file(page, path):
    page.locator(f'#list a[data-path="{path}"]').click()
    page.locator("#file > h2", has_text=path).wait_for()


def test_editing_a_key_in_the_form_changes_the_preview(serve, browser, image, expect):
    page = browser.open(serve(image))
    open_file(page, META_DATA)
    page.locator('textarea[data-key="user.meta-data"]').fill("role: web")
    expect(value_of(page)).to_contain_text("role: web")
    page.locator('textarea[data-key="user.meta-data"]').fill("")
    expect(value_of(page)).not_to_contain_text("role: web")


def test_editing_name_and_type_changes_the_preview(serve, browser, image, expect):
    page = browser.open(serve(image))
    open_file(page, "/etc/hostname")
    page.locator("#name").fill("db7")
    expect(value_of(page)).to_contain_text("db7")
    page.locator("#type").select_option("virtual-machine")
    expect(page.locator("#list")).to_contain_text("hostname.tpl.out")
    page.locator("#name").fill("a/b")
    expect(page.locator("#file .code.error")).to_contain_text("invalid instance name 'a/b'")


def test_a_user_can_edit_and_reorder_profiles(serve, browser, image, expect):
    page = browser.open(serve(image))
    open_file(page, META_DATA)
    for name in ("base", "site"):
        page.locator("#add-profile").fill(name)
        page.keyboard.press("Enter")
        expect(page.locator(f'[data-apply="{name}"]')).to_be_focused()
        page.locator(f'[data-add="{name}"]').fill("user.meta-data")
        page.keyboard.press("Enter")
        field = page.locator(f'textarea[data-profile="{name}"]')
        expect(field).to_be_focused()
        field.fill(f"from: {name}")
    expect(value_of(page)).to_contain_text("from: site")
    page.locator('[data-raise="site"]').click()
    expect(value_of(page)).to_contain_text("from: base")
    page.locator('[data-apply="base"]').uncheck()
    expect(value_of(page)).to_contain_text("from: site")
    expect(page.locator("#edited")).to_contain_text("edits")
    page.locator("#reset").click()
    expect(page.locator("fieldset")).to_have_count(0)


def test_the_page_address_and_browser_storage_never_contain_configuration_values(
    serve, browser, image, expect
):
    page = browser.open(serve(image))
    open_file(page, META_DATA)
    page.locator('textarea[data-key="user.meta-data"]').fill("hunter2-is-secret")
    expect(value_of(page)).to_contain_text("hunter2-is-secret")
    page.locator("#host").select_option("lxd")
    expect(page).to_have_url(re.compile("host=lxd"))
    assert "hunter2" not in page.url
    kept = page.evaluate(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, history.state])"
    )
    assert json.loads(kept) == [{}, {}, "", None]
    assert all("hunter2" not in address for address in browser.requests)


def test_the_page_address_selects_host_and_file(serve, browser, image, expect):
    page = browser.open(serve(image), "#host=lxd&trigger=create&file=/etc/hosts&beside=host:incus")
    expect(page.locator("#host")).to_have_value("lxd")
    expect(page.locator("#beside")).to_have_value("host:incus")
    expect(page.locator("#file > h2")).to_have_text("/etc/hosts")
    open_file(page, "metadata.yaml")
    page.go_back()
    expect(page.locator("#file > h2")).to_have_text("/etc/hosts")
    expect(page.locator("#host")).to_have_value("lxd")


def test_changing_a_template_on_disk_updates_the_preview(serve, browser, image, expect):
    page = browser.open(serve(image))
    open_file(page, "/etc/hostname")
    (image / "templates" / "hostname.tpl").write_text("{{ instance.name }}.example\n")
    expect(value_of(page)).to_contain_text(".example")
    (image / "templates" / "hostname.tpl").write_text("{{ instance.name|nosuch }}\n")
    expect(page.locator("#file .code.error")).to_contain_text("unknown filter 'nosuch'")
    expect(page.locator("#status")).to_contain_text("with problems")
    expect(page.locator("#findings")).to_contain_text("unknown filter 'nosuch'")
    (image / "metadata.yaml").write_text("templates: [")
    expect(page.locator("#file .code.error")).to_contain_text("metadata.yaml:1")
    shutil.copy(ROOT / "sample-images" / "debian-cloud" / "metadata.yaml", image / "metadata.yaml")
    shutil.rmtree(image / "templates")
    expect(page.locator("#status")).to_contain_text("with problems")
    shutil.copytree(ROOT / "sample-images" / "debian-cloud" / "templates", image / "templates")
    expect(page.locator("#status")).to_have_text("live")


def test_a_new_nested_file_updates_the_preview(serve, browser, tmp_path, expect):
    rules = {"/srv/new/nested/file": {"when": ["start"], "template": "t"}}
    image = an_image(tmp_path / "image", rules, {"t": "{{ instance.name }}\n"})
    rootfs = tmp_path / "rootfs"
    rootfs.mkdir()
    page = browser.open(serve(image, rootfs, "--name", "web1"))
    expect(page.locator("#list")).to_contain_text("create")
    (rootfs / "srv" / "new" / "nested").mkdir(parents=True)
    (rootfs / "srv" / "new" / "nested" / "file").write_text("old\n")
    expect(page.locator("#list")).to_contain_text("update")
    (rootfs / "srv" / "new" / "nested" / "file").write_text("web1\n")
    expect(page.locator("#list")).to_contain_text("keep")


def test_the_page_compares_two_instances_side_by_side(serve, browser, tmp_path, expect):
    rules = {"/etc/a": {"when": ["create", "start"], "template": "t"}}
    template = "{{ instance.name }} {{ trigger }} {{ 7/2 }}\n{{ pongo2.version }}\n"
    image = an_image(tmp_path / "image", rules, {"t": template})
    instances = [
        {"name": name, "type": "container", "config": {}, "devices": {}, "profiles": []}
        for name in ("one", "two")
    ]
    (tmp_path / "all.json").write_text(json.dumps(instances))
    page = browser.open(serve(image, "--instances", str(tmp_path / "all.json")))
    sides = page.locator("#file .side")
    page.locator("#beside").select_option("instance:two")
    expect(sides).to_have_count(2)
    expect(sides.nth(0)).to_contain_text("one")
    expect(sides.nth(1)).to_contain_text("two")
    expect(page.locator("#file > details .patch")).to_contain_text("-one")
    page.locator("#beside").select_option("host:lxd-debian")
    expect(sides.nth(0)).to_contain_text("6.")
    expect(sides.nth(1)).to_contain_text("4.0.2")
    page.locator("#beside").select_option("trigger:create")
    expect(sides.nth(1)).to_contain_text("create")
    page.locator("#host").select_option("incus-6.0")
    page.locator("#beside").select_option("host:incus-6.0.4")
    expect(page.locator("#file")).to_contain_text("The same on both sides")


def test_the_page_displays_images_of_archives_and_definitions(serve, browser, image, tmp_path, expect):
    def build(name):
        words = ["image", "build", image, "-o", tmp_path / name]
        subprocess.run([sys.executable, "-m", "templater", *words], cwd=ROOT, check=True)

    build("image.tar.gz")
    page = browser.open(serve(tmp_path / "image.tar.gz", "--name", "web1"))
    open_file(page, "/etc/hosts")
    (image / "templates" / "hosts.tpl").write_text("a new archive\n")
    build("new.tar.gz")
    os.replace(tmp_path / "new.tar.gz", tmp_path / "image.tar.gz")
    expect(value_of(page)).to_contain_text("a new archive")
    page = browser.open(serve(ROOT / "sample-images" / "definitions" / "debian.yaml"))
    expect(page.locator("#list")).to_contain_text("/etc/hostname")


def test_a_click_on_a_finding_opens_the_file_of_the_finding(serve, browser, expect):
    page = browser.open(serve(ROOT / "sample-images" / "broken"))
    finding = page.locator("#finding-list li", has_text="unknown filter 'uper'")
    finding.locator("a").click()
    expect(page.locator("#file > h2")).to_have_text("/etc/filter")
    expect(page.locator("#file .template .finding")).to_contain_text("unknown filter 'uper'")


def test_a_values_origin_appears_on_hover_and_focus(serve, browser, image, expect):
    page = browser.open(serve(image, "--name", "web1"))
    open_file(page, "/etc/hostname")
    page.locator("#file .v").first.hover()
    expect(page.locator("#tip")).to_have_text("instance.name: supplied by the daemon")
    page.mouse.move(5, 5)
    expect(page.locator("#tip")).to_be_hidden()
    page.locator("#file .v").first.focus()
    expect(page.locator("#tip")).to_be_visible()
    assert page.locator("#file .v").first.get_attribute("aria-describedby") == "tip"
    page.keyboard.press("Escape")
    expect(page.locator("#tip")).to_be_hidden()


def test_seven_browser_tabs_show_each_change_of_a_template(serve, browser, image, expect):
    server = serve(image)
    context = browser.context()
    pages = [context.new_page() for _ in range(7)]
    for number, page in enumerate(pages):
        page.goto(server.address if not number else f"{server.origin}/#file=/etc/hostname")
        page.wait_for_selector("#open")
    open_file(pages[0], "/etc/hostname")
    (image / "templates" / "hostname.tpl").write_text("seven\n")
    for page in pages:
        expect(value_of(page)).to_contain_text("seven")


HIDE = """hidden => {
  Object.defineProperty(document, "visibilityState", {configurable: true, get: () => hidden ? "hidden" : "visible"});
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_a_hidden_tab_is_updated_when_visible_again(serve, browser, image, expect):
    page = browser.open(serve(image))
    open_file(page, "/etc/hostname")
    expect(page.locator("#finding-list")).to_contain_text("check found")
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/events")):
        page.evaluate(HIDE, True)
    asked = len([address for address in browser.requests if address.endswith("/view")])
    (image / "templates" / "hostname.tpl").write_text("while hidden\n")
    page.wait_for_timeout(2000)
    assert len([address for address in browser.requests if address.endswith("/view")]) == asked
    page.evaluate(HIDE, False)
    expect(value_of(page)).to_contain_text("while hidden")


def port_that_is_not_given_to_others():
    """Return a free port below those that Linux gives to connections, so that it is free after a restart, too."""
    for port in random.sample(range(20_000, 32_000), 1000):
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def test_edits_on_the_page_survive_a_server_restart(serve, browser, image, expect):
    port = str(port_that_is_not_given_to_others())
    server = serve(image, "--port", port)
    page = browser.open(server)
    open_file(page, "/etc/hostname")
    page.locator("#name").fill("edited")
    expect(value_of(page)).to_contain_text("edited")
    assert server.stop() == 0
    expect(page.locator("#banner")).to_contain_text("Is templater still running?")
    again = serve(image, "--port", port)
    expect(page.locator("#banner")).to_contain_text("no longer valid")
    (image / "templates" / "hostname.tpl").write_text("{{ instance.name }} restarted\n")
    other = page.context.new_page()
    other.goto(again.address)
    expect(page.locator("#banner")).to_contain_text("Another program answers at this address")
    expect(value_of(page)).not_to_contain_text("restarted")
    page.locator("#banner button").click()
    expect(page.locator("#banner")).to_be_hidden()
    expect(value_of(page)).to_contain_text("edited restarted")
    # the browser itself reports requests to a server that is gone, or refuses them
    browser.problems[:] = [text for text in browser.problems if "Failed to load resource" not in text]


def test_the_page_sends_no_edits_to_another_program(serve, browser, image, expect):
    port = port_that_is_not_given_to_others()
    server = serve(image, "--port", str(port))
    page = browser.open(server)
    open_file(page, "/etc/hostname")
    page.locator("#name").fill("secret-1")
    expect(value_of(page)).to_contain_text("secret-1")
    assert server.stop() == 0
    bodies = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.write(b'data: {"version": 99, "changed": [], "secret": "guess"}\n\n')

        def do_POST(self):
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"file": "<b>spoofed</b>"}')

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as stranger:
        threading.Thread(target=stranger.serve_forever, args=(0.05,)).start()
        try:
            expect(page.locator("#banner")).to_contain_text("Another program answers at this address")
            page.locator("#name").fill("secret-2")
            page.wait_for_timeout(1500)
        finally:
            stranger.shutdown()
    assert bodies
    assert not [body for body in bodies if b"secret" in body]
    expect(page.locator("#file")).not_to_contain_text("spoofed")
    page.close()  # it goes on asking for the server that is gone
    browser.problems[:] = [text for text in browser.problems if "Failed to load resource" not in text]


def test_the_page_can_list_and_filter_500_targets(serve, browser, tmp_path, expect):
    templates = {f"t{n}": f"file {n} of {{{{ instance.name }}}}\n" for n in range(500)}
    rules = {f"/etc/{name}": {"when": ["create"], "template": name} for name in templates}
    page = browser.open(serve(an_image(tmp_path / "image", rules, templates)))
    expect(page.locator("#list li")).to_have_count(501)
    page.keyboard.press("/")
    page.keyboard.type("/T499")
    expect(page.locator("#list li:visible")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(value_of(page)).to_contain_text("file 499 of c1")
    page.locator("#name").fill("many")
    expect(value_of(page)).to_contain_text("file 499 of many")


def test_a_click_displays_the_rest_of_a_large_file(serve, browser, tmp_path, expect):
    big = "{{ instance.name }}\n" + "".join(
        f"line {n} of a large file, as templates have it\n" for n in range(45_000)
    )
    assert len(big) > 2_000_000
    image = an_image(tmp_path / "image", {"/etc/big": {"when": ["create"], "template": "big"}}, {"big": big})
    page = browser.open(serve(image))
    expect(value_of(page)).to_contain_text("These are the first 2,000 lines.")
    assert page.locator(".results .l").count() == 2000
    page.locator("#name").fill("fast")
    expect(value_of(page)).to_contain_text("fast")
    page.locator("#file [data-all]").first.click()
    expect(page.locator(".results .l")).to_have_count(45_001)
    expect(value_of(page)).to_contain_text("line 44999 of a large file")


def test_the_page_is_usable_with_the_keyboard_alone(serve, browser, image, expect):
    page = browser.open(serve(image, "--name", "web1"))

    def tab_to(selector):
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"Tab does not reach {selector}")

    tab_to("#host")
    page.keyboard.press("l")  # selects lxd
    expect(page).to_have_url(re.compile("host=lxd"))
    page.keyboard.press("/")
    expect(page.locator("#filter")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#file > h2")).to_have_text("/etc/hosts")
    expect(page.locator('#list a[data-path="/etc/hosts"]')).to_be_focused()
    tab_to("#file .v")
    first = page.evaluate("document.activeElement.textContent")
    expect(page.locator("#tip")).to_be_visible()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.matches('.v')"), first
    tab_to("#name")
    page.keyboard.press("Control+a")
    page.keyboard.type("typed")
    expect(value_of(page)).to_contain_text("typed")
    expect(page.locator("#name")).to_be_focused()
    tab_to("[data-add='']")
    page.keyboard.type("user.mine")
    page.keyboard.press("Enter")
    expect(page.locator('textarea[data-key="user.mine"]')).to_be_focused()


def test_fast_typing_in_the_form_loses_no_character(serve, browser, image, expect):
    page = browser.open(serve(image))
    open_file(page, META_DATA)
    text = "the quick brown fox jumps over the lazy dog"
    page.locator('textarea[data-key="user.meta-data"]').press_sequentially(text)
    expect(value_of(page)).to_contain_text(text)
    expect(page.locator('textarea[data-key="user.meta-data"]')).to_have_value(text)
