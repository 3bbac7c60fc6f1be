"""The style of each value in the metadata.yaml that a definition gives."""

import pytest

from templater.definitions.metadata_text import _events


@pytest.mark.parametrize(
    ("value", "style"),
    [
        ("a", None),
        ("", '"'),
        ("<<", None),
        ("yes", '"'),
        ("1", '"'),
        ("~", '"'),
        ("1:30", '"'),
        ("a\nb", "|"),
        ("<", None),
    ],
)
def test_text_is_quoted_if_yaml_would_read_it_as_another_value(value, style):
    (event,) = _events(value)
    assert (event.value, event.style) == (value, style)


@pytest.mark.parametrize(("value", "text"), [(True, "true"), (False, "false"), (15, "15")])
def test_booleans_and_numbers_are_written_without_quotes(value, text):
    (event,) = _events(value)
    assert (event.value, event.style, event.implicit) == (text, None, (True, False))
