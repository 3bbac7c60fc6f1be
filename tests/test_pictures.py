"""The pictures of README.md and docs show what the program prints now. `python -m tests.pictures` makes them again."""

import re
import shutil

import pytest

from tests import pictures

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", pictures.TERMINALS)
def test_the_terminal_picture_in_the_docs_shows_the_current_output(name):
    kept = (pictures.FOLDER / f"{name}.svg").read_text("utf-8")
    shown = pictures.text_of_svg(kept)
    assert shown == pictures.text_of_svg(pictures.terminal(name))
    assert shown.startswith("$ templater ")


@pytest.mark.slow
def test_the_report_picture_in_the_docs_shows_the_current_report(tmp_path):
    pictures.report(tmp_path / "report.html")
    assert (pictures.FOLDER / "report.txt").read_text("utf-8") == pictures.text_of_report(
        tmp_path / "report.html"
    )


@pytest.mark.slow
def test_the_docs_contain_a_picture_of_the_current_page():
    pytest.importorskip("playwright", reason="needs playwright: pip install playwright")
    if shutil.which("chromium") is None:
        pytest.skip("needs chromium")
    assert (pictures.FOLDER / "page.txt").read_text("utf-8") == pictures.page()


def test_documentation_pictures_are_small_and_load_no_other_file():
    files = sorted(path.name for path in pictures.FOLDER.iterdir())
    pages = ["report.png", "report.txt", "page.png", "page.txt"]
    assert files == sorted([*pages, *(f"{name}.svg" for name in pictures.TERMINALS)])
    for path in pictures.FOLDER.iterdir():
        data = path.read_bytes()
        assert len(data) < 150_000
        if path.suffix == ".svg":
            assert not re.search(rb"url\((?!#)|href=|src=|@import|<script|<image|<foreignObject", data)
    assert (pictures.FOLDER / "report.png").read_bytes().startswith(PNG)
    assert (pictures.FOLDER / "page.png").read_bytes().startswith(PNG)
