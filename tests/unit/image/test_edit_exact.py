"""Edits of metadata.yaml are exact: the new text equals a text that is computed without the editor.

The tests edit every sample image, every image of the corpus, and every recorded text that Go accepts.
"""

import base64
import copy
import difflib
import json
import os
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from templater.image import metadata_edit
from templater.model.errors import InputError, LimitError, MetadataError
from templater.model.source import Source
from templater.parsing.metadata_yaml import read_metadata
from templater.parsing.yaml_nodes import decoded
from tests import yaml_places as places
from tests.fuzz.metadata import seeds
from tests.yaml_mutations import mutated

pytestmark = pytest.mark.slow  # the fast tests have two minutes

ROOT = Path(__file__).resolve().parents[3]
CORPUS = Path(os.environ.get("TEMPLATER_CORPUS") or ROOT / ".." / "shared" / "corpus")
IMAGES = [
    *sorted((ROOT / "sample-images").glob("*/metadata.yaml")),
    *sorted(CORPUS.glob("images*/*/metadata.yaml")),
]
RECORDED = ROOT / "tests" / "metadata_cases" / "go_yaml.jsonl"
RULE = metadata_edit.NewRule("/etc/new", "new.tpl", ("create", "copy"), True, "0", "1000", "0640")
FIELDS = [
    ("when", ("create", "copy")),
    ("create_only", "true"),
    ("template", "new.tpl"),
    ("uid", '"0"'),
    ("gid", '"1000"'),
    ("mode", '"0640"'),
]


def readings(source):
    found = {}
    for rules in ("v2", "v4"):
        try:
            found[rules] = metadata_edit._meaning(read_metadata(source, rules))
        except MetadataError:
            continue
    return found


def texts():
    for path in IMAGES:
        yield f"{path.parent.parent.name}/{path.parent.name}", path.read_bytes()
    for line in RECORDED.read_text().splitlines():
        case = json.loads(line)
        data = case["yaml"].encode() if "yaml" in case else base64.b64decode(case["base64"])
        yield f"recorded/{case['name']}", data


ACCEPTED = {name: source for name, data in texts() if readings(source := Source("metadata.yaml", data))}


def edits(source):
    """Yield edits of one text: name, edit, same edit without the editor, change of the meaning."""
    text = source.text
    read = metadata_edit._read(source)
    for name in ["zz_new", *read.properties]:
        yield (
            f"set-property {name}",
            lambda name=name: metadata_edit.set_property(source, name, "other"),
            lambda name=name: places.replaced(text, ("properties", name), "other"),
            lambda meaning, name=name: meaning.properties.__setitem__(name, "other"),
        )
    for name in read.properties:
        yield (
            f"unset-property {name}",
            lambda name=name: metadata_edit.unset_property(source, name),
            lambda name=name: places.removed(text, ("properties", name)),
            lambda meaning, name=name: meaning.properties.pop(name, None),
        )
    for name, word in (("architecture", "riscv64"), ("creation_date", "1700000000"), ("expiry_date", "7")):
        value = word if name == "architecture" else int(word)
        yield (
            f"set {name}",
            lambda name=name, word=word: metadata_edit.set_fact(source, name, word),
            lambda name=name, word=word: places.replaced(text, (name,), word),
            lambda meaning, name=name, value=value: setattr(meaning, name, value),
        )
    yield (
        "template create",
        lambda: metadata_edit.add_rule(source, RULE),
        lambda: places.inserted(text, ("templates", RULE.path), FIELDS),
        lambda meaning: meaning.rules.__setitem__(RULE.path, rule_of(RULE)),
    )
    for rule in read.rules:
        path = rule.path
        yield (
            f"template delete {path}",
            lambda path=path: metadata_edit.remove_rule(source, path),
            lambda path=path: places.removed(text, ("templates", path)),
            lambda meaning, path=path: meaning.rules.pop(path, None),
        )
        for name in ("mode", "template"):
            yield (
                f"template edit {path} {name}",
                lambda path=path, name=name: metadata_edit.change_rule(source, path, {name: "other"}),
                lambda path=path, name=name: places.replaced(text, ("templates", path, name), "other"),
                lambda meaning, path=path, name=name: field(meaning, path, name, "other"),
            )
        for when in (("rename",), (*rule.when[:1], "rename"), ("rename", *rule.when)):
            yield (
                f"template edit {path} when",
                lambda path=path, when=when: metadata_edit.change_rule(source, path, {"when": when}),
                lambda path=path, when=when: places.replaced(text, ("templates", path, "when"), when),
                lambda meaning, path=path, when=when: field(meaning, path, "when", when),
            )


