"""Small texts that once took minutes to hours: time must grow in proportion to the input."""

from collections.abc import Iterator

import pytest

from templater import pongo2
from templater.image import metadata_edit
from templater.model.errors import InputError, LimitError, MetadataError, RenderError
from templater.model.instance import Instance
from templater.model.source import Source
from templater.parsing.instance_description import read_instance
from templater.parsing.metadata_yaml import read_metadata
from templater.parsing.yaml_nodes import Rules
from templater.web.redaction import MARK, Redaction
from tests.processor_time import ends_within


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    with ends_within(5):
        yield


def source(text: str) -> Source:
    return Source("i/metadata.yaml", text)


@pytest.mark.parametrize("rules", ["v2", "v4"])
@pytest.mark.slow
def test_attack_51_many_metadata_errors_are_reported_with_their_lines(rules: Rules) -> None:
    lines = [f"  a{number}: []\n" for number in range(14_000)]
    with pytest.raises(MetadataError) as caught:
        read_metadata(source("\n" * 400_000 + "properties:\n" + "".join(lines)), rules)
    assert caught.value.span is not None
    assert caught.value.span.line == 400_002
    assert caught.value.yaml_error is not None
    assert caught.value.yaml_error.count("line ") == 10_000
    assert "line 410001: cannot" in caught.value.yaml_error


@pytest.mark.slow
def test_attack_53_many_duplicate_keys_are_read_in_linear_time() -> None:
    metadata = read_metadata(source("\n" * 400_000 + "properties:\n" + "  a: 1\n" * 600))
    *listed, rest = metadata.findings
    assert len(listed) == 500
    assert listed[-1].span.line == 400_502
    assert rest.message == "metadata.yaml has more mistakes of one kind than templater lists"


@pytest.mark.slow
def test_many_yaml_merge_keys_are_read_in_linear_time() -> None:
    keys = "".join(f"  a{number}: 1\n" for number in range(30_000))
    text = f"name: c1\nconfig:\n{keys}" + "  <<: {}\n" * 15_000
    assert len(read_instance(Source("c1.yaml", text)).config) == 30_000


def test_direct_yaml_key_wins_over_all_merge_keys() -> None:
    text = "config:\n  a: own\n  <<: {a: first, b: first}\n  <<: [{b: second, c: second}, {c: third, d: third}]\n"
    config = read_instance(Source("c1.yaml", text)).config
    assert list(config.items()) == [("c", "second"), ("d", "third"), ("b", "first"), ("a", "own")]


def removed(text: str, names: str) -> str:
    return pongo2.compile('{{ v|removetags:"' + names + '" }}').render({"v": text})


def test_attack_47_each_part_of_a_character_class_counts_towards_the_work_limit() -> None:
    with pytest.raises(LimitError, match="units of work"):
        removed("<b" * 30_000, "[" + "a" * 15_000 + "]")
    with pytest.raises(LimitError, match="units of work"):
        removed("<b" * 30_000, "([" + "a" * 100 + "]){100}")
    assert removed("<q>x</a><b>", "[" + "a-c" * 1000 + "]") == "<q>x"


@pytest.mark.parametrize(
    "names", ["{" * 1_000_000, "{" * 1_000_000 + "}", "[[:" * 300_000 + "]", "a*" * 300_000]
)
def test_attack_47_a_huge_regular_expression_is_an_error(names: str) -> None:
    with pytest.raises((RenderError, LimitError), match=r"more than 20000 steps|units of work|invalid"):
        removed("<b>x", names)


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [
        "((((){1000}){1000}){1000}){1000}",
        ",".join(["a{1000}" * 19] * 2500),
        ",".join(["(((((()))))){1000}" * 14] * 1500),
    ],
    ids=["nested", "many steps", "no steps"],
)
def test_attack_47_a_regular_expression_with_many_repetitions_is_refused_quickly(names: str) -> None:
    """The first pattern took longer than a day, and thousands of large patterns half a minute."""
    with pytest.raises((RenderError, LimitError), match=r"invalid|steps|units of work"):
        removed("a<b>", names)


@pytest.mark.slow
def test_attack_47_a_regular_expression_on_empty_text_counts_as_work() -> None:
    with pytest.raises(LimitError, match=r"builds a value|units of work"):
        removed("", "a*," * 200_000)


