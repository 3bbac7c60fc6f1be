"""The table of files and hosts. What a host does is recorded in tests/hosts; here is how it is compared."""

import json
from pathlib import Path
from typing import Any

import pytest

from templater.image.open_image import open_image
from templater.model.entry import DIRECTORY, SYMLINK, Entry
from templater.model.errors import LimitError, TemplaterError
from templater.model.hosts import HOSTS, INCUS
from templater.model.instance import VIRTUAL_MACHINE, Instance
from templater.model.plan import Plan, Prediction
from templater.model.render_options import RenderOptions
from templater.parsing.yaml_nodes import Limits as YamlLimits
from templater.planning.every_host import plan_every_host
from templater.planning.plan_image import plan
from templater.reporting.host_table import Cell, HostTable, host_table, table_data, table_text
from templater.rootfs.memory_rootfs import MemoryRootfs

NAMES = tuple(name for name in HOSTS if name != "none")


def plans(
    tmp_path: Path, template: str = "x\n", *, rules: str = "/etc/a: {when: [create], template: a.tpl}",
    tree: dict[str, str | bytes | Entry] | None = None, vm: bool = False,
) -> dict[str, Plan | TemplaterError]:  # fmt: skip
    (tmp_path / "metadata.yaml").write_text(
        f"architecture: x86_64\ncreation_date: 1\ntemplates:\n  {rules}\n"
    )
    (tmp_path / "templates").mkdir(exist_ok=True)
    (tmp_path / "templates/a.tpl").write_text(template)
    return plan_every_host(
        open_image(tmp_path), Instance("c1", VIRTUAL_MACHINE if vm else "container"),
        RenderOptions(INCUS, clock=0, seed=0), triggers=("create",),
        rootfs=MemoryRootfs({"/etc": Entry(DIRECTORY, 0o755), **(tree or {})}),
    )  # fmt: skip


def table(tmp_path: Path, template: str = "x\n", **fields: Any) -> HostTable:
    return host_table(plans(tmp_path, template, **fields))


def test_equal_content_for_hosts_of_different_dialects_is_stored_once(tmp_path: Path) -> None:
    """Each dialect renders the content again, and the plans of all hosts exist at once."""
    found = plans(tmp_path, "{{ instance.name }}\n").values()
    contents = [each.changes[0].content for each in found if isinstance(each, Plan)]
    assert len(contents) == len(NAMES)
    assert len({id(content) for content in contents}) == 1


def test_a_plain_file_is_the_same_on_every_host(tmp_path: Path) -> None:
    found = table(tmp_path)
    assert found.hosts == NAMES
    assert {cell.result for cell in found.rows[0].cells.values()} == {"same"}
    assert found.exit_code == 0 and "[1]" not in table_text(found)


def test_a_host_differs_if_it_renders_a_different_text(tmp_path: Path) -> None:
    cells = table(tmp_path, "{{ 'a' + 'b' }}\n").rows[0].cells
    assert {name for name, cell in cells.items() if cell.result == "differs"} == {
        name for name in NAMES if HOSTS[name].dialect == "v4"
    }
    assert cells["lxd"].why == "renders '0' in line 1, not 'ab'"


def test_a_host_that_refuses_a_link_has_an_error(tmp_path: Path) -> None:
    found = table(tmp_path, tree={"/etc/a": Entry(SYMLINK, target="/srv/b"), "/srv": Entry(DIRECTORY)})
    cells = found.rows[0].cells
    assert cells["incus"].result == cells["incus-6.0"].result == "fails"
    assert cells["incus"].why == "Failed to check template file: statat etc/a: path escapes from parent"
    assert cells["lxd-5.21.4"].result == "differs"
    assert cells["lxd-5.21.4"].why == "the target is /srv/b on the host's own file system"
    assert found.exit_code == 5


def test_the_table_mentions_deviations_of_templater_from_a_host(tmp_path: Path) -> None:
    found = table(tmp_path, tree={"/etc/a": Entry(SYMLINK, target="/srv/b"), "/srv": Entry(DIRECTORY)})
    name = "links are followed only inside the root filesystem"
    assert found.rows[0].cells["incus"].deviations == (name,)
    assert f"escapes from parent (templater differs: {name})\n" in table_text(found)
    assert table_data(found)["files"][0]["hosts"]["incus"]["deviations"] == [name]
    assert "differs:" not in table_text(table(tmp_path)), "nothing to name where all hosts agree"


def test_lxd_differs_if_a_rule_has_a_mode(tmp_path: Path) -> None:
    rule = "/etc/a: {when: [create], template: a.tpl, mode: '600'}"
    cells = table(tmp_path, rules=rule).rows[0].cells
    assert {name for name in NAMES if cells[name].result == "differs"} == {
        name for name in NAMES if name.startswith("lxd")
    }


