"""The files of cloud-init's NoCloud seed, before and after a start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..model.plan import WRITING
from .yaml_values import root_of, text_at

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..model.plan import Plan

    #: a function that returns a file's bytes, or None if the file is missing or unreadable
    Read = Callable[[str], bytes | None]

META, USER, VENDOR, NETWORK = "meta-data", "user-data", "vendor-data", "network-config"
FILES = (META, USER, VENDOR, NETWORK)
#: the folders of a seed. cloud-init uses the first folder with both user-data and meta-data.
FOLDERS = ("/var/lib/cloud/seed/nocloud", "/var/lib/cloud/seed/nocloud-net")
PATHS = frozenset(f"{folder}/{name}" for folder in FOLDERS for name in FILES)
#: maximum size in bytes of one file of a seed, and of one file with facts about the guest
MAX_FILE = 4 << 20

#: the instance-id of a seed whose meta-data has none
DEFAULT_ID = "nocloud"


@dataclass(frozen=True, slots=True)
class Seed:
    """The files of a NoCloud seed. ``files`` maps the path of each file to its content.

    ``FOLDERS`` lists the folders in which cloud-init looks for a seed.
    """

    files: Mapping[str, bytes]

    def get(self, name: str) -> bytes | None:
        """Return the content of a file in the seed folder that cloud-init uses, or None if it is missing."""
        return self.files.get(f"{self.folder}/{name}") if self.folder else None

    @property
    def folder(self) -> str:
        """The seed folder that cloud-init uses, or "" if no folder has both user-data and meta-data."""
        complete = (
            each for each in FOLDERS if f"{each}/{META}" in self.files and f"{each}/{USER}" in self.files
        )
        return next(complete, "")

    @property
    def instance_id(self) -> str:
        """The instance-id in the seed folder that cloud-init uses."""
        return text_at(root_of(self.get(META)), "instance-id") or DEFAULT_ID

    @property
    def quick_id(self) -> str:
        """The instance-id that cloud-init compares with the instance-id of its last boot.

        The value is "" if no meta-data has an instance-id.
        """
        # For this comparison, cloud-init reads only meta-data, so the seed folder can lack user-data.
        roots = (root_of(self.files.get(f"{folder}/{META}")) for folder in FOLDERS)
        found = (text_at(root, "instance-id") for root in roots)
        return next((each for each in found if each), "")


def read_seed(read: Read) -> Seed:
    """Read the seed from a root filesystem."""
    found = {path: read(path) for path in sorted(PATHS)}
    return Seed({path: data for path, data in found.items() if data is not None})


def is_concerned(plan: Plan) -> bool:
    """Return whether a rule of the plan writes a file of the seed."""
    return any(change.path in PATHS for change in plan.changes)


def seed_after(plan: Plan, before: Seed) -> Seed:
    """Return the seed as it is after the changes of a plan."""
    written = {
        change.path: change.content or b""
        for change in plan.changes
        if change.path in PATHS and change.action in WRITING
    }
    return Seed({**before.files, **written})
