"""Answers of the image API: they have the form of a real daemon's answers, and filters select images."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from templater.model.errors import InputError
from templater.serving import image_api_answers
from templater.serving.image_api_answers import Elements
from templater.serving.image_listing import Listing
from templater.serving.served_image import File, Served

RECORDED = Path(__file__).parent / "recorded"
IMAGE = Served(
    "a" * 64, "container", "x86_64", 1767225600, 0, 1767225600, {"os": "Debian", "release": "13", "empty": ""},
    (File("images/a.tar.xz", 7, "a" * 64),), ("debian", "debian/13"),
)  # fmt: skip


def recorded(name: str) -> dict:
    return json.loads((RECORDED / f"{name}.json").read_text())["json"]


def types(value: object) -> object:
    """Return the form of JSON data: keys, and types of values."""
    if isinstance(value, dict):
        return {key: types(each) for key, each in value.items() if key not in ("properties", "config")}
    return [types(each) for each in value[:1]] if isinstance(value, list) else type(value)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("image", json.loads(Listing([IMAGE]).encoded(IMAGE))),
        ("alias", image_api_answers.alias_data("debian", IMAGE)),
        ("root", ["/1.0"]),
    ],
)
def test_an_image_api_response_has_the_form_of_an_incus_response(name, ours):
    assert types(json.loads(image_api_answers.success(ours))) == types(recorded(name))


def test_an_image_api_error_has_the_form_of_an_incus_error():
    assert types(json.loads(image_api_answers.failure(404, "not found"))) == types(recorded("image-absent"))


def test_untrusted_clients_get_all_fields_that_an_incus_server_sends():
    theirs, ours = recorded("server-untrusted")["metadata"], image_api_answers.server_data("", "")
    assert set(theirs) <= set(ours)
    assert (ours["auth"], ours["public"]) == ("untrusted", True)


@pytest.mark.parametrize("elements", [[], ["a"], ["a", {"b": [1]}, "c"]])
def test_joining_encoded_elements_gives_the_encoded_list(elements):
    encoded = image_api_answers.success_list(Elements(map(image_api_answers.encode, elements)))
    assert b"".join(encoded) == image_api_answers.success(elements)
    assert encoded.size == len(image_api_answers.success(elements))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"), (253402300799, "9999-12-31T23:59:59Z"), (253402300800, image_api_answers.NEVER), (1 << 70, image_api_answers.NEVER),
        (-(1 << 70), image_api_answers.NEVER),
    ],
)  # fmt: skip
def test_times_outside_the_calendar_become_the_start_of_1970(seconds, text):
    assert image_api_answers._time(seconds) == text


def test_an_image_has_the_fields_that_clients_show():
    expiring = replace(
        IMAGE, fingerprint="b" * 64, type="virtual-machine", expires=1767225601, uploaded=5,
        files=(File("images/b.tar.xz", 7, "b" * 64), File("x/y.qcow2", 8, "c" * 64)), aliases=(),
    )  # fmt: skip
    listing = Listing([IMAGE, expiring])
    fields = {
        "fingerprint": "a" * 64, "type": "container", "architecture": "x86_64", "filename": "a.tar.xz", "size": 7,
        "public": True, "cached": False, "auto_update": False,
        "properties": {"os": "Debian", "release": "13", "empty": ""},
        "aliases": [{"name": "debian", "description": ""}, {"name": "debian/13", "description": ""}],
        "created_at": "2026-01-01T00:00:00Z", "uploaded_at": "2026-01-01T00:00:00Z",
        "expires_at": "1970-01-01T00:00:00Z", "last_used_at": "0001-01-01T00:00:00Z",
        "profiles": ["default"], "project": "default",
    }  # fmt: skip
    assert json.loads(listing.encoded(IMAGE)) == fields
    assert json.loads(listing.encoded(expiring)) == {
        **fields, "fingerprint": "b" * 64, "type": "virtual-machine", "filename": "b.tar.xz", "size": 15,
        "aliases": [], "expires_at": "2026-01-01T00:00:01Z", "uploaded_at": "1970-01-01T00:00:05Z",
    }  # fmt: skip
    assert image_api_answers.alias_data("x", expiring) == {
        "name": "x", "description": "", "target": "b" * 64, "type": "virtual-machine"
    }  # fmt: skip


def test_the_server_looks_like_a_public_daemon():
    assert image_api_answers.server_data("text", "ab") == {
        "api_extensions": ["image_types"], "api_status": "stable", "api_version": "1.0", "auth": "untrusted",
        "public": True, "auth_methods": [], "config": {},
        "environment": {"certificate": "text", "certificate_fingerprint": "ab", "server": "templater"},
    }  # fmt: skip
    assert json.loads(image_api_answers.success([1])) == {
        "type": "sync", "status": "Success", "status_code": 200, "operation": "", "error_code": 0, "error": "",
        "metadata": [1],
    }  # fmt: skip
    assert b" " not in image_api_answers.success({"a": [1, 2]})


def test_a_slash_in_an_alias_is_escaped_in_addresses():
    assert image_api_answers.alias_address("debian/13 x") == "/1.0/images/aliases/debian%2F13%20x"
    assert image_api_answers.alias_address("\ud800") == "/1.0/images/aliases/%EF%BF%BD", (
        "as Go decodes the name"
    )
    assert image_api_answers.image_address("ab") == "/1.0/images/ab"


@pytest.mark.parametrize(
    ("chosen", "found"),
    [(b"", ["a", "b", "c"]), (b"\1\0\1", ["a", "c"]), (b"\0\0\0", []), (b"\0\1\0", ["b"])],
)
def test_a_response_can_be_restricted_to_some_elements_of_a_list(chosen, found):
    encoded = image_api_answers.success_list(Elements([b'"a"', b'"b"', b'"c"']), chosen)
    assert json.loads(b"".join(encoded))["metadata"] == found
    assert encoded.size == len(b"".join(encoded))


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
    assert image_api_answers.matcher(text)(image_api_answers.image_data(IMAGE)) == found


@pytest.mark.parametrize(
    "text", ["x", "x eq", "x gt 1", "x eq 1 xor y eq 2", "x eq 1 and", "not", "a eq b and " * 50, "x eq 1 y"]
)
def test_an_invalid_image_api_filter_is_an_error(text):
    with pytest.raises(InputError, match="filter"):
        image_api_answers.matcher(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid filter '' (example: properties.os eq debian)"),
        ("os", "invalid filter 'os' (example: properties.os eq debian)"),
        ("os eq", "invalid filter 'os eq' (example: properties.os eq debian)"),
        ("os is debian", "invalid filter 'os is debian' (example: properties.os eq debian)"),
        ("not os eq", "invalid filter 'not os eq' (example: properties.os eq debian)"),
        ("os eq a and", "invalid filter 'os eq a and' (example: properties.os eq debian)"),
        ("os eq a xor b eq c", "unknown word 'xor' in the filter; use 'and' or 'or'"),
        (" and ".join(["os eq a"] * 1000), f"the filter has more than {image_api_answers._MOST_WORDS} words"),
    ],
)
def test_an_invalid_filter_gives_a_message_with_an_example(text, message):
    with pytest.raises(InputError) as caught:
        image_api_answers.matcher(text)
    assert caught.value.message == message


def test_the_number_of_words_in_a_filter_is_limited():
    most = image_api_answers._MOST_WORDS
    text = " and ".join(["os eq a"] * ((most + 1) // 4))
    assert len(text.split()) <= most
    image_api_answers.matcher(text)
