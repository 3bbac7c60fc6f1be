"""``python -m tests.fuzz``: random bytes and mutated real templates; each renders or raises our own error.

The real templates are the corpus's (``TEMPLATER_CORPUS``, or the folder beside this repository) and the
recordings'. Counts, the slowest example and the peak of memory are printed; the exit code is 1 if anything
but a TemplaterError came out, or a limit was exceeded.
"""

import argparse
import json
import os
import random
import re
import time
import traceback
from collections import Counter
from pathlib import Path

from templater import pongo2
from templater.model.errors import TemplaterError
from templater.pongo2.daemon_context import daemon_context
from templater.pongo2.dialect import DIALECTS
from templater.pongo2.filters_and_tags import library_for

HERE = Path(__file__).parent.parent
CORPUS = Path(os.environ.get("TEMPLATER_CORPUS") or HERE.parent.parent / "shared" / "corpus")

FRAGMENTS = [
    b"{{", b"}}", b"{%", b"%}", b"{#", b"#}", b"{{-", b"-%}", b"{% if x %}", b"{% endif %}", b"{% for x in l %}",
    b"{% endfor %}", b"{% set x = ", b"{% verbatim %}", b"{% endverbatim %}", b"{% macro f(a) %}", b"{% endmacro %}",
    b"|upper", b"|default:", b'"', b"'", b"\\", b"(", b")", b"[", b"]", b" x ", b"config_get(", b"1", b".", b"==",
    b" and ", b" not ", b"\n", b"\r\n", b"\x00", b"\x01", b"\xff", b"\xc3", "é😀".encode(), b"{% else %}", b"%",
    b"{% with a=1 %}", b"{% endwith %}", b"{% filter ", b"{% endfilter %}", b"{% comment %}", b"{% endcomment %}",
]  # fmt: skip

WORDS = [
    "x", "l", "m", "config", "instance.name", "container.name", "trigger", "devices", "properties.default", "nope",
    "1", "0", "2.5", '"text"', "true", "false", 'config_get("user.x", "y")', "forloop.Counter", "f(1)", "l.0",
    'm["k"]', "devices.Sorted", "pongo2.version", "(x)", "-1", "not x", "x + 1", "l|length", "9223372036854775807",
]  # fmt: skip

CONTEXT = daemon_context(
    "create",
    "/etc/hostname",
    {
        "name": "c1",
        "type": "container",
        "architecture": "x86_64",
        "ephemeral": "false",
        "privileged": "false",
    },
    {"user.x": "y\n", "user.user-data": "#cloud-config\n{}", "image.os": "debian"},
    {"eth0": {"type": "nic", "hwaddr": "00:16:3e:00:00:01"}, "root": {"type": "disk", "path": "/"}},
    {"default": "d"},
) | {"x": "<é>", "l": ["b", "a"], "m": {"k": [1, 2.5, None, True]}, "n": 5}

TOKEN = re.compile(r"[A-Za-z_][\w.]*|\d+|\"[^\"]*\"|'[^']*'|[^\w\s]")


def real_templates() -> list[str]:
    files = [path for path in CORPUS.glob("images*/*/templates/*") if path.is_file()]
    found = {path.read_bytes().decode("utf-8", "surrogateescape") for path in files}
    for path in sorted((HERE / "vectors").rglob("*.jsonl")):
        for line in filter(str.strip, path.read_text("utf-8").split("\n")):
            vector = json.loads(line)
            template = vector.get("template")
            if template is not None and "output" in vector.get("v6", {}) and len(template) < 4000:
                found.add(template)
    return sorted(found)


def random_bytes(chance: random.Random) -> bytes:
    if chance.random() < 0.2:
        return chance.randbytes(chance.randrange(60))
    pieces = chance.choices(FRAGMENTS, k=chance.randrange(1, 25))
    if chance.random() < 0.3:
        pieces.insert(chance.randrange(len(pieces)), chance.randbytes(3))
    return b"".join(pieces)


def mutated(chance: random.Random, templates: list[str]) -> str:
    """A real template, changed in one place or a few."""
    text = chance.choice(templates)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        text = chance.choice(MUTATIONS)(chance, text, templates)
    return text


def other_word(chance: random.Random, text: str, templates: list[str]) -> str:
    """A value inside a tag becomes another one."""
    tags = [m.span() for m in re.finditer(r"\{\{.*?\}\}|\{%.*?%\}", text)]
    if not tags:
        return text + "{{ " + chance.choice(WORDS) + " }}"
    start, end = chance.choice(tags)
    tokens = [m.span() for m in TOKEN.finditer(text, start + 2, end - 2)]
    if not tokens:
        return text
    first, last = chance.choice(tokens)
    return text[:first] + chance.choice(WORDS) + text[last:]


