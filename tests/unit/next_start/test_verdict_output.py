"""The sentences about the next start of an instance."""

import pytest

from templater.live.address import parse_address
from templater.model.errors import HostError
from templater.model.hosts import INCUS
from templater.model.instance import Instance
from templater.model.metadata import Rule
from templater.next_start.verdict_output import counts, heading, sentence, short
from templater.next_start.verdicts import FileVerdict, NextStart


def verdict(word, when=("create",), **fields):
    return FileVerdict(Rule("/a", "t", when=when), "/a", "/a", word, **fields)


def start(*files, **fields):
    return NextStart(
        parse_address("incus:web1"), Instance("web1"), INCUS, ("create", "start"), files, **fields
    )


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (verdict("not rewritten"), "the next start does not rewrite the file (its rule runs on create)"),
        (
            verdict("not rewritten", ()),
            "the next start does not rewrite the file (its rule runs on no trigger)",
        ),
        (verdict("same"), "the next start writes the same content"),
        (verdict("change"), "the next start would change the file"),
        (verdict("create", reason="why"), "the next start would create the file: why"),
        (
            verdict("skip", reason="why"),
            "the next start would skip the file (create_only, and the path exists)",
        ),
        (verdict("write"), "the next start would write the file"),
        (verdict("unreadable"), "the file can't be read"),
        (verdict("fail", reason="why"), "the next start would fail: why"),
        (verdict("unknown"), "the result of the next start is unknown"),
        (
            verdict("same", current="equal"),
            "the next start writes the same content; the file equals the text that the current configuration renders",
        ),
        (
            verdict("same", current="different"),
            "the next start writes the same content; the file differs from the text that the current configuration renders"
            " (cause unknown)",
        ),
        (
            verdict("same", current="missing"),
            "the next start writes the same content; the file does not exist",
        ),
        (
            verdict("same", current="unknown", current_reason="why"),
            "the next start writes the same content; not compared with the current configuration: why",
        ),
    ],
)
def test_the_sentence_about_a_file_gives_its_verdict_and_current_state(file, text):
    assert sentence(file) == text


def test_the_summary_gives_changed_and_failed_and_outdated_files():
    different = verdict("not rewritten", current="different")
    missing = verdict("not rewritten", current="missing", trigger="create")
    for files, fields, words, numbers in (
        ((), {}, "no rules", "no rules"),
        ((verdict("same"),), {}, "nothing changes", "1 same"),
        ((verdict("skip"), verdict("same")), {}, "nothing changes", "1 skip, 1 same"),
        ((verdict("change"), verdict("fail")), {}, "change /a; fail /a", "1 change, 1 fail"),
        (
            (different, missing), {}, "different, but not rewritten: /a, /a",
            "2 not rewritten, 2 different from the current configuration",
        ),
        ((verdict("same"),), {"newer_image": "a newer image"}, "nothing changes; a newer image", "1 same"),
        ((), {"error": HostError("no disk")}, "the start fails: no disk", "no rules"),
    ):  # fmt: skip
        assert short(start(*files, **fields)) == words
        assert counts(start(*files, **fields)) == numbers


def test_the_heading_gives_the_triggers_and_the_error_of_the_start():
    assert heading(start()) == "web1: the next start runs create then start"
    failed = start(error=HostError("no disk"))
    assert heading(failed) == "web1: the next start runs create then start, and fails: no disk"
