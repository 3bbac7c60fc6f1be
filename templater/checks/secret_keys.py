"""The secret keys of instances, and the findings about templates that may read these keys."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from time import process_time
from typing import TYPE_CHECKING, Final

from ..pongo2.tracing.recorder import normal
from ..rendering.origins import ALL_DEVICES, ALL_KEYS, names_read
from .authored_image import MAX_SECONDS
from .run_checks import all_checks
from .secret_words import is_name_of_secret

if TYPE_CHECKING:
    from ..model.instance import Instance
    from ..pongo2.tracing.recorder import Name
    from ..rendering.origins import Origin
    from .authored_image import AuthoredImage
    from .finding import Finding

#: keys whose values are whole documents for cloud-init
BODIES: Final = frozenset(
    f"{prefix}.{name}"
    for prefix in ("cloud-init", "user")
    for name in ("user-data", "vendor-data", "network-config", "meta-data")
)


def is_secret(key: str) -> bool:
    """Return whether a key of the configuration or of a device holds a secret or a cloud-init document."""
    return key in BODIES or is_name_of_secret(key)


class SecretKeys:
    """The secret keys that instances set, with their values.

    A map that contains a secret key, such as a device, also counts as a secret.
    """

    def __init__(self, instances: Iterable[Instance]) -> None:
        values: dict[str, None] = {}
        #: the names of the secrets, in the form of ``Origin.name``
        self._names: set[str] = set()
        for instance in instances:
            for key, value in instance.expanded_config().items():
                if value and is_secret(key):
                    values[value] = None
                    self._names |= {key, ALL_KEYS}
            for name, device in instance.expanded_devices().items():
                for key, value in device.items():
                    if value and is_secret(key):
                        values[value] = None
                        self._names |= {f"devices.{name}.{key}", f"devices.{name}", ALL_DEVICES}
        self.values = tuple(values)

    def hides(self, origins: Iterable[Origin]) -> list[str]:
        """Return the name of each item of ``origins`` that is a secret key, or a map with a secret key."""
        return [
            origin.name
            for origin in origins
            if origin.kind not in ("undefined", "default") and origin.name in self._names
        ]

    def may_be_read(self, names: Collection[Name] | None) -> bool:
        """Return whether a template that reads these names may read a secret.

        ``names`` is None if the template may read any name.
        """
        return bool(self.values) and (names is None or any(map(self._is_secret, names)))

    def _is_secret(self, name: Name) -> bool:
        root, *keys = normal({}, name)  # no devices are given, so a method counts as all devices
        if root == "config":
            return (keys[0] if keys else ALL_KEYS) in self._names
        return root == "devices" and (".".join((root, *keys)) if keys else ALL_DEVICES) in self._names


def without_values(image: AuthoredImage, findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings without texts that may contain a secret.

    Findings about templates that may read a secret get the summary and the hint of the check.
    """
    templates = _templates_with_secrets(image)
    files = set(templates.values())
    checks = {check.id: check for check in all_checks("authoring")}
    found = []
    for finding in findings:
        is_about_rule = finding.rule is not None and finding.rule.template in templates
        if is_about_rule or (finding.span is not None and finding.span.source.name in files):
            check = checks[finding.check]
            # A message can quote a rendered file, and a template can encode a secret in any way.
            finding = finding._replace(message=check.about, hint=check.hint)
        found.append(finding)
    return found


def _templates_with_secrets(image: AuthoredImage) -> dict[str, str]:
    """Return the templates that may read an instance's secret: a dict from template name to source name."""
    keys = SecretKeys((*image.instances, *image.added))
    dialects = {host.dialect for host in image.hosts}
    end = process_time() + MAX_SECONDS
    found = {}
    for name, rules in image.used.items() if keys.values else ():
        source = image.source(rules[0])
        assert source is not None
        if process_time() > end or any(keys.may_be_read(names_read(source, each)) for each in dialects):
            found[name] = source.name
    return found
