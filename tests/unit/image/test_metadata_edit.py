"""metadata.yaml edited as text: only the lines of the change differ, and the meaning is exactly the intended one."""

import difflib
import json
import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from templater.cli.run_command_line import main
from templater.image import metadata_edit, publish_container, yaml_positions, yaml_text_edit
from templater.image.yaml_quoting import scalar
from templater.model.errors import (
    InputError,
    LimitError,
    MetadataError,
    RefusedError,
    TemplaterError,
    UsageError,
)
from templater.model.source import Source
from templater.parsing.metadata_yaml import read_metadata
from tests.image_archives import file as image_file
from tests.image_archives import image
from tests.processor_time import ends_within

ROOT = Path(__file__).resolve().parents[3]
CORPUS = Path(os.environ.get("TEMPLATER_CORPUS") or ROOT / ".." / "shared" / "corpus")
IMAGES = [
    *sorted((ROOT / "sample-images").glob("*/metadata.yaml")),
    *sorted(CORPUS.glob("images*/*/metadata.yaml")),
]
NEW = metadata_edit.NewRule("/etc/new: file", "new.tpl", ("create", "copy"), True, "0", "1000", "0640")


def accepted():
    """The metadata of every sample and corpus image that Go accepts; the fast tests edit every fourth."""
    for number, path in enumerate(IMAGES):
        source = Source("metadata.yaml", path.read_bytes())
        try:
            read_metadata(source)
        except MetadataError:
            continue
        name = f"{path.parent.parent.name}/{path.parent.name}"
        fast = name.startswith("sample-images/") or number % 4 == 0
        yield pytest.param(source, id=name, marks=() if fast else pytest.mark.slow)


ACCEPTED = list(accepted())


def test_the_recorded_image_corpus_exists():
    if not CORPUS.is_dir():
        assert not os.environ.get("CI"), f"no corpus in {CORPUS}"
        pytest.skip(f"no corpus in {CORPUS}")
    recorded = {path.stem: json.loads(path.read_text()) for path in CORPUS.glob("golden_meta/*.json")}
    assert recorded
    found = {source.id.rpartition("/")[2] for source in ACCEPTED if source.id.startswith("images")}
    assert found == {image for image, decoded in recorded.items() if "error" not in decoded}


def changed_lines(before, after):
    lines = difflib.ndiff(before.splitlines(keepends=True), after.splitlines(keepends=True))
    found = [line for line in lines if line[0] in "+-"]
    return [line[2:] for line in found if line[0] == "-"], [line[2:] for line in found if line[0] == "+"]


def meaning(source):
    return metadata_edit._meaning(read_metadata(source))


@pytest.mark.slow
@pytest.mark.parametrize("source", ACCEPTED)
def test_unsetting_every_property_leaves_no_properties(source):
    names = list(read_metadata(source).properties)
    for index, name in enumerate(names):
        before = source
        source = metadata_edit.unset_property(source, name)
        removed, added = changed_lines(before.text, source.text)
        assert removed and len(added) <= len(removed)
        assert list(meaning(source).properties) == names[index + 1 :]
    assert meaning(source).properties == {}


@pytest.mark.parametrize("source", ACCEPTED)
def test_adding_and_then_removing_a_rule_restores_the_text(source):
    back = metadata_edit.remove_rule(metadata_edit.add_rule(source, NEW), NEW.path)
    assert meaning(back) == meaning(source)
    if read_metadata(source).rules and source.text.endswith("\n"):
        assert back.text == source.text


