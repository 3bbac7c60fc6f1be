"""Passwords of URLs on the command line: which texts lose their password, and how they get it back."""

import pytest

from templater.model.errors import UsageError
from templater.model.url_password import hide_passwords, with_password, without_password


@pytest.fixture(autouse=True)
def no_earlier_command_line():
    hide_passwords([])


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:pw@h/x", "https://me:***@h/x"),
        ("https://me:p@w@h/x", "https://me:***@h/x"),
        ("https://me:pa/ss@h/x", "https://me:***@h/x"),
        ("https://:pw@h", "https://:***@h"),
        ("https://me:@h/", "https://me:***@h/"),
        ("HTTP://me:pw@[::1]:8/x?a#b", "HTTP://me:***@[::1]:8/x?a#b"),
        (" ftp://me:pw@h/x", " ftp://me:***@h/x"),
        ("https:/me:pw@h/x", "https:/me:***@h/x"),
        ("https:me:pw@h/x", "https:me:***@h/x"),
    ],
)
def test_a_url_loses_its_password_and_gets_it_back_for_a_request(url, shown):
    assert without_password(url) == shown
    assert with_password(shown) == shown, "the command line had no such URL"
    assert hide_passwords(["audit", url]) == ["audit", shown]
    assert with_password(shown) == url
    assert with_password(f"{shown}/metadata.yaml") == f"{url}/metadata.yaml"
    hide_passwords([])
    assert with_password(shown) == shown, "each command line starts with an empty table"


@pytest.mark.parametrize(
    "text",
    [
        "", "image.tar.xz", "images:debian/13", "incus:web1", "store:a@b:c", "https://h/a:b@c", "https://h:80/a@b",
        "https://me@h/x", "https://[::1]:80/x@y", "https://[fe80::1]/a@b", "user.url=https://me:pw@h/x", "-",
        "me:pw@h",
    ],
)  # fmt: skip
def test_a_text_that_is_no_url_with_a_password_stays_unchanged(text):
    assert without_password(text) == text
    assert hide_passwords([text]) == [text]
    assert with_password(text) == text


def test_the_value_of_an_option_in_the_same_word_loses_its_password():
    given = ["--against-image=https://me:pw@h/x", "--config=user.url=https://me:pw@h/x"]
    assert hide_passwords(given) == ["--against-image=https://me:***@h/x", given[1]]
    assert with_password("https://me:***@h/x") == "https://me:pw@h/x"


def test_two_passwords_of_one_user_at_one_host_are_refused_without_printing_them():
    hide_passwords(["https://me:a@h/x", "https://me:a@h/y", "https://me:b@i/x", "https://you:b@h/x"])
    with pytest.raises(UsageError) as caught:
        hide_passwords(["https://me:one1@h/x", "https://me:two2@h/y"])
    assert caught.value.message == "two URLs with different passwords begin with 'https://me:***@h'"
    assert "one1" not in caught.value.explain() and "two2" not in caught.value.explain()
