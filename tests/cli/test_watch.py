"""Watching: every kind of save is noticed, bursts are grouped, replaced folders are watched again."""

import json
import os
import pty
import random
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from contextlib import contextmanager

import pytest

from templater.cli import file_watcher, options, output
from templater.cli.commands.watch import WatchedImage
from templater.cli.file_watcher import CHECK, PATIENCE, QUIET, Watch, sources_of
from templater.limit_option import Given
from templater.model.errors import TemplaterError
from templater.model.hosts import HOSTS
from templater.rendering.render import Compiled
from tests.sampling import some_fast

SOON = 5.0


@pytest.fixture
def image(tmp_path):
    (tmp_path / "image" / "templates").mkdir(parents=True)
    (tmp_path / "image" / "metadata.yaml").write_text("templates: {}\n")
    (tmp_path / "image" / "templates" / "hosts.tpl").write_text("one\n")
    return tmp_path / "image"


@pytest.fixture
def watch(image):
    files, folders = sources_of(str(image))
    with Watch(files, folders) as watch:
        yield watch


def saved_in_place(path):
    path.write_text("changed\n")


def saved_atomically(path):
    new = path.with_name("." + path.name + ".new")
    new.write_text("changed\n")
    os.replace(new, path)


def saved_as_vim_does(path):
    """Save as vim does: rename to a backup, write a new file, and create a probe file named 4913."""
    probe = path.with_name("4913")
    probe.touch()
    probe.unlink()
    backup = path.with_name(path.name + "~")
    path.rename(backup)
    path.write_text("changed\n")
    backup.unlink()


def removed(path):
    path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("save", [saved_in_place, saved_atomically, saved_as_vim_does, removed])
@pytest.mark.parametrize("name", ["metadata.yaml", "templates/hosts.tpl"])
def test_the_watch_command_notices_an_edited_template(image, watch, save, name):
    save(image / name)
    assert str(image / name) in watch.wait(SOON)


def test_the_watch_command_notices_a_new_template(image, watch):
    (image / "templates" / "new.tpl").write_text("new\n")
    assert watch.wait(SOON) == [str(image / "templates" / "new.tpl")]


@pytest.mark.slow
def test_reading_a_watched_file_is_not_reported_as_a_change(image, watch):
    (image / "templates" / "hosts.tpl").read_text()
    (image / "metadata.yaml").read_text()
    assert watch.wait(0.4) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", some_fast([".hosts.tpl.swp", "hosts.tpl~", "#hosts.tpl#", "4913"], every=4))
def test_attack_72_an_editors_scratch_file_is_not_a_change(image, watch, name):
    (image / "templates" / name).write_text("scratch\n")
    assert watch.wait(0.4) == []


@pytest.mark.slow
def test_watch_ignores_a_changed_file_unrelated_to_the_image(image, watch):
    (image / "notes.txt").write_text("not ours\n")
    assert watch.wait(0.4) == []


def test_waiting_without_a_change_takes_no_longer_than_the_timeout(watch, monkeypatch):
    waits = []
    monkeypatch.setattr(watch, "_readable", waits.append)
    assert watch.wait(0) == [] and waits == [0]


@pytest.mark.slow
def test_one_save_in_an_editor_is_reported_as_one_change(image, watch):
    saved_as_vim_does(image / "templates" / "hosts.tpl")
    assert watch.wait(SOON)
    assert watch.wait(0.4) == []


@pytest.mark.slow
def test_attack_72_a_replaced_folder_is_watched_again(image, watch):
    templates = image / "templates"
    templates.rename(image / "old")
    shutil.copytree(image / "old", templates)
    assert watch.wait(SOON)
    while watch.wait(1.0):
        pass
    (templates / "hosts.tpl").write_text("in the new folder\n")
    assert watch.wait(SOON) == [str(templates / "hosts.tpl")]


def test_attack_72_watch_notices_the_replacement_of_a_folder_by_a_link(image, watch):
    (image / "templates").rename(image / "elsewhere")
    (image / "templates").symlink_to("elsewhere")
    assert watch.wait(SOON)


def test_the_target_of_a_link_to_an_instance_file_is_watched(tmp_path):
    real = tmp_path / "real" / "web1.yaml"
    real.parent.mkdir()
    real.write_text("name: web1\n")
    (tmp_path / "web1.yaml").symlink_to(real)
    with Watch([str(tmp_path / "web1.yaml")]) as watch:
        real.write_text("name: web2\n")
        assert watch.wait(SOON) == [str(real)]


