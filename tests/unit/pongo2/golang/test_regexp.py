"""Go's regular expressions, as the filter removetags uses them."""

import pytest

from templater.model.errors import LimitError
from templater.pongo2 import values
from templater.pongo2.golang.regexp import Pattern
from templater.pongo2.values import Panic, TooLarge
from tests.processor_time import ends_within


def remove_all(pattern, text):
    return Pattern(pattern).remove_all(text)


@pytest.mark.parametrize(
    ("pattern", "text", "left"),
    [
        ("b", "abc", "ac"),
        ("[a-c]+", "xabcx", "xx"),
        ("[^a-c]", "xabcx", "abc"),
        ("a|ab", "abab", "bb"),  # the first alternative wins, not the longest
        ("(?:ab)*", "ababx", "x"),
        ("a+?", "aaa", ""),
        ("<.*?>", "<a>b<c>", "b"),
        ("<.*>", "<a>b<c>", ""),
        ("<.*>", "<a\n>", "<a\n>"),
        ("(?s)<.*>", "<a\n>", ""),
        ("(?i)ab", "aBABx", "x"),
        ("(?i:a)b", "AbAB", "AB"),
        ("^a", "aa", "a"),
        ("a$", "aa", "a"),
        ("(?m)^a", "a\na", "\n"),
        ("(?m)a$", "a\nab a", "\nab "),
        ("(?m)$", "a\nb", "a\nb"),
        (r"\bab\b", "ab abc", " abc"),
        (r"\d{2,3}", "1 12 1234", "1  4"),
        (r"a{,2}", "a{,2}a", "a"),
        (r"a{02}", "a{02}aa", "aa"),
        (r"a{0}b", "ab", "a"),
        (r"\_\-", "a_-", "a"),
        (r"[[:alpha:]]", "a1", "1"),
        (r"[\w-]+", "a-b c!", " !"),
        (r"\x41\x{e9}", "Aéb", "b"),
        (r"\x{4A}\x4a\x{10FFFF}", "JJ\U0010ffffJ", "J"),
        (r"\x{0000041}", "AB", "B"),
        (r"\101+", "ABAA", "B"),
        (r"\07", "\a8a", "8a"),
        (r"\018", "\x018\x01", "\x01"),
        (r"\0", "\x000", "0"),
        (r"\1777", "\x7f7\x7f", "\x7f"),
        (r"[\101-\103]", "ABCD", "D"),
        (r"\pL", "é1", "1"),
        (r"\PL", "é1", "é"),
        (r"\D", "a1b", "1"),
        (r"\W", "a b!", "ab"),
        (r"\S+", "a b", " "),
        (r"[\D]", "a1b", "1"),
        (r"[^\W]", "a b!", " !"),
        (r"\Q.\E", "a.b", "ab"),
        (r"[\a\f\n\r\t\v]\a?", "1\a2\f3\n4\r5\t6\v7\a\a8", "12345678"),
        (r"[[:alpha:]]\Qa.b\E?", "xa.b ba.", " "),  # the operator applies to the last character only
        (r"\Qab\E{2}", "abab abb", "abab "),
        (r"x*\Q\E*", "xxa", "a"),  # quoted text without characters leaves the operator to the part before it
        (r"(?i)\p{^Ll}", "aA1", "aA"),  # Go folds the category before it negates it
        (r"(?i)[\p{^Ll}]", "aA1", "aA"),
        (r"(?i)\P{^Ll}", "aA1", "1"),
        (r"\p{^Ll}", "aA1", "a"),
        (r"\pC", "\u0378a\u00ad", "\u0378a"),
        (r"\p{Any}", "a\nb", ""),
        (r"[^\P{Any}]", "ab", ""),
        ("[]a]", "]a", ""),
        ("x*", "axb", "ab"),
        ("(?U)a+", "aa", ""),
        ("", "abc", "abc"),
        ("(|.)*", "a", "a"),
        ("(.*?)*", "x a", "x a"),
        ("(b*?a?$*?)*", "axbax 1abb1", "xbx 1b1"),
        ("(?:x??)+", "ax", "ax"),
        ("(?:|.?){1000,}", "ax", "ax"),
        ("(b*?|b1*?)+a??", "b b1x", "b b1x"),
        ("(()){1000}|a{0}", "a", "a"),
        ("((((a{1000}){0}){1000}){0}){1000}", "a", "a"),
        pytest.param(
            "((a{2,}){500})b", "a" * 1000 + "ab" + "a" * 999 + "b", "a" * 999 + "b", marks=pytest.mark.slow
        ),
    ],
)
def test_regular_expressions_remove_the_same_text_as_in_go(pattern, text, left):
    assert remove_all(pattern, text) == left


