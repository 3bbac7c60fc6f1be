"""Passwords of URLs on the command line: which texts lose their password, and how they get it back."""

import pytest

from templater.model import url_password
from templater.model.errors import UsageError
from templater.model.url_password import is_ambiguous, with_password, without_password


def hide_passwords(arguments, *existing):
    return url_password.hide_passwords(arguments, existing.__contains__)


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
        ("https://me:12/34@h/x", "https://me:***@h/x"),
        ("https://me:p@w/x@h/y", "https://me:***@h/y"),
        ("https://me/you:pw@h/x", "https://me/you:***@h/x"),
        ("https://h:80/a@b", "https://h:***@b"),
        ("https://[::1]:80/x@y", "https://[:***@y"),
        ("https//me:pw@h/x", "https//me:***@h/x"),
        ("https:\\\\me:pw@h/x", "https:\\\\me:***@h/x"),
        ("//me:pw@h/x", "//me:***@h/x"),
        ("htps:/me:pw@h/x", "htps:/me:***@h/x"),
        ("https: //me:pw@h/x", "https: //me:***@h/x"),
        ("'https://me:pw@h/x'", "'https://me:***@h/x'"),
        ("remote:https://me:pw@h/x", "remote:https://me:***@h/x"),
        ("remote:https//me:pw@h/x", "remote:https//me:***@h/x"),
        ("store:a/https:me:pw@h/x", "store:a/https:me:***@h/x"),
        ("-ihttps://me:pw@h/x", "-ihttps://me:***@h/x"),
        ("https://me:pw/x", "https://me:***/x"),
        ("https://me:pw%40h", "https://me:***"),
    ],
)
def test_a_hidden_url_password_is_restored_for_a_request(url, shown):
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
        "", "image.tar.xz", "images:debian/13", "incus:web1", "store:a@b:c", "https://h/a@b:c", "https://h:80/a",
        "https://me@h/x", "https://[::1]:80/x", "https://[fe80::ab]", "user.url=https://me:pw@h/x", "-", "me:pw@h",
        "/srv//a:b@c", "./x//a:b@c", "a/b:c@d", "web:/etc/a:ro", "https://h:",
    ],
)  # fmt: skip
def test_hiding_passwords_does_not_change_a_text_without_a_url_password(text):
    assert without_password(text) == text
    assert hide_passwords([text]) == [text]
    assert with_password(text) == text


def test_hiding_passwords_does_not_change_the_path_of_an_existing_file():
    assert hide_passwords(["a//b:c@d", "a//b:c@e"], "a//b:c@d") == ["a//b:c@d", "a//b:***@e"]
    assert hide_passwords(["--in=a//b:c@d"], "a//b:c@d") == ["--in=a//b:c@d"]


def test_a_hidden_password_is_restored_only_for_its_host():
    hide_passwords(["remote:https://me:pw@h/x"])
    assert with_password("https://me:***@h/y") == "https://me:pw@h/y"
    assert with_password("https://me:***@other/y") == "https://me:***@other/y"


@pytest.mark.parametrize(
    ("url", "ambiguous"),
    [
        ("https://me:1/2@h/x", True),
        ("https://me:p@w/x@h", True),
        ("https://me:p?w@h", True),
        ("https://me:p#w@h", True),
        ("https://h:80/a@b", True),
        ("https://me:p@w@h/x", False),
        ("https://me:pw@h/a%40b", False),
        ("https://h/a@b", False),
        ("https://h:80/a", False),
    ],
)
def test_a_url_with_a_password_like_path_is_ambiguous(url, ambiguous):
    assert is_ambiguous(url) is ambiguous


def test_a_password_is_hidden_in_an_argument_with_option_and_value():
    given = ["--against-image=https://me:pw@h/x", "--config=user.url=https://me:pw@h/x"]
    assert hide_passwords(given) == ["--against-image=https://me:***@h/x", given[1]]
    assert with_password("https://me:***@h/x") == "https://me:pw@h/x"


def test_two_passwords_for_the_same_login_are_refused():
    hide_passwords(["https://me:a@h/x", "https://me:a@h/y", "https://me:b@i/x", "https://you:b@h/x"])
    with pytest.raises(UsageError) as caught:
        hide_passwords(["https://me:one1@h/x", "https://me:two2@h/y"])
    assert caught.value.message == "two URLs with different passwords begin with 'https://me:***@h'"
    assert "one1" not in caught.value.explain() and "two2" not in caught.value.explain()
