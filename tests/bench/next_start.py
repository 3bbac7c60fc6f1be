"""The time of `templater diff incus:` for many stopped instances, compared with the same requests by curl.

The benchmark starts Debian's Incus, so it needs root. Each instance has six files. The only argument is
another number of instances. Three values have a limit, and the exit code is 1 if one of them exceeds its
limit:

* the ratio of templater's time to curl's time
* the time until the first line of output
* the peak memory
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.live.harness import make_image, run
from tests.live.incus import Incus, an_incus
from tests.reading_proxy import reading_proxy

FILES = 6
MOST, MOST_FIRST, MOST_MEMORY = 0.7, 1.0, 120_000_000
METADATA = "architecture: x86_64\ncreation_date: 1700000000\nproperties: {os: tiny}\ntemplates:\n" + "".join(
    f"  /etc/dir{number % 3}/file{number}: {{when: [create, start], template: {number}.tpl}}\n"
    for number in range(FILES)
)
TEMPLATES = {
    f"{number}.tpl": f"# file {number} of {{{{ instance.name }}}}\n{{{{ config_get('user.foo', 'none') }}}}\n"
    * 8
    for number in range(FILES)
}


def make_instances(incus: Incus, folder: Path, count: int) -> None:
    make_image(folder, METADATA, TEMPLATES)
    for number in range(FILES):
        place = folder / f"rootfs/etc/dir{number % 3}/file{number}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("old\n" * 20)
    run("tar", "-C", str(folder), "-cf", str(folder / "image.tar"), "metadata.yaml", "templates", "rootfs")
    incus("image", "import", str(folder / "image.tar"), "--alias", "t")
    script = (
        f"for i in $(seq 0 {count - 1}); do incus create t i$i </dev/null >/dev/null 2>&1 || exit 1; done"
    )
    run("sh", "-c", script, env=incus.environment, timeout=3600)


def measure(path: str) -> tuple[float, float, int, int]:
    """Run `diff incus:`.

    Return the seconds, the seconds until the first line, the peak memory, and the lines.
    """
    start = time.monotonic()
    program = subprocess.Popen(
        [sys.executable, "-m", "templater", "diff", "incus:"],
        env={**os.environ, "INCUS_SOCKET": path}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert program.stdout is not None
    program.stdout.readline()
    first = time.monotonic() - start
    lines = 1 + len(program.stdout.readlines())
    _, _, usage = os.wait4(program.pid, 0)
    return time.monotonic() - start, first, usage.ru_maxrss * 1024, lines


def curl_loop(path: str, requests: list[str]) -> float:
    """Send the requests with curl, one after the other, and return the seconds."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
        for request in requests:
            method, _, url = request.partition(" ")
            head = "-I " if method == "HEAD" else ""
            script.write(
                f"curl -s -o /dev/null {head}--unix-socket {path} {shlex.quote('http://localhost' + url)}\n"
            )
        script.flush()
        start = time.monotonic()
        subprocess.run(["sh", script.name], check=True)
        return time.monotonic() - start


def main(arguments: list[str]) -> int:
    count = int(arguments[0]) if arguments else 500
    within = True
    for incus in an_incus():
        folder = incus.folder.parent / "image"
        folder.mkdir()
        make_instances(incus, folder, count)
        path = str(incus.folder / "unix.socket")
        with reading_proxy(path) as proxy:
            *_, lines = measure(proxy.path)
            requests = list(proxy.requests)
        assert lines == count, lines
        seconds, first, memory, _ = measure(path)
        loop = curl_loop(path, requests)
        within = seconds <= MOST * loop and memory <= MOST_MEMORY and first <= MOST_FIRST
        sys.stdout.write(
            f"{count} instances, {len(requests)} requests: {seconds:.1f} s, curl {loop:.1f} s, {seconds / loop:.2f} x\n"
            f"first line after {first:.2f} s, {memory / 1e6:.0f} MB\n"
        )
    sys.stdout.write(f"limits: {MOST} x, {MOST_FIRST} s, {MOST_MEMORY / 1e6:.0f} MB\n")
    return int(not within)