def field(meaning, path, name, value):
    if path in meaning.rules:  # yaml.v4 knows no rule of a null key
        meaning.rules[path] |= {name: value, "null": False}


def rule_of(rule):
    return {
        "path": rule.path, "template": rule.template, "when": rule.when, "create_only": rule.create_only,
        "properties": {}, "uid": rule.uid, "gid": rule.gid, "mode": rule.mode, "null": False,
    }  # fmt: skip


def test_the_corpus_of_metadata_texts_for_edits_exists():
    if not CORPUS.is_dir():
        assert not os.environ.get("CI"), f"no corpus in {CORPUS}"
    assert len([name for name in ACCEPTED if name.startswith("recorded/")]) > 300
    recorded = {path.stem: json.loads(path.read_text()) for path in CORPUS.glob("golden_meta/*.json")}
    found = {name.rpartition("/")[2] for name in ACCEPTED if name.startswith("images")}
    assert found == {image for image, decoded in recorded.items() if "error" not in decoded}
    assert found or not CORPUS.is_dir()


#: refused edits: the text and the edit, with the reason
REFUSED = {
    (
        "recorded/merge 19",
        "template edit /a",
    ): "yaml.v2 takes the rule from the merged mapping, yaml.v4 its own",
}
#: of more than 7500 edits, at most this many are checked by their lines only: see yaml_places.Beyond
ODD = 330
#: the only image with anchors: some of its edits can't be computed without the editor
WITH_ANCHORS = {"sample-images/debian-cloud"}


@pytest.fixture(scope="module")
def odd():
    found = []
    yield found
    assert len(found) <= ODD, Counter(why for _, why in found)
    assert {name for name, _ in found if not name.startswith("recorded/")} <= WITH_ANCHORS


def names():
    """Return all images and every third recorded text; the fast tests edit the sample images and some other texts."""
    for number, name in enumerate(ACCEPTED):
        if name.startswith("recorded/") and number % 3:
            continue
        fast = name.startswith("sample-images/") or number % 24 == 0
        yield pytest.param(name, marks=() if fast else pytest.mark.slow)


@pytest.mark.parametrize("name", list(names()))
def test_each_edit_of_metadata_gives_the_expected_text_and_values(name, odd):
    source = ACCEPTED[name]
    before = readings(source)
    for what, do, work_out, change in edits(source):
        wanted = copy.deepcopy(before)
        for meaning in wanted.values():
            change(meaning)
        if (name, what.rpartition(" ")[0]) in REFUSED:
            with pytest.raises(InputError, match="can't be changed in place"):
                do()
            continue
        after = do()
        found = readings(after)
        assert {rules: found.get(rules) for rules in wanted} == wanted, what
        try:
            expected = work_out()
        except places.Beyond as why:
            odd.append((name, str(why)[:40]))
            only_lines_of(what.split(), decoded(source).text, decoded(after).text)
            continue
        assert after.text == expected, what


def only_lines_of(words, before, after):
    """Check that only lines with a changed value, an anchor, an alias, a merge key or null are removed."""
    text = "\n".join(difflib.ndiff(before.splitlines(), after.splitlines()))
    allowed = (*words, "&", "*", "<<", "~", "ull", "NULL", "{", "? ", "---")
    if "delete" in words:
        allowed += (":",)  # whatever the rule had
    for gone in re.findall(r"(?m)^- (.*)$", text):
        assert gone.strip()[:1] in ("", ":") or any(word in gone for word in allowed), f"{words}: {gone}"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.slow
def test_an_edit_of_damaged_text_succeeds_or_is_refused(seed):
    pick = random.Random(seed)
    begin = list(seeds())
    done = refused = 0
    while done < 300:
        source = Source("metadata.yaml", mutated(pick.choice(begin), pick, begin))
        try:
            before = readings(source)
        except LimitError:
            continue
        for what, do, _, change in (
            pick.sample(found := list(edits(source)), min(4, len(found))) if before else ()
        ):
            done += 1
            wanted = copy.deepcopy(before)
            for meaning in wanted.values():
                change(meaning)
            try:
                after = readings(do())
            except InputError:
                refused += 1
                continue
            assert {rules: after.get(rules) for rules in wanted} == wanted, f"{what}: {source.text!r}"
    assert refused <= 9
