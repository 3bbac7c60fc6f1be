"""The page of ``templater watch --web``: the time from a key press to the changed preview, in a real Chromium.

The browser itself measures the time: from the key's event until the document shows the effect of the key.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

IMAGES = Path(__file__).resolve().parents[2] / "sample-images"
#: milliseconds that the median may take
LIMIT = 100.0
#: for each measured image: the field in which the text is typed, and the open file
CASES = {
    "debian-cloud": ("#name", "/etc/hosts"),
    "debian-cloud, 3 kB of user-data": (
        "textarea[data-key='user.user-data']",
        "/var/lib/cloud/seed/nocloud-net/user-data",
    ),
}

#: resolves with the milliseconds until the results contain the text
MEASURE = """([selector, text]) => new Promise((resolve) => {
  const field = document.querySelector(selector);
  const results = document.querySelector("#file");
  field.addEventListener("keydown", () => {
    const begin = performance.now();
    const observer = new MutationObserver(() => {
      if (!results.textContent.includes(text)) return;
      observer.disconnect();
      resolve(performance.now() - begin);
    });
    observer.observe(results, { childList: true, subtree: true, characterData: true });
  }, { once: true, capture: true });
})"""


def measure(page: Any, field: str, path: str, rounds: int) -> list[float]:
    page.locator(f'#list a[data-path="{path}"]').click()
    page.locator("#file > h2", has_text=path).wait_for()
    page.locator(field).fill("x" if field == "#name" else "#cloud-config\n" + "# a line of user-data\n" * 140)
    page.wait_for_timeout(1000)
    page.locator(field).press("End")
    times = []
    typed = "x"
    for number in range(rounds):
        key = "abcdefghij"[number % 10]
        typed += key
        text = typed if field == "#name" else typed[1:]
        measured = page.evaluate_handle(f"argument => ({{ promise: ({MEASURE})(argument) }})", [field, text])
        page.locator(field).press(key)
        times.append(float(page.evaluate("handle => handle.promise", measured)))
    return times


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench page", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args(arguments)
    from playwright.sync_api import sync_playwright

    command = [
        sys.executable,
        "-m",
        "templater",
        "watch",
        str(IMAGES / "debian-cloud"),
        "--name",
        "web1",
        "--web",
        "--allow-root",
    ]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    words = ["--no-sandbox"] if os.geteuid() == 0 else []
    lines = ["| image | median ms | least | 90 % |", "|---|--:|--:|--:|"]
    slow = False
    try:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=words)
            page = browser.new_page()
            page.goto(server.stdout.readline().strip())
            page.wait_for_selector("#open")
            for name, (field, path) in CASES.items():
                times = sorted(measure(page, field, path, options.rounds))
                median = statistics.median(times)
                slow = slow or median > LIMIT
                lines.append(
                    f"| {name} | {median:.0f} | {times[0]:.0f} | {times[len(times) * 9 // 10]:.0f} |"
                )
            browser.close()
    finally:
        server.terminate()
        server.wait()
    sys.stdout.write("\n".join(lines) + "\n")
    return int(slow)
