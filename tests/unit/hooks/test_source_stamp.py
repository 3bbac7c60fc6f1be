"""The digest of the sources that determine the compiled code."""

from pathlib import Path

import templater
from templater.hooks.source_stamp import SOURCES, sources, stamp_of

PACKAGE = Path(templater.__file__).parent


def test_the_source_digest_covers_every_python_file_but_no_compiled_file():
    expected = {
        str(path)
        for name in SOURCES
        for path in ([PACKAGE / name] if name.endswith(".py") else (PACKAGE / name).rglob("*.py"))
    }
    found = sources()
    assert sorted(path for path, _, _ in found) == sorted(expected)
    assert str(PACKAGE / "pongo2/filters/text.py") in expected
    for path, age, size in found:
        status = Path(path).stat()
        assert (age, size) == (status.st_mtime_ns, status.st_size)


def test_the_digest_depends_on_name_and_time_and_size():
    stamps = {stamp_of([file]) for file in (("a", 1, 2), ("b", 1, 2), ("a", 2, 2), ("a", 1, 1))}
    assert len(stamps) == 4
    assert stamp_of([("a", 1, 2)]) in stamps
