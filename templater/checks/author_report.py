"""A report of `templater check` as plain data, which a sandboxed process can send to its parent."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from ..image.limits import Limits
from ..model.errors import InputError
from ..model.hosts import HOSTS, INCUS
from ..model.source import Source, printable
from ..parsing.instance_yaml import read_instance
from ..rootfs.directory import open_root
from .authored import authored
from .finding import Finding, Severity, audit, finding_data
from .ignores import FILE, Configuration, Ignores, read_configuration
from .sarif import sarif_document
from .scan import AUDITED, scan_image

if TYPE_CHECKING:
    from ..model.instance import Instance
    from ..parsing.yaml_nodes import Limits as YamlLimits
    from ..pongo2.state import Limits as RenderLimits

#: maximum size in bytes of templater.toml, and of an instance description
LARGEST = 1 << 20


def check_report(
    path: str,
    rootfs: str | None = None,
    *,
    hosts: tuple[str, ...],
    instances: tuple[Instance, ...] = (),
    at_least: str = "warning",
    limits: Limits = AUDITED,
    yaml: YamlLimits | None = None,
    rendering: RenderLimits | None = None,
    trusted: bool = False,
    sarif: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """Check an image for its author and return a JSON object like that of ``audit_report``.

    ``suppressed`` lists the findings that the author ignores. The image's templater.toml is read if the image
    is ``trusted``. ``hosts`` and ``instances`` override those of that file.

    Raises TemplaterError if the image or its templater.toml cannot be read.
    """
    wanted = {FILE: LARGEST} if trusted else {}
    scanned = scan_image(path, limits, rootfs=rootfs, yaml=yaml, rendering=rendering, heads=wanted)
    configuration = Configuration()
    if FILE in scanned.heads:
        configuration = read_configuration(Source(f"{path}/{FILE}", scanned.heads[FILE]))
    names = hosts or configuration.hosts or (INCUS.name,)
    if configuration.instances and not instances:
        instances = tuple(read_described(path, item) for item in configuration.instances)
    image = authored(scanned, tuple(HOSTS[name] for name in names), instances)
    found: list[Finding] = []
    ignores = Ignores(image, configuration)
    for finding in audit(image, "authoring"):
        found += ignores.filter(finding)
    found += ignores.unused()
    found.sort(key=_position)
    least = Severity.named(at_least)
    shown = [finding for finding in found if finding.severity >= least]
    hidden = Counter(finding.severity.level for finding in found if finding.severity < least)
    return {
        "findings": [author_data(finding, path) for finding in shown],
        "hidden": dict(hidden),
        "suppressed": [author_data(finding, path) for finding in ignores.suppressed],
        "sarif": sarif_document(shown, image.name, *sarif, folder="authoring") if sarif is not None else None,
    }


def read_described(path: str, name: str) -> Instance:
    """Read an instance description in an image's directory, without following a link out of it."""
    if not os.path.isdir(path):
        raise InputError(
            f"'{printable(name)}': instances of {FILE} can be read only if the image is a directory",
            hint="pass -i FILE",
        )
    with open_root(path) as top:
        data = top.read(f"/{name}", LARGEST)
    return read_instance(Source(f"{path}/{name}", data), name=os.path.basename(name).partition(".")[0])


def author_data(finding: Finding, path: str) -> dict[str, Any]:
    """Return a finding as a JSON object, with the source line and the rule's target."""
    data = finding_data(finding) | {"severity": finding.severity.level}
    if finding.span is not None:
        data["excerpt"] = finding.span.excerpt()
    else:
        inside = "" if finding.where == path else finding.where
        data["place"] = data["file"] = f"{path}/{inside}" if inside else path
    if finding.rule is not None:
        data["target"] = finding.rule.path
    return data


def _position(finding: Finding) -> tuple[str, int, int, int, str]:
    span = finding.span
    if span is None:
        return finding.where, 0, 0, -finding.severity, finding.check
    return span.source.name, span.line, span.column, -finding.severity, finding.check
