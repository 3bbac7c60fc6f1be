"""``{% ssi %}``. test_suite.py has the tests of pongo2's own suite."""

import pytest

from templater.model.errors import TemplateError
from templater.pongo2.dialect import DIALECTS, V4, V6
from tests.unit.pongo2.memory_loader import banned, render


@pytest.mark.parametrize("dialect", list(DIALECTS.values()))
def test_the_ssi_tag_is_banned_in_images(dialect):
    assert banned("ssi", dialect)


def test_the_ssi_tag_includes_a_file_without_rendering_it():
    assert render("{% ssi 'a.txt' %}", a_txt="{{ x }}") == "{{ x }}"


@pytest.mark.parametrize("dialect", [V4, V6])
def test_the_ssi_tag_renders_a_file_marked_as_parsed(dialect):
    assert render("{% ssi 'a.txt' parsed %}", dialect=dialect, context={"x": 1}, a_txt="{{ x }}") == "1"


@pytest.mark.parametrize("arguments", ["x", "'a.txt' nope", "'b.txt'", "'b.txt' parsed"])
def test_a_malformed_ssi_tag_is_an_error(arguments):
    with pytest.raises(TemplateError):
        render("{% ssi " + arguments + " %}", a_txt="")
