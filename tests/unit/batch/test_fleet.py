"""Many instances: the same results as one by one, in order, however the list is cut and by however many."""

import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from templater.batch import fleet, shared_list
from templater.batch.fleet import Fleet, order
from templater.batch.list_file import ListFile
from templater.batch.shared_list import batches
from templater.batch.workers import MOST_WAITING
from templater.cli import main
from templater.image.open import open_image
from templater.model.errors import TemplaterError
from templater.model.hosts import HOSTS
from templater.parsing import instance_list
from templater.parsing.instance_list import Blocks, Held, boundary, stream_instances, values_of
from templater.planning.planner import plan
from templater.reporting.report import plan_data
from templater.sandbox.child import ChildFailure

ROOT = Path(__file__).resolve().parents[3]
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


class InMemory(io.BytesIO):
    """What is read like a pipe: it has no descriptor."""

    descriptor = None


def in_file(data):
    """A file that several can read."""
    file = tempfile.NamedTemporaryFile(prefix="templater-test.")  # noqa: SIM115 - closed with its last user
    file.write(data)
    file.seek(0)
    file.descriptor = file.fileno()
    return file


def told(data, jobs, image=WEB, triggers=("create", "start"), show="json", source=InMemory, **more):
    """The text, and the instances, files, failing ones, worst code and errors in all."""
    given_order = order(
        open_image(image), triggers=triggers, host="incus", show=show, file="all.json", **more
    )
    file = source(data)
    made = list(batches(given_order, file.read, jobs, file.descriptor))
    text = b"".join(batch.data for batch in made)
    errors = [error for batch in made for error in batch.errors]
    sums = [sum(getattr(batch, name) for batch in made) for name in ("instances", "changes", "failing")]
    return text, *sums, max((batch.code for batch in made), default=0), errors


def plans(data, jobs, image=WEB, **more):
    return [json.loads(line) for line in told(data, jobs, image, **more)[0].splitlines()]


def one_by_one(data, image=WEB, triggers=("create", "start")):
    for instance in stream_instances(io.BytesIO(data).read, "all.json"):
        yield plan_data(plan(open_image(image), instance, triggers=triggers, host=HOSTS["incus"]))


IMAGES = ["debian-cloud", "permissions", "netplan", "broken", "rocky-vm", "openwrt", "ubuntu-2016"]


@pytest.mark.parametrize("image", IMAGES)
def test_a_fleet_gets_what_each_instance_gets_alone(image):
    data, image = a_list(12), str(SAMPLES / image)
    assert plans(data, 1, image) == list(one_by_one(data, image))


@pytest.mark.parametrize("image", IMAGES)
def test_plans_that_are_alike_are_made_once(image, monkeypatch):
    made = []
    real = Fleet.planned
    monkeypatch.setattr(Fleet, "planned", lambda self, *a: made.append(1) or real(self, *a))
    counted = told(a_list(40), 1, str(SAMPLES / image))
    assert counted[1] == 40
    assert 1 <= len(made) <= 4


def test_errors_that_differ_are_told_as_if_alone(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "a.tpl").write_text('{{ true|yesno:config_get("user.words", "") }}')
    (tmp_path / "templates" / "b.tpl").write_text("{{ instance.name }}")
    rules = [f"  /etc/{name}: {{when: [create], template: {name}.tpl}}\n" for name in "ab"]
    (tmp_path / "metadata.yaml").write_text("templates:\n" + "".join(rules))
    values = [{"user.words": f"a,b,c,{number % 100}"} if number % 3 else {} for number in range(300)]
    instances = [an_instance(n, config=config, expanded_config=config) for n, config in enumerate(values)]
    data = json.dumps(instances).encode()
    assert plans(data, 1, str(tmp_path)) == list(one_by_one(data, str(tmp_path)))
    _, count, _, failing, code, errors = told(data, 1, str(tmp_path), show="summary")
    assert (count, failing, code) == (300, 200, 5)
    assert [name for _, name in errors] == [f"web{n}" for n in range(300) if n % 3]
    assert len({error for error, _ in errors}) > fleet.MOST_FORMS


