"""Run every hostile image through each command that accepts it: `python -m tests.bench.hostile`.

Prints the worst time and memory by command. The goal is 10 seconds and 500 MB with default limits. With
`--python PATH` the templater of another checkout runs, to compare.
"""

import argparse
import gzip
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.image_archives import END, METADATA, directories, file, global_header, header, image, pax

RULE = METADATA + b"templates:\n  /etc/x: {when: [create], template: a.tpl}\n"
SECONDS, MEGABYTES = 10, 500
STOP = 60


def compressed(path: Path) -> str:
    path.with_suffix(".gz").write_bytes(gzip.compress(path.read_bytes(), 9))
    return str(path.with_suffix(".gz"))


def packed(*members: bytes, metadata: bytes = METADATA, behind: bytes = b"") -> Callable[[Path], str]:
    return lambda path: compressed(Path(image(path, *members, metadata=metadata, behind=behind)))


def template(text: str) -> Callable[[Path], str]:
    return packed(file("templates/a.tpl", text.encode()), metadata=RULE)


def rules(count: int, rule: str, *members: bytes) -> Callable[[Path], str]:
    text = "templates:\n" + "".join("  " + rule.replace("N", str(number)) + "\n" for number in range(count))
    return packed(file("templates/a.tpl", b"x"), *members, metadata=METADATA + text.encode())


SPARSE = pax({"GNU.sparse.map": b"0,0", "GNU.sparse.size": b"%d" % (1 << 43), "GNU.sparse.name": b"rootfs/a"})
ATTRIBUTES = {f"SCHILY.xattr.user.{number:03}" + "x" * 10_000: b"" for number in range(99)}
#: by what they do; each writes a file and returns its path
IMAGES: dict[str, Callable[[], Callable[[Path], str]]] = {
    "config names in a comment": lambda: template("{# " + "{{ config." * 2000 + " #}"),
    "openings": lambda: template("{{ " * 8000),
    "words": lambda: template('"' + "password" * 20_000),
    "tags": lambda: template("{%" * 60_000),
    "underscores": lambda: template("{{ " + "__a" * 60_000),
    "filters": lambda: template("{{ config_get" + "|upper" * 20_000 + " }}"),
    "a long text": lambda: template("x" * 15_000_000),
    "an endless loop": lambda: template("{% for a in 'x'|ljust:9999 %}{% for b in 'x'|ljust:9999 %}{{ a }}{% endfor %}{% endfor %}"),
    "long values": lambda: template('{% set b = "' + "a " * 20_000 + '" %}{% for i in "' + "x" * 99_999 + '" %}{{ b|wordcount }}{% endfor %}'),
    "a template of removetags": lambda: template('{{ "' + "<a" * 99_999 + '"' + '|removetags:"a"' * 300 + " }}"),
    "global attributes": lambda: packed(global_header(ATTRIBUTES), *directories(20_000)),
    "a global path": lambda: packed(global_header({"path": b"rootfs/x"}), *directories(2000)),
    "a long global number": lambda: packed(global_header({"mtime": b"1" * 1_000_000}), *directories(20_000)),
    "attributes": lambda: packed(*(pax({f"SCHILY.xattr.user.{'x' * 240}{n}": b"" for n in range(2000)}) + header(f"rootfs/{m}", tarfile.DIRTYPE) for m in range(300))),
    "empty directories": lambda: packed(*directories(100_000)),
    "a million names": lambda: packed(*(header(f"rootfs/{number}") for number in range(999_000))),
    "names outside": lambda: packed(*(header(f"o{number}") for number in range(99_000))),
    "long names": lambda: packed(*(pax({"path": b"rootfs/" + b"x" * 3900 + b"%d" % n}) + header("x") for n in range(60_000))),
    "deep names": lambda: packed(*(pax({"path": b"rootfs/" + b"d/" * 1900 + b"%d" % n}) + header("x") for n in range(20_000))),
    "a sparse file": lambda: packed(SPARSE + header("rootfs/a")),
    "zeros": lambda: packed(header("rootfs/a", size=240 << 20) + bytes(240 << 20)),
    "streams": lambda: lambda path: (Path(image(path)), path.write_bytes(gzip.compress(path.read_bytes()) + gzip.compress(b"") * 500_000), str(path))[2],
    "a second archive": lambda: packed(behind=file("templates/b.tpl", b"evil") + END),
    "a second stream": lambda: lambda path: (path.write_bytes(gzip.compress(Path(image(path)).read_bytes()) + gzip.compress(file("templates/b.tpl") + END)), str(path))[1],
    "a link as disk": lambda: packed(header("rootfs.img", tarfile.SYMTYPE, linkname="/dev/sda")),
    "a fifo as disk": lambda: packed(header("rootfs.img", tarfile.FIFOTYPE)),
    "a backing file": lambda: packed(file("rootfs.img", b"QFI\xfb\0\0\0\3" + (104).to_bytes(8, "big") + (9).to_bytes(4, "big") + bytes(84) + b"/dev/sda")),
    "rules": lambda: rules(9000, "/etc/N: {when: [create], template: a.tpl}"),
    "rules of one file": lambda: rules(9000, "/N/../x: {when: [create], template: a.tpl}"),
    "rules in each other": lambda: rules(400, "/" + "d/" * 100 + "N: {when: [create], template: a.tpl}"),
    "rules through links": lambda: rules(9000, "/l39/N: {when: [create], template: a.tpl}", *(
        header(f"rootfs/l{n}", tarfile.SYMTYPE, linkname="./" * 49 + (f"l{n - 1}" if n else "d")) for n in range(40))),
    "aliases": lambda: packed(metadata=METADATA + b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(9))),
    "brackets": lambda: packed(metadata=METADATA + b"x: " + b"[" * 500_000),
    "keys": lambda: packed(metadata=METADATA + b"properties:\n" + b"  a: 1\n" * 140_000),
}  # fmt: skip
COMMANDS: dict[str, list[str]] = {
    "audit": ["audit", "IMAGE"],
    "preview": ["preview", "IMAGE"],
    "simulate": ["simulate", "IMAGE", "start"],
    "image info": ["image", "info", "IMAGE"],
    "unpack": ["unpack", "IMAGE", "OUT"],
    "image export": ["image", "export", "IMAGE", "OUT", "--compression", "none"],
    "image set-property": ["image", "set-property", "IMAGE", "a=b"],
}


