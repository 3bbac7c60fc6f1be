"""Run every hostile image through each command that accepts it: `python -m tests.bench hostile`.

For each command, print the longest time and the largest memory. The goal is at most 10 seconds and 500 MB
with the default limits. `--tree PATH` measures another checkout of templater.
"""

import argparse
import gzip
import os
import resource
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL, PIPE

from tests.image_archives import (
    END,
    METADATA,
    directories,
    file,
    global_header,
    header,
    image,
    pax,
    sparse_map,
)

#: with the properties that `streams add` needs
HEAD = METADATA + b"properties: {os: x, release: '1', variant: v}\n"
RULE = HEAD + b"templates:\n  /etc/x: {when: [create], template: a.tpl}\n"
SECONDS, MEGABYTES = 10, 500
STOP = 60


def compressed(path: Path) -> str:
    path.with_suffix(".gz").write_bytes(gzip.compress(path.read_bytes(), 9))
    return str(path.with_suffix(".gz"))


def packed(*members: bytes, metadata: bytes = HEAD, behind: bytes = b"") -> Callable[[Path], str]:
    rootfs = header("rootfs", tarfile.DIRTYPE)
    return lambda path: compressed(Path(image(path, rootfs, *members, metadata=metadata, behind=behind)))


def template(text: str) -> Callable[[Path], str]:
    return packed(file("templates/a.tpl", text.encode()), metadata=RULE)


def rules(count: int, rule: str, *members: bytes) -> Callable[[Path], str]:
    text = "templates:\n" + "".join("  " + rule.replace("N", str(number)) + "\n" for number in range(count))
    return packed(file("templates/a.tpl", b"x"), *members, metadata=HEAD + text.encode())


def templates(count: int, text: str, *, linked: bool = False) -> Callable[[Path], str]:
    """An image with many templates: different files, or hard links to a single file."""
    names = [f"t{number}" for number in range(count)]
    metadata = "templates:\n" + "".join(f"  /{name}: {{when: [start], template: {name}}}\n" for name in names)
    if linked:
        link = "templates/t0"
        rest = [header(f"templates/{name}", tarfile.LNKTYPE, linkname=link) for name in names[1:]]
        members = [file(link, text.encode()), *rest]
    else:
        members = [file(f"templates/{name}", (name + text).encode()) for name in names]
    return packed(*members, metadata=HEAD + metadata.encode())


def aliased(rule: str, size: int, count: int) -> Callable[[Path], str]:
    """An image whose rules all refer to the same long text by a YAML alias."""
    text = f"properties: {{os: &t {'z' * size}}}\ntemplates:\n"
    lines = (f"  /{number}: {{{rule}}}\n" for number in range(count))
    return packed(file("templates/t", b"x"), metadata=METADATA + (text + "".join(lines)).encode())


def chain(tail: str) -> Callable[[Path], str]:
    """An image with symlinks that lead through long missing paths.

    The paths of 2,000 rules are below the first symlink.
    """
    links = [
        pax({"linkpath": f"/l{n + 1}/{tail}".encode()}) + header(f"rootfs/l{n}", tarfile.SYMTYPE)
        for n in range(39)
    ]
    return rules(2000, "/l0/N: {when: [create], template: a.tpl}", *links)


def holed(path: Path) -> str:
    made = compressed(Path(image(path, file("templates/a.tpl", b"x"), metadata=RULE)))
    os.truncate(made, 1 << 40)
    return made