def text_of(text, **properties):
    source = Source("metadata.yaml", text)
    for name, value in properties.items():
        source = metadata_edit.set_property(source, name, value)
    return source.text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("properties:\n  os: a # why\n", "properties:\n  os: b # why\n"),
        ("properties:\n  os: 'a' # why\n", "properties:\n  os: 'b' # why\n"),
        ('properties:\n  "os" : "a"\n', 'properties:\n  "os" : "b"\n'),
        ("properties: {os: a, x: y} # c\n", "properties: {os: b, x: y} # c\n"),
        ("properties:\n  os: >\n    a\n    c\n  x: y\n", "properties:\n  os: b\n  x: y\n"),
        ("properties:\n  os:\n  x: y\n", "properties:\n  os: b\n  x: y\n"),
        ("properties:\n  os: ~ # c\n", "properties:\n  os: b # c\n"),
        ("properties:\n    x: y\n# end\n", "properties:\n    x: y\n    os: b\n# end\n"),
        ("properties:\n  x: y # c\n\n\ntemplates: {}\n", "properties:\n  x: y # c\n  os: b\n\n\ntemplates: {}\n"),
        ("properties:\n  x: |\n    y\n\nz: 1\n", "properties:\n  x: |\n    y\n  os: b\n\nz: 1\n"),
        ("properties: {}\n", "properties: {os: b}\n"),
        ("properties:\nz: 1", "properties:\n  os: b\nz: 1"),
        ("properties: # c\nz: 1", "properties: # c\n  os: b\nz: 1"),
        ("properties: ~\nz: 1", "properties:\n  os: b\nz: 1"),
        ("z: 1", "z: 1\nproperties:\n  os: b"),
        ("z: 1\rx: 2\r", "z: 1\rx: 2\rproperties:\r  os: b\r"),
        ("z: 1\r\ny: 1", "z: 1\r\ny: 1\r\nproperties:\r\n  os: b"),
        ("z: 1\r\n", "z: 1\r\nproperties:\r\n  os: b\r\n"),
        ("z: 1\n---\nsecond: 1\n", "z: 1\nproperties:\n  os: b\n---\nsecond: 1\n"),
        ("z: 1\n...\n", "z: 1\nproperties:\n  os: b\n...\n"),
        ('{"z": 1}', '{"z": 1, "properties": {"os": "b"}}'),
        ('{"properties": {"x": "y"}}', '{"properties": {"x": "y", "os": "b"}}'),
        (
            '{\n  "properties": {\n    "x": "y"\n  }\n}\n',
            '{\n  "properties": {\n    "x": "y",\n    "os": "b"\n  }\n}\n',
        ),
        ("properties:\n  os: &a b1\n  x: y\n", "properties:\n  os: b\n  x: y\n"),
        ("a: &a q\nproperties:\n  os: *a\n  x: *a\n", "a: &a q\nproperties:\n  os: b\n  x: *a\n"),
        ("properties:\n  os: first\n  os: second\n", "properties:\n  os: first\n  os: b\n"),
        ("\ufeffproperties:\n  x: y\n", "\ufeffproperties:\n  x: y\n  os: b\n"),
    ],
)  # fmt: skip
def test_an_edit_keeps_the_text_around_a_value(before, after):
    assert text_of(before, os="b") == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("properties:\n  os: &a old # c\n  x: *a\n", "properties:\n  os: b # c\n  x: &a old\n"),
        (
            "properties:\n  os: &a old\n  x: *a # c\n  y: *a\n",
            "properties:\n  os: b\n  x: &a old # c\n  y: *a\n",
        ),
        ("properties: &p\n  os: old\nx: *p\n", "properties:\n  os: b\nx: &p {os: old}\n"),
        ("x: &p\n  y: 1, 2\n  z: no\nproperties: *p\n",
         'x: &p\n  y: 1, 2\n  z: no\nproperties: {y: "1, 2", z: no, os: b}\n'),
        ("x: &p {y: 1}\nproperties:\n  <<: *p\n", "x: &p {y: 1}\nproperties:\n  <<: *p\n  os: b\n"),
        ("x: &p {os: 1}\nproperties:\n  <<: *p # c\n", "x: &p {os: 1}\nproperties:\n  <<: *p # c\n  os: b\n"),
        ("x: &p {os: 1}\nproperties:\n  os: 2\n  <<: *p\n  y: 3\n",
         "x: &p {os: 1}\nproperties:\n  <<: {}\n  y: 3\n  os: b\n"),
        ("properties:\n  x: |+\n    y\n\nz: 1\n", "properties:\n  x: |+\n    y\n\n  os: b\nz: 1\n"),
        ("properties:\n  os: |+\n    y\n\nz: 1\n", "properties:\n  os: b\n\nz: 1\n"),
        ("properties:\n  x: !<tag:yaml.org,2002:str> |+\n    y\n\nz: 1\n",
         "properties:\n  x: !<tag:yaml.org,2002:str> |+\n    y\n\n  os: b\nz: 1\n"),
        ("properties:\n  x: !!str # a | b > c\n    |+\n    y\n\nz: 1\n",
         "properties:\n  x: !!str # a | b > c\n    |+\n    y\n\n  os: b\nz: 1\n"),
        ("properties:\n  x: !<tag:yaml.org,2002:str> |\n    y\n\nz: 1\n",
         "properties:\n  x: !<tag:yaml.org,2002:str> |\n    y\n  os: b\n\nz: 1\n"),
        ("properties:\n  x: |+\n\n\nz: 1\n", "properties:\n  x: |+\n\n\n  os: b\nz: 1\n"),
        ("properties:\n  x: |\n\n\nz: 1\n", "properties:\n  x: |\n  os: b\n\n\nz: 1\n"),
        ("? properties\n: ? os\n  : a\n", "? properties\n: ? os\n  : b\n"),
        ("{properties: {os, x: y}}", "{properties: {os: b, x: y}}"),
        ("{properties: {x: }}", "{properties: {x: , os: b}}"),
        ("{properties: {x: y, # c\n}}\n", "{properties: {x: y, os: b, # c\n}}\n"),
        ("properties: {a: 1}\nproperties: ~\n", "properties: {a: 1}\nproperties: ~\nproperties:\n  os: b\n"),
        ("", "properties:\n  os: b\n"),
        ("# c\n", "# c\nproperties:\n  os: b\n"),
        ("~\n", "properties:\n  os: b\n"),
        ("--- ~ # c\n", "--- # c\nproperties:\n  os: b\n"),
        ("---\n...\n", "---\nproperties:\n  os: b\n...\n"),
        ("{}\n", "{properties: {os: b}}\n"),
    ],
)  # fmt: skip
def test_an_edit_supports_yaml_aliases_and_merge_keys_and_missing_mappings(before, after):
    assert text_of(before, os="b") == after


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_an_edit_keeps_the_utf_16_encoding(encoding):
    data = "\ufeffproperties:\n  os: é\n".encode(encoding)
    after = metadata_edit.set_property(Source("metadata.yaml", data), "os", "v")
    assert after.data == "\ufeffproperties:\n  os: v\n".encode(encoding)


