"""Go's values, compared case by case with the tables of the specification."""

import math
import subprocess
import sys

import pytest

from templater.pongo2 import values
from templater.pongo2.operators import (
    add_v4,
    add_v6,
    contains,
    div,
    equal,
    greater,
    greater_or_equal,
    less,
    less_or_equal,
    mod,
    mul,
    negate,
    negative,
    sub,
    wrap64,
)
from templater.pongo2.values import (
    MAX_INT,
    MIN_INT,
    NO_LOOP,
    Block,
    Byte,
    CycleValue,
    Failure,
    ForLoop,
    Function,
    GoList,
    GoMap,
    MethodMap,
    NamedString,
    Panic,
    Safe,
    Struct,
    TooLarge,
    get_field,
    get_index,
    gotype,
    iterate,
    kind,
    length,
    recombine,
    subscript,
    to_float,
    to_int,
    to_string,
    truthy,
)

NAN = math.nan
INF = math.inf
TRIGGER = NamedString("create")


@pytest.mark.parametrize(
    ("value", "text", "integer", "number", "truth", "size"),
    [
        (None, "", 0, 0.0, False, 0),
        (True, "True", 0, 0.0, True, 0),
        (False, "False", 0, 0.0, False, 0),
        (5, "5", 5, 5.0, True, 0),
        (0, "0", 0, 0.0, False, 0),
        (Byte(119), "119", 119, 119.0, True, 0),
        (2.5, "2.500000", 2, 2.5, True, 0),
        (-0.0, "-0.000000", 0, 0.0, False, 0),
        (1e21, "1000000000000000000000.000000", MIN_INT, 1e21, True, 0),
        (INF, "+Inf", MIN_INT, INF, True, 0),
        (-INF, "-Inf", MIN_INT, -INF, True, 0),
        ("", "", 0, 0.0, False, 0),
        ("0", "0", 0, 0.0, True, 1),
        ("3.75", "3.75", 3, 3.75, True, 4),
        ("é日", "é日", 0, 0.0, True, 2),
        (TRIGGER, "create", 0, 0.0, True, 6),
        (Safe("<b>"), "<b>", 0, 0.0, True, 3),
        ([], "<[]interface {} Value>", 0, 0.0, False, 0),
        (["a"], "<[]string Value>", 0, 0.0, True, 1),
        ([1, 2], "<[]int Value>", 0, 0.0, True, 2),
        ([1.5], "<[]float64 Value>", 0, 0.0, True, 1),
        ([True], "<[]bool Value>", 0, 0.0, True, 1),
        ([1, 1.5], "<[]interface {} Value>", 0, 0.0, True, 2),
        ({}, "<map[string]interface {} Value>", 0, 0.0, False, 0),
        ({"a": "b"}, "<map[string]string Value>", 0, 0.0, True, 1),
        ({"a": 1}, "<map[string]interface {} Value>", 0, 0.0, True, 1),
        (GoMap({}), "<map[string]string Value>", 0, 0.0, False, 0),
        (GoList((), "[]string"), "<[]string Value>", 0, 0.0, False, 0),
        (ForLoop([-1]), "<pongo2.tagForLoopInformation Value>", 0, 0.0, True, 0),
        (Block(str), "<pongo2.tagBlockInformation Value>", 0, 0.0, True, 0),
        (CycleValue("odd"), "odd", 0, 0.0, True, 0),
        (NO_LOOP, "", 0, 0.0, False, 0),
    ],
)
def test_values_become_texts_and_numbers_as_in_go(value, text, integer, number, truth, size):
    assert to_string(value) == text
    assert type(to_string(value)) is str
    assert to_int(value) == integer
    assert to_float(value) == number
    assert truthy(value) is truth
    assert length(value) == size


def test_the_number_nan_is_true_and_is_printed():
    assert truthy(NAN)
    assert to_string(NAN) == "NaN"
    assert to_int(NAN) == MIN_INT


def test_a_negative_zero_keeps_its_sign():
    assert str(to_float("-0")) == "-0.0"


