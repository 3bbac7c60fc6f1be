"""A check of an image's files and directories outside the root filesystem.

The daemons use some paths outside the root filesystem for their own files. Old daemons follow a
symlink at such a path.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.entry import DIRECTORY, FILE, Entry
from ...model.file_names import BACKUP_YAML, DISK, INSTANCE, METADATA, ROOTFS, STATE_FOLDER, TEMPLATES
from ...model.unprintable_characters import printable
from ..base import Observation, check
from ..import_refusals import undetected_archives, unfound_names
from ..scanned_image import ScannedImage

#: the required kind of file for each name, and the security advisory about other kinds
EXPECTED = {
    METADATA: (FILE, "CVE-2026-63343"),
    TEMPLATES: (DIRECTORY, "CVE-2026-48752"),
    ROOTFS: (DIRECTORY, "CVE-2026-48749"),
    "exec-output": (DIRECTORY, "CVE-2026-48750"),
    BACKUP_YAML: (FILE, "CVE-2026-63125"),
}
#: the names that belong to an image
IMAGE = {METADATA, TEMPLATES, ROOTFS, DISK}
#: files and directories that the daemons create for an instance and trust
ACTED_ON = {
    BACKUP_YAML, "index.yaml", "config", "config.json", "config.mount", "console.log", "devices",
    "lxc.conf", "network", "root.img", "shmounts", "snapshots", "state", "virtual-machines-snapshots",
}  # fmt: skip
#: prefixes of names of files that the daemons create for an instance and trust
ACTED_ON_PREFIXES = (
    "qemu.",
    "OVMF_VARS",
    "agent.",
    "agent-client.",
    "agent-server.",
    "tpm.",
    "seccomp.",
    "lxc.",
)


@check(
    "layout",
    "critical",
    "outside the root filesystem, a file or directory of an unexpected kind, with a duplicate name,"
    " or with a name that the daemons use for their own files",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    kinds: dict[str, list[str]] = {}
    for name in image.names:
        path = name.path
        if path.startswith(f"{ROOTFS}/") or not path:
            continue
        kind = "hard link" if name.hard_link else name.entry.kind
        kinds.setdefault(path, []).append(kind)
        yield from check_name(path, kind, name.entry)
    if any(path.startswith("backup/") for path in kinds):
        yield Observation(
            "the archive also contains a backup: `incus import` and `lxc import` read only 'backup/', which"
            " this audit does not check",
            "backup",
            advisory="",
            severity="high",
        )
    # tar also creates directories without a member of their own, such as "a" for the member "a/b"
    for top in {path.partition("/")[0] for path in kinds}.difference(kinds):
        if top == STATE_FOLDER or is_acted_on(top):
            yield from check_name(top, DIRECTORY, Entry(DIRECTORY))
    for message, _, hint in (*undetected_archives(image), *unfound_names(image)):
        yield Observation(message, "", hint, severity="medium", advisory="")
    for path, found in kinds.items():
        if len(found) > 1 and any(kind != DIRECTORY for kind in found):
            yield Observation(
                f"'{printable(path)}' occurs {len(found)} times, first as a {found[0]}: the daemons use"
                " the last copy",
                path,
                advisory=EXPECTED.get(path, ("", ""))[1],
                severity="critical" if path in EXPECTED else "high",
            )


def check_name(path: str, kind: str, entry: Entry) -> Iterator[Observation]:
    shown = printable(path)
    wanted, advisory = EXPECTED.get(path, ("", ""))
    if wanted and kind != wanted:
        yield Observation(f"'{shown}' is a {kind}, not a {wanted}", path, advisory=advisory)
    elif kind not in (FILE, DIRECTORY):
        target = f" to '{printable(entry.target)}'" if entry.target else ""
        yield Observation(
            f"'{shown}' is a {kind}{target}: a daemon may open or follow it",
            path,
            hint="outside 'rootfs/', use only regular files and directories",
            severity="high",
            advisory="",
        )
    elif path == DISK and kind == DIRECTORY:
        message = f"'{DISK}' is a directory: Incus can import the image as a virtual machine"
        yield Observation(message, path, severity="high", advisory="")
    elif path in (STATE_FOLDER, INSTANCE):
        yield Observation(
            f"the image contains the {kind} '{shown}': in an instance directory, templater trusts a {kind}"
            " of this name",
            path,
            hint=f"remove the {kind}, unless you or `templater unpack` created it",
            severity="critical" if path == STATE_FOLDER else "medium",
            advisory="",
        )
    elif "/" not in path and is_acted_on(path):
        message = f"'{shown}' has the same name as a {kind} that the daemons create and trust"
        yield Observation(message, path, severity="high" if kind == FILE else "medium", advisory="")
    elif "/" not in path and path not in IMAGE and not wanted:
        yield Observation(f"'{shown}' does not belong in an image", path, severity="info", advisory="")


def is_acted_on(name: str) -> bool:
    return name in ACTED_ON or name.startswith(ACTED_ON_PREFIXES)