SPARSE = sparse_map(b"%d,0" % (1 << 43), 1 << 43, name=b"rootfs/a")
ATTRIBUTES = {f"SCHILY.xattr.user.{number:03}" + "x" * 10_000: b"" for number in range(99)}
#: hostile images by their trick; each function writes a file and returns its path
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
    "different templates": lambda: templates(2400, "{{ a+1-2*3 }}" * 2000),
    "small templates": lambda: templates(16_000, "{{ a+1-2*3 }}" * 2),
    "equal templates": lambda: templates(900, "{{ a+1-2*3 }}" * 2000, linked=True),
    "small values": lambda: template("{% set s='" + "<b>x</b> " * 50 + "' %}{% for i in 'x'|ljust:9999 %}{% for j in 'x'|ljust:10 %}{{ s|truncatewords_html:500|length }}{% endfor %}{% endfor %}"),
    "a literal": lambda: template('{{ "' + "x" * (4 << 20) + '" }}'),
    "a long trigger": lambda: aliased("when: [*t], template: t", 900_000, 1000),
    "a long text as triggers": lambda: aliased("when: *t, template: t", 900_000, 1000),
    "long template names": lambda: aliased("when: [start], template: *t", 1000, 18_000),
    "long modes": lambda: aliased("when: [start], template: t, mode: *t", 1000, 18_000),
    "long property names": lambda: aliased("when: [start], template: t, properties: {*t : x}", 900_000, 2000),
    "brackets in Python's parser": lambda: packed(metadata=METADATA + b'"' + b"k" * 1100 + b'": 1\nx: ' + (b"[" * 55 + b"a," * 8000 + b"]" * 55 + b",") + b",".join([b"[" * 55 + b"]" * 55] * 50) + b"\ny: [\n"),
    "links with missing tails": lambda: chain("a/" * 2000 + "a"),
    "links with dots": lambda: chain("../d/" * 700 + "a"),
    "combining marks": lambda: packed(metadata=METADATA + b"templates:\n  /a: {when: [start], template: " + ("\u0301\u0316" * 170_000).encode() + b"}\n"),
    "a long template name": lambda: packed(metadata=METADATA + b"templates:\n  /a: {when: [start], template: " + b"n" * 1000 + b"}\n"),
    "removed links": lambda: packed(*(pax({"path": b"rootfs" + b"/d" * n}) + header("x", tarfile.SYMTYPE, linkname="y") for n in range(1, 2000, 2)), *(pax({"path": b"rootfs" + b"/d" * 1990 + b"/%d" % n}) + header("x") for n in range(6000))),
    "wide names": lambda: packed(*(pax({"path": f"rootfs/{'x' * 360}\U0001f600{n}".encode()}) + header("x") for n in range(330_000))),
    "a hole behind": lambda: holed,
    "a window": lambda: lambda path: (Path(image(path, header("rootfs/a", size=600 << 20) + bytes(600 << 20))), subprocess.run(["zstd", "-q", "-f", "-1", "--long=29", str(path), "-o", str(path.with_suffix(".gz"))], check=True))[0] and str(path.with_suffix(".gz")),
    "keys": lambda: packed(metadata=METADATA + b"properties:\n" + b"  a: 1\n" * 140_000),
}  # fmt: skip
COMMANDS: dict[str, list[str]] = {
    "audit": ["audit", "IMAGE"],
    "check": ["check", "IMAGE"],
    "preview": ["preview", "IMAGE"],
    "preview --as all": ["preview", "IMAGE", "--as", "all"],
    "preview --json": ["preview", "IMAGE", "-t", "all", "--json"],
    "diff": ["diff", "IMAGE", "EMPTY"],
    "apply": ["apply", "IMAGE", "ROOT", "-t", "create", "-t", "start"],
    "simulate": ["simulate", "IMAGE", "create", "start"],
    "image info": ["image", "info", "IMAGE"],
    "image template": ["image", "template", "list", "IMAGE"],
    "unpack": ["unpack", "IMAGE", "OUT"],
    "image export": ["image", "export", "IMAGE", "OUT", "--compression", "none"],
    "image build": ["image", "build", "DIRECTORY", "-o", "OUT", "--compression", "none"],
    "image set-property": ["image", "set-property", "IMAGE", "a=b"],
    "image unset-property": ["image", "unset-property", "IMAGE", "a"],
    "compile": ["compile", "DIRECTORY"],
    "streams add": ["streams", "add", "OUT", "IMAGE"],
    "streams verify": ["streams", "verify", "TREE"],
    "store import": ["store", "import", "IMAGE"],
    "serve": ["serve", "IMAGE", "--listen", "127.0.0.1:0"],
}  # fmt: skip
#: the line that `serve` prints when it is ready for clients
READY = b"serving "


def run(words: list[str], env: dict[str, str]) -> tuple[float, float, float, int]:
    """Run a command. Return its processor time, its wall clock time, its peak memory, and its exit code.

    The times are in seconds, and the memory is in MiB. A command is killed after STOP seconds, and its exit
    code is then -9. The command ``serve`` is stopped when it is ready for clients.
    """
    begun = time.monotonic()
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "templater", *words],
            stdout=output,
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
            elif words[0] == "serve" and os.pread(output.fileno(), len(READY), 0) == READY:
                child.send_signal(signal.SIGINT)
                words = ["stopped"]
            time.sleep(0.02)


