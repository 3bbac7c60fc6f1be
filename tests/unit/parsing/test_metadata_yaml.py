"""metadata.yaml: Go's decoding, the place of each value, and the errors for invalid files."""

import base64
import json
from pathlib import Path

import pytest

from templater.model.errors import LimitError, MetadataError, RefusedError
from templater.model.metadata import TRIGGERS, UNCOUNTED
from templater.model.source import Source
from templater.parsing import yaml_nodes
from templater.parsing.metadata_yaml import read_metadata, suggestion
from tests.processor_time import ends_within

CASES = Path(__file__).resolve().parents[3] / "tests" / "metadata_cases"
RECORDED = [
    json.loads(line)
    for name in ("go_yaml.jsonl", "merged_keys.jsonl")
    for line in (CASES / name).read_text().splitlines()
]
BY_V4 = [json.loads(line) for line in (CASES / "yaml_v4.jsonl").read_text().splitlines()]

#: texts that Go accepts or reports differently, with the reason for the difference
DELIBERATE = {
    "text properties: p a: p n": "an anchor that contains itself is refused where it is used",
    "text architecture: x n (4)": "releases of Incus 7 read different values after the tag '!'",
    "text x: p p n": "an anchor that contains itself is refused, though nobody may look at it",
}


def read(text: str | bytes, yaml="v2"):
    return read_metadata(Source("metadata.yaml", text), yaml)


def error_of(text: str | bytes, yaml="v2") -> MetadataError:
    with pytest.raises(MetadataError) as caught:
        read(text, yaml)
    return caught.value


def text_of(case: dict) -> bytes:
    return base64.b64decode(case["base64"]) if "base64" in case else case["yaml"].encode()


def decoded(metadata) -> dict:
    """Return the values as in the recordings: with Go's names and without empty fields."""
    fields = {
        "Architecture": metadata.architecture,
        "CreationDate": metadata.creation_date,
        "ExpiryDate": metadata.expiry_date,
        "Properties": dict(metadata.properties),
        "Templates": {rule.path: None if rule.null else decoded_rule(rule) for rule in metadata.rules},
    }
    return {name: value for name, value in fields.items() if value}


def decoded_rule(rule) -> dict:
    fields = {
        "When": list(rule.when),
        "CreateOnly": rule.create_only,
        "Template": rule.template,
        "Properties": dict(rule.properties),
        "UID": rule.uid,
        "GID": rule.gid,
        "Mode": rule.mode,
    }
    return {name: value for name, value in fields.items() if value}


def cases(library: str) -> list:
    def marks(case):
        reason = DELIBERATE.get(case["name"])
        return pytest.mark.xfail(reason=reason, strict=True) if reason else ()

    return [pytest.param(case, marks=marks(case), id=case["name"]) for case in RECORDED if library in case]


#: texts for which the errors of the two parsers differ
OTHER_WORDS = {
    "text architecture: x": "at the end of a text without a line break, libyaml counts one line more",
    "text architecture: x q n": "libyaml parses a quoted scalar, and PyYAML scans a double-quoted scalar",
}


def by_both_parsers():
    """Return each recorded text; the fast tests parse every fourth text with both parsers."""
    for number, case in enumerate(RECORDED):
        reason = OTHER_WORDS.get(case["name"])
        marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
        slow = [pytest.mark.slow] if number % 4 else []
        yield pytest.param(case, marks=[*marks, *slow], id=case["name"])


def in_v4_words(error: str) -> str:
    words = error.replace("unmarshal", "construct").replace("errors:\n  ", "errors: ")
    return words.replace("\n  ", "; ")


@pytest.fixture(
    params=["libyaml", pytest.param("PyYAML's own parser, as in a zipapp", marks=pytest.mark.slow)]
)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_nodes, "HAS_LIBYAML", request.param == "libyaml" and yaml_nodes.HAS_LIBYAML)


