"""Who of the host's users may enter what was unpacked."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from templater.image.contents import open_contents
from templater.image.unpack import TRUSTED, Policy, unpack
from templater.rootfs.directory import IDENTITY, IdMap

MAPPED = IdMap(((0, 100000, 65536),), ((0, 100000, 65536),))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(
    ("policy", "ids", "mode"),
    [(TRUSTED, IDENTITY, 0o700), (TRUSTED, MAPPED, 0o711), (Policy(), IDENTITY, 0o711)],
)
def test_setuid_programs_of_the_host_s_root_are_out_of_reach(
    tmp_path: Path, policy: Policy, ids: IdMap, mode: int
) -> None:
    image = tmp_path / "i.tar"
    with tarfile.open(image, "w") as tar:
        for name, data, bits in (("metadata.yaml", b"a: b\n", 0o644), ("rootfs/su", b"x", 0o4755)):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), bits
            tar.addfile(info, io.BytesIO(data))
    contents = open_contents(str(image))
    unpack(contents, contents.parts(), str(tmp_path / "c1"), policy=policy, ids=ids)
    assert (tmp_path / "c1").stat().st_mode & 0o777 == mode
