"""Go's math.Pow. Python's power rounds differently, and a template can print the digits that differ.

The functions take the same steps as Go on amd64, with Go's exp and log (which use fused multiply-add).
"""

import math

from ..values import to_float


def power(a: object, b: object) -> float:
    """Return the result of pongo2's operator ``^``."""
    return power_of(to_float(a), to_float(b))


def power_of(x: float, y: float) -> float:
    """Return the result of math.Pow(x, y) in Go."""
    if y == 0.0 or x == 1.0:
        return 1.0
    if y == 1.0:
        return x
    if math.isnan(x) or math.isnan(y):
        return math.nan
    if x == 0.0:
        return _power_of_zero(x, y)
    if math.isinf(y):
        return _saturated(x, y)
    if math.isinf(x):
        return _power_of_infinity(x, y)
    if abs(y) == 0.5:
        return _square_root(x, y)
    return _finite_power(x, y)


def _is_odd(y: float) -> bool:
    return abs(y) < 2.0**53 and y == math.trunc(y) and int(y) % 2 == 1


def _power_of_zero(x: float, y: float) -> float:
    signed = math.copysign(1.0, x) < 0 and _is_odd(y)
    if y < 0:
        return -math.inf if signed else math.inf
    return x if signed else 0.0


def _power_of_infinity(x: float, y: float) -> float:
    if x < 0:
        return power_of(-0.0, -y)
    return 0.0 if y < 0 else math.inf


def _saturated(x: float, y: float) -> float:
    """Return the power for a very large or infinite exponent: 1, 0 or infinity."""
    if x == -1.0:
        return 1.0
    return 0.0 if (abs(x) < 1.0) == (y > 0) else math.inf


def _square_root(x: float, y: float) -> float:
    root = math.sqrt(x) if x > 0 else math.nan
    return root if y > 0 else 1.0 / root


def _finite_power(x: float, y: float) -> float:
    fraction, whole = math.modf(abs(y))
    if fraction and x < 0:
        return math.nan
    if whole >= 2.0**63:
        return _saturated(x, y)
    mantissa = 1.0
    if fraction:
        if fraction > 0.5:
            fraction -= 1.0
            whole += 1.0
        mantissa = _exp(fraction * _log(x))
    mantissa, exponent = _whole_power(x, int(whole), mantissa)
    if y < 0:
        mantissa, exponent = 1.0 / mantissa, -exponent
    try:
        return math.ldexp(mantissa, exponent)
    except OverflowError:
        return math.copysign(math.inf, mantissa)


def _whole_power(x: float, n: int, mantissa: float) -> "tuple[float, int]":
    """Return ``mantissa * x**n`` as a mantissa and the exponent of a power of two."""
    exponent = 0
    base, base_exponent = math.frexp(x)
    # Go squares in the same steps, so the rounding is the same.
    while n:
        if abs(base_exponent) > 1 << 12:  # Stop: no float has an exponent this large or small.
            return mantissa, exponent + base_exponent
        if n & 1:
            mantissa *= base
            exponent += base_exponent
        base *= base
        base_exponent *= 2
        if base < 0.5:
            base += base
            base_exponent -= 1
        n >>= 1
    return mantissa, exponent


# Go computes log(x) like FreeBSD's e_log.c: it finds k and a small f such that x = 2**k * (1 + f).
# Go then approximates log(1 + f) by a minimax polynomial in s = f / (2 + f).
_LOG_ODD = (
    1.479819860511658591e-01,
    1.818357216161805012e-01,
    2.857142874366239149e-01,
    6.666666666666735130e-01,
)
_LOG_EVEN = (1.531383769920937332e-01, 2.222219843214978396e-01, 3.999999999940941908e-01)
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10


def _log(x: float) -> float:
    f, k = math.frexp(x)
    if x < 2.0**-1022:  # On amd64, Go treats a subnormal number like a normalised number.
        f, k = 0.5 + math.ldexp(x, 1021), -1022
    if f <= math.sqrt(0.5):
        f, k = f * 2.0, k - 1
    f -= 1.0
    s = f / (2.0 + f)
    s2 = s * s
    s4 = s2 * s2
    rest = s2 * _polynomial(_LOG_ODD, s4) + s4 * _polynomial(_LOG_EVEN, s4)
    half = 0.5 * f * f
    return k * _LN2_HIGH - ((half - (s * (half + rest) + k * _LN2_LOW)) - f)


def _polynomial(coefficients: "tuple[float, ...]", x: float) -> float:
    value = coefficients[0]
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value


# Go computes exp(x) as in N. Shibata, "Efficient evaluation methods of elementary functions".
# Subtract a multiple of ln 2 from x, divide by 16, evaluate the series of e**x - 1, and square four times.
_LN2_UPPER = 0.69314718055966295651160180568695068359375
_LN2_LOWER = 0.28235290563031577122588448175013436025525412068e-12
_SERIES = tuple(1 / math.factorial(n) for n in range(8, 0, -1))


def _exp(x: float) -> float:
    k = float(round(x * (1 / math.log(2))))
    x = _fused(-k, _LN2_LOWER, _fused(-k, _LN2_UPPER, x)) * 0.0625
    value = _SERIES[0]
    for coefficient in _SERIES[1:]:
        value = _fused(x, value, coefficient)
    x *= value
    for _ in range(3):
        x *= x + 2.0
    return math.ldexp(_fused(x + 2.0, x, 1.0), int(k))


def _fused(a: float, b: float, c: float) -> float:
    """Return ``a * b + c``, rounded only once.

    The exact result is a fraction of two integers. Python rounds the quotient of two integers correctly.
    """
    (an, ad), (bn, bd), (cn, cd) = a.as_integer_ratio(), b.as_integer_ratio(), c.as_integer_ratio()
    return (an * bn * cd + cn * ad * bd) / (ad * bd * cd)