@pytest.mark.parametrize("case", cases("v2"))
@pytest.mark.usefixtures("parser")
def test_metadata_is_decoded_as_recorded_with_go_yaml_v2(case):
    compare(text_of(case), "v2", case["v2"], case["v2"].get("error", ""))


@pytest.mark.parametrize("case", cases("v3"))
@pytest.mark.usefixtures("parser")
def test_metadata_is_decoded_as_recorded_with_go_yaml_v4(case):
    compare(text_of(case), "v4", case["v3"], in_v4_words(case["v3"].get("error", "")))


@pytest.mark.parametrize("yaml", ["v2", "v4"])
@pytest.mark.parametrize("case", BY_V4, ids=[case["name"] for case in BY_V4])
@pytest.mark.usefixtures("parser")
def test_metadata_is_decoded_as_recorded_with_incus_7(case, yaml):
    compare(text_of(case), yaml, case[yaml], case[yaml].get("error", ""))
    if "error" in case[yaml]:
        assert error_of(text_of(case), yaml).yaml_error == case[yaml]["error"]


def test_an_alias_of_a_merge_key_is_refused_as_a_key():
    """Go reads such a key as a text, and most other programs merge the value."""
    for yaml in ("v2", "v4"):
        error = error_of("x: &w <<\nproperties: {*w : {a: b}}\n", yaml)
        assert (error.message, error.span.line) == ("an alias of '<<' is not allowed as a key", 2)


@pytest.mark.parametrize(
    ("keys", "tail"),
    [
        ("os: a, os: b", ", but Incus 7 rejects the file"),
        ("*w : a, *w : b", ", but Incus 7 rejects the file"),
        ("*w : a, os: b", ""),
        ("*w : a, *v : b", ""),
    ],
)
def test_a_duplicate_key_written_as_an_alias_is_found(keys, tail):
    metadata = read(f"x: &w os\ny: &v os\nproperties: {{{keys}}}\n")
    (found,) = (finding for finding in metadata.findings if finding.code == "duplicate-key")
    assert found.message == f"duplicate key 'os', first in line 3: the last value is used{tail}"
    assert found.span.line == 3


def compare(text: bytes, yaml: str, recorded: dict, words: str) -> None:
    if "error" not in recorded:
        assert decoded(read(text, yaml)) == recorded["metadata"]
        return
    error = error_of(text, yaml)
    assert error.span is not None
    if "errors:" in words:  # type errors have texts of their own; others come from a parser
        assert error.yaml_error == words


def test_every_metadata_field_has_a_position():
    text = (
        "architecture: x86_64\n"
        "templates:\n"
        "  /etc/hösts:\n"
        "    template: hosts.tpl\n"
        "    when: [create, start]\n"
        "    properties: {default: a}\n"
        "    mode: 0644\n"
    )
    metadata = read(text)
    (rule,) = metadata.rules
    places = {name: (span.line, span.column, span.text) for name, span in rule.spans.items()}
    entry = places.pop("entry")
    assert entry[:2] == (4, 5)
    assert entry[2].startswith("template: hosts.tpl\n") and entry[2].endswith("mode: 0644")
    assert places == {
        "path": (3, 3, "/etc/hösts"),
        "template": (4, 15, "hosts.tpl"),
        "when": (5, 11, "[create, start]"),
        "when[0]": (5, 12, "create"),
        "when[1]": (5, 20, "start"),
        "properties": (6, 17, "{default: a}"),
        "properties[default]": (6, 27, "a"),
        "mode": (7, 11, "0644"),
    }
    assert metadata.spans["architecture"].text == "x86_64"


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_positions_in_metadata_do_not_depend_on_the_encoding(mark, newline, encoding):
    text = newline.join(["# é 😀", "templates:", "  /é😀/b: {when: x}", ""])
    error = error_of((mark if encoding == "utf-8" else "").encode() + text.encode(encoding))
    assert (error.span.line, error.span.column, error.span.text) == (3, 17, "x")


