"""Go's math.Pow, whose rounding differs from C's: powers print all their digits.

Integral exponents give Go's bits exactly. Fractional ones go through the platform's exp and log, as
Go's go through its own: there the last bit may differ.
"""

import math


def power(x: float, y: float) -> float:
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
        return power(-0.0, -y)
    return 0.0 if y < 0 else math.inf


def _saturated(x: float, y: float) -> float:
    """Exponents so large that only the size of the base decides."""
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
        mantissa = math.exp(fraction * math.log(x))
    mantissa, exponent = _whole_power(x, int(whole), mantissa)
    if y < 0:
        mantissa, exponent = 1.0 / mantissa, -exponent
    try:
        return math.ldexp(mantissa, exponent)
    except OverflowError:
        return math.copysign(math.inf, mantissa)


def _whole_power(x: float, n: int, mantissa: float) -> "tuple[float, int]":
    """``mantissa * x**n`` as a mantissa and a power of two, by squaring, as Go rounds it."""
    exponent = 0
    base, base_exponent = math.frexp(x)
    while n:
        if abs(base_exponent) > 1 << 12:  # over- or underflows whatever follows
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
