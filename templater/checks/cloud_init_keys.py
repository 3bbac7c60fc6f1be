"""Keys and headers with which a file for cloud-init grants access or runs commands."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..pongo2.syntax.tokens import STRING, TEXT
from .target_kinds import SEEDS
from .template_tokens import parts_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model.metadata import Rule
    from ..model.source import Source

_PATHS = re.compile(
    rf"(?:{'|'.join(SEEDS)})/(?:user-data|vendor-data|meta-data)|/etc/cloud/(?:cloud\.cfg|cloud\.cfg\.d/[^/]*)"
)
#: a key of cloud-config or meta-data, or the first line of a script, of a list of URLs or of a MIME archive
_KEY = re.compile(
    r"""(users?|system_info|ssh_authorized_keys|ssh_import_id|ssh_pwauth|disable_root|chpasswd|password|public-keys
        |write_files|bootcmd|runcmd|snap|ansible|chef|puppet|salt_minion)["']?[ \t]*:
        (?![ \t]*(?:\[[ \t]*\]|\{[ \t]*\}|\"\"|''|false[ \t]*$))
        |^[ \t]*(\#!|\#include|\#cloud-boothook|\#part-handler|Content-Type:[ \t]*multipart)""",
    re.VERBOSE | re.MULTILINE,
)


def key_with_power(paths: Iterable[str], rule: Rule, source: Source | None) -> tuple[str, str]:
    """Return a key with which an image grants access or runs commands at the first boot, and a severity.

    ``paths`` has all names of the rule's target. Return empty texts if cloud-init reads none of these paths,
    or if no such key is found.

    The search includes strings in the template's tags, but not the values of the instance. A key in the
    rule's properties has the severity low, because real images set a default user-data in a property, and
    users can replace this default.
    """
    if not any(map(_PATHS.fullmatch, paths)):
        return "", ""
    texts, all_strings = [], []
    for _, part in () if source is None else parts_of(source):
        for token in part:
            if token.kind in (TEXT, STRING):
                all_strings.append(token.value)
            if token.kind == TEXT:
                texts.append(token.value)
    own = [("".join(texts), "medium"), ("".join(all_strings), "medium")]
    for text, severity in (*own, *((value, "low") for value in rule.properties.values())):
        if match := _KEY.search(text):
            return match[1] or match[2], severity
    return "", ""
