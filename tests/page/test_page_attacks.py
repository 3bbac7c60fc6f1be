"""Requests that are not from the page of this server: rebound names, other pages, guesses, floods, other users."""

import asyncio
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from templater.cli.watch_page.worker_process import WAITING
from tests.page.conftest import ROOT, copied_image, serving
from tests.web_pages import an_image

pytestmark = pytest.mark.slow

VIEW = json.dumps({"place": {}, "edits": {}}).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server for all tests that neither overload nor change it."""
    with serving() as serve:
        yield logged_in(serve, copied_image(tmp_path_factory.mktemp("served")))


@pytest.fixture
def own_server(serve, image):
    return logged_in(serve, image)


def logged_in(serve, image):
    running = serve(image, "--name", "web1")
    running.log_in()
    return running


def test_every_response_forbids_foreign_scripts_and_framing(server):
    for path in ("/", "/assets/page.js", "/nothing", "/?token=wrong"):
        _, headers, _ = server.request(path)
        policy = headers["Content-Security-Policy"].split("; ")
        assert "default-src 'none'" in policy
        assert {"script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} <= set(
            policy
        )
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_the_token_gives_an_http_only_cookie_exactly_once(serve, image):
    server = serve(image)
    path = server.address.removeprefix(server.origin)
    status, headers, body = server.request(path)
    assert (status, headers["Location"], body) == (303, "/", b"")
    value, *flags = headers["Set-Cookie"].split("; ")
    assert value.startswith(f"templater-{server.port}=")
    assert flags == ["HttpOnly", "SameSite=Strict", "Path=/"]
    status, headers, body = server.request(path)
    assert status == 403
    assert "Set-Cookie" not in headers
    assert b"each address works once" in body
    assert server.request(path, Cookie=value)[0] == 303, "the same browser may open the address again"


@pytest.mark.parametrize("token", ["", "x", "%00", "%ff", "a" * 5000, "None", "../token"])
def test_a_wrong_token_is_refused(serve, image, token):
    server = serve(image)
    status, headers, _ = server.request(f"/?token={token}")
    assert status in (400, 403)
    assert "Set-Cookie" not in headers
    server.log_in()  # a wrong guess does not use up the token


@pytest.mark.parametrize("path", ["/view", "/findings"])
@pytest.mark.parametrize(
    "cookie",
    [None, "", "templater=x", "templater-{port}=", "templater-{port}=wrong", "templater-{port}=\xff"],
)
def test_a_request_without_the_cookie_is_refused(server, path, cookie):
    sent = None if cookie is None else cookie.replace("{port}", str(server.port))
    assert server.request(path, "POST", VIEW, Cookie=sent)[0] == 403
    assert server.request("/events", Cookie=sent)[0] == 403


@pytest.mark.parametrize(
    "host",
    ["attacker.example", "attacker.example:{port}", "localhost:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.2:{port}",
     "[::1]:{port}", "127.0.0.1:{port}.attacker.example", "127.1:{port}", "", None],
)  # fmt: skip
def test_a_request_with_a_foreign_host_name_is_refused(server, host):
    sent = None if host is None else host.replace("{port}", str(server.port))
    for path, method, body in (("/", "GET", None), ("/assets/page.js", "GET", None), ("/view", "POST", VIEW)):
        assert server.request(path, method, body, Host=sent)[0] in (400, 403)


@pytest.mark.parametrize(
    "origin",
    [
        "http://attacker.example",
        "null",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1",
        "http://localhost:{port}",
        None,
        "",
    ],
)
def test_a_request_with_a_foreign_origin_is_refused(server, origin):
    sent = None if origin is None else origin.replace("{port}", str(server.port))
    assert server.request("/view", "POST", VIEW, Origin=sent)[0] == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("path", ["/events", "/assets/page.js", "/"])
def test_a_request_from_a_page_on_another_port_is_refused(server, site, path):
    """Cookies and SameSite ignore ports, so another server on loopback counts as the same site."""
    assert server.request(path, Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors")[0] == 403


@pytest.mark.parametrize(
    "path",
    ["/assets/../page.html", "/assets/..%2fviews.py", "/assets/%2e%2e/html.py", "/../../../../etc/passwd", "/assets//etc/passwd",
     "/assets/....//etc/passwd", "/assets/page.js%00", "/assets/report.js", "/assets/", "/assets", "/assets/page.js/",
     "//etc/passwd", "/file:///etc/passwd", "/assets/..\\..\\html.py", "/templates/hostname.tpl", "/metadata.yaml", "/favicon.ico"],
)  # fmt: skip
def test_the_page_server_serves_only_the_files_of_the_page(server, path):
    status, _, body = server.request(path)
    assert (status, body) == (404, b"not found\n")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "PROPFIND"])
def test_the_page_server_refuses_methods_other_than_get_and_post(server, method):
    assert server.request("/", method, Origin=server.origin)[0] == 405


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"{", 400), (b"[]", 400), (b"null", 400), (b'"x"', 400), (b"{}", 400), (b"\xff", 400), (b"[" * 100_000, 400),
     (b'{"place": 1}', 400), (b'{"place": []}', 400)],
)  # fmt: skip
def test_a_request_with_an_invalid_body_is_refused(server, body, status):
    assert server.request("/view", "POST", body)[0] == status
    assert server.view()["list"]


@pytest.mark.parametrize(
    "question",
    [{"place": {"file": 1}}, {"place": {}, "edits": []}, {"place": {}, "edits": {"web1": {"name": 1}}},
     {"place": {}, "edits": {"web1": {"config": {"a": None}}}}, {"place": {}, "edits": {"web1": {"profiles": [{}]}}},
     {"place": {}, "edits": {"web1": {"profiles": [{"name": "a"}, {"name": "a"}]}}},
     {"place": {}, "edits": {"web1": {"type": "../vm"}}}, {"place": {}, "edits": {"web1": {"name": "../../etc"}}},
     {"place": {"host": "../x", "trigger": "x,y", "instance": "../x", "beside": "host:../x", "file": "../../etc/passwd"}},
     {"place": {"beside": "trigger:" + "start," * 1000}}, {"place": {}, "kind": "findings", "version": "x"}],
)  # fmt: skip
def test_a_request_with_invalid_values_gets_an_answer_without_a_traceback(server, question):
    status, _, body = server.request("/view", "POST", json.dumps(question).encode())
    assert status == 200
    assert b"Traceback" not in body
    assert b"root:" not in body
    assert server.view()["list"]


def test_a_request_with_a_wrong_content_type_is_refused(own_server):
    assert own_server.request("/view", "POST", VIEW, Content_Type="text/plain")[0] == 415
    with pytest.raises((ConnectionError, BrokenPipeError)):
        own_server.request("/view", "POST", b" " * (3 << 20))
    assert own_server.view()["list"]


def test_none_of_a_thousand_concurrent_requests_hangs(own_server, restored_process):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    head = (
        f"POST /view HTTP/1.1\r\nHost: 127.0.0.1:{own_server.port}\r\nOrigin: {own_server.origin}\r\nCookie: {own_server.cookie}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(VIEW)}\r\nConnection: close\r\n\r\n"
    ).encode()
    answers: Counter[str] = Counter()

    async def one():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", own_server.port)
            writer.write(head + VIEW)
            answer = await reader.read()
            writer.close()
            answers[answer[9:12].decode() or "closed"] += 1
        except ConnectionError:
            answers["closed"] += 1

    async def every():
        requests = asyncio.gather(*(one() for _ in range(1000)))
        while answers.total() < 1000 - WAITING:
            await asyncio.sleep(0.05)
        os.kill(child, signal.SIGCONT)
        await requests

    own_server.view()
    child = child_of(own_server)
    os.kill(child, signal.SIGSTOP)  # so that the requests are faster than the renderer on every machine
    asyncio.run(every())
    assert answers.total() == 1000
    assert set(answers) <= {"200", "503", "closed"}
    assert answers["200"] <= WAITING, "few requests wait for an answer"
    assert answers["503"] > 0
    assert own_server.view()["list"]
    assert child_of(own_server) == child


def test_an_endless_template_ends_at_a_limit_without_blocking_the_server(serve, tmp_path):
    loops = "{% for a in x %}" * 6 + "{% endfor %}" * 6
    template = '{% set x = "' + "a" * 60 + '" %}' + loops
    image = an_image(tmp_path / "image", {"/etc/a": {"when": ["create"], "template": "t"}}, {"t": template})
    server = serve(image, "--limit", "time=8", "--limit", "template-time=8", "--limit", "steps=100g")
    server.log_in()
    answers = []
    asking = threading.Thread(target=lambda: answers.append(server.view()))
    asking.start()
    assert server.request("/")[0] == 200
    assert not answers
    asking.join()
    assert "longer than" in answers[0]["file"]


def child_of(server) -> int:
    (pid,) = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return int(pid)


def test_a_killed_renderer_is_replaced_at_the_next_request(own_server):
    own_server.view()
    os.kill(child_of(own_server), signal.SIGKILL)
    end = time.monotonic() + 60
    while "list" not in own_server.view():
        assert time.monotonic() < end
    os.kill(child_of(own_server), signal.SIGSTOP)  # as if a hostile template hung in the interpreter
    answer = []
    asking = threading.Thread(target=lambda: answer.append(own_server.view()))
    asking.start()
    time.sleep(0.5)
    os.kill(child_of(own_server), signal.SIGKILL)
    asking.join()
    assert "ended unexpectedly" in answer[0]["problem"]
    assert own_server.view()["list"]


AS_NOBODY = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)  # from here on, no module may be readable
client = socket.socket()
client.connect(("127.0.0.1", int(sys.argv[1])))
client.sendall(f"GET {sys.argv[2]} HTTP/1.0\\r\\nHost: 127.0.0.1:{sys.argv[1]}\\r\\n\\r\\n".encode())
answer = b""
while piece := client.recv(65536):
    answer += piece
sys.stdout.buffer.write(answer)
"""


