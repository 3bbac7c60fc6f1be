"""Filters that make links; expected texts were recorded with pongo2 4.0.2."""

import re

import pytest

from templater.pongo2.filters.links import _link_addresses, urlize, urlizetrunc
from tests.processor_time import ends_within


@pytest.mark.parametrize(
    ("function", "value", "argument", "text"),
    [
        (
            urlize,
            "see http://x.org/?a=1&b=2 ok",
            None,
            'see <a href="http://x.org/?a=1&b=2" rel="nofollow">http://x.org/?a=1&amp;b=2</a> ok',
        ),
        (urlize, "www.x.de\nnext", None, "www.x.de\nnext"),
        (
            urlize,
            "x.com, me@x.org",
            None,
            '<a href="http://x.com," rel="nofollow">x.com,</a> <a href="mailto:me@x.org">me@x.org</a>',
        ),
        (urlize, "http://x.org/a&b", False, '<a href="http://x.org/a&b" rel="nofollow">http://x.org/a&b</a>'),
        (
            urlizetrunc,
            "http://example.org/",
            10,
            '<a href="http://example.org/" rel="nofollow">http://...</a>',
        ),
    ],
)
def test_urlize_filters_match_the_recorded_output_of_pongo2(function, value, argument, text):
    assert function(value, argument) == text


def test_urlizetrunc_may_cut_a_title_inside_a_character():
    assert urlizetrunc("http://é.org", 11) == (
        '<a href="http://%C3%A9.org" rel="nofollow">http://\udcc3...</a>'
    )


@pytest.mark.parametrize(
    "text",
    [
        "http://" * 50_000 + "\n",
        "http://a\n" * 50_000,
        "a" * 300_000,
        "a@" * 100_000,
        " a.com\n" * 50_000,
    ],
)
def test_urlize_filters_take_linear_time_for_long_texts(text):
    with ends_within(2):
        urlize(text, None)


def test_mail_addresses_become_links_even_after_an_at_sign():
    assert urlize("@a x@b.com", None) == '@a <a href="mailto:x@b.com">x@b.com</a>'


def test_mail_addresses_are_found_as_in_pongo2():
    names = ("", "a", "_9", "é", "a@b")
    domains = ("", "b", "b_2", "b@c.de", "ü")
    ends = ("", ".", ".d", ".de", ".d_2", ".defg", ".defgh", ".de.fg", ". de", "x.de", "..de")
    texts = [f"{name}@{domain}{end}" for name in names for domain in domains for end in ends]
    address = re.compile(r"\w+@\w+\.\w{2,4}", re.ASCII)
    for text in (*texts, " ".join(texts), "".join(texts)):
        linked = address.sub(lambda found: f'<a href="mailto:{found[0]}">{found[0]}</a>', text)
        assert _link_addresses(text, 0) == linked
