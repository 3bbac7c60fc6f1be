"""Tests that the time of each part of a hook grows in proportion to its input.

The inputs are requests of container runtimes, records of written files, and root filesystems.
"""

import json
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from templater.hooks import compile_cache, json_input, options, runtimes, sandboxed_rendering
from templater.hooks.compile_cache import CacheEntry
from templater.hooks.runtimes import function_of, lxc, oci
from templater.hooks.sandboxed_rendering import Job
from templater.instances.record_of_written_files import Record
from templater.instances.state_directory import StateDirectory
from templater.model.errors import InputError, TemplaterError
from templater.model.hosts import NONE
from templater.model.instance import Instance
from templater.model.metadata import Metadata, Rule
from templater.model.plan import CREATE, Change, Plan
from templater.model.source import Source
from templater.rootfs.confined_root import Root
from templater.rootfs.directory_rootfs import DirectoryRootfs
from templater.rootfs.memory_rootfs import MemoryRootfs
from templater.sandbox import child
from templater.writing.remove_leftovers import Journal, sweep

from .growth import assert_linear

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux"),
]


def check(subject: Callable[[int], Callable[[], object]], n: int = 4000) -> None:
    """Check that the time and memory of a subject grow linearly. A refused input is measured, too."""

    def run(action: Callable[[], object]) -> None:
        with suppress(TemplaterError):
            action()

    assert_linear(run, subject, n)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[int], Path]:
    """Return a function that creates a directory for a size, and returns its path."""

    def make(size: int) -> Path:
        path = tmp_path / str(size)
        path.mkdir(exist_ok=True)
        return path

    return make


def lxc_config(top: Path, size: int) -> str:
    config = top / "config"
    config.write_text("lxc.idmap = u 0 100000 1\nlxc.idmap = g 0 100000 1\nlxc.hook.start = /bin/x\n" * size)
    return str(config)


def lxc_request(top: Path, size: int) -> Callable[[], object]:
    (top / "rootfs").mkdir(exist_ok=True)
    environ = {
        "LXC_NAME": "c1", "LXC_HOOK_TYPE": "pre-start", "LXC_CONFIG_FILE": lxc_config(top, min(size, 12_000)),
        "LXC_ROOTFS_PATH": str(top / "rootfs"),
    }  # fmt: skip
    return lambda: lxc.read_request(options.Options(), environ)


def incus_request(top: Path, size: int) -> Callable[[], object]:
    from templater.hooks.runtimes import incus

    (top / "rootfs").mkdir(exist_ok=True)
    (top / "metadata.yaml").touch()
    line = options.Options()
    line.state = str(top)
    environ = {
        "LXC_NAME": "c1", "LXC_ROOTFS_PATH": str(top / "rootfs"),
        "LXC_CONFIG_FILE": lxc_config(top, min(size, 12_000)),
    }  # fmt: skip
    return lambda: incus.read_request(line, environ)


def nspawn_request(_top: Path, size: int) -> Callable[[], object]:
    from templater.hooks.runtimes import nspawn

    line = options.Options()
    line.words = ("c" * size,)
    return lambda: nspawn.read_request(line, {})


def oci_request(_top: Path, size: int) -> Callable[[], object]:
    annotations = {f"org.templater.config.user.k{n}": "v" for n in range(size)}
    data = json.dumps({"ociVersion": "1.2.0", "bundle": "/b", "annotations": annotations}).encode()
    return lambda: oci._annotations(oci.read_state(data))


REQUESTS = {"lxc": lxc_request, "incus": incus_request, "nspawn": nspawn_request, "oci": oci_request}


def found_runtimes() -> Iterator[str]:
    for module in pkgutil.iter_modules(runtimes.__path__):
        if function_of(module.name, "read_request") is not None:
            yield module.name


@pytest.mark.parametrize("runtime", list(found_runtimes()))
def test_reading_the_input_from_a_container_runtime_takes_linear_time(
    runtime: str, folder: Callable[[int], Path]
) -> None:
    """The test finds the runtimes itself. A new runtime needs an entry in ``REQUESTS``."""
    check(lambda n: REQUESTS[runtime](folder(n), n))


def test_reading_the_id_mappings_of_a_bundle_takes_linear_time() -> None:
    def subject(n: int) -> Callable[[], object]:
        mapping = {"containerID": 0, "hostID": 100000, "size": 1}
        config = {"linux": {"uidMappings": [mapping] * n, "gidMappings": [mapping] * n}}
        data = json.dumps(config).encode()
        return lambda: oci.id_map(json_input.parse_json(data, "config.json"))

    check(subject)


def test_searching_for_uncovered_masked_paths_takes_linear_time() -> None:
    """A hook took 44 seconds for a config.json of 3 MB."""

    def subject(n: int) -> Callable[[], object]:
        mounts = [{"destination": f"/m{number}"} for number in range(n)]
        config = {"mounts": mounts, "linux": {"maskedPaths": [f"/n/{number}" for number in range(n)]}}
        return lambda: oci._later_mounts(options.Options(), config, "/")

    check(subject)


@pytest.mark.parametrize("repeated", ["start", "end"])
def test_refusing_a_json_object_with_a_repeated_name_takes_linear_time(repeated: str) -> None:
    def subject(n: int) -> Callable[[], object]:
        names = [f"k{number}" for number in range(n)]
        names.insert(0 if repeated == "start" else n, names[0 if repeated == "start" else -1])
        data = ("{" + ",".join(f'"{name}": 0' for name in names) + "}").encode()

        def refuse() -> None:
            with pytest.raises(InputError):
                json_input.parse_json(data, "config.json")

        return refuse

    check(subject)