def test_repeated_page_requests_over_a_limit_do_not_increase_memory_use(serve, tmp_path):
    rules = {f"/etc/{number}": {"when": ["create"], "template": "a"} for number in range(1500)}
    server = serve(an_image(tmp_path / "image", rules, {"a": '{{ "x"|ljust:260000 }}{{ path }}'}))
    server.log_in()
    peaks = []
    for _ in range(3):
        assert "MiB in total" in json.dumps(server.view())
        status = Path(f"/proc/{child_of(server)}/status").read_text()
        peaks.append(int(re.search(r"VmHWM:\s+(\d+)", status)[1]))
    assert peaks[-1] < 1.3 * peaks[0]


@pytest.mark.parametrize("name", ["json.py", "templater/__init__.py"])
def test_the_renderer_runs_no_module_of_the_current_directory(serve, tmp_path, name):
    image = an_image(tmp_path / "image", {"/a": {"when": ["create"], "template": "a"}}, {"a": "text"})
    module = Path(image, name)
    module.parent.mkdir(exist_ok=True)
    module.write_text(f"open({str(tmp_path / 'has-run')!r}, 'w')\n")
    server = serve(".", cwd=image)
    server.log_in()
    assert "text" in server.view()["file"]
    assert not (tmp_path / "has-run").exists()


def test_another_user_of_the_machine_is_refused_even_with_the_token(serve, image):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    server = serve(image)
    path = server.address.removeprefix(server.origin)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(server.port), path], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("HTTP/1.0 403 ")
    assert done.stdout.endswith("this page belongs to another user\n")
    server.log_in()


def test_the_page_server_refuses_to_run_as_root_without_an_option(image):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    done = subprocess.run(
        [sys.executable, "-m", "templater", "watch", str(image), "--web"], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (3, "")
    assert "--allow-root" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["--open"],
        ["--port", "80"],
        ["--instances", "x"],
        ["--allow-root"],
        ["--web", "--test"],
        ["--web", "--json"],
        ["--web", "--allow-root", "-i", "-"],
        ["--web", "--instances", "x", "--type", "container"],
    ],
)
def test_invalid_option_combinations_are_refused(image, words):
    done = subprocess.run(
        [sys.executable, "-m", "templater", "watch", str(image), *words], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 2
    assert "--web" in done.stderr or "--instances" in done.stderr


def test_ctrl_c_ends_the_server_and_its_renderers(serve, image):
    server = serve(image)
    server.log_in()
    server.view()
    child = child_of(server)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(60) == 0
    assert not Path(f"/proc/{child}").exists()