@pytest.mark.parametrize(
    ("when", "items"),
    [
        (("create", "copy"), ["- create # c", "- copy"]),
        (("start", "create"), ["- start", "- create # c"]),
        (("copy", "start", "create"), ["- copy", "- start", "- create # c"]),
        (("start",), ["- start"]),
    ],
)
@pytest.mark.parametrize("end", ["", "\n"])
def test_an_edit_keeps_the_comments_of_list_items(when, items, end):
    before = "templates:\n  /a:\n    when:\n    - create # c\n    - start" + end
    after = metadata_edit.change_rule(Source("metadata.yaml", before), "/a", {"when": when}).text
    assert after == "templates:\n  /a:\n    when:\n    " + "\n    ".join(items) + end


@pytest.mark.parametrize(
    ("before", "fields", "after"),
    [
        ("templates:\n  /a: ~ # c\n", {"mode": "0600"}, 'templates:\n  /a: # c\n    mode: "0600"\n'),
        ("templates: {/a: null}\n", {"mode": "0600"}, 'templates: {/a: {mode: "0600"}}\n'),
        ("templates:\n  /a:\n", {"when": ("start",)}, "templates:\n  /a:\n    when:\n      - start\n"),
        ("templates:\n  /a:\n    mode: x\n", {"mode": ""}, "templates:\n  /a: {}\n"),
        ("x: &x {when: [start], mode: '1'}\ntemplates:\n  /a: *x\n  /b: *x\n", {"mode": "2"},
         "x: &x {when: [start], mode: '1'}\ntemplates:\n  /a: {when: [start], mode: \"2\"}\n  /b: *x\n"),
        ("templates:\n  /a: &x\n    when:\n    - start\n    template: a\n  /b: *x\n", {"template": "b"},
         "templates:\n  /a:\n    when:\n    - start\n    template: b\n  /b: &x {when: [start], template: a}\n"),
        ("x: &x {when: [start], mode: '1'}\ntemplates:\n  /a:\n    <<: *x\n", {"mode": ""},
         "x: &x {when: [start], mode: '1'}\ntemplates:\n  /a:\n    <<: {when: [start]}\n"),
        ("templates:\n  /a:\n    when:\n    - create # c\n    # d\n    - 'copy'\n    mode: x\n",
         {"when": ("create", "start", "copy")},
         "templates:\n  /a:\n    when:\n    - create # c\n    # d\n    - start\n    - 'copy'\n    mode: x\n"),
        ("templates: {/a: {when: ['create', copy]}}", {"when": ("create", "start")},
         "templates: {/a: {when: ['create', start]}}"),
    ],
)  # fmt: skip
def test_changing_a_rule_keeps_the_comments(before, fields, after):
    assert metadata_edit.change_rule(Source("metadata.yaml", before), "/a", fields).text == after


