"""The changes of a seed whose effect real boots show, and the recorder of ``tests/cloud_init/boots.json``.

``python -m tests.live.cloud_init_cases`` boots a guest for each case and writes what it did.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from .cloud_init import META, NETWORK, USER, VENDOR, Guest, meta_data, network, user_data, vendor_data

RECORDED = Path(__file__).parents[1] / "cloud_init" / "boots.json"

FIRST = {
    META: meta_data("web1"), USER: user_data("one"), VENDOR: vendor_data("one"), NETWORK: network("10.0.0.1"),
}  # fmt: skip
BOOT_UPDATES = "updates:\n  network:\n    when: [boot-new-instance, boot]\n"
WITHOUT_ID = "local-hostname: web1\n"


class Case:
    """The seeds of the boots in order, and the guest's configuration. The last boot is the predicted one."""

    def __init__(self, *seeds: dict[str, str], config: str = "", sources: str = "") -> None:
        self.seeds = seeds
        self.config = config
        self.sources = sources


def changed(**files: str | None) -> dict[str, str]:
    """The first seed with other files; None leaves a file out."""
    names = {"meta": META, "user": USER, "vendor": VENDOR, "network": NETWORK}
    seed = {**FIRST, **{names[key]: text for key, text in files.items()}}
    return {name: text for name, text in seed.items() if text is not None}


TWO, NEW_ID = user_data("two"), meta_data("web2")
CASES = {
    "first boot": Case(FIRST),
    "nothing changed": Case(FIRST, FIRST),
    "user-data, same instance-id": Case(FIRST, changed(user=TWO)),
    "user-data, new instance-id": Case(FIRST, changed(user=TWO, meta=NEW_ID)),
    "only instance-id": Case(FIRST, changed(meta=NEW_ID)),
    "network-config, same instance-id": Case(FIRST, changed(network=network("10.0.0.2"))),
    "network-config, new instance-id": Case(FIRST, changed(network=network("10.0.0.2"), meta=NEW_ID)),
    "network-config, same instance-id, updates at boot": Case(
        FIRST, changed(network=network("10.0.0.2")), config=BOOT_UPDATES
    ),
    "user-data, same instance-id, updates at boot": Case(FIRST, changed(user=TWO), config=BOOT_UPDATES),
    "network-config, same instance-id, updates at boot in the old user-data": Case(
        changed(user=user_data("one") + BOOT_UPDATES),
        changed(user=user_data("one") + BOOT_UPDATES, network=network("10.0.0.2")),
    ),
    "updates at boot in the new user-data": Case(
        FIRST, changed(user=TWO + BOOT_UPDATES, network=network("10.0.0.2"))
    ),
    "vendor-data, same instance-id": Case(FIRST, changed(vendor=vendor_data("two"))),
    "vendor-data, new instance-id": Case(FIRST, changed(vendor=vendor_data("two"), meta=NEW_ID)),
    "local-hostname, same instance-id": Case(FIRST, changed(meta=meta_data("web1", "web9"))),
    "local-hostname, new instance-id": Case(FIRST, changed(meta=meta_data("web2", "web9"))),
    "an earlier instance-id again": Case(FIRST, changed(meta=NEW_ID), changed(user=TWO)),
    "no instance-id": Case(changed(meta=WITHOUT_ID), changed(meta=WITHOUT_ID, user=TWO)),
    "instance-id removed": Case(FIRST, changed(meta=WITHOUT_ID, user=TWO)),
    "user-data removed, same instance-id": Case(FIRST, changed(user=None)),
    "user-data removed, new instance-id": Case(FIRST, changed(user=None, meta=NEW_ID)),
    "seed removed": Case(FIRST, {}),
    "network-config removed, new instance-id": Case(FIRST, changed(network=None, meta=NEW_ID)),
    "manual_cache_clean, new instance-id": Case(
        FIRST, changed(user=TWO, meta=NEW_ID), config="manual_cache_clean: true\n"
    ),
    "network disabled, new instance-id": Case(
        FIRST,
        changed(network=network("10.0.0.2"), meta=NEW_ID),
        config="network:\n  config: disabled\n",
    ),
    "datasource_list without NoCloud": Case(FIRST, sources="[ConfigDrive, None]"),
}


def boots(case: Case, folder: Path) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Boot a guest with the seeds of a case. Return each boot, and the guest's files before the last one."""
    guest = Guest(folder, **({"sources": case.sources} if case.sources else {}), config=case.config)
    seen: list[dict[str, Any]] = []
    files: dict[str, str] = {}
    for seed in case.seeds:
        guest.seed(seed)
        files = guest.facts()
        seen.append(guest.boot())
    return seen, files


def record() -> None:
    cases: dict[str, Any] = {}
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            seen, files = boots(case, Path(folder) / "guest")
        cases[name] = {"seeds": case.seeds, "boots": seen, "files before the last boot": files}
        print(name, json.dumps(seen[-1]), flush=True)
    every = [case["files before the last boot"] for case in cases.values()]
    common = {path: text for path, text in every[0].items() if all(each.get(path) == text for each in every)}
    for files in every:
        for path in common:
            del files[path]
    RECORDED.parent.mkdir(exist_ok=True)
    RECORDED.write_text(json.dumps({"files of every guest": common, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    record()
