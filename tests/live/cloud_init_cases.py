"""Cases for real boots of cloud-init. A case changes the NoCloud seed before a boot.

``python -m tests.live.cloud_init_cases`` boots a guest for each case, and records the effects of each boot in
``tests/cloud_init/boots.json``.
"""

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .cloud_init import META, NETWORK, USER, VENDOR, Guest, meta_data, network, user_data, vendor_data

RECORDED = Path(__file__).parents[1] / "cloud_init" / "boots.json"

#: files of the package that all guests have
SHARED = ("/etc/cloud/cloud.cfg", "/usr/lib/python3/dist-packages/cloudinit/version.py")
PACKAGED = (*SHARED, "/etc/cloud/cloud.cfg.d/05_logging.cfg")

FIRST = {
    META: meta_data("web1"), USER: user_data("one"), VENDOR: vendor_data("one"), NETWORK: network("10.0.0.1"),
}  # fmt: skip
BOOT_UPDATES = "updates:\n  network:\n    when: [boot-new-instance, boot]\n"
WITHOUT_ID = "local-hostname: web1\n"


class Case:
    """The seeds of a guest's successive boots, and the guest's configuration.

    Tests predict only the last boot.
    """

    def __init__(
        self,
        *seeds: dict[str, str],
        config: str = "",
        sources: str = "",
        lxd: Sequence[tuple[str, dict[str, str]] | None] = (),
    ) -> None:
        self.seeds = seeds
        self.config = config
        self.sources = sources
        #: the instance-id and the configuration that LXD's guest API serves at each boot; None for no API
        self.lxd = lxd or [None] * len(seeds)


def changed(**files: str | None) -> dict[str, str]:
    """Return the seed ``FIRST`` with other files. None removes a file from the seed."""
    names = {"meta": META, "user": USER, "vendor": VENDOR, "network": NETWORK}
    seed = {**FIRST, **{names[key]: text for key, text in files.items()}}
    return {name: text for name, text in seed.items() if text is not None}


def served(mark: str = "one", address: str = "10.0.0.1") -> dict[str, str]:
    return {"cloud-init.user-data": user_data(mark), "cloud-init.network-config": network(address)}


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
    "a guest of Incus without a seed": Case({}, sources="[NoCloud, LXD, None]"),
    "LXD, nothing changed": Case({}, {}, lxd=[("a", served()), ("a", served())]),
    "LXD, user-data, same instance-id": Case({}, {}, lxd=[("a", served()), ("a", served("two"))]),
    "LXD, user-data, new instance-id": Case({}, {}, lxd=[("a", served()), ("b", served("two"))]),
    "LXD, network-config, new instance-id": Case(
        {}, {}, lxd=[("a", served()), ("b", served(address="10.0.0.2"))]
    ),
    "LXD, a seed appears, same instance-id": Case({}, FIRST, lxd=[("a", served()), ("a", served())]),
    "LXD, a seed appears, new instance-id": Case({}, FIRST, lxd=[("a", served()), ("b", served())]),
    "a seed before LXD": Case(FIRST, lxd=[("a", served("two"))]),
}


def boots(
    case: Case, folder: Path, booted: Path | None = None
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Boot a guest with the seeds of a case.

    Return the effects of each boot, and the guest's files before the last boot.

    If ``booted`` is given and the case has several boots, start with a guest that has booted once. In this
    case, do not return the effects of the first boot. Cases with the same first boot use copies of the same
    guest. The folder ``booted`` contains these guests.
    """
    steps = list(zip(case.seeds, case.lxd, strict=True))
    options = {"sources": case.sources} if case.sources else {}
    guest = Guest(folder, **options, config=case.config)
    if booted is not None and len(steps) > 1:
        name = hashlib.sha256(repr((steps[0], case.config, case.sources)).encode()).hexdigest()
        if not (booted / name).exists():
            boots(
                Case(case.seeds[0], config=case.config, sources=case.sources, lxd=case.lxd[:1]), booted / name
            )
        shutil.rmtree(folder)
        subprocess.run(["cp", "-a", str(booted / name), str(folder)], check=True)
        del steps[0]
    seen: list[dict[str, Any]] = []
    files: dict[str, str] = {}
    for seed, api in steps:
        guest.seed(seed)
        if api is not None:
            guest.serve(*api)
        files = guest.facts()
        seen.append(guest.boot())
    return seen, files


def facts_of(path: str, text: str) -> str:
    """Return the lines of a packaged file that affect the predictions. Only these lines are recorded."""
    if path.endswith("version.py"):
        return "".join(re.findall(r"^__VERSION__ = .*\n", text, re.MULTILINE))
    assert not re.search(r"^(datasource_list|updates|manual_cache_clean|network):", text, re.MULTILINE)
    return "users: [default]\n"


def record() -> None:
    """Record the cases that are missing in ``RECORDED``.

    To record all cases again, remove this file first.
    """
    done = json.loads(RECORDED.read_text()) if RECORDED.exists() else {"cases": {}}
    for name, case in CASES.items():
        if name in done["cases"]:
            continue
        with tempfile.TemporaryDirectory() as folder:
            seen, files = boots(case, Path(folder) / "guest")
        done.setdefault("files of every guest", {path: facts_of(path, files[path]) for path in SHARED})
        own = {path: text for path, text in files.items() if path not in PACKAGED}
        found = {"seeds": case.seeds, "lxd": case.lxd, "boots": seen, "files before the last boot": own}
        done["cases"][name] = found
        for boot in seen:
            boot["network"] = re.sub(r"^#.*\n", "", boot["network"], flags=re.MULTILINE)
        print(name, json.dumps(seen[-1]), flush=True)
    RECORDED.parent.mkdir(exist_ok=True)
    RECORDED.write_text(json.dumps(done, indent=1) + "\n")


if __name__ == "__main__":
    record()
