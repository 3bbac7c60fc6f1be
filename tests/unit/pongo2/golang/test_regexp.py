"""Go's regular expressions, as the filter removetags uses them."""

from time import process_time

import pytest

from templater.pongo2.golang.regexp import remove_all
from templater.pongo2.values import Panic, TooLarge


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
        (r"\bab\b", "ab abc", " abc"),
        (r"\d{2,3}", "1 12 1234", "1  4"),
        (r"a{,2}", "a{,2}a", "a"),
        (r"[[:alpha:]]", "a1", "1"),
        (r"[\w-]+", "a-b c!", " !"),
        (r"\x41\x{e9}", "Aéb", "b"),
        (r"\pL", "é1", "1"),
        (r"\PL", "é1", "é"),
        (r"\D", "a1b", "1"),
        (r"\W", "a b!", "ab"),
        (r"\S+", "a b", " "),
        (r"[\D]", "a1b", "1"),
        (r"[^\W]", "a b!", " !"),
        (r"\Q.\E", "a.b", "ab"),
        ("[]a]", "]a", ""),
        ("x*", "axb", "ab"),
        ("(?U)a+", "aa", ""),
        ("", "abc", "abc"),
    ],
)
def test_matches_of_a_regular_expression_are_removed_as_in_go(pattern, text, left):
    assert remove_all(pattern, text) == left


@pytest.mark.parametrize(
    "pattern",
    ["(", ")", "[", "[b-a]", "*", "a**", "a{2}{3}", "x|{2}", "a{1001}", r"\1", r"\y", "\\", "(?P<>a)", "(?z)", r"\p{Greek}", "(?"],
)  # fmt: skip
def test_a_regular_expression_that_go_rejects_panics(pattern):
    with pytest.raises(Panic, match="regexp"):
        remove_all(pattern, "a")


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|a)*b", "(a|aa)+$", "(.*)*x", "a?" * 25 + "a" * 25])
def test_every_regular_expression_takes_linear_time(pattern):
    start = process_time()
    remove_all(pattern, "a" * 5000)
    assert process_time() - start < 3


def test_a_regular_expression_above_the_work_limit_is_refused():
    with pytest.raises(TooLarge):
        remove_all("(a+)+b", "a" * 1_000_000)


def test_a_regular_expression_that_compiles_to_a_huge_program_is_refused():
    with pytest.raises(Panic):
        remove_all("((a{100}){100}){100}", "a")
    with pytest.raises(Panic):
        remove_all("(" * 5000 + ")" * 5000, "a")
