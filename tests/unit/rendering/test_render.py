"""Rendering of rules: matching triggers, missing templates, and places of errors."""

import pytest

from templater import pongo2
from templater.model.entry import DIRECTORY, FILE, SYMLINK, Entry, TemplateFile
from templater.model.errors import (
    LimitError,
    MetadataError,
    RefusedError,
    TemplateError,
    TemplaterError,
    TemplateSyntaxError,
)
from templater.model.hosts import INCUS, INCUS_DEBIAN
from templater.model.instance import VIRTUAL_MACHINE, Instance
from templater.model.metadata import Metadata, Rule
from templater.model.render_options import RenderOptions
from templater.model.source import Source
from templater.parsing.metadata_yaml import read_metadata
from templater.pongo2 import compile
from templater.pongo2.dialect import DIALECTS
from templater.rendering.render import Rendering, render, render_data, template_bytes


def file(text: str) -> TemplateFile:
    return TemplateFile(Entry(FILE), text.encode("utf-8", "surrogateescape"))


def rule(path: str = "/etc/a", template: str = "a.tpl", when: tuple[str, ...] = ("create",)) -> Rule:
    return Rule(path, template, when)


def rendered(
    *rules: Rule, triggers: tuple[str, ...] = ("create",), **templates: TemplateFile
) -> list[Rendering]:
    files = {name.replace("_", "."): found for name, found in templates.items()}
    return render(Metadata(rules=rules), files, Instance("c1"), triggers, RenderOptions(INCUS))


def test_each_trigger_pass_renders_its_rules_in_metadata_order() -> None:
    rules = (rule("/b", when=("create", "start")), rule("/a", when=("start",)))
    done = rendered(*rules, triggers=("create", "start"), a_tpl=file("{{ trigger }} {{ path }}"))
    assert [(each.trigger, each.content) for each in done] == [
        ("create", b"create /b"),
        ("start", b"start /b"),
        ("start", b"start /a"),
    ]


@pytest.mark.parametrize(
    ("text", "times"),
    [("{{ container.name }}", 2), ("{{ container.name }}{# trigger #}", 4), ("{% lorem 9 w random %}", 4)],
)
def test_two_trigger_passes_share_a_rendering_unless_their_output_can_differ(
    text, times, monkeypatch
) -> None:
    runs = []
    real = pongo2.execution.execute
    monkeypatch.setattr(pongo2.execution, "execute", lambda *a: runs.append(1) or real(*a))
    rules = (rule("/a", when=("create", "start")), rule("/b", when=("start", "create")))
    done = rendered(*rules, triggers=("create", "start"), a_tpl=file(text))
    assert len(runs) == times
    assert [(each.rule.path, each.trigger) for each in done] == [
        ("/a", "create"), ("/b", "create"), ("/a", "start"), ("/b", "start"),
    ]  # fmt: skip
    assert all(each.error is None and each.content for each in done)


def test_a_failed_template_does_not_prevent_the_rendering_of_other_templates() -> None:
    bad, good = rendered(
        rule("/a", "bad.tpl"), rule("/b", "good.tpl"), bad_tpl=file("{% if %}"), good_tpl=file("fine")
    )
    assert isinstance(bad.error, TemplateSyntaxError) and bad.content is None
    assert good.content == b"fine" and good.error is None


@pytest.mark.parametrize(
    ("file", "message", "hint"),
    [
        (TemplateFile(), "template 'a.tpl' does not exist", "put the template into the image's templates folder, next to metadata.yaml"),
        (TemplateFile(Entry(SYMLINK)), "template 'a.tpl' is a symlink, not a regular file", "replace the symlink with a regular file; most releases of LXD and Incus refuse symlinks"),
        (TemplateFile(Entry(DIRECTORY)), "template 'a.tpl' is a directory, not a regular file", ""),
        (TemplateFile(None, None, LimitError("too large", hint="h")), "too large", "h"),
    ],
)  # fmt: skip
def test_an_unusable_template_gives_a_message_and_a_hint(file: TemplateFile, message: str, hint: str) -> None:
    with pytest.raises(TemplaterError) as caught:
        template_bytes("a.tpl", {"a.tpl": file})
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_invalid_utf8_bytes_of_a_template_are_preserved() -> None:
    (done,) = rendered(rule(), a_tpl=TemplateFile(Entry(FILE), b"\xff\x00\r\n"))
    assert done.content == b"\xff\x00\r\n"


def test_a_template_of_several_rules_is_compiled_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def counting(source: Source, *arguments: object, **options: object) -> object:
        compiled.append(source.name)
        return compile(source, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pongo2, "compile", counting)
    rendered(*(rule(f"/{number}") for number in range(5)), a_tpl=file("x"))
    assert compiled == ["templates/a.tpl"]


def test_a_render_error_mentions_the_template_and_the_rule() -> None:
    text = "architecture: x86_64\ntemplates:\n  /etc/a:\n    when: [create]\n    template: a.tpl\n"
    metadata = read_metadata(Source("img/metadata.yaml", text))
    (done,) = render(
        metadata, {"a.tpl": file("one\n{{ x|nosuch }}\n")}, Instance(), ("create",), RenderOptions(INCUS)
    )
    assert done.error is not None
    assert str(done.error).startswith("templates/a.tpl:2:6: ")
    assert "in the rule for '/etc/a' at img/metadata.yaml:3:3, trigger create" in done.error.explain()


