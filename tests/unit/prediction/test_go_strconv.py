"""Numbers as Go's ParseInt(text, 10, 64) reads them; recorded with Go 1.24."""

import pytest

from templater.prediction.errno_errors import Fails
from templater.prediction.go_strconv import go_decimal, parse_error


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0), ("7", 7), ("+5", 5), ("-5", -5), ("-0", 0), ("007", 7), ("0" * 5000 + "1", 1),
        ("9223372036854775807", 9223372036854775807), ("-9223372036854775808", -9223372036854775808),
    ],
)  # fmt: skip
def test_a_decimal_number_is_read_as_in_go(text, number):
    assert go_decimal(text, "Bad UID") == number


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *(
            (text, "invalid syntax")
            for text in ("", "x", "+", "--1", "0x1", "1_0", "1 ", " 1", "1.0", "\u0663")
        ),
        *(
            (text, "value out of range")
            for text in ("9223372036854775808", "-9223372036854775809", "1" * 20, "-" + "1" * 5000)
        ),
    ],
)
def test_an_invalid_decimal_number_fails_with_the_error_of_go(text, reason):
    shown = f'strconv.ParseInt: parsing "{text}": {reason}'
    with pytest.raises(Fails) as caught:
        go_decimal(text, "Bad UID")
    assert str(caught.value) == f"Bad UID: {shown}"
    assert parse_error(text) == shown
