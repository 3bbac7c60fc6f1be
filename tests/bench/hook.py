"""The time of a hook that renders five templates of a container, compared with other programs.

Each program runs in a new process. The time is in milliseconds, from the start of the process to its end. The
programs take turns, so that a disturbance of the machine affects all of them. Before measuring, the benchmark
checks that every program writes the expected files.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

from templater.hooks import install
from tests.differential.oracle import Unavailable, program_for

COUNT = 5

HEAD = (
    "architecture: x86_64\ncreation_date: 1700000000\nproperties:\n  os: tiny\n  release: test\ntemplates:\n"
)
RULE = "  /etc/t{n}:\n    when: [create, copy, start]\n    template: t{n}.tpl\n"
INSTANCE = "name: c1\nconfig:\n  user.foo: bar\n  user.motd: hello\ndevices: {}\n"

#: expressions that have another form in the languages of the other programs
CONFIG = {'config_get("user.foo", "")': "foo"}
PONGO2 = (
    "# {{ container.name }} no. %d\n"
    '{% if config_get("user.foo", "") == "bar" %}foo is bar{% else %}no foo{% endif %}\n'
    "{% for line in lines %}{{ line }}{% endfor %}127.0.0.1 localhost\n127.0.1.1 {{ container.name|upper }}\n"
    "# the end of {{ container.name }}\n"
)
WANTED = "# c1 no. %d\nfoo is bar\n127.0.0.1 localhost\n127.0.1.1 C1\n# the end of c1\n"

#: a plain Python program that does the job without any care: read the rules, render, write
SCRIPT = """\
import os, sys, yaml
{engine}
folder = sys.argv[1]
rules = yaml.load(open(folder + "/metadata.yaml"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))["templates"]
context = {{"container": {{"name": "c1"}}, "foo": "bar", "lines": []}}
for path, rule in rules.items():
    text = open(folder + "/peer/" + rule["template"]).read()
    with open(folder + "/rootfs" + path, "w") as file:
        file.write(render(text, context))
