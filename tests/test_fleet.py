"""Many instances: the same results as one by one, in order, however the list is cut and by however many."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from templater import fleet
from templater.cli import main
from templater.errors import TemplaterError
from templater.fleet import Fleet, boundary, order, pieces_of, results
from templater.hosts import HOSTS
from templater.image import open_image
from templater.instance_list import stream_instances
from templater.plan import plan
from templater.report import plan_data

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "sample-images"
WEB = str(SAMPLES / "debian-cloud")


def an_instance(number, **more):
    config = {
        "user.user-data": f"#cloud-config\nhostname: web{number}\n",
        "image.os": "debian",
        "user.text": '"},{"',
    }
    return {
        "architecture": "x86_64", "config": config, "devices": {}, "ephemeral": False, "expanded_config": config,
        "expanded_devices": {"eth0": {"type": "nic", "name": "eth0"}}, "name": f"web{number}", "profiles": ["default"],
        "type": "virtual-machine" if number % 7 == 3 else "container", **more,
    }  # fmt: skip


def a_list(count, **more):
    return json.dumps(
        [an_instance(number, **more) for number in range(count)], separators=(",", ":")
    ).encode()


def carried_out(data, jobs, image=WEB, triggers=("create", "start"), **more):
    given_order = order(
        open_image(image), triggers=triggers, host="incus", show="json", file="all.json", **more
    )
    return list(results(given_order, io.BytesIO(data).read, jobs))


def one_by_one(data, image=WEB, triggers=("create", "start")):
    for instance in stream_instances(io.BytesIO(data).read, "all.json"):
        yield plan_data(plan(open_image(image), instance, triggers=triggers, host=HOSTS["incus"]))


@pytest.mark.parametrize("image", ["debian-cloud", "permissions", "netplan", "broken", "rocky-vm"])
def test_a_fleet_gets_what_each_instance_gets_alone(image):
    data, image = a_list(12), str(SAMPLES / image)
    assert [json.loads(result.text) for result in carried_out(data, 1, image)] == list(
        one_by_one(data, image)
    )


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(fleet, "PIECE", 4096)
    monkeypatch.setattr(fleet, "FEW", 8192)


@pytest.mark.parametrize("jobs", [2, 3])
@pytest.mark.parametrize(
    "more", [{}, {"snapshots": [{"name": "s0", "x": [{"a": 1}]}, {"name": "s1"}]}], ids=["flat", "nested"]
)
def test_processes_change_nothing(jobs, more, small_pieces):
    data = a_list(150, **more)
    assert carried_out(data, jobs) == carried_out(data, 1)
    assert [result.name for result in carried_out(data, jobs)] == [f"web{n}" for n in range(150)]


def test_an_error_names_the_instance_whoever_found_it(small_pieces):
    instances = json.loads(a_list(120))
    instances[97]["config"] = instances[97]["expanded_config"] = [1]
    data = json.dumps(instances).encode()
    for jobs in (1, 2):
        with pytest.raises(TemplaterError) as caught:
            carried_out(data, jobs)
        assert "97" in str(caught.value)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d[:-40],
        lambda d: d[:-1],
        lambda d: d + b"[]",
        lambda d: b"{" + d,
        lambda d: d[: len(d) // 2] + b"\x00" + d[len(d) // 2 :],
    ],
)
def test_a_damaged_list_is_an_error(damage, jobs, small_pieces):
    with pytest.raises(TemplaterError):
        carried_out(damage(a_list(100)), jobs)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.sampled_from('ab",{}[]:\\ \n\té')),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.sampled_from('ab"{},'), max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)
SEPARATORS = [(",", ":"), (", ", ": "), (" ,\n ", " : ")]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.text(st.sampled_from('ab"'), max_size=2), JSON, min_size=1, max_size=3),
        min_size=1,
        max_size=12,
    ),
    st.integers(8, 60),
    st.sampled_from(SEPARATORS),
    st.booleans(),
)
def test_law_a_list_cut_into_pieces_is_the_same_list(elements, size, separators, bom):
    data = json.dumps(elements, separators=separators, ensure_ascii=False).encode()
    old, fleet.PIECE = fleet.PIECE, size
    try:
        stream = fleet._Stream(io.BytesIO((b"\xef\xbb\xbf" if bom else b"") + b" " + data).read)
        pieces = list(pieces_of(stream, "x"))
    finally:
        fleet.PIECE = old
    assert [element for piece in pieces for element in json.loads(piece)] == elements


def test_an_element_that_does_not_end_has_no_boundary():
    assert boundary(b'{"a":"},{\\"b') is None
    assert boundary(b'{"a":1} , {"b":') == (7, 9)


def test_keys_are_laid_over_every_instance():
    found = carried_out(a_list(3), 1, triggers=("create",), config={"cloud-init.user-data": "mine"})
    assert all('"mine\\n"' in result.text for result in found)


def test_each_instance_has_its_own_root_filesystem(tmp_path, capfd):
    for number in range(2):
        (tmp_path / f"web{number}" / "rootfs" / "etc").mkdir(parents=True)
    (tmp_path / "web0" / "rootfs" / "etc" / "hostname").write_text("web0\n")
    (tmp_path / "all.json").write_bytes(a_list(2))
    pattern = str(tmp_path / "{name}" / "rootfs")
    code = main(
        ["diff", str(SAMPLES / "alpine"), pattern, "--instances", str(tmp_path / "all.json"), "-t", "create"]
    )
    out = capfd.readouterr().out
    assert code == 0
    assert out.count("+++ b/etc/hostname") == 1
    assert out.count("+++ b/etc/hosts") == 2


def test_a_name_that_is_a_path_reaches_no_root_filesystem(tmp_path):
    (tmp_path / "outside" / "rootfs").mkdir(parents=True)
    data = json.dumps([an_instance(0, name="../outside")]).encode()
    with pytest.raises(TemplaterError):
        carried_out(data, 1, rootfs=str(tmp_path / "inside" / "{name}" / "rootfs"))


@pytest.mark.parametrize(
    "arguments",
    [["-i", "x"], ["--name", "x"], ["--vm"], ["-p", "x"], ["-o", "tree"], ["--rootfs", "no-name-in-it"]],
)
def test_what_describes_one_instance_does_not_go_with_many(arguments, tmp_path, capfd):
    (tmp_path / "all.json").write_bytes(a_list(1))
    assert main(["preview", WEB, "--instances", str(tmp_path / "all.json"), *arguments]) == 2


def test_the_exit_code_is_that_of_the_worst(tmp_path, capfd):
    (tmp_path / "all.json").write_bytes(a_list(2))
    assert (
        main(["preview", str(SAMPLES / "broken"), "--instances", str(tmp_path / "all.json"), "-t", "create"])
        == 5
    )
    said = capfd.readouterr()
    assert "2 x (first: web0)" in said.err


PEAK = """
import resource, sys
sys.path.insert(0, {root!r})
from templater.cli import main
main(["preview", {image!r}, "--instances", {file!r}, "--json", "-t", "create"])
# ru_maxrss of a process begins with that of whoever started it
own = int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(max(own, children), file=sys.stderr)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_list(tmp_path):
    peaks = []
    for count in (4_000, 16_000):
        file = tmp_path / f"{count}.json"
        file.write_bytes(a_list(count))
        code = PEAK.format(root=str(ROOT), image=WEB, file=str(file))
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
            env=os.environ,
        )
        peaks.append(int(done.stderr.split()[-1]))
    assert peaks[1] < 150 * 1024
    assert peaks[1] < peaks[0] * 1.15


def test_templates_are_compiled_once(monkeypatch):
    calls = []
    import templater.pongo2 as pongo2

    real = pongo2.compile
    monkeypatch.setattr(pongo2, "compile", lambda *a, **k: calls.append(1) or real(*a, **k))
    made = Fleet(order(open_image(WEB), triggers=("create",), host="incus"))
    for instance in stream_instances(io.BytesIO(a_list(20)).read, "x"):
        made.plan(instance)
    assert len(calls) == 6
