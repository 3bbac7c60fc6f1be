"""A template reads a configuration key that looks misspelled, or that no host accepts.

The daemons accept known keys, and keys that begin with `user.`. A misspelled key is never set, so the
template always uses the default.

    {{ config_get("user.userdata", "") }}      wrong
    {{ config_get("user.user-data", "") }}     right
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.source import Span
from ...model.unprintable_characters import printable
from ...pongo2.syntax import tree
from ..authored_image import AuthoredImage, Template
from ..base import Fix, Observation, check
from ..typos import differ_by_one, only_candidate

KNOWN = (
    "boot.autostart", "cloud-init.network-config", "cloud-init.user-data", "cloud-init.vendor-data",
    "cloud-init.ssh-keys.", "image.architecture", "image.description", "image.name", "image.os",
    "image.release", "image.serial", "image.type", "image.variant", "limits.cpu", "limits.memory",
    "security.nesting", "security.privileged", "user.meta-data", "user.network-config", "user.user-data",
    "user.vendor-data",
)  # fmt: skip
#: prefixes of the keys that hosts accept
SPACES = (
    "agent.", "boot.", "cloud-init.", "cluster.", "environment.", "image.", "limits.", "linux.", "lxc.",
    "migration.", "nvidia.", "oci.", "placement.", "raw.", "security.", "smbios11.", "snapshots.", "systemd.",
    "ubuntu_pro.", "user.", "volatile.",
)  # fmt: skip


@check(
    "config-key",
    "warning",
    "a configuration key that is probably misspelled, or that no host accepts",
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    read_keys = image.keys
    seen: set[tuple[str, str]] = set()
    for template in image.parsed:
        for read in template.reads:
            key = read.key
            if key is None or key in KNOWN or (template.name, key) in seen or len(key) > 200:
                continue
            seen.add((template.name, key))
            near = next((known for known in KNOWN if differ_by_one(key, known)), "")
            if near and near not in read_keys:
                only = only_candidate(key, KNOWN)
                yield Observation(
                    f"configuration key '{printable(key)}' is probably a misspelling of '{near}'",
                    read.span,
                    f"did you mean '{near}'?",
                    fix=Fix(literals(template, key, only)) if only else None,
                )
            elif (
                not near
                and not key.startswith(SPACES)
                and (key == "" or "." not in key or read.path[0] == "config_get")
            ):
                yield Observation(
                    f"no host accepts the configuration key '{printable(key)}', so the key is never set",
                    read.span,
                    f"did you mean 'user.{printable(key)}'?",
                )


def literals(template: Template, text: str, new: str) -> tuple[tuple[Span, str], ...]:
    """Return the edits that replace ``text`` with ``new`` in each string literal whose value is ``text``."""
    found = []
    for node in template.every(tree.Literal):
        span = template.span(node)
        if node.value == text and span.text[1:-1] == text:
            found.append((span.source.span(span.start + 1, span.end - 1), new))
    return tuple(found)