"""
ENGINES = {
    "Jinja2 and PyYAML script": "import jinja2\ne = jinja2.Environment(keep_trailing_newline=True)\n"
    "def render(t, c): return e.from_string(t).render(c)",
    "Django script": "from django.template import Context, Engine\ne = Engine()\n"
    "def render(t, c): return e.from_string(t).render(Context(c, autoescape=False))",
    "minijinja script (a Rust extension)": "import minijinja\ne = minijinja.Environment(keep_trailing_newline=True)\n"
    "def render(t, c): return e.render_str(t, **c)",
}
NEEDS = {"Django script": "django", "minijinja script (a Rust extension)": "minijinja"}


class Contestant:
    """A program to measure: its command, and the number of files that it writes."""

    def __init__(
        self,
        name: str,
        words: list[str],
        files: int = COUNT,
        note: str = "",
        prints: bool = False,
        **options,
    ) -> None:
        self.name = name
        #: True for a program that is neither templater nor a bare interpreter
        self.peer = not name.startswith(("hook", "console", "python"))
        #: prints the first file, and writes none
        self.prints = prints
        self.words = words
        self.files = files
        self.note = note
        self.options = options
        self.times: list[float] = []
        self.printed = ""

    def run(self) -> float:
        start = perf_counter()
        answer = subprocess.run(self.words, capture_output=True, check=False, **self.options)
        seconds = perf_counter() - start
        if answer.returncode:
            raise SystemExit(f"{self.name}: {answer.stderr.decode()}")
        self.printed = answer.stdout.decode()
        return seconds * 1000


@contextmanager
def container() -> Iterator[Path]:
    """Yield the directory of an instance in memory. On disk, the times would depend on the disk."""
    where = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="templater-bench.", dir=where) as name:
        folder = Path(name)
        for each in ("templates", "peer", "rootfs/etc"):
            (folder / each).mkdir(parents=True)
        (folder / "metadata.yaml").write_text(HEAD + "".join(RULE.format(n=n) for n in range(COUNT)))
        (folder / "instance.yaml").write_text(INSTANCE)
        (folder / "config").write_text("lxc.uts.name = c1\n")
        for number in range(COUNT):
            text = PONGO2.replace("%d", str(number))
            (folder / f"templates/t{number}.tpl").write_text(text)
            for ours, theirs in CONFIG.items():
                text = text.replace(ours, theirs)
            (folder / f"peer/t{number}.tpl").write_text(text)
        yield folder


def environment(folder: Path) -> dict[str, str]:
    """Return the variables that LXC sets for a hook."""
    return {
        "LXC_NAME": "c1", "LXC_HOOK_TYPE": "pre-start", "LXC_CONFIG_FILE": f"{folder}/config",
        "LXC_ROOTFS_PATH": f"{folder}/rootfs", "PATH": os.environ["PATH"],
    }  # fmt: skip


def contestants(folder: Path, zipapp: str = "") -> Iterator[Contestant]:
    python = sys.executable
    environ = environment(folder)
    line = install.argv("lxc", [])
    install.compile_hook()
    yield Contestant("python -I -c pass", [python, "-I", "-c", "pass"], 0)
    yield Contestant("warm hook without a child", [*line, "--no-child"], env=environ)
    yield Contestant("warm hook with a child", line, env=environ)
    yield Contestant(
        "hook without a cache and without a child", [*line, "--no-child", "--no-cache"], env=environ
    )
    yield Contestant("hook without a cache but with a child", [*line, "--no-cache"], env=environ)
    if zipapp:
        line = of_zipapp(line, os.path.abspath(zipapp))
        yield Contestant("hook from a zipapp, warm, with a child", line, env=environ)
        yield Contestant("hook from a zipapp, without a cache", [*line, "--no-cache"], env=environ)
    script = Path(python).parent / "templater"
    if script.exists():
        yield Contestant(
            "console script with a warm hook and a child", [str(script), "hook", "lxc"], env=environ
        )
    for name, engine in ENGINES.items():
        if find_spec(NEEDS.get(name, "jinja2")):
            yield Contestant(name, [python, "-I", "-c", SCRIPT.format(engine=engine), str(folder)])
    yield from others(folder)


def of_zipapp(line: list[str], zipapp: str) -> list[str]:
    """Change ``line`` into the hook line that `hook install` writes if templater is a zipapp."""
    places = f'sys.path[:0]=["{zipapp}/templater/startup/line"];sys.path+=["{zipapp}"]'
    code = re.sub(r"sys\.path\[:0\]=.*?;sys\.path\+=\[.*?\]", lambda _: places, line[line.index("-c") + 1])
    return [*line[: line.index("-c") + 1], code, *line[line.index("-c") + 2 :]]


def others(folder: Path) -> Iterator[Contestant]:
    (folder / "data.json").write_text(json.dumps({"container": {"name": "c1"}, "foo": "bar", "lines": []}))
    jinja2 = Path(sys.executable).parent / "jinja2"
    if jinja2.exists():
        words = [str(jinja2), f"{folder}/peer/t0.tpl", f"{folder}/data.json", "-o", f"{folder}/rootfs/etc/t0"]
        yield Contestant("jinja2-cli", words, 1, "one template only")
    if shutil.which("minijinja-cli"):
        words = [
            "minijinja-cli",
            f"{folder}/peer/t0.tpl",
            f"{folder}/data.json",
            "-o",
            f"{folder}/rootfs/etc/t0",
        ]
        yield Contestant("minijinja-cli", words, 1, "a Rust program; one template only")
    else:
        sys.stderr.write("left out: minijinja-cli is not installed (cargo install minijinja-cli)\n")
    if shutil.which("cloud-init"):
        # its Jinja2 takes away the end of a line that ends in a tag
        text = (folder / "peer/t0.tpl").read_text().replace("%}\n", "%}\n\n")
        (folder / "peer/ci.tpl").write_text("## template: jinja\n" + text)
        words = ["cloud-init", "devel", "render", f"{folder}/peer/ci.tpl", "-i", f"{folder}/data.json"]
        note = "one template only, to standard output"
        yield Contestant("cloud-init devel render", words, 0, note, prints=True)
    else:
        sys.stderr.write("left out: cloud-init is not installed (Debian: cloud-init)\n")
    try:
        program = program_for("v4")
    except Unavailable as missing:
        sys.stderr.write(f"left out: Go's pongo2: {missing}\n")
        return
    requests = "".join(
        json.dumps({"id": n, "template": (folder / f"peer/t{n}.tpl").read_text(),
                    "context": {"container": {"name": "c1"}, "foo": "bar", "lines": []}}) + "\n"
        for n in range(COUNT)
    )  # fmt: skip
    note = "renders only, and writes nothing"
    yield Contestant("Go program with pongo2", [str(program)], 0, note, input=requests.encode())


def check(folder: Path, job: Contestant) -> None:
    """Check that a program writes every file with the expected content, even if the file exists."""
    spoil(folder)
    job.run()
    for number in range(job.files):
        got = (folder / f"rootfs/etc/t{number}").read_text()
        wanted = WANTED % number
        if got.rstrip("\n") != wanted.rstrip("\n"):  # a command line tool may drop the last line's end
            raise SystemExit(f"{job.name} wrote {got!r}, not {wanted!r}")
    if job.prints and job.printed.rstrip("\n") != (WANTED % 0).rstrip("\n"):
        raise SystemExit(f"{job.name} printed {job.printed!r}, not {WANTED % 0!r}")


def spoil(folder: Path) -> None:
    """Change the content of every target, so that the next run must write all targets."""
    for number in range(COUNT):
        (folder / f"rootfs/etc/t{number}").write_text("something else\n")


def row(job: Contestant, base: float) -> str:
    median, least = statistics.median(job.times), min(job.times)
    note = f" ({job.note})" if job.note else ""
    return f"| {job.name}{note} | {least:.1f} | {median:.1f} | {median / base:.2f} |"


def beside_the_hook(jobs: list[Contestant]) -> Iterator[str]:
    """Yield the ratio of the time of each other program to the time of a warm hook."""
    hooks = [job for job in jobs if job.name.startswith("warm hook")]
    yield "\nas long as a warm hook takes (" + "; ".join(job.name for job in hooks) + "), round by round:\n"
    for job in jobs:
        if job.peer:
            ratios = [
                statistics.median(a / b for a, b in zip(job.times, hook.times, strict=True)) for hook in hooks
            ]
            yield f"* {job.name}: " + " and ".join(f"{ratio:.1f} x" for ratio in ratios)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench hook", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--zipapp", default="", help="a templater.pyz to measure as well")
    options = parser.parse_args(arguments)
    with container() as folder:
        jobs = list(contestants(folder, options.zipapp))
        for job in jobs:
            check(folder, job)
            check(folder, job)  # by the second time every cache is warm
        for _ in range(options.rounds):
            for job in jobs:
                spoil(folder)
                job.times.append(job.run())
    base = statistics.median(jobs[0].times)
    sys.stdout.write(f"Python {sys.version.split()[0]}, {options.rounds} rounds\n\n")
    sys.stdout.write("| program | least ms | median ms | x `python -I -c pass` |\n|---|--:|--:|--:|\n")
    sys.stdout.write("".join(row(job, base) + "\n" for job in jobs))
    sys.stdout.write("".join(line + "\n" for line in beside_the_hook(jobs)))
    return 0
