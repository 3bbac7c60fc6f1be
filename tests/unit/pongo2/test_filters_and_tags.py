"""The tags and filters of each dialect."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from templater import pongo2
from templater.pongo2.dialect import DIALECTS
from templater.pongo2.filters_and_tags import FILTER_MODULES, Library, filter_module, library_for, tag_module

TAGS = """
    autoescape block comment cycle extends filter firstof for if ifchanged ifequal ifnotequal import include
    lorem macro now set spaceless ssi templatetag widthratio with
"""
PACKAGE = Path(pongo2.__file__).parent
FILTERS = """
    add addslashes capfirst center cut date default default_if_none divisibleby escape escapejs first float
    floatformat get_digit integer iriencode join last length length_is linebreaks linebreaksbr linenumbers ljust
    lower make_list phone2numeric pluralize random removetags rjust safe slice split stringformat striptags time
    title truncatechars truncatechars_html truncatewords truncatewords_html upper urlencode urlize urlizetrunc
    wordcount wordwrap yesno
"""


@pytest.mark.parametrize("name", list(DIALECTS))
def test_each_dialect_has_the_expected_tags_and_filters(name):
    library = library_for(DIALECTS[name])
    assert sorted(library.tags) == TAGS.split()
    assert sorted(library.filters) == sorted(FILTERS.split() + (["e"] if name != "v4" else []))


def test_a_second_lookup_of_a_dialect_returns_the_same_library():
    assert library_for(DIALECTS["v4"]) is library_for(DIALECTS["v4"])


@pytest.mark.parametrize(("package", "module_of"), [("tags", tag_module), ("filters", filter_module)])
def test_the_module_list_is_correct_for_every_tag_and_filter(package, module_of):
    for dialect in DIALECTS:
        for name, function in getattr(Library(dialect), package).items():
            assert function.__module__.rpartition(".")[2] == module_of(name)


def test_a_filter_is_found_even_if_the_module_list_omits_it(monkeypatch):
    monkeypatch.delitem(FILTER_MODULES, "upper")
    monkeypatch.setitem(FILTER_MODULES, "lower", "numbers")
    filters = Library("v6").filters
    assert filters["upper"].__module__ == "templater.pongo2.filters.text"
    assert filters["lower"].__module__ == "templater.pongo2.filters.text"
    assert "nonsense" not in filters


@pytest.mark.parametrize("package", ["filters", "tags", "golang"])
def test_functions_for_rendering_contain_no_imports(package):
    """A confined child imports the modules of a template's filters and tags, and can't import others later."""
    for path in (PACKAGE / package).glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                assert not any(
                    isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(function)
                ), path


def test_looking_up_a_tag_loads_only_its_own_module():
    code = (
        "import sys; from templater.pongo2.filters_and_tags import Library;"
        "library = Library('v6'); library.tags['if'], library.filters['upper'];"
        "prefixes = ('templater.pongo2.filters.', 'templater.pongo2.tags.');"
        "print(*sorted(name for name in sys.modules if name.startswith(prefixes)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["templater.pongo2.filters.text", "templater.pongo2.tags.if_"]