@pytest.mark.parametrize(
    ("pattern", "text", "span"),
    [
        ("(?i)k", "\u212a", (0, 3)),
        ("(?i)[k]", "\u212a", (0, 3)),
        ("(?i)\u212a", "k", (0, 1)),
        ("(?i)s", "\u017f", (0, 2)),
        ("(?i)[a-z]", "\u017f", (0, 2)),
        ("(?i)[^k]", "\u212a", None),
        ("(?i)[\u212a]", "K", (0, 1)),
        ("(?i)[[:upper:]]", "a", (0, 1)),
        ("(?i)\\w", "\u212a", (0, 3)),
        ("(?i)[\\w]", "\u017f", (0, 2)),
        ("(?i)[\u00e0-\u00e9]", "\u00c9", (0, 2)),
        ("(?i)\u03c3", "\u03c2", (0, 2)),
        ("(?i)[\u03c3]", "\u03c2", (0, 2)),
        ("(?i)\u00b5", "\u03bc", (0, 2)),
        ("(?i)[\u00b5]", "\u039c", (0, 2)),
        ("(?i)\\pL", "a", (0, 1)),
        ("(?i)[^a-z]", "K", None),
        ("(?i)\u00df", "\u1e9e", (0, 3)),
        ("(?i)[i]", "\u0130", None),
        ("(?i)[\u0131]", "I", None),
        ("x(?U)+", "xxx", (0, 1)),
        ("x(?U)+y", "xxxy", (0, 4)),
        ("(?U)x+", "xx", (0, 1)),
        ("x(?i)*", "xx", (0, 2)),
        ("(?:x)(?U)*", "xx", (0, 0)),
        ("x(?s)?", "x", (0, 1)),
        ("x(?U){2}", "xx", (0, 2)),
        ("x+(?U)+", "xx", (0, 2)),
        ("x(?U)(?i)+", "xx", (0, 1)),
        ("(x(?U)+)", "xx", (0, 1)),
    ],
)
def test_case_folding_and_flags_before_an_operator_work_as_in_go(pattern, text, span):
    """The spans are recorded from FindStringIndex of Go 1.24. They count bytes."""
    found = Pattern(pattern).searcher(text).next(0)
    assert (found and tuple(len(text[:end].encode()) for end in found)) == span


@pytest.mark.parametrize(
    ("pattern", "mistake", "part"),
    [
        ("(", "missing closing )", "("),
        (")", "unexpected )", ")"),
        ("(?", "invalid or unsupported Perl syntax", "(?"),
        ("(?i", "invalid or unsupported Perl syntax", "(?i"),
        ("[", "missing closing ]", "["),
        ("[a", "missing closing ]", "[a"),
        ("[b-a]", "invalid character class range", "b-a"),
        ("[[:foo:]]", "invalid character class range", "[:foo:]"),
        (r"\p", "invalid character class range", r"\p"),
        (r"\pX", "invalid character class range", r"\pX"),
        (r"\p{X}", "invalid character class range", r"\p{X}"),
        (r"\p{}", "invalid character class range", r"\p{}"),
        (r"\p{^}", "invalid character class range", r"\p{^}"),
        (r"\p{a.b}", "invalid character class range", r"\p{a.b}"),
        (r"\p{L", "invalid character class range", r"\p{L"),
        (r"\Q\E*", "missing argument to repetition operator", "*"),
        (r"a|\Q\E*", "missing argument to repetition operator", "*"),
        (r"\Qa\E**", "invalid nested repetition operator", "**"),
        ("*", "missing argument to repetition operator", "*"),
        ("+", "missing argument to repetition operator", "+"),
        ("?", "missing argument to repetition operator", "?"),
        ("x|{2}", "missing argument to repetition operator", "{2}"),
        ("a|*", "missing argument to repetition operator", "*"),
        ("(*)", "missing argument to repetition operator", "*"),
        ("a**", "invalid nested repetition operator", "**"),
        ("a***", "invalid nested repetition operator", "**"),
        ("a??+", "invalid nested repetition operator", "??+"),
        ("a{2}{3}", "invalid nested repetition operator", "{2}{3}"),
        ("a{1001}", "invalid repeat count", "{1001}"),
        ("a{2,1}", "invalid repeat count", "{2,1}"),
        ("a{10000}", "invalid repeat count", "{10000}"),
        (f"a{{{'9' * 5000}}}", "invalid repeat count", f"{{{'9' * 5000}}}"),
        (f"a{{1,{'9' * 5000}}}", "invalid repeat count", f"{{1,{'9' * 5000}}}"),
        ("((){1000}){2}", "invalid repeat count", "{2}"),
        ("((((){1000}){1000}){1000}){1000}", "invalid repeat count", "{1000}"),
        ("((a{3,}b){1}c*){334}", "invalid repeat count", "{334}"),
        ("(b|(a{2})*){2,501}", "invalid repeat count", "{2,501}"),
        (r"\1", "invalid escape sequence", r"\1"),
        (r"\y", "invalid escape sequence", r"\y"),
        (r"[\y]", "invalid escape sequence", r"\y"),
        (r"[a-\d]", "invalid escape sequence", r"\d"),
        (r"\x{110000}", "invalid escape sequence", r"\x{110000"),
        (r"\x{}", "invalid escape sequence", r"\x{}"),
        (r"\xg", "invalid escape sequence", r"\xg"),
        (r"\8", "invalid escape sequence", r"\8"),
        (r"\x4", "invalid escape sequence", r"\x4"),
        ("\\", "trailing backslash at end of expression", ""),
        ("(?P<>a)", "invalid named capture", "(?P<>"),
        ("(?P<a", "invalid named capture", "(?P<a"),
        ("(?z)", "invalid or unsupported Perl syntax", "(?z"),
        ("(?P=a)", "invalid or unsupported Perl syntax", "(?P"),
        ("(?<n>(?P<", "invalid or unsupported Perl syntax", "(?P"),
        ("x[a", "missing closing ]", "[a"),
        ("[a\\", "trailing backslash at end of expression", ""),
        ("a**?", "invalid nested repetition operator", "**?"),
        ("(a{2}){501}?", "invalid repeat count", "{501}?"),
        ("(?i-)", "invalid or unsupported Perl syntax", "(?i-)"),
        (r"x[z-\x61]y", "invalid character class range", r"z-\x61"),
        (r"\x{41", "invalid escape sequence", r"\x{41"),
    ],
)
def test_a_rejected_regular_expression_panics_with_the_go_error(pattern, mistake, part):
    """The texts are recorded from regexp.Compile of Go 1.24."""
    with pytest.raises(Panic) as caught:
        remove_all(pattern, "a")
    assert str(caught.value) == f"regexp: Compile(`{pattern}`): error parsing regexp: {mistake}: `{part}`"