@pytest.mark.parametrize(
    "text",
    ["a\n{% if %}", "a\n{{ 1|add:2/0 }}", 'a\n{{ "x"|ljust:9999999999 }}'],
    ids=["syntax", "value", "limit"],
)
def test_each_error_mentions_the_template_of_its_own_rule(text: str) -> None:
    names = ("a.tpl", "b.tpl", "c.tpl")
    templates = {name.replace(".", "_"): file(text) for name in names}
    done = rendered(*(rule(f"/{name}", name) for name in names), **templates)
    places = [
        each.error.span.place for each in done if each.error is not None and each.error.span is not None
    ]
    line, column = places[0].split(":")[1:]
    assert int(line) == 2
    assert places == [f"templates/{name}:{line}:{column}" for name in names]


def test_a_missing_template_gives_an_error_at_its_rule() -> None:
    text = "templates:\n  /etc/a:\n    when: [create]\n    template: nope.tpl\n"
    (done,) = render(
        read_metadata(Source("metadata.yaml", text)), {}, Instance(), ("create",), RenderOptions(INCUS)
    )
    assert isinstance(done.error, TemplateError)
    assert str(done.error) == "metadata.yaml:4:15: template 'nope.tpl' does not exist"


def test_each_rule_of_a_broken_template_gets_its_own_error() -> None:
    first, second = rendered(rule("/a"), rule("/b"), a_tpl=file("{% if %}"))
    assert first.error is not None and second.error is not None
    assert "'/a'" in first.error.explain() and "'/b'" not in first.error.explain()
    assert "'/b'" in second.error.explain()


@pytest.mark.parametrize("name", ["../x", "/etc/shadow", "a/b", ".", "..", "", "x\0y"])
def test_a_template_name_must_be_a_plain_file_name(name: str) -> None:
    (done,) = rendered(rule(template=name), a_tpl=file("x"))
    assert isinstance(done.error, RefusedError)


@pytest.mark.parametrize("data", [None, b"text"])
@pytest.mark.parametrize("kind", [SYMLINK, DIRECTORY])
def test_only_regular_files_are_accepted_as_templates(kind: str, data: bytes | None) -> None:
    (done,) = rendered(rule(), a_tpl=TemplateFile(Entry(kind), data))
    assert isinstance(done.error, RefusedError) and kind in str(done.error)


def test_rendering_an_unreadable_template_gives_the_error_from_reading_it() -> None:
    (done,) = rendered(rule(), a_tpl=TemplateFile(Entry(FILE), error=LimitError("too large")))
    assert isinstance(done.error, LimitError)


def test_template_errors_do_not_keep_earlier_renders_in_memory() -> None:
    """Each `raise` of the same error adds frames to its traceback, and a frame holds compiled templates."""
    error = LimitError("too large")
    for _ in range(3):
        render(
            Metadata(rules=(Rule("/a", "a", ("start",)),)),
            {"a": TemplateFile(Entry(FILE), None, error)},
            Instance("c1"),
            ("start",),
            RenderOptions(INCUS),
        )
        assert error.__traceback__ is None


@pytest.mark.parametrize("tag", ["include", "ssi", "extends", "import"])
def test_template_tags_that_read_files_are_refused(tag: str) -> None:
    (done,) = rendered(
        rule(), a_tpl=file('{% if false %}{% TAG "/etc/passwd" x %}{% endif %}'.replace("TAG", tag))
    )
    assert isinstance(done.error, TemplateSyntaxError)
    assert f"Usage of tag '{tag}' is not allowed" in (done.error.pongo2_error or "")


def test_a_null_metadata_entry_fails_on_every_trigger() -> None:
    (done,) = rendered(Rule("/etc/a", "", null=True), triggers=("start",))
    assert isinstance(done.error, MetadataError)


def test_an_option_overrides_the_pongo2_dialect_of_a_host() -> None:
    templates = {"a.tpl": file("{{ 'a' + 'b' }}")}
    metadata = Metadata(rules=(rule(),))
    for host, dialect, text in ((INCUS, "", b"ab"), (INCUS_DEBIAN, "", b"0"), (INCUS, "v4", b"0")):
        (done,) = render(metadata, templates, Instance(), ("create",), RenderOptions(host, dialect))
        assert done.content == text


def test_a_virtual_machine_has_no_variable_named_privileged() -> None:
    metadata, templates = Metadata(rules=(rule(),)), {"a.tpl": file("[{{ instance.privileged }}]")}
    for kind, text in ((VIRTUAL_MACHINE, b"[]"), ("container", b"[false]")):
        (done,) = render(metadata, templates, Instance(type=kind), ("create",), RenderOptions(INCUS))
        assert done.content == text


def test_cached_code_can_be_rendered_without_the_template_files() -> None:
    code = compile(Source("a.tpl", "hello {{ instance.name }}"), DIALECTS["v6.1"], mode="incus").code
    (done,) = render(
        Metadata(rules=(rule(),)),
        {},
        Instance("web1"),
        ("create",),
        RenderOptions(INCUS),
        codes={"a.tpl": code},
    )
    assert done.content == b"hello web1"


def test_rendering_too_many_files_gives_a_limit_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("templater.rendering.render.MAX_RENDERINGS", 2)
    with pytest.raises(LimitError, match=r"^more than 2 files to render$"):
        rendered(*(rule(f"/{number}") for number in range(3)), a_tpl=file("x"))


def test_rendering_too_much_text_in_total_gives_a_limit_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("templater.rendering.render.MAX_TOTAL", 5)
    with pytest.raises(LimitError, match=r"^the rendered files are larger than 0 MiB in total$"):
        rendered(rule("/a"), rule("/b"), a_tpl=file("xxx"))


def test_the_render_data_function_provides_the_variables_of_the_given_rule() -> None:
    assert render_data(b"{{ path }}", rule("/etc/b"), "start", Instance(), RenderOptions(INCUS)) == b"/etc/b"