def test_an_edit_refuses_a_text_that_yaml_libraries_read_differently():
    text = "x: &x {/a: {template: b}}\ntemplates:\n  /a: {template: a}\n  <<: *x\n"
    with pytest.raises(
        InputError, match=r"^metadata\.yaml can't be changed in place: another value would change too$"
    ) as caught:
        metadata_edit.change_rule(Source("metadata.yaml", text), "/a", {"mode": "1"})
    assert caught.value.hint == "change the file in an editor: templater image edit"


def test_an_added_rule_is_formatted_like_the_neighbouring_rules():
    before = "templates:\n    /a:\n        when:\n        - start\n        template: a.tpl\nx: 1\n"
    after = metadata_edit.add_rule(
        Source("metadata.yaml", before), metadata_edit.NewRule("/b", "b.tpl", ("create", "copy"))
    ).text
    assert after == before.replace(
        "x: 1\n",
        "    /b:\n        when:\n        - create\n        - copy\n        template: b.tpl\nx: 1\n",
    )
    before = "templates:\n  /a: # c\n    when: [start]\n    template: a.tpl\n"
    after = metadata_edit.add_rule(
        Source("metadata.yaml", before), metadata_edit.NewRule("/b", "b.tpl", ("create", "copy"))
    ).text
    assert after == before + "  /b:\n    when: [create, copy]\n    template: b.tpl\n"


def test_adding_a_rule_for_an_existing_path_is_refused():
    with pytest.raises(UsageError, match=r"^the image already has a rule for '/a'$") as caught:
        metadata_edit.add_rule(
            Source("m", "templates: {/a: {template: a, when: [start]}}"),
            metadata_edit.NewRule("/a", "b", ("start",)),
        )
    assert caught.value.hint == "edit or delete the existing rule"


def test_an_unknown_property_cannot_be_unset():
    with pytest.raises(UsageError, match=r"^the image has no property 'nosuch'$") as caught:
        metadata_edit.unset_property(Source("m", "properties: {os: a}"), "nosuch")
    assert caught.value.hint == "its properties are os"


#: texts without a NUL, which images must not have in their properties
CHARACTERS = st.characters(codec="utf-8", exclude_categories=("Cs",), exclude_characters="\0")
TEXTS = st.text(CHARACTERS, max_size=30) | st.sampled_from(
    ["no", "~", "null", "1", "0x1f", "2024-01-01", "1:30", "a: b", "a #b", "- a", "'", '"', "\\", "<<", "", " ", "\n",
     "[a]", "{", "}", ",", "*a", "&a", "!a", "%", "@", "`", "|", ">", "?", "a:", ":a", "=", ".inf", "---", "..."]
)  # fmt: skip


@pytest.mark.slow
@given(st.dictionaries(TEXTS, TEXTS, max_size=4), TEXTS, TEXTS)
def test_setting_a_property_accepts_any_name_and_value(there, name, value):
    for start in ("", json.dumps({"properties": there}, ensure_ascii=False)):
        source = Source("metadata.yaml", start or "a: b\n")
        try:
            before = read_metadata(source).properties
        except TemplaterError:
            continue  # JSON that is no YAML
        after = metadata_edit.set_property(source, name, value)
        assert read_metadata(after).properties == {**before, name: value}
        gone = metadata_edit.unset_property(after, name)
        assert read_metadata(gone).properties == {key: text for key, text in before.items() if key != name}


