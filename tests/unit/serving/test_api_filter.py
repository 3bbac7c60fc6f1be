"""Filters of the image API."""

import pytest

from templater.model.errors import InputError
from templater.serving import api_filter, image_api_json
from templater.serving.served_image import File, Served

IMAGE = Served(
    "a" * 64, "container", "x86_64", 1767225600, 0, 1767225600, {"os": "Debian", "release": "13", "empty": ""},
    (File("images/a.tar.xz", 7, "a" * 64),), ("debian", "debian/13"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("properties.os eq debian", True),
        ("properties.os eq Deb", False),
        ("properties.os ne debian", False),
        ("not properties.os eq ubuntu", True),
        ("type eq container and architecture eq x86_64", True),
        ("type eq virtual-machine or public eq true", True),
        ("type eq virtual-machine or public eq true and properties.release eq 12", False),
        ("properties.os eq 'debian'", True),
        ('properties.unknown eq "x"', False),
        ("unknown ne x", True),
    ],
)
def test_an_image_api_filter_selects_images(text, found):
    assert api_filter.matcher(text)(image_api_json.image_data(IMAGE)) == found


@pytest.mark.parametrize(
    "text", ["x", "x eq", "x gt 1", "x eq 1 xor y eq 2", "x eq 1 and", "not", "a eq b and " * 50, "x eq 1 y"]
)
def test_an_invalid_image_api_filter_is_an_error(text):
    with pytest.raises(InputError, match="filter"):
        api_filter.matcher(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid filter ''; an example: properties.os eq debian"),
        ("os", "invalid filter 'os'; an example: properties.os eq debian"),
        ("os eq", "invalid filter 'os eq'; an example: properties.os eq debian"),
        ("os is debian", "invalid filter 'os is debian'; an example: properties.os eq debian"),
        ("not os eq", "invalid filter 'not os eq'; an example: properties.os eq debian"),
        ("os eq a and", "invalid filter 'os eq a and'; an example: properties.os eq debian"),
        ("os eq a xor b eq c", "unknown word 'xor' in the filter; use 'and' or 'or'"),
        (" and ".join(["os eq a"] * 1000), f"the filter has more than {api_filter._MOST_WORDS} words"),
    ],
)
def test_an_invalid_filter_gives_a_message_with_an_example(text, message):
    with pytest.raises(InputError) as caught:
        api_filter.matcher(text)
    assert caught.value.message == message


def test_the_number_of_words_in_a_filter_is_limited():
    most = api_filter._MOST_WORDS
    text = " and ".join(["os eq a"] * ((most + 1) // 4))
    assert len(text.split()) <= most
    api_filter.matcher(text)
