"""pongo2's operators: arithmetic, comparison and membership, with Go's types and results."""

from .values import (
    MAX_INT,
    MIN_INT,
    Byte,
    Failure,
    NilPointer,
    Panic,
    Safe,
    Struct,
    gotype,
    grow,
    has_bytes,
    recombine,
    to_bytes,
    to_float,
    to_int,
    to_string,
    truthy,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_INFINITY = float("inf")


def wrap64(n: int) -> int:
    if MIN_INT <= n <= MAX_INT:
        return n
    return ((n - MIN_INT) & 0xFFFFFFFFFFFFFFFF) + MIN_INT


def add_v4(a: object, b: object) -> "int | float":
    if type(a) is int and type(b) is int:
        return wrap64(a + b)
    if type(a) is float or type(b) is float:
        return to_float(a) + to_float(b)
    return wrap64(to_int(a) + to_int(b))


def add_v6(a: object, b: object) -> "int | float | str":
    """Apply ``+``. Since pongo2 v5, this operator also joins texts."""
    if isinstance(a, str) or isinstance(b, str):
        return concat(to_string(a), to_string(b))
    return add_v4(a, b)


def concat(a: str, b: str) -> str:
    grow(len(a) + len(b))
    return recombine(a + b)


def sub(a: object, b: object) -> "int | float":
    if type(a) is float or type(b) is float:
        return to_float(a) - to_float(b)
    return wrap64(to_int(a) - to_int(b))


def mul(a: object, b: object) -> "int | float":
    if type(a) is float or type(b) is float:
        return to_float(a) * to_float(b)
    return wrap64(to_int(a) * to_int(b))


def div(a: object, b: object) -> "int | float":
    if type(a) is float or type(b) is float:
        return divide_floats(to_float(a), to_float(b))
    x, y = to_int(a), _divisor(b)
    quotient = abs(x) // abs(y)
    return wrap64(quotient if (x < 0) == (y < 0) else -quotient)


def divide_floats(x: float, y: float) -> float:
    """Divide as IEEE 754 defines: a division by zero gives an infinity or NaN."""
    if y:
        return x / y
    if not (x > 0 or x < 0):
        return _INFINITY - _INFINITY
    return _INFINITY if (x > 0) == (str(y)[0] != "-") else -_INFINITY


def mod(a: object, b: object) -> int:
    x, y = to_int(a), _divisor(b)
    rest = abs(x) % abs(y)
    return -rest if x < 0 else rest


def _divisor(b: object) -> int:
    y = to_int(b)
    if y == 0:
        raise Panic("runtime error: integer divide by zero")
    return y


def negative(v: object) -> "int | float":
    """Apply unary minus."""
    if type(v) is float:
        return -1 * v
    if type(v) is int or type(v) is Byte:
        return wrap64(-v)
    raise Failure("Negative sign on a non-number expression")


def negate(v: object) -> "bool | int | float":
    """Apply the operator ``not``. As in pongo2, ``not`` of a number is a number: ``not 0.0`` is 1.1."""
    t = type(v)
    if t is bool:
        return not v
    if t is int or t is Byte:
        return 0 if v else 1
    if t is float:
        return 0.0 if v else 1.1
    return not truthy(v)


# --- equality, order, membership


def equal(a: object, b: object) -> bool:
    """Return whether two values are equal as Go compares interface values: by dynamic type and by value.

    Integers are compared by value only. Raises Panic for types that Go cannot compare, such as lists.
    """
    ta = type(a)
    if ta is type(b) and (ta is str or ta is int or ta is bool or ta is float or a is None):
        return a == b
    return _equal_slowly(a, b)


def _equal_slowly(a: object, b: object) -> bool:
    if isinstance(a, int) and isinstance(b, int):
        return type(a) is not bool and type(b) is not bool and a == b
    if isinstance(a, Struct) and isinstance(b, Struct) and a.instant is not None and b.instant is not None:
        return a.instant == b.instant
    if a is None or b is None:
        return a is b
    name = gotype(a)
    if name != gotype(b):
        return False
    if isinstance(a, str):
        return str(a) == str(b)
    if isinstance(a, NilPointer):
        return isinstance(b, NilPointer)
    if isinstance(a, Struct) and a.pointer:
        return a is b
    raise Panic(f"runtime error: comparing uncomparable type {name}")


def less(a: object, b: object) -> bool:
    if type(a) is int and type(b) is int:
        return a < b
    if type(a) is float or type(b) is float:
        return to_float(a) < to_float(b)
    x, y = _orderable(a, b)
    return x < y


def less_or_equal(a: object, b: object) -> bool:
    if type(a) is int and type(b) is int:
        return a <= b
    if type(a) is float or type(b) is float:
        return to_float(a) <= to_float(b)
    x, y = _orderable(a, b)
    return x <= y


def greater(a: object, b: object) -> bool:
    return less(b, a)


def greater_or_equal(a: object, b: object) -> bool:
    return less_or_equal(b, a)


def _orderable(a: object, b: object) -> "tuple[tuple[int, int], tuple[int, int]]":
    if isinstance(a, Struct) and isinstance(b, Struct) and a.instant is not None and b.instant is not None:
        return a.instant, b.instant
    return (to_int(a), 0), (to_int(b), 0)


def contains(item: object, container: object) -> bool:
    """Return the result of ``item in container``. For a struct, ``item`` is the name of a field."""
    if isinstance(container, str):
        return _contains_text(container, to_string(item))
    if isinstance(container, dict):
        return _contains_key(container, item)
    if isinstance(container, list):
        return any(equal(item, element) for element in container)
    if isinstance(container, Struct):
        return container.has(to_string(item))
    return False


def _contains_text(text: str, part: str) -> bool:
    if part.isascii() or not has_bytes(part):
        return part in text
    return to_bytes(part) in to_bytes(text)


def _contains_key(container: "dict[Any, Any]", item: object) -> bool:
    if type(item) is int:
        raise Panic("reflect.Value.MapIndex: value of type int is not assignable to type string")
    return type(item) in (str, Safe) and item in container
