"""The limits of a whole command: exit code 4 with the limit's name, and all settings restored."""

import io
import math
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from types import SimpleNamespace

import click
import pytest

from templater import limit_option
from templater.cli import enforce_limits, open_and_plan, read_in_sandbox
from templater.cli.enforce_limits import guard, listed_instances, paused, processor_left
from templater.cli.run_command_line import command, main
from templater.distribution import fetch_image
from templater.distribution.tree import Tree
from templater.limit_option import COMMAND, parse
from templater.model import counters_of_work
from templater.model.errors import LimitError
from templater.oslite import address_space
from templater.sandbox import child_json, unpacker_process
from templater.sandbox.child import BoundError, Bounds


@pytest.fixture
def image(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/a.tpl").write_text("a")
    (tmp_path / "metadata.yaml").write_text(
        "architecture: x86_64\ncreation_date: 1\ntemplates: {/etc/a: {when: [create], template: a.tpl}}\n"
    )
    return str(tmp_path)


def state():
    return (
        signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGPROF),
        signal.getitimer(signal.ITIMER_REAL), signal.getitimer(signal.ITIMER_PROF),
        resource.getrlimit(resource.RLIMIT_AS),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "work", "words"),
    [
        ("command-time=1", lambda: time.sleep(20), "longer than 1 seconds"),
        pytest.param("command-processor=1", lambda: _spin(20), "of processor time", marks=pytest.mark.slow),
        ("command-memory=64MiB", lambda: bytearray(256 << 20), "more than 64 MiB of memory"),
    ],
)
def test_operation_without_its_own_limit_respects_the_command_limits(
    limit, work, words, image, monkeypatch, capfd
):
    before = state()
    real = open_and_plan.render_options
    monkeypatch.setattr(open_and_plan, "render_options", lambda request: work() or real(request))
    begin = time.monotonic()
    assert main(["preview", image, "--limit", limit]) == 4
    assert time.monotonic() - begin < 15
    said = capfd.readouterr().err
    assert words in said
    assert f"--limit {limit.partition('=')[0]}=" in said
    assert state() == before


def _spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@pytest.mark.slow
def test_an_exception_handler_does_not_suppress_the_command_time_limit():
    begin = time.monotonic()
    with (
        pytest.raises(LimitError, match="longer than 1 seconds"),
        guard(parse(["command-time=1"], (COMMAND,))),
    ):
        for _ in range(20):
            with suppress(Exception):  # a reader of one member might suppress errors like this
                time.sleep(1)
    assert time.monotonic() - begin < 5


def test_second_signal_at_the_end_leaves_no_timer_behind(monkeypatch):
    """A signal could arrive before the timers were stopped. Its exception skipped the rest of the cleanup."""
    before = state()
    real, late = signal.setitimer, [enforce_limits._OverError("command-time")]

    def setitimer(timer, seconds, interval=0.0):
        if not seconds and late:
            raise late.pop()
        return real(timer, seconds, interval)

    monkeypatch.setattr("_signal.setitimer", setitimer)
    with (
        pytest.raises(LimitError, match="longer than 60 seconds"),
        guard(parse(["command-time=60"], (COMMAND,))),
    ):
        pass
    assert state() == before


@pytest.mark.parametrize("error", [enforce_limits._OverError("command-time"), MemoryError()])
def test_a_limit_error_mentions_unrestored_files(error):
    error.add_note("can't restore '/etc/a'")
    with pytest.raises(LimitError) as caught, guard(parse(["command-time=60"], (COMMAND,))):
        raise error
    assert caught.value.notes == ("can't restore '/etc/a'",)


def test_the_signal_handlers_and_limits_are_restored_after_a_successful_command(image, capfd):
    before = state()
    assert main(["preview", image]) == 0
    assert main(["audit", image]) in (0, 1)
    assert state() == before