@pytest.mark.parametrize("text", ["[", '{"a":', '"\\ud83d', " ", "[1,"])
def test_refusing_invalid_json_takes_linear_time(text: str) -> None:
    check(lambda n: lambda data=(text * n).encode(): json_input.parse_json(data, "the state"))


@pytest.mark.parametrize("record", [b"1:a,", b"0:,", b"00", b"9999999999:", b"1:a"])
def test_parsing_the_records_of_a_sandboxed_child_takes_linear_time(record: bytes) -> None:
    check(lambda n: lambda data=child.frame(record) * n: child.parse(data))


def test_receiving_the_answer_of_a_sandboxed_child_takes_linear_time() -> None:
    job = Job(Source("m/metadata.yaml", b"x: y\n" * 1000), {}, None, ("start",), NONE)

    def subject(n: int) -> Callable[[], object]:
        rule = [b"rule", b"/a", b"t", b"", b"", b"", b"00", b"path 3 5", b"template 3 5"]
        fail = [b"fail", b"0", b"start", b"RenderError", b"m", b"h", b"0"]
        records = [rule, [b"instance", b"c1", b"container", b"start"]]
        for _ in range(n):
            records += [[b"text", b"0", b"start", b"x"], fail]
        return lambda: sandboxed_rendering.read_answer(job, records)

    check(subject)


def test_reading_a_cache_entry_takes_linear_time() -> None:
    key = compile_cache.key([b"x"])

    def subject(n: int) -> Callable[[], object]:
        modules = tuple(f"templater.pongo2.filters.a{number}" for number in range(n))
        data = compile_cache.encode(CacheEntry(modules, b"\n" * n), key)
        return lambda: compile_cache.decode(data, key)

    check(subject)


def test_splitting_a_line_into_words_takes_linear_time() -> None:
    check(lambda n: lambda words=["--allow", "/a", "c1"] * n: options.read_options(words))


def test_reading_a_journal_and_removing_its_leftovers_takes_linear_time(
    folder: Callable[[int], Path],
) -> None:
    def subject(n: int) -> Callable[[], object]:
        top = folder(n)
        (top / "root").mkdir(exist_ok=True)
        with StateDirectory(str(top)) as state:
            Journal(state.directory).write([f"/d{number}" for number in range(n)])

        def read() -> None:
            with StateDirectory(str(top)) as state, Root(str(top / "root")) as root:
                sweep(root, [], Journal(state.directory))
                Journal(state.directory).write([f"/d{number}" for number in range(n)], durable=False)

        return read

    check(subject)


@pytest.mark.parametrize("order", ["equal", "reversed", "other"])
def test_comparing_a_plan_with_the_recorded_files_takes_linear_time(
    order: str, folder: Callable[[int], Path]
) -> None:
    def subject(n: int) -> Callable[[], object]:
        paths = [f"/{'long/' * 20}{number}" for number in range(n)]
        with StateDirectory(str(folder(n))) as state:
            record = Record(state)
            record.stage(plan_of(paths), {}, {})
            record.commit()
        later = {"equal": paths, "reversed": paths[::-1], "other": [f"{path}.new" for path in paths]}[order]
        plan = plan_of(later)

        def compare() -> None:
            with StateDirectory(str(folder(n))) as state:
                record = Record(state)
                record.stage(plan, {}, {})
                record.discard()

        return compare

    check(subject, 1000)


def plan_of(paths: list[str]) -> Plan:
    """Return a plan that creates an empty file at each path."""
    changes = []
    for path in paths:
        change = Change(Rule(path, "t.tpl", ("start",)), "start", path, CREATE)
        change.real, change.content = path, b""
        changes.append(change)
    return Plan(Metadata(), Instance(), NONE, ("start",), tuple(changes))


def test_removing_leftover_files_of_killed_runs_takes_linear_time(folder: Callable[[int], Path]) -> None:
    def subject(n: int) -> Callable[[], object]:
        top = folder(n)
        for number in range(n):
            (top / f".templater-aaaa-0-{number}").touch()

        def sweep_all() -> None:
            with Root(str(top)) as root:
                sweep(root, ["/x"], None)
            assert os.listdir(top) == []

        return sweep_all

    check(subject, 500)  # making the files takes longer than removing them


@pytest.mark.parametrize("mechanism", ["openat2", "walk"])
def test_walking_a_directory_takes_linear_time(mechanism: str, folder: Callable[[int], Path]) -> None:
    def subject(n: int) -> Callable[[], object]:
        top = folder(n)
        for number in range(n):
            (top / f"f{number}").touch()

        def walk() -> None:
            with DirectoryRootfs(Root(str(top), mechanism=mechanism)) as rootfs:
                assert len(list(rootfs.walk())) == n

        return walk

    check(subject, 1000)


def test_walking_a_root_filesystem_in_memory_takes_linear_time() -> None:
    def subject(n: int) -> Callable[[], object]:
        tree = MemoryRootfs({f"/d{number % 50}/f{number}": "x" for number in range(n)})
        return lambda: len(list(tree.walk()))

    check(subject)


def test_reading_a_file_takes_linear_time(folder: Callable[[int], Path]) -> None:
    def subject(n: int) -> Callable[[], object]:
        top = folder(n)
        (top / "f").write_bytes(bytes(100 * n))

        def read() -> None:
            with Root(str(top)) as root:
                root.read("/f", 1 << 30)

        return read

    check(subject)