def test_an_integer_in_a_text_is_parsed_as_a_float():
    assert to_int("9007199254740993") == 9007199254740992


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (5, 5, True),
        (5, 5.0, False),
        ("1", 1, False),
        (True, 1, False),
        (1, True, False),
        (None, None, True),
        (None, "", False),
        (None, False, False),
        (NAN, NAN, False),
        (Byte(5), 5, True),
        (Safe("a"), "a", True),
        (TRIGGER, "create", False),
        (TRIGGER, NamedString("create"), True),
        ([1], ["a"], False),
        ([], {}, False),
        ([1], None, False),
        (NO_LOOP, None, False),
        (NO_LOOP, NO_LOOP, True),
        (ForLoop([0]), ForLoop([0]), False),
        (CycleValue("a"), "a", False),
        (ForLoop([0]), NO_LOOP, False),
    ],
)
def test_values_are_compared_for_equality_as_in_the_go_language(a, b, same):
    assert equal(a, b) is same
    assert equal(b, a) is same


def test_a_go_pointer_equals_itself():
    loop = ForLoop([0])
    assert equal(loop, loop)


@pytest.mark.parametrize(
    ("a", "b", "name"),
    [
        ([1], [2], "[]int"),
        ([], [None], "[]interface {}"),
        ({"a": "b"}, GoMap({}), "map[string]string"),
        (Struct("config.DeviceNamed"), Struct("config.DeviceNamed"), "config.DeviceNamed"),
    ],
)
def test_comparing_two_lists_or_maps_of_one_type_panics(a, b, name):
    with pytest.raises(Panic, match="comparing uncomparable type") as caught:
        equal(a, b)
    assert caught.value.message.endswith(name)


@pytest.mark.parametrize(
    ("a", "b", "before"),
    [
        (1, 2, True),
        ("a", "b", False),
        ("2", "10", True),
        ("10", "9", False),
        ("1.5", 2, True),
        ("3.75", 3, False),
        (3, "3.75", False),
        (None, 1, True),
        (1.5, 2, True),
        (1, 1.5, True),
        (True, 1, True),
        (NAN, 1.0, False),
    ],
)
def test_values_are_ordered_as_in_the_go_language(a, b, before):
    assert less(a, b) is before
    assert greater(b, a) is before


def test_every_less_or_greater_comparison_with_nan_is_false():
    assert not any(order(NAN, 1) for order in (less, less_or_equal, greater, greater_or_equal))


@pytest.mark.parametrize(
    ("item", "container", "found"),
    [
        (1, "123", True),
        (None, "abc", True),
        (True, "xTruex", True),
        ("\udcc3", "é", True),
        (2, [1, 2], True),
        (2.0, [1, 2], False),
        ("a", {"a": 1}, True),
        (True, {"a": 1}, False),
        (TRIGGER, {"create": 1}, False),
        (Safe("a"), {"a": 1}, True),
        ("x", TRIGGER, False),
        ("eat", TRIGGER, True),
        ("Counter", ForLoop([0]), True),
        ("value", CycleValue("a"), True),
        ("nope", ForLoop([0]), False),
        (1, 123, False),
        (1, None, False),
    ],
)
def test_membership_is_tested_as_in_the_go_language(item, container, found):
    assert contains(item, container) is found


def test_an_invalid_membership_test_panics_as_in_the_go_language():
    with pytest.raises(Panic, match="MapIndex"):
        contains(5, {"5": 1})
    with pytest.raises(Panic, match="uncomparable"):
        contains([1], [[1]])


@pytest.mark.parametrize(
    ("value", "backwards", "ordered", "items"),
    [
        (["b", "a"], False, False, ["b", "a"]),
        (["b", "a"], True, False, ["a", "b"]),
        (["b", "a", "c"], False, True, ["a", "b", "c"]),
        (["b", "a", "c"], True, True, ["c", "b", "a"]),
        (["10", "9"], False, True, ["10", "9"]),
        ([10, 9], False, True, [9, 10]),
        ([True, False], False, True, [False, True]),
        ([2, "a", 1], False, True, [2, "a", 1]),  # behind an interface all compare equal
        ([2, 1.5], False, True, [2, 1.5]),
        ("hé", False, False, ["h", "\udcc3", "\udca9"]),
        ("ab", True, False, ["b", "a"]),
        ("", False, False, []),
        (5, False, False, []),
        (None, False, False, []),
        (["\udcff", "\U0001f600"], False, True, ["\U0001f600", "\udcff"]),
    ],
)
def test_values_are_iterated_as_in_the_go_language(value, backwards, ordered, items):
    assert iterate(value, backwards, ordered) == (items, None)


