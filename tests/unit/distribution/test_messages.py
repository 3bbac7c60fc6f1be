"""The message and the hint of each refusal of a stream, a remote, a signature or an image for a tree."""

import os

import pytest

from templater.distribution import signatures
from templater.distribution.add_to_tree import add, check_facts, root_ftype
from templater.distribution.catalog_decoder import parse_json
from templater.distribution.remotes import _read_own, own_file
from templater.distribution.signatures import Signatures, signed_path
from templater.distribution.web_server_redirects import file_stem, prefix_of, read_rules, rules
from templater.model.errors import LimitError, TemplaterError
from templater.model.metadata import Metadata
from tests.streams.builders import QCOW2, SQUASHFS, split_image, unified_image

CONVERT = "convert the disk first: qemu-img convert -O qcow2"


def failed(function, *arguments, **options):
    with pytest.raises(TemplaterError) as caught:
        function(*arguments, **options)
    return caught.value.message, caught.value.hint


@pytest.mark.parametrize(
    ("facts", "message", "hint"),
    [
        ({"architecture": ""}, "metadata.yaml has no architecture", "write the key at the top level, for example 'architecture: x86_64'"),
        ({"architecture": "foo"}, "metadata.yaml has unknown architecture 'foo'", "write the key at the top level, for example 'architecture: x86_64'"),
        ({"creation_date": 0}, "metadata.yaml has no creation_date, and the version is named after this date", ""),
        ({"properties": {"release": "1"}}, "metadata.yaml has no property 'os'", "set it: templater image set-property i os=VALUE"),
        ({"properties": {"os": "a", "release": " "}}, "metadata.yaml has no property 'release'", "set it: templater image set-property i release=VALUE"),
    ],
)  # fmt: skip
def test_an_image_without_a_required_value_is_refused_with_a_hint(facts, message, hint):
    valid = {"architecture": "x86_64", "creation_date": 1, "properties": {"os": "a", "release": "1"}}
    check_facts(Metadata(**valid), "i")
    assert failed(check_facts, Metadata(**{**valid, **facts}), "i") == (f"'i': {message}", hint)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (SQUASHFS, "squashfs"),
        (QCOW2, "disk-kvm.img"),
        (b"\x1f\x8b" + bytes(600), "root.tar.xz"),
        (bytes(1024), "root.tar.xz"),
    ],
)
def test_the_type_of_a_root_filesystem_comes_from_its_content(head, kind, tmp_path):
    (tmp_path / "root").write_bytes(head)
    assert root_ftype(f"{tmp_path}/root") == kind


@pytest.mark.parametrize(
    ("head", "message", "hint"),
    [
        (QCOW2[:8] + (200).to_bytes(8, "big") + (5).to_bytes(4, "big") + bytes(200) + b"/base", "is a qcow2 file that needs a backing file, which clients don't have", CONVERT),
        (b"QFI\xfb\0\0\0\3" + bytes(64) + (4).to_bytes(8, "big") + bytes(4000), "is a qcow2 file that needs an external data file, which clients don't have", CONVERT),
        (b"text", "is a text file", "a root filesystem is a squashfs file, a tarball or a qcow2 disk"),
    ],
)  # fmt: skip
def test_an_unusable_root_filesystem_is_refused(head, message, hint, tmp_path):
    path = f"{tmp_path}/root"
    (tmp_path / "root").write_bytes(head)
    assert failed(root_ftype, path) == (f"'{path}' {message}", hint)


def test_files_are_refused_if_they_do_not_form_exactly_one_image(tree, tmp_path):
    meta, root = split_image(tmp_path / "split")
    whole = unified_image(tmp_path / "unified")
    assert failed(add, tree, whole, [root]) == (
        f"'{whole}' already contains a root filesystem",
        "give only the image",
    )
    assert failed(add, tree, meta, []) == (
        f"'{meta}' is the metadata of a split image, without a root filesystem",
        "give both files: the metadata tarball, then the root filesystem",
    )
    assert failed(add, tree, meta, [root], split=True) == (
        f"'{meta}' is already a split image",
        "omit --split",
    )
    message = f"'{root}' is a second root filesystem of the type 'squashfs'"
    assert failed(add, tree, meta, [root, root]) == (message, "")


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "'f' is empty"), (b"[" * 100_000, "'f' is nested too deeply"), (b"{", "'f' is not valid JSON: ")],
)
def test_an_invalid_catalog_gives_a_message(data, message):
    assert failed(parse_json, data, "f")[0].startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "'{}' has no mapping at the top level"),
        ("a: {url: https://a}\n", "'{}': invalid remote 'a'"),
        ("a: {protocol: simplestreams}\n", "'{}': invalid remote 'a'"),
        ("a: {url: https://a, protocol: none}\n", "'{}': invalid remote 'a'"),
        ("a: {url: 1, protocol: simplestreams}\n", "'{}': invalid remote 'a'"),
        ("a: [url]\n", "'{}': invalid remote 'a'"),
        ("a: [\n", "'{}' is not valid YAML: "),
    ],
)
def test_an_invalid_list_of_remotes_gives_a_clear_message(text, message, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert _read_own() == {}
    os.makedirs(os.path.dirname(own_file()))
    with open(own_file(), "w") as file:
        file.write("a: {url: https://a, protocol: simplestreams}\n")
    assert list(_read_own()) == ["a"]
    with open(own_file(), "w") as file:
        file.write(text)
    assert failed(_read_own)[0].startswith(message.format(own_file()))


@pytest.fixture
def gpgv(tmp_path, monkeypatch):
    """Return a function that installs a fake program ``gpgv``, and the path of a keyring."""
    (tmp_path / "keys.gpg").write_bytes(b"")
    monkeypatch.setenv("PATH", str(tmp_path))

    def install(script):
        (tmp_path / "gpgv").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "gpgv").chmod(0o755)

    install.keyring = str(tmp_path / "keys.gpg")
    return install


