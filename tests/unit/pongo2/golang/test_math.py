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
def test_fractional_powers_equal_go_powers_to_the_last_bit(base, exponent, result):
    assert power(base, exponent) == result


def test_fractional_powers_are_close_to_the_c_library():
    for base in (0.3, 2.0, 123.456, 1e10):
        for exponent in (0.3, 1.7, -2.6, 10.25):
            assert math.isclose(power(base, exponent), base**exponent, rel_tol=1e-14)


EXPONENTS = "0 -0 1 -1 2 -2 3 -3 0.5 -0.5 0.25 +Inf -Inf NaN 9.007199254740991e+15 -9.007199254740991e+15 9.007199254740992e+15 9.007199254740992e+15 1e+300 -1e+300"


@pytest.mark.parametrize(
    ("base", "results"),
    [
        ("0", "1 1 0 +Inf 0 +Inf 0 +Inf 0 +Inf 0 0 +Inf NaN 0 +Inf 0 0 0 +Inf"),
        ("-0", "1 1 -0 -Inf 0 +Inf -0 -Inf 0 +Inf 0 0 +Inf NaN -0 -Inf 0 0 0 +Inf"),
        ("1", "1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"),
        ("-1", "1 1 -1 -1 1 1 -1 -1 NaN NaN NaN 1 1 NaN -1 -1 1 1 1 1"),
        ("2", "1 1 2 0.5 4 0.25 8 0.125 1.4142135623730951 0.7071067811865475 1.189207115002721 +Inf 0 NaN +Inf 0 +Inf +Inf +Inf 0"),
        ("-2", "1 1 -2 -0.5 4 0.25 -8 -0.125 NaN NaN NaN +Inf 0 NaN -Inf -0 +Inf +Inf +Inf 0"),
        ("0.5", "1 1 0.5 2 0.25 4 0.125 8 0.7071067811865476 1.414213562373095 0.8408964152537145 0 +Inf NaN 0 +Inf 0 0 0 +Inf"),
        ("-0.5", "1 1 -0.5 -2 0.25 4 -0.125 -8 NaN NaN NaN 0 +Inf NaN -0 -Inf 0 0 0 +Inf"),
        ("+Inf", "1 1 +Inf 0 +Inf 0 +Inf 0 +Inf 0 +Inf +Inf 0 NaN +Inf 0 +Inf +Inf +Inf 0"),
        ("-Inf", "1 1 -Inf -0 +Inf 0 -Inf -0 +Inf 0 +Inf +Inf 0 NaN -Inf -0 +Inf +Inf +Inf 0"),
        ("NaN", "1 1 NaN NaN NaN NaN NaN NaN NaN NaN NaN NaN NaN NaN NaN NaN NaN NaN NaN NaN"),
    ],
)  # fmt: skip
def test_powers_of_special_numbers_match_the_results_recorded_from_go(base, results):
    found = [power(float(base), float(exponent)) for exponent in EXPONENTS.split()]
    assert list(map(str, found)) == [str(float(result)) for result in results.split()]
