"""``python -m tests.fuzz.guided TARGET [SECONDS]``: coverage-guided fuzzing with atheris (pip install atheris).

A target reads untrusted bytes. It may answer or raise a templater error; anything
else, a hang of 10 seconds, or 1 GiB of memory is a finding, which belongs into a test and a fix.
"""

import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def metadata() -> tuple[Callable[[bytes], None], Iterator[bytes]]:
    from tests.fuzz.metadata import one, seeds

    return one, seeds()


def instance() -> tuple[Callable[[bytes], None], Iterator[bytes]]:
    from tests.fuzz.instance import one, seeds

    return one, seeds()


def template() -> tuple[Callable[[bytes], None], Iterator[bytes]]:
    """Return a target that renders templates, and its seeds. The first two bytes choose dialect and mode."""
    from tests.fuzz.templates import Fuzz, random_bytes, real_templates

    def one(data: bytes) -> None:
        fuzz = Fuzz()
        fuzz.one(random.Random(data[:2]), data[2:])
        assert not fuzz.wrong, fuzz.wrong[0]

    def seeds() -> Iterator[bytes]:
        for text in real_templates()[:300]:
            yield b"ab" + text.encode("utf-8", "surrogateescape")
        for number in range(100):
            yield b"cd" + random_bytes(random.Random(number))

    return one, seeds()


def tar() -> tuple[Callable[[bytes], None], Iterator[bytes]]:
    """Archives, compressed ones too: the image's parts and every member's data."""
    from templater.image.decompress import ByteStream
    from templater.image.limits import Limits
    from templater.image.name_checks import clean_name
    from templater.image.open_image import open_image
    from templater.image.tar_reader import Archive
    from templater.model.errors import TemplaterError

    limits = Limits(unpacked_bytes=1 << 22, members=2000, window_bytes=1 << 23)

    def one(data: bytes) -> None:
        fd = os.memfd_create("archive")
        try:
            os.write(fd, data)
            path = f"/proc/self/fd/{fd}"
            with contextlib.suppress(TemplaterError):
                image = open_image(path, limits)
                image.read_metadata()
                image.read_templates(["a.tpl", "../x"])
            os.lseek(fd, 0, os.SEEK_SET)
            with contextlib.suppress(TemplaterError), ByteStream(path, os.dup(fd), limits) as stream:
                archive = Archive(stream)
                for member in archive:
                    clean_name(member)
                    archive.read(member, 1 << 16)
        finally:
            os.close(fd)

    return one, tar_seeds()


def unpacking() -> tuple[Callable[[bytes], None], Iterator[bytes]]:
    """Fuzz unpacking: no file appears outside of the directory, and a refused archive leaves no file."""
    from templater.image.limits import Limits
    from templater.image.read_whole_image import open_contents
    from templater.image.unpack import Policy, unpack
    from templater.model.errors import TemplaterError

    limits = Limits(unpacked_bytes=1 << 20, members=200, window_bytes=1 << 23)
    shared = "/dev/shm" if os.path.isdir("/dev/shm") else None
    folder = tempfile.mkdtemp(prefix="templater-fuzz-", dir=shared)
    target, canary = os.path.join(folder, "deep", "c1"), os.path.join(folder, "canary")
    os.mkdir(os.path.dirname(target))
    Path(canary).write_text("alive")

    def one(data: bytes) -> None:
        fd = os.memfd_create("archive")
        try:
            os.write(fd, data)
            contents = open_contents(f"/proc/self/fd/{fd}", limits=limits)
            try:
                unpack(contents, contents.parts(), target, policy=Policy(owners=False))
            except TemplaterError:
                assert not os.path.exists(target), "refused, and half of it stays"
        except TemplaterError:
            pass
        finally:
            os.close(fd)
        assert sorted(os.listdir(folder)) == ["canary", "deep"]
        assert Path(canary).read_text() == "alive"
        assert os.listdir(os.path.dirname(target)) in ([], ["c1"])
        if os.path.exists(target):
            assert os.path.realpath(os.path.join(target, "rootfs")) == os.path.join(target, "rootfs")
            shutil.rmtree(target)

    return one, tar_seeds()


