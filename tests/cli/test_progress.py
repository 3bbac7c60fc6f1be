"""Progress messages appear on a terminal only."""

import io
import os
import re
import sys
import time
from types import SimpleNamespace

import pytest
from rich.cells import cell_len

from templater.cli import progress as progress_module
from templater.cli.progress import of_packed, progress, tree_size
from templater.image.build import Packing, build
from templater.image.read_whole_image import DirectoryContents, open_contents
from templater.image.replace_files import replace
from templater.image.unpack import unpack


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_not_written_to_a_pipe(monkeypatch):
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    with progress("packing") as show:
        show(64, 1 << 30, "name")
    assert pipe.getvalue() == ""


def a_terminal(monkeypatch):
    """Replace standard error by a terminal.

    A fixture could not, because pytest itself replaces standard error before the test begins.
    """
    found = Terminal()
    monkeypatch.setattr(sys, "stderr", found)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(progress_module, "DELAY", 0)
    monkeypatch.setattr(progress_module, "INTERVAL", 0)
    return found


def shown_after(bar, *calls):
    """Call ``bar`` with each of ``calls``, after the display thread has begun to show progress."""
    while bar.__self__.bars is None:
        time.sleep(0.01)
    for call in calls:
        bar(*call)


def test_progress_on_a_terminal_shows_escaped_file_names(monkeypatch):
    terminal = a_terminal(monkeypatch)
    with progress("packing") as show:
        shown_after(show, (64, 5 << 20, "etc/\x1b[31mred [bold]x"))
    assert "packing: 64 files, 5 MiB" in terminal.getvalue()
    assert "etc/\\x1b[31mred [bold]x" in terminal.getvalue()


@pytest.mark.parametrize("color", ["always", "never", "auto"])
def test_progress_has_colours_unless_the_user_disables_them(color, monkeypatch):
    terminal = a_terminal(monkeypatch)
    monkeypatch.setattr("templater.cli.terminal._State.color", color)
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    with progress("packing", total=lambda: 4 << 20) as show:
        shown_after(show, (1, 1 << 20, "large"))
    has_colours = re.search(r"\x1b\[(?!0m)[0-9;]*m", terminal.getvalue()) is not None
    assert has_colours == (color != "never")


def test_progress_without_a_known_total_has_the_elapsed_time(monkeypatch):
    terminal = a_terminal(monkeypatch)
    with progress("fetching") as show:
        shown_after(show, (0, 5 << 20, "rootfs"))
        time.sleep(0.01)  # the rate needs two different times
        for size in (9, 12):
            show(0, size << 20, "rootfs")
    assert re.search(r"fetching: 12 MiB at [\d.]+ MiB/s", terminal.getvalue())
    assert re.search(r"0:00:0\d", terminal.getvalue())


def test_progress_with_a_known_total_has_a_bar(monkeypatch):
    terminal = a_terminal(monkeypatch)
    with progress("packing", total=lambda: 4 << 20) as show:
        shown_after(show, (1, 1 << 20, "large"))
        time.sleep(0.01)  # the rate needs two different times
        show(1, 2 << 20, "large")
    assert "packing: 1 files" in terminal.getvalue()
    assert "2.0/4.0 MiB" in terminal.getvalue()
    assert re.search(r"[0-9.]+ MiB/s", terminal.getvalue())
    assert re.search(r"0:00:0\d", terminal.getvalue())


def test_the_progress_display_becomes_a_bar_when_the_total_becomes_known(monkeypatch):
    """A server announces the size of the second file only after the first."""
    terminal = a_terminal(monkeypatch)
    with progress("fetching") as show:
        shown_after(show, (0, 1 << 20, "metadata"))
        assert "/8.0 MiB" not in terminal.getvalue()
        for size in (1, 2, 4):
            time.sleep(0.01)
            show(0, size << 20, "rootfs", 8 << 20)
    assert "4.0/8.0 MiB" in terminal.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["unpack", "pack", "edit"])
