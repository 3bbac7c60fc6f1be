"""YAML as nodes with places: libyaml and PyYAML's own parser give the same tree."""

import math
import random

import pytest

from templater.model.errors import InputError, LimitError
from templater.model.source import Source
from templater.parsing import yaml_nodes
from templater.parsing.go_scalars import resolved
from templater.parsing.yaml_nodes import Limits, Mapping, Node, Scalar, YamlError, parse
from tests.processor_time import ends_within

TEXTS = [
    "a: 1\nb: [x, 'y', \"z\"]\n",
    "# comment\n- |\n  block\n  text\n- >-\n  folded\n\n  text\n",
    "{a: {b: [c, d]}, 'e f': ~}\n",
    "a: &x [1, 2]\nb: *x\nc: {<<: {d: e}}\n",
    "é: 😀\n😀é: é\n",
    "? long key\n: value\n",
    "a:\n  - b: c\n    d: e\n  -\n  - f\n",
    "a: 'it''s'\nb: \"\\u00e9\\n\"\n",
    "a: b\r\nc:\r\n  d: e\r\n",
    "\ufeffa: b\n",
    "a: !!str 5\nb: ! '5'\n",
    '{\n\t"a": "b",\n\t"c": [\n\t\t"d",\n\t]\n}\n',
    "a:\tb\t\nc: [\td,\te ]\n",
]


def nodes(root: Node | None) -> list[tuple]:
    """Return all properties of a tree, depth first."""
    if root is None:
        return []
    if isinstance(root, Scalar):
        return [("scalar", root.text, root.plain, root.tag, root.start, root.end)]
    found: list[tuple] = [(root.kind, root.tag, root.start, root.end, root.size)]
    for child in root.children:
        found.extend(nodes(child))
    return found


@pytest.fixture
def without_libyaml(monkeypatch):
    monkeypatch.setattr(yaml_nodes, "HAS_LIBYAML", False)


@pytest.mark.parametrize("text", TEXTS)
def test_the_c_and_python_parsers_give_the_same_tree(text, monkeypatch):
    fast = nodes(parse(Source("x", text)))
    monkeypatch.setattr(yaml_nodes, "HAS_LIBYAML", False)
    assert nodes(parse(Source("x", text))) == fast


@pytest.mark.parametrize("text", TEXTS)
def test_the_position_of_a_yaml_scalar_covers_its_text(text):
    source = Source("x", text)
    flow = [node for node in scalars(parse(source)) if node.plain and "\n" not in node.text]
    for node in flow:
        assert node.span.text == (node.text or node.span.text)


def scalars(root: Node | None) -> list[Scalar]:
    if root is None or isinstance(root, Scalar):
        return [] if root is None else [root]
    return [scalar for child in root.children for scalar in scalars(child)]


def test_yaml_tabs_are_accepted_only_where_the_go_parser_accepts_them(without_libyaml):
    root = parse(Source("x", "{\n\t'a':\t'b'\n}\n"))
    assert isinstance(root, Mapping)
    with pytest.raises(InputError) as caught:
        parse(Source("x", "a:\n\tb: c\n"))
    assert (caught.value.span.line, caught.value.span.column) == (2, 1)
    assert caught.value.hint == "indent with spaces: YAML does not allow a tab here"


def test_the_hint_for_a_tab_in_indentation_suggests_spaces():
    with pytest.raises(InputError) as caught:
        parse(Source("x", "a:\n\tb: c\n"))
    assert caught.value.message.startswith("invalid YAML: found character that cannot start any token")
    assert caught.value.hint == "indent with spaces: YAML does not allow a tab here"


@pytest.mark.parametrize("libyaml", [True, False])
@pytest.mark.parametrize("text", ["[" * 60_000, "{a: " * 30_000, "- " * 60_000, "? " * 60_000])
def test_the_nesting_depth_is_limited_while_yaml_is_read(text, libyaml, monkeypatch):
    monkeypatch.setattr(yaml_nodes, "HAS_LIBYAML", libyaml and yaml_nodes.HAS_LIBYAML)
    with pytest.raises(LimitError) as caught:
        parse(Source("x", text))
    assert caught.value.message == "nested more than 64 levels deep"
    assert caught.value.span.start < 1000


def test_yaml_in_damaged_utf_16_gives_a_templater_error():
    with pytest.raises(InputError, match="invalid UTF-16 at byte 5 of 5") as refused:
        parse(Source("m", b"\xff\xfea\0b"))
    assert "codec" not in refused.value.explain()


