"""Tests that real boots of Debian's cloud-init have the predicted effects."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from templater.cloud_init.guest import read_guest
from templater.cloud_init.next_boot import Daemon, judge
from templater.cloud_init.seed import Seed

from . import harness
from .cloud_init import SEED
from .cloud_init_cases import CASES, boots

pytestmark = pytest.mark.slow  # its namespaces share nothing with the daemons of the live tests


@pytest.fixture(scope="module")
def booted() -> Iterator[Path]:
    """Yield a folder for guests that have booted once. Several tests copy these guests."""
    if os.geteuid() != 0 or not shutil.which("unshare") or "TEMPLATER_CLOUD_INIT_GUEST" not in os.environ:
        pytest.skip("needs root, unshare, and unpacked packages in TEMPLATER_CLOUD_INIT_GUEST")
    yield from harness.new_folder()


@pytest.mark.parametrize("name", CASES)
def test_cloud_init_behaves_as_predicted_on_a_real_boot(name: str, booted: Path, folder: Path):
    case = CASES[name]
    seen, files = boots(case, folder / "guest", booted)

    def names(path: str) -> list[str] | None:
        return sorted({each[len(path) + 1 :].split("/")[0] for each in files if each.startswith(f"{path}/")})

    guest = read_guest(lambda path: files[path].encode() if path in files else None, names)
    *earlier, last = (
        Seed({f"/{SEED}/{file}": text.encode() for file, text in seed.items()}) for seed in case.seeds
    )
    api = case.lxd[-1]
    daemon = Daemon("incus") if api is None else Daemon("lxd", api[0], has_socket=True)
    found = judge(earlier[-1] if earlier else Seed({}), last, guest, daemon)
    boot = seen[-1]
    assert "per-boot" in boot["ran"], boot
    assert boot["result"]["datasource"].startswith(f"DataSource{found.datasource}"), (found, boot)
    assert found.network == boot["network written"], (found, boot)
    if found.per_instance is not None:
        assert found.per_instance == ("per-instance" in boot["ran"]), (found, boot)
    if "bootcmd two" in boot["ran"]:
        assert found.reads, (found, boot)
