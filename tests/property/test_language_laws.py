"""Laws of the template language for any text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from templater import pongo2
from templater.model.errors import LimitError, TemplateError, TemplateSyntaxError
from templater.model.source import Source
from templater.pongo2.dialect import DIALECTS
from templater.pongo2.syntax.lexer import lex
from templater.pongo2.syntax.tokens import TEXT, Unit

dialects = st.sampled_from(sorted(DIALECTS)).map(DIALECTS.get)

PIECES = [
    "{{", "}}", "{%", "%}", "{#", "#}", "{{-", "-}}", "{%-", "-%}", "{% verbatim %}", "{% endverbatim %}", "{",
    "}", "%", "#", " ", "\n", "\t", "\r", "x", "a b", '"s"', "'s'", '"', "'", "\\", "12", "1a", "if", "endif",
    "==", "<>", "||", "|", ":", "(", ")", "[", "]", ".", ",", "!", "é", "😀", "\udcff", "\x00", "\x01", "\u00a0",
    "{% if x %}", "{% else %}", "{% endif %}", "{{ x }}", "{% set x = 1 %}", "{% for x in y %}", "{% endfor %}",
]  # fmt: skip
#: the first compilation imports the compiler
unhurried = settings(deadline=None)

texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=30).map("".join)
data = st.binary(max_size=60)


@pytest.mark.slow
@unhurried
@given(texts, dialects)
def test_template_tokens_are_in_order_and_cover_the_source(text, dialect):
    """Tokens are in order, do not overlap, and have the text of their span; gaps contain no token."""
    unit = Unit(Source("t", text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")))
    try:
        tokens = lex(unit, dialect)
    except TemplateSyntaxError:
        return
    end = 0
    for token in tokens:
        gap = unit.text[end : token.start]
        assert is_no_token(gap), gap
        assert token.end > token.start
        if token.kind == TEXT:
            assert unit.text[token.start : token.end] == token.value
        end = token.end
    rest = unit.text[end:]
    assert is_no_token(rest) or "\x01" in unit.text


def is_no_token(gap: str) -> bool:
    """Return whether a gap is whitespace in a tag, a comment, or a verbatim delimiter."""
    while gap:
        if gap.startswith("{#") and "#}" in gap:
            gap = gap[gap.index("#}", 2) + 2 :]
        elif gap.startswith("{% verbatim %}"):
            gap = gap[14:]
        elif gap.startswith("{% endverbatim %}"):
            gap = gap[17:]
        elif gap[0] in " \t\r":
            gap = gap[1:]
        else:
            return False
    return True


@unhurried
@given(texts | data, dialects, st.sampled_from(["incus", "plain"]))
def test_any_text_compiles_or_raises_an_error_with_position(text, dialect, mode):
    source = Source("t", text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    try:
        pongo2.compile(source, dialect, mode=mode)
    except TemplateSyntaxError as error:
        assert error.span is not None
        assert 0 <= error.span.start <= error.span.end <= len(source.text)
        assert error.explain()
        assert error.pongo2_error


@unhurried
@given(texts, dialects, st.sampled_from(["incus", "plain"]))
def test_any_template_with_any_data_renders_or_raises_a_templater_error(text, dialect, mode):
    context = {"x": "<b>", "y": ["a", 1, None], "a": 2.5}
    source = Source("t", text.encode("utf-8", "surrogatepass"))
    try:
        template = pongo2.compile(source, dialect, mode=mode)
        assert template.render(context, clock=0, seed=1) == template.render(context, clock=0, seed=1)
    except (TemplateError, LimitError):
        pass


@unhurried
@given(data, dialects, st.sampled_from(["incus", "plain"]))
def test_text_without_template_delimiters_renders_unchanged(text, dialect, mode):
    """This includes invalid UTF-8. A brace at the end would merge with the wrapper that LXD adds."""
    text = text.replace(b"{", b"(").replace(b"\x01", b"")
    out = pongo2.compile(text, dialect, mode=mode).render({})
    assert out.encode("utf-8", "surrogateescape") == text


@unhurried
@given(st.text(max_size=20), dialects)
def test_a_text_value_is_printed_unchanged(text, dialect):
    """Autoescape is off, as in an image's templates."""
    text = text.encode("utf-8", "replace").decode()
    assert pongo2.compile("{{ x }}", dialect).render({"x": text}) == text
