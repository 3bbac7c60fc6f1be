"""Tables with aligned columns."""

from templater.reporting.columns import WIDEST, columns


def test_table_columns_are_aligned_and_contain_no_control_characters() -> None:
    assert list(columns([("NAME", "TEXT"), ("\x1b[31m", "a\u202e\n")])) == [
        "NAME      TEXT",
        "\\x1b[31m  a\\u202e\\n",
    ]


def test_a_long_table_cell_does_not_widen_the_other_lines() -> None:
    long = "p" * 5000
    lines = list(columns([("file", "on"), (long, "create"), ("/a", "create")]))
    assert lines == [f"{'file':{WIDEST}}  on", f"{long}  create", f"{'/a':{WIDEST}}  create"]