@pytest.mark.parametrize("name", ["Greek", "Latin", "LC", "Cn", "Cx", "Letter", "l", "Old_Italic"])
def test_a_version_dependent_character_class_gives_a_limit_error(name):
    """Go 1.24 knows Greek, but rejects LC, which Go 1.25 knows."""
    with pytest.raises(LimitError, match=rf"^templater does not know the class \\p\{{{name}\}} of a regular"):
        remove_all(rf"[\p{{^{name}}}]", "a")


def test_a_regular_expression_can_nest_99_groups_but_not_100():
    assert remove_all("(?:" * 99 + "a" + ")" * 99, "a") == ""
    with pytest.raises(Panic, match="error parsing regexp: expression nests too deeply: "):
        remove_all("(?:" * 100 + "a" + ")" * 100, "a")


@pytest.mark.parametrize(
    "pattern", ["(){1000}" * 200, ("(" * 90 + ")" * 90 + "{1000}") * 2, "a{1000}" * 21, "a" * 20_001]
)
def test_a_regular_expression_with_slow_compilation_is_refused(pattern):
    """Go accepts these patterns. Steps alone do not count repetitions of an empty part."""
    with ends_within(1), pytest.raises(LimitError, match="a regular expression needs more than 20000 steps"):
        Pattern(pattern)


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|a)*b", "(a|aa)+$", "(.*)*x", "a?" * 25 + "a" * 25])
def test_every_regular_expression_takes_linear_time(pattern):
    with ends_within(3):
        remove_all(pattern, "a" * 5000)


def test_a_regular_expression_above_the_work_limit_is_refused():
    with pytest.raises(TooLarge):
        remove_all("(a+)+b", "a" * 1_000_000)


def test_the_work_limit_includes_every_position_in_a_text(monkeypatch):
    pattern = Pattern("(a+)+b")
    monkeypatch.setattr(values, "MAX", 5 * pattern.weight)
    assert pattern.is_in("aaab")
    with pytest.raises(TooLarge):
        pattern.is_in("aaaab")


def test_a_regular_expression_with_too_many_groups_is_refused():
    with pytest.raises(Panic):
        Pattern("(" * 5000 + ")" * 5000)


CHARACTERS = "".join(map(chr, range(128))) + "é²ſ"


@pytest.mark.parametrize(
    ("name", "ranges"),
    [
        ("[:alnum:]", "09AZaz"), ("[:alpha:]", "AZaz"), ("[:ascii:]", "\0\x7f"), ("[:blank:]", "\t\t  "),
        ("[:cntrl:]", "\0\x1f\x7f\x7f"), ("[:digit:]", "09"), ("[:graph:]", "!~"), ("[:lower:]", "az"), ("[:print:]", " ~"),
        ("[:punct:]", "!/:@[`{~"), ("[:space:]", "\t\r  "), ("[:upper:]", "AZ"), ("[:word:]", "09AZ__az"),
        ("[:xdigit:]", "09AFaf"), (r"\d", "09"), (r"\w", "09AZ__az"), (r"\s", "\t\n\f\r  "),
    ],
)  # fmt: skip
def test_character_classes_contain_the_same_characters_as_in_go(name, ranges):
    """Recorded with Go 1.24. Each pair in ``ranges`` has the first and the last character of a range."""
    pairs = list(zip(ranges[::2], ranges[1::2], strict=True))
    members = "".join(c for c in CHARACTERS if any(first <= c <= last for first, last in pairs))
    others = "".join(c for c in CHARACTERS if c not in members)
    negated = name.replace("[:", "[:^") if name[0] == "[" else name.upper()
    assert (remove_all(f"[{name}]", CHARACTERS), remove_all(f"[{negated}]", CHARACTERS)) == (others, members)
    assert remove_all(f"[^{name}]", CHARACTERS) == members
