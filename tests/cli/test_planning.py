"""The way from the command line to a plan."""

from pathlib import Path

from templater.cli.planning import open_rootfs, planned
from templater.limits import Given
from templater.model.hosts import HOSTS
from tests.cli.test_options import described

SAMPLES = Path(__file__).resolve().parent.parent.parent / "sample-images"


def test_what_was_assumed_is_said_on_stderr(capfd):
    planned(
        str(SAMPLES / "debian-cloud"),
        described(file=str(SAMPLES / "debian-cloud/instances/web1.yaml")),
        triggers=("create",),
        host=HOSTS["incus"],
        dialect=None,
        limits=Given(),
    )
    said = capfd.readouterr()
    assert "name" in said.err
    assert not said.out


def test_no_root_filesystem_is_none():
    with open_rootfs(None) as view:
        assert view is None


def test_a_root_filesystem_is_closed_after_use(tmp_path):
    with open_rootfs(str(tmp_path)) as view:
        assert view.entry("/").kind == "directory"
