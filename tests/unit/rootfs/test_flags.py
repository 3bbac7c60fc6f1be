"""The flags of chattr(1): read from a root filesystem on disk and used by predictions."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from templater.cli.main import main
from templater.image.open import open_image
from templater.model.entry import APPEND_ONLY, IMMUTABLE
from templater.model.hosts import HOSTS
from templater.model.instance import Instance
from templater.planning.planner import plan
from templater.rootfs.directory import DirectoryRootfs


@pytest.fixture
def rootfs(tmp_path: Path) -> Iterator[Path]:
    for name, flag in (("frozen", "+i"), ("log", "+a"), ("plain", "")):
        (tmp_path / "etc").mkdir(exist_ok=True)
        (tmp_path / "etc" / name).write_text("old\n")
        if flag and subprocess.run(["chattr", flag, tmp_path / "etc" / name], check=False).returncode:
            pytest.skip("needs root, and a file system with flags")
    yield tmp_path
    subprocess.run(["chattr", "-i", "-a", tmp_path / "etc/frozen", tmp_path / "etc/log"], check=True)


def test_a_directory_on_disk_reports_file_flags(rootfs: Path) -> None:
    with DirectoryRootfs(str(rootfs)) as view:
        assert [view.flag(f"/etc/{name}") for name in ("frozen", "log", "plain")] == [
            IMMUTABLE,
            APPEND_ONLY,
            "",
        ]
        assert view.flag("/etc") == ""


@pytest.mark.parametrize("host", [name for name in HOSTS if name != "none"])
def test_every_host_fails_to_write_an_immutable_target(host: str, rootfs: Path, tmp_path: Path) -> None:
    """Recorded as "existing file immutable": operation not permitted."""
    image = tmp_path / "image"
    (image / "templates").mkdir(parents=True)
    (image / "metadata.yaml").write_text("templates: {/etc/frozen: {when: [create], template: a.tpl}}\n")
    (image / "templates/a.tpl").write_text("new\n")
    with DirectoryRootfs(str(rootfs)) as view:
        made = plan(open_image(image), Instance(), host=host, triggers=("create",), rootfs=view)
    outcome = made.prediction.outcomes[made.changes[0]]
    assert outcome.result == "fails" and outcome.error.endswith(": operation not permitted")


def test_a_simulation_knows_the_flags_of_the_root_filesystem(rootfs: Path, tmp_path: Path, capsys) -> None:
    """Of a copied instance's too, and of a directory in which a file would be made."""
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
