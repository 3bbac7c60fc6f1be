"""The grammar of the random templates is complete."""

from templater.pongo2.dialect import DIALECTS
from templater.pongo2.filters_and_tags import library_for
from tests.differential.grammar import FILTERS


def test_random_templates_use_every_filter_except_random():
    """The filter random gives another result in each run, so no comparison with pongo2 is possible."""
    known = {name for dialect in DIALECTS.values() for name in library_for(dialect).filters}
    assert known - set(FILTERS) == {"random"}
