"""Each failure of an expectation: its words, its detail and its hint, without rendering."""

from types import SimpleNamespace

import pytest

from templater.model.errors import LimitError, RenderError
from templater.testing import compare_with_expectations
from templater.testing.compare_with_expectations import (
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
            raise compare_with_expectations.TooLarge("x")
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
def test_failure_of_each_expectation_says_how_the_file_differs(kind, value, failures):
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
        (None, {"size": compare_with_expectations.MAX_SNAPSHOT}, True, None, {"n": b"a"}),
        (None, {"size": compare_with_expectations.MAX_SNAPSHOT + 1}, True, ("the snapshot is larger than 8 MiB", ""), {}),
        (b"", {"span": None}, True, None, {}),
        (LimitError("too much", hint="h"), {}, False, ("the snapshot can't be read: too much", "h"), {}),
    ],
)  # fmt: skip
def test_snapshots_are_recorded_only_with_the_update_option(recorded, found, update, failure, changes):
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
def test_target_has_a_rule_if_the_rules_are_unknown(rules, target, found):
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


def test_a_missing_expected_error_is_reported_with_the_actual_error():
    wanted = SimpleNamespace(value="x")
    assert missing_error(wanted, []) == "no error"
    assert missing_error(wanted, [RenderError("y"), RenderError("z")]) == "the error does not contain 'x': y"


A, B = RenderError("broken a", hint="h"), RenderError("broken b", notes=("a note",))


def expecting(error=None, files=()):
    wanted = None if error is None else SimpleNamespace(value=error, span="its span", kind="error")
    return SimpleNamespace(files=files, error=wanted, snapshot=None, valid=None)


def judged(errors=(), whole=None, wanted=None, files=(), **result):
    """Return the message, the span and the hint of each failure."""
    found = SimpleNamespace(
        **{
            "errors": dict(errors),
            "error": whole,
            "files": {},
            "rules": (),
            "unknown": {},
            "targets": None,
            **result,
        }
    )
    case = compare_with_expectations.Judge(None, None, lambda *words: [], lambda: None)
    each = case.failures(expecting(wanted, files), found, "the span")
    return [(failure.message, failure.span, failure.hint) for failure in each]


@pytest.mark.parametrize(
    ("errors", "whole", "wanted", "failures"),
    [
        ({}, None, None, []),
        ({"/a\n": A}, None, None, [("/a\\n: broken a", "the span", "h")]),
        ({"/a": A, "/b": A}, None, None, [("/a: broken a", "the span", "h")]),
        (
            {"/a": A, "/b": B},
            None,
            None,
            [("/a: broken a", "the span", "h"), ("/b: broken b", "the span", "")],
        ),
        ({"/a": A}, A, None, [("/a: broken a", "the span", "h")]),
        ({"/a": A}, B, None, [("/a: broken a", "the span", "h"), ("broken b", "the span", "")]),
        ({}, A, None, [("broken a", "the span", "h")]),
        ({"/a": A}, None, "broken", []),
        ({"/a": A, "/b": B}, None, "broken a", [("/b: broken b", "the span", "")]),
        ({"/a": A, "/b": B}, None, "broken", []),
        ({"/a": B}, None, "a note", []),
        ({}, B, "a note", []),
        ({}, B, "", []),
        ({}, None, "x", [("no error", "its span", "")]),
        ({}, None, "", [("no error", "its span", "")]),
        ({"/a": A}, B, "x", [("the error does not contain 'x': broken a", "its span", "")]),
        ({"/a": A}, B, "broken b", [("/a: broken a", "the span", "h")]),
        ({"/a": A}, B, "broken a", [("broken b", "the span", "")]),
    ],
)
def test_each_unexpected_error_is_one_failure(errors, whole, wanted, failures):
    assert judged(errors, whole, wanted) == failures


def about(kind, target="/a", value=True):
    return SimpleNamespace(kind=kind, target=target, value=value, span=f"{kind} of {target}")


@pytest.mark.parametrize(
    ("wanted", "errors", "failures"),
    [
        (about("error", value="broken"), {"/a": A}, []),
        (about("error", value="a note"), {"/a": B}, []),
        (about("error", value=""), {"/a": A}, []),
        (about("error", value="x"), {"/a": A}, [("/a: the error does not contain 'x': broken a", "error of /a", "")]),
        (about("error", value="broken"), {}, [("/a: no error", "error of /a", "")]),
        (
            about("error", value="broken"), {"/b": B},
            [("/a: no error", "error of /a", ""), ("/b: broken b", "the span", "")],
        ),
        (about("equals", value="x"), {"/a": A}, [("/a: broken a", "the span", "h")]),
        (about("equals", value="x"), {}, [("/a: the file is not written", "equals of /a", "")]),
        (about("absent"), {}, []),
    ],
)  # fmt: skip
def test_error_key_applies_only_to_errors_of_its_file(wanted, errors, failures):
    assert judged(errors, files=(wanted,)) == failures


@pytest.mark.parametrize(
    ("kind", "rules", "unknown", "failures"),
    [
        ("equals", ["/b"], {}, [("/a: no rule writes this file", "equals of /a", "did you mean '/b'?")]),
        ("equals", ["/a", "/b"], {}, [("/a: the file is not written", "equals of /a", "")]),
        ("equals", ["/b"], {"/a": "random"}, [("/a: the content is unknown: random", "equals of /a", "did you mean '/b'?")]),
        ("absent", ["/b"], {}, [("/a: no rule writes this file", "absent of /a", "did you mean '/b'?")]),
        ("absent", ["/a"], {}, []),
    ],
)  # fmt: skip
def test_the_failure_for_an_expected_but_unwritten_file_has_the_reason(
    kind, rules, unknown, failures, monkeypatch
):
    monkeypatch.setattr(
        compare_with_expectations, "did_you_mean", lambda path, known: f"did you mean '{known[-1]}'?"
    )
    of_rules = [SimpleNamespace(path=path) for path in rules]
    assert judged(files=(about(kind),), rules=of_rules, unknown=unknown) == failures


