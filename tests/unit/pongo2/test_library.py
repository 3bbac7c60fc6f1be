"""The tags and filters of each dialect: those of SPEC 9 and 10, no more."""

import pytest

from templater.pongo2.dialect import DIALECTS
from templater.pongo2.library import library_for

TAGS = """
    autoescape block comment cycle extends filter firstof for if ifchanged ifequal ifnotequal import include
    lorem macro now set spaceless ssi templatetag widthratio with
"""
FILTERS = """
    add addslashes capfirst center cut date default default_if_none divisibleby escape escapejs first float
    floatformat get_digit integer iriencode join last length length_is linebreaks linebreaksbr linenumbers ljust
    lower make_list phone2numeric pluralize random removetags rjust safe slice split stringformat striptags time
    title truncatechars truncatechars_html truncatewords truncatewords_html upper urlencode urlize urlizetrunc
    wordcount wordwrap yesno
"""


@pytest.mark.parametrize("name", list(DIALECTS))
def test_a_dialect_has_its_tags_and_filters(name):
    library = library_for(DIALECTS[name])
    assert sorted(library.tags) == TAGS.split()
    assert sorted(library.filters) == sorted(FILTERS.split() + (["e"] if name != "v4" else []))


def test_looking_twice_finds_the_same():
    assert library_for(DIALECTS["v4"]) is library_for(DIALECTS["v4"])
