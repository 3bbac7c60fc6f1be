"""Filters that choose; expected texts were recorded with pongo2 4.0.2."""

import pytest

from templater.pongo2.filters.choices import default, default_if_none, pluralize, yesno
from templater.pongo2.values import Failure, Safe, to_string
from tests.unit.pongo2.recorded import check


@pytest.mark.parametrize(
    ("function", "value", "argument", "text"),
    [
        (default, "", "x", "x"),
        (default, 0, "x", "x"),
        (default, "a", "x", "a"),
        (default_if_none, None, "x", "x"),
        (default_if_none, "", "x", ""),
        (yesno, True, None, "yes"),
        (yesno, False, None, "no"),
        (yesno, None, None, "maybe"),
        (yesno, None, "y,n", "maybe"),
        (yesno, 1, "y,n,m", "y"),
        (pluralize, 1, None, ""),
        (pluralize, 2, None, "s"),
        (pluralize, 1.5, None, ""),
        (pluralize, 2, "es", "es"),
        (pluralize, 1, "y,ies", "y"),
        (pluralize, 2, "y,ies", "ies"),
    ],
)
def test_the_choice_filters_match_the_recorded_output_of_pongo2(function, value, argument, text):
    assert to_string(function(value, argument)) == text


@pytest.mark.parametrize(
    ("template", "recorded"),
    [
        ("{{ s|default:n }}{{ missing|default:s }}{{ empty|default:m.k|upper }}", "héllohélloV"),
        (
            '{{ "a"|default:l.x.y }}',
            "[Error (where: execution) in <string> | Line 1 Col 16 near 'l'] "
            "Can't access a field by name on type slice (variable l.x.y)",
        ),
        (
            "{{ s|default:m.k() }}",
            "[Error (where: execution) in <string> | Line 1 Col 14 near 'm'] 'm.k' is not a function (it is string)",
        ),
    ],
)
def test_the_default_filter_always_evaluates_its_argument(template, recorded):
    check(template, recorded)


def test_the_yesno_argument_must_contain_two_or_three_values():
    with pytest.raises(Failure, match=r"you must either pass no or at least 2 .*\(got: 'y'\)$"):
        yesno(True, "y")
    with pytest.raises(Failure, match=r"you cannot pass more than 3 .*\(got: 'a,b,c,d'\)$"):
        yesno(True, "a,b,c,d")


def test_the_yesno_filter_has_the_recorded_error_of_v4():
    with pytest.raises(Failure) as caught:
        yesno(True, "y")
    assert caught.value.v4 == (
        "You must pass either no or at least 2 arguments to the 'yesno'-filter (got: 'y')."
    )


def test_the_pluralize_filter_requires_a_number_and_at_most_two_endings():
    with pytest.raises(Failure, match="does only work on numbers"):
        pluralize("2", None)
    with pytest.raises(Failure, match="more than 2 arguments"):
        pluralize(2, "a,b,c")


def test_the_default_filter_returns_its_input_object_unchanged():
    value = Safe("<b>")
    assert default(value, None) is value
    assert default_if_none(value, None) is value