def test_a_metadata_error_gives_the_expected_type_and_a_hint():
    error = error_of("templates:\n  /etc/hosts:\n    when: start\n")
    assert error.explain().splitlines() == [
        "metadata.yaml:3:11: 'when' must be a list",
        " 3 |     when: start",
        "   |           ^^^^^",
        "hint: write the value as [start]",
    ]


def test_further_metadata_errors_are_notes_of_the_first_error():
    error = error_of("templates:\n  /a: {when: x, create_only: 1}\n  /b: [c]\n")
    assert error.message == "'when' must be a list"
    assert error.notes == (
        "also: metadata.yaml:2:30: 'create_only' must be true or false",
        "also: metadata.yaml:3:7: the rule for '/b' must be a mapping",
    )


def test_a_metadata_error_shows_a_limited_number_of_problems():
    error = error_of("templates:\n" + "".join(f"  /{i}: [x]\n" for i in range(1000)))
    assert len(error.notes) == 21
    assert error.notes[-1] == "and 979 more problems"


def repeated(line: str, rules: int) -> Source:
    """A file with a rule of 30 lines, and more rules that are aliases of it."""
    lines = "".join(f"    {line.format(number)}\n" for number in range(30))
    aliases = "".join(f"  /{number}: *x\n" for number in range(rules - 1))
    return Source("m", f"templates:\n  /a: &x\n    when: [start]\n    template: t\n{lines}{aliases}")


def test_each_alias_of_a_long_text_counts_as_several_nodes():
    """A text of 20 kB with 9,000 aliases of 10 kB became 90 MB of properties."""
    aliases = "".join(f"  k{number}: *a\n" for number in range(700))
    text = f"properties:\n  a: &a {'x' * 10_000}\n"
    assert len(read(text + aliases[: aliases.index("k600")]).properties) == 601
    with pytest.raises(LimitError, match="more than 400000 nodes when aliases are expanded"):
        read(text + aliases)


def test_each_kind_of_metadata_finding_has_a_limit():
    """3,000 aliases of a rule with 30 unknown keys needed 37 seconds and 1.7 GB."""
    with ends_within(5):
        findings = read_metadata(repeated("? {0}" + "\U000e0001" * 900 + "\n    : 1", 200)).findings
    assert [finding.code for finding in findings] == ["unknown-key"] * 501
    assert [finding.message == UNCOUNTED for finding in findings] == [False] * 500 + [True]
    assert max(len(finding.message) for finding in findings) <= 1001


def test_at_most_ten_thousand_problems_in_aliases_are_stored():
    with pytest.raises(MetadataError) as caught:
        read_metadata(repeated("uid: [{0}]", 400))
    assert caught.value.notes[-1] == f"and {30 * 400 - 21} more problems"
    assert caught.value.yaml_error.count("cannot unmarshal") == 10_000


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("arch: x\n", "unknown key 'arch' in metadata.yaml: ignored"),
        ("Templates: {}\n", "unknown key 'Templates' in metadata.yaml: ignored; did you mean 'templates'?"),
        (
            "templates: {/a: {when: [create], templates: t}}\n",
            "unknown key 'templates' in the rule for '/a': ignored; did you mean 'template'?",
        ),
        ("templates: {/a: {template: t, when: [creat]}}\n", "unknown trigger 'creat': it never fires"),
        (
            "templates: {/a: {template: t}}\n",
            "the rule for '/a' has no trigger, so the file is never written",
        ),
        ("templates: {/a: {when: [start]}}\n", "the rule for '/a' has no template"),
        ("templates:\n  /a:\n", "the entry is null: the daemons panic when they read it"),
        ("properties: {a: 1, a: 2}\n", "duplicate key 'a', first in line 1: the last value is used"),
        ("properties: {~: 1}\n", "the key is null: quote it if it is meant as text"),
        ("~\n", "the document is null: most daemons panic when they read it"),
        ("", "the file contains no YAML document"),
    ],
)
def test_probable_mistakes_in_metadata_are_findings(text, finding):
    found = [message for message, _ in read(text).findings]
    assert any(message.startswith(finding) for message in found), found


