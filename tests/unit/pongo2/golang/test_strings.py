"""Go's strings where they differ from Python's."""

import pytest

from templater.pongo2.golang.strings import GO_SPACE, fields, lower_text, split_text, title_text, upper_text


def test_case_conversion_does_not_change_the_number_of_characters():
    for code in (*range(0x250), *range(0x370, 0x400), *range(0x1E00, 0x2000), 0xFB00, 0x10400):
        c = chr(code)
        assert len(upper_text(c)) == len(lower_text(c)) == len(title_text(c)) == 1


@pytest.mark.parametrize(
    ("text", "upper"), [("ß", "ß"), ("ŉ", "ŉ"), ("ᾳ", "ᾼ"), ("ǆ", "Ǆ"), ("\u0131", "I"), ("ÿ", "Ÿ")]
)
def test_texts_are_converted_to_upper_case_as_in_go(text, upper):
    assert upper_text(text) == upper


def test_a_final_sigma_is_converted_to_an_ordinary_small_sigma():
    assert lower_text("\u03a3\u03a3") == "\u03c3\u03c3"


def test_the_ascii_information_separators_are_not_white_space():
    assert fields("a\x1cb\x1d c\x1e\x1fd") == ["a\x1cb\x1d", "c\x1e\x1fd"]
    assert fields("a\x85b\xa0c\u2028d\u3000e") == list("abcde")


def test_only_python_treats_information_separators_as_white_space():
    python = {chr(code) for code in range(0x110000) if chr(code).isspace()}
    assert python - set(GO_SPACE) == set("\x1c\x1d\x1e\x1f")
    assert set(GO_SPACE) <= python


def test_splitting_by_an_empty_separator_gives_characters_and_invalid_bytes():
    assert split_text("é\udcc3", "") == ["é", "\udcc3"]


def test_splitting_by_an_invalid_byte_can_split_a_character():
    assert split_text("éa", "\udcc3") == ["", "\udca9a"]