def tar_seeds() -> Iterator[bytes]:
    import bz2
    import gzip
    import io
    import lzma
    import tarfile

    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
            for name, kind in [
                ("metadata.yaml", tarfile.REGTYPE), ("templates", tarfile.DIRTYPE), ("templates/a.tpl", tarfile.REGTYPE),
                ("rootfs/link", tarfile.SYMTYPE), ("rootfs/hard", tarfile.LNKTYPE), ("rootfs/dev", tarfile.CHRTYPE),
                ("rootfs/" + "long" * (30 if form != tarfile.USTAR_FORMAT else 20), tarfile.REGTYPE),
            ]:  # fmt: skip
                info = tarfile.TarInfo(name)
                info.type, info.linkname = kind, "templates/a.tpl" if kind in b"12" else ""
                content = b"templates: {}\n" if kind == tarfile.REGTYPE else b""
                info.size = len(content)
                if form == tarfile.PAX_FORMAT:
                    info.pax_headers = {"SCHILY.xattr.user.a": "b", "mtime": "1.5"}
                archive.addfile(info, io.BytesIO(content))
        yield buffer.getvalue()
    for compress in (gzip.compress, bz2.compress, lzma.compress):
        yield compress(buffer.getvalue())


def hook() -> tuple[Callable[[bytes], None], Iterator[bytes]]:
    """Return a target that reads OCI states, config.json and LXC configurations, and its seeds."""
    from templater.hooks import lxc_config
    from templater.hooks.runtimes import oci
    from templater.model.errors import TemplaterError

    folder = tempfile.mkdtemp(prefix="templater-fuzz-")
    config = os.path.join(folder, "config")

    def one(data: bytes) -> None:
        with contextlib.suppress(TemplaterError):
            state = oci.read_state(data)
            oci._annotations(state)
            oci._text(state, "bundle")
        with contextlib.suppress(TemplaterError):
            parsed = oci.parse_json(data, "config.json")
            ids = oci.id_map(parsed)
            assert ids is None or ids.in_container(0, 0)
            oci.root_of(parsed, "/bundle")
        Path(config).write_bytes(data)
        with contextlib.suppress(TemplaterError):
            lxc_config.ids_on_disk(config)
        with contextlib.suppress(TemplaterError):
            lxc_config.layers_of(lxc_config.without_prefix(data.decode("utf-8", "surrogateescape")))

    def seeds() -> Iterator[bytes]:
        yield b'{"ociVersion": "1.0.2", "id": "c", "status": "created", "pid": 1, "bundle": "/b", "annotations": {}}'
        yield b'{"root": {"path": "rootfs"}, "linux": {"uidMappings": [{"containerID": 0, "hostID": 1, "size": 65536}],'
        yield (
            b'{"linux": {"uidMappings": [{"containerID": 0, "hostID": 1, "size": 2}],'
            b'"gidMappings": [{"containerID": 0, "hostID": 1, "size": 2}]}, "root": {"path": "/r"}}'
        )
        yield b"lxc.rootfs.path = overlay:/a:/b\nlxc.idmap = u 0 100000 65536\nlxc.idmap = g 0 100000 65536\n"
        yield b"lxc.include = /nowhere\nlxc.rootfs.options = idmap=container\n"

    return one, seeds()


TARGETS = {
    "metadata": metadata, "instance": instance, "template": template, "tar": tar, "unpack": unpacking, "hook": hook,
}  # fmt: skip


def fuzz(name: str, seconds: int) -> None:
    """Runs until the time is over, and then ends the process; a finding ends it with another code."""
    import atheris

    with atheris.instrument_imports(include=["templater", "tests.fuzz"]):
        one, seeds = TARGETS[name]()
    folder = Path(tempfile.mkdtemp(prefix="templater-fuzz-"))
    for number, seed in enumerate(seeds):
        (folder / f"seed{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=1024", "-max_len=16384"]
    atheris.Setup(
        [sys.argv[0], str(folder), f"-artifact_prefix={folder}/", "-print_final_stats=1", *options], one
    )
    atheris.Fuzz()


def run(name: str, seconds: int) -> subprocess.CompletedProcess[str]:
    """Run one target in its own process.

    A shell starts the process, because Linux counts the peak memory of the forking process as the new
    program's memory. In a run of many tests, that peak is above the limit.
    """
    return subprocess.run(
        ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-m", "tests.fuzz.guided", name, str(seconds)],
        check=False, capture_output=True, text=True, cwd=REPOSITORY, errors="replace", timeout=seconds + 300,
    )  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python -m tests.fuzz.guided {'|'.join(TARGETS)} [SECONDS]")
    fuzz(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 60)