@pytest.mark.parametrize(("fixed", "failures"), [(True, 1), (False, 0)])
def test_expectation_of_absent_file_fails_without_a_matching_rule(fixed, failures):
    result = SimpleNamespace(
        errors={}, error=None, files={}, rules=[SimpleNamespace(path="/zzz")], unknown={}, targets=None
    )
    case = compare_with_expectations.Judge(None, None, lambda *words: [], lambda: None, fixed_rules=fixed)
    assert len(list(case.failures(expecting(files=(about("absent"),)), result, "span"))) == failures


def written(*names, text="x\n"):
    found = {}
    for name in names:
        each = file(text)
        each.change.path = name
        found[name] = each
    return SimpleNamespace(errors={}, error=None, files=found, rules=(), unknown={}, targets=None)


def test_a_snapshot_of_all_files_contains_each_file_only_once():
    snapshot = compare_with_expectations.Snapshot()
    case = compare_with_expectations.Judge(None, snapshot, lambda *words: [], lambda: None)
    wanted = expecting(files=(about("snapshot"),))
    wanted.snapshot = "position"
    assert list(case.failures(wanted, written("/a", "/b\n"), "span")) == []
    assert snapshot.data == b"==> /a 0644 0:0\nx\n\n==> /b\\n 0644 0:0\nx\n"
    assert (snapshot.span, snapshot.size) == ("position", 4)
    other = compare_with_expectations.Snapshot()
    case = compare_with_expectations.Judge(None, other, lambda *words: [], lambda: None)
    assert list(case.failures(expecting(files=(about("snapshot", "/b"),)), written("/a", "/b"), "span")) == []
    assert (other.data, other.span) == (b"==> /b 0644 0:0\nx\n", "snapshot of /b")
    other.begin("stop\n", "later")
    assert other.span == "snapshot of /b" and other.parts[-1] == "### stop\\n\n"


@pytest.mark.parametrize(
    ("text", "data"),
    [("", b"==> /a 0644 0:0\n"), ("x", b"==> /a 0644 0:0\nx\n\\ No newline at end of file\n")],
)
def test_a_snapshot_shows_whether_a_file_ends_with_a_newline(text, data):
    snapshot = compare_with_expectations.Snapshot()
    snapshot.add(written("/a", text=text).files["/a"], SPAN)
    assert snapshot.data.removesuffix(b"\n") == data.removesuffix(b"\n")


def test_snapshot_has_limited_text(monkeypatch):
    monkeypatch.setattr(compare_with_expectations, "MAX_SNAPSHOT", 6)
    snapshot = compare_with_expectations.Snapshot()
    for name, text in (("/a", "12\n"), ("/b", "\0"), ("/c", "\0"), ("/d", "45\n"), ("/e", "7")):
        snapshot.add(written(name, text=text).files[name], SPAN)
    assert [part.partition(" 0644")[0] for part in snapshot.parts] == ["==> /a", "==> /d"]
    assert (snapshot.size, snapshot.binary) == (7, "/b")


def test_mistakes_are_reported_at_the_key_named_valid():
    asked = []

    def mistakes(file, result):
        asked.append(file.change.path)
        return ["one", "two"] if file.change.path == "/a" else []

    case = compare_with_expectations.Judge(None, None, mistakes, lambda: None)
    wanted = expecting(files=(about("valid"),))
    assert [(each.message, each.span) for each in case.failures(wanted, written("/a", "/b"), "span")] == [
        ("/a: not valid: one", "valid of /a"), ("/a: not valid: two", "valid of /a"),
    ]  # fmt: skip
    wanted = expecting()
    wanted.valid = "all"
    found = list(case.failures(wanted, written("/a", "/b"), "span"))
    assert [(each.message, each.span) for each in found] == [
        ("/a: not valid: one", "all"), ("/a: not valid: two", "all"),
    ]  # fmt: skip
    assert asked == ["/a", "/a", "/b"]


def test_time_limit_is_checked_for_each_expectation(monkeypatch):
    times = []
    case = compare_with_expectations.Judge(
        None, None, lambda *words: [], lambda: times.append(1), hints=iter(range(1))
    )
    monkeypatch.setattr(
        compare_with_expectations, "did_you_mean", lambda path, known: f"hint for {len(path)} of {len(known)}"
    )
    result = written()
    result.rules = [SimpleNamespace(path=f"/{number % 1500}") for number in range(1600)]
    wanted = expecting(files=(about("equals", "/x" * 200), about("equals", "/y")))
    found = list(case.failures(wanted, result, "span"))
    assert [each.hint for each in found] == ["hint for 200 of 1000", ""]
    assert len(times) == 2


def test_an_invalid_byte_in_the_expected_text_is_a_difference():
    wanted = SimpleNamespace(kind="equals", value="a\udcff\n", span=SPAN)
    found = file("a\n")
    found.change.content = b"a\n"
    (failure,) = compare(wanted, found, lambda: None)
    assert failure.message == f"{SHOWN}: differs from the expected text"
    assert list(compare(SimpleNamespace(kind="equals", value="a\n", span=SPAN), found, lambda: None)) == []