@pytest.mark.slow
@pytest.mark.parametrize("source", ACCEPTED)
def test_a_date_can_be_set_and_removed(source):
    after = metadata_edit.set_fact(source, "expiry_date", "1900000000")
    assert read_metadata(after).expiry_date == 1900000000
    _, added = changed_lines(source.text, after.text)
    assert len(added) <= 2
    assert read_metadata(metadata_edit.unset_fact(after, "expiry_date")).expiry_date == 0
    assert read_metadata(metadata_edit.set_fact(source, "creation_date", "7")).creation_date == 7
    assert read_metadata(metadata_edit.set_fact(source, "architecture", "riscv64")).architecture == "riscv64"


def test_an_undefined_yaml_alias_is_a_metadata_error():
    with pytest.raises(MetadataError, match=r"^undefined alias '\*M'$"):
        metadata_edit.change_rule(Source("m", b"properties: {a: *M}\n"), "/a", {"mode": ""})


@pytest.mark.parametrize("header", ["|", ">", "|+", "|2"])
def test_an_edit_cannot_add_line_endings_to_block_scalars(header):
    """The edit is also refused for an unknown key, whose change a comparison of meanings would not find."""
    with pytest.raises(
        InputError,
        match=r"^m can't be changed in place: the block of text at the end of the file would gain a line ending$",
    ) as caught:
        metadata_edit.set_property(Source("m", f"unknown: {header}\n  block\n  two".encode()), "os", "x")
    assert caught.value.hint == "change the file in an editor: templater image edit"


@pytest.mark.parametrize(
    "text", ["unknown: |-\n  two", "unknown: |\n  two\n", "unknown: two", "unknown: |\n  two\n# c"]
)
def test_an_edit_that_keeps_the_last_value_is_accepted(text):
    after = metadata_edit.set_property(Source("m", text.encode()), "os", "x").text
    assert read_metadata(Source("m", after)).properties == {"os": "x"}
    assert yaml.safe_load(after)["unknown"] == yaml.safe_load(text)["unknown"]


DEPENDENT = "b: &b {a: 1, c: 2}\nproperties:\n  a: x\n  <<: *b\n  d: 3\n"


@pytest.mark.parametrize(
    "text",
    [DEPENDENT, "properties: &p {a: 1, d: 3}\nx: *p\n", "properties: *p\n", "architecture: a\nproperties: {a: 1, d: 3}\n",
     "properties:\n  a: 1\n  d: 3\n  a: 2\n"],
)  # fmt: skip
def test_joint_edits_and_single_edits_have_the_same_result(text: str) -> None:
    source = Source("metadata.yaml", text.replace("*p\n", "&q {a: 1, d: 3}\ny: *q\n"))
    together = metadata_edit.set_values(
        source,
        facts={"architecture": "x86_64", "expiry_date": None},
        properties={"d": None, "a": "5", "c": "6"},
    )
    single = metadata_edit.set_fact(source, "architecture", "x86_64")
    single = metadata_edit.set_property(
        metadata_edit.set_property(metadata_edit.unset_property(single, "d"), "a", "5"), "c", "6"
    )
    assert meaning(together) == meaning(single)
    assert meaning(together).properties == {"a": "5", "c": "6"}


def test_removing_several_properties_gives_a_usage_error_if_one_is_missing() -> None:
    with pytest.raises(UsageError, match=r"^the image has no property 'nosuch'$") as caught:
        metadata_edit.set_values(Source("m", "properties: {os: a}"), properties={"os": "b", "nosuch": None})
    assert caught.value.hint == "its properties are os"


