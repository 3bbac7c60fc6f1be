"""Redaction of secret values in reports, which users attach to merge requests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..checks.security import secrets
from ..rendering.origins import ALL_DEVICES

if TYPE_CHECKING:
    from ..model.instance import Instance
    from ..rendering.origins import Origin
    from .distinct_results import Variant

#: a key is secret if its name contains one of these words
WORDS: Final = (*secrets.WORDS, "passphrase", "api-key", "api_key", "apikey")
#: keys whose values are whole documents for cloud-init
BODIES: Final = frozenset(
    f"{prefix}.{name}"
    for prefix in ("cloud-init", "user")
    for name in ("user-data", "vendor-data", "network-config", "meta-data")
)
#: the text that replaces a redacted value
MARK: Final = "[redacted]"
#: minimum lengths of values and of lines that are redacted; shorter texts also occur by chance
SHORTEST: Final = 4
SHORTEST_LINE: Final = 8
#: maximum number of characters of texts that are searched; later texts that may be secret are redacted
MOST_SEARCHED: Final = 2_000_000_000
#: a long message is cut, and then ends with "…" instead of the closing quote
_QUOTED = re.compile(r"""(?<=')[^'\n]{3,}(?=['…])|(?<=")[^"\n]{3,}(?=["…])|(?<=`)[^`\n]{3,}(?=[`…])""")


def is_secret(key: str) -> bool:
    """Return whether a configuration key, or the key of a device, holds a secret or a document."""
    return key in BODIES or any(word in key.lower() for word in WORDS)


class Redaction:
    """The secret values of instances. ``public`` has the texts of the image, which everyone may read.

    If ``enabled`` is false, no value is redacted.
    """

    def __init__(self, instances: Iterable[Instance], public: str = "", *, enabled: bool = True) -> None:
        self.public = public
        self.enabled = enabled
        found: dict[str, None] = {}
        self._secret_devices = False
        for instance in instances if enabled else ():
            devices = [pair for device in instance.expanded_devices().values() for pair in device.items()]
            self._secret_devices |= any(value and is_secret(key) for key, value in devices)
            for key, value in (*instance.expanded_config().items(), *devices):
                if value and is_secret(key):
                    found[value] = None
        self.values = tuple(found)
        self._size = sum(map(len, found))
        self._searched = 0
        lines = {line.strip() for value in found for line in value.split("\n")}
        parts = {line for line in lines if len(line) >= SHORTEST_LINE and not self._is_public(line)}
        parts |= {value for value in found if len(value) >= SHORTEST and not self._is_public(value)}
        #: the secret parts, by their first SHORTEST characters and then by their length, longest first
        self._parts: dict[str, dict[int, set[str]]] = {}
        for part in sorted(parts, key=len, reverse=True):
            self._parts.setdefault(part[:SHORTEST], {}).setdefault(len(part), set()).add(part)

    def hides(self, origins: Sequence[Origin]) -> list[str]:
        """Return the names of the secret keys among the origins of a value."""
        if not self.values:
            return []
        found = []
        for origin in origins:
            is_set = origin.kind not in ("undefined", "default")
            key = origin.name.rpartition(".")[2] if origin.name.startswith("devices.") else origin.name
            # A loop over all keys or devices also reads the secret keys.
            several = origin.kind == "several" and (origin.name != ALL_DEVICES or self._secret_devices)
            if is_set and (several or is_secret(key)):
                found.append(origin.name)
        return found

    def scrub(self, text: str, *, computed: bool = False) -> str:
        """Return a message without secret values and without quoted parts of secret values.

        If ``computed`` is true, the message can quote a text that a template made from a secret value. Then
        redact each text between two quotes unless the image contains the text. This includes the text between
        a closing and an opening quote, because a value can contain quotes itself.
        """
        if not self.values:
            return text
        quoted = self._only_public if computed else self._quoted
        return _QUOTED.sub(quoted, self._without_parts(text))

    def _without_parts(self, text: str) -> str:
        kept, start, end = [], 0, 0
        for place in range(len(text) if self._parts else 0):
            lengths = self._parts.get(text[place : place + SHORTEST])
            if lengths is None:
                continue
            size = next((size for size in lengths if text[place : place + size] in lengths[size]), 0)
            if size and place >= end:  # otherwise, the part overlaps an earlier part
                kept += [text[start:place], MARK]
            if size:
                start = end = max(end, place + size)
        return "".join([*kept, text[start:]])

    def _quoted(self, found: re.Match[str]) -> str:
        part = found[0]
        return MARK if self._is_in_value(part) and not self._is_public(part) else part

    def _only_public(self, found: re.Match[str]) -> str:
        return found[0] if self._is_public(found[0]) else MARK

    def _is_public(self, part: str) -> bool:
        return self._may_search(len(self.public)) and part in self.public

    def _is_in_value(self, part: str) -> bool:
        return not self._may_search(self._size) or any(part in value for value in self.values)

    def _may_search(self, size: int) -> bool:
        self._searched += size
        return self._searched <= MOST_SEARCHED


def reads_secret(redaction: Redaction, variant: Variant) -> bool:
    """Return whether a file's template reads, or may read, a secret value."""
    return bool(redaction.values) and (variant.reads is None or bool(redaction.hides(variant.reads)))


def is_hidden(redaction: Redaction, variant: Variant) -> bool:
    """Return whether a secret value is in the content of a file, as far as its origins are known."""
    if not redaction.values or not variant.has_content:
        return False
    if variant.lines is None:
        return reads_secret(redaction, variant)
    return any(redaction.hides(part.origins) for line in variant.lines for part in line.parts)


def scrubbed(findings: Iterable[Mapping[str, Any]], redaction: Redaction) -> list[dict[str, Any]]:
    """Return findings without the secret values that messages about rendered files can quote."""
    texts = ("message", "hint")
    return [
        {**finding, **{name: redaction.scrub(finding[name]) for name in texts if name in finding}}
        for finding in findings
    ]
