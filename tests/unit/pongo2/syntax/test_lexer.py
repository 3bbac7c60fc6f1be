"""The lexer's bound on tokens, which holds inside a tag and between comments, too."""

import pytest

from templater.model.errors import LimitError
from templater.model.source import Source
from templater.pongo2.dialect import V4
from templater.pongo2.syntax.lexer import MAX_TOKENS, Lexer
from templater.pongo2.syntax.tokens import Unit


@pytest.mark.parametrize(
    "text",
    ["{{" + "(" * 4 * MAX_TOKENS + "}}", "{{" + " a" * 4 * MAX_TOKENS, "{{ a }}" * MAX_TOKENS, "a{##}" * 4 * MAX_TOKENS],
    ids=["one tag", "an open tag", "many tags", "comments"],
)  # fmt: skip
def test_the_lexer_stops_soon_after_it_exceeds_the_limit_on_tokens(text):
    """Three templates of 4 MiB with one tag each needed 2.2 GB when an image was exported."""
    lexer = Lexer(Unit(Source("t", text), "t", wrapped=False), V4)
    with pytest.raises(LimitError, match=f"more than {MAX_TOKENS} tokens"):
        lexer.run()
    assert len(lexer.tokens) <= MAX_TOKENS + 3