def test_each_yaml_limit_has_its_own_error():
    few = Limits(bytes=1000, depth=3, nodes=10, expanded=12)
    for text, message in [
        ("x" * 1001, "x is larger than 1000 bytes"),
        ("[[[[", "nested more than 3 levels deep"),
        ("[1,2,3,4,5,6,7,8,9,10]", "more than 10 nodes"),
        ("[&a [1,2,3], *a, *a]", "more than 12 nodes when aliases are expanded"),
    ]:
        with pytest.raises(LimitError) as caught:
            parse(Source("x", text), limits=few)
        assert caught.value.message == message


def test_a_yaml_alias_counts_as_many_nodes_as_its_expansion():
    root = parse(Source("x", "[&a [1, 2], *a, &b [*a, *a], *b]"))
    assert root is not None
    assert root.size == 1 + 3 + 3 + 7 + 7


def test_a_yaml_anchor_can_be_redefined():
    root = parse(Source("x", "[&a 1, *a, &a 2, *a]"))
    assert [scalar.text for scalar in scalars(root)] == ["1", "1", "2", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("rules", ["v2", "v4"])
def test_long_yaml_lines_are_parsed_completely(rules):
    text = "a: " + "x" * 500_000 + "\nb: [" + ", ".join(["y"] * 100_000) + "]\n"
    root = parse(Source("x", text), rules)
    assert root is not None
    assert root.size == 100_005 + 500_000 // 16, "a long text counts as several nodes"


@pytest.mark.parametrize("rules", ["v2", "v4"])
@pytest.mark.parametrize("libyaml", [True, False])
def test_both_parsers_give_the_same_error_for_control_characters(rules, libyaml, monkeypatch):
    monkeypatch.setattr(yaml_nodes, "HAS_LIBYAML", libyaml and yaml_nodes.HAS_LIBYAML)
    with pytest.raises(InputError) as caught:
        parse(Source("x", "a: b\nc: \0" + "x" * 2000), rules)
    assert caught.value.message == "control character U+0000 is not allowed in YAML"
    assert (caught.value.span.line, caught.value.span.column) == (2, 4)


def test_damaged_yaml_texts_give_errors_with_positions():
    letters = "ab \n\t:-?[]{},&*!|>'\"%@`#~\\0<\r\ufeff\x85\u2028é"
    pick = random.Random(20260102)
    for _ in range(3000):
        text = "".join(pick.choice(letters) for _ in range(pick.randrange(40)))
        for rules in ("v2", "v4"):
            try:
                root = parse(Source("x", text), rules)
            except InputError as error:
                assert error.span is not None and 0 <= error.span.start <= len(text), text
            else:
                assert root is None or 0 <= root.start <= root.end <= len(text), text


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("true True TRUE", True), ("false False FALSE", False), ("~ null Null NULL", None),
        (".inf .Inf .INF +.inf +.Inf +.INF", math.inf), ("-.inf -.Inf -.INF", -math.inf),
    ],
)  # fmt: skip
@pytest.mark.parametrize("rules", ["v2", "v4"])
def test_all_spellings_of_a_constant_give_the_same_value(words, value, rules):
    assert [resolved(word, "", rules) for word in words.split()] == [value] * len(words.split())
    assert all(resolved(word, "!!str", rules) == word for word in words.split())


@pytest.mark.parametrize("word", [".nan", ".NaN", ".NAN"])
def test_each_spelling_of_nan_gives_the_float_nan(word):
    assert math.isnan(resolved(word, "", "v4"))


@pytest.mark.parametrize(
    ("words", "value"),
    [("y Y yes Yes YES on On ON", True), ("n N no No NO off Off OFF", False)],
)
def test_only_yaml_v2_parses_yes_and_no_as_booleans(words, value):
    assert [resolved(word, "", "v2") for word in words.split()] == [value] * 8
    assert [resolved(word, "", "v4") for word in words.split()] == words.split()


def test_many_directives_are_refused_before_libyaml_compares_them():
    """libyaml compares each directive with all earlier directives.

    78,000 directives took 10 seconds, and no limit ended the parser.
    """
    few, many = ("".join(f"%TAG !a{number}! b\n" for number in range(count)) for count in (100, 20_000))
    assert parse(Source("m", few + "---\na: 1\n")) is not None
    with ends_within(0.1), pytest.raises(LimitError, match="more than 100 '%TAG' directives"):
        parse(Source("m", many + "---\na: 1\n"))


@pytest.mark.parametrize(
    "text", ["a: b\n\ufeffc: d", "a: b\r\ufeffc: d", "\ufeff\ufeffa: b", "a: |\n\ufeff b"]
)
@pytest.mark.parametrize("rules", ["v2", "v4"])
def test_a_later_byte_order_mark_gives_an_error_at_its_position(text, rules):
    with pytest.raises(YamlError, match="a byte order mark at the start of a line") as caught:
        parse(Source("m", text), rules)
    span = caught.value.span
    assert text[span.start] == "\ufeff" and span.start > 0


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_a_second_byte_order_mark_in_utf_16_is_an_error(codec):
    assert parse(Source("m", "\ufeffa: b".encode(codec))).children[0].text == "a"
    with pytest.raises(YamlError, match="a byte order mark at the start of a line"):
        parse(Source("m", "\ufeff\ufeffa: b".encode(codec)))