def test_too_many_edits_of_a_long_text_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each edit parses the whole text."""
    monkeypatch.setattr(metadata_edit, "_MOST_PARSED", len(DEPENDENT))
    ways = (lambda text: text, lambda text: yaml_text_edit.put(text, ("properties", "a"), "5"))
    monkeypatch.setattr(metadata_edit, "_setting", lambda place, value: ways)
    with pytest.raises(
        LimitError, match=r"^metadata\.yaml is too large for 2 changes in one command$"
    ) as caught:
        metadata_edit.set_values(Source("metadata.yaml", DEPENDENT), properties={"a": "5", "c": "6"})
    assert caught.value.hint == "change the file in an editor: templater image edit"


def test_publishing_with_many_edits_parses_the_metadata_only_five_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Publishing a container with a long metadata.yaml took 14 seconds."""
    parses = []
    monkeypatch.setattr(
        metadata_edit,
        "read_metadata",
        lambda *args, **words: parses.append(1) or read_metadata(*args, **words),
    )
    monkeypatch.setattr(publish_container, "read_metadata", metadata_edit.read_metadata)
    text = "architecture: a\nexpiry_date: 4\nproperties: {os: x, serial: 1, name: n, label: l, version: 1}\n"
    source, dropped = publish_container._updated(
        Source("m", text), 5, "x86_64", {"os": "y"}, frozenset(), None
    )
    assert (len(dropped), meaning(source).properties) == (4, {"os": "y"})
    assert len(parses) == 5


def test_editing_many_anchors_in_a_long_text_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """60 merged mappings beside a long list took 19 seconds: each mapping caused a new parse of the text."""
    read = []
    real = yaml_positions.read
    monkeypatch.setattr(yaml_text_edit, "read", lambda text: read.append(len(text)) or real(text))
    chain = "p0: &p0 {os: x}\n" + "".join(f"p{n}: &p{n}\n  <<: *p{n - 1}\n" for n in range(1, 60))
    text = chain + "properties:\n  <<: *p59\nx: [" + "1, " * 2000 + "1]\n"
    cost = len(text) // 50 + 2 * (4 * 60 + 2000 + 10)
    monkeypatch.setattr(yaml_positions, "_MOST_WORK", 3 * cost)
    with pytest.raises(
        InputError,
        match=r"^m can't be changed in place: the text is too long for its number of anchors and equal keys$",
    ) as caught:
        metadata_edit.set_values(Source("m", text), properties={"os": None})
    assert caught.value.hint == "change the file in an editor: templater image edit"
    assert 3 * len(text) <= sum(read) <= 6 * len(text)


