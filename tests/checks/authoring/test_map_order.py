"""Loops that read a map in random order."""

import pytest

from tests.checks.authoring.authoring_builders import file, findings


@pytest.mark.parametrize(
    ("loop", "is_random"),
    [
        ("k in config", True), ("k, v in properties", True), ("k in instance", True), ("k in container", True),
        ("k in devices", True), ("k in devices.eth0", True), ("k in config reversed", True),
        ("k in config sorted", False), ("k in devices.eth0.name", False), ("k in config.a", False),
        ("k in items", False), ("k in items.config", False), ("k in devices()", False), ("c in 'abc'", False),
        ("c in config_get('user.a', '')", False), ("c in config|make_list", False), ("c in 'a' + 'b'", False),
    ],
)  # fmt: skip
def test_only_unsorted_loops_over_whole_maps_have_random_order(loop, is_random):
    text = f"{{% for {loop} %}}x{{% endfor %}}\n"
    found = [check for _, check, _ in findings(file("/etc/a", text)) if check == "map-order"]
    assert found == ["map-order"] * is_random
