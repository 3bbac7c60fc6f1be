"""Parts of the page of `watch --web` that the recorded pages do not contain."""

import re
from types import SimpleNamespace

import pytest

from templater.model.errors import InputError, TemplaterError
from templater.model.hosts import NONE
from templater.model.instance import Instance
from templater.model.metadata import Metadata, Rule
from templater.model.plan import FAILED, SKIP, WRITE, Change, Plan
from templater.model.source import Source
from templater.reporting.patch import Work
from templater.web import report_page
from templater.web.code_view import block
from templater.web.distinct_results import Column, InstanceView, instance_view
from templater.web.html import Html
from templater.web.redaction import Redaction
from templater.web.report_page import (
    PageState,
    comparison_patches,
    file_section,
    template_pane,
    variant_article,
    variant_body,
    where,
)
from templater.web.watch_page import PageView, finding_list, finding_path, open_file


@pytest.mark.parametrize(("findings", "said"), [(None, "check did not run."), ([], "check found nothing.")])
def test_the_page_says_why_it_has_no_findings(findings, said):
    page = PageView(None, (), (), {}, "", findings=findings)
    assert str(finding_list(page)) == f'<p class="note">{said}</p>'


def a_view(*columns: Plan | TemplaterError, sides: tuple[str, ...] = ()) -> InstanceView:
    """The view of these plans or errors. No origin is known."""
    names = sides or ("",) * len(columns)
    made = [
        Column("incus", ("create",), plan, lambda change: None, lambda change: None, {}, side)
        for plan, side in zip(columns, names, strict=True)
    ]
    return instance_view(Instance("c1"), made)


def a_plan(content: bytes, *triggers: str, template: str = "a.tpl") -> Plan:
    changes = []
    for number, trigger in enumerate(triggers or ("create",)):
        change = Change(Rule("/etc/a", template, triggers), trigger, "/etc/a", WRITE)
        change.content = content if number < 2 else b"last\n"
        changes.append(change)
    return Plan(Metadata(), Instance("c1"), NONE, triggers or ("create",), tuple(changes))


def test_a_rewritten_file_has_a_remark_about_the_later_trigger():
    (file,) = a_view(a_plan(b"x\n", "create", "copy", "start")).files
    remarks = [list(variant.remarks) for variant in file.variants]
    assert "written again on start" in remarks[0]
    assert not any("written again" in text for text in remarks[-1])


def test_each_later_trigger_without_a_change_has_a_note():
    page = PageState(SimpleNamespace(redaction=Redaction([], "")))
    for passes, words in (
        (("create",), []),
        (("create", "start"), ["unchanged on start"]),
    ):
        view = a_view(a_plan(b"x\n", *passes))
        ((variant,),) = (file.variants for file in view.files)
        shown = str(variant_article(page, view, variant, "place"))
        assert re.findall(r'<p class="note">(unchanged.*?)</p>', shown) == words


@pytest.mark.parametrize(
    ("finding", "path"),
    [
        ("image/metadata.yaml", "metadata.yaml"),
        ("metadata.yaml", "metadata.yaml"),
        ("image/templates/a.tpl", "/etc/a"),
        ("image/templates/b.tpl", ""),
        ("image/other/a.tpl", ""),
    ],
)
def test_finding_is_linked_to_metadata_or_a_target_file(finding, path):
    assert finding_path(a_view(a_plan(b"x\n")), {"file": finding}) == path


def test_page_contains_only_errors_if_file_is_missing():
    view = a_view(InputError("no <plan>"))
    for path, title in (("/etc/none", "/etc/none"), ("metadata.yaml", "metadata.yaml"), ("", "&#x27;&#x27;")):
        shown = str(open_file(PageView(view, (view,), ("",), {}, path)))
        assert shown.startswith(f'<h2 id="open" tabindex="-1">{title}</h2>')
        assert "no &lt;plan&gt;" in shown and "<h3>" not in shown


def test_comparison_page_has_a_heading_for_each_failed_plan():
    view = a_view(InputError("no plan"), a_plan(b"x\n"), sides=("before", "after"))
    shown = str(open_file(PageView(view, (view, view), ("left", "right"), {}, "/etc/none")))
    assert "<h3>left</h3>" in shown and "<h3>right</h3>" not in shown


def test_the_difference_of_two_large_files_is_not_shown(monkeypatch):
    plans = (a_plan(b"one\n"), a_plan(b"two\n"))
    view = a_view(*plans, sides=("before", "after"))
    page = PageView(view, [a_view(plan) for plan in plans], ("left", "right"), {}, "/etc/a")
    assert "Difference from left to right" in str(open_file(page))
    monkeypatch.setattr("templater.web.watch_page.MOST_COMPARED", 7)
    assert "The difference is not shown, because the files are large." in str(open_file(page))


