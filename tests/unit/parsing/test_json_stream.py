"""JSON lists that arrive in pieces of any size."""

import io
import json

import pytest

from templater.model.errors import InputError, LimitError
from templater.parsing import json_stream
from templater.parsing.json_stream import JsonStream


def stream(text, piece=3, **options):
    data = io.BytesIO(text if isinstance(text, bytes) else text.encode())
    return JsonStream(lambda size: data.read(min(size, piece)), "list.json", **options)


def elements(text, piece=3, **options):
    found = stream(text, piece, **options)
    assert found.next_character() == "["
    return list(found.elements())


@pytest.mark.parametrize("piece", [1, 2, 5, 1000])
def test_a_list_is_read_in_pieces_of_any_size(piece):
    text = '\ufeff [ {"a": [1, 2.50, true, null, "é\U0001f600"]} ,"x\\n",[],\t{} ] \r\n'
    assert elements(text, piece) == [{"a": ["1", "2.50", True, None, "é\U0001f600"]}, "x\n", [], {}]
    assert elements("[]", piece) == []


@pytest.mark.parametrize("piece", [1, 2, 3, 4, 5, 6, 7, 1000])
def test_a_number_in_two_pieces_is_read_whole(piece):
    assert elements("[123456,-1.5e+10 , 1e5,0,1.25]", piece) == ["123456", "-1.5e+10", "1e5", "0", "1.25"]
    assert elements("[123456,-25.5e+1]", piece, decoder=json.JSONDecoder()) == [123456, -255.0]
    found = stream('{"a": 123456, "b": 12345', piece)
    assert found.member("b")
    assert found.value(0) == "12345"


def test_a_number_has_a_size_limit(monkeypatch):
    monkeypatch.setattr(json_stream, "LARGEST", 100)
    monkeypatch.setattr(json_stream, "_CHUNK", 1)
    with pytest.raises(LimitError, match=r"^instance 0 of list\.json is larger than 100 bytes$"):
        elements("[" + "1" * 1000, 1)


def test_numbers_are_decoded_to_texts_by_default():
    assert elements("[[1, 2.0, NaN]]") == [["1", "2.0", "NaN"]]
    assert elements("[[1, 2.0]]", decoder=json.JSONDecoder()) == [[1, 2.0]]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ('["a"] x', InputError, "list.json has more text after its list of images"),
        ('["a" "b"]', InputError, "not JSON: ',' expected after image 0 of list.json"),
        ('["a", "b"; "c"]', InputError, "not JSON: ',' expected after image 1 of list.json"),
        ('["a",]', InputError, "not JSON: image 1 of list.json: expecting value"),
        ("[", InputError, "not JSON: image 0 of list.json: expecting value"),
        ('["a", "b', InputError, "not JSON: image 1 of list.json: unterminated string starting at"),
        ('["a", [' + "[" * 200_000, LimitError, "image 1 of list.json is nested too deeply"),
    ],
)
def test_the_error_about_a_damaged_list_gives_the_position(text, error, message):
    with pytest.raises((InputError, LimitError)) as caught:
        elements(text, 1 << 20, noun="image")
    assert (type(caught.value), caught.value.message) == (error, message)


def test_a_number_with_too_many_digits_is_refused():
    with pytest.raises(InputError, match=r"^instance 1 of list\.json has a number that is too long$"):
        elements('["a", [' + "1" * 5000 + "]]", 1 << 20, decoder=json.JSONDecoder())


@pytest.mark.parametrize(("size", "fits"), [(99, True), (100, True), (101, True), (102, False)])
def test_an_element_has_a_size_limit(size, fits, monkeypatch):
    monkeypatch.setattr(json_stream, "LARGEST", 100)
    monkeypatch.setattr(json_stream, "_CHUNK", 1)
    text = json.dumps(["x" * (size - 2)])
    if fits:
        assert elements(text, 1) == ["x" * (size - 2)]
        return
    with pytest.raises(LimitError, match=r"^instance 0 of list\.json is larger than 100 bytes$"):
        elements(text, 1)


def test_the_rest_of_a_json_stream_is_returned_completely():
    for piece in (1, 2, 3, 100):
        found = stream("  é: \U0001f600é\xff", piece)
        assert found.next_character() == "é"
        assert found.rest(100) == "é: \U0001f600é\xff".encode()
    found = stream(b"ab\xffcd\xc3", 3)
    assert found.next_character() == "a"
    assert found.rest(100) == b"ab\xffcd\xc3"


@pytest.mark.parametrize("piece", [1, 4, 100])
def test_the_rest_of_json_streams_has_a_size_limit(piece):
    assert stream("abcdefgh", piece).rest(8) == b"abcdefgh"
    with pytest.raises(LimitError, match=r"^list\.json is larger than 7 bytes$"):
        stream("abcdefgh", piece).rest(7)


def test_half_of_a_surrogate_pair_in_json_is_replaced():
    assert elements('["\\ud800", "\\ud83d\\ude00", "a"]', 100) == ["\ufffd", "\U0001f600", "a"]


def test_a_member_is_found_in_pieces_of_any_size():
    for piece in (1, 2, 50):
        found = stream('{"a": {"b": [1]}, "c": "b", "b" : [ "x" ]}', piece)
        assert found.member("b")
        assert list(found.items()) == ["x"]
