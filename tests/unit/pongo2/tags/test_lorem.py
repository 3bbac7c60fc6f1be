"""``{% lorem %}``; expected results were recorded with pongo2 4.0.2."""

from hashlib import sha256

import pytest

from templater import pongo2
from templater.model.errors import LimitError
from templater.pongo2 import values
from tests.unit.pongo2.recorded import check, outcome

RECORDED = [
    ('{% lorem 5 w %}', 'Lorem ipsum dolor sit amet,'),
    ('{% lorem 0 w %}|', '|'),
    ('{% lorem 1 x %}', "[Error (where: parser) in <string> | Line 1 Col 12 near 'x'] lorem-method must be either 'w', 'p' or 'b'."),
    ('{% lorem 2 w foo %}', "[Error (where: parser) in <string> | Line 1 Col 14 near 'foo'] Malformed lorem-tag arguments."),
]  # fmt: skip


@pytest.mark.parametrize(("template", "recorded"), RECORDED)
def test_the_lorem_tag_matches_the_recorded_output_of_pongo2(template, recorded):
    check(template, recorded)


def test_the_lorem_tag_starts_again_after_its_last_paragraph_or_word():
    words = outcome("{% lorem 600 w %}", "v4").split(" ")
    assert len(words) == 600
    assert words[566:] == words[:34]
    paragraphs = outcome("{% lorem 8 b %}", "v4").split("\n")
    assert len(paragraphs) == 8
    assert paragraphs[7] == paragraphs[0]


def test_the_lorem_text_equals_the_lorem_text_of_pongo2():
    text = outcome("{% lorem 7 b %}", "v4")
    assert text.startswith("Lorem ipsum dolor sit amet, consectetur") and len(text) == 3503
    assert (
        sha256(text.encode()).hexdigest()
        == "392dd721da88a68b9423943f125f0aa5097dd0e320c40afce83a64c6bb6eb52e"
    )


def test_random_lorem_text_depends_on_the_seed():
    template = pongo2.compile("{% lorem 20 w random %}")
    assert template.render({}, seed=1) == template.render({}, seed=1) != template.render({}, seed=2)


@pytest.mark.parametrize("tag", ["lorem 566 w", "lorem 570 w", "lorem 7 p", "lorem 1 b"])
def test_a_lorem_text_above_the_value_size_limit_is_refused(tag, monkeypatch):
    template = pongo2.compile(f"{{% {tag} %}}")
    monkeypatch.setattr(values, "MAX", len(template.render({})) - 1)
    with pytest.raises(LimitError):
        template.render({})
