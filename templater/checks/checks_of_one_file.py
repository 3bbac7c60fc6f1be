"""The mistakes in one rendered file, as found by the checks of file contents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .authored_image import AuthoredImage, replace_rules
from .finding import Finding, Severity
from .rendered_files import File
from .run_checks import all_checks, run_check

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..model.entry import TemplateFile
    from ..model.metadata import Metadata
    from ..validators.runner import Validators

#: the checks that need only the text of one file
CHECKS = frozenset((
    "cloud-config", "first-line", "fstab", "hostname", "hosts", "interfaces", "json", "meta-data", "netplan",
    "network-config", "network-key", "resolv-conf", "shell", "sudoers", "systemd-unit", "toml", "yaml",
))  # fmt: skip


@dataclass(frozen=True)
class _ImageOfOneFile(AuthoredImage):
    only: tuple[File, ...] = ()

    @property
    def files(self) -> tuple[File, ...]:
        return self.only


def findings_in(
    file: File,
    metadata: Metadata,
    templates: Mapping[str, TemplateFile],
    validators: Validators | None,
) -> list[Finding]:
    """Return the findings of severity warning and above in a rendered file of an image."""
    image = _ImageOfOneFile(
        "image", replace_rules(metadata, (file.rule,)), templates, hosts=(file.host,),
        instances=(file.instance,), validators=validators, only=(file,),
    )  # fmt: skip
    checks = (check for check in all_checks("authoring") if check.id in CHECKS)
    found = [finding for check in checks for finding in run_check(check, image)]
    return [finding for finding in found if finding.severity >= Severity.WARNING]
