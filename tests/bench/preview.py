"""The time of the command ``templater preview``, compared with a Python interpreter that does nothing.

The unit is processor time (user and system) of the process, because other programs disturb it less than the
clock. The commands take turns, so that a disturbance affects all of them.
"""

import argparse
import os
import statistics
import sys
from pathlib import Path

IMAGES = Path(__file__).resolve().parents[2] / "sample-images"
LIMIT = 8.0
BARE = "python -I -c pass"


def commands(image: str) -> dict[str, list[str]]:
    templater = [sys.executable, "-m", "templater"]
    instance = str(next((IMAGES / image / "instances").glob("web1*"), IMAGES / image / "instances/c1.yaml"))
    return {
        BARE: [sys.executable, "-I", "-c", "pass"],
        "templater --version": [*templater, "--version"],
        "preview SRC": [*templater, "preview", str(IMAGES / image)],
        "preview SRC -i FILE": [*templater, "preview", str(IMAGES / image), "-i", instance],
        "preview SRC -i FILE --as lxd": [*templater, "preview", str(IMAGES / image), "-i", instance, "--as", "lxd"],
    }  # fmt: skip


def processor_ms(words: list[str], accepted: tuple[int, ...] = (0,), **variables: str) -> float:
    """Run a command with its output discarded. Return the milliseconds of its processor time."""
    unwanted = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
    environ = {name: value for name, value in os.environ.items() if name not in unwanted} | variables
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    _, status, usage = os.wait4(os.posix_spawn(words[0], words, environ, file_actions=quiet), 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in accepted:
        raise SystemExit(f"{' '.join(words)}: exit code {code}")
    return (usage.ru_utime + usage.ru_stime) * 1000


def measure(chosen: dict[str, list[str]], rounds: int) -> dict[str, list[float]]:
    for words in chosen.values():  # compile every module and fill the file cache
        processor_ms(words)
    times: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(rounds):
        for name, words in chosen.items():
            times[name].append(processor_ms(words))
    return times


def table(times: dict[str, list[float]]) -> str:
    least, middle = min(times[BARE]), statistics.median(times[BARE])
    lines = [f"| command | least ms | median ms | x `{BARE}`: least | median |", "|---|--:|--:|--:|--:|"]
    for name, values in times.items():
        low, median = min(values), statistics.median(values)
        lines.append(f"| {name} | {low:.1f} | {median:.1f} | {low / least:.2f} | {median / middle:.2f} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench preview", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--image", default="debian-cloud", help="a folder of sample-images (%(default)s)")
    options = parser.parse_args(arguments)
    times = measure(commands(options.image), options.rounds)
    ratio = max(statistics.median(times[name]) for name in times) / statistics.median(times[BARE])
    sys.stdout.write(f"Python {sys.version.split()[0]}, {options.rounds} rounds, processor time\n\n")
    sys.stdout.write(f"{table(times)}\nthe limit is {LIMIT}: {'kept' if ratio <= LIMIT else 'NOT KEPT'}\n")
    return 0 if ratio <= LIMIT else 1
