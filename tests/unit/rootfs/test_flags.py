"""The flags of chattr(1): read from a root filesystem on disk and used by predictions."""

import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from templater.cli.run_command_line import main
from templater.image.open_image import open_image
from templater.model.entry import APPEND_ONLY, IMMUTABLE
from templater.model.errors import WriteError
from templater.model.hosts import HOSTS
from templater.model.instance import Instance
from templater.model.plan import KEEP
from templater.planning.plan_image import plan
from templater.rootfs.directory_rootfs import DirectoryRootfs
from templater.rootfs.memory_rootfs import MemoryRootfs
from templater.writing.apply_plan import apply


@pytest.fixture
def rootfs(tmp_path: Path) -> Iterator[Path]:
    for name, flag in (("frozen", "+i"), ("log", "+a"), ("plain", "")):
        (tmp_path / "etc").mkdir(exist_ok=True)
        (tmp_path / "etc" / name).write_text("old\n")
        if flag and subprocess.run(["chattr", flag, tmp_path / "etc" / name], check=False).returncode:
            pytest.skip("needs root, and a file system with flags")
    yield tmp_path
    subprocess.run(["chattr", "-i", "-a", tmp_path / "etc/frozen", tmp_path / "etc/log"], check=True)


def test_file_flags_can_be_read_from_a_root_filesystem_on_disk(rootfs: Path) -> None:
    with DirectoryRootfs(str(rootfs)) as view:
        assert [view.flag(f"/etc/{name}") for name in ("frozen", "log", "plain")] == [
            IMMUTABLE,
            APPEND_ONLY,
            "",
        ]
        assert view.flag("/etc") == ""


@pytest.mark.parametrize("host", [name for name in HOSTS if name != "none"])
def test_every_daemon_is_predicted_to_fail_at_an_immutable_target(
    host: str, rootfs: Path, tmp_path: Path
) -> None:
    """Recorded as "existing file immutable": operation not permitted."""
    image = tmp_path / "image"
    (image / "templates").mkdir(parents=True)
    (image / "metadata.yaml").write_text("templates: {/etc/frozen: {when: [create], template: a.tpl}}\n")
    (image / "templates/a.tpl").write_text("new\n")
    with DirectoryRootfs(str(rootfs)) as view:
        made = plan(open_image(image), Instance(), host=host, triggers=("create",), rootfs=view)
    outcome = made.prediction.outcomes[made.changes[0]]
    assert outcome.result == "fails" and outcome.error.endswith(": operation not permitted")


def test_a_simulation_reads_the_file_flags_of_the_root_filesystem(
    rootfs: Path, tmp_path: Path, capsys
) -> None:
    """This includes flags of a copied instance, and of a directory in which a file would be created."""
    image = tmp_path / "image"
    (image / "templates").mkdir(parents=True)
    (image / "templates/a.tpl").write_text("new\n")
    start = ["create", "start", "--rootfs", str(rootfs)]
    for path, target in (("/etc/frozen", rootfs / "etc/frozen"), ("/etc/new", rootfs / "etc")):
        (image / "metadata.yaml").write_text(
            "architecture: x86_64\ncreation_date: 1\n"
            f"templates: {{{path}: {{when: [create, copy], template: a.tpl}}}}\n"
        )
        subprocess.run(["chattr", "+i", target], check=True)
        try:
            for steps in (start, ["create", "copy=c2", "c2:start", *start[2:]]):
                assert main(["simulate", str(image), *steps]) == 5, path
                assert "operation not permitted" in capsys.readouterr().out
        finally:
            subprocess.run(["chattr", "-i", target], check=True)
        assert main(["simulate", str(image), *start]) == 0


@pytest.mark.parametrize(
    ("flag", "flagged", "path", "fails"),
    [
        ("i", "etc/frozen", "/etc/frozen", True),
        ("a", "etc/log", "/etc/log", True),
        ("i", "etc", "/etc/new", True),
        ("i", "etc", "/etc/plain", True),
        ("a", "etc", "/etc/new", True),
        ("a", "etc", "/etc/plain", True),
        ("a", "etc", "/etc/sub/new", True),
    ],
)
def test_planning_and_simulation_fail_at_the_same_file_flags_as_apply(
    flag, flagged, path, fails, rootfs: Path, tmp_path: Path, monkeypatch
) -> None:
    """A simulation of ``--as none`` said "writes 1 file", and apply then failed."""
    image = tmp_path / "image"
    (image / "templates").mkdir(parents=True)
    (image / "templates/a.tpl").write_text("new\n")
    (image / "metadata.yaml").write_text(f"templates: {{{path}: {{when: [create], template: a.tpl}}}}\n")
    subprocess.run(["chattr", f"+{flag}", rootfs / flagged], check=True)
    try:
        simulated = main(["simulate", str(image), "--as", "none", "--rootfs", str(rootfs), "create", "start"])
        assert simulated == (6 if fails else 0)
        with DirectoryRootfs(str(rootfs)) as view:
            made = plan(open_image(image), Instance(), host="none", triggers=("create",), rootfs=view)
            assert isinstance(made.changes[0].error, WriteError) is fails
            monkeypatch.setattr(DirectoryRootfs, "flag", lambda self, path: "")  # ask the system itself
            unaware = plan(open_image(image), Instance(), host="none", triggers=("create",), rootfs=view)
            # the system accepts a new file in an append-only directory, but no rollback could remove it
            is_accepted = not fails or (flag == "a" and path == "/etc/new")
            with nullcontext() if is_accepted else pytest.raises(WriteError):
                apply(unaware, view)
    finally:
        subprocess.run(["chattr", f"-{flag}", rootfs / flagged], check=True)


@pytest.mark.parametrize("flag", [IMMUTABLE, APPEND_ONLY])
def test_an_immutable_file_with_the_planned_content_is_kept(flag: str, tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/a.tpl").write_text("same\n")
    (tmp_path / "metadata.yaml").write_text("templates: {/etc/a: {when: [create], template: a.tpl}}\n")
    view = MemoryRootfs({"/etc/a": "same\n"})
    view.set_flag("/etc/a", flag)
    (change,) = plan(open_image(tmp_path), Instance(), triggers=("create",), rootfs=view).changes
    assert (change.action, change.error) == (KEEP, None)