def test_a_map_loop_ignores_the_reversed_keyword_without_the_sorted_keyword():
    assert iterate({"b": 1, "a": 2}) == (["a", "b"], [2, 1])
    assert iterate({"b": 1, "a": 2}, True) == (["a", "b"], [2, 1])
    assert iterate({"b": 1, "a": 2}, True, True) == (["b", "a"], [1, 2])


def test_sorting_a_string_panics():
    for text in ("abc", ""):
        with pytest.raises(Panic, match="handle sort for type string"):
            iterate(text, False, True)


@pytest.mark.parametrize(
    ("operator", "a", "b", "result"),
    [
        (add_v4, 1, 2, 3),
        (add_v4, "1", 1, 2),
        (add_v4, "a", "b", 0),
        (add_v6, "1", 1, "11"),
        (add_v6, None, "x", "x"),
        (add_v6, 1, 1.5, 2.5),
        (add_v6, True, 1, 1),
        (add_v4, MAX_INT, 1, MIN_INT),
        (sub, MIN_INT, 1, MAX_INT),
        (mul, "3", "4", 12),
        (mul, "1.5", 2, 2),
        (mul, "1.5", 2.0, 3.0),
        (mul, MAX_INT, 2, -2),
        (div, -7, 2, -3),
        (div, 7, -2, -3),
        (div, MIN_INT, -1, MIN_INT),
        (div, 1.0, 0, INF),
        (div, -1, 0.0, -INF),
        (div, 1, -0.0, -INF),
        (mod, -7, 3, -1),
        (mod, 7, -3, 1),
        (mod, 7.9, 4, 3),
    ],
)
def test_each_operator_gives_the_result_of_its_dialect(operator, a, b, result):
    assert operator(a, b) == result
    assert type(operator(a, b)) is type(result)


def test_zero_divided_by_zero_is_nan():
    assert math.isnan(div(0.0, 0))


@pytest.mark.parametrize("operator", [div, mod])
def test_dividing_an_integer_by_zero_panics(operator):
    with pytest.raises(Panic, match="integer divide by zero"):
        operator(1, None)


def test_joining_the_two_bytes_of_a_character_gives_the_character():
    assert add_v6("\udcc3", "\udca9") == recombine("\udcc3\udca9") == "é"