def test_a_comparison_report_has_a_patch_for_each_different_file():
    plans = [a_plan(b"a\n"), a_plan(b"b\n"), InputError("x"), a_plan(b"c\n")]
    sides = ("before", "after", "before", "after")
    page = SimpleNamespace(work=Work())
    patch = "@@ -1 +1 @@\n-a\n+b\n"
    assert comparison_patches(page, a_view(*plans, sides=sides)) == {"/etc/a": patch}
    assert comparison_patches(page, a_view(*plans[:2], *plans[:2], sides=sides)) == {"/etc/a": patch * 2}
    assert comparison_patches(page, a_view(plans[0], plans[0], sides=sides[:2])) == {}
    assert comparison_patches(page, a_view(plans[0], InputError("x"), sides=sides[:2])) == {}
    empty = Plan(Metadata(), Instance("c1"), NONE, ("create",), ())
    assert comparison_patches(page, a_view(plans[0], empty, sides=sides[:2])) == {
        "/etc/a": "@@ -1 +0,0 @@\n-a\n"
    }
    assert comparison_patches(page, a_view(empty, plans[0], sides=sides[:2])) == {
        "/etc/a": "@@ -0,0 +1 @@\n+a\n"
    }


@pytest.mark.parametrize("hidden", [False, True])
def test_section_shows_no_difference_for_a_hidden_file(hidden, monkeypatch):
    monkeypatch.setattr(report_page, "is_hidden", lambda redaction, variant: hidden)
    page = PageState(SimpleNamespace(redaction=Redaction([], "")))
    view = a_view(a_plan(b"x\n"))
    found = str(file_section(page, view, view.files[0], "place", "@@ -1 +1 @@\n-password\n+b\n"))
    assert "<h4>Before and after</h4>" in found
    assert ("password" in found) != hidden
    assert ("The difference is not shown" in found) == hidden


HOSTS = [("incus", "create"), ("lxd", "create"), ("incus", "start"), ("lxd", "start")]
SIDES = [("incus", "create", "before"), ("incus", "create", "after"), ("incus", "start", "before")]


@pytest.mark.parametrize(
    ("columns", "numbers", "words"),
    [
        (HOSTS, [0, 1, 2, 3], "in every run"),
        (HOSTS, [0, 1], "every host on create"),
        (HOSTS, [0], "incus on create"),
        (HOSTS, [0, 1, 3], "every host on create; lxd on start"),
        ([("incus", "create"), ("incus", "start")], [1], "incus on start"),
        ([*HOSTS, ("lxd-5", "create"), ("lxd", "create then start")], [0, 4], "incus, lxd-5 on create"),
        ([*HOSTS, ("lxd", "create then start")], [4], "lxd on create then start"),
        (SIDES, [0, 1], "before and after on create"),
        (SIDES, [1], "after on create"),
    ],
)
def test_description_of_a_run_contains_triggers_and_host(columns, numbers, words):
    made = [
        SimpleNamespace(host=host, passes=tuple(passes.split(" then ")), side="".join(side))
        for host, passes, *side in columns
    ]
    assert where(made, numbers) == words


@pytest.mark.parametrize(("size", "kept"), [(20_000, False), (20_001, True)])
def test_a_large_template_is_shown_once_and_then_linked(size, kept):
    page = PageState(SimpleNamespace(findings=None))
    variant = SimpleNamespace(
        change=SimpleNamespace(rule=SimpleNamespace(template="a.tpl")), source=Source("a", "x" * size)
    )
    first, second = (str(template_pane(page, variant, place)) for place in ("one", "two"))
    assert ("xxx" in first, "xxx" in second) == (True, not kept)
    assert ('<a href="#one">shown above</a>' in second) == kept
    variant.source, variant.change.rule.template = None, ""
    found = str(template_pane(page, variant, "three"))
    assert "(none)" in found and "The template does not exist or is not readable." in found


@pytest.mark.parametrize(
    ("most", "count", "more"), [(None, 3, False), (3, 3, False), (3, 4, True), (1, 0, False)]
)
def test_a_long_block_has_a_button_for_its_remaining_lines(most, count, more):
    found = str(block(iter([Html("<i></i>")] * count), most))
    assert found.count("<i>") == min(count, 3)
    assert ("These are the first 3 lines. " in found) == ("data-all" in found) == more


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"action": SKIP}, "Nothing is written: the file exists."),
        ({"action": FAILED, "error": InputError("bad")}, "bad"),
        ({"guest": True}, "The guest&#x27;s agent copies a.tpl.out from the config drive."),
        ({"content": b""}, "The file is empty."),
        ({"content": b"a\xff"}, "The origins are not shown: the file has too many lines, parts or origins."),
    ],
)
def test_a_result_without_lines_says_why_it_has_no_lines(facts, text):
    change = Change(Rule("/a", "a.tpl", ()), "create", "/a", facts.get("action", WRITE))
    change.content, change.error = facts.get("content", b"x"), facts.get("error")
    variant = SimpleNamespace(
        change=change, is_in_guest=facts.get("guest", False), lines=None, has_content=True, reads={}
    )
    page = PageState(SimpleNamespace(redaction=Redaction([], "")))
    found = "".join(map(str, variant_body(page, variant)))
    assert text in found
    assert ("a\\xff" in found) == (change.content == b"a\xff")
