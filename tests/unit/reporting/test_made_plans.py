"""Plans with every kind of change, in every form. Record them again with --update, and read the difference."""

import json
from pathlib import Path

import pytest

from templater.model.errors import InputError
from templater.model.hosts import INCUS, LXD
from templater.model.instance import Instance
from templater.model.metadata import Metadata, Rule
from templater.model.plan import (
    AGENT,
    CREATE,
    FAILED,
    KEEP,
    SKIP,
    UPDATE,
    WRITE,
    Change,
    Outcome,
    Plan,
    Prediction,
)  # fmt: skip
from templater.reporting.comparison import compare_plans, comparison_data, patch_of
from templater.reporting.comparison import summary as summary_of_comparison
from templater.reporting.file_tree import tree, tree_text
from templater.reporting.host_table import (
    ABSENT,
    Cell,
    HostTable,
    Row,
    _differences,
    _excerpt,
    host_table,
    table_data,
    table_text,
)  # fmt: skip
from templater.reporting.json_data import plan_data
from templater.reporting.patch import diff
from templater.reporting.plan_text import not_due, preview, summary, unchanged, verdict


def made(action, path="/etc/a", content=None, *, trigger="create", template="a.tpl", **facts):
    """Make a change; ``facts`` are its attributes."""
    change = Change(Rule(path, template, (trigger,)), trigger, path, action, facts.pop("reason", ""))
    change.content = content
    for name, value in facts.items():
        setattr(change, name, value)
    return change


def planned(*changes, outcomes=(), error="", agent=(), triggers=("create",), host=INCUS, rules=()):
    """Make a plan. ``outcomes`` are those of the first changes."""
    known = {
        each: outcome
        for each, outcome in zip((*changes, *agent), outcomes, strict=False)
        if outcome is not None
    }
    return Plan(
        Metadata(rules=tuple(rules)), Instance("c1"), host, triggers, tuple(changes),
        agent=tuple(agent), prediction=Prediction(known, error),
    )  # fmt: skip


WRITTEN = Outcome("written")
EVERY = [
    (made(CREATE, "/etc/a", b"a\n", reason="new"), WRITTEN),
    (made(UPDATE, "/etc/b", b"no end", uid=3, gid=4, mode=0o600, reason="old"), WRITTEN),
    (made(KEEP, "/etc/c", b"same\n", reason="kept"), WRITTEN),
    (made(SKIP, "/etc/d", None, reason="create_only, and the path exists"), Outcome("skipped")),
    (made(FAILED, "/etc/e", None, error=InputError("bad"), reason="no reason"), Outcome("fails", "", "no e")),
    (made(WRITE, "/etc/f", b"", template="", reason="no reason"), Outcome("random", "by chance")),
    (made(CREATE, "/x/y/g", b"g\n", new_depth=1, in_place=True), Outcome("unknown")),
    (made(UPDATE, "/etc/h", b"\xff\n", real="/srv/h", in_place=True), Outcome("hangs", "the start hangs")),
    (made(KEEP, "/etc/i", b"i\n", in_place=True), None),
    (made(CREATE, "/" + "d/" * 23 + "j", b"j\n", new_depth=1), Outcome("skipped", "exists there")),
    (made(WRITE, "", b"k\n", template="a\nb"), WRITTEN),
]  # fmt: skip
AGENTS = [
    (made(CREATE, "/etc/a", b"a\n", trigger=AGENT), WRITTEN),
    (made(FAILED, "/etc/e", None, trigger=AGENT, error=InputError("worse")), Outcome("fails", "", "no e")),
]


#: the same files on the other side of a comparison
LATER = [
    (made(CREATE, "/etc/a", b"a\n"), Outcome("written", "elsewhere")),
    (made(UPDATE, "/etc/b", b"an end\n", uid=3, gid=4, mode=0o600), WRITTEN),
    (made(KEEP, "/etc/c", b"same\n", mode=0o640), WRITTEN),
    (made(FAILED, "/etc/d", None, error=InputError("bad")), Outcome("fails", "", "no d")),
    (made(FAILED, "/etc/e", None, error=InputError("bad")), Outcome("fails", "", "no e")),
    (made(WRITE, "/etc/f", b""), Outcome("random", "by chance")),
    (made(CREATE, "/x/y/g", b"g\n", new_depth=1), WRITTEN),
    (made(CREATE, "/X new", b"1\n", mode=0o4750), WRITTEN),
    (made(CREATE, "/new-b", b"", mode=0o600), None),
]  # fmt: skip


