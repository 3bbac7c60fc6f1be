"""Previews on a terminal."""

from templater.cli.commands.preview import show_styled
from templater.model.metadata import Rule
from templater.model.plan import CREATE, SKIP, Change
from templater.reporting.report import Block


def test_a_styled_preview_shows_contents_only_for_changes_with_contents(capfdbinary):
    skipped, created, empty = (
        Change(Rule(path, "a.tpl", ("start",)), "start", path, action)
        for path, action in (("/a", SKIP), ("/b", CREATE), ("/c", CREATE))
    )
    show_styled([Block(skipped, "/a"), Block(created, "/b", (), "text\n"), Block(empty, "/c", (), "")])
    first, second, third = capfdbinary.readouterr().out.split(b"==> ")[1:]
    assert b"/a" in first and b"(empty)" not in first
    assert b"text" in second and b"(empty)" not in second
    assert b"/c" in third and b"(empty)" in third
