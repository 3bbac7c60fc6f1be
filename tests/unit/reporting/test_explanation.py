"""Explanations of rendered files, as text."""

import pytest

from templater.rendering.origins import Line, Origin, Part
from templater.reporting.explanation import line_rows

NAME = Origin("instance.name", "daemon")
FOO = Origin("user.foo", "local")


def part(text, origin=FOO, column=1, kind="value"):
    return Part(text, 1, column, kind, (origin,), ())


def markers(*lines):
    """Return the markers below each line."""
    rows = line_rows([Line(number, 1, parts) for number, parts in enumerate(lines, 1)])
    texts = ["".join(chunk.text for chunk in row) for row in rows]
    return [text.partition("^ ")[2] for text in texts if "^" in text]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([(part("a"),)], ["user.foo: local key"]),
        ([(part("a"),), (part("b"),)], ["user.foo: local key (2 lines)"]),
        ([(part("a"),), (), (), (part("b"),), ()], ["user.foo: local key (4 lines)"]),
        ([(part("a"),), (part("b"), part("c", NAME))], ["user.foo: local key (2 lines)", "instance.name: supplied by the daemon"]),
        ([(part("c", NAME), part("a")), (part("b"),)], ["instance.name: supplied by the daemon", "user.foo: local key (2 lines)"]),
        ([(part("a"),), (), (part("c", NAME),)], ["user.foo: local key", "instance.name: supplied by the daemon"]),
        ([(part("a"),), (part("b", column=5),)], ["user.foo: local key", "user.foo: local key"]),
        ([()], []),
    ],
)  # fmt: skip
def test_an_origin_includes_the_number_of_lines(lines, expected):
    assert markers(*lines) == expected
