"""Scanned images that exist only in memory."""

import os

from templater.checks.finding import Finding
from templater.checks.image_scanner import decode_by_v4
from templater.checks.run_checks import audit
from templater.checks.scanned_image import Name, ScannedImage
from templater.model.entry import DIRECTORY, FILE, SYMLINK, Entry, TemplateFile
from templater.model.source import Source
from templater.parsing.metadata_yaml import read_metadata


def rules(*entries: str) -> str:
    """metadata.yaml with these rules, each in flow style."""
    return "architecture: x86_64\ncreation_date: 1\ntemplates:\n" + "".join(
        f"  {entry}\n" for entry in entries
    )


def an_image(
    metadata: str | None = None, templates: dict | None = None, names=(), errors=(), **fields
) -> ScannedImage:
    """Return a scanned image. A template is a text, or an entry of another kind.

    A name is ``path`` or ``(path, kind, …)``.
    """
    found = {
        name: TemplateFile(given) if isinstance(given, Entry) else TemplateFile(Entry(FILE), given.encode())
        for name, given in (templates or {}).items()
    }
    stored = None if metadata is None else Source("image/metadata.yaml", metadata)
    read = None if stored is None else read_metadata(stored, yaml="v2")
    return ScannedImage(
        "image",
        read,
        found,
        tuple(map(a_name, names)),
        tuple(errors),
        stored=stored,
        by_v4=decode_by_v4(stored),
        **fields,
    )


def a_name(given) -> Name:
    return given if isinstance(given, Name) else Name(given, Entry(FILE))


def a_link(path: str, target: str) -> Name:
    return Name(path, Entry(SYMLINK, 0o777, target=target))


def a_folder(path: str) -> Name:
    return Name(path, Entry(DIRECTORY, 0o755))


def a_special(path: str, kind: str) -> Name:
    return Name(path, Entry(kind, rdev=os.makedev(8, 1) if "device" in kind else 0))


#: the last image and its findings: many tests ask first for severities, and then for messages
LAST: list[tuple[ScannedImage, list[Finding]]] = []


def findings(check: str, of: ScannedImage) -> list[Finding]:
    """The findings of one check. An image is audited once, however often a test asks."""
    if not LAST or LAST[0][0] is not of:
        LAST[:] = [(of, list(audit(of)))]
    return [finding for finding in LAST[0][1] if finding.check == check]


def observed(check: str, of: ScannedImage) -> list[tuple[str, str, str]]:
    """The findings of one check: severity, place, message."""
    return [(f.severity.name.lower(), f.place, f.message) for f in findings(check, of)]


def advisories(check: str, of: ScannedImage) -> set[str]:
    return {finding.advisory for finding in findings(check, of)}


def severities(check: str, of: ScannedImage) -> list[str]:
    return [severity for severity, _, _ in observed(check, of)]
