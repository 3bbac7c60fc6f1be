"""Comparisons of two plans: the status of each file, and the patch."""

import pytest

from templater.image.open_image import open_image
from templater.model.instance import VIRTUAL_MACHINE, Instance
from templater.planning.plan_image import plan
from templater.reporting.comparison import compare_plans, comparison_data, patch_of, summary

RULES = """templates:
  /etc/a: {when: [create, start], template: a.tpl}
  /etc/b: {when: [create, start], template: b.tpl, create_only: true, mode: %s}
"""


@pytest.fixture
def planned(tmp_path):
    """Return a function that plans an image with two templates."""
    made = iter(range(100))

    def make(a="a\n", b="b\n", mode="0644", triggers=("create",), host="incus", **instance):
        folder = tmp_path / str(next(made))
        (folder / "templates").mkdir(parents=True)
        (folder / "metadata.yaml").write_text(RULES % mode)
        (folder / "templates" / "a.tpl").write_text(a)
        (folder / "templates" / "b.tpl").write_text(b)
        return plan(open_image(folder), Instance(**instance), triggers=triggers, host=host, clock=1.0, seed=0)

    return make


def statuses(before, after):
    return {file.path: file.status for file in compare_plans(before, after)}


def test_equal_plans_have_no_differences(planned):
    before, after = planned(), planned()
    assert statuses(before, after) == {"/etc/a": "unchanged", "/etc/b": "unchanged"}
    assert list(patch_of(compare_plans(before, after))) == []
    assert summary(before, compare_plans(before, after)) == "c1: create: 2 unchanged"


def test_a_changed_mode_is_reported_without_a_text_difference(planned):
    (text,) = patch_of(compare_plans(planned(), planned(mode="0600")))
    assert text == "# /etc/b: changed, 0:0 0644 -> 0:0 0600\n"


def test_a_comparison_uses_the_last_written_content_of_a_file(planned):
    passes = ("create", "start")
    before = planned(a="{{ trigger }}\n", b="{{ trigger }}\n", triggers=passes)
    # create_only skips b in the start pass, because the create pass has written it
    after = planned(a="start\n", b="create\n", triggers=passes)
    assert statuses(before, after) == {"/etc/a": "unchanged", "/etc/b": "unchanged"}


def test_a_failed_file_in_a_compared_plan_makes_other_results_random(planned):
    before, after = planned(), planned(a="{{ x|nosuch }}")
    assert statuses(before, after) == {"/etc/a": "failed", "/etc/b": "changed"}
    first, second = patch_of(compare_plans(before, after))
    assert first.startswith("# /etc/a: failed, 0:0 0644 -> error\n# after: incus: the start fails")
    assert second.startswith("# /etc/b: changed, 0:0 0644\n# after: incus: random result")


def test_container_files_and_virtual_machine_files_are_separate_in_a_diff(planned):
    found = statuses(planned(), planned(type=VIRTUAL_MACHINE))
    assert found == {"/etc/a": "removed", "/etc/b": "removed", "a.tpl.out": "added", "b.tpl.out": "added"}


def test_the_json_of_a_diff_contains_only_files_that_differ(planned):
    before, after = planned(), planned(a="c\n")
    data = comparison_data(before, after, compare_plans(before, after))
    assert [
        (file["path"], file["before"]["content"], file["after"]["content"]) for file in data["files"]
    ] == [("/etc/a", "a\n", "c\n")]


def test_names_with_a_blank_are_quoted_in_patch_headers(planned, tmp_path):
    def only(path):
        folder = tmp_path / path.strip("/").replace("/", "-")
        (folder / "templates").mkdir(parents=True)
        (folder / "metadata.yaml").write_text(
            f"templates: {{'{path}': {{when: [create], template: a.tpl, mode: '0640'}}}}\n"
        )
        (folder / "templates/a.tpl").write_text("")
        return plan(open_image(folder), Instance(), triggers=("create",), clock=1.0, seed=0)

    text = "".join(patch_of(compare_plans(only("/etc/x y"), only("/etc/z"))))
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines == [
        'diff --git "a/etc/x y" "b/etc/x y"',
        "deleted file mode 100640",
        "diff --git a/etc/z b/etc/z",
        "new file mode 100640",
    ]
