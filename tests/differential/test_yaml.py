"""metadata.yaml: damaged texts, decoded by the real yaml.v2 and yaml.v3, and by templater."""

import base64
import itertools
import os
import random
import re
import shutil
from pathlib import Path

import pytest

from templater.image.metadata_edit import NewRule, _Meaning
from templater.model.errors import LimitError, MetadataError
from templater.model.source import Source
from templater.parsing.metadata_yaml import read_metadata
from tests.differential.oracle import GO_LIBRARIES, Oracle, build
from tests.fuzz.metadata import seeds
from tests.unit.image.test_edit_exact import ACCEPTED, REFUSED, edits
from tests.yaml_mutations import mutated

SOURCE = Path(__file__).parent / "yaml_oracle"
MISSING = [
    package
    for package in ("golang-gopkg-yaml.v2-dev", "golang-gopkg-yaml.v3-dev")
    if not Path(GO_LIBRARIES, "src/gopkg.in", package.split("-")[2]).is_dir()
]
TEXTS = 3000

#: The first run compiles a Go program for half a minute.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def oracle():
    if shutil.which("go") is None or MISSING:
        reason = f"golang-go {' '.join(MISSING)} would be needed"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    program = build(SOURCE)
    with Oracle(program) as running:
        yield running


def ours(text: bytes, rules: str) -> dict:
    try:
        metadata = read_metadata(Source("m", text), rules)
    except LimitError as error:
        return {"limit": str(error)}
    except MetadataError as error:
        return {"error": error.yaml_error or "", "message": error.message}
    templates = {
        rule.path: None
        if rule.null
        else {
            "When": list(rule.when),
            "CreateOnly": rule.create_only,
            "Template": rule.template,
            "Properties": dict(rule.properties),
            "UID": rule.uid,
            "GID": rule.gid,
            "Mode": rule.mode,
        }
        for rule in metadata.rules
    }
    return {
        "metadata": {
            "Architecture": metadata.architecture,
            "CreationDate": metadata.creation_date,
            "ExpiryDate": metadata.expiry_date,
            "Properties": dict(metadata.properties),
            "Templates": templates,
        }
    }


def without_nil(answer: dict) -> dict:
    if "metadata" not in answer:
        return answer
    metadata = answer["metadata"]
    templates = {
        path: rule and rule | {"When": rule["When"] or [], "Properties": rule["Properties"] or {}}
        for path, rule in (metadata["Templates"] or {}).items()
    }
    return {"metadata": metadata | {"Properties": metadata["Properties"] or {}, "Templates": templates}}


def agree(rules: str, go: dict, mine: dict) -> bool:
    if "metadata" in go or "metadata" in mine:
        return without_nil(go) == mine
    if "errors:" not in go["error"]:
        return True  # a parser's words: counted below
    words = go["error"]
    if rules == "v4":
        words = (
            words.replace("unmarshal", "construct").replace("errors:\n  ", "errors: ").replace("\n  ", "; ")
        )
    cut = re.sub("[\udc80-\udcff]", "\ufffd", mine["error"])  # characters cut in two, as JSON has them
    return words == cut


#: Why a text may be read otherwise: (where it shows, how, the reason). Rules, not texts.
DELIBERATE = [
    ("message", r"^tag '", "tags that ask for more than plain values are refused"),
    ("message", r"contains itself", "an anchor that contains itself is refused wherever it is"),
    ("message", r"alias of '<<'", "an alias of a merge key is refused as a key"),
    ("message", r"tag|UTF-|control character", "the whole text must be text, a second document too"),
    ("text", rb".\xef\xbb\xbf", "a byte order mark inside a text: libyaml and Go's copy differ"),
    ("text", rb"[\w\"']:[\],}]", "'{a:}': Go's copy of libyaml is older and reads a plain 'a:'"),
    ("text", rb"\?[\s,\]}]", "'a?' inside brackets: Go's copy of libyaml is older"),
    ("text", rb"[\]}\"'][\w\[{\"']", "text right behind a closing bracket: Go's copy of libyaml is older"),
    ("text", rb"!", "a tag that is not followed by a blank: Go's copy of libyaml is older"),
    ("text", rb"\xef\xbf[\xbe\xbf]|\x7f", "not a character: libyaml and Go's copy differ"),
]  # fmt: skip
#: the same for yaml.v4; only its predecessor v3 is available as a package
V4_DECIDES = [
    ("message", r"second document|no YAML document|<document start>", "v4 wants one document"),
    ("text", rb"---", "v4 wants one document, and names the damage of a second one"),
    ("error", r"!!timestamp|!!float", "v4 takes dates for dates and refuses fractions"),
    ("message", r"^duplicate key", "v4 names each duplicate once"),
    ("text", rb"[^\n]{1024}", "v4 reads long keys"),
    ("text", rb"<<\s*([,}\]]|$)", "v4 ignores a value '<<'"),
    ("text", rb"\t[ \t]*(#|[\r\n]|$)", "v3 reads comments ahead, with tabs before them"),
]  # fmt: skip