def test_every_metadata_finding_has_a_position():
    ((message, span),) = read("architecture: x\nkreation_date: 5\n").findings
    assert message.endswith("did you mean 'creation_date'?")
    assert (span.line, span.column, span.text) == (2, 1, "kreation_date")


def test_a_valid_metadata_file_has_no_findings():
    text = "architecture: x\ncreation_date: 5\ntemplates: {/a: {when: [create], template: t}}\n"
    assert read(text).findings == read(text, "v4").findings == ()


def test_attack_54_a_null_entry_in_metadata_is_preserved():
    metadata = read("templates:\n  /a:\n  /b: ~\n  /c: {}\n")
    assert [rule.null for rule in metadata.rules] == [True, True, False]


@pytest.mark.parametrize("yaml", ["v2", "v4"])
def test_a_value_with_the_tag_null_is_null_in_every_spelling(yaml):
    spellings = ("", "~", "null", "Null", "NULL", "''", "'null'")
    text = "".join(f"  /{number}: !!null {spelling}\n" for number, spelling in enumerate(spellings))
    assert [rule.null for rule in read(f"templates:\n{text}", yaml).rules] == [True] * len(spellings)
    for other in ("nULL", "x", "0"):
        assert "must be a mapping" in error_of(f"templates:\n  /a: !!null {other}\n", yaml).message


def test_a_null_metadata_document_differs_from_an_empty_one():
    assert read("~").null
    assert not read("").null
    assert not read("{}").null


def test_the_last_rule_for_a_path_is_used():
    text = "templates: {/a: {template: x}, /b: {template: y}, /a: {template: z}}\n"
    assert [(rule.path, rule.template) for rule in read(text).rules] == [("/b", "y"), ("/a", "z")]


# Recorded behaviour of Incus 7 (hosts/OUTCOMES.md) and the error texts of its YAML library


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "yaml: construct errors: <unknown position>: yaml: no documents in stream"),
        ("# x\n", "yaml: construct errors: <unknown position>: yaml: no documents in stream"),
        (
            "a: 1\n---\nb: 2\n",
            "yaml: construct errors: <unknown position>: yaml: expected single document, found multiple",
        ),
        ("a: 1\na: 2\n", 'yaml: construct errors: line 2: mapping key "a" already defined at line 1'),
        (
            "templates:\n  /a:\n    when: create\n",
            "yaml: construct errors: line 3: cannot construct !!str `create` into []string",
        ),
        (
            "templates: {/a: {create_only: 'true'}}\n",
            "yaml: construct errors: line 1: cannot construct !!str `true` into bool",
        ),
        ("creation_date: 1.5\n", "yaml: construct errors: line 1: cannot construct !!float `1.5` into int64"),
        (
            "properties: {e: 2020-01-01}\n",
            "yaml: construct errors: line 1: cannot construct !!timestamp `2020-01-01` into string",
        ),
        (
            "templates: [a]\n",
            "yaml: construct errors: line 1:"
            " cannot construct !!seq into map[string]*api.ImageMetadataTemplate",
        ),
    ],
)
def test_attack_54_an_error_in_metadata_has_the_text_of_incus_7(text, words):
    assert error_of(text, "v4").yaml_error == words


@pytest.mark.parametrize(
    ("yaml", "text", "words"),
    [
        (
            "v4",
            "a: 1\n---\n[",
            "go-yaml load error in parser (while parsing a flow node) at L4.C1: did not find expected node content",
        ),
        (
            "v4",
            "a: 1\nb: 2\ntemplates:\n\t/etc/a:\n",
            "go-yaml load error in scanner (while scanning for the next token) at L4.C1:"
            " found character that cannot start any token",
        ),
        (
            "v2",
            "a: 1\nb: 2\ntemplates:\n\t/etc/a:\n",
            "yaml: line 4: found character that cannot start any token",
        ),
    ],
)
def test_yaml_parser_errors_have_the_text_of_the_host(yaml, text, words):
    assert error_of(text, yaml).yaml_error == words