def test_a_byte_order_mark_inside_a_line_is_text():
    assert parse(Source("m", "\ufeffa: b\ufeff")).children[1].text == "b\ufeff"


@pytest.mark.parametrize("rules", ["v2", "v4"])
@pytest.mark.parametrize("value", ["5", "x", "~", "yes", "", "\n  5", "&a 5", "2024-01-01"])
def test_a_nameless_tag_before_an_unquoted_value_is_an_error(value, rules):
    """Incus 7.0.0 ignores the tag, and later releases read a text, or refuse the value."""
    with pytest.raises(YamlError, match="tag '!' is not allowed before a value without quotes"):
        parse(Source("m", f"a: ! {value}\n"), rules)
    assert not parse(Source("m", "[! '5']"), rules).children[0].plain


@pytest.mark.parametrize("key", ["! <<", "! '<<'", "!<!> <<", "&a ! <<"])
@pytest.mark.parametrize("rules", ["v2", "v4"])
def test_a_nameless_tag_before_a_merge_key_is_an_error(key, rules):
    with pytest.raises(YamlError, match="tag '!' is not allowed before '<<'"):
        parse(Source("m", f"{key}: {{}}"), rules)


@pytest.mark.parametrize("rules", ["v2", "v4"])
def test_the_merge_tag_is_allowed_only_on_merge_keys(rules):
    """Only yaml.v4 reads a key with the merge tag as a merge key."""
    assert parse(Source("m", "!!merge <<: {}"), rules)
    with pytest.raises(YamlError, match="tag '!!merge' is allowed only before '<<'"):
        parse(Source("m", "!!merge x: {}"), rules)


@pytest.mark.parametrize(
    "text",
    [
        "{?a: b}",
        "{?'a': b}",
        "[?a]",
        "{?[a]: b}",
        "{?&a x: b}",
        "{?!!str x: b}",
        "&b x: {?*b : b}",
        "{?}",
    ],
)
@pytest.mark.parametrize("rules", ["v2", "v4"])
def test_a_blank_must_follow_a_question_mark_in_brackets(text, rules):
    """libyaml and yaml.v2 read '?a' as the key 'a', and yaml.v4 as the text '?a'."""
    with pytest.raises(YamlError, match=r"m:1:[0-9]+: '[?]' must be followed by a space"):
        parse(Source("m", text), rules)


@pytest.mark.parametrize(
    ("text", "is_refused_by_v4"),
    [
        ("[crea?te]", False),
        ("{a?: b}", False),
        ("{a: b?}", False),
        ("[a ?b]", False),
        ("{a: [b, c?d]}", False),
        ("[!!str a?b]", False),
        ("[a? b]", True),
        ("[a ? b]", True),
        ("[a?\n]", True),
        ("[a\n  ?\u2028 b]", True),
    ],
)
def test_question_marks_in_brackets_are_refused_as_in_go(text, is_refused_by_v4):
    """libyaml reads the '?' as a part of the text. yaml.v2 and yaml.v3 refuse all of these texts."""
    for rules, is_refused in (("v2", True), ("v4", is_refused_by_v4)):
        source = Source("m", text)
        if is_refused:
            with pytest.raises(YamlError, match=r"an unquoted text in brackets can't contain '[?]'"):
                parse(source, rules)
        else:
            parse(source, rules)


@pytest.mark.parametrize(
    "text",
    ["? a\n: b", "a?: b?", "{'a?': 'b?'}", "?a: b", "{? a : b}", "['?', a]", "a: # what?\n b", "[a # b?\n]"],
)
def test_a_question_mark_outside_an_unquoted_text_in_brackets_is_accepted(text):
    for rules in ("v2", "v4"):
        parse(Source("m", text), rules)


@pytest.mark.parametrize("rules", ["v2", "v4"])
@pytest.mark.parametrize(
    "text", ["[a\u2028 b]", "[a\u2028\n b]", "[a\n\u2028 b]", "a: b\u2028 c\n", "[a\u2028\n\n b, c]"]
)
def test_both_parsers_agree_on_scalars_with_a_line_separator(text, rules, monkeypatch):
    found = []
    for libyaml in (True, False):
        monkeypatch.setattr(yaml_nodes, "HAS_LIBYAML", libyaml and yaml_nodes.HAS_LIBYAML)
        found.append([scalar.text for scalar in scalars(parse(Source("x", text), rules))])
    assert found[0] == found[1]
    assert "\u2028" in "".join(found[0])
