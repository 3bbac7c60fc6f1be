"""The output of ``templater streams verify``."""

import pytest

from templater.distribution.add_to_tree import add
from templater.distribution.tree import Tree
from tests.streams.builders import CREATED, DAY, split_image, squashfs


@pytest.mark.parametrize(
    ("number", "more"),
    [(10, []), (11, ["… and 1 more problems of the kind 'missing'; --json shows all"])],
)
def test_verify_prints_at_most_ten_problems_of_each_kind(run, tmp_path, number, more):
    tree = Tree(str(tmp_path / "tree"))
    for day in range(number):
        made = split_image(tmp_path / "image", created=CREATED + day * DAY, root=squashfs(day))
        add(tree, made[0], [made[1]])
    for root in (tmp_path / "tree" / "images").glob("*.squashfs"):
        root.unlink()
    code, out, _ = run("streams", "verify", tree.path)
    lines = out.splitlines()
    assert code == 1
    assert len([line for line in lines if line.startswith("error: ")]) == 10
    assert [line for line in lines if line.startswith("…")] == more