def chain(name: str, links: int) -> str:
    """Return items of a list: mappings, each of which merges the mapping before it."""
    lines = [f"  - &{name}0 {{{name}: c}}\n"]
    lines += [f"  - &{name}{n} {{<<: *{name}{n - 1}}}\n" for n in range(1, links)]
    return "".join(lines)


def values(count: int) -> str:
    return "".join(f"  - [{','.join(['a'] * 100)}]\n" for _ in range(count // 100))


FACTS = "architecture: x86_64\ncreation_date: 1\n"


@pytest.mark.slow
def test_attack_51_an_edit_with_the_slow_parser_has_a_limit() -> None:
    """``image build DIR q=1`` took 20 seconds: each merged mapping was found by parsing the text again."""
    text = f"x:\n{chain('properties', 28)}{values(48_000)}".replace("{properties: c}", "{properties: {b: c}}")
    text += f"{FACTS}{'k' * 1100}: x\n<<: *properties27\n"
    with pytest.raises(InputError, match="the text is too long for its number of anchors and equal keys"):
        metadata_edit.set_property(source(text), "q", "1")


@pytest.mark.slow
def test_attack_51_all_edits_of_a_text_share_one_work_limit() -> None:
    """``publish`` took 20 seconds to remove six properties. Merged mappings were before each property."""
    names = ("description", "serial", "name", "label", "version", "type")
    merged = ", ".join(f"*{name}5" for name in names)
    text = f"x:\n{''.join(chain(name, 6) for name in names)}{values(100_000)}{FACTS}"
    text += f"properties: {{<<: [{merged}]}}\n"
    with pytest.raises(LimitError, match="too large for 6 changes"):
        metadata_edit.set_values(source(text), properties=dict.fromkeys(names))


@pytest.mark.slow
def test_long_ordinary_metadata_can_be_edited_in_many_places_at_once() -> None:
    rules = "".join(f"  /etc/{n}:\n    when: [create, copy]\n    template: a.tpl\n" for n in range(1000))
    text = f"{FACTS}properties: &p {{os: a, serial: b, name: c}}\ntemplates:\n{rules}y: *p\n"
    changed = dict.fromkeys(("serial", "name")) | {str(number): "x" for number in range(10)}
    after = metadata_edit.set_values(source(text), facts={"creation_date": "5"}, properties=changed)
    assert len(read_metadata(after).properties) == 11


@pytest.mark.slow
def test_six_properties_can_be_removed_from_large_metadata() -> None:
    """`publish` refused a metadata.yaml with many rules, because each edit parsed the whole text again."""
    names = ("description", "serial", "name", "label", "version", "type")
    rules = "".join(
        f"  /etc/directory/file{n}:\n    when: [create, copy]\n    template: a.tpl\n" for n in range(5000)
    )
    stale = "".join(f"  {name}: v\n" for name in names)
    text = f"{FACTS}properties:\n{stale}  os: a\ntemplates:\n{rules}"
    after = metadata_edit.set_values(
        source(text), facts={"creation_date": "5"}, properties=dict.fromkeys(names)
    )
    assert after.text == f"architecture: x86_64\ncreation_date: 5\nproperties:\n  os: a\ntemplates:\n{rules}"


@pytest.mark.slow
def test_an_edit_of_many_block_scalars_takes_linear_time() -> None:
    """For each block, the whole text before it was copied."""
    text = "x:\n" + "- |\n  \U0001f600\n" * 60_000 + FACTS
    after = metadata_edit.set_property(source(text), "os", "x")
    assert after.text == text + "properties:\n  os: x\n"


@pytest.mark.slow
def test_many_unused_yaml_anchors_are_removed_in_linear_time() -> None:
    """The aliases of each anchor were searched in the whole text."""
    anchors = ", ".join(f"&a{number} 1" for number in range(20_000))
    text = f"{FACTS}templates:\n  /a: {{when: [start], template: t, x: [{anchors}]}}\n"
    assert "a19999" not in metadata_edit.remove_rule(source(text), "/a").text


def test_attack_50_many_secret_lines_of_different_lengths_are_redacted_in_linear_time() -> None:
    lines = "\n".join("a" * size + "b" for size in range(8, 1500))
    redaction = Redaction([Instance("c1", config={"user.password": lines})])
    assert redaction.scrub("a" * 500_000) == MARK
