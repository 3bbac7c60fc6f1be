"""The time for rendering templates for many instances, compared with a Go program that uses pongo2.

Both programs read the same list of instances. Like the daemons, the Go program parses a template again for
each file. The Go program does less than templater:

* It reads the rules and templates from a prepared file, not from the image.
* It prints only the rendered texts. templater also plans each file, and predicts the result on a host.

The benchmark first checks that both programs render the same contents. Then the programs take turns, so that
a disturbance of the machine affects both.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from templater.image.open_image import open_image
from templater.parsing.metadata_yaml import read_metadata
from tests.differential.oracle import Unavailable, program_for

ROOT = Path(__file__).resolve().parents[2]
TRIGGERS = ("create", "start")
COUNTS = (1, 100, 10_000, 20_000)


def instance(number: int) -> dict[str, Any]:
    """Return an instance as the daemons list it. Templates can read about a fifth of this data."""
    vm = number % 20 == 7
    unique = f"{number:012x}"
    config = {
        "cloud-init.network-config": "" if number % 3 else f"version: 2\nethernets:\n  eth0: {{dhcp4: true}}\n# {number}\n",
        "image.architecture": "amd64", "image.description": "Debian trixie amd64 (cloud)", "image.os": "debian",
        "image.release": "trixie", "image.serial": "20251124_00:00", "image.variant": "cloud",
        "limits.cpu": str(1 + number % 8), "limits.memory": "4GiB",
        "user.domain": "example.org", "user.dns": "10.0.0.53,10.0.1.53",
        "user.user-data": f"#cloud-config\nhostname: web{number}\npackages: [nginx, \"curl\"]\nruncmd:\n- test -e /x && echo '<{number}>'\n",
        "volatile.base_image": "5b" * 32,
        "volatile.cloud-init.instance-id": f"6f6f3f0e-6f0b-4d3c-9a1f-{unique}",
        "volatile.eth0.host_name": f"veth{number:08x}", "volatile.eth0.hwaddr": "00:16:3e:1a:2b:3c",
        "volatile.idmap.next": json.dumps([{"Isuid": True, "Isgid": True, "Hostid": 1000000, "Nsid": 0, "Maprange": 1000000000}]),
        "volatile.last_state.idmap": "[]", "volatile.last_state.power": "RUNNING",
        "volatile.uuid": f"0b5f5d5a-6f5f-4b7a-8d35-{unique}",
    }  # fmt: skip
    devices = {
        "eth0": {"name": "eth0", "network": "incusbr0", "type": "nic"},
        "eth1": {"address": "10.0.3.7", "hwaddr": "00:16:3e:aa:bb:cc", "name": "eth1", "type": "nic"},
        "root": {"path": "/", "pool": "default", "type": "disk"},
    }
    snapshot = {
        "name": "before-upgrade",
        "config": config,
        "devices": {},
        "expanded_devices": devices,
        "stateful": False,
    }
    return {
        "architecture": "x86_64", "config": config, "devices": {}, "ephemeral": False, "profiles": ["default"],
        "stateful": False, "description": "", "created_at": "2026-03-01T10:00:00.123456789Z",
        "expanded_config": config | {"boot.autostart": "true"}, "expanded_devices": devices, "name": f"web{number}",
        "status": "Running", "status_code": 103, "last_used_at": "2026-03-01T10:00:00.5Z", "location": "none",
        "type": "virtual-machine" if vm else "container", "project": "default", "backups": None,
        "state": state(number), "snapshots": [snapshot] if number % 10 == 3 else None,
    }  # fmt: skip


def state(number: int) -> dict[str, Any]:
    counters = {
        f"{what}_{way}": number * 17
        for what in ("bytes", "packets", "errors")
        for way in ("received", "sent")
    }
    address = {
        "family": "inet",
        "address": f"10.10.{number // 250 % 250}.{number % 250}",
        "netmask": "24",
        "scope": "global",
    }
    link = {"family": "inet6", "address": "fe80::216:3eff:fe1a:2b3c", "netmask": "64", "scope": "link"}
    network = {
        "addresses": [address, link],
        "counters": counters,
        "hwaddr": "00:16:3e:1a:2b:3c",
        "mtu": 1500,
        "state": "up",
    }
    return {
        "status": "Running", "status_code": 103, "pid": 4711 + number, "processes": 23,
        "disk": {"root": {"usage": 734003200, "total": 10737418240}},
        "memory": {"usage": 123456789, "usage_peak": 223456789, "total": 4294967296, "swap_usage": 0},
        "network": {"eth0": network, "lo": network | {"mtu": 65536}}, "cpu": {"usage": 1234567890},
    }  # fmt: skip


def write_list(file: Path, count: int) -> None:
    """Write a list of instances as Go prints it: on one line, with the special characters of HTML escaped."""
    with file.open("w") as target:
        for number in range(count):
            text = json.dumps(instance(number), ensure_ascii=False, separators=(",", ":"))
            for character in "<>&":
                text = text.replace(character, f"\\u{ord(character):04x}")
            target.write(("," if number else "[") + text)
        target.write("]\n")


def write_rules(file: Path, image: str) -> None:
    """Write a file with the rules that run, in their order.

    The Go program reads this file instead of the image.
    """
    opened = open_image(image)
    metadata = read_metadata(opened.read_metadata())
    templates = opened.read_templates({rule.template for rule in metadata.rules})
    due = [
        {"path": rule.path, "trigger": trigger, "template": templates[rule.template].data.decode(),
         "properties": dict(rule.properties)}
        for trigger in TRIGGERS for rule in metadata.rules if trigger in rule.when
    ]  # fmt: skip
    file.write_text(json.dumps(due))


class Run(NamedTuple):
    """The times of one run in seconds. ``cpu`` is the processor time of all its processes."""

    wall: float
    cpu: float


class Contestant:
    def __init__(
        self, name: str, command: Callable[[Path], list[str]], environ: dict[str, str] | None = None
    ) -> None:
        self.name = name
        self.command = command
        self.environ = os.environ | (environ or {})
        self.runs: dict[int, list[Run]] = {}
        self.peaks: dict[int, float] = {}

    def start(self, file: Path, target: str = os.devnull) -> int:
        words = self.command(file)
        actions = [(os.POSIX_SPAWN_OPEN, 1, target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)]
        actions.append((os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0o600))
        return os.posix_spawn(words[0], words, self.environ, file_actions=actions)

    def run(self, file: Path, target: str = os.devnull) -> Run:
        begin = time.perf_counter()
        _, status, usage = os.wait4(self.start(file, target), 0)
        wall = time.perf_counter() - begin
        if status:
            raise SystemExit(f"{self.name}: ended with status {status}")
        return Run(wall, usage.ru_utime + usage.ru_stime)

    def peak(self, file: Path) -> float:
        """Return the peak memory of all processes together in MB. Shared memory counts once."""
        pid = self.start(file)
        most = 0
        while not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            most = max(most, sum(proportional(each) for each in family(pid)))
            time.sleep(0.005)
        os.waitpid(pid, 0)
        return most / 1000


def family(pid: int) -> Iterator[int]:
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from family(int(child))


def proportional(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return int(text.partition("\nPss:")[2].split(None, 1)[0])


def contestants(folder: Path, image: str) -> Iterator[Contestant]:
    # -P leaves out the folder that we are started in: it may be anywhere
    words = [sys.executable, "-P", "-m", "templater", "preview", image, "--json", "-t", ",".join(TRIGGERS)]
    yield Contestant("templater", lambda file: [*words, "--instances", str(file)])
    try:
        program = str(program_for("v4"))
    except Unavailable as missing:
        sys.stderr.write(f"left out: Go's pongo2: {missing}\n")
        return
    go = [program, "-rules", str(folder / "rules.json"), "-jobs", "1"]
    yield Contestant(
        "Go with pongo2, 1 core", lambda file: [*go, "-instances", str(file)], {"GOMAXPROCS": "1"}
    )


def check(jobs: list[Contestant], folder: Path, file: Path) -> None:
    """Check that both programs print the same names of instances and the same contents."""
    texts = []
    for number, job in enumerate(jobs):
        target = folder / f"out{number}"
        job.run(file, str(target))
        texts.append(target.read_bytes())
        target.unlink()
    if len(texts) < 2:
        return
    for ours, theirs in zip(texts[0].splitlines(), texts[1].splitlines(), strict=True):
        plan, line = json.loads(ours), json.loads(theirs)
        got = [change["content"] for change in plan["changes"]]
        if (plan["instance"], got) != (line["instance"], line["contents"]):
            raise SystemExit(f"{file.name}: not the same: {got!r} and {line!r}")


def median(values: list[float]) -> str:
    return f"{statistics.median(values):.3f}"


def rows(jobs: list[Contestant], counts: list[int]) -> Iterator[str]:
    yield "| instances | program | least s | median s | processor s | instances a second | peak MB |"
    yield "|--:|---|--:|--:|--:|--:|--:|"
    for count in counts:
        for job in jobs:
            walls = [run.wall for run in job.runs[count]]
            cpus = [run.cpu for run in job.runs[count]]
            yield (
                f"| {count:,} | {job.name} | {min(walls):.3f} | {median(walls)} | {median(cpus)} "
                f"| {count / statistics.median(walls):,.0f} | {job.peaks[count]:.0f} |"
            )


def ratio(a: Contestant, b: Contestant, count: int, what: str, less: int = 0) -> str:
    """Return the ratio of b's time to a's time: the median and the range of all rounds.

    If ``less`` is given, first subtract from each time the median time for ``less`` instances.
    """

    def took(job: Contestant) -> list[float]:
        values = [getattr(run, what) for run in job.runs[count]]
        base = statistics.median(getattr(run, what) for run in job.runs[less]) if less else 0
        return [value - base for value in values]

    ratios = [theirs / ours for ours, theirs in zip(took(a), took(b), strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def comparisons(jobs: list[Contestant], counts: list[int]) -> Iterator[str]:
    large = [count for count in counts if count >= 1000]
    if len(jobs) < 2:
        return
    ours, go = jobs
    for count in large:
        yield f"{count:,} instances beside Go: {ratio(ours, go, count, 'wall')} x by the clock, {ratio(ours, go, count, 'cpu')} x by the processor"
        if 1 in counts:
            yield f"the same without the start (what 1 takes): {ratio(ours, go, count, 'wall', 1)} x"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench instances", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS))
    parser.add_argument("--image", default=str(ROOT / "sample-images/debian-cloud"))
    options = parser.parse_args(arguments)
    where = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="templater-bench.", dir=where) as name:
        folder = Path(name)
        write_rules(folder / "rules.json", options.image)
        jobs = list(contestants(folder, options.image))
        files = {count: folder / f"{count}.json" for count in options.counts}
        for count, file in files.items():
            write_list(file, count)
            check(jobs, folder, file)
            for job in jobs:
                job.peaks[count] = job.peak(file)
        for _ in range(options.rounds):
            for count, file in files.items():
                for job in jobs:
                    job.runs.setdefault(count, []).append(job.run(file))
        each = files[options.counts[-1]].stat().st_size / options.counts[-1]
    sys.stdout.write(
        f"Python {sys.version.split()[0]}, {options.rounds} rounds, {each / 1000:.1f} kB of list an instance\n\n"
    )
    sys.stdout.write("\n".join([*rows(jobs, options.counts), "", *comparisons(jobs, options.counts)]) + "\n")
    return 0