@pytest.mark.parametrize("case", list(by_both_parsers()))
def test_the_c_parser_and_the_python_parser_give_the_same_metadata(case, monkeypatch):
    answers = []
    for has_libyaml in (yaml_nodes.HAS_LIBYAML, False):
        monkeypatch.setattr(yaml_nodes, "HAS_LIBYAML", has_libyaml)
        try:
            answers.append(decoded(read(text_of(case))))
        except MetadataError as error:
            answers.append((error.message, error.span.start, error.yaml_error))
    assert answers[0] == answers[1]


def test_hosts_with_yaml_v2_accept_documents_that_incus_7_refuses():
    assert read("properties: {e: 2020-01-01}").properties == {"e": "2020-01-01"}
    assert read("creation_date: 1.5").creation_date == 1
    assert read("architecture: a\n---\n[").architecture == "a"
    assert [rule.path for rule in read("templates: {~: {template: t}}").rules] == [""]
    assert [rule.path for rule in read("templates: {~: {template: t}}", "v4").rules] == []


@pytest.mark.parametrize("size", [1025, 4000])
def test_only_yaml_v4_accepts_long_keys(size):
    path = "/" + "x" * size
    text = f"templates:\n  {path}:\n    template: t\n"
    (rule,) = read(text, "v4").rules
    assert rule.path == path
    assert rule.spans["template"].line == 3
    assert error_of(text).span.line == 2


# Hostile texts, numbered as in the list of attacks


def hostile_error(text: str, yaml="v2") -> LimitError:
    with pytest.raises(LimitError) as caught:
        read(text, yaml)
    return caught.value


def laughs(levels: int, width: int, item: str = "x") -> str:
    lines = [f"a0: &a0 [{', '.join([item] * width)}]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


def test_duplicate_keys_hide_other_mistakes_of_a_mapping_in_yaml_v4():
    text = "templates:\n  /a: {when: x, when: [], template: t, mode: []}\n"
    assert error_of(text, "v4").notes == ()
    assert error_of("templates:\n  /a: {when: x, template: t, mode: []}\n", "v4").notes != ()


@pytest.mark.parametrize("yaml", ["v2", "v4"])
def test_attack_51_a_billion_laughs_document_gives_an_error_with_a_line_number(yaml):
    error = hostile_error(laughs(9, 9), yaml)
    assert error.message == "more than 400000 nodes when aliases are expanded"
    assert error.span.line == 6


@pytest.mark.parametrize("yaml", ["v2", "v4"])
def test_attack_51_yaml_merge_keys_must_not_multiply_the_entries(yaml):
    keys = ", ".join(f"k{i}: v" for i in range(8))
    lines = [f"a0: &a0 {{{keys}}}"]
    lines += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 8)}]}}" for i in range(1, 9)]
    text = "\n".join([*lines, "properties: {<<: *a8}"])
    assert "when aliases are expanded" in hostile_error(text, yaml).message


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 30_000, "- " * 100_000, "x: " + "[" * 53_000])
@pytest.mark.parametrize("yaml", ["v2", "v4"])
def test_attack_51_a_deeply_nested_yaml_document_is_refused_early(text, yaml):
    assert hostile_error(text, yaml).message == "nested more than 64 levels deep"


@pytest.mark.slow
def test_attack_51_a_document_with_a_million_keys_is_refused():
    assert hostile_error("{" + "a, " * 300_000 + "}").message == "more than 200000 nodes"
    assert "larger than 1 MiB" in hostile_error("".join(f"k{i}: v\n" for i in range(1_000_000))).message


def test_attack_51_a_huge_yaml_scalar_is_refused():
    assert "larger than 1 MiB" in hostile_error("a: " + "x" * 50_000_000).message


@pytest.mark.slow
def test_attack_51_a_document_with_a_million_yaml_aliases_is_refused():
    assert hostile_error("a: &a x\nb: [" + "*a," * 300_000 + "]\n").message == "more than 200000 nodes"


