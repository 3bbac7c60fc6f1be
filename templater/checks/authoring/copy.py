"""A rule writes the hostname when an instance is created, but not when it is copied.

For a copied instance, the daemons use the trigger `copy` instead of `create`. Without the trigger `copy`, the
new instance keeps the hostname of the original:

    when: [create]                  wrong: the copy has the name of the original
    when: [create, copy]            right
    when: [create, copy, rename]    right: also updates the name after a rename

A rule with `create_only: true` does not change an existing file, even with the trigger `copy`.

The check covers `/etc/hostname`, `/etc/HOSTNAME`, `/etc/hosts`, `/etc/conf.d/hostname` and
`/etc/sysconfig/network`. If a rule with `copy` or `start` writes the NoCloud file `meta-data`, cloud-init
sets the hostname of the copy. The check then reports only `/etc/hosts`.

The severity is only `info` in these cases:

* Only `/etc/hosts` keeps the old name. Programs in the copy then look up the new hostname on the network.
* The system does not take its hostname from the file. Red Hat Enterprise Linux up to version 6, and
  distributions that are built from it, use `/etc/sysconfig/network`. Other systems use `/etc/hostname`.
* On NixOS, a rule with the trigger `copy` writes the hostname to a file below `/etc/nixos`. NixOS replaces
  `/etc/hostname` at the next rebuild.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.unprintable_characters import printable
from ..authored_image import AuthoredImage
from ..base import Fix, Observation, check
from ..rule_hints import hint_of_trigger
from ..rules_with_instance_name import fresh_after, stale_after
from ..target_kinds import SEEDS

#: the property ``os``, in lower case, of the systems whose versions 5 and 6 do not read /etc/hostname
RED_HAT = ("centos", "oracle", "red hat", "redhat", "rhel", "scientific")

SYSCONFIG = "/etc/sysconfig/network"


@check("copy", "warning", "a hostname that does not change when the instance is copied")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    seeds = (image.target_paths.get(f"{folder}/meta-data") for folder in SEEDS)
    seeded = any(rule is not None and {"copy", "start"} & set(rule.when) for rule in seeds)
    unread = ("/etc/hostname", "/etc/HOSTNAME") if ignores_hostname(image) else (SYSCONFIG,)
    stale = [(rule, path) for rule, path in stale_after(image, "copy") if not seeded or path == "/etc/hosts"]
    only_hosts = all(path == "/etc/hosts" or (path == SYSCONFIG in unread) for _, path in stale)
    for rule, path in stale:
        fix = None
        if not rule.create_only:
            added = (trigger for trigger in ("copy", "rename") if trigger not in rule.when)
            fix = Fix(fields={"when": (*rule.when, *added)}, unsafe=True)
        yield Observation(
            f"in a copied instance, '{printable(path)}' still contains the name of the original",
            rule.spans["create_only"] if rule.create_only else rule.spans.get("when", rule.spans["path"]),
            ("remove 'create_only', and " if rule.create_only else "") + hint_of_trigger(image, rule, "copy"),
            severity="info" if only_hosts or path in unread else "",
            rule=rule,
            fix=fix,
        )


def ignores_hostname(image: AuthoredImage) -> bool:
    """Return whether the system ignores /etc/hostname and reads its hostname from another file."""
    if image.os == "nixos":
        return any(path.startswith("/etc/nixos/") for _, path in fresh_after(image, "copy"))
    release = str(image.metadata.properties.get("release", "")) if image.metadata is not None else ""
    return image.os.startswith(RED_HAT) and release.partition(".")[0] in ("5", "6")
