"""The tags and filters of each dialect: those of SPEC 9 and 10, no more."""

import subprocess
import sys

import pytest

from templater.pongo2.dialect import DIALECTS
from templater.pongo2.library import HOMES, Library, library_for

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


@pytest.mark.parametrize("package", ["tags", "filters"])
def test_everything_is_listed_where_it_stands(package):
    """Looking in one module is enough, then: the others need not be imported."""
    found = {}
    for name in DIALECTS:
        for word, function in getattr(Library(name), package).items():
            found[word] = function.__module__.rpartition(".")[2]
    assert found == HOMES[package]


def test_what_is_not_listed_is_found_all_the_same(monkeypatch):
    monkeypatch.setitem(HOMES, "filters", {"upper": "numbers"})
    filters = Library("v6").filters
    assert filters["upper"].__module__ == "templater.pongo2.filters.text"
    assert filters["lower"].__module__ == "templater.pongo2.filters.text"
    assert "nonsense" not in filters


def test_a_name_brings_its_own_module_only():
    code = (
        "import sys; from templater.pongo2.library import Library;"
        "library = Library('v6'); library.tags['if'], library.filters['upper'];"
        "prefixes = ('templater.pongo2.filters.', 'templater.pongo2.tags.');"
        "print(*sorted(name for name in sys.modules if name.startswith(prefixes)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["templater.pongo2.filters.text", "templater.pongo2.tags.if_"]