@pytest.mark.parametrize("ascii", [True, False])
def test_odd_names_and_contents_are_told_as_if_alone(ascii):
    values = ["\udc80", '\x00"\\', "é\u2028", "</script>", "blank-0", "😀", ""]
    names = ["a", "-", "é", "a.b", 'x"y', "a" * 300, "blank-0"]
    instances = [an_instance(0, name=name) for name in names]
    for instance, value in zip(instances, values, strict=True):
        instance["config"] = instance["expanded_config"] = {
            "user.user-data": value,
            "user.vendor-data": value,
        }
    data = json.dumps(instances, ensure_ascii=ascii).encode("utf-8", "surrogateescape")
    assert plans(data, 1) == list(one_by_one(data))


#: one file written by two passes: what the second does depends on whether the content is the same
TWICE = """\
templates:
  /etc/a: {when: [create, start], template: trigger.tpl}
  /etc/b: {when: [create, start], template: name.tpl}
  /etc/c: {when: [create], template: name.tpl}
"""


@pytest.mark.parametrize("kind", ["container", "virtual-machine"])
def test_files_written_twice_are_told_as_if_alone(tmp_path, kind):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "trigger.tpl").write_text('{{ config_get("user.x", trigger) }}')
    (tmp_path / "templates" / "name.tpl").write_text("{{ instance.name }}")
    (tmp_path / "metadata.yaml").write_text(TWICE)
    values = [{}, {"user.x": "same"}, {"user.x": "web3"}, {}, {"user.x": "web5"}, {"user.x": "start"}]
    instances = [
        an_instance(n, type=kind, config=config, expanded_config=config) for n, config in enumerate(values)
    ]
    data = json.dumps(instances).encode()
    found = plans(data, 1, str(tmp_path))
    assert found == list(one_by_one(data, str(tmp_path)))
    if kind == "virtual-machine":
        assert len({tuple(change["action"] for change in one["changes"]) for one in found}) > 1


def test_an_image_can_not_speak_in_the_name_of_a_blank(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "a.tpl").write_text("x")
    made = Fleet(order(open_image(WEB), triggers=("create",), host="incus"))
    (tmp_path / "metadata.yaml").write_text(
        f"templates:\n  /etc/{made._blank}: {{when: [create], template: a.tpl}}\n"
    )
    data = a_list(3)
    assert plans(data, 1, str(tmp_path)) == list(one_by_one(data, str(tmp_path)))


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(shared_list, "FIRST", 2048)
    monkeypatch.setattr(shared_list, "PIECE", 4096)
    monkeypatch.setattr(shared_list, "FEW", 8192)


SNAPSHOTS = {"snapshots": [{"name": "s0", "x": [{"a": 1}]}, {"name": "s1"}]}
#: the text around a comma between them is that between instances
LIKE_INSTANCES = {"snapshots": [an_instance(1), an_instance(2), an_instance(3)], "stateful": False}


SOURCES = pytest.mark.parametrize("source", [InMemory, in_file], ids=["pipe", "file"])


@SOURCES
@pytest.mark.parametrize("show", ["json", "summary", "patch"])
@pytest.mark.parametrize("jobs", [2, 3])
@pytest.mark.parametrize("more", [{}, SNAPSHOTS, LIKE_INSTANCES], ids=["flat", "nested", "alike"])
def test_processes_change_nothing(jobs, more, show, source, small_pieces):
    data = a_list(150, **more)
    assert told(data, jobs, show=show, source=source) == told(data, 1, show=show)


@SOURCES
def test_the_list_may_be_written_in_any_way(source, small_pieces):
    elements = [an_instance(number, **LIKE_INSTANCES) for number in range(60)]
    wanted = told(json.dumps(elements).encode(), 1)
    for indent, separators in [(None, (",", ":")), (1, None), (4, (" , ", " : ")), ("\t", (",", ":"))]:
        data = json.dumps(elements, indent=indent, separators=separators).encode()
        assert told(b"\xef\xbb\xbf \n" + data + b" \n\n", 2, source=source) == wanted


