"""Where we differ on purpose: each rule is at work where it says so, and nowhere else."""

import pytest

from templater.model.entry import DIRECTORY, FIFO, FILE, SYMLINK, Entry, TemplateFile
from templater.model.errors import LimitError, RefusedError, RenderError, TemplateError, TemplaterError
from templater.model.hosts import INCUS, INCUS_6_0_4, INCUS_DEBIAN, LXD, Host
from templater.model.instance import Instance
from templater.model.metadata import Metadata, Rule
from templater.planning.planner import plan_of
from templater.prediction import predict
from templater.prediction.deviations import DEVIATIONS, deviations_at, table
from templater.rendering.render import Rendering
from templater.rootfs.directory import IdMap
from templater.rootfs.memory import MemoryRootfs


def at_work(
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


def test_nothing_is_at_work_in_a_plain_start() -> None:
    assert at_work(rule(), rule("/etc/b", uid="5", mode="600"), tree={"/etc/a": "old"}) == set()


@pytest.mark.parametrize("target", ["/srv/b", "../../../srv/b"])
def test_links_are_followed_inside(target: str) -> None:
    assert at_work(rule(), tree={"/etc/a": link(target)}) == {"links are followed inside"}


def test_a_relative_link_is_followed_by_both() -> None:
    assert at_work(rule(), tree={"/etc/a": link("b"), "/etc/b": "old"}) == set()


def test_a_dangling_link() -> None:
    assert at_work(rule(), tree={"/etc/a": link("b")}) == {"a dangling link's file is a new file"}
    assert at_work(rule(), host=INCUS, tree={"/etc/a": link("b")}) == {"links are followed inside"}


def test_only_regular_files_are_written() -> None:
    assert "only regular files are written" in at_work(rule(), tree={"/etc/a": Entry(FIFO)})


def test_a_directory_fails_both() -> None:
    assert "only regular files are written" not in at_work(rule(), tree={"/etc/a": Entry(DIRECTORY)})


def test_two_rules_one_file() -> None:
    assert "two rules, one file" in at_work(rule(), rule("etc/a"))


@pytest.mark.parametrize("uid", ["-1", "4294967295", "4294967296"])
def test_ids_that_name_nobody(uid: str) -> None:
    assert "ids outside the container" in at_work(rule(uid=uid))


@pytest.mark.parametrize("field", ["uid", "gid"])
def test_an_id_outside_of_the_containers_map_names_nobody_either(field: str) -> None:
    ranges = ((0, 1_000_000, 65536),)
    view = Mapped({"/etc": Entry(DIRECTORY, 0o755), "/etc/b": "old"})
    view.ids = IdMap(ranges, ranges)
    assert at_work(rule(**{field: "65535"}), rootfs=view) == set()
    assert "ids outside the container" in at_work(rule(**{field: "65536"}), rootfs=view)
    assert at_work(rule("/etc/b", **{field: "65536"}), rootfs=view) == set(), "an existing file keeps its own"


class Mapped(MemoryRootfs):
    """A root filesystem on which ids are others than in the container."""

    ids: IdMap


def test_a_bad_uid_fails_both() -> None:
    assert "ids outside the container" not in at_work(rule(uid="bob"))


def test_permissions_mean_something_on_lxd_too() -> None:
    assert at_work(rule(mode="600"), host=LXD) == {"uid, gid and mode are used"}


def test_templates_are_plain_files() -> None:
    found = at_work(rule(template="./a.tpl"), host=INCUS_6_0_4, error=RefusedError("no"))
    assert "templates are plain files" in found


def test_a_missing_template_is_an_error_at_once() -> None:
    found = at_work(
        rule(template="no.tpl", create_only=True),
        host=INCUS_6_0_4,
        tree={"/etc/a": "x"},
        error=TemplateError("no"),
    )
    assert "a missing template is an error at once" in found


def test_renders_are_bounded() -> None:
    assert "renders are bounded" in at_work(rule(), error=LimitError("too long"))


def test_mount_points_are_somebody_elses() -> None:
    found = at_work(rule(), tree={"/etc/a": Entry(FILE, is_mount=True)})
    assert "mount points are not replaced" in found


def test_hard_links_are_broken() -> None:
    rootfs = MemoryRootfs({"/etc/a": "old"})
    rootfs.link("/etc/a", "/etc/b")
    assert at_work(rule(), rootfs=rootfs) == {"hard links are broken, not written through"}


def test_a_failed_template_empties_nothing_and_stops_all() -> None:
    assert at_work(rule(), error=RenderError("no")) == {
        "a failed template empties nothing",
        "a start is one commit",
    }


def test_the_table_has_a_row_for_each() -> None:
    rows = table().splitlines()
    assert rows[0] == "| when | LXD, Incus | templater | why |"
    assert len(rows) == 2 + len(DEVIATIONS)
    assert all(row.count("|") == 5 for row in rows)
    assert len({each.name for each in DEVIATIONS}) == len(DEVIATIONS)