@pytest.mark.slow
def test_attack_72_many_file_events_are_grouped_into_few_changes(image, watch):
    """10,000 saves, renames and swap files while watching are reported at once, not 10,000 times."""
    templates, stop = image / "templates", threading.Event()
    done, threads = 0, threading.active_count()

    def storm():
        nonlocal done
        while done < 10_000 and not stop.is_set():
            name = templates / f"t{done % 50}.tpl"
            name.with_suffix(".swp").write_text("x")
            os.replace(name.with_suffix(".swp"), name)
            done += 1

    thread = threading.Thread(target=storm)
    thread.start()
    started, seen = time.monotonic(), 0
    assert watch.wait(SOON), "the storm hid every change"
    assert time.monotonic() - started < PATIENCE + 2, "the storm put the preview off"
    seen += 1
    while thread.is_alive():
        seen += bool(watch.wait(0.2))
    thread.join()
    while watch.wait(0.5):
        seen += 1
    assert done == 10_000
    assert seen < 100
    assert threading.active_count() < threads + 10


# what is printed

METADATA = """\
architecture: x86_64
creation_date: 1
templates:
  /etc/hostname: {template: hostname.tpl, when: [create, copy, rename]}
  /etc/motd: {template: motd.tpl, when: [start]}
"""
TESTS = """\
tests:
  - name: a greeting
    expect: {/etc/motd: {equals: "hello\\n"}}
"""


@pytest.fixture
def small(tmp_path):
    """An image of two files, with a test."""
    folder = tmp_path / "small"
    for name in ("templates", "tests"):
        (folder / name).mkdir(parents=True)
    (folder / "metadata.yaml").write_text(METADATA)
    (folder / "templates/hostname.tpl").write_text("{{ instance.name }}\n")
    (folder / "templates/motd.tpl").write_text('{{ config_get("user.motd", "hello") }}\n')
    (folder / "tests/all.yaml").write_text(TESTS)
    return folder


def watched(folder, *, rootfs=None, file=None, checked=False, tested=False):
    described = options.Description(file and str(file), None, None, (), (), (), None)
    request = options.Request(
        str(folder), described, (), rootfs and str(rootfs), HOSTS["incus"], None, Given(), as_json=False
    )
    return WatchedImage(request, checked=checked, tested=tested)


def looks(image, capfd):
    image.look()
    output.flush()
    return capfd.readouterr()


def test_the_watch_command_first_shows_every_file(small, capfd):
    shown = looks(watched(small, checked=True, tested=True), capfd)
    assert "==> /etc/hostname  write" in shown.out
    assert "==> /etc/motd  write" in shown.out
    assert shown.err.endswith("small: 1 passed\n")


def test_watch_shows_only_the_file_of_the_changed_template(small, capfd):
    image = watched(small)
    looks(image, capfd)
    (small / "templates/motd.tpl").write_text("changed\n")
    shown = looks(image, capfd)
    assert shown.out == "==> /etc/motd  write  0:0 0644  motd.tpl on start\nchanged\n"
    assert shown.err == "", "the note on the triggers was said before"


def test_watch_prints_one_line_after_a_save_without_effect(small, capfd):
    image = watched(small, checked=True, tested=True)
    looks(image, capfd)
    assert looks(image, capfd) == ("", "nothing changed\n")


@pytest.mark.slow
@pytest.mark.parametrize("patched", [False, True])
def test_watch_does_not_keep_texts_of_files_in_memory(small, tmp_path, capfd, patched):
    """An image of 2.4 kB whose files have 200 MiB needed 702 MB, and 1,143 MB after a change."""
    rules = "".join(f"  /x{number}: {{template: x{number}, when: [create]}}\n" for number in range(20))
    (small / "metadata.yaml").write_text(f"architecture: x86_64\ncreation_date: 1\ntemplates:\n{rules}")
    (tmp_path / "rootfs").mkdir()
    image = watched(small, rootfs=tmp_path / "rootfs" if patched else None)

    def peak(line):
        for number in range(20):
            text = f"{number} {line}" + "x" * 1000
            (small / f"templates/x{number}").write_text(
                f"{{% for a in '{text[:500]}' %}}{text}\n{{% endfor %}}"
            )
        tracemalloc.start()
        try:
            image.look()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            assert len(looks(image, capfd).out) > 20 * 500 * 1000

    memory = [peak(line) for line in ("first", "second")]
    assert max(memory) < 26 << 20  # the files as text and as bytes, and one more


