"""Deviations apply to the changes that they describe, and to no others."""

import pytest

from templater.model.entry import DIRECTORY, FIFO, FILE, SYMLINK, Entry, TemplateFile
from templater.model.errors import LimitError, RefusedError, RenderError, TemplateError, TemplaterError
from templater.model.hosts import INCUS, INCUS_6_0_4, INCUS_DEBIAN, LXD, Host
from templater.model.instance import Instance
from templater.model.metadata import Metadata, Rule
from templater.planning.decide_changes import plan_of
from templater.prediction import predict
from templater.prediction.deviations import DEVIATIONS, deviations_at, table
from templater.rendering.render import Rendering
from templater.rootfs.id_map import IdMap
from templater.rootfs.memory_rootfs import MemoryRootfs


def deviation_names(
    *rules: Rule,
    host: Host = INCUS_DEBIAN,
    tree: "dict[str, str | bytes | Entry] | None" = None,
    error: "TemplaterError | None" = None,
    rootfs: "MemoryRootfs | None" = None,
) -> set[str]:
    view = rootfs or MemoryRootfs({"/etc": Entry(DIRECTORY, 0o755), **(tree or {})})
    renderings = [Rendering(each, "create", None if error else b"new", error) for each in rules]
    plan = plan_of(Metadata(rules=rules), Instance(), renderings, view, host=host, triggers=("create",))
    plan = plan.with_prediction(predict(plan, {"a.tpl": TemplateFile(Entry(FILE), b"new")}, view))
    changes = (*plan.changes, *plan.agent)
    return {deviation.name for change in changes for deviation in deviations_at(plan, change)}


def rule(path: str = "/etc/a", template: str = "a.tpl", **fields: object) -> Rule:
    return Rule(path, template, ("create",), **fields)  # type: ignore[arg-type]


def link(target: str) -> Entry:
    return Entry(SYMLINK, 0o777, target=target)


def test_a_plain_start_causes_no_intentional_difference_from_the_host() -> None:
    assert deviation_names(rule(), rule("/etc/b", uid="5", mode="600"), tree={"/etc/a": "old"}) == set()


@pytest.mark.parametrize("target", ["/srv/b", "../../../srv/b"])
def test_a_target_link_causes_an_intentional_difference_if_hosts_refuse_it(
    target: str,
) -> None:
    assert deviation_names(rule(), tree={"/etc/a": link(target)}) == {
        "links are followed only inside the root filesystem"
    }


def test_a_relative_link_as_target_causes_no_deviation() -> None:
    assert deviation_names(rule(), tree={"/etc/a": link("b"), "/etc/b": "old"}) == set()


def test_a_dangling_link_as_target_causes_a_deviation() -> None:
    assert deviation_names(rule(), tree={"/etc/a": link("b")}) == {
        "the target of a dangling link counts as a new file"
    }
    assert deviation_names(rule(), host=INCUS, tree={"/etc/a": link("b")}) == {
        "links are followed only inside the root filesystem"
    }


def test_a_fifo_as_target_causes_an_intentional_difference_from_the_host() -> None:
    assert "targets must be regular files" in deviation_names(rule(), tree={"/etc/a": Entry(FIFO)})


def test_a_directory_as_target_is_not_a_deviation() -> None:
    assert "targets must be regular files" not in deviation_names(rule(), tree={"/etc/a": Entry(DIRECTORY)})


def test_two_rules_for_the_same_target_cause_a_deviation() -> None:
    assert "colliding rules are refused" in deviation_names(rule(), rule("etc/a"))


@pytest.mark.parametrize("uid", ["-1", "4294967295", "4294967296"])
def test_an_invalid_uid_or_gid_causes_a_deviation(uid: str) -> None:
    assert "ids outside the container are refused" in deviation_names(rule(uid=uid))


@pytest.mark.parametrize("field", ["uid", "gid"])
def test_an_owner_outside_the_id_map_causes_a_deviation(field: str) -> None:
    ranges = ((0, 1_000_000, 65536),)
    view = Mapped({"/etc": Entry(DIRECTORY, 0o755), "/etc/b": "old"})
    view.ids = IdMap(ranges, ranges)
    assert deviation_names(rule(**{field: "65535"}), rootfs=view) == set()
    assert "ids outside the container are refused" in deviation_names(rule(**{field: "65536"}), rootfs=view)
    assert deviation_names(rule("/etc/b", **{field: "65536"}), rootfs=view) == set(), (
        "an existing file keeps its own"
    )


class Mapped(MemoryRootfs):
    """A root filesystem with an id map."""

    ids: IdMap


def test_a_non_numeric_uid_does_not_count_as_unmapped() -> None:
    assert "ids outside the container are refused" not in deviation_names(rule(uid="bob"))


def test_a_rule_with_a_mode_causes_an_intentional_difference_from_lxd() -> None:
    assert deviation_names(rule(mode="600"), host=LXD) == {"uid, gid and mode are used"}


def test_a_template_causes_an_intentional_difference_if_templater_refuses_it() -> None:
    found = deviation_names(rule(template="./a.tpl"), host=INCUS_6_0_4, error=RefusedError("no"))
    assert "templates must be plain files" in found


def test_missing_templates_of_skipped_rules_cause_a_deviation() -> None:
    found = deviation_names(
        rule(template="no.tpl", create_only=True),
        host=INCUS_6_0_4,
        tree={"/etc/a": "x"},
        error=TemplateError("no"),
    )
    assert "a missing template is always an error" in found


def test_a_limit_error_in_a_rule_causes_an_intentional_difference() -> None:
    assert "rendering has limits" in deviation_names(rule(), error=LimitError("too long"))


def test_a_mount_point_as_target_causes_a_deviation() -> None:
    found = deviation_names(rule(), tree={"/etc/a": Entry(FILE, is_mount=True)})
    assert "mount points are not replaced" in found


def test_a_target_with_several_hard_links_causes_a_deviation() -> None:
    rootfs = MemoryRootfs({"/etc/a": "old"})
    rootfs.link("/etc/a", "/etc/b")
    assert deviation_names(rule(), rootfs=rootfs) == {"other hard links keep the old content"}


def test_a_rule_with_a_failed_render_causes_two_deviations() -> None:
    assert deviation_names(rule(), error=RenderError("no")) == {
        "a failed template changes nothing",
        "if one rule fails, no file is written",
    }


def test_the_table_of_differences_has_a_row_for_each_intentional_difference() -> None:
    rows = table().splitlines()
    assert rows[0] == "| when | LXD, Incus | templater | why |"
    assert len(rows) == 2 + len(DEVIATIONS)
    assert all(row.count("|") == 5 for row in rows)
    assert len({each.name for each in DEVIATIONS}) == len(DEVIATIONS)