@pytest.mark.parametrize(
    "command",
    ["preview IMAGE", "diff IMAGE IMAGE", "simulate IMAGE start", "audit IMAGE", "image info IMAGE"],
)
def test_commands_with_an_image_have_a_memory_limit(command, image, monkeypatch, capfd):
    def too_much(*_, **__):
        raise MemoryError

    monkeypatch.setattr("templater.image.open_image.open_image", too_much)
    monkeypatch.setattr("templater.sources.open_source.open_source", too_much)
    monkeypatch.setattr("templater.checks.audit_report.audit_report", too_much)
    monkeypatch.setattr("templater.image.describe.describe", too_much)
    assert main(command.replace("IMAGE", image).split()) == 4
    assert "--limit command-memory=" in capfd.readouterr().err


#: commands that read no image
OTHERS = {"schema", "new", "trigger", "remote add", "remote list", "remote remove"}  # fmt: skip
#: commands of the store that read an image; the others read the store's own index
STORE = {"store import", "store refresh"}
#: commands that always apply the limits of a whole command, and hooks, which have the option ``--time-limit``
FIXED = {
    "watch",
    "compile",
    "completion",
    "hook install",
    "hook incus",
    "hook lxc",
    "hook nspawn",
    "hook oci",
}


def commands(group, name=""):
    for word in group.list_commands(click.Context(group)):
        found = group.get_command(click.Context(group), word)
        if isinstance(found, click.Group):
            yield from commands(found, f"{name}{word} ")
        else:
            yield f"{name}{word}", found


COMMANDS = dict(commands(command))


@pytest.mark.parametrize(
    "name", [n for n in COMMANDS if n not in OTHERS | FIXED and (n in STORE or not n.startswith("store "))]
)
def test_every_command_with_an_image_accepts_limits_on_the_whole_command(name):
    (option,) = [option for option in COMMANDS[name].params if option.name == "limits"]
    given = option.callback(None, option, ("command-time=7", "command-processor=8", "command-memory=9MiB"))
    assert (given.command["time"], given.command["processor"]) == (7, 8)


