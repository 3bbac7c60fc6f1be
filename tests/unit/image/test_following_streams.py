"""What may follow compressed data, compared with GNU tar and the programs that GNU tar starts."""

import shutil
import subprocess
import tarfile

import pytest

from templater.image.decompress import open_stream
from templater.image.tar_reader import Archive
from templater.model.errors import TemplaterError

PROGRAMS = {"gzip": "gz", "bzip2": "bz2", "xz": "xz", "lzma": "lzma", "zstd": "zst", "lz4": "lz4"}
#: between two streams, and after the last stream: number of zeros
GAPS = [0, 1, 3, 4, 512, 4096]


def packed(program, path, name):
    """Return a compressed tar archive of one small file. The archive has no end mark."""
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo(name)
        archive.addfile(member)
    path.write_bytes(path.read_bytes()[:512])
    words = ["xz", "--format=lzma"] if program == "lzma" else [program]
    return subprocess.run([*words, "-c"], input=path.read_bytes(), capture_output=True, check=True).stdout


def names_for_gnu_tar(path, program):
    """Return the names that GNU tar lists, or None if it fails."""
    done = subprocess.run(["tar", "-I", program, "-tf", path], capture_output=True, text=True, check=False)
    return None if done.returncode else done.stdout.split()


def names_for_templater(path):
    try:
        with open_stream(str(path)) as stream:
            return [member.name for member in Archive(stream)]
    except TemplaterError:
        return None


@pytest.mark.slow
@pytest.mark.parametrize("has_second", [False, True])
@pytest.mark.parametrize("program", PROGRAMS)
def test_attack_59_templater_reads_only_streams_that_gnu_tar_also_reads(program, has_second, tmp_path):
    """bzip2 ignores a second stream behind zeros: its members existed for templater only."""
    if shutil.which(program.replace("lzma", "xz")) is None or shutil.which("tar") is None:
        pytest.skip(f"NOT RUN: needs tar and {program}")
    first, second = (packed(program, tmp_path / "plain", name) for name in ("a", "b"))
    read = {}
    for gap in GAPS:
        path = tmp_path / f"image.tar.{PROGRAMS[program]}"
        path.write_bytes(first + bytes(gap) + (second if has_second else b""))
        read[gap] = names_for_templater(path), names_for_gnu_tar(path, program.replace("lzma", "xz"))
    assert read[0][0] is not None or program == "lzma"
    for gap, (ours, theirs) in read.items():
        assert ours in (None, theirs), gap
