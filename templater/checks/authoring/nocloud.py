"""The rules write some files of cloud-init's NoCloud seed, but not all files that cloud-init needs.

cloud-init uses the folder `/var/lib/cloud/seed/nocloud-net` only if the folder contains both `user-data`
and `meta-data`.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.metadata import TRIGGERS
from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..target_kinds import SEEDS

NEEDED = ("user-data", "meta-data")


@check(
    "nocloud",
    "error",
    "a NoCloud seed that lacks user-data or meta-data",
    hint="add a rule for the missing file; an empty file is enough",
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    system = image.metadata.properties.get("os", "") if image.metadata is not None else ""
    if system.lower() == "windows":  # Windows uses cloudbase-init, not cloud-init
        return
    for seed in SEEDS:
        rules = [(rule, path) for rule, path, _ in image.targets if path.startswith(f"{seed}/")]
        if not rules:
            continue
        for name in NEEDED:
            path = f"{seed}/{name}"
            shipped = image.rootfs.entry(path) is not None
            written = any(found == path and set(rule.when) & set(TRIGGERS) for rule, found in rules)
            if not shipped and not written:
                rule = rules[0][0]
                message = f"no rule writes '{path}': cloud-init ignores the seed"
                yield Observation(message, rule.spans["path"], rule=rule)
