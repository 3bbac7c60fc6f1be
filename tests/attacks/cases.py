"""The list of attacks that templater must resist, by number.

A test names the cases that it covers: ``test_attack_12_…``, ``test_attack_40_41_…``. README.md shows this list.
test_cases.py compares the list, README.md and the tests.
"""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parents[1]

NUMBERED = re.compile(r"^def test_attack_((?:\d{1,3}_)+)", re.M)


class Case(NamedTuple):
    attack: str
    answer: str
    #: why the case has no test, or is answered differently than the list expects
    reason: str = ""


CASES = {
    1: Case("a target with `..` that leaves the root", "refused; the error names the component"),
    2: Case("the root itself as a target; unusual spellings of a path", "the root itself is refused; from other targets, templater removes `//`, `.` and a trailing `/`, as the daemons do"),
    3: Case("a NUL, an overlong name, a newline or invalid UTF-8 in a target", "a NUL and an overlong name are refused; a newline and invalid UTF-8 are written, and escaped in all output"),
    4: Case("a directory as a target", "refused; nothing is written"),
    5: Case("a template name that is a path, or empty", "refused"),
    6: Case("`templates` is a link or a file, or is missing", "refused; if `templates` is missing, only the rules of the running triggers fail"),
    7: Case("a template that is a link", "refused, wherever it leads"),
    8: Case("a template that is a fifo, socket, device or directory", "refused within a second"),
    9: Case("a template that is a hard link to a file of the host", "read with the user's rights; `audit` warns"),
    10: Case("`rootfs` is a link", "refused"),
    11: Case("`metadata.yaml` is a link, fifo, directory or device", "refused"),
    12: Case("an absolute link on the way to a target", "resolved inside the root, as the container would"),
    13: Case("a relative link that stays inside the root", "followed"),
    14: Case(
        "a relative link that leads out of the root", "followed inside the root: `..` stops at the root",
        "in a chroot, `..` of the root is the root, so templater does not refuse the link; `audit` names the link",
    ),
    15: Case("a loop of links", "refused"),
    16: Case(
        "a target that is a link",
        "templater writes to the link's target, which must be inside the root, and keeps the link",
        "templater has no option to refuse such links, because working images have them; a rule with `create_only` is skipped",
    ),
    17: Case("a target that is a dangling link", "the file is created where the link points, inside the root"),
    18: Case("magic links of a mounted `/proc`", "never followed"),
    19: Case("a bind mount of the host inside the root filesystem", "refused, unless `--cross-mounts` is given (in Python: both `in_place` and `cross_mounts`)"),
    20: Case("a fifo as a target", "refused, even if it appears after planning"),
    21: Case("a device as a target", "refused"),
    22: Case("a socket as a target", "refused"),
    23: Case("a target with several hard links", "one hard link is replaced, and the others keep the old content; refused if the file can get no more hard links; `audit` warns, because the daemons write into the existing file"),
    24: Case("an immutable, append-only or read-only target", "an error with a hint; nothing changes"),
    25: Case(
        "a target in `/dev`, `/proc`, `/sys` or `/run`", "a note in the plan; refused if a file system is mounted there",
        "a target in `/run` gets no note, because images write there on purpose; `audit` and `check` report such a target",
    ),
    26: Case("a file in place of a parent directory", "refused"),
    27: Case("a parent directory swapped after it was created", "refused: templater checks the directory's descriptor again"),
    28: Case("`etc`, `templates`, a template or an unpacked tree flips between directory and link", "nothing outside is read or written in 100,000 flips"),
    29: Case("the staged file swapped before it is renamed", "impossible if the staged file has no name; otherwise refused, because templater checks the file's inode"),
    30: Case("two rules for one file, or for a file and its parent", "an error names both rules; nothing is written"),
    31: Case("modes in every spelling", "parsed as in Go; setuid, setgid and sticky bits are dropped; `audit` reports unusual modes"),
    32: Case("owners that are not ids", "refused"),
    33: Case("an owner outside the id map", "refused, never mapped to another id"),
    34: Case("chown through a link", "owners are set by descriptor"),
    35: Case(
        "the mode of an existing file", "templater keeps the mode, as the daemons do",
        "templater does not enforce the rule's mode: the preview would no longer match the daemons",
    ),
    36: Case("an unusual umask", "the umask does not change the modes of the written files"),
    37: Case(
        "tags that read files, in every position", "a parse error with its position",
        "in comments and `verbatim`, these tags are text, as in pongo2; `audit` names them there too",
    ),
    38: Case("a template that reads attributes of a value, to get Python objects", "templates have no attribute access"),
    39: Case("a template that calls methods of Go's values", "the result that Go gives, or an error with its position"),
    40: Case("macros that call themselves or each other", "a limit"),
    41: Case("loops of 10⁹ rounds, and loops over long texts", "a limit ends the render within two seconds"),
    42: Case("filters and tags that build gigabytes; doubling values", "a limit ends the render, which needs less than 200 MB"),
    43: Case("division by zero, overflow, huge slices", "the result of pongo2 4.0.2, or an error with its line"),
    44: Case("100,000 brackets or blocks", "a limit"),
    45: Case("unclosed brackets, tags and blocks", "an error at pongo2's line and column"),
    46: Case("a template of 100 MB, one line of 50 MB, NUL, BOM, CRLF, invalid UTF-8", "a limit; accepted bytes are rendered unchanged"),
    47: Case("texts that make regular expressions slow; regular expressions with many repetitions", "lexer and filters take time in proportion to the text; the compiled size of a regular expression counts towards the limit"),
    48: Case("template syntax in a configuration value", "inserted as text, never rendered"),
    49: Case("a newline in a configuration value", "the newline is inserted; `audit` names the line of the template, also if `set`, `with`, `for`, `firstof` or `filter` passes the value on, or an expression adds text before it"),
    50: Case("secrets in messages, and in files that every user can read", "`preview` and `diff` show secrets; hook logs redact them; reports of `--html` contain no text that a template made from a secret; other reports contain no description of an instance; `audit` names the keys of secrets in readable files, and keys that a template computes"),
    51: Case("YAML that grows: aliases, merge keys, nesting, keys", "a limit before any object is built"),
    52: Case("YAML tags that build objects", "refused"),
    53: Case("a rule that occurs twice", "templater treats it as the daemon's YAML library does; `audit` and `check` report it"),
    54: Case("metadata.yaml with values of wrong types", "one error with its position, in the daemon's words"),
    55: Case("`0755`, `yes`, `3.10`, dates", "read as text"),
    56: Case("100,000 rules", "a limit; the time grows in proportion to the number of rules"),
    57: Case("names of archive members that lead outside; names with backslashes", "refused; templater removes `./` from a name"),
    58: Case("a second archive member with the same name and another type", "refused after the whole archive was read; a preview stops earlier and prints a note"),
    59: Case("hard links and chains of links to the outside", "refused"),
    60: Case("devices, setuid files, capabilities, `trusted.*` attributes", "`audit` lists them; `unpack` omits them by default"),
    61: Case("wrong sizes, sparse maps and headers", "a limit or an error, before memory is allocated"),
    62: Case("compression bombs, concatenated streams, garbage, truncation", "limits on ratio and size; garbage and truncation are an error"),
    63: Case("a file name that suggests another format", "the content selects the format; an error names unsupported formats"),
    64: Case(
        "a malicious fingerprint, hash or file name from a server",
        "cached and served files are named only by SHA-256 hashes; the content of a cached file must match its hash; a download that continues a wrong file begins again",
    ),
    65: Case("options after the name of a compression format", "only names from a fixed list are accepted; no program is started"),
    66: Case("input of a runtime: a gigabyte, nonsense, unknown versions, links and fifos", "a limit or an error; templater uses the process id in the input only if config.json has a user namespace without an id map"),
    67: Case("shell syntax and paths in a container's name", "refused, or used as a plain name; no shell is started"),
    68: Case("`zfs:`, `nbd:`, `loop:` as LXC's root filesystem", "the start is refused with an error that names the type, unless a hook runs at `mount`"),
    69: Case("two `apply` commands at once", "the second waits, then names the process that holds the lock"),
    70: Case("`kill -9` at every system call", "each file is old or new; the next run cleans up"),
    71: Case("a full disk, an exhausted quota, an I/O error at every system call", "every file keeps its old content; the error says why"),
    72: Case("10,000 saves, swap files and replaced directories during `watch`", "a few events; no change is missed"),
    73: Case(
        "paths, links, ranges and slow clients against a server",
        "paths and links that leave the tree, and private images, are answered with 404; connections, headers, lists and time have limits, and each network has limits on its handshakes, filters and long answers",
    ),
    74: Case("the owner of a directory above a container's directory exchanges two containers of root", "hooks refuse the container, and the error names the directory and its owner; `apply` refuses a root filesystem that was exchanged together with SRC"),
    75: Case("an archive that GNU tar (with which the daemons unpack) and Go read differently, or that the daemons can't import or unpack", "refused, unless only the daemons' import fails; `audit` reports the archive"),
    76: Case("a link of another user below a directory in which annotations may name an image or a description", "refused; the path of a description may have no link below the allowed directory"),
    77: Case("a user of the container, who created the container's user namespace (`--userns=keep-id`), redirects `--state`", "refused, unless the hook line names this user with `--owner`"),
    78: Case("a target of several gigabytes in a lower layer of a container's overlay: the old file is copied for a rollback", "refused if a run would replace more than 32 MiB on an overlay; templater itself copies each target in pieces, within the time limit"),
    79: Case("a small image that is slow to pack, such as an archive of many empty files, or a sparse archive", "the limit on processor time grows with the size of the image, and includes the programs that pack; an archive of more than 1 GiB that consists mostly of holes is refused"),
    80: Case("the container's root user fills the root directory with millions of names, and overlayfs reads all of them before it returns the first", "hooks search the directory for leftovers only after a killed run, and only if it is not larger than 4 MiB; they remove at most 10,000 leftovers, in at most two seconds; they search no directory of an overlay, because its lower layers could contain millions of names, too"),
    81: Case("a metadata.yaml with rules that only the daemons' YAML library sees (because of a byte order mark, a tag on a merge key or a question mark), or with a property that the daemons' database cuts at a NUL", "refused; `audit` reports it"),
    82: Case("an origin or image whose entries make the catalog of a tree too large for the tree's server", "`streams reindex` and `streams add` refuse them; `streams verify` warns"),
    83: Case("a process of a running container, or the owner of the container's directory, replaces temporary files by files of a million blocks, which are slow to remove, or looks up millions of missing names in empty temporary directories", "the hook or command ends first: another process waits for the kernel"),
    84: Case("the container's root user shares the blocks of a target with many files, so that btrfs with quotas needs minutes to free the old file", "the hook or command ends first: another process waits for the kernel"),
    85: Case("an image with thousands of tiny rules, or a file with gigabytes of attributes that the container's root user renames on btrfs, so that the syncs of a first start take a minute", "for more than 256 files, only two syncs of the whole file system; on btrfs, no sync of a file or directory"),
    86: Case("the owner of a container's directory removes a huge file as soon as a hook has opened the file, so that the hook needs minutes to close it", "files above the size limit are not opened; another process closes other removed files"),
    87: Case("the container's root user makes targets that the kernel decompresses to many times their size; no limit on processor time counts this work", "a file is compared only if it has the size of the new text, and only up to the first difference; a hook fails if comparing files takes a quarter of its time limit; a command fails if reading files exceeds the limit `time`; a plan with a patch reads at most 8 MiB of differing files; at most 1 MiB of a record or journal of the directory's owner is read"),
    88: Case("nested directories with thousands of attributes in a lower layer of an overlay, or targets with thousands of attributes: the kernel copies the directories in one call", "refused if a run would copy more than 16 MiB of attributes"),
    89: Case("the container's root user makes the kernel sync each new name, by `chattr +S +D`", "the hook or `apply` fails early, and restores all files before its time limit"),
    90: Case("another container writes to the disk without pause, and each start of a container with an overlay waits until all of this is written", "the hook ends first: another process unmounts the hook's overlay"),
    91: Case("a process of a running container changes a temporary file with a system call that takes minutes, and templater waits for this call", "impossible if the root filesystem belongs to another user: the new files have no name, and the old files are in a private directory; *a process can still delay templater by such a change of a target*"),
    92: Case("an ordinary user of the machine holds the file system's lock for renames between directories; each start that changes a file would wait for this lock", "no file is renamed from one directory to another"),
    93: Case("another container on the same btrfs syncs a file with gigabytes of attributes in a loop, and each sync or commit of a first start would wait for this sync", "hooks write the content of files without a sync, and commit nothing, also when they unmount an overlay: btrfs writes the state of the instance after the files"),
    94: Case("another container that shares a lower layer of an overlay holds the kernel's lock of a file of this layer; each start that replaces the file would wait for this lock", "the kernel copies no file of a lower layer: templater itself writes the copy for a rollback, and renames the new file over the old file"),
    95: Case("a hook in a container's namespaces leaves a process behind, which the runtime moves to the root filesystem of the container with `pivot_root`; the process then imports modules of the image", "a hook leaves no process that looks up a path: only `hook install` and `hook status` write compiled modules"),
    96: Case("a process of a container with `CAP_SYS_PTRACE` traces the process that a hook in the container's PID namespace has left behind to remove directories, and acts on the host with the rights of the traced process", "in a PID namespace of a container, the hook itself removes the directories; the process that closes removed files has no other open files"),
    97: Case("a process in the PID namespace that a hook joins sends a signal to the hook while the hook starts a child; the hook ends, and the child goes on in the image's root filesystem with the rights of the host", "the hook knows its child before a signal can end the hook, and kills the child at the end; the kernel kills a child whose parent has ended"),
    98: Case("the configuration of an LXC container with an overlay has `lxc.rootfs.mount` in the container's directory; the hook writes the files into this directory of the host, and not into the overlay mounted there", "the hook opens the overlay in the mount namespace in which it has mounted the overlay, and refuses a directory that is not a mount point"),
    99: Case("a process in the PID namespace that a hook joins sends signals in a loop; the hook ends with a traceback during its report, and the hook's child goes on", "only the first signal raises an error; no signal raises an error after the hook has its result"),
    100: Case("`lxc.rootfs.mount` of a container with an overlay is in the container's directory; the directory's owner replaces it by a link to a directory of the host, such as /etc; the hook mounts the untrusted image there, and loads files of the image", "the hook mounts the overlay on a directory that it has opened and checked, and follows no link"),
    101: Case("two mounts of one file, or two starts that share mounted files, with `--in-place`: the file gets parts of two texts", "every start locks all mounted files in the same order, before it changes a file; two targets that are the same file must have the same content"),
    102: Case("another container takes the space of a mounted file on a volume, so that a failed start with `--in-place` cannot restore the file", "the file is truncated only after all files are on the disk; an unnamed file, in a directory that outlives the container, keeps the old content; if the rollback fails, this file gets a name"),
    103: Case("the container's own limits on processor time and data, which crun also sets for hooks, end a hook while it puts files in place", "SIGXCPU, and a timer shortly before the hard limit on processor time, end the hook with a rollback, as SIGTERM does; the rollback frees memory first"),
    104: Case("an image has a rule for a target over which the operator has mounted a file (`-v FILE:TARGET:ro`); the hook replaces the target in the root filesystem, and the kernel removes the mount", "the hook leaves a target alone if the runtime mounts a file over it"),
}  # fmt: skip


@cache
def tried() -> dict[int, set[str]]:
    """Return a dict from each case to the test files whose tests name the case."""
    found: dict[int, set[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for match in NUMBERED.finditer(path.read_text()):
            for number in match[1].strip("_").split("_"):
                found.setdefault(int(number), set()).add(str(path.relative_to(TESTS)))
    return found


HEADING = """# Attacks that the tests try

The attacks come from the security advisories of LXD and Incus, from reviewers, and from experiments. templater has two
implementations of confined file access: one uses the system call openat2, and the other opens one path component at a
time. If a test involves a path, it runs with both. Text in italics explains an unusual answer, or the lack of a test.

`pytest tests/attacks/test_cases.py --update` writes this file. `python -m pytest -m "" -k test_attack_12` runs the
tests of one attack.

| case | attack | answer |
|--:|---|---|
"""


def page() -> str:
    """Return the text of README.md."""
    lines = []
    for number, case in CASES.items():
        answer = "; ".join(text for text in (case.answer, case.reason and f"*{case.reason}*") if text)
        lines.append(f"| {number} | {case.attack} | {answer} |\n")
    return HEADING + "".join(lines)