def test_the_size_limit_of_metadata_counts_bytes_and_not_characters():
    comment = "#" + "x" * ((1 << 20) - 2) + "\n"
    assert read(comment).rules == ()
    assert "larger than 1 MiB" in hostile_error(comment + "\n").message
    assert "larger than 1 MiB" in hostile_error("#" + "é" * (1 << 19)).message


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.system", "!!python/name:os.system", "!foo", "!!binary", "!!set", "!!omap"],
)
@pytest.mark.parametrize(
    "place", ["{tag} x", "{{properties: {tag} {{a: b}}}}", "x: {tag} [a]", "? {tag} x\n: y"]
)
def test_attack_52_a_yaml_tag_creates_no_python_object(tag, place):
    error = error_of(place.format(tag=tag))
    assert error.message == f"tag '{tag}' is not allowed"
    assert error.span.text.startswith(tag[:1])


def test_attack_53_a_duplicate_key_is_handled_as_the_host_handles_it():
    text = "templates:\n  /etc/hosts: {template: a, when: [x]}\n  /etc/hosts: {template: b, when: [x]}\n"
    metadata = read(text)
    assert [rule.template for rule in metadata.rules] == ["b"]
    assert any("duplicate key '/etc/hosts', first in line 2" in message for message, _ in metadata.findings)
    assert error_of(text, "v4").span.line == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]", "metadata.yaml must be a mapping"),
        ("text", "metadata.yaml must be a mapping"),
        ("templates: []", "'templates' must be a mapping"),
        ("templates: {/a: {when: start}}", "'when' must be a list"),
        ("templates: {/a: {when: [{a: b}]}}", "an item of 'when' must be text, not a mapping"),
        ("templates: {/a: {properties: {a: {b: c}}}}", "property 'a' must be text, not a mapping"),
        ("templates: {[a]: {}}", "a key must be text, not a sequence"),
        ("properties: {{a: b}: c}", "a key must be text, not a mapping"),
        ("a: *b", "unknown anchor 'b'"),
        ("a: &a [*a]", "anchor 'a' contains itself"),
        ("<<: x", "'<<' needs a mapping or a list of mappings"),
        ("a: \x01", "control character U+0001 is not allowed in YAML"),
        (b"a: \xff", "invalid UTF-8: byte 0xff"),
    ],
)
@pytest.mark.parametrize("yaml", ["v2", "v4"])
def test_attack_54_a_value_of_the_wrong_type_gives_one_error(text, message, yaml):
    error = error_of(text, yaml)
    assert error.message == message
    assert error.span.line == 1


@pytest.mark.parametrize("scalar", ["0755", "010", "yes", "no", "3.10", "12:30", "1e3", "0o17", "=", "1_000"])
def test_attack_55_a_yaml_scalar_keeps_its_text(scalar):
    text = f"properties: {{{scalar}: {scalar}}}\ntemplates: {{{scalar}: {{template: {scalar}, mode: {scalar}}}}}\n"
    for yaml in ("v2", "v4"):
        metadata = read(text, yaml)
        (rule,) = metadata.rules
        assert metadata.properties == {scalar: scalar}
        assert (rule.path, rule.template, rule.mode) == (scalar, scalar, scalar)


def test_attack_55_a_date_keeps_its_text_only_with_yaml_v2():
    """yaml.v2 gives a string field the text; Incus 7 reads a timestamp and fails to convert it."""
    assert read("properties: {2024-01-01: 2024-01-01}").properties == {"2024-01-01": "2024-01-01"}
    assert "timestamp" in error_of("properties: {a: 2024-01-01}", "v4").yaml_error


@pytest.mark.slow
def test_attack_56_a_hundred_thousand_rules_are_refused_and_ten_thousand_are_read():
    entry = "{when: [create], template: t}"
    many = "templates:\n" + "".join(f"  /{i}: {entry}\n" for i in range(100_000))
    assert "larger than 1 MiB" in hostile_error(many).message
    some = "templates:\n" + "".join(f"  /{i}: {entry}\n" for i in range(10_000))
    assert len(read(some).rules) == 10_000


