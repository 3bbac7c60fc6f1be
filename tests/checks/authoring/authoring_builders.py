"""Images with planted mistakes, in memory."""

from templater.checks.authored_image import AuthoredImage, authored
from templater.checks.image_scanner import scanned_definition
from templater.checks.run_checks import audit
from templater.definitions.choice import Choice
from templater.definitions.predicted_image import build
from templater.model.hosts import HOSTS
from templater.model.source import Source
from templater.validators.runner import in_this_process
from tests.checks.builders import an_image, rules

HOSTNAME = "/etc/hostname: {when: [create, rename], template: t}"
SEED = "/var/lib/cloud/seed/nocloud-net"


def image(
    *entries: str, t: str | None = "x\n", hosts: str = "incus", instances=(), **fields
) -> AuthoredImage:
    """An image with these rules, whose template ``t`` has the text ``t``."""
    templates = fields.pop("templates", {} if t is None else {"t": t})
    validators = in_this_process(anyway=False) if fields.pop("validate", False) else None
    metadata = rules(*entries) + fields.pop("more", "")
    scanned = an_image(metadata, templates, fields.pop("names", ()), **fields)
    return authored(scanned, tuple(HOSTS[name] for name in hosts.split(",")), tuple(instances), validators)


def file(path: str, text: str, **fields) -> AuthoredImage:
    """An image that writes one file."""
    return image(f"{path}: {{when: [create], template: t}}", t=text, **fields)


def defined(text: str) -> AuthoredImage:
    """The image that a build of this definition makes."""
    scanned = scanned_definition(build(Source("d.yaml", text), Choice()))
    return authored(scanned, (HOSTS["incus"],), ())


def findings(of: AuthoredImage) -> list[tuple[str, str, str]]:
    """The findings of all checks for authors: level, id, place."""
    return [(found.severity.level, found.check, found.place) for found in audit(of, "authoring")]
