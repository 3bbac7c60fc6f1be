"""Redirect rules: `streams reindex` writes them, and `serve` reads them."""

import json

import pytest

from templater.distribution.web_server_redirects import file_stem, prefix_of, read_rules, rules
from templater.model.errors import InputError, UsageError

ORIGIN = "https://host.example/a/b"


@pytest.mark.parametrize(
    ("base", "prefix", "stem"),
    [
        ("https://host:8443/a/b", "host_8443/a/b", "host_8443-a-b"),
        ("https://[fd00::1]", "_fd00__1_", "_fd00__1_"),
        ("https://host/a~b.c_d-e", "host/a~b.c_d-e", "host-a~b.c_d-e"),
    ],
)
def test_the_origin_determines_the_names_of_its_files(base, prefix, stem):
    assert (prefix_of(base), file_stem(base)) == (prefix, stem)


@pytest.mark.parametrize("base", ["http://h", "https://h/", "https://h//a", "https://h/../a", "https://h/a..b", "https://h/a b", "https://h/a;"])  # fmt: skip
def test_an_address_is_refused_if_web_servers_could_misread_it(base):
    with pytest.raises(UsageError) as caught:
        prefix_of(base)
    assert caught.value.message == f"'{base}' can't be written into a web server's configuration"


@pytest.mark.parametrize("name", ["index", "images"])
def test_an_origin_with_a_reserved_file_name_is_refused(name):
    with pytest.raises(UsageError) as caught:
        file_stem(f"https://{name}")
    assert caught.value.message == (
        f"the products file of 'https://{name}' would get the reserved name '{name}.json'"
    )


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
    assert caught.value.hint == "`templater streams reindex --redirect DIR` writes these rules"
