"""The pictures of README.md and docs, made from the real program: ``python -m tests.pictures``.

A terminal is an SVG by rich. The report and the page of `watch --web` are PNGs by Chromium, with their texts beside them. The tests compare
these texts with what the program prints now.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from html import unescape
from pathlib import Path

import html5lib
from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "pictures"
COLUMNS = 88
#: the terminals by the name of their picture
TERMINALS = {
    "preview": "templater preview sample-images/debian-cloud --name web1 -t create",
    "explain": "templater explain sample-images/debian-cloud cloud-init-meta.tpl --name web1 -t create",
}
REPORT = "templater preview sample-images/debian-cloud --name web1 -c user.meta-data='role: db' --as all --html FILE"
#: the command of the page; root has to allow it
PAGE = "templater watch sample-images/debian-cloud --name web1 -t create --web --allow-root"
#: rich's SVG without the fonts that it fetches from a server
FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: {char_height}px;
  line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    return {**kept, "COLUMNS": str(COLUMNS), "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **more}


def run(command: str) -> str:
    """Return what a command prints on a terminal, with its colours."""
    words = f'templater() {{ {sys.executable} -m templater --color always "$@"; }}; {command}'
    done = subprocess.run(
        ["bash", "-c", words], cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    return done.stdout


def terminal(name: str) -> str:
    """Return the picture of a terminal, as SVG."""
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor",
        legacy_windows=False,
    )  # fmt: skip
    console.print(Text.assemble(("$ ", "bold"), TERMINALS[name]), soft_wrap=True)
    for line in run(TERMINALS[name]).splitlines():
        console.print(Text.from_ansi(line.expandtabs()), soft_wrap=True)
    return console.export_svg(
        title="templater", theme=SVG_EXPORT_THEME, code_format=FORMAT, unique_id=f"t-{name}"
    )


def text_of_svg(svg: str) -> str:
    """Return the lines of a terminal's picture."""
    rows: dict[float, list[tuple[float, str]]] = {}
    for attributes, text in re.findall(r"<text ([^>]*)>([^<]*)</text>", svg):
        x, y = (float(re.search(rf'\b{name}="([\d.]+)"', attributes)[1]) for name in "xy")
        rows.setdefault(y, []).append((x, unescape(text).replace("\xa0", " ")))
    return "\n".join("".join(text for _, text in sorted(rows[y])).rstrip() for y in sorted(rows)) + "\n"


def report(file: Path) -> None:
    command = REPORT.replace("FILE", f"'{file}'")
    words = f'templater() {{ {sys.executable} -m templater "$@"; }}; {command}'
    subprocess.run(["bash", "-c", words], cwd=ROOT, env=environment(), check=True, capture_output=True)


def text_of_report(file: Path) -> str:
    """Return the text of a report's body, without its script."""
    root = html5lib.parse(file.read_text("utf-8"), namespaceHTMLElements=False)
    body = root.find("body")
    for parent in body.iter():
        for child in list(parent):
            if child.tag == "script":
                parent.remove(child)
    lines = (re.sub(r"\s+", " ", line).strip() for line in "".join(body.itertext()).splitlines())
    return "\n".join(line for line in lines if line) + "\n"


def page(picture: Path | None = None) -> str:
    """Return the text of the page of `watch --web` in a real Chromium, and make its picture if asked to."""
    from playwright.sync_api import sync_playwright

    server = subprocess.Popen(
        [sys.executable, "-m", *PAGE.split()], cwd=ROOT, env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    try:
        with sync_playwright() as driver:
            words = ["--no-sandbox"] if os.geteuid() == 0 else []
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=words)
            opened = browser.new_page(viewport={"width": 1440, "height": 760}, color_scheme="light")
            opened.set_default_timeout(120_000)
            opened.goto(server.stdout.readline().strip())
            opened.locator('#list a[data-path$="/meta-data"]').click()
            opened.locator("#finding-list", has_text="check found").wait_for()
            opened.locator('textarea[data-key="user.meta-data"]').fill("role: db\nsite: zürich")
            opened.locator("#file .v", has_text="zürich").first.hover()
            opened.locator("#tip", has_text="user.meta-data").wait_for()
            if picture is not None:
                opened.wait_for_timeout(2000)  # the marks of new lines fade
                opened.screenshot(path=picture)
            text = str(opened.locator("body").inner_text())
            browser.close()
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip()) + "\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in TERMINALS:
        (FOLDER / f"{name}.svg").write_text(terminal(name), "utf-8")
    (FOLDER / "page.txt").write_text(page(FOLDER / "page.png"), "utf-8")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.html"
        report(file)
        (FOLDER / "report.txt").write_text(text_of_report(file), "utf-8")
        words = ["chromium", "--headless", "--disable-gpu", "--hide-scrollbars", "--window-size=1120,1000"]
        words += ["--no-sandbox"] if os.geteuid() == 0 else []
        picture = f"--screenshot={FOLDER / 'report.png'}"
        subprocess.run(
            [*words, f"--user-data-dir={folder}/profile", picture, file.as_uri()],
            check=True,
            capture_output=True,
        )


if __name__ == "__main__":
    main()