@pytest.mark.parametrize("vm", [False, True])
def test_the_host_table_agrees_with_the_plan_of_each_host(tmp_path: Path, vm: bool) -> None:
    rules = "/etc/a: {when: [create], template: a.tpl}\n  /etc/b: {when: [create], template: no.tpl}"
    found = table(tmp_path, rules=rules, vm=vm)
    for name in NAMES:
        own = plan(
            open_image(tmp_path), Instance("c1", VIRTUAL_MACHINE if vm else "container"), host=name,
            triggers=("create",), rootfs=MemoryRootfs({"/etc": Entry(DIRECTORY, 0o755)}),
        )  # fmt: skip
        results = [own.prediction.outcomes[change].result for change in (*own.changes, *own.agent)]
        shown = [row.cells[name].result for row in found.rows]
        assert [result in ("fails", "random") for result in results] == [
            r in ("fails", "random") for r in shown
        ]


def test_hosts_that_cannot_read_the_image_have_an_error(tmp_path: Path) -> None:
    """Every host refuses a list as mode. tests/metadata_cases has the error text of each YAML library."""
    found = table(tmp_path, rules="/etc/a: {when: [create], template: a.tpl, mode: [1]}")
    assert set(found.errors) == set(NAMES) and not found.rows
    assert found.exit_code == 5 and "incus: the start fails: " in table_text(found)


def test_a_host_without_a_prediction_has_an_unknown_result(tmp_path: Path) -> None:
    found = plans(tmp_path)
    lxd = found["lxd"]
    assert isinstance(lxd, Plan)
    found["lxd"] = lxd.with_prediction(Prediction({}))
    (row,) = host_table(found).rows
    assert row.cells["lxd"] == Cell("unknown", "templater cannot read this part of the root filesystem")
    assert row.cells["incus"].result == "same"


def test_equal_reasons_of_several_hosts_share_one_note(tmp_path: Path) -> None:
    text = table_text(table(tmp_path, "{{ 'a' + 'b' }}\n"))
    notes = [line for line in text.splitlines() if line.startswith("[")]
    assert len(notes) == 1 and notes[0].startswith("[1] incus-debian, lxd, ")
    header, row, *_ = text.splitlines()
    assert header.split()[:3] == ["file", "on", "incus"] and row.startswith("/etc/a  create  same")


def test_the_host_table_has_the_same_results_in_json(tmp_path: Path) -> None:
    data = json.loads(json.dumps(table_data(table(tmp_path, "{{ 'a' + 'b' }}\n"))))
    assert data["hosts"] == list(NAMES)
    assert data["files"][0]["hosts"]["incus"] == {"result": "same"}
    assert data["files"][0]["hosts"]["lxd"]["result"] == "differs"


def test_a_long_path_does_not_widen_other_table_lines(tmp_path: Path) -> None:
    rule = "{when: [create], template: a.tpl}"
    found = table(tmp_path, rules=f"/etc/a: {rule}\n  /etc/{'p' * 3000}: {rule}")
    row = next(line for line in table_text(found).splitlines() if line.startswith("/etc/a "))
    assert len(row) < 300


def test_a_long_path_is_not_repeated_in_other_notes(tmp_path: Path) -> None:
    """The long name is invalid on every host, so the start ends at this file."""
    rule = "{when: [create], template: a.tpl}"
    found = table(tmp_path, rules=f"? /etc/{'p' * 3000}\n  : {rule}\n  /etc/a: {rule}\n  /etc/b: {rule}")
    for row in found.rows[1:]:
        assert "stops the start" in row.cells["incus"].why
        assert all(len(cell.why) < 200 for cell in row.cells.values())


def test_the_host_table_shows_why_a_host_runs_no_rule(tmp_path: Path) -> None:
    found = plans(tmp_path)
    found["lxd"] = found["lxd"].with_prediction(Prediction(error="no metadata"))
    made = host_table(found)
    assert made.errors == {"lxd": "no metadata"} and made.exit_code == 5
    assert table_text(made).splitlines()[-1] == "lxd: the start fails: no metadata"


def test_a_host_differs_if_only_templater_refuses_a_rule(tmp_path: Path) -> None:
    rule = "{when: [create], template: a.tpl}"
    made = table(tmp_path, rules=f"/etc/a: {rule}\n  /etc/../../x: {rule}", vm=True)
    row = next(row for row in made.rows if row.path == "/etc/../../x" and row.trigger == "agent")
    refused = "target path '/etc/../../x' leaves the root filesystem by '..'"
    assert row.cells["incus"].result == "differs"
    assert row.cells["incus"].why.startswith(
        f"the host accepts the rule, but templater refuses it: {refused}"
    )


def test_planning_fails_for_all_hosts_if_metadata_yaml_exceeds_a_limit(tmp_path: Path) -> None:
    plans(tmp_path)
    with pytest.raises(LimitError):
        plan_every_host(
            open_image(tmp_path), Instance("c1"), RenderOptions(INCUS), triggers=("create",),
            reading=YamlLimits(bytes=5),
        )  # fmt: skip


@pytest.mark.parametrize(("vm", "why"), [(False, ""), (True, "the daemon crashes: ")])
def test_the_table_mentions_a_daemon_crash_after_a_panic(vm: bool, why: str, tmp_path: Path):
    text = table_text(host_table(plans(tmp_path, "{{ 1 % 0 }}", vm=vm)))
    assert f"lxd-5.21.4: {why}panic: runtime error: integer divide by zero" in text
    assert "] lxd: Failed rendering template: Panic while rendering template" in text