def test_watch_says_that_a_file_is_no_longer_written(small, capfd):
    image = watched(small)
    looks(image, capfd)
    (small / "metadata.yaml").write_text(METADATA.replace("when: [start]", "when: [copy]"))
    shown = looks(image, capfd)
    assert shown.out == ""
    assert "/etc/motd: no longer written on start\n" in shown.err


def test_watch_says_which_files_use_a_changed_key(small, tmp_path, capfd):
    described = tmp_path / "web1.yaml"
    described.write_text("name: web1\nconfig: {user.motd: one, user.other: one}\n")
    image = watched(small, file=described)
    looks(image, capfd)
    described.write_text("name: web1\nconfig: {user.motd: two, user.other: two}\n")
    shown = looks(image, capfd)
    assert "==> /etc/motd" in shown.out
    assert "hostname" not in shown.out
    assert "user.motd changed: used by /etc/motd\nuser.other changed: used by no template\n" in shown.err


def test_a_changed_key_affects_templates_that_read_all_keys(small, tmp_path, capfd):
    described = tmp_path / "web1.yaml"
    (small / "templates/motd.tpl").write_text("{% for key in config %}{{ key }}\n{% endfor %}")
    described.write_text("name: web1\nconfig: {}\n")
    image = watched(small, file=described)
    looks(image, capfd)
    described.write_text("name: web1\nconfig: {user.other: two}\n")
    assert "user.other changed: used by /etc/motd\n" in looks(image, capfd).err


def test_watch_rerenders_only_the_rules_of_a_changed_file(small, tmp_path, monkeypatch):
    rendered = []
    compile = Compiled.compile

    def spy(templates, name, data):
        rendered.append(name)
        return compile(templates, name, data)

    monkeypatch.setattr(Compiled, "compile", spy)
    described = tmp_path / "web1.yaml"
    described.write_text("name: web1\n")
    image = watched(small, file=described, checked=True, tested=True)
    image.look()
    assert set(rendered) == {"hostname.tpl", "motd.tpl"}
    changes = {
        "motd.tpl": lambda: (small / "templates/motd.tpl").write_text(
            '{{ config_get("user.motd", "bye") }}\n'
        ),
        "hostname.tpl": lambda: described.write_text("name: web2\n"),
        None: lambda: (small / "metadata.yaml").write_text(METADATA.replace("x86_64", "aarch64")),
    }
    for name, change in changes.items():
        change()
        rendered.clear()
        image.look()
        assert set(rendered) == {name} - {None}


def test_the_watch_command_prints_each_update_as_one_line_of_json(small, capfd):
    (small / "templates/motd.tpl").write_text("Grüße\n")
    described = options.Description(None, None, None, (), (), (), None)
    request = options.Request(
        str(small), described, ("start",), None, HOSTS["incus"], None, Given(), as_json=True
    )
    shown = looks(WatchedImage(request, checked=False, tested=False), capfd)
    assert shown.out.count("\n") == 1
    assert "Grüße" in shown.out
    assert "Grüße" in str(json.loads(shown.out))


def test_watch_says_that_a_file_no_longer_differs(small, tmp_path, capfd):
    (tmp_path / "rootfs/etc").mkdir(parents=True)
    image = watched(small, rootfs=tmp_path / "rootfs")
    assert "+hello\n" in looks(image, capfd).out
    (tmp_path / "rootfs/etc/motd").write_text("hello\n")
    shown = looks(image, capfd)
    assert shown.out == ""
    assert "/etc/motd: no difference any more\n" in shown.err


