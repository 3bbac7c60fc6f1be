"""Elements of HTML."""

import pytest

from templater.web.html import code_element, element, join, text


def test_plain_text_is_escaped_in_html_elements_and_attributes():
    shown = element("p", "<b>&\"'", title="\"'<>&")
    assert shown == '<p title="&quot;&#x27;&lt;&gt;&amp;">&lt;b&gt;&amp;&quot;&#x27;</p>'


def test_escaped_html_is_not_escaped_again():
    assert element("p", element("b", "<"), "<") == "<p><b>&lt;</b>&lt;</p>"
    assert join([text("<"), "<", None]) == "&lt;&lt;"


def test_escaped_html_is_escaped_again_if_joined_with_plain_text():
    assert element("p", text("<") + "<") == "<p>&amp;lt;&lt;</p>"


def test_control_characters_and_text_direction_characters_are_escaped_in_html():
    assert text("a\x00\x1b\u202e\ud800\ufffe\tb\n") == "a\\x00\\x1b\\u202e\\ud800\\ufffe\tb\n"


def test_true_attribute_has_no_value():
    assert element("input", hidden=True, class_=None, data_for="x", id=False) == '<input hidden data-for="x">'


@pytest.mark.parametrize("address", ["javascript:x", "https://example.org/", "//example.org/", " #x"])
def test_a_link_to_an_address_outside_the_page_is_refused(address):
    with pytest.raises(ValueError, match="not in the page"):
        element("a", "x", href=address)


def test_inline_code_with_a_closing_script_tag_is_refused():
    with pytest.raises(ValueError, match="cannot contain"):
        code_element("script", "'</script>'")