def test_a_signature_needs_a_keyring_and_the_program_gpgv(gpgv):
    assert failed(Signatures("/none").verified_text, b"x", "f") == ("the keyring '/none' is not a file", "")
    assert failed(Signatures(gpgv.keyring).verified_text, b"x", "f") == (
        "--keyring needs the program 'gpgv'", "run: apt install gpgv",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("script", "message", "hint"),
    [
        ("echo no key >&2; exit 2", "'f' has no valid signature: no key", "the keyring must be binary: gpg --export KEY > keyring.gpg"),
        ("exit 1", "'f' has no valid signature: gpgv failed", "the keyring must be binary: gpg --export KEY > keyring.gpg"),
        ("exit 0", "'f' has no valid signature: gpgv failed", "the keyring must be binary: gpg --export KEY > keyring.gpg"),
        ("kill -XCPU $$", "gpgv needs more than 5 s of processor time for all signed files; the last file was 'f'", ""),
        ("while :; do :; done", "'f': gpgv did not end within 0.1 s", ""),
    ],
)  # fmt: skip
def test_an_invalid_signature_is_refused_with_the_last_line_of_gpgv(script, message, hint, gpgv, monkeypatch):
    if "while" in script:
        monkeypatch.setattr(signatures, "_WAIT", 0.1)
    gpgv(script)
    assert failed(Signatures(gpgv.keyring).verified_text, b"x", "f") == (message, hint)


def test_signed_text_comes_from_the_output_of_gpgv(gpgv):
    gpgv('test "$1 $3 $5" = "--homedir --keyring --output" || exit 3; echo signed > "$6"')
    assert Signatures(gpgv.keyring).verified_text(b"x", "f") == b"signed\n"
    assert signed_path("a/index.json") == signed_path("a/index.sjson") == "a/index.sjson"


@pytest.mark.slow
def test_all_signatures_share_one_limit_on_processor_time(gpgv, monkeypatch):
    """A mirror packed each of two hundred genuine signed texts behind gigabytes of compressed packets."""
    monkeypatch.setattr(signatures, "_SECONDS", 1)
    gpgv('i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; echo signed > "$6"')
    shared, checked = Signatures(gpgv.keyring), 0
    with pytest.raises(LimitError, match=r"^gpgv needs more than 1 s .* the last file was 'f'$"):
        for checked in range(200):
            shared.verified_text(b"x", "f")
    assert checked
    assert Signatures(gpgv.keyring).verified_text(b"x", "f") == b"signed\n"


def test_each_web_server_gets_rules_that_redirect_clients_to_the_origin():
    found = rules("https://h:8443/a")
    assert found == {
        "h_8443-a.nginx.conf": (
            "# nginx: include this file in the server block of the tree.\n"
            "location ^~ /h_8443/a/ {\n    rewrite ^/h_8443/a/(.*)$ https://h:8443/a/$1 redirect;\n}\n"
        ),
        "h_8443-a.caddy": (
            "# Caddy: import this file in the site block of the tree.\n"
            "handle_path /h_8443/a/* {\n    redir https://h:8443/a{uri} 302\n}\n"
        ),
        next(name for name in found if name.endswith(".json")): (
            '{\n  "redirects": [\n    {\n      "from": "/h_8443/a/",\n      "to": "https://h:8443/a/"\n    }\n  ]\n}\n'
        ),
    }


def test_an_unsuitable_origin_or_an_invalid_redirect_rule_is_refused(tmp_path):
    assert failed(prefix_of, "https://h/a b") == (
        "'https://h/a b' can't be written into a web server's configuration", "",
    )  # fmt: skip
    assert failed(file_stem, "https://index") == (
        "the products file of 'https://index' would get the reserved name 'index.json'",
        "",
    )
    path = f"{tmp_path}/rules.json"
    for text in (
        "[]",
        '{"redirects": [1]}',
        '{"redirects": [{"from": "a", "to": "https://h/"}]}',
        '{"redirects": [{"from": "/a/", "to": "https://h"}]}',
    ):
        (tmp_path / "rules.json").write_text(text)
        assert failed(read_rules, path) == (f"'{path}' has an invalid redirect rule", "")
    (tmp_path / "rules.json").write_text('{"redirects": []}')
    assert failed(read_rules, path) == (
        f"'{path}' has no redirect rules",
        "`templater streams reindex --redirect DIR` writes these rules",
    )