def test_watch_prints_a_new_finding_once_and_its_correction(small, capfd):
    image = watched(small, checked=True)
    looks(image, capfd)
    template = small / "templates/hostname.tpl"
    template.write_text("{{ instnace.name }}\n")
    assert "[unknown-variable]" in looks(image, capfd).out
    template.write_text("\n{{ instnace.name }}\n")
    assert "[unknown-variable]" not in looks(image, capfd).out, "it moved by a line"
    template.write_text("{{ instance.name }}\n")
    assert "corrected: " in looks(image, capfd).err
    metadata = (small / "metadata.yaml").read_text()
    (small / "metadata.yaml").write_text(metadata.replace("template:", "create-only: x, template:", 1))
    shown = looks(image, capfd)
    assert "unknown key 'create-only'" in shown.out
    assert "nothing changed" not in shown.err
    (small / "metadata.yaml").write_text(metadata)
    shown = looks(image, capfd)
    assert "corrected: " in shown.err
    assert "nothing changed" not in shown.err
    assert "nothing changed" in looks(image, capfd).err


def test_the_watch_command_reports_that_a_test_fails_or_passes_again(small, capfd):
    image = watched(small, tested=True)
    looks(image, capfd)
    template = small / "templates/motd.tpl"
    before = template.read_text()
    template.write_text("bye\n")
    shown = looks(image, capfd)
    assert "FAIL " in shown.out
    assert shown.err.endswith("small: 1 failed\n")
    template.write_text(before)
    shown = looks(image, capfd)
    assert "FAIL " not in shown.out
    assert "passes again: " in shown.err


def test_the_watch_command_shows_every_file_again_after_an_error(small, capfd):
    image = watched(small)
    looks(image, capfd)
    (small / "metadata.yaml").write_text("templates: [\n")
    with pytest.raises(TemplaterError):
        image.look()
    (small / "metadata.yaml").write_text(METADATA)
    capfd.readouterr()
    shown = looks(image, capfd)
    assert "==> /etc/hostname" in shown.out
    assert "note: triggers" in shown.err


def test_the_watch_command_notices_a_new_test_file(small):
    image = watched(small, tested=True)
    files, folders = sources_of(str(small))
    with Watch(files, [*folders, *image.test_folders()]) as watch:
        (small / "tests/more.yaml").write_text(TESTS)
        assert watch.wait(SOON) == [str(small / "tests/more.yaml")]


# the command as a process


def is_readable(descriptor, seconds):
    poll = select.poll()  # select.select accepts no descriptor above 1,023
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


class Watching:
    """A running `templater watch`, and its output since the test last read the output."""

    def __init__(self, *words):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "templater", "watch", *map(str, words)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.pending = ""

    def until(self, text, seconds=60):
        """Return the output up to ``text``."""
        end = time.monotonic() + seconds
        while text not in self.pending:
            assert time.monotonic() < end, f"no {text!r} in {self.pending[-2000:]!r}"
            if is_readable(self.process.stdout.fileno(), 0.5):
                data = os.read(self.process.stdout.fileno(), 1 << 16)
                assert data, f"the command has ended: {self.pending[-2000:]!r}"
                self.pending += data.decode()
        shown, _, self.pending = self.pending.partition(text)
        return shown + text


@contextmanager
def watching(*words):
    watch = Watching(*words)
    try:
        yield watch
    finally:
        watch.process.send_signal(signal.SIGINT)
        watch.process.communicate(timeout=60)


@pytest.mark.slow
def test_the_watch_command_shows_the_last_of_a_thousand_rapid_changes(small):
    choose = random.Random(7)
    template = small / "templates/motd.tpl"
    with watching(small, "--test") as watch:
        watch.until("1 passed\n")
        for number in range(1000):
            choose.choice((saved_in_place, saved_atomically, saved_as_vim_does))(template)
            saved_atomically_as(template, f"number {number}\n")
        watch.until("number 999\n")
        saved_atomically_as(template, "the end\n")
        watch.until("the end\n")
        saved_atomically_as(template, "hello\n")
        watch.until("small: 1 passed\n")
        assert "number" not in watch.pending


def saved_atomically_as(path, text):
    new = path.with_name("." + path.name + ".new")
    new.write_text(text)
    os.replace(new, path)


@pytest.mark.slow
def test_the_watch_command_takes_almost_no_processor_time_without_changes(small):
    with watching(small) as watch:
        watch.until("hello\n")
        time.sleep(1)
        before = processor_time(watch.process.pid)
        time.sleep(4)
        assert processor_time(watch.process.pid) - before < 0.1


