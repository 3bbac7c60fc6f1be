"""Windows line endings: at the start of a template, and in files that tolerate them."""

import pytest

from tests.checks.authoring.authoring_builders import file, findings


@pytest.mark.parametrize(
    ("path", "text", "place"),
    [
        ("/etc/hosts", "\r\n127.0.0.1 a\n", "1:1"), ("/etc/hosts", "127.0.0.1 a\r\n", "1:12"),
        ("/etc/motd", "\r\na\r\n", ""), ("/etc/motd", "#!/bin/sh\r\n", "1:10"), ("/etc/hosts", "127.0.0.1 a\n", ""),
    ],
)  # fmt: skip
def test_only_the_first_windows_line_ending_is_reported(path, text, place):
    found = [place for _, check, place in findings(file(path, text)) if check == "crlf"]
    assert found == ([f"image/templates/t:{place}"] if place else [])
