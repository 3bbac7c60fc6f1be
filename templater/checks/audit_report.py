"""An audit report as plain data, which a sandboxed process can send to its parent."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from ..image.limits import DEFAULT, Limits
from .finding import Severity, finding_data
from .image_scanner import scan_image
from .run_checks import audit

if TYPE_CHECKING:
    from ..model.instance import Instance
    from ..parsing.yaml_nodes import Limits as YamlLimits
    from ..pongo2.render_state import Limits as RenderLimits


def audit_report(
    path: str,
    rootfs: str | None = None,
    *,
    at_least: str = "info",
    limits: Limits = DEFAULT,
    yaml: YamlLimits | None = None,
    rendering: RenderLimits | None = None,
    instance: Instance | None = None,
    sarif: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """Audit an image and return a JSON object with these keys:

    * ``findings``: the findings of severity ``at_least`` and above
    * ``hidden``: the number of other findings of each severity
    * ``sarif``: a SARIF document if the argument ``sarif`` gives templater's version and the image's URI

    Raises TemplaterError if the image cannot be read.
    """
    image = scan_image(path, limits, rootfs=rootfs, yaml=yaml, rendering=rendering, instance=instance)
    found = audit(image)
    if sarif is not None:
        from .sarif import sarif_document
    shown = [finding for finding in found if finding.severity >= Severity.named(at_least)]
    hidden = Counter(finding.severity.name.lower() for finding in found[len(shown) :])
    return {
        "findings": [finding_data(finding) for finding in shown],
        "hidden": dict(hidden),
        "sarif": sarif_document(shown, image.name, *sarif) if sarif is not None else None,
    }