def more_filters(chance: random.Random, text: str, templates: list[str]) -> str:
    places = [m.start() for m in re.finditer(r" *-?\}\}", text)]
    if not places:
        return text
    place = chance.choice(places)
    name = chance.choice(sorted(library_for(DIALECTS["v6"]).filters))
    argument = chance.choice(("", "", ":" + chance.choice(WORDS)))
    return f"{text[:place]}|{name}{argument}{text[place:]}"


def wrapped(chance: random.Random, text: str, templates: list[str]) -> str:
    word = chance.choice(WORDS)
    opening, closing = chance.choice(
        [
            (f"{{% if {word} %}}", "{% endif %}"),
            (f"{{% for y in {word} %}}", "{% empty %}{{ y }}{% endfor %}"),
            (f"{{% with z={word} %}}", "{% endwith %}"),
            ("{% filter lower|title %}", "{% endfilter %}"),
            ("{% macro f(a) %}", "{{ a }}{% endmacro %}{{ f(1) }}"),
            ("{% autoescape on %}", "{% endautoescape %}"),
            ("{% spaceless %}", "{% endspaceless %}"),
            ("{% ifchanged %}", "{% else %}{% endifchanged %}"),
        ]
    )
    return opening + text + closing


def spliced(chance: random.Random, text: str, templates: list[str]) -> str:
    other = chance.choice(templates)
    cut = chance.randrange(len(text) + 1)
    return text[:cut] + other[: chance.randrange(len(other) + 1)] + text[cut:]


def joined(chance: random.Random, text: str, templates: list[str]) -> str:
    return text + chance.choice(templates)


def damaged(chance: random.Random, text: str, templates: list[str]) -> str:
    start = chance.randrange(len(text) + 1)
    return (
        text[:start]
        + chance.choice(("", "{", "%", "\udcff", "\n", "\x01"))
        + text[start + chance.randrange(4) :]
    )


MUTATIONS = (
    other_word,
    other_word,
    more_filters,
    more_filters,
    wrapped,
    wrapped,
    joined,
    joined,
    spliced,
    damaged,
)


class Fuzz:
    """The counts and failures of a run."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.slowest = (0.0, "")

    def one(self, chance: random.Random, source: str | bytes) -> None:
        dialect = DIALECTS[chance.choice(("v4", "v6", "v6.1"))]
        mode = chance.choice(("incus", "plain"))
        self.counts["examples"] += 1
        started = time.process_time()
        try:
            template = pongo2.compile(source, dialect, mode=mode)
            self.counts["parsed"] += 1
            text = template.render(CONTEXT, clock=0, seed=1)
            text.encode("utf-8", "surrogateescape")
            self.counts["rendered"] += 1
        except TemplaterError as error:
            self.counts[error.kind] += 1
            self.check(error, source)
        except BaseException:
            self.wrong.append(f"{dialect.name} {mode} {source!r}\n{traceback.format_exc()}")
        taken = time.process_time() - started
        if taken > self.slowest[0]:
            self.slowest = (taken, f"{dialect.name} {mode} {source!r}"[:500])

    def check(self, error: TemplaterError, source: str | bytes) -> None:
        """Check that the error can be printed and that its place is in the source."""
        error.explain().encode("utf-8", "strict")
        span = error.span
        about_context = str(error).startswith("context key name ")
        if span is None and error.kind != "limit" and not about_context:
            self.wrong.append(f"no place: {source!r}: {error}")
        elif span is not None and not 0 <= span.start <= span.end <= len(span.source.text):
            self.wrong.append(f"the place is outside: {source!r}: {error}")

    def report(self, name: str) -> str:
        counts = ", ".join(f"{key} {count}" for key, count in self.counts.most_common())
        return f"{name}: {counts}; wrong {len(self.wrong)}; slowest {self.slowest[0]:.2f} s"


def peak_megabytes() -> int:
    lines = Path("/proc/self/status").read_text().split("\n")
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


def run(name: str, count: int, seed: int) -> Fuzz:
    fuzz = Fuzz()
    templates = real_templates() if name == "mutated" else []
    for number in range(count):
        chance = random.Random(f"{name}/{seed}/{number}")
        fuzz.one(chance, random_bytes(chance) if name == "bytes" else mutated(chance, templates))
        if number % 10_000 == 9_999:
            print(fuzz.report(name), flush=True)
    return fuzz


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--bytes", type=int, default=100_000, help="random byte strings")
    parser.add_argument("--mutated", type=int, default=200_000, help="mutated real templates")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    failed = False
    for name, count in (("bytes", arguments.bytes), ("mutated", arguments.mutated)):
        fuzz = run(name, count, arguments.seed)
        print(fuzz.report(name), "\n  ", fuzz.slowest[1])
        for wrong in fuzz.wrong[:10]:
            print(wrong)
        failed |= bool(fuzz.wrong) or fuzz.slowest[0] > 2
    print(f"peak {peak_megabytes()} MB, seed {arguments.seed}")
    return 1 if failed or peak_megabytes() >= 200 else 0