def in_child(make: Callable[[], Callable[[Path], str]], path: Path) -> str:
    """Make an image in a child process.

    Linux counts the memory of this process as memory of each command that it starts. So this process must not
    hold the data of the image.
    """
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


def unpacked(path: str, folder: str, tree: str, env: dict[str, str]) -> None:
    """Unpack an image with tar, and add the image to a simplestreams tree.

    Some commands read the unpacked directory. Ignore errors: the directory and the tree then have only a part
    of the image.
    """
    os.mkdir(folder)
    # tar's warnings can repeat a megabyte of an image for each member, so they are not kept
    words = ["timeout", "20", "tar", "-tf", path]
    names = subprocess.run(words, stdout=PIPE, stderr=DEVNULL, check=False).stdout.count(b"\n")
    if names < 30_000:  # else unpacking takes longer than all commands
        # tar unpacks deep names in quadratic time; a part of the image is enough then
        words = ["timeout", "20", "tar", "-xf", path, "--exclude=./rootfs.img", "-C", folder]
        subprocess.run(words, stdout=DEVNULL, stderr=DEVNULL, check=False)
    words = [sys.executable, "-m", "templater", "streams", "add", tree, path]
    subprocess.run(words, env=env, cwd=env["PYTHONPATH"], capture_output=True, check=False)
    os.makedirs(tree, exist_ok=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", default="", help="a checkout whose templater runs")
    parser.add_argument("--only", default="", help="images whose name contains this")
    parser.add_argument("--command", default="", help="commands whose name contains this")
    parser.add_argument("--verbose", action="store_true", help="print every row, not only bad ones")
    given = parser.parse_args(arguments)
    env = {**os.environ, "PYTHONPATH": given.tree or os.getcwd(), "PYTHONDONTWRITEBYTECODE": "1"}
    commands = {command: words for command, words in COMMANDS.items() if given.command in command}
    worst: dict[str, list[tuple[float, float, float, str]]] = {command: [] for command in commands}
    bad_rows = 0
    with tempfile.TemporaryDirectory() as name:
        env["XDG_DATA_HOME"] = env["XDG_CONFIG_HOME"] = env["XDG_STATE_HOME"] = f"{name}/home"
        places = {word: f"{name}/{word.lower()}" for word in ("OUT", "DIRECTORY", "TREE", "EMPTY", "ROOT")}
        for what, make in IMAGES.items():
            if given.only not in what:
                continue
            path = in_child(make, Path(name) / "i.tar")
            unpacked(path, places["DIRECTORY"], places["TREE"], env)
            for command, words in commands.items():
                os.makedirs(places["EMPTY"], exist_ok=True)
                os.makedirs(places["ROOT"], exist_ok=True)
                seconds, elapsed, size, code = run(
                    [{**places, "IMAGE": path}.get(word, word) for word in words], env
                )
                worst[command].append((seconds, elapsed, size, what))
                bad = max(seconds, elapsed) > SECONDS or size > MEGABYTES or code not in range(10)
                bad_rows += bad
                if bad or given.verbose:
                    row = f"{seconds:6.1f} s {elapsed:6.1f} s {size:6.0f} MB  exit {code}"
                    print(f"{'!' if bad else ' '} {command:20} {what:28} {row}", flush=True)
                subprocess.run(["rm", "-rf", places["OUT"], places["ROOT"], f"{name}/home"], check=True)
            subprocess.run(["rm", "-rf", *places.values()], check=True)
    print("\n| command | processor | image | wall | image | memory | image |\n|---|--:|---|--:|---|--:|---|")
    for command, rows in worst.items():
        cells = [command]
        for column, unit in enumerate(("s", "s", "MB")):
            row = max(rows, key=lambda row: row[column], default=(0.0, 0.0, 0.0, "none"))
            cells += [f"{row[column]:.1f} {unit}", row[3]]
        print(f"| {' | '.join(cells)} |")
    return 1 if bad_rows else 0


if __name__ == "__main__":
    sys.exit(main())