def run(words: list[str], env: dict[str, str]) -> tuple[float, float, float, int]:
    """Run a command. Return its processor time and wall time in seconds, its peak memory in MB, and its exit
    code, which is -9 if it was killed after STOP seconds.
    """
    begun = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "templater", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=env,
        cwd=env["PYTHONPATH"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30)),  # noqa: PLW1509
    )
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            processor = usage.ru_utime + usage.ru_stime
            return processor, time.monotonic() - begun, usage.ru_maxrss / 1024, child.returncode
        if time.monotonic() - begun > STOP:
            child.kill()
        time.sleep(0.02)


def in_child(make: Callable[[], Callable[[Path], str]], path: Path) -> str:
    """Make an image in a process of its own: what this one holds would count as memory of the commands."""
    subprocess.run(["rm", "-f", path, path.with_suffix(".gz")], check=True)
    pid = os.fork()
    if pid == 0:
        try:
            make()(path)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    packed_path = path.with_suffix(".gz")
    return str(packed_path if packed_path.exists() else path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", default="", help="a checkout whose templater runs")
    parser.add_argument("--only", default="", help="images whose name contains this")
    parser.add_argument("--verbose", action="store_true", help="print every row, not only bad ones")
    given = parser.parse_args()
    env = {**os.environ, "PYTHONPATH": given.tree or os.getcwd(), "PYTHONDONTWRITEBYTECODE": "1"}
    worst: dict[str, list[tuple[float, float, float, str]]] = {command: [] for command in COMMANDS}
    with tempfile.TemporaryDirectory() as name:
        for what, make in IMAGES.items():
            if given.only not in what:
                continue
            path = in_child(make, Path(name) / "i.tar")
            for command, words in COMMANDS.items():
                places = {"IMAGE": path, "OUT": f"{name}/out"}
                seconds, elapsed, size, code = run([places.get(word, word) for word in words], env)
                worst[command].append((seconds, elapsed, size, what))
                bad = max(seconds, elapsed) > SECONDS or size > MEGABYTES or code not in range(10)
                if bad or given.verbose:
                    row = f"{seconds:6.1f} s {elapsed:6.1f} s {size:6.0f} MB  exit {code}"
                    print(f"{'!' if bad else ' '} {command:18} {what:26} {row}", flush=True)
                subprocess.run(["rm", "-rf", f"{name}/out"], check=True)
    print("\n| command | processor | image | wall | image | memory | image |\n|---|--:|---|--:|---|--:|---|")
    for command, rows in worst.items():
        cells = [command]
        for column, unit in enumerate(("s", "s", "MB")):
            row = max(rows, key=lambda row: row[column])
            cells += [f"{row[column]:.1f} {unit}", row[3]]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