FLOW = "a: {{{}}}\n"
KEYS = ",".join(map("{:05x}".format, range(10_001)))


@pytest.mark.parametrize(
    ("text", "is_refused"),
    [
        (FLOW.format(",".join(map("{:05x}".format, range(14_142)))), False),
        (FLOW.format(",".join(map("{:05x}".format, range(14_143)))), True),
        (f"x: &p {{{KEYS}}}\n", False),
        (f"x: &p {{{KEYS}}}\ntemplates: {{/a: {{properties: *p}}}}\n", True),
        (f"x: &p {{{KEYS}}}\ntemplates: {{/a: {{<<: *p}}}}\n", True),
        (FLOW.format("k," * 626), False),
        (FLOW.format("k," * 627), True),
        (FLOW.format(("k" * 1000 + ": 1,") * 138), False),
        (FLOW.format(("k" * 1000 + ": 1,") * 139), True),
        ("k: &k {a: b}\n" + "<<: *k\n" * 619, False),
        ("k: &k {a: b}\n" + "<<: *k\n" * 629, True),
        ("k: &k z\na: {" + "*k : 1," * 620 + "}\n", False),
        ("k: &k z\na: {" + "*k : 1," * 630 + "}\n", True),
        (FLOW.format("".join(f"[{n}]: 1," for n in range(632))), False),
        (FLOW.format("".join(f"[{n}]: 1," for n in range(633))), True),
    ],
)  # fmt: skip
def test_attack_56_too_many_key_comparisons_in_incus_7_are_refused(text, is_refused):
    """Incus 7 needed 88 seconds for a mapping with 90,000 keys, and 5 GB of memory for 6,000 equal keys."""
    with ends_within(4):
        if is_refused:
            assert hostile_error(text).message == "the mappings need more than 100000000 comparisons of keys"
        else:
            read(text)


LONG = "#" + "x" * 1100 + "\n"  # libyaml rejects it, so the Python parser reads the text


@pytest.mark.parametrize("yaml", ["v2", "v4"])
@pytest.mark.parametrize(
    "text",
    [
        LONG + 'properties: {a: "\\ud800"}\n', LONG + 'templates: {"/\\udfff": {when: [create], template: t}}\n',
        LONG + 'a: "\\UFFFFFFFF"\n', LONG + 'a: "\\U00110000"\n',
        "%YAML " + "9" * 5000 + ".1\n---\na: b\n" + LONG, "%YAML 1." + "9" * 5000 + "\n---\na: b\n" + LONG,
    ],
)  # fmt: skip
def test_errors_about_yaml_escapes_and_versions_have_a_position(text, yaml):
    with pytest.raises(MetadataError) as caught:
        read(text, yaml)
    assert caught.value.span is not None


@pytest.mark.parametrize("field", ["template: *t", "when: [*t]", "uid: *t", "mode: *t"])
def test_a_rule_must_not_contain_an_alias_of_a_long_text(field):
    """Each of thousands of rules repeated 900,000 characters in its messages, which took gigabytes."""
    first = "properties: {x: &t " + "z" * 1001 + "}\n"
    assert "more than 1000 characters" in hostile_error(f"{first}templates:\n  /a: {{{field}}}\n").message
    short = f"properties: {{x: &t {'z' * 1000}}}\ntemplates:\n  /a: {{{field}}}\n"
    assert len(read(short).rules) == 1


def test_a_long_property_name_in_a_rule_is_refused() -> None:
    """The position of a property contains the name: an alias to 900 kB in 2,000 rules took 1.8 GB."""
    text = f"properties: {{x: &t {'z' * 5000}}}\ntemplates:\n  /a: {{properties: {{*t : x}}}}\n"
    assert "a text of 'properties' has more than 1000 characters" in hostile_error(text).message