def test_an_operator_refuses_to_build_a_text_beyond_the_limit():
    half = "x" * (values.MAX // 2 + 1)
    with pytest.raises(TooLarge):
        add_v6(half, half)


@pytest.mark.parametrize(
    ("value", "result"),
    [(5, 0), (0, 1), (2.5, 0.0), (0.0, 1.1), ("", True), ("a", False), ([], True), (True, False), (None, True),
     (Byte(0), 1), (CycleValue(""), False), (NO_LOOP, True)],
)  # fmt: skip
def test_unary_minus_keeps_the_go_type_of_its_operand(value, result):
    assert negate(value) == result
    assert type(negate(value)) is type(result)


def test_a_minus_sign_requires_a_number():
    assert negative(5) == -5
    assert negative(MIN_INT) == MIN_INT
    assert negative(Byte(5)) == -5
    for value in (True, None, "5", [1]):
        with pytest.raises(Failure, match="Negative sign on a non-number expression"):
            negative(value)


@pytest.mark.parametrize("n", [0, MAX_INT, MIN_INT, MAX_INT + 1, MIN_INT - 1, 3 << 64, -(5 << 63) - 7])
def test_integers_wrap_to_64_bits(n):
    assert MIN_INT <= wrap64(n) <= MAX_INT
    assert (wrap64(n) - n) % (1 << 64) == 0


def test_map_and_struct_fields_are_read_as_in_go():
    device = MethodMap(
        {"type": "nic", "Clone": "a key"}, "config.Device", {"Clone": lambda v: Function(v.copy)}
    )
    assert get_field({"a": 1}, "a") == 1
    assert get_field({"a": 1}, "b") is None
    assert get_field(device, "type") == "nic"
    assert get_field(device, "Clone").call() == device
    assert get_field(ForLoop([2], 3), "Counter") == 3
    assert get_field(ForLoop([2], 3), "counter") is None
    assert get_field(NO_LOOP, "Counter") is None
    assert get_field(Block(str), "Super").call is str


@pytest.mark.parametrize(
    ("value", "name"),
    [("a", "string"), (5, "int"), (Byte(5), "uint8"), (1.5, "float64"), (True, "bool"), ([], "slice")],
)
def test_numbers_and_texts_have_no_fields(value, name):
    with pytest.raises(Failure, match=f"can't access a field by name on type {name}$"):
        get_field(value, "x")


def test_reading_an_unexported_go_field_panics():
    with pytest.raises(Panic, match="unexported"):
        get_field(CycleValue("a"), "value")


def test_an_index_returns_a_list_item_or_text_byte():
    assert get_index([1, 2], 1) == 2
    assert get_index([1, 2], 2) is None
    assert get_index("wé", 0) == 119
    assert get_index("wé", 1) == 0xC3
    assert gotype(get_index("wé", 0)) == "uint8"
    assert get_index("wé", 3) is None
    for value, name in (({"0": 1}, "map"), (5, "int"), (ForLoop([0]), "struct")):
        with pytest.raises(Failure, match=f"can't access an index on type {name}$"):
            get_index(value, 0)


@pytest.mark.parametrize(
    ("value", "key", "result"),
    [
        ([1, 2], 1, 2),
        ([1, 2], "zz", 1),
        ([1, 2], None, 1),
        ([1, 2], 1.9, 2),
        ([1, 2], -1, None),
        ([1, 2], 9, None),
        ("ab", 1, 98),
        ({"a": 1}, "a", 1),
        ({"1": 1}, 1, None),
        ({"create": 1}, TRIGGER, None),
        (ForLoop([0], 2), "Counter", 1),
        (None, "a", None),
    ],
)
def test_a_subscript_returns_an_item_or_none(value, key, result):
    assert subscript(value, key) == result


def test_an_invalid_subscript_panics_as_in_the_go_language():
    with pytest.raises(Panic, match="zero Value"):
        subscript({"a": 1}, None)
    with pytest.raises(Panic, match="unimplemented"):
        subscript(5, 0)


def loop_fields(loop):
    return [get_field(loop, name) for name in values.LOOP_FIELDS[:6]]


def test_the_forloop_counters_change_with_each_iteration():
    cell = [-1]
    loop = ForLoop(cell, 2)
    assert loop_fields(loop) == [0, 0, 0, 0, True, False]
    cell[0] = 0
    assert loop_fields(loop) == [1, 0, 2, 1, True, False]
    cell[0] = 1
    assert loop_fields(loop) == [2, 1, 1, 0, False, True]


def test_the_forloop_counters_count_down_on_a_reversed_string():
    cell = [2]
    loop = ForLoop(cell, 3, None, True)
    assert loop_fields(loop) == [3, 2, 1, 0, True, True]
    cell[0] = 1
    assert loop_fields(loop) == [2, 1, 2, 1, False, True]
    cell[0] = 0
    assert loop_fields(loop) == [1, 0, 3, 2, False, True]


def test_the_outermost_loop_has_no_parent_loop():
    outer = ForLoop([0])
    assert get_field(outer, "Parentloop") is NO_LOOP
    assert get_field(ForLoop([0], 1, outer), "Parentloop") is outer


@pytest.mark.parametrize(
    ("value", "go_kind", "name"),
    [
        (None, "invalid", "<nil>"),
        (True, "bool", "bool"),
        (Byte(1), "uint8", "uint8"),
        (Safe(""), "string", "string"),
        (TRIGGER, "string", "instance.TemplateTrigger"),
        ([[1]], "slice", "[]interface {}"),
        (ForLoop([0]), "ptr", "*pongo2.tagForLoopInformation"),
        (Block(str), "struct", "pongo2.tagBlockInformation"),
        (NO_LOOP, "ptr", "*pongo2.tagForLoopInformation"),
        (Function(str), "func", "func()"),
    ],
)
def test_values_have_the_kind_and_type_name_of_go(value, go_kind, name):
    assert kind(value) == go_kind
    assert gotype(value) == name


def test_a_python_object_without_a_go_type_is_a_type_error():
    with pytest.raises(TypeError, match="can't use a value of the type set"):
        kind({1})
    with pytest.raises(TypeError, match="can't use a value of the type set"):
        to_string({1})


def test_the_values_module_imports_only_the_number_parser():
    code = (
        "import sys; before = set(sys.modules); import templater.pongo2.values;"
        "print(*sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    needed = ("", ".pongo2", ".pongo2.golang", ".pongo2.golang.parse_float", ".pongo2.values")
    assert loaded.stdout.split() == [f"templater{name}" for name in needed]