@SOURCES
def test_work_is_shared_and_not_done_by_one_alone(source, small_pieces, monkeypatch):
    alone = []
    real = Fleet.result
    monkeypatch.setattr(Fleet, "result", lambda self, value: alone.append(1) or real(self, value))
    for more in ({}, SNAPSHOTS, LIKE_INSTANCES):
        alone.clear()
        assert told(a_list(300, **more), 2, source=source)[1] == 300
        assert 0 < len(alone) < 10


def outcome(data, jobs, source=InMemory):
    """What was told before the error, and the error."""
    given_order = order(
        open_image(WEB), triggers=("create", "start"), host="incus", show="json", file="all.json"
    )
    text, file = b"", source(data)
    try:
        for batch in batches(given_order, file.read, jobs, file.descriptor):
            text += batch.data
    except TemplaterError as error:
        return text, type(error), error.explain()
    return text, None, ""


@SOURCES
def test_an_error_names_the_instance_whoever_found_it(source, small_pieces):
    instances = json.loads(a_list(120))
    instances[97]["config"] = instances[97]["expanded_config"] = [1]
    data = json.dumps(instances).encode()
    text, kind, said = outcome(data, 1)
    assert text.count(b"\n") == 97
    assert issubclass(kind, TemplaterError) and "97" in said
    assert outcome(data, 2, source) == (text, kind, said)


def between(data, comma):
    """Something else in place of the comma before the last instance."""
    head, tail = data.rsplit(b'},{"arch', 1)
    return head + b"}" + comma + b'{"arch' + tail


