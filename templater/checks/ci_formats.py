"""Reports of `templater check` for continuous integration: JUnit, GitHub annotations, GitLab code quality."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from ..model.unprintable_characters import printable

_GITHUB = {"error": "error", "warning": "warning", "info": "notice"}
_GITLAB = {"error": "major", "warning": "minor", "info": "info"}


def junit(reports: list[dict[str, Any]]) -> str:
    """Return a JUnit document: a suite for each image, and a failed case for each finding."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>"]
    for report in reports:
        found = report["findings"]
        error = report.get("error")
        counts = (
            f'tests="{len(found) or 1}" failures="{len(found)}" errors="{int(error is not None)}" '
            'skipped="0" time="0"'
        )
        lines.append(f"<testsuite name={xml_quoted(report['image'])} {counts}>")
        if error is not None:
            lines.append(f'<testcase classname={xml_quoted(report["image"])} name="check" time="0">')
            lines.append(f"<error message={xml_quoted(error)}/></testcase>")
        elif not found:
            lines.append(f'<testcase classname={xml_quoted(report["image"])} name="check" time="0"/>')
        for finding in found:
            name = xml_quoted(f"{finding['check']} at {finding['place']}")
            lines.append(f'<testcase classname={xml_quoted(report["image"])} name={name} time="0">')
            lines.append(
                f"<failure type={xml_quoted(finding['check'])} message={xml_quoted(finding['message'])}>"
                f"{xml_quoted(_words(finding))[1:-1]}</failure></testcase>"
            )
        lines.append("</testsuite>")
    return "\n".join([*lines, "</testsuites>", ""])


def github(reports: list[dict[str, Any]]) -> str:
    """Return workflow commands, which GitHub shows beside the lines of a pull request."""
    return "".join(f"{line}\n" for report in reports for line in _annotations(report))


def _annotations(report: dict[str, Any]) -> Iterator[str]:
    for finding in report["findings"]:
        place = {"file": _file(finding)}
        if "line" in finding:
            place |= {"line": str(finding["line"]), "col": str(finding["column"])}
        place["title"] = finding["check"]
        fields = ",".join(f"{name}={_escaped(value, property=True)}" for name, value in place.items())
        yield f"::{_GITHUB[finding['severity']]} {fields}::{_escaped(_words(finding))}"


def gitlab(reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return GitLab's code quality report.

    The fingerprint of a finding does not depend on its line number.
    """
    found = []
    seen: Counter[str] = Counter()
    for report in reports:
        for finding in report["findings"]:
            path = _file(finding)
            key = f"{path}\n{finding['check']}\n{finding['message']}"
            seen[key] += 1
            text = f"{key}\n{seen[key]}".encode("utf-8", "surrogateescape")
            found.append(
                {
                    "description": _words(finding),
                    "check_name": finding["check"],
                    "fingerprint": sha256(text).hexdigest(),
                    "severity": _GITLAB[finding["severity"]],
                    "location": {"path": path, "lines": {"begin": finding.get("line", 1)}},
                }
            )
    return found


def _file(finding: dict[str, Any]) -> str:
    """Return the path of a finding's file, relative to the repository's root and without ``./``.

    The working directory is the root of the repository.
    """
    file = str(finding["file"]).removeprefix(f"{os.getcwd().rstrip('/')}/")
    return printable(file.removeprefix("./"))


def _words(finding: dict[str, Any]) -> str:
    hint = f"\nhint: {finding['hint']}" if "hint" in finding else ""
    return printable(finding["message"]) + ("\n" + printable(hint[1:]) if hint else "")


def _escaped(text: str, *, property: bool = False) -> str:
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if property else text


def xml_quoted(text: str) -> str:
    """Return a text as a quoted XML attribute.

    Characters that XML forbids are escaped in the same way as in templater's messages.
    """
    safe = "\n".join(map(printable, text.split("\n")))
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("\n", "&#10;")):
        safe = safe.replace(character, entity)
    return f'"{safe}"'
