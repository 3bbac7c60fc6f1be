"""The list of attacks that this project has to survive, by number, and where each is tried.

A test says by its name which it tries: ``test_attack_12_…``, ``test_attack_40_41_…``. The page docs/security.md
has the table; tests/attacks/test_cases.py holds it, the list and the tests together.
"""

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parents[1]

NUMBERED = re.compile(r"test_attack_((?:\d{1,2}_)+)")


class Case(NamedTuple):
    attack: str
    answer: str
    #: why it is not answered as the list wants, or not tried at all
    reason: str = ""


CASES = {
    1: Case("a target with `..` that leads out", "refused, the component named"),
    2: Case("the root itself as target; odd spellings", "refused; `//`, `.` and a last `/` are cleaned as the daemons do"),
    3: Case("NUL, overlong, newline, no UTF-8 in a target", "refused; the last two written, and escaped in every output"),
    4: Case("a directory as target", "refused, nothing written"),
    5: Case("a template's name that is a path, or none", "refused"),
    6: Case("`templates` a link, a file, missing", "refused; missing matters only to a rule that fires"),
    7: Case("a template that is a link", "refused, wherever it leads"),
    8: Case("a template that is a fifo, socket, device, folder", "refused within a second"),
    9: Case("a template hard-linked to a file of the host", "read as whoever runs us; `audit` warns"),
    10: Case("`rootfs` a link", "refused"),
    11: Case("`metadata.yaml` a link, fifo, folder, device", "refused"),
    12: Case("an absolute link on a target's way", "resolved inside, as the container would; the daemons' refusal is an outcome of `--as`"),
    13: Case("a relative link that stays inside", "followed"),
    14: Case(
        "a relative link that climbs out", "stops at the root",
        "as in a chroot, where `..` of the root is the root: nothing is left to refuse. The daemons' refusal is an outcome of `--as`, and `audit` names the link",
    ),
    15: Case("a loop of links", "refused"),
    16: Case(
        "a link as a target's last part", "followed inside, and stays",
        "no option not to follow: a link leads nowhere outside, and `create_only` leaves a name alone that exists",
    ),
    17: Case("a dangling link as the last part", "the file is made where it points, inside"),
    18: Case("magic links of a mounted `/proc`", "never followed"),
    19: Case("a bind mount of the host in the root filesystem", "refused; crossing has to be asked for twice"),
    20: Case("a fifo as target", "refused, also if it appears after the plan"),
    21: Case("a device as target", "refused"),
    22: Case("a socket as target", "refused"),
    23: Case("a target with more names than one", "replaced; the other names keep the old content"),
    24: Case("immutable, append-only, read-only", "an error with its way out; nothing changes"),
    25: Case(
        "a target in `/dev`, `/proc`, `/sys`, `/run`", "a remark; refused if something is mounted there",
        "in `/run` only `audit` remarks: images write there on purpose, and not every container mounts something there",
    ),
    26: Case("a file in the place of a parent", "refused"),
    27: Case("a parent swapped between being made and opened", "refused: it is looked at again by descriptor"),
    28: Case("`etc`, `templates`, a template, a tree being unpacked flip with a link while we work", "100,000 flips and two seconds at least: nothing outside is touched or read"),
    29: Case("the staged file swapped before it gets its name", "refused; a staged file has no name, or a random one whose inode is looked at"),
    30: Case("two rules that reach one file, or a file and what lies below it", "both named, nothing written"),
    31: Case("modes in every spelling", "Go's numbers; no setuid, setgid, sticky; `audit` says what is odd"),
    32: Case("owners that name nobody", "refused"),
    33: Case("an owner outside the id map", "refused, never nobody"),
    34: Case("chown through a link", "owners are set by descriptor"),
    35: Case(
        "the mode of a file that exists", "kept, as the daemons do",
        "enforcing a rule's mode is not offered: a preview could not say what a host does",
    ),
    36: Case("any umask", "makes no difference"),
    37: Case(
        "tags that read files, wherever they hide", "a parse error with its place",
        "in comments and `verbatim` they are text, as in pongo2, which does not parse there; `audit` names them there too",
    ),
    38: Case("climbing from a value to Python", "there are no attributes: nothing, or an error"),
    39: Case("methods of Go's values", "what Go gives, or an error with its place"),
    40: Case("macros that call themselves or each other", "a limit"),
    41: Case("loops of 10⁹ rounds, over long texts", "a limit, within two seconds"),
    42: Case("filters and tags that make gigabytes; doubling", "a limit, within 200 MB"),
    43: Case("division by zero, overflow, huge slices", "what pongo2 4.0.2 gives, or an error with its line"),
    44: Case("100,000 brackets or blocks", "a limit"),
    45: Case("what is never closed, or never opened", "an error at pongo2's line and column"),
    46: Case("100 MB, one line of 50 MB, NUL, BOM, CRLF, no UTF-8", "a limit; every byte arrives"),
    47: Case("texts made for slow regular expressions", "lexer and filters take their share for each byte"),
    48: Case("template language in a value", "text, never rendered again"),
    49: Case("a newline in a value", "written as it is; `audit` names the line that takes it"),
    50: Case("secrets in messages", "`preview` and `diff` show them; logs and a hook's words redact, reports know none"),
    51: Case("YAML that grows: aliases, merge keys, nesting, keys", "a limit before anything is built"),
    52: Case("YAML tags that build objects", "refused"),
    53: Case("a rule that stands twice", "as the host's YAML library; `audit` names it"),
    54: Case("other shapes than metadata.yaml has", "one error with its place, in the host's words"),
    55: Case("`0755`, `yes`, `3.10`, dates", "their text"),
    56: Case("100,000 rules", "a limit; fewer take their share"),
    57: Case("members that lead out; backslashes", "refused; `./` is cleaned"),
    58: Case("a second member of a name, of another kind", "refused once all is read; a preview stops before it and says so"),
    59: Case("hard links and chains of links to the outside", "refused"),
    60: Case("devices, setuid, capabilities, `trusted.*`", "listed by `audit`, left out unless asked for"),
    61: Case("sizes, sparse maps and headers that lie", "a limit or an error, before they are believed"),
    62: Case("bombs, streams behind streams, garbage, cut ends", "a limit on ratio and size; an error"),
    63: Case("a name that says another kind", "told by content; what is no archive is named"),
    64: Case(
        "a fingerprint or file name that a server sends", "",
        "templater downloads nothing: fingerprints are its own SHA-256 of local files, and nobody else's name is written to. The case belongs to reading simplestreams, should that ever come",
    ),
    65: Case("words behind the name of a compression", "one of a list of words, or refused; no program is started for it"),
    66: Case("a gigabyte, nonsense, another version, links and fifos from a runtime", "a limit or an error; a process id is never used"),
    67: Case("shell and paths in a container's name", "refused, or nothing but a name; there is no shell anywhere"),
    68: Case("`zfs:`, `nbd:`, `loop:` as LXC's root filesystem", "the start is refused, the kind named, unless a hook stands at `mount`"),
    69: Case("two applies at once", "the second waits, then says who holds the lock"),
    70: Case("`kill -9` at every system call", "each file old or new; the next run clears what is left"),
    71: Case("no space, quota, I/O errors at every system call; a full disk, a used-up quota", "everything old, and the reason"),
    72: Case("10,000 saves, swap files, replaced folders while watching", "a few changes, none missed"),
    73: Case(
        "paths, links, ranges and slow clients against a server", "",
        "templater serves nothing and listens nowhere. The case belongs to a server of images, should that ever come",
    ),
}  # fmt: skip


@cache
def tried() -> dict[int, dict[str, int]]:
    """Of each case the files below tests/ that try it, and by how many test functions."""
    found: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            match = NUMBERED.match(node.name) if isinstance(node, ast.FunctionDef) else None
            for number in match[1].strip("_").split("_") if match else ():
                found[int(number)][str(path.relative_to(TESTS))] += 1
    return {number: dict(files) for number, files in found.items()}


def table() -> str:
    """As docs/security.md has it."""
    where = tried()
    lines = ["| case | attack | answer | tests |", "|--:|---|---|---|"]
    for number, case in CASES.items():
        answer = "; ".join(text for text in (case.answer, case.reason and f"*{case.reason}*") if text)
        files = ", ".join(
            f"`{file}`" + (f" ({count})" if count > 1 else "")
            for file, count in where.get(number, {}).items()
        )
        lines.append(f"| {number} | {case.attack} | {answer} | {files or 'none'} |")
    return "\n".join(lines) + "\n"
