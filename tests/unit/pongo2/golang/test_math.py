"""Powers, as Go rounds them; the digits were recorded with pongo2 4.0.2."""

import math

import pytest

from templater.pongo2.golang.math import power


@pytest.mark.parametrize(
    ("base", "exponent", "result"),
    [
        (2.0, 3.0, 8.0),
        (7.0, 30.0, 22539340290692256497434624.0),
        (0.1, 3.0, 0.0010000000000000002),  # C: 0.001
        (2.0, -1.0, 0.5),
        (2.0, 0.5, math.sqrt(2)),
        (2.0, 1024.0, math.inf),
        (2.0, -1080.0, 0.0),
        (-2.0, 3.0, -8.0),
        (0.0, -1.0, math.inf),
        (-0.0, -1.0, -math.inf),
        (0.0, 0.0, 1.0),
        (-0.0, 3.0, -0.0),
        (-math.inf, 3.0, -math.inf),
        (-math.inf, 2.0, math.inf),
        (math.inf, -1.0, 0.0),
        (-1.0, math.inf, 1.0),
        (0.5, math.inf, 0.0),
        (0.5, -math.inf, math.inf),
        (1.5, 1e19, math.inf),
        (-3.0, 1e300, math.inf),
        (1.0, math.nan, 1.0),
    ],
)
def test_powers_of_floats_are_the_same_as_in_the_go_language(base, exponent, result):
    assert str(power(base, exponent)) == str(result)


def test_power_operands_are_converted_to_floats():
    assert power(2, "3") == 8.0
    assert power(None, [1]) == 1.0


@pytest.mark.parametrize(("base", "exponent"), [(-8.0, 1 / 3), (-2.0, 0.5), (math.nan, 2.0), (2.0, math.nan)])
def test_powers_without_a_real_result_are_nan(base, exponent):
    assert math.isnan(power(base, exponent))


@pytest.mark.parametrize(
    ("base", "exponent", "result"),
    [
        (2.0, 0.3, 1.2311444133449163),
        (0.3, 1.7, 0.12915348607498026),
        (123.456, -2.6, 3.648112946804136e-06),
        (1e21, 1.5, 3.162277660168377e31),
        (5e-324, 0.25, 1.0270193092081002e-77),
        (10.0, 2.75, 562.3413251903492),
    ],
)
def test_fractional_powers_equal_those_of_the_go_language_to_the_last_bit(base, exponent, result):
    assert power(base, exponent) == result


def test_fractional_powers_are_close_to_the_c_library():
    for base in (0.3, 2.0, 123.456, 1e10):
        for exponent in (0.3, 1.7, -2.6, 10.25):
            assert math.isclose(power(base, exponent), base**exponent, rel_tol=1e-14)