DAMAGES = {
    "cut short": lambda d: d[:-40],
    "no bracket": lambda d: d[:-1],
    "two lists": lambda d: d + b"[]",
    "a mapping": lambda d: b"{" + d,
    "a zero": lambda d: d[: len(d) // 2] + b"\x00" + d[len(d) // 2 :],
    "a comma at the end": lambda d: d[:-1] + b",]",
    "cut behind a comma": lambda d: d[: d.rindex(b'{"architecture')],
    "cut behind an inner comma": lambda d: d[: d.rindex(b',"type') + 1],
    "no comma": lambda d: between(d, b" "),
    "two commas": lambda d: between(d, b",,"),
    "a bracket between": lambda d: between(d, b"],"),
    "lists in a row": lambda d: between(d, b"],["),
    "no quote": lambda d: d[: len(d) // 2] + d[len(d) // 2 :].replace(b'"name"', b'name"', 1),
    "a quote more": lambda d: d[: len(d) // 2] + d[len(d) // 2 :].replace(b'"name"', b'"name""', 1),
    "too deep": lambda d: d[:-1] + b"," + b"[" * 200_000,
    "an element of another kind": lambda d: d[:-1] + b",5]",
}


@SOURCES
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_list_is_the_same_error_however_many_read_it(damage, source, small_pieces):
    damaged = damage(a_list(100))
    text, kind, said = outcome(damaged, 1)
    assert kind is not None
    assert outcome(damaged, 2, source) == (text, kind, said)


@SOURCES
def test_an_instance_too_large_is_the_same_error(source, small_pieces, monkeypatch):
    monkeypatch.setattr(instance_list, "LARGEST_INSTANCE", 1 << 16)
    monkeypatch.setattr(instance_list, "_CHUNK", 1 << 12)
    instances = [an_instance(number) for number in range(50)]
    instances.append(an_instance(50, description="x" * (1 << 19)))
    data = json.dumps(instances).encode()
    text, kind, said = outcome(data, 1)
    assert text.count(b"\n") == 50
    assert "instance 50 of all.json is larger than" in said
    assert outcome(data, 2, source) == (text, kind, said)


def test_a_process_that_dies_is_an_error_that_says_so(small_pieces, monkeypatch):
    parent, real = os.getpid(), Fleet.result

    def result(self, value):
        if os.getpid() != parent and value[1]["name"] == "web70":
            os.kill(os.getpid(), 9)
        return real(self, value)

    monkeypatch.setattr(Fleet, "result", result)
    made = order(open_image(WEB), triggers=("create",), host="incus", show="json", file="x")
    names = []
    with pytest.raises(ChildFailure) as caught:
        for batch in batches(made, io.BytesIO(a_list(150)).read, 2):
            names += [json.loads(line)["instance"] for line in batch.data.splitlines()]
    assert names == [f"web{n}" for n in range(len(names))] and len(names) <= 70
    assert "killed by SIGKILL" in str(caught.value)
    assert f"after {len(names)} instances" in str(caught.value)
    assert "--jobs 1" in caught.value.explain()


def test_processes_end_when_nobody_wants_more(small_pieces):
    made = order(open_image(WEB), triggers=("create",), host="incus", show="json", file="x")
    running = batches(made, io.BytesIO(a_list(500)).read, 2)
    for _ in range(3):
        next(running)
    assert 1 <= len(children()) <= 2
    running.close()
    assert children() == []


def children():
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


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
    opening = (b"\xef\xbb\xbf" if bom else b"") + b" ["
    with in_file(opening + data[1:]) as file:
        for source in (ListFile(file.descriptor), Held(InMemory(opening + data[1:]).read)):
            blocks = Blocks(source)
            assert blocks.begin() and source.window(0, 4) == data[1:5]
            assert list(cut(blocks, size)) == json.loads(data, parse_int=str)


def cut(blocks, size):
    """The elements, as processes would find them."""
    last = False
    while not last:
        block, last = blocks.next(size)
        values = values_of(blocks.source.data_of(block), last)
        if values is None:
            assert not blocks.decode
            blocks.give_back([block])
            last, blocks.decode = False, True
        else:
            yield from values


def test_an_element_that_does_not_end_has_no_boundary():
    assert boundary(b'{"a":"},{\\"b') == (0, 0)
    assert boundary(b'{"a":1} , {"b":') == (7, 9)
    assert boundary('{"a":"é"} , {"b":'.encode()) == (10, 12)


@pytest.mark.parametrize(
    "block",
    [b"", b"]", b",", b"1", b'{"a":1', b'{"a":[{},', b"1],[2]", b"1],", b"[1]]]", b"1] x", b"1,,", b"1,"],
)
def test_what_is_no_block_has_no_values(block):
    assert values_of(block, True) is None
    assert block == b"1," or values_of(block, False) is None


def test_keys_are_laid_over_every_instance():
    found = plans(a_list(3), 1, triggers=("create",), config={"cloud-init.user-data": "mine"})
    assert [any(c["content"] == "mine\n" for c in one["changes"]) for one in found] == [True] * 3


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


def test_root_filesystems_are_compared_by_several_as_by_one(tmp_path, small_pieces):
    for number in range(60):
        etc = tmp_path / f"web{number}" / "rootfs" / "etc"
        etc.mkdir(parents=True)
        (etc / "hostname").write_text(f"web{number // 2}\n")
    pattern = str(tmp_path / "{name}" / "rootfs")
    alone = told(a_list(60), 1, show="patch", rootfs=pattern)
    assert told(a_list(60), 2, show="patch", rootfs=pattern) == alone
    assert alone[0].count(b"+++ b/etc/hostname\n") == 50  # web0 has its name already, and nine are machines


def test_where_nothing_differs_several_say_nothing_as_one_does(tmp_path):
    """The list is long enough that processes are made, and from its first instance on there is no patch."""
    image = tmp_path / "image"
    (image / "templates").mkdir(parents=True)
    (image / "templates/motd.tpl").write_text("hello\n")
    (image / "metadata.yaml").write_text(
        "architecture: x86_64\ncreation_date: 1700000000\n"
        "templates:\n  /motd:\n    when: [start]\n    template: motd.tpl\n"
    )
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "rootfs/motd").write_text("hello\n")
    data = a_list(6000).replace(b'"virtual-machine"', b'"container"')
    assert len(data) > shared_list.FEW
    alone, several = (
        told(data, jobs, str(image), triggers=("start",), show="patch", rootfs=str(tmp_path / "rootfs"))
        for jobs in (1, 2)
    )
    assert several == alone
    assert (alone[0], alone[1]) == (b"", 6000)


def test_a_short_list_is_no_work_for_several(monkeypatch):
    def no_workers(*_):
        raise AssertionError("processes for a list that is done before they are there")

    monkeypatch.setattr(shared_list, "Workers", no_workers)
    for source in (InMemory, in_file):
        assert told(a_list(200), 2, source=source)[1] == 200


COMMAND = [sys.executable, "-m", "templater", "preview", WEB, "--json", "--instances"]


def test_the_command_reads_a_pipe_and_a_file(tmp_path):
    data = a_list(6000)
    (tmp_path / "all.json").write_bytes(data)
    one = subprocess.run(
        [*COMMAND, "-", "--jobs", "1"], input=data, cwd=ROOT, capture_output=True, check=False
    )
    piped = subprocess.run(
        [*COMMAND, "-", "--jobs", "2"], input=data, cwd=ROOT, capture_output=True, check=False
    )
    filed = subprocess.run(
        [*COMMAND, tmp_path / "all.json", "--jobs", "2"], cwd=ROOT, capture_output=True, check=False
    )
    assert one.stdout.count(b"\n") == 6000
    assert (piped.stdout, piped.stderr, piped.returncode) == (one.stdout, one.stderr, one.returncode)
    assert (filed.stdout, filed.stderr, filed.returncode) == (one.stdout, one.stderr, one.returncode)


def test_a_reader_that_goes_away_ends_all_of_it(tmp_path):
    (tmp_path / "all.json").write_bytes(a_list(20_000))
    command = subprocess.Popen(
        [*COMMAND, tmp_path / "all.json", "--jobs", "2"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert command.stdout.read(100)
    command.stdout.close()
    assert command.stderr.read() == b""  # which the processes held open, too
    assert command.wait() == 141
    command.stderr.close()


def test_a_name_that_is_a_path_reaches_no_root_filesystem(tmp_path):
    (tmp_path / "outside" / "rootfs").mkdir(parents=True)
    data = json.dumps([an_instance(0, name="../outside")]).encode()
    with pytest.raises(TemplaterError):
        told(data, 1, rootfs=str(tmp_path / "inside" / "{name}" / "rootfs"))


@pytest.mark.parametrize(
    "arguments",
    [["-i", "x"], ["--name", "x"], ["--vm"], ["-p", "x"], ["-o", "tree"], ["--rootfs", "no-name-in-it"]],
)
def test_what_describes_one_instance_does_not_go_with_many(arguments, tmp_path, capfd):
    (tmp_path / "all.json").write_bytes(a_list(1))
    assert main(["preview", WEB, "--instances", str(tmp_path / "all.json"), *arguments]) == 2


def test_one_of_a_list_is_what_the_other_option_takes(tmp_path, capfd):
    file = tmp_path / "all.json"
    file.write_bytes(a_list(2))
    assert main(["preview", WEB, "--instances", f"{file}#web1"]) == 2
    said = capfd.readouterr().err
    assert "not 'web1' alone" in said
    assert f"hint: -i '{file}#web1' takes one" in said
    (tmp_path / "all.json#web1").write_bytes(a_list(2))
    assert main(["preview", WEB, "--instances", f"{file}#web1"]) == 0


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
    for count in (16_000, 48_000):
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
    # what waits for its turn is more or less, as the processes happen to be fast, up to a limit
    assert peaks[1] < peaks[0] + MOST_WAITING // 1024
    assert peaks[1] < 75 * 1024


def test_templates_are_compiled_once(monkeypatch):
    calls = []
    import templater.pongo2 as pongo2

    real = pongo2.compile
    monkeypatch.setattr(pongo2, "compile", lambda *a, **k: calls.append(1) or real(*a, **k))
    made = Fleet(order(open_image(WEB), triggers=("create",), host="incus"))
    for instance in stream_instances(io.BytesIO(a_list(20)).read, "x"):
        made.plan(instance)
    assert len(calls) == 6