def of(pairs, agents=(), **facts):
    """Make a plan of changes with their outcomes."""
    outcomes = [outcome for _, outcome in (*pairs, *agents)]
    return planned(
        *(each for each, _ in pairs), agent=[each for each, _ in agents], outcomes=outcomes, **facts
    )


def compared(before, after):
    found = compare_plans(before, after)
    data = comparison_data(before, after, found)
    files = "".join(json.dumps(file) + "\n" for file in data.pop("files"))
    statuses = "".join(f"{file.path}: {file.status}\n" for file in found)
    return f"{statuses}{summary_of_comparison(before, found)}\n{''.join(patch_of(found))}{files}{json.dumps(data)}\n"


FORMS = {
    "preview": lambda plan: f"{preview(plan)}\n{summary(plan)}\n",
    "json": lambda plan: json.dumps(plan_data(plan), indent=1) + "\n",
    "tree": lambda plan: tree_text(list(tree(plan))),
    "patch": diff,
    "comparison": lambda plan: compared(plan, of(LATER)),
    "comparison-back": lambda plan: compared(of(LATER, error="no metadata"), plan),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_kind_of_change_has_the_recorded_output(form, update):
    path = Path(__file__).parent / f"outputs/{form}.txt"
    found = FORMS[form](of(EVERY, AGENTS)).encode("utf-8", "backslashreplace").decode()
    if update:
        path.write_text(found)
    assert found == path.read_text()


@pytest.mark.parametrize(
    ("results", "error", "text", "code"),
    [
        (["written", "skipped"], "", "", 0),
        ([None], "", "", 0),
        ([], "no metadata", "; incus: the start fails: no metadata", 5),
        (["written"], "no\nmetadata", "; incus: the start fails: no\\nmetadata", 5),
        (["fails"], "no metadata", "; incus would fail at 1", 5),
        (["hangs", "fails", "random"], "", "; incus would fail at 2, 1 random", 5),
        (["random", "unknown", "random"], "", "; incus: 2 random, 1 unknown", 5),
        (["unknown"], "", "; incus: 1 unknown", 5),
    ],
)
def test_the_summary_has_the_number_of_failed_host_results(results, error, text, code):
    changes = [made(WRITE, f"/etc/{number}", b"") for number in range(len(results))]
    outcomes = [result and Outcome(result) for result in results]
    plan = planned(*changes, outcomes=outcomes, error=error, triggers=("create", "start"))
    words = f"{len(changes)} write" if changes else "nothing to do"
    assert summary(plan) == f"c1: create then start: {words}{text}"
    assert verdict(plan) == code


def test_one_failed_change_is_enough_to_fail_a_preview():
    failed = made(FAILED, error=InputError("bad"))
    assert verdict(planned(failed)) == verdict(planned(agent=(failed,))) == 5
    assert verdict(planned(made(WRITE, content=b""))) == 0


@pytest.mark.parametrize(
    ("count", "more"), [(0, ""), (1, ""), (5, ""), (6, " and 1 more"), (8, " and 3 more")]
)
def test_the_report_names_at_most_five_rules_without_a_matching_trigger(count, more):
    rules = [Rule(f"/{number}\n", "a.tpl", ("copy", "start")) for number in range(count)]
    text = not_due(planned(rules=[Rule("/due", "a.tpl", ("create",)), *rules]))
    named = ", ".join(f"/{number}\\n (copy,start)" for number in range(min(count, 5)))
    assert text == (f"not rendered, no matching trigger: {named}{more}" if count else "")
    assert not_due(planned(rules=[Rule("/x", "a.tpl", ())])).endswith(": /x (never)")


@pytest.mark.parametrize(
    ("passes", "found"),
    [
        ([(WRITE, b"a"), (KEEP, None), (WRITE, b"a")], [1, 2]),
        ([(WRITE, b"a"), (SKIP, None), (WRITE, b"b"), (KEEP, None), (UPDATE, b"b")], [1, 3, 4]),
        ([(WRITE, b"a"), (WRITE, b"b"), (WRITE, b"a")], []),
        ([(FAILED, None), (KEEP, None), (KEEP, None)], [2]),
        ([(WRITE, b"a"), (FAILED, None), (WRITE, b"a")], []),
    ],
)
def test_a_pass_is_compared_with_the_last_effective_pass(passes, found):
    changes = [made(action, content=content) for action, content in passes]
    assert [changes.index(change) for change in unchanged(planned(*changes))] == found


@pytest.mark.parametrize("fact", [{"uid": 1}, {"gid": 1}, {"mode": 0o600}, {"real": "/srv/a"}])
def test_a_pass_with_a_different_owner_counts_as_changed(fact):
    assert unchanged(planned(made(WRITE, content=b"a"), made(WRITE, content=b"a", **fact))) == []


def test_repeated_content_counts_as_changed_if_the_host_differs_from_templater():
    changes = made(WRITE, content=b"a"), made(WRITE, content=b"a")
    assert unchanged(planned(*changes, outcomes=[WRITTEN, WRITTEN])) == [changes[1]]
    assert unchanged(planned(*changes, outcomes=[WRITTEN, Outcome("random")])) == []


def test_the_host_table_shows_each_reason_once_with_all_its_hosts():
    why = Cell("differs", "renders", ("d1", "d2"), "a.tpl:1")
    cells = {"incus": Cell("same"), "lxd": why, "x": Cell("fails", "no\nfile"), "y": why}
    others = {**dict.fromkeys(cells, Cell("fails", "no\nfile")), "lxd": Cell(ABSENT)}
    rows = (Row("/etc/a", "create", "a.tpl", cells), Row("/etc/b", "start", "b.tpl", others))
    table = HostTable(tuple(cells), rows, {"y": "no\nmetadata"})
    assert table_text(table).splitlines() == [
        "file    on      incus      lxd          x          y",
        "/etc/a  create  same       differs [1]  fails [2]  differs [1]",
        "/etc/b  start   fails [3]  -            fails [3]  fails [3]",
        "[1] lxd, y: renders (templater differs: d1; d2): a.tpl:1",
        "[2] x: no\\nfile",
        "[3] incus, x, y: no\\nfile",
        "y: the start fails: no\\nmetadata",
    ]
    fails = {"result": "fails", "why": "no\nfile"}
    found = table_data(table)
    assert found["hosts"] == ["incus", "lxd", "x", "y"] and found["errors"] == {"y": "no\nmetadata"}
    assert found["files"][0]["hosts"]["incus"] == {"result": "same"}
    assert found["files"][0]["hosts"]["lxd"] == {
        "result": "differs", "why": "renders", "deviations": ["d1", "d2"], "construct": "a.tpl:1"
    }  # fmt: skip
    assert found["files"][1] == {
        "path": "/etc/b", "trigger": "start", "template": "b.tpl",
        "hosts": {"incus": fails, "x": fails, "y": fails},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("result", "code"),
    [("same", 0), ("differs", 0), ("-", 0), ("fails", 5), ("random", 5), ("unknown", 5)],
)
def test_a_failed_or_uncertain_result_gives_exit_code_5(result, code):
    rows = [
        Row("/a", "create", "a.tpl", {"incus": Cell(each), "lxd": Cell("same")}) for each in (result, "same")
    ]
    assert HostTable(("incus", "lxd"), tuple(rows), {}).exit_code == code
    assert HostTable(("incus",), (), {"incus": "error"}).exit_code == 5


def test_the_host_table_has_a_row_for_each_change():
    first = planned(made(WRITE, content=b"1\n"), made(WRITE, content=b"2\n"), outcomes=[WRITTEN, WRITTEN])
    second = planned(
        made(WRITE, content=b"1\n"), made(WRITE, content=b"3\n"), made(WRITE, "/b", b""), host=LXD,
        outcomes=[WRITTEN, WRITTEN, Outcome("fails", "", "no b")],
    )  # fmt: skip
    calls = []

    def find(plan, change, reference, plan_of_reference):
        calls.append((plan, change, reference, plan_of_reference))
        return "here"

    table = host_table({"gone": InputError("x"), "incus": first, "lxd": second}, find)
    assert [(row.path, *(row.cells[name] for name in ("gone", "incus", "lxd"))) for row in table.rows] == [
        ("/etc/a", Cell("-"), Cell("same"), Cell("same")),
        ("/etc/a", Cell("-"), Cell("same"), Cell("differs", "renders '3' in line 1, not '2'", (), "here")),
        ("/b", Cell("-"), Cell("-"), Cell("fails", "no b", table.rows[2].cells["lxd"].deviations, "here")),
    ]
    assert calls == [
        (second, second.changes[1], first.changes[1], first), (second, second.changes[2], None, first)
    ]  # fmt: skip
    assert table.errors == {"gone": "x"}


@pytest.mark.parametrize(
    ("result", "cell"),
    [
        (None, Cell("unknown", "templater cannot read this part of the root filesystem")),
        (Outcome("hangs", "a FIFO"), Cell("fails", "hangs: a FIFO")),
        (Outcome("fails", "text", "error"), Cell("fails", "error")),
        (Outcome("fails", "text"), Cell("fails", "text")),
        (Outcome("random", "by chance"), Cell("random", "by chance")),
        (Outcome("unknown", "a loop"), Cell("unknown", "a loop")),
        (Outcome("skipped"), Cell("differs", "the file is skipped")),
        (Outcome("written", "on the host"), Cell("differs", "on the host")),
        (WRITTEN, Cell("same")),
    ],
)
def test_each_outcome_has_a_word_and_a_reason(result, cell):
    plan = planned(made(WRITE, content=b"a"), outcomes=[result])
    found = host_table({"incus": plan}).rows[0].cells["incus"]
    assert (found.result, found.why) == (cell.result, cell.why)


@pytest.mark.parametrize(
    ("ours", "theirs", "text"),
    [
        (b"a\nb\n", b"a\nc\n", "'b' in line 2, not 'c'"),
        (b"a\n", b"a\nc", "'' in line 2, not 'c'"),
        (b"a", b"a\nc", "'' in line 2, not 'c'"),
        (b"a\nb", b"a", "'b' in line 2, not ''"),
        (None, b"a", "'' in line 1, not 'a'"),
        (b"\xff", b"a\xfeb", "'\ufffd' in line 1, not 'a\ufffdb'"),
        (b"x" * 60, b"y" * 61, f"'{'x' * 60}' in line 1, not '{'y' * 60}\u2026'"),
    ],
)
def test_an_excerpt_contains_the_first_different_line(ours, theirs, text):
    assert _excerpt(made(WRITE, content=ours), made(WRITE, content=theirs)) == text


@pytest.mark.parametrize(
    ("change", "outcome", "reference", "found"),
    [
        (made(WRITE, content=b"a"), WRITTEN, None, []),
        (made(WRITE, content=b"a"), WRITTEN, made(WRITE, content=None), []),
        (made(WRITE, content=b"a"), WRITTEN, made(WRITE, content=b"a"), []),
        (made(WRITE, content=b"a"), WRITTEN, made(WRITE, content=b"b"), ["renders 'a' in line 1, not 'b'"]),
        (made(SKIP, content=b"a"), Outcome("skipped"), made(WRITE, content=b"b"), []),
        (made(SKIP), WRITTEN, None, ["the file is written"]),
        (made(FAILED), Outcome("written", "x"), None, ["x"]),
        (
            made(FAILED, error=InputError("bad")), Outcome("written", "x"), None,
            ["the host accepts the rule, but templater refuses it: bad", "x"],
        ),
    ],
)  # fmt: skip
def test_the_host_table_says_how_a_host_differs_from_templater(change, outcome, reference, found):
    assert list(_differences(change, outcome, reference)) == found