def test_the_archive_size_is_the_total_of_the_progress(command, tmp_path):
    """The progress counts the bytes read from an archive, because the number of bytes to write is unknown."""
    image = tmp_path / "image"
    (image / "rootfs").mkdir(parents=True)
    (image / "metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n")
    for name in "abcd":
        (image / "rootfs" / name).write_bytes(os.urandom(2 << 20))
    archive = str(tmp_path / "image.tar.gz")
    contents = DirectoryContents(str(image))
    build(contents, contents.parts(), archive, Packing(compression="gzip", level=1))
    size = os.path.getsize(archive)
    seen: list[tuple[int, int]] = []

    def show(items: int, size: int, name: str, total: int = 0, /) -> None:
        seen.append((size, total))

    read = open_contents(archive)
    if command == "unpack":
        unpack(read, read.parts(), str(tmp_path / "made"), progress=of_packed(read, show))
    elif command == "pack":
        build(
            read,
            read.parts(),
            str(tmp_path / "b.tar.gz"),
            Packing(compression="gzip", level=1),
            progress=of_packed(read, show),
        )
    else:
        replace(archive, {"metadata.yaml": b"architecture: x86_64\ncreation_date: 2\n"}, {}, progress=show)
    within = [done for done, total in seen if total]
    assert len(set(within)) >= 4 and within == sorted(within) and within[-1] <= size
    assert seen[-1][1] == pytest.approx(size, abs=4096)


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_the_progress_bar_fits_into_one_line(columns, monkeypatch):
    terminal = a_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", str(columns))
    with progress("packing", total=lambda: 300 << 20) as show:
        shown_after(show, (12345, 100 << 20, "a/very/long/directory/for/a/file/with-a-long-name"))
        time.sleep(0.01)
        show(12345, 200 << 20, "a/very/long/directory/for/a/file/with-a-long-name")
    frames = re.split(r"\x1b\[[0-9;?]*[A-Za-z]", terminal.getvalue())
    text = "".join(frames)
    assert "200.0/300.0 MiB" in text
    assert ("long-name" in text) == (columns == 100)
    assert all(cell_len(line) <= columns for line in re.split("[\r\n]", text))


def test_a_quick_operation_shows_no_progress(monkeypatch):
    terminal = a_terminal(monkeypatch)
    monkeypatch.setattr(progress_module, "DELAY", 60)
    with progress("packing") as show:
        show(1, 1 << 20, "small")
    assert terminal.getvalue() == ""


def test_building_an_image_shows_progress_within_a_large_file(tmp_path):
    image = tmp_path / "image"
    (image / "rootfs").mkdir(parents=True)
    (image / "metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n")
    (image / "rootfs" / "large").write_bytes(b"x" * (9 << 20))
    contents = DirectoryContents(str(image))
    seen = []
    build(
        contents, contents.parts(), str(tmp_path / "out.tar"), Packing(compression="none"),
        progress=lambda members, size, name: seen.append((name, size >> 20)),
    )  # fmt: skip
    within = [size for name, size in seen if name.endswith("large")]
    assert within == sorted(within)
    assert len(set(within)) >= 5


def test_total_size_of_a_tree_includes_only_regular_files(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"x" * 1000)
    (tmp_path / "c").write_bytes(b"x" * 10)
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert tree_size(str(tmp_path)) == 1010


def test_the_progress_bar_is_updated_ten_times_a_second(monkeypatch):
    terminal = a_terminal(monkeypatch)
    now = [1000.0]
    monkeypatch.setattr(progress_module, "INTERVAL", 0.1)
    monkeypatch.setattr(progress_module, "monotonic", lambda: now[0])
    bar = progress_module._Bar("packing", "files", None)
    bar.start()
    texts = []
    for seconds, count in ((0, 1), (0.09, 2), (0.01, 3), (0.05, 4), (0.06, 0)):
        now[0] += seconds
        bar.show(count, 5 << 20, "n")
        texts.append(bar.bars.tasks[0].description)
    bar.stop()
    assert texts == ["packing: 1 files, 5 MiB"] * 2 + ["packing: 3 files, 5 MiB"] * 2 + ["packing: 5 MiB"]
    assert terminal.getvalue()


@pytest.mark.parametrize(("term", "shown"), [("dumb", False), ("xterm", True), (None, True)])
def test_a_terminal_without_cursor_movement_shows_no_progress(term, shown, monkeypatch):
    a_terminal(monkeypatch)
    monkeypatch.delenv("TERM")
    if term is not None:
        monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(progress_module, "DELAY", 60)
    with progress("packing") as show:
        assert (show is not progress_module.silent) == shown
    with progress("packing", shown=False) as show:
        assert show is progress_module.silent


@pytest.mark.parametrize(("read", "shown"), [(7, (1, 7, "n", 9)), (0, (1, 5, "n", 0))])
def test_the_progress_of_an_archive_counts_its_packed_bytes(read, shown):
    calls = []

    def show(*words):
        calls.append(words)

    of_packed(SimpleNamespace(packed_size=9, packed_read=read), show)(1, 5, "n")
    assert calls == [shown]
    assert of_packed(SimpleNamespace(packed_size=0, packed_read=0), show) is show