def excused(text: bytes, go: dict, mine: dict, rules: str) -> bool:
    if "metadata" in go and "metadata" in mine:
        return False  # other rules would be hidden
    reasons = DELIBERATE + (V4_DECIDES if rules == "v4" else [])
    return any(re.search(pattern, ({"text": text} | mine).get(where, "")) for where, pattern, _ in reasons)


def test_templater_and_the_go_parsers_agree_on_damaged_texts(oracle):
    pick = random.Random(os.environ.get("TEMPLATER_SEED", "metadata"))
    begin = list(seeds())
    texts = [mutated(pick.choice(begin), pick, begin) for _ in range(TEXTS)]
    answers = oracle.ask([{"text": base64.b64encode(text).decode()} for text in texts])
    compared = parsers = same_words = 0
    for text, answer in zip(texts, answers, strict=True):
        for rules, go in (("v2", answer["v2"]), ("v4", answer["v3"])):
            mine = ours(text, rules)
            if "limit" in mine or excused(text, go, mine, rules):
                continue
            compared += 1
            assert agree(rules, go, mine), f"{rules}: {text!r}\ngo:   {go}\nours: {mine}"
            if rules == "v2" and "error" in go and "errors:" not in go["error"]:
                parsers += 1
                same_words += go["error"] == mine["error"]
    assert compared > TEXTS
    # Go's copy of libyaml is older: it sometimes notices something else first
    assert same_words > 0.97 * parsers > 0


def meaning(answer: dict) -> _Meaning:
    """Return Go's answer in the form in which the editor compares meanings."""
    metadata = without_nil(answer)["metadata"]
    rules = {}
    for path, rule in metadata["Templates"].items():
        blank = NewRule(path, "", ())
        fields = {name: getattr(blank, name) for name in ("template", "when", "uid", "gid", "mode")}
        rules[path] = {"path": path, "create_only": False, "properties": {}, "null": rule is None} | fields
        for name, value in (rule or {}).items():
            field = {"CreateOnly": "create_only"}.get(name, name.lower())
            rules[path][field] = tuple(value) if name == "When" else value
    return _Meaning(
        metadata["Architecture"],
        metadata["CreationDate"],
        metadata["ExpiryDate"],
        metadata["Properties"],
        rules,
    )


def test_go_parsers_find_only_intended_changes_in_edited_texts(oracle):
    """A library is compared on the samples, corpus texts and recordings that it can read before the edit.

    Every third edit is compared: there are 7,500, and each edit is of a kind that many texts have.
    """
    all_edits = ((name, source, edit) for name, source in ACCEPTED.items() for edit in edits(source))
    done = [
        (name, what, source, do(), change)
        for name, source, (what, do, _, change) in itertools.islice(all_edits, 0, None, 3)
        if (name, what.rpartition(" ")[0]) not in REFUSED
    ]
    texts = [source.data for *_, source, after, _ in done for source in (source, after)]
    answers = list(oracle.ask([{"text": base64.b64encode(text).decode()} for text in texts]))
    compared = 0
    for (name, what, _, after, change), old, new in zip(done, answers[::2], answers[1::2], strict=True):
        for library in ("v2", "v3"):
            if "metadata" not in old[library]:
                continue
            wanted = meaning(old[library])
            change(wanted)
            assert "metadata" in new[library], f"{name}: {what}: {library}: {new[library]}\n{after.text}"
            assert meaning(new[library]) == wanted, f"{name}: {what}: {library}\n{after.text}"
            compared += 1
    assert compared > 1000
