"""The record of written files: limits, and what counts as damaged."""

import pytest

from templater.instances import written_files
from templater.instances.written_files import WrittenFile, decode, encode, text_of


def files(count, keys=0):
    names = tuple(f"k{number}" for number in range(keys))
    return {f"/{n}": WrittenFile(f"/{n}", f"/{n}", "d", 1, 2, 0o640, "t", "e", names) for n in range(count)}


def fields(found):
    return [[getattr(each, name) for name in WrittenFile.__slots__] for each in found.values()]


@pytest.mark.parametrize(("count", "keys"), [(0, 0), (1, 0), (2, 1), (2, 3)])
def test_decoding_an_encoded_record_gives_the_same_files(count, keys):
    given = files(count, keys)
    assert fields(decode(text_of(encode(given)))) == fields(given)


def test_a_record_with_more_files_or_keys_than_the_limits_is_damaged(monkeypatch):
    monkeypatch.setattr(written_files, "MAX_FILES", 2)
    monkeypatch.setattr(written_files, "MAX_KEYS", 4)
    assert text_of(encode(files(2))) and not text_of(encode(files(3)))
    assert text_of(encode(files(1, 5))) and not text_of(encode(files(1, 6)))


@pytest.mark.parametrize(
    "text",
    ["\0a", "a\0", "\0" * 7, "\0" * 9, "\0/a\0/a\0d\0x 0 644\0t\0e\0\0", "\0/a\0/a\0d\x000 0 9\0t\0e\0\0", "\0/a\0/a\0d\x000 644\0t\0e\0\0"],
)  # fmt: skip
def test_the_text_of_a_record_with_invalid_fields_is_not_decoded(text):
    assert decode(text) is None
    assert decode("") == {}


def test_a_record_whose_digest_or_first_line_differs_is_damaged():
    data = encode(files(1))
    assert text_of(data)
    assert not text_of(data + b"x") and not text_of(data[:-1]) and not text_of(data[1:])
