"""Each failure of an expectation: its words, its detail and its hint, without rendering."""

from types import SimpleNamespace

import pytest

from templater.model.errors import LimitError, RenderError
from templater.testing import judge
from templater.testing.judge import (
    Snapshots,
    bounded,
    compare,
    has_rule,
    head,
    is_binary,
    missing_error,
    short,
)

SPAN = SimpleNamespace(place="t.yaml:1:1", excerpt=lambda: "excerpt")


def file(text="hi\nthere\n", mode=0o644, uid=0, gid=0):
    change = SimpleNamespace(path="/etc/a\x1b", content=text.encode())
    return SimpleNamespace(text=text, mode=mode, uid=uid, gid=gid, change=change)


def pattern(text, found):
    def is_in(searched):
        if found is None:
            raise judge.TooLarge("x")
        return found

    return SimpleNamespace(text=text, is_in=is_in)


SHOWN = "/etc/a\\x1b"
BODY = "| hi\n| there"


@pytest.mark.parametrize(
    ("kind", "value", "failures"),
    [
        ("equals", "hi\nthere\n", []),
        ("equals", "hi\nthere", [("differs from the expected text", "the file ends with a newline: write `equals: |`, and the text in the next line")]),
        ("equals", "hi", [("differs from the expected text", "")]),
        ("contains", ["hi", "here"], []),
        ("contains", ["ho", "hi"], [("does not contain 'ho'", "")]),
        ("lacks", ["ho"], []),
        ("lacks", ["hi", "ho"], [("contains 'hi'", "")]),
        ("matches", [pattern("a", True)], []),
        ("matches", [pattern("a", False), pattern("b", False)], [("nothing matches 'a'", ""), ("nothing matches 'b'", "")]),
        ("matches", [pattern("a", None)], [("searching for 'a' in 9 characters takes too long", "use a shorter regular expression, or 'contains'")]),
        ("mode", 0o644, []),
        ("mode", 0o600, [("the mode is 0644, not 0600", "")]),
        ("owner", (0, 0), []),
        ("owner", (1, 0), [("the owner is 0:0, not 1:0", "")]),
        ("owner", (0, 2), [("the owner is 0:0, not 0:2", "")]),
    ],
)  # fmt: skip
def test_each_kind_of_expectation_reports_how_the_file_differs(kind, value, failures):
    times = []
    wanted = SimpleNamespace(kind=kind, value=value, span=SPAN)
    found = list(compare(wanted, file(), lambda: times.append(1)))
    assert [(each.message, each.hint) for each in found] == [
        (f"{SHOWN}: {text}", hint) for text, hint in failures
    ]
    assert len(times) == (len(value) if kind == "matches" else 0)
    if (found and kind in ("contains", "lacks")) or (kind == "matches" and len(found) == 2):
        assert found[0].detail == BODY


def test_the_difference_from_an_expected_text_is_shown_as_a_patch():
    (found,) = compare(SimpleNamespace(kind="equals", value="hi\n", span=SPAN), file(), lambda: None)
    assert found.detail.splitlines()[-3:] == ["@@ -1 +1,2 @@", " hi", "+there"]


@pytest.mark.parametrize(
    ("recorded", "found", "update", "failure", "changes"),
    [
        (b"a", {}, False, None, {}),
        (b"b", {}, False, ("the files differ from the snapshot", "if the change is intended, record the snapshot again with --update"), {}),
        (None, {}, False, ("the snapshot 'n' is missing", "record the snapshot with --update, and review it"), {}),
        (b"\0", {}, False, ("the snapshot 'n' is binary", "record the snapshot again with --update"), {}),
        (None, {}, True, None, {"n": b"a"}),
        (b"a", {}, True, None, {}),
        (b"b", {}, True, None, {"n": b"a"}),
        (None, {"binary": "/x"}, True, ("/x: the file is binary, so it can't be in a snapshot", ""), {}),
        (None, {"size": judge.MAX_SNAPSHOT}, True, None, {"n": b"a"}),
        (None, {"size": judge.MAX_SNAPSHOT + 1}, True, ("the snapshot is larger than 8 MiB", ""), {}),
        (b"", {"span": None}, True, None, {}),
        (LimitError("too much", hint="h"), {}, False, ("the snapshot can't be read: too much", "h"), {}),
    ],
)  # fmt: skip
def test_a_snapshot_is_compared_with_a_file_or_recorded_with_the_update_option(
    recorded, found, update, failure, changes
):
    def read(name):
        if isinstance(recorded, BaseException):
            raise recorded
        return recorded

    snapshots = Snapshots(SimpleNamespace(snapshot=read), update=update)
    shown = SimpleNamespace(**{"span": SPAN, "binary": "", "size": 1, "data": b"a", **found})
    failures = [(each.message, each.hint) for each in snapshots.compare("n", shown)]
    assert failures == ([] if failure is None else [failure])
    assert snapshots.changes == changes


@pytest.mark.parametrize(
    ("rules", "target", "found"),
    [([], "/a", True), (["/etc/../a"], "/a", True), (["/b"], "/a", False), (["/b", "a"], "/a", True)],
)
def test_a_target_counts_as_written_by_a_rule_if_the_rules_are_unknown_or_name_the_target(
    rules, target, found
):
    result = SimpleNamespace(targets=None, rules=[SimpleNamespace(path=path) for path in rules])
    assert has_rule(result, target) is found


def test_long_texts_in_failures_are_shortened():
    assert short("x" * 200) == "x" * 200
    assert short("x" * 201) == "x" * 200 + "…"
    assert head("") == "| (empty)"
    assert head("\n") == "| "
    lines = ["l" * 201, *map(str, range(38))]
    assert bounded([*lines, "last"]).split("\n") == ["l" * 200 + "…", *map(str, range(38)), "last"]
    assert bounded([*lines, "40", "41", "42"]).split("\n")[39:] == ["40", "… and 2 more lines"]
    assert (is_binary(b"a\0"), is_binary(b"\xff"), is_binary("ü".encode())) == (True, True, False)


def test_the_failure_quotes_the_error_that_occurred_in_place_of_the_expected_one():
    wanted = SimpleNamespace(value="x")
    assert missing_error(wanted, []) == "no error"
    assert missing_error(wanted, [RenderError("y"), RenderError("z")]) == "the error does not contain 'x': y"
