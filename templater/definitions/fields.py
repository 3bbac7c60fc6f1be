"""The fields of a definition, as the Go structs of distrobuilder and lxd-imagebuilder declare them."""

from __future__ import annotations

from typing import Any, Final

TEXT: Final = "text"
BOOLEAN: Final = "true or false"
NUMBER: Final = "a number"
TEXTS: Final = "a list of texts"
#: the type of a list that can contain `container` and `vm`
TYPES: Final = "a list of types"
MAP: Final = "a mapping of texts"

INCUS: Final = "incus"
LXD: Final = "lxd"
#: the program that builds the definitions of a family
PROGRAMS: Final = {INCUS: "distrobuilder", LXD: "lxd-imagebuilder"}

_FILTER: Final = {"releases": TEXTS, "architectures": TEXTS, "variants": TEXTS, "types": TYPES}
_COMMAND: Final = {"cmd": TEXT, "flags": TEXTS}

#: A dict stands for a struct, and a list with one dict stands for a list of structs.
FIELDS: Final[dict[str, Any]] = {
    "image": dict.fromkeys(
        (
            "description", "distribution", "release", "architecture", "expiry", "variant", "name", "serial",
            "architecture_mapped", "architecture_kernel", "architecture_personality",
        ),
        TEXT,
    ),
    "source": {
        **dict.fromkeys(("downloader", "url", "keyserver", "variant", "suite", "same_as"), TEXT),
        "keys": TEXTS, "skip_verification": BOOLEAN, "components": TEXTS,
    },
    "targets": {
        "lxc": {
            "create_message": TEXT,
            "config": [{**_FILTER, "type": TEXT, "before": NUMBER, "after": NUMBER, "content": TEXT}],
        },
        "incus": {"vm": {"size": NUMBER, "filesystem": TEXT}},
        "lxd": {"vm": {"size": TEXT, "filesystem": TEXT}},
        "type": TEXT,
    },
    "files": [
        {
            **_FILTER,
            **dict.fromkeys(
                ("generator", "path", "content", "name", "mode", "gid", "uid", "source"), TEXT
            ),
            "template": {"properties": MAP, "when": TEXTS}, "templated": BOOLEAN, "pongo": BOOLEAN,
        }
    ],
    "packages": {
        "manager": TEXT, "update": BOOLEAN, "cleanup": BOOLEAN,
        "custom_manager": {
            **dict.fromkeys(("clean", "install", "remove", "refresh", "update"), _COMMAND), "flags": TEXTS,
        },
        "sets": [{**_FILTER, "packages": TEXTS, "action": TEXT, "early": BOOLEAN, "flags": TEXTS}],
        "repositories": [{**_FILTER, **dict.fromkeys(("name", "url", "type", "key"), TEXT)}],
    },
    "actions": [{**_FILTER, "trigger": TEXT, "action": TEXT, "pongo": BOOLEAN}],
    "mappings": {"architectures": MAP, "architecture_map": TEXT},
    "environment": {"clear_defaults": BOOLEAN, "variables": [{**_FILTER, "key": TEXT, "value": TEXT}]},
    "simplestream": {
        "distro_name": TEXT, "release_aliases": MAP, "requirements": [{**_FILTER, "requirements": MAP}],
    },
}  # fmt: skip

#: the fields that only one of the two programs knows
FAMILY_OF: Final = {"targets.incus": INCUS, "targets.lxd": LXD, "simplestream": LXD}

GENERATORS: Final = (
    "dump", "copy", "template", "hostname", "hosts", "remove", "cloud-init", "incus-agent", "lxd-agent",
    "fstab",
)  # fmt: skip
#: the generators that only one of the two programs knows
AGENTS: Final = {"incus-agent": INCUS, "lxd-agent": LXD}