@pytest.mark.parametrize(
    ("module", "attribute", "words"),
    [
        ("image.set_property", "metadata_of", ["image", "set-property", "IMAGE", "a=b"]),
        pytest.param(
            "image.unset_property",
            "metadata_of",
            ["image", "unset-property", "IMAGE", "a"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "image.template", "_metadata", ["image", "template", "list", "IMAGE"], marks=pytest.mark.slow
        ),
        pytest.param(
            "image.template", "_read", ["image", "template", "show", "IMAGE", "a.tpl"], marks=pytest.mark.slow
        ),
        pytest.param(
            "image.build",
            "source_date_epoch",
            ["image", "build", "IMAGE", "-o", "OUT"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "image.export", "source_date_epoch", ["image", "export", "IMAGE", "OUT"], marks=pytest.mark.slow
        ),
    ],
)
def test_time_limit_stops_editing_and_packing_of_an_image(
    module, attribute, words, image, tmp_path, monkeypatch, capfd
):
    def spin(*given):
        while True:
            time.sleep(0.01)

    monkeypatch.setattr(import_module(f"templater.cli.commands.{module}"), attribute, spin)
    places = {"IMAGE": image, "OUT": str(tmp_path / "out")}
    before = state()
    assert main([*(places.get(word, word) for word in words), "--limit", "command-time=1"]) == 4
    assert "longer than 1 seconds" in capfd.readouterr().err
    assert state() == before


@pytest.mark.slow
def test_processor_limit_includes_the_time_of_child_processes():
    """`check` could use nine seconds, its validators three more, and gpgv or sqfs2tar five more."""
    spinning = "import time\nwhile time.process_time() < 0.8: pass"
    with (
        pytest.raises(LimitError, match="longer than 2 seconds of processor time"),
        guard(parse(["command-processor=2"], (COMMAND,))),
    ):
        subprocess.run([sys.executable, "-c", spinning], check=True)
        assert processor_left() < 1.3
        with paused():  # the time of an editor does not count
            subprocess.run([sys.executable, "-c", spinning], check=True)
        _spin(0.4)
        finished = True
        _spin(1.3)
    assert finished
    assert processor_left() == math.inf


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="confined on Linux only")
def test_processor_time_of_running_reader_is_counted_only_once(tmp_path):
    """`unpack` used nine seconds while sqfs2tar used five more."""
    (tmp_path / "data").write_bytes(b"")
    spinning = ["sh", "-c", "while :; do :; done"]
    with guard(parse([])), (tmp_path / "data").open("rb") as data:
        left, used = processor_left(), sum(os.times()[:4])
        with unpacker_process.start(spinning, data.name, data.fileno(), Bounds(60)) as program:
            while program.processor_seconds() < 0.3:
                time.sleep(0.01)
            assert processor_left() < left - 0.3
        used = sum(os.times()[:4]) - used
        assert left - processor_left() == pytest.approx(used, abs=0.1)
        assert used > 0.25


@pytest.mark.parametrize(("limit", "left"), [([], 7.5), (["command-processor=3"], 2.5)])
def test_the_unpack_command_reserves_processor_time_for_removing_its_files(
    limit, left, image, tmp_path, monkeypatch
):
    """`unpack` removed 100,000 files after it had reached the limit."""
    monkeypatch.setattr(counters_of_work, "_opened", {})
    monkeypatch.setattr(counters_of_work, "_received", 0)
    found = []

    def unpack(*given, **options):
        found.append(processor_left())
        raise LimitError("the end")

    monkeypatch.setattr("templater.image.unpack.unpack", unpack)
    words = [word for each in limit for word in ("--limit", each)]
    assert main(["unpack", image, str(tmp_path / "new"), *words]) == 4
    assert left - 0.5 < found[0] < left + 0.001


def test_without_a_processor_limit_no_time_is_reserved_for_removing_files():
    enforce_limits.reserve_for_removal()
    assert processor_left() == math.inf


def test_the_image_reader_leaves_reserved_seconds_to_later_processes(image, monkeypatch):
    monkeypatch.setattr(read_in_sandbox, "needs_sandbox", lambda paths: True)
    bounds = []
    monkeypatch.setattr(child_json, "run", lambda prepare, work, given, waiting: bounds.append(given))
    monkeypatch.setattr(counters_of_work, "_opened", {})
    monkeypatch.setattr(counters_of_work, "_received", 0)
    with guard(parse([])):
        _spin(0.1)
        for reserved in (0, 3, 20):
            read_in_sandbox.read_image(int, [f"{image}/metadata.yaml"], parse([]), reserved=reserved)
    assert [each.cpu for each in bounds] == [8, 5, 1]


@pytest.mark.slow
def test_default_processor_limit_grows_with_the_input_size(monkeypatch):
    monkeypatch.setattr(counters_of_work, "_opened", {})
    monkeypatch.setattr(counters_of_work, "_received", 0)
    monkeypatch.setattr(limit_option, "IMAGE_SECONDS", 1)
    with pytest.raises(LimitError, match="longer than 3 seconds of processor time"), guard(parse([])):
        counters_of_work.count_opened(SimpleNamespace(st_dev=1, st_ino=1, st_size=1 << 20, st_blocks=1 << 11))
        counters_of_work.count_opened(
            SimpleNamespace(st_dev=1, st_ino=1, st_size=1 << 20, st_blocks=1 << 11)
        )  # the same file
        counters_of_work.received(1 << 20)
        _spin(2.5)
        finished = True
        _spin(2)
    assert finished


@pytest.mark.slow
def test_processor_limit_from_user_does_not_grow_with_input():
    counters_of_work.received(9 << 20)
    with (
        pytest.raises(LimitError, match="longer than 1 seconds of processor time"),
        guard(parse(["command-processor=1"], (COMMAND,))),
    ):
        _spin(4)


@pytest.mark.slow
def test_list_has_only_a_processor_limit_for_each_instance(monkeypatch):
    """With a list of instances, a command had no limits, even while it read the image."""
    monkeypatch.setattr(counters_of_work, "_instances", 0)
    limits = parse(["command-processor=1", "command-time=1"], (COMMAND,))
    with pytest.raises(LimitError, match="of processor time"), guard(limits, listed=True):
        time.sleep(1.2)
        for _ in listed_instances(io.BytesIO(b'[{"name": "a"}, {"name": "b"}]').read, "list"):
            _spin(0.6)
        finished = True
        _spin(3)
    assert finished


def test_limits_on_time_and_memory_grow_during_packing():
    packing, reading = parse([]).for_packing(), parse([]).for_command()
    assert packing.time > reading.time and packing.memory > reading.memory
    own = parse(["command-time=5", "command-memory=64MiB"], (COMMAND,)).for_packing()
    assert (own.time, own.memory) == (5, 64 << 20)


def test_a_command_with_downloads_may_run_for_a_day():
    reading = parse([]).for_command(None)
    with guard(parse([]), downloads=True):
        assert 86_000 < signal.getitimer(signal.ITIMER_REAL)[0] <= 86_400
        assert processor_left() < reading.processor + 0.001
    assert parse(["command-time=5"], (COMMAND,)).for_downloads().time == 5


def test_a_command_gets_the_packing_limits_when_it_begins_to_pack(monkeypatch):
    """The limits for packing applied to the whole command, including reading and checking."""
    monkeypatch.setattr(enforce_limits, "input_size", lambda: (3 << 20) - 1)
    before, size = state(), address_space()
    with guard(parse([])):
        assert 1700 < signal.getitimer(signal.ITIMER_REAL)[0] <= 1800
        assert 10.5 < processor_left() < 11.001
        assert resource.getrlimit(resource.RLIMIT_AS)[0] - size < 450 << 20
        kernel = resource.getrlimit(resource.RLIMIT_CPU)[0]
        counters_of_work.begin_packing()
        assert 28.5 < processor_left() < 29.001
        assert resource.getrlimit(resource.RLIMIT_CPU)[0] == kernel + 18
        assert resource.getrlimit(resource.RLIMIT_AS)[0] - size > 2 << 30
        counters_of_work.begin_packing()
        assert 28.5 < processor_left() < 29.001
        assert signal.getitimer(signal.ITIMER_REAL)[0] <= enforce_limits.CHECK_SECONDS
    assert state() == before
    assert counters_of_work.allow_packing == []


@pytest.mark.slow
def test_editor_time_does_not_count_towards_the_limit_of_later_packing():
    with guard(parse(["command-time=2"], (COMMAND,))):
        with paused():
            time.sleep(2)
        counters_of_work.begin_packing()
        counters_of_work.begin_packing()
        time.sleep(0.6)
        packed = True
        with pytest.raises(enforce_limits._OverError):
            time.sleep(20)
    assert packed


def test_a_processor_limit_from_the_user_does_not_grow_during_packing(monkeypatch):
    monkeypatch.setattr(enforce_limits, "input_size", lambda: 3 << 20)
    with guard(parse(["command-processor=7"], (COMMAND,))):
        counters_of_work.begin_packing()
        assert 6 < processor_left() < 7.001


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "words"),
    [("command-time=1", "longer than 1 seconds"), ("command-processor=1", "1 seconds of processor time")],
)
def test_command_ends_at_its_limits_while_waiting_for_packing(limit, words):
    """The timer for the processor time does not run while the process waits for another program."""
    with pytest.raises(LimitError, match=words), guard(parse([limit], (COMMAND,))):
        counters_of_work.begin_packing()
        spinning = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        seconds = partial(unpacker_process.processor_seconds, spinning.pid)
        if "processor" in limit:
            counters_of_work.running_programs.add(seconds)
        try:
            spinning.wait(20)
        finally:
            counters_of_work.running_programs.discard(seconds)
            spinning.kill()
            spinning.wait()


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["publish", "{i}", "-o"], ["image", "build", "{i}", "-o"], ["image", "export", "{i}"]]
)
def test_the_usual_limits_apply_until_packing_begins(words, image, monkeypatch, capfd):
    """`publish` checked an image for 13 seconds, because its limit for all work was one day."""
    os.mkdir(f"{image}/rootfs")
    monkeypatch.setattr(counters_of_work, "_opened", {})
    monkeypatch.setattr(counters_of_work, "_received", 0)
    monkeypatch.setattr(limit_option, "IMAGE_SECONDS", 1)
    monkeypatch.setattr(
        "templater.checks.audit_before_writing.check_parts", lambda parts, name: _spin(4) or []
    )
    command = [word.format(i=image) for word in words]
    assert main([*command, f"{image}/new.tar"]) == 4
    assert "the command takes longer than 1 seconds of processor time" in capfd.readouterr().err
    assert not os.path.exists(f"{image}/new.tar")


