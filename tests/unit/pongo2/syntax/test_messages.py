"""The message, the position and the hint for each mistake in the syntax of a template."""

import pytest

from templater import pongo2
from templater.model.errors import TemplateSyntaxError
from templater.model.source import Source
from templater.pongo2.dialect import V6
from tests.unit.pongo2.memory_loader import MemoryLoader

FILES = {"m": "{% macro f() export %}{% endmacro %}{% macro g() %}{% endmacro %}"}

#: the template, the start and the text of the mistake, the message, the hint
MISTAKES = [
    ("{{ a|json }}", 5, "json", "unknown filter 'json'", "pongo2 has no 'json': stringformat:\"%q\" writes a text in double quotes"),
    ("{{ a|Quote }}", 5, "Quote", "unknown filter 'Quote'", "pongo2 has no 'Quote': stringformat:\"%q\" writes a text in double quotes"),
    ('{{ a|replace:"b" }}', 5, "replace", "unknown filter 'replace'", "pongo2 has no 'replace': 'cut' removes text"),
    ("{{ a|trim }}", 5, "trim", "unknown filter 'trim'", "pongo2 has no 'trim'"),
    ("{{ a|d }}", 5, "d", "unknown filter 'd'", "did you mean 'default'?"),
    ("{{ a|count }}", 5, "count", "unknown filter 'count'", "did you mean 'length'?"),
    ("{{ a|int }}", 5, "int", "unknown filter 'int'", "did you mean 'integer'?"),
    ("{{ a|uper }}", 5, "uper", "unknown filter 'uper'", "did you mean 'upper'?"),
    ("{{ a|zzzzz }}", 5, "zzzzz", "unknown filter 'zzzzz'", ""),
    ("{% unless a %}", 3, "unless", "unknown tag 'unless'", "pongo2 has no 'unless': write {% if not … %}"),
    ("{% raw %}", 3, "raw", "unknown tag 'raw'", "did you mean 'verbatim'?"),
    ("{% elsif a %}", 3, "elsif", "unknown tag 'elsif'", "did you mean 'elif'?"),
    ("{% elseif a %}", 3, "elseif", "unknown tag 'elseif'", "did you mean 'elif'?"),
    ("{% end %}", 3, "end", "unknown tag 'end'", "pongo2 has no 'end': write {% endif %}, {% endfor %}, …"),
    ("{% foreach a in b %}", 3, "foreach", "unknown tag 'foreach'", "did you mean 'for'?"),
    ("{% fro a in b %}", 3, "fro", "unknown tag 'fro'", "did you mean 'for'?"),
    ("{% zzzzz %}", 3, "zzzzz", "unknown tag 'zzzzz'", ""),
    ("{% endfor %}", 3, "endfor", "{% endfor %} without a {% for %} before it", ""),
    ("{% else %}", 3, "else", "{% else %} outside a block that allows it", ""),
    ("{% empty %}", 3, "empty", "{% empty %} outside a block that allows it", ""),
    ("{% endverbatim %}", 3, "endverbatim", "unknown tag 'endverbatim'", "write exactly {% verbatim %} … {% endverbatim %}, with single spaces"),
    ("{%  verbatim %}", 4, "verbatim", "unknown tag 'verbatim'", "write exactly {% verbatim %} … {% endverbatim %}, with single spaces"),
    ("{% verbatim %}", 0, "{% verbatim %}", "verbatim block is never closed", "end the block with exactly {% endverbatim %}, after at least one character"),
    ("{% verbatim %}a{% endverbatim%}", 0, "{% verbatim %}", "verbatim block is never closed", "end the block with exactly {% endverbatim %}, after at least one character"),
    ("{# a", 0, "{#", "comment is never closed", "end the comment with #}"),
    ("{# a\nb #}", 0, "{#", "a {# comment #} can't span lines", "use {% comment %} … {% endcomment %}"),
    ("{{ a\n}}", 4, "\n", "a newline is not allowed inside {{ }} or {% %}", "put the whole tag on one line"),
    ('{{ "a', 3, '"a', "string is never closed", ""),
    ('{{ "a\n" }}', 3, '"a', "a string can't span lines", ""),
    ('{{ "\\n" }}', 4, "\\n", "unknown escape sequence in a string", 'pongo2 strings have only the escapes \\" and \\\\'),
    ("{{ ( a", 5, "a", "closing bracket expected after expression", ""),
    ("{{ a[0].b }}", 7, ".", "only a variable can be called or have members", ""),
    ("{{ (a).b }}", 6, ".", "only a variable can be called or have members", ""),
    ('{{ "a"[0] }}', 6, "[", "a subscript must be the last part of a variable", "store the first part with {% set %}"),
    ("{{ a b }}", 5, "b", "'}}' expected: two values without an operator between them", ""),
    ('{{ a "b" }}', 5, '"b"', "'}}' expected: two values without an operator between them", ""),
    ("{{ a ~ b }}", 5, "~ b }}", "unknown operator '~'", ""),
    ("{{ a ? b }}", 5, "? b }}", "unknown operator '?'", ""),
    ("{{ a 1 }}", 5, "1", "'}}' expected", ""),
    ("{{ in }}", 6, "}}", "a value is expected here, not '}}'", ""),
    ('{{ a|upper("b") }}', 10, "(", "a filter takes no parentheses", 'write the argument after a colon: upper:"…"'),
    ("{{ a| }}", 6, "}}", "filter name must be an identifier", ""),
    ("{{ a|upper: }}", 12, "}}", "filter parameter required after ':'", ""),
    ("{{ a|1 }}", 5, "1", "filter name must be an identifier", ""),
    ("{{ a. }}", 6, "}}", "this token is not allowed within a variable name", ""),
    ("{{ a.", 4, ".", "unexpected EOF, expected either IDENTIFIER or NUMBER after DOT", ""),
    ("{{ a.-1 }}", 5, "-", "this token is not allowed within a variable name", ""),
    ("{{ a[", 4, "[", "unexpected EOF, expected subscript subscript", ""),
    ("{{ a[0 }}", 7, "}}", "missing closing bracket after subscript argument", ""),
    ("{{ f(", 4, "(", "unexpected EOF, expected function call argument list", ""),
    ("{{ f(a b) }}", 7, "b", "missing comma or closing bracket after argument", ""),
    ("{{ f(a, }}", 8, "}}", "expected either a number, string, keyword or identifier", ""),
    ("{{ 1. }}", 6, "}}", "expected a number after the '.'", ""),
    ("{{ 9223372036854775808 }}", 3, "9223372036854775808", 'strconv.Atoi: parsing "9223372036854775808": value out of range', ""),
    ("{{ 1.x }}", 5, "x", "expected a number after the '.'", ""),
    ("{{ }}", 3, "}}", "expected either a number, string, keyword or identifier", ""),
    ("{{ a == }}", 8, "}}", "expected either a number, string, keyword or identifier", ""),
    ("{% if a = b %}{% endif %}", 8, "=", "if-condition is malformed", "did you mean '=='?"),
    ("{% if a is b %}{% endif %}", 8, "is", "if-condition is malformed", "pongo2 has no 'is': write {% if name %}, which is false if 'name' is not set"),
    ("{% if a not in b %}{% endif %}", 8, "not", "if-condition is malformed", "write 'not' before the comparison, and put the comparison in brackets: not (a in b)"),
    ("{% if a }}{% endif %}", 8, "}}", "if-condition is malformed", "end the tag with %}"),
    ("{% if a b %}{% endif %}", 8, "b", "if-condition is malformed", ""),
    ("{% if a %}", 8, "%}", "{% if %} is never closed", ""),
    ("{% for %}{% endfor %}", 3, "for", "expected an key identifier as first argument for 'for'-tag", ""),
    ("{% 1 %}", 3, "1", "tag name must be an identifier", ""),
    ("{%", 0, "{%", "tag name must be an identifier", ""),
    ("{% if a %}{%", 10, "{%", "tag name must be an identifier", ""),
    ("{% for a in b %}{%-", 16, "{%-", "tag name must be an identifier", ""),
    ("{% if a %}{% else", 13, "else", "unexpected EOF", ""),
    ("{% if a", 6, "a", "unexpectedly reached EOF, no tag end found", ""),
    ("{% comment %}{%", 13, "{%", "unexpected EOF, expected tag endcomment", ""),
    ("{% comment %}", 11, "%}", "unexpected EOF, expected tag endcomment", ""),
    ("{% comment %}{% endcomment a %}", 16, "endcomment", "arguments not allowed here", "pongo2 would hang here for ever"),
    ("{% comment a %}{% endcomment %}", 11, "a", "tag 'comment' does not take any argument", ""),
    ("{% extends a %}", 11, "a", "tag 'extends' requires a template filename as string", ""),
    ('{% extends "m" a %}', 15, "a", "tag 'extends' does only take 1 argument", ""),
    ('{% extends "m" %}{% extends "m" %}', 20, "extends", "this template has already one parent", ""),
    ('{% if 1 %}{% extends "m" %}{% endif %}', 13, "extends", "the 'extends' tag can only defined on root level", ""),
    ("{% import a %}", 10, "a", "import-tag needs a filename as string", ""),
    ('{% import "m" %}', 10, '"m"', "you must at least specify one macro to import", ""),
    ('{% import "m" 1 %}', 14, "1", "expected macro name (identifier)", ""),
    ('{% import "m" f g %}', 16, "g", "expected ','", ""),
    ('{% import "m" f as 1 %}', 19, "1", "expected macro alias name (identifier)", ""),
    ('{% import "m" g %}', 14, "g", "macro 'g' not found (or not exported) in 'm'", ""),
    ('{% import "n" f %}', 3, "import", "template 'n' does not exist", ""),
    ('{% include "m" a %}', 15, "a", "malformed 'include'-tag arguments", ""),
    ('{% include "m" with a %}', 20, "a", "expected '='", ""),
    ('{% include "m" with 1 %}', 20, "1", "expected an identifier", ""),
    ('{% include "n" %}', 11, '"n"', "template 'n' does not exist", ""),
    ("{% ssi a %}", 7, "a", "first argument must be a string", ""),
    ('{% ssi "m" a %}', 11, "a", "malformed SSI-tag argument", ""),
    ("{% set a %}", 7, "a", "expected '='", ""),
    ("{% set 1 = 2 %}", 7, "1", "expected an identifier", ""),
    ("{% set a = 1 2 %}", 13, "2", "malformed 'set'-tag arguments", ""),
    ("{% with a %}{% endwith %}", 8, "a", "expected '='", ""),
    ("{% now %}", 3, "now", "expected a format string", ""),
    ("{% lorem a b c d %}", 11, "b", "lorem-method must be either 'w', 'p' or 'b'", ""),
    ("{% widthratio a %}", 14, "a", "unexpected EOF, expected a number, string, keyword or identifier", ""),
    ("{% templatetag a %}", 15, "a", "argument not found", ""),
    ("{% firstof %}{% autoescape a %}{% endautoescape %}", 27, "a", "only 'on' or 'off' is valid as an autoescape-mode", ""),
    ("{% ifequal a %}{% endifequal %}", 11, "a", "unexpected EOF, expected a number, string, keyword or identifier", ""),
    ("{% block %}{% endblock %}", 3, "block", "tag 'block' requires an identifier", ""),
    ("{% block a %}{% endblock b %}", 25, "b", "name for 'endblock' must equal to 'block'-tag's name ('a' != 'b')", ""),
    ("{% macro %}{% endmacro %}", 3, "macro", "macro-tag needs at least an identifier as name", ""),
    ("{% macro f(1) %}{% endmacro %}", 11, "1", "expected argument name as identifier", ""),
    ("{% macro f(a b) %}{% endmacro %}", 13, "b", "expected ',' or ')'", ""),
    ("{% macro f() x %}{% endmacro %}", 13, "x", "malformed macro-tag", ""),
    ("{% spaceless a %}{% endspaceless %}", 13, "a", "malformed spaceless-tag arguments", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("template", "start", "text", "message", "hint"), MISTAKES, ids=[repr(case[0]) for case in MISTAKES]
)
def test_a_syntax_mistake_gives_a_message_and_a_hint(template, start, text, message, hint):
    with pytest.raises(TemplateSyntaxError) as caught:
        pongo2.compile(Source("t", template), V6, mode="plain", loader=MemoryLoader(FILES))
    error = caught.value
    assert error.span is not None
    assert (error.message, error.hint) == (message, hint)
    assert (error.span.start, error.span.text) == (start, text)
