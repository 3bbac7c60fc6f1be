"""Redirect rules: `streams reindex` writes them, and `serve` reads them."""

import json

import pytest

from templater.distribution.web_server_redirects import read_rules, rules
from templater.model.errors import InputError

ORIGIN = "https://host.example/a/b"


def test_redirect_rules_are_read_back_unchanged(tmp_path):
    for name, text in rules(ORIGIN).items():
        (tmp_path / name).write_text(text)
    expected = {"/host.example/a/b/": f"{ORIGIN}/"}
    assert read_rules(str(tmp_path)) == expected
    (file,) = tmp_path.glob("*.templater.json")
    assert read_rules(str(file)) == expected


@pytest.mark.parametrize(
    "rule",
    [
        {"from": "/a/", "to": "http://host/"},
        {"from": "/a/", "to": "https://host"},
        {"from": "/a/", "to": "https://host/\r\nX: y/"},
        {"from": "/a", "to": "https://host/"},
        {"from": "a/", "to": "https://host/"},
        {"from": "/../a/", "to": "https://host/"},
        {"from": "/", "to": "https://host/"},
        {"from": 1, "to": None},
        {},
        None,
    ],
)
def test_an_invalid_redirect_rule_gives_one_error(tmp_path, rule):
    (tmp_path / "x").write_text(json.dumps({"redirects": [rule]}))
    with pytest.raises(InputError, match="invalid redirect rule"):
        read_rules(str(tmp_path / "x"))


@pytest.mark.parametrize("text", ["[]", '{"redirects": 1}'])
def test_reading_rules_from_a_file_without_redirect_rules_is_an_error(tmp_path, text):
    (tmp_path / "x").write_text(text)
    with pytest.raises(InputError):
        read_rules(str(tmp_path / "x"))


def test_reading_rules_from_a_directory_without_redirect_rules_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"^'.*' has no redirect rules$") as caught:
        read_rules(str(tmp_path))
    assert caught.value.hint == "templater streams reindex --redirect"