def processor_time(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def saved_with_sed(path):
    subprocess.run(["sed", "-i", "s/hello/changed/", path], check=True)


def saved_with_vim(path):
    subprocess.run(["vim.tiny", "-u", "NONE", "-es", "-c", "%s/hello/changed/", "-c", "wq", path], check=True)


def saved_with_nano(path):
    """Type into nano on a terminal: replace the line, write, and leave."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execvp("nano", ["nano", "--ignorercfiles", str(path)])
    keys = iter([b"\x0b", b"changed", b"\x0f", b"\r", b"\x18"])  # ^K, the text, ^O, Enter, ^X
    try:
        while True:
            if is_readable(terminal, 1.0):
                os.read(terminal, 1 << 16)
            else:
                os.write(terminal, next(keys))
    except (OSError, StopIteration):
        os.close(terminal)
    os.waitpid(pid, 0)


@pytest.mark.slow
@pytest.mark.parametrize("save", [saved_with_sed, saved_with_vim, saved_with_nano])
def test_the_watch_command_shows_a_save_by_a_real_editor(small, save):
    program = {saved_with_vim: "vim.tiny", saved_with_nano: "nano"}.get(save, "sed")
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    with watching(small) as watch:
        watch.until("hello\n")
        save(small / "templates/motd.tpl")
        assert "==> /etc/motd" in watch.until("changed\n")


class Clock:
    """A clock that only ``sleep`` moves, and that calls ``during`` at each sleep."""

    def __init__(self, during):
        self.now, self.during = 100.0, during

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.during()


@pytest.mark.parametrize(("goes_on", "seconds"), [(False, QUIET), (True, PATIENCE)])
def test_a_burst_ends_after_a_pause_or_maximum_time(goes_on, seconds, image, monkeypatch):
    with Watch([], [str(image)]) as watch:
        clock = Clock(lambda: goes_on and watch.note("later"))
        monkeypatch.setattr(file_watcher, "time", clock)
        watch.note("first")
        assert watch.wait() == (["first", "later"] if goes_on else ["first"])
        assert seconds <= clock.now - 100 + 0.001 < seconds + QUIET / 2
        assert watch.wait(0) == []


def test_the_watch_command_without_a_timeout_waits_until_a_file_changes(image, monkeypatch):
    with Watch([], [str(image)]) as watch:
        answers = iter([False, False, True])
        waits = []
        monkeypatch.setattr(watch, "_readable", lambda seconds: waits.append(seconds) or next(answers))
        assert watch.wait() == ["(a directory)"]
        assert waits == [CHECK] * 3


@pytest.mark.parametrize(
    ("name", "concerns"),
    [
        ("a.tpl", True), (".a.tpl", False), ("#a#", False), ("a~", False), ("a.swp", False), ("a.swx", False),
        ("4913", False), ("14913", True), ("../named", True), ("../.named", True), ("../other", False),
        ("sub/a.tpl", False), ("", True),
    ],
)  # fmt: skip
def test_watch_ignores_scratch_files_and_unwatched_folders(name, concerns, tmp_path):
    named = [str(tmp_path / "named"), str(tmp_path / ".named")]
    with Watch(named, [str(tmp_path / "folder")]) as watch:
        path = os.path.normpath(tmp_path / "folder" / name)
        assert watch.concerns(path) is concerns


def test_the_watch_command_mentions_at_most_sixteen_changed_files(image):
    with Watch([], [str(image)]) as watch:
        watch.note("")
        for number in range(20):
            watch.note(f"{number:02}")
        assert watch.wait(0) == [f"{number:02}" for number in range(16)]


@pytest.mark.slow
def test_a_second_call_of_follow_keeps_earlier_files_watched(tmp_path):
    with Watch([]) as watch:
        watch.follow([str(tmp_path / "sub/a"), str(tmp_path / "b")])
        watch.follow([])
        (tmp_path / "b").write_text("")
        assert watch.wait(SOON) == [str(tmp_path / "b")]
        (tmp_path / "c").write_text("")
        (tmp_path / "sub").mkdir()
        assert watch.wait(SOON) == ["(a directory)"]
        (tmp_path / "sub/a").write_text("")
        assert watch.wait(SOON) == [str(tmp_path / "sub/a")]


def test_watch_ends_its_first_output_with_a_summary(small, capfd):
    assert looks(watched(small), capfd).err.splitlines()[-1] == "c1: create then start: 2 write"
