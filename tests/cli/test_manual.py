"""The man pages: their content, and the warnings of man and mandoc."""

import re
import shutil
import subprocess

import click
import pytest

from templater.cli import manual
from templater.cli.manual import contexts, page_name, pages, shared_files
from templater.cli.run_command_line import command

DATE = "2026-11-28"
COMMANDS = {page_name(ctx): ctx for ctx in contexts(click.Context(command, info_name="templater"))}


@pytest.fixture(scope="module")
def written():
    return dict(pages(DATE))


def plain(page):
    """Return a page without its markup."""
    special = {
        r"\[u2026]": "…",
        r"\&": "",
        **{escape: text for text, escape in manual.SPECIAL.items() if text != "\\"},
    }
    for escaped, text in special.items():
        page = page.replace(escaped, text)
    page = re.sub(r"\\f[BIR]", "", page)
    return page.replace(r"\e", "\\")


def test_each_command_has_a_man_page(written):
    assert written.keys() == COMMANDS.keys()
    assert {"templater", "templater-preview", "templater-image-template-edit"} <= written.keys()


def test_each_option_is_on_the_man_page_of_its_command(written):
    for name, ctx in COMMANDS.items():
        text = plain(written[name])
        for param in ctx.command.get_params(ctx):
            if isinstance(param, click.Option) and not param.hidden:
                for option in (*param.opts, *param.secondary_opts):
                    assert re.search(rf"^(.* )?{re.escape(option)}(,? .*)?$", text, re.MULTILINE), (
                        name,
                        option,
                    )


def test_the_help_of_each_command_and_option_consists_of_sentences():
    for name, ctx in COMMANDS.items():
        about = (
            (ctx.command.help or "").partition("\b")[0].partition("Example")[0].strip()
        )  # \b: a block of lines
        assert about.endswith((".", ":")), (name, about)
        for param in ctx.command.get_params(ctx):
            if isinstance(param, click.Option) and param.help:
                assert param.help.strip().endswith((".", "]", ")")), (name, param.opts)


def test_the_whole_help_of_each_command_is_on_its_man_page(written):
    for name, ctx in COMMANDS.items():
        words = "".join(plain(written[name]).replace("`", "").split())
        for line in (ctx.command.help or "").replace("\b", "").replace("`", "").splitlines():
            if line not in ("Example:", "Examples:"):
                assert "".join(line.split()) in words, (name, line)


def test_the_man_page_of_a_group_lists_its_commands(written):
    text = plain(written["templater-image"])
    for name, ctx in COMMANDS.items():
        if ctx.parent is not None and ctx.parent.command_path == "templater image":
            assert f"\n{name}(1)\n" in text
    headings = re.findall("^[.]SH (.*)$", written["templater-image"], re.MULTILINE)
    assert headings[:4] == ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"] and "COMMANDS" in headings


def test_a_help_text_cannot_become_a_troff_command():
    assert manual.filled(r"'a' \n .b") == [r"\(aqa\(aq \en .b"]
    assert manual.literal("\\-'^~`\"…") == r"\e\-\(aq\(ha\(ti\(ga\(dq\[u2026]"
    assert manual.filled(".so /etc/passwd") == [r"\&.so /etc/passwd"]
    assert [*manual.preformatted(["  .so x", "  'a"])][2:4] == [r"\&.so x", r"\(aqa"]


def test_packages_install_man_pages_and_completions_for_both_command_names():
    names = [name for name in shared_files(DATE) if not name.startswith("man/man1/templater-")]
    assert sorted(names) == [
        "bash-completion/completions/image-templater", "bash-completion/completions/templater",
        "fish/vendor_completions.d/image-templater.fish", "fish/vendor_completions.d/templater.fish",
        "man/man1/image-templater.1", "man/man1/templater.1", "zsh/site-functions/_templater",
    ]  # fmt: skip


def test_the_man_pages_have_the_date_from_source_date_epoch(monkeypatch, tmp_path):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    manual.write_files(str(tmp_path / "one"))
    first = (tmp_path / "one/man/man1/templater.1").read_text().partition("\n")[0]
    assert first.startswith('.TH TEMPLATER 1 "2023-11-14" "templater ')
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert manual.release_day() == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"),
        ("mandoc", "-T", "lint", "-W", "warning"),
    ],
    ids=lambda words: words[0],
)
def test_no_man_page_causes_a_formatting_warning(words, written, tmp_path):
    if shutil.which(words[0]) is None:
        pytest.skip(f"NOT RUN: needs {words[0]}")
    for name, text in written.items():
        path = tmp_path / f"{name}.1"
        path.write_text(text)
        done = subprocess.run([*words, path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert not done.stderr, done.stderr
        assert words[0] == "man" or not done.stdout, done.stdout


@pytest.mark.slow
def test_the_man_program_finds_the_name_line_of_each_page(written, tmp_path):
    """``apropos`` and ``whatis`` use the name line of a man page."""
    if shutil.which("lexgrog") is None:
        pytest.skip("NOT RUN: needs lexgrog, of man-db")
    for name, text in written.items():
        path = tmp_path / f"{name}.1"
        path.write_text(text)
        done = subprocess.run(["lexgrog", path], capture_output=True, text=True, check=True)
        assert done.stdout.startswith(f'{path}: "{name} - ')


def test_man_pages_have_bold_options_and_italic_values():
    words = {
        "--as,": r"\fB\-\-as\fR,",
        "-h": r"\fB\-h\fR",
        "HOST": r"\fIHOST\fR",
        "/": r"\fR/\fR",
        "": r"\fR\fR",
    }
    assert {word: manual.marked(word) for word in words} == words