@pytest.mark.slow
def test_a_command_has_no_limits_while_an_editor_runs():
    with guard(parse(["command-time=1", "command-memory=64MiB"], (COMMAND,))):
        limited = resource.getrlimit(resource.RLIMIT_AS)
        with paused():
            assert signal.getitimer(signal.ITIMER_REAL) == signal.getitimer(signal.ITIMER_PROF) == (0, 0)
            assert resource.getrlimit(resource.RLIMIT_AS)[0] == limited[1]
            time.sleep(1.2)
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
        assert resource.getrlimit(resource.RLIMIT_AS) == limited


@pytest.mark.slow
@pytest.mark.parametrize("name", ["preview", "diff", "explain", "simulate", "apply", "watch"])
def test_command_has_usual_limits_while_fetching_a_remote_image(name, monkeypatch, tmp_path, capfd):
    def fetch(src, **_):
        time.sleep(20)

    monkeypatch.setattr(fetch_image, "fetch_source", fetch)
    words = {"apply": [str(tmp_path), "-t", "create"], "simulate": ["create"], "explain": ["/etc/a"]}
    rootfs = [str(tmp_path)] if name == "diff" else []
    code = main([name, "images:alpine/edge", *words.get(name, rootfs), "--limit", "command-time=1"])
    assert code == 4
    assert "the command takes longer than 1 seconds" in capfd.readouterr().err