@pytest.mark.parametrize("words", [["edit", "--mode", "0600"], ["delete", "--force"]])
def test_changing_hundreds_of_rules_at_once_is_refused(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each change parses the whole text: the change of 500 rules took over 25 seconds."""
    rules = "".join(f"  /etc/a{n}: {{when: [create], template: h.tpl}}\n" for n in range(500))
    text = f"architecture: x86_64\ncreation_date: 1\ntemplates:\n{rules}"
    made = image(tmp_path / "i.tar", image_file("templates/h.tpl", b"x\n"), metadata=text.encode())
    assert main(["image", "template", words[0], made, "h.tpl", *words[1:]]) == 4
    assert "too large for 500 changes" in capsys.readouterr().err


def test_many_changes_of_a_text_with_many_expanded_aliases_are_refused() -> None:
    """``publish`` of a container with a metadata.yaml of 995 bytes needed 11 seconds."""
    text = "architecture: x\ncreation_date: 1\nm: &m {architecture: y}\n<<: *m\na0: &a0 {a: b}\n"
    text += "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 200)}]}}\n" for n in (1, 2))
    with pytest.raises(LimitError, match=r"^m is too large for 3 changes in one command"):
        metadata_edit.set_values(
            Source("m", text), facts={"architecture": "z"}, properties={"os": "x", "name": "y"}
        )


def test_changing_two_fields_in_a_long_text_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "architecture: x86_64\ncreation_date: 1\ntemplates:\n  /a: {when: [start], template: h.tpl}\n"
    text += "#" * (600 << 10)
    made = image(tmp_path / "i.tar", image_file("templates/h.tpl", b"x\n"), metadata=text.encode())
    assert main(["image", "template", "edit", made, "h.tpl", "--mode", "0600", "--uid", "1"]) == 4
    assert "too large for 2 changes" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        f"architecture: x86_64\n? creation_date # {'#' * 26}\n\nproperties: {{}}\n",
        f"{{architecture: x86_64, creation_date: 1, properties # {'#' * 26}\n , a: b}}\n",
    ],
)
def test_comments_after_keys_are_read_in_linear_time(text):
    """Each further '#' in the comment doubled the time."""
    with ends_within(1):
        after = metadata_edit.set_values(
            Source("m", text), facts={"creation_date": "5"}, properties={"os": "x"}
        )
    assert "creation_date" in after.text


@pytest.mark.parametrize(
    ("value", "spelling"),
    [
        ("a\x01b", '"a\\u0001b"'),
        ("a\U000e0001", '"a\\U000e0001"'),
        ("a\tb\n", '"a\\tb\\n"'),
        ("a\u00adb", '"a\\u00adb"'),
        ('say "x"', "'say \"x\"'"),
        ("a\\b", "'a\\b'"),
    ],
)
def test_a_value_with_special_characters_is_written_with_escapes(value, spelling):
    text = "architecture: x86_64\ncreation_date: 1\nproperties:\n  os: x\n"
    edited = metadata_edit.set_property(Source("m", text), "name", value)
    assert edited.text == f"{text}  name: {spelling}\n"
    assert meaning(edited).properties["name"] == value


def test_an_edit_refuses_a_value_with_invalid_utf_8():
    text = "architecture: x86_64\ncreation_date: 1\nproperties: {}\n"
    with pytest.raises(UsageError, match=r"^a value that is not UTF-8 can't be written to metadata.yaml$"):
        metadata_edit.set_property(Source("m", text), "name", "a\udcff")


def test_a_text_can_be_edited_even_if_libyaml_rejects_a_key():
    text = f"properties:\n  {'k' * 2000}: x\n"
    assert yaml_text_edit.put(text, ("properties", "a"), "5") == f'{text}  a: "5"\n'
    with pytest.raises(MetadataError, match=r"^not YAML: "):
        yaml_text_edit.put("a: [\n", ("properties", "a"), "5")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{a: 1, b: 2,}", "{a: 1,}"),
        ("{a: 1, b: 2}", "{a: 1}"),
        ("{b: 2, a: 1,}", "{a: 1,}"),
        ("{b: 2,}", "{}"),
        ("? b\n: c: 1\na: 2\n", "a: 2\n"),
    ],
)
def test_removing_a_key_from_a_yaml_mapping_leaves_no_extra_comma(before, after):
    assert yaml_text_edit.take(before, ("b",)) == after


def test_a_lone_key_inside_a_line_cannot_be_removed():
    text = "? t\n: a: 1\n  b: 2\n"
    assert yaml_text_edit.take(text, ("t", "a")) == "? t\n: b: 2\n"
    with pytest.raises(MetadataError, match=r"^the key is not at the start of its line$"):
        yaml_text_edit.take("? t\n: a: 1\n", ("t", "a"))


def test_a_key_from_merged_yaml_mappings_can_be_removed():
    text = "x: &x {a: 1, b: 2}\ny: &y {a: 3}\nt:\n  <<: [*x, *y]\n  c: 4\n"
    edited = yaml_text_edit.take(text, ("t", "a"))
    assert yaml.safe_load(edited)["t"] == {"b": 2, "c": 4}
    assert yaml.safe_load(edited)["x"] == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: yaml_text_edit.put("t: [1]\n", ("t", "a"), "x"), "'t' is not a mapping"),
        (lambda: yaml_text_edit.add("", ("t",), "x"), "the file has no mapping"),
        (lambda: yaml_text_edit.add("- 1\n", ("t",), "x"), "the file has no mapping"),
        (lambda: yaml_text_edit.take("a: 1\n" * 11, ("a",)), "'a' occurs 10 times or more"),
    ],
)
def test_an_uneditable_text_is_refused(change, message):
    with pytest.raises(MetadataError) as caught:
        change()
    assert caught.value.message == message


@pytest.mark.parametrize("text", ["0" * 64_000, "0_" * 32_000, "0" + "e" * 64_000, "1T" + "0" * 64_000])
def test_quoting_a_long_number_takes_linear_time(text):
    """``publish`` of a container whose /etc/os-release has a long number as version needed 37 seconds."""
    with ends_within(1):
        assert scalar(text + "g") == text + "g"
        assert scalar(text) != text


def test_an_edit_searches_each_merged_mapping_only_once():
    """``publish`` of a container with 376 bytes of nested merges needed 13 seconds."""
    text = "a0: &a0 {os: x}\n"
    text += "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 21))
    with ends_within(1):
        assert yaml_text_edit.has(text + "properties: *a20\n", ("properties", "os"))
        assert not yaml_text_edit.has(text + "properties: *a20\n", ("properties", "name"))


FACTS = "architecture: x86_64\ncreation_date: 1\n"


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (FACTS, FACTS + "expiry_date: 1\n", None),
        (FACTS, FACTS.replace("x86_64", "aarch64"), "architecture would change from 'x86_64' to 'aarch64'"),
        (FACTS, FACTS.replace("1", "2"), "creation_date would change from '1' to '2'"),
        ("creation_date: 1\n", FACTS, "architecture would change from '' to 'x86_64'"),
        (
            FACTS,
            "creation_date: 1\n",
            "metadata.yaml would have no architecture: the daemons refuse to import the image",
        ),
        (
            FACTS,
            FACTS[:21],
            "metadata.yaml would have no creation_date: the daemons refuse to import the image",
        ),
        ("[", FACTS, None),
        (FACTS + "expiry_date: 253402300800\n", FACTS + "expiry_date: 253402300801\n", None),
        (FACTS, FACTS + "expiry_date: 253402300799\n", None),
        (
            FACTS,
            FACTS + "expiry_date: 253402300800\n",
            "expiry_date would be after the year 9999: the daemons refuse to import the image",
        ),
    ],
)
def test_a_change_of_the_image_identity_needs_the_force_option(before, after, message, force):
    def edit():
        metadata_edit.require_same_identity(Source("m", before), Source("m", after), force=force)

    if message is None or (force and "would change" in message):
        edit()
        return
    with pytest.raises(RefusedError) as caught:
        edit()
    assert caught.value.message == message
    hint = "this value identifies the image; add --force to change it"
    assert caught.value.hint == (hint if "would change" in message else "")


@pytest.mark.parametrize(
    ("rules", "indent"),
    [
        ("  /a: {when: [create], template: a}\n  /b:\n      template: b\n", 6),
        ("  /a: {when: [create], template: a}\n  /b:\n   template: b\n", 3),
        ("  /n: {}\n  /b:\n      template: b\n", 6),
        ("  /a: {when: [create], template: a}\n", 4),
    ],
)
def test_a_new_rule_is_indented_like_the_other_rules(rules, indent):
    before = f"architecture: x86_64\ntemplates:\n{rules}"
    after = metadata_edit.add_rule(
        Source("m", before), metadata_edit.NewRule("/new", "n.tpl", ("start",))
    ).text
    assert after.startswith(before)
    assert len(re.match(r"  /new:\n( +)when:", after[len(before) :])[1]) == indent


@pytest.mark.parametrize(
    "entry",
    [
        "{when: [create, start], template: a, properties: {x: \"it's\", y: '1', z: 'a: b'}}",
        "\n    when:\n    - create\n    - start\n    template: a\n    properties:\n      x: one, two\n      y: 'true'\n",
        "{when: &w [create, copy], template: a, properties: &p {x: y, k: v}}",
    ],
)
def test_a_rule_with_a_used_anchor_can_be_removed(entry):
    before = f"architecture: x86_64\ntemplates:\n  /a: &a {entry}\n  /b: *a\n  /c: *a\n"
    was = {rule.path: rule for rule in read_metadata(Source("m", before)).rules}
    text = metadata_edit.remove_rule(Source("m", before), "/a").text
    found = {rule.path: rule for rule in read_metadata(Source("m", text)).rules}
    assert list(found) == ["/b", "/c"]
    for path, rule in found.items():
        assert (rule.when, rule.template, rule.properties) == (
            was[path].when, was[path].template, was[path].properties,
        )  # fmt: skip
