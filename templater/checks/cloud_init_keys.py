"""Texts with which a file for cloud-init may grant access, run commands or write files."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from ..pongo2.syntax.tokens import IDENTIFIER, STRING, TEXT
from .template_tokens import readings_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..model.metadata import Rule
    from ..model.source import Source
    from ..pongo2.syntax.tokens import Token
    from .scanned_image import ScannedImage
    from .template_tokens import Part

#: the files that cloud-init reads, without the network configurations
_PATHS = re.compile(
    r"""(?:/var/lib/cloud/seed|/config-drive)/(?:.*/)?(?!network[-_](?:config|data))[^/]*
        |/boot/(?:firmware/)?(?:user|meta|vendor)-data2?|/run/cloud-init/cloud\.cfg
        |/etc/cloud/(?:cloud\.cfg|(?:cloud\.cfg\.d|clean\.d|templates)/.*)""",
    re.VERBOSE | re.DOTALL,
)
#: well-known keys that grant access or run commands, and the beginnings of all texts other than YAML that
#: cloud-init recognizes, such as scripts, lists of URLs, Jinja templates and MIME messages
_KNOWN = re.compile(
    r"""(users?|system_info|ssh_authorized_keys|ssh_import_id|chpasswd|password|public-keys
        |write_files|bootcmd|runcmd|snap|ansible|chef|puppet|salt_minion)["']?[ \t]*:
        (?![ \t]*(?:\[[ \t]*\]|\{[ \t]*\}|\"\"|''|false[ \t]*$))
        |(ssh_pwauth)["']?[ \t]*:(?![ \t]*(?i:false|no|off)[ \t]*(?:[ \t]\#|$))
        |(disable_root)["']?[ \t]*:(?![ \t]*(?i:true|yes|on)[ \t]*(?:[ \t]\#|$))
        |^[ \t]*(\#!|(?i:\#include|\#cloud-boothook|\#cloud-config-|\#part-handler|\#upstart-job
        |\#\#\s*template|content-type:))|((?i:mime-version))""",
    re.VERBOSE | re.MULTILINE,
)
#: keys of cloud-config and meta-data that cannot grant access, run commands or fetch texts. They change no
#: files other than the ones with the hostname, language, time zone and lists of packages. ``_KNOWN`` finds
#: ``ssh_pwauth`` and ``disable_root`` if they have other values than the safe ones.
_HARMLESS = frozenset((
    "instance-id", "local-hostname", "hostname", "fqdn", "dsmode", "prefer_fqdn_over_hostname",
    "preserve_hostname", "create_hostname_file", "manage_etc_hosts", "locale", "timezone", "datasource_list",
    "growpart", "resize_rootfs", "package_update", "package_upgrade", "package_reboot_if_required",
    "apt_update", "apt_upgrade", "apt_reboot_if_required", "apt_pipelining", "apt_preserve_sources_list",
    "disable_ec2_metadata", "updates", "manual_cache_clean", "ssh_pwauth", "disable_root",
))  # fmt: skip
#: values with which no key has power
_EMPTY = r"""(?P<empty>\[[ \t]*\]|\{[ \t]*(?:config:[ \t]*disabled[ \t]*)?\}|""|'')"""
_ENTRY = re.compile(rf"""(["']?)(?P<key>[\w-]+)\1[ \t]*:(?:[ \t]+(?:{_EMPTY}[ \t]*(?:[ \t]#.*)?|.*))?""")
#: a line of a file that is a mapping in braces. There, any line can have several keys.
_IN_BRACES = re.compile(rf"""[ \t]*"(?P<key>[\w-]+)"[ \t]*:[ \t]*(?:{_EMPTY}|"[^"\\]*"),?[ \t]*""")
_BRACE = re.compile(r"^[ \t]*\{(?![ \t]*\}[ \t]*$)", re.MULTILINE)
#: two lines that switch off the configuration of the network
_NO_NETWORK = re.compile(r"^network:[ \t]*\n[ \t]+config:[ \t]*disabled[ \t]*$", re.MULTILINE)
#: an empty mapping, or text without YAML's syntax that is not the name of a text in the image's properties
_PLAIN = re.compile(r"(?!image\.| )[\w .,/@+=~$-]*|\{[ \t]*\}[ \t]*")

#: the characters that stand for an expression and a tag
_VALUE, _TAG = "\1", "\2"
_COMMENT = re.compile(rf"[ \t]*#(?:cloud-config[ \t]*|#*(?:[ \t][^{_VALUE}]*)?)")
#: tags and filters that change no more of a text than case and escaping, and names of values that come from
#: the instance or the rule's properties
_TAGS = ("if", "elif", "else", "ifequal", "ifnotequal", "autoescape", "comment")
_FILTERS = ("safe", "default", "default_if_none", "lower", "upper", "escape", "e")
_NAMES = ("config_get", "instance", "container", "devices", "properties")


def is_for_cloud_init(paths: Iterable[str]) -> bool:
    """Return whether cloud-init reads one of the paths. Network configurations do not count."""
    return any(map(_PATHS.fullmatch, paths))


def texts_with_power(image: ScannedImage, rules: Iterable[Rule]) -> Iterator[tuple[Rule, str, str]]:
    """Yield each cloud-init rule whose file may grant access or run commands at the first boot.

    Each result has the rule, the dangerous text and a severity.
    """

    @cache
    def of_template(name: str) -> tuple[str, bool]:
        found = [_of_template(source) for source in image.sources([name])]
        return found[0] if found else ("", False)

    @cache
    def of_value(value: str, in_braces: bool) -> str:
        # A template with an indented expression would indent only the first line of the value.
        return _known_in(value) or _unknown_in(value, in_braces, may_nest=False)

    for rule in rules:
        text, in_braces = of_template(rule.template)
        # Real images set a default user-data in the properties, and users can replace this default.
        severity = "medium" if text else "low"
        for value in () if text else rule.properties.values():
            text = text or of_value(value, in_braces)
        if rule.path.endswith("/public-keys"):  # of the seed for MAAS: each line is a key for logging in
            text, severity = "public-keys", "medium"
        if text:
            yield rule, _shown(text), severity


def _of_template(source: Source) -> tuple[str, bool]:
    """Return the first dangerous text of a template, and whether it may print a YAML mapping in braces."""
    in_braces = False
    for parts in readings_of(source):
        printed = "".join(map(_printed, parts))
        in_braces |= _BRACE.search(printed) is not None
        if found := next(filter(None, _found_in(parts, printed, in_braces)), ""):
            return found, in_braces
    return "", in_braces


def _shown(text: str) -> str:
    return text.strip().replace(_VALUE, "{{…}}")[:60]


def _printed(part: Part) -> str:
    """Return the text of a part of a template, or a placeholder for a tag or an expression."""
    kind, tokens = part
    if kind == "{{":  # the value of a property can end with a line break
        return _VALUE + _TAG if any(token.value == "properties" for token in tokens) else _VALUE
    return tokens[0].shown if kind == TEXT else _TAG


def _found_in(parts: list[Part], printed: str, in_braces: bool) -> Iterator[str]:
    """Yield the dangerous texts of a template. Some of the texts may be empty."""
    tokens = [token for _, part in parts for token in part]
    yield _known_in("".join(token.value for token in tokens if token.kind == TEXT))
    yield _known_in("".join(token.value for token in tokens if token.kind in (TEXT, STRING)))
    for kind, part in parts:
        if kind != TEXT and not (_is_harmless(part) if kind == "{{" else kind.removeprefix("end") in _TAGS):
            yield part[0].unit.text[part[0].start : part[-1].end]
    # If a condition omits the text before a tag, the text after the tag can begin a new line.
    strings = (token.value for token in tokens if token.kind == STRING)
    for text in dict.fromkeys((printed.replace(_TAG, ""), printed.replace(_TAG, f"\n{_VALUE}\n"), *strings)):
        yield _known_in(text) or _unknown_in(text, in_braces)


def _is_harmless(part: list[Token]) -> bool:
    """Return whether an expression uses only its own strings, values of the instance, and properties."""
    for before, token, after in zip(part, part[1:], [*part[2:], part[-1]], strict=False):
        if token.kind != IDENTIFIER:
            known = token.kind in ("}}", ".", "(", ")", ",", "|", ":", STRING)
        elif before.kind == "|":
            known = token.value in _FILTERS
        else:
            known = before.kind == "." or (token.value in _NAMES and after.kind in (".", "("))
        if not known:
            return False
    return True


def _known_in(text: str) -> str:
    match = _KNOWN.search(text)
    return next(filter(None, match.groups())) if match else ""


def _unknown_in(text: str, in_braces: bool, *, may_nest: bool = True) -> str:
    """Return the first key or line that may be dangerous, or "".

    If ``may_nest`` is true, the value of a harmless key may continue on the next lines.
    """
    is_nested = False
    # A list of dangerous keys would be incomplete, so each unknown line counts as dangerous.
    for line in filter(None, _NO_NETWORK.sub("", text).splitlines()):
        entry = (_IN_BRACES if in_braces else _ENTRY).fullmatch(line)
        if entry and (entry["key"] in _HARMLESS or entry["empty"]):
            is_nested = may_nest and not in_braces and not entry["empty"]
        elif is_nested and line.startswith((" ", "\t", "- ", "#")):
            continue
        elif not line.strip(f" \t{_VALUE}") or _PLAIN.fullmatch(line):
            is_nested &= not line.strip(" \t")
        elif not _COMMENT.fullmatch(line) and (not in_braces or line.strip() not in ("{", "}")):
            return entry["key"] if entry else line
    return ""