def test_messages_do_not_repeat_long_text_from_an_alias() -> None:
    """A thousand rules with ``when: *t`` and a text of 900 kB took 914 MB."""
    text = f"properties: {{x: &t {'z' * 5000}}}\ntemplates:\n  /a: {{when: *t}}\n"
    with pytest.raises(MetadataError, match="'when' must be a list") as caught:
        read(text)
    assert caught.value.hint == ""
    with pytest.raises(MetadataError) as caught:
        read(text.replace("z" * 5000, "z"))
    assert caught.value.hint == "write the value as [z]"
    found = read(f"properties: {{x: &t {'z' * 5000}}}\ntemplates:\n  /a: {{*t : 1}}\n")
    assert all(len(finding.message) <= 1001 for finding in found.findings)
    assert any("unknown key 'zzz" in finding.message for finding in found.findings)


def test_a_long_unknown_trigger_gets_no_suggestion():
    assert suggestion("creat", TRIGGERS) == "; did you mean 'create'?"
    assert suggestion("creat" * 100, TRIGGERS) == ""


@pytest.mark.parametrize(
    "entry",
    [
        'when: ["x\\n::error::"]',
        '"x\\n::error::": 1',
        'uid: 1, uid: 2, "x\\n::error::": 1, "x\\n::error::": 2',
    ],
)
def test_a_finding_escapes_a_line_feed_in_a_key_or_trigger(entry):
    found = read('templates: {"/a\\n::error::": {template: a, when: [start], ' + entry + "}}").findings
    assert found and all(finding.message.isprintable() for finding in found)
    assert any("x\\n::error::" in finding.message for finding in found)


def test_an_error_escapes_a_line_feed_in_a_path_or_value():
    error = error_of(
        'templates: {"/a\\n::error::": {properties: ["x\\n::error::"], when: "b\\n::error::"}, "/c\\nd": 1}'
    )
    assert len(error.notes) == 2
    assert all(text.isprintable() for text in (error.message, error.hint, *error.notes))


@pytest.mark.parametrize(
    ("rule", "duplicates"),
    [
        ("{template: t, when: [create], template: u}", 1),
        ("{<<: {template: t}, <<: {when: [create]}}", 1),
        ("{template: t, when: [create], when: [copy], when: [start]}", 2),
    ],
)
def test_each_duplicate_key_gives_a_finding(rule, duplicates):
    text = f"architecture: x86_64\ncreation_date: 1\ntemplates:\n  /a: {rule}\n"
    found = read_metadata(Source("metadata.yaml", text), "v2").findings
    assert [finding.code for finding in found].count("duplicate-key") == duplicates


@pytest.mark.parametrize(("entry", "marked"), [("", "/etc/a"), (" ~", "~"), (" null", "null")])
def test_the_finding_about_a_null_entry_has_a_position(entry, marked):
    (found,) = read_metadata(Source("m", f"templates:\n  /etc/a:{entry}\n")).findings
    assert (found.code, found.span.text) == ("null-entry", marked)


@pytest.mark.parametrize("yaml", ["v2", "v4"])
@pytest.mark.parametrize(
    ("properties", "name", "column"),
    [
        (r'{os: Debian, "os\0": Evil}', r"os\x00", 34),
        (r'{os: "a\x00b"}', "os", 18),
        (r'{a: b, os: "\u0000"}', "os", 24),
        (r'{a: &a "\0", b: *a}', "a", 17),
    ],
)
def test_attack_81_an_image_property_with_a_nul_character_is_refused(properties, name, column, yaml):
    """Recorded from Incus 6.0.4: the database cuts "os\\0" to "os", and "x\\0y" to "x"."""
    with pytest.raises(RefusedError) as refused:
        read(f"architecture: x86_64\nproperties: {properties}\n", yaml)
    message = f"the property '{name}' contains a NUL: the daemons' database cuts the text there"
    assert refused.value.message == message
    assert refused.value.span.place.endswith(f":2:{column}")


def test_a_property_of_a_rule_may_contain_a_nul_character():
    """The daemons read the properties of rules from metadata.yaml, not from their database."""
    found = read('templates: {/a: {template: t, when: [start], properties: {a: "x\\0y"}}}\n')
    assert found.rules[0].properties == {"a": "x\0y"}
