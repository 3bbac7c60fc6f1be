"""A rule writes a file into cloud-init's NoCloud seed, but cloud-init does not read files with that name.

In the folders `/var/lib/cloud/seed/nocloud-net` and `/var/lib/cloud/seed/nocloud`, cloud-init reads only the
files `user-data`, `meta-data`, `vendor-data` and `network-config`. For example, cloud-init ignores
OpenStack's `network_data.json`.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.unprintable_characters import printable
from ...pongo2.syntax.hints import did_you_mean
from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..target_kinds import SEED_FILES, SEEDS


@check("seed-name", "warning", "a NoCloud seed file that cloud-init does not read")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for rule, path, _ in image.targets:
        folder, _, name = path.rpartition("/")
        if folder in SEEDS and name not in SEED_FILES:
            meant = "network-config" if name.startswith("network") else ""
            hint = f"did you mean '{meant}'?" if meant else did_you_mean(name, list(SEED_FILES))
            message = f"cloud-init does not read '{printable(name)}' in the seed"
            hint = hint or f"cloud-init reads {', '.join(SEED_FILES)}"
            yield Observation(message, rule.spans["path"], hint, rule=rule)
