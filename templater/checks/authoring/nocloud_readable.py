"""Every user of the instance can read the user data in a NoCloud seed.

User data often contains passwords and keys. A rule without `mode` gives the file the mode 0644. Set the mode
in each rule that writes the file:

    mode: 0600

The daemon keeps the mode of an existing file. If the root filesystem contains the file, set the mode there.

In a definition, no field sets the mode of a rule. Create the file with the mode 0600 by an entry with the
generator `dump`. The daemon keeps this mode.

In a virtual machine, the agent of LXD 6.8 and later sets the mode of every file to 0644.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..authored_image import AuthoredImage
from ..base import Fix, Observation, check, mode_of
from ..rule_hints import hint_of_mode
from ..target_kinds import SEEDS

NAMES = ("user-data", "vendor-data")


@check("nocloud-readable", "info", "user data that every user of the instance can read")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for rule, path, _ in image.targets:
        folder, _, name = path.rpartition("/")
        if folder in SEEDS and name in NAMES and image.can_read(rule):
            is_own = image.kept_mode(rule) is None and mode_of(rule) & 0o004
            yield Observation(
                f"every user can read '{path}'",
                rule.spans.get("mode") or rule.spans["path"],
                hint_of_mode(image, rule),
                rule=rule,
                fix=Fix(fields={"mode": "0600"}, unsafe=True) if is_own else None,
            )