@pytest.mark.slow
def test_the_fetch_and_the_rest_of_a_command_share_one_limit(image, monkeypatch, capfd):
    def fetch(src, **_):
        time.sleep(1.2)
        return fetch_image.Fetched("", image, None, (), src)

    monkeypatch.setattr(fetch_image, "fetch_source", fetch)
    real = open_and_plan.render_options
    monkeypatch.setattr(open_and_plan, "render_options", lambda request: time.sleep(1.2) or real(request))
    assert main(["preview", "images:alpine/edge", "--limit", "command-time=2"]) == 4
    assert "the command takes longer than 2 seconds" in capfd.readouterr().err


@pytest.mark.slow
def test_the_kernel_kills_a_command_that_cannot_end_itself(tmp_path):
    """Near the limit on memory, CPython 3.13 was seen in an endless loop in which no Python code runs."""
    code = """
from templater.cli import enforce_limits
from templater.limit_option import COMMAND, parse
enforce_limits.SPARE = 1
with enforce_limits.guard(parse(["command-processor=1"], (COMMAND,))):
    max(iter(int, 1))  # runs no Python code
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGXCPU


def test_kernel_limit_on_processor_time_follows_the_command_limit():
    before = resource.getrlimit(resource.RLIMIT_CPU)
    with guard(parse(["command-processor=100"], (COMMAND,))):
        soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
        assert 130 <= soft - time.process_time() + 1 < 132
        assert hard == before[1]
        with paused():
            assert resource.getrlimit(resource.RLIMIT_CPU) == (hard, hard)
        assert resource.getrlimit(resource.RLIMIT_CPU) == (soft, hard)
    assert resource.getrlimit(resource.RLIMIT_CPU) == before


@pytest.mark.parametrize("command", ["list", "verify"])
def test_stream_commands_have_the_default_limits_of_image_commands(command, monkeypatch, tmp_path):
    seen = []
    module = import_module("templater.distribution.stream_interface")

    def open_stream(place):
        seen.extend(resource.getrlimit(each)[0] for each in (resource.RLIMIT_AS, resource.RLIMIT_CPU))
        raise LimitError("end")

    monkeypatch.setattr(module, "open_stream", open_stream)
    size = address_space()
    assert main(["streams", command, str(tmp_path)]) == 4
    assert seen[0] - size < 450 << 20
    assert seen[1] < time.process_time() + 45


def test_tree_file_read_twice_is_counted_once_as_input(monkeypatch, tmp_path):
    monkeypatch.setattr(counters_of_work, "_opened", {})
    (tmp_path / "file").write_bytes(bytes(2 << 20))
    for _ in range(2):
        Tree(str(tmp_path)).read("file")
    assert counters_of_work.input_size() - counters_of_work._received == 2 << 20


@pytest.mark.parametrize(
    ("options", "limit", "size", "count", "granted"),
    [
        ({}, (), 0, 9, 0),
        ({}, (), (1 << 20) - 1, 9, 0),
        ({}, (), 3 << 20, 9, 3),
        ({}, ("command-processor=7",), 3 << 20, 9, 0),
        ({"images": None}, (), 3 << 20, 9, 0),
        ({"live": True}, (), 3 << 20, 9, 0),
        ({"live": True}, (), 3 << 20, 25, 2),
        ({"live": True}, ("command-processor=7",), 3 << 20, 25, 0),
        ({"listed": True}, ("command-processor=7",), 3 << 20, 2, 14),
        ({"listed": True}, (), 3 << 20, 2, 3 + 2 * limit_option.IMAGE_SECONDS),
    ],
)
def test_command_at_processor_limit_gets_time_for_new_input(
    options, limit, size, count, granted, monkeypatch
):
    monkeypatch.setattr(enforce_limits, "input_size", lambda: size)
    monkeypatch.setattr(enforce_limits, "instances", lambda: count)
    given = parse(limit, (COMMAND,))
    bounds = given.for_daemon() if "live" in options else given.for_command(options.get("images", 1))
    first = bounds.processor
    with pytest.raises(LimitError) as caught, guard(given, **options):
        assert signal.getitimer(signal.ITIMER_PROF)[1] == 0.25
        left, again = signal.getitimer(signal.ITIMER_REAL)
        assert (left, again) == (0, 0) if options.get("listed") else left > 1000 and again == 1.0
        kernel = resource.getrlimit(resource.RLIMIT_CPU)[0]
        reached = signal.getsignal(signal.SIGPROF)
        reached(signal.SIGPROF, None)
        assert resource.getrlimit(resource.RLIMIT_CPU)[0] == kernel + granted
        for _ in range(2):
            assert first + granted - 1 < processor_left() < first + granted + 0.001
        end = enforce_limits._processor_limit.end
        monkeypatch.setattr(enforce_limits, "processor_time", lambda: end - 0.01)
        reached(signal.SIGPROF, None)
        monkeypatch.setattr(enforce_limits, "processor_time", lambda: end)
        reached(signal.SIGPROF, None)
    assert (
        caught.value.message == f"the command takes longer than {first + granted} seconds of processor time"
    )
    assert caught.value.hint == "to allow an hour, use --limit command-processor=1h"
    assert processor_left() == float("inf")


def test_the_remaining_time_is_infinite_unless_a_limit_applies():
    assert enforce_limits.time_left() == processor_left() == float("inf")
    with guard(parse(["command-time=9", "command-processor=8"], (COMMAND,))):
        assert 8 < enforce_limits.time_left() <= 9
        with guard(parse(["command-processor=3"], (COMMAND,))):
            assert 2 < processor_left() < 3.001
        assert 7 < processor_left() < 8.001


def test_instance_list_is_counted_as_five_times_its_size(monkeypatch):
    counted = []
    monkeypatch.setattr(enforce_limits, "received", counted.append)
    listed = b'[{"name": "a"}, {"name": "b"}]'
    before = counters_of_work.instances()
    assert [each.name for each in listed_instances(io.BytesIO(listed).read, "list")] == ["a", "b"]
    assert sum(counted) == 5 * len(listed)
    assert counters_of_work.instances() == before + 2


@pytest.fixture
def guards(monkeypatch):
    """Record the limits of a command instead of enforcing them."""
    found = []

    @contextmanager
    def guard(limits, **given):
        found.append((limits, given))
        yield
        found.append("end")

    monkeypatch.setattr(enforce_limits, "guard", guard)
    monkeypatch.setattr("templater.live.address.is_live", lambda src: src.startswith("incus:"))
    return found


PLAIN = {"listed": False, "images": 1, "live": False}


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({}, {}),
        ({"instances": "all.json", "split": False}, {"listed": True}),
        ({"sources": ("image", "incus:web1")}, {"live": True}),
        ({"sources": ("image", "images:debian")}, {}),
    ],
)
def test_the_limits_of_a_command_depend_on_its_arguments(options, changed, guards):
    def work(**given):
        guards.append(given)
        return "result"

    assert enforce_limits.guarded(work)(limits="limits", **options) == "result"
    assert guards == [("limits", PLAIN | changed), {"limits": "limits", **options}, "end"]


@pytest.mark.parametrize(
    ("src", "used"), [("images:a", "fetched images:a"), ("incus:a", "incus:a"), ("image", "image")]
)
def test_a_command_fetches_its_image_within_its_limits(src, used, guards, monkeypatch):
    def fetched(request):
        guards.append("fetch")
        return SimpleNamespace(src=f"fetched {request.src}")

    monkeypatch.setattr(enforce_limits, "fetched", fetched)
    run = enforce_limits.guarded(
        lambda request, other: (request.src, other), images=lambda request, other: other
    )
    assert run(SimpleNamespace(src=src, limits="limits"), other=5) == (used, 5)
    limits = ("limits", {"listed": False, "images": 5, "live": src == "incus:a"})
    assert guards == [limits, *(["fetch"] if used[:5] == "fetch" else []), "end"]


@pytest.mark.parametrize("downloads", [True, False])
def test_command_without_limits_parameter_is_limited_too(downloads, guards):
    run = enforce_limits.guarded_alone(lambda word, **options: (word, options), downloads=downloads)
    assert run("word", limits="limits", other=1) == ("word", {"other": 1})
    assert guards == [("limits", {"downloads": downloads}), "end"]


@pytest.mark.parametrize(
    ("bound", "message", "hint"),
    [
        ("wall", "the command takes longer than 7 seconds", "to allow an hour, use --limit command-time=1h"),
        (
            "cpu", "the command takes longer than 8 seconds of processor time",
            "to allow an hour, use --limit command-processor=1h",
        ),
        ("memory", "the command needs more than 9 MiB of memory", "--limit command-memory=8GiB allows 8 GiB"),
        ("output", "the report is larger than 256 MiB", ""),
    ],
)  # fmt: skip
def test_the_image_reader_has_the_limits_of_the_command(bound, message, hint, image, monkeypatch):
    given = []

    def run(prepare, work, bounds, waiting):
        given.append(bounds)
        raise BoundError(bound, "too much")

    monkeypatch.setattr(read_in_sandbox, "needs_sandbox", lambda paths: True)
    monkeypatch.setattr(child_json, "run", run)
    limits = parse(["command-time=7", "command-processor=8", "command-memory=9MiB"], (COMMAND,))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(LimitError) as caught:
        read_in_sandbox.read_image(int, [f"{image}/metadata.yaml", None], limits)
    assert (caught.value.message, caught.value.hint) == (message, hint)
    assert len(os.listdir("/proc/self/fd")) == before
    assert (given[0].cpu, given[0].wall, given[0].output) == (8, 12, 256 << 20)
    assert 9 << 20 < given[0].memory < address_space() + (10 << 20)


@pytest.mark.parametrize(("threads", "kind"), [(False, resource.RLIMIT_AS), (True, resource.RLIMIT_DATA)])
def test_a_command_with_threads_has_a_limit_only_on_writable_memory(threads, kind):
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    before = [resource.getrlimit(each) for each in kinds]
    size = address_space(5 if threads else 0)
    with guard(parse(["command-memory=3GiB"], (COMMAND,)), live=threads):
        soft = resource.getrlimit(kind)[0]
        assert size + (3 << 30) - (64 << 20) < soft < size + (3 << 30) + (64 << 20)
        assert [each for each in kinds if resource.getrlimit(each) != before[kinds.index(each)]] == [kind]
    assert [resource.getrlimit(each) for each in kinds] == before
