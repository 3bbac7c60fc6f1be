"""The order of keys, compared with the list in the tests of yaml.v2."""

import itertools

import pytest

from templater.definitions.go_key_order import KEY_ORDER

ORDER = [
    "", ".1", ".2", ".a", "1", "2", "a!10", "a/0001", "a/002", "a/3", "a/10", "a/11", "a/0012", "a/100", "a~10",
    "ab/1", "b/1", "b/01", "b/2", "b/02", "b/3", "b/03", "b1", "b01", "b3", "c2.10", "c10.2", "d1", "d7", "d7abc",
    "d12", "d12a",
]  # fmt: skip


def test_each_pair_of_keys_has_the_order_of_yaml_v2():
    for first, second in itertools.combinations(ORDER, 2):
        assert sorted([first, second], key=KEY_ORDER) == [first, second]
        assert sorted([second, first], key=KEY_ORDER) == [first, second]
    assert sorted(ORDER, key=KEY_ORDER) == ORDER


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a1", "a9223372036854775807"),
        ("a9223372036854775808", "a1"),  # the number is negative in 64 bits
        ("a36893488147419103232", "a1"),  # and this one is 0
        ("a9", "a10"),
        ("a20", "a100"),
        ("a0", "a00"),
        ("z", "\u00e9"),
        ("a-", "ab"),
        ("x" * 500 + "1", "x" * 500 + "2"),
        ("1" * 69 + "0", "1" * 70),
    ],
)
def test_long_keys_and_keys_with_large_numbers_are_sorted(first, second):
    for keys in ([first, second], [second, first]):
        assert sorted(keys, key=KEY_ORDER) == [first, second]
