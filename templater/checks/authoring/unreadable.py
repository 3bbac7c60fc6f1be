"""A part of the image cannot be read, so this part is not checked.

For example, metadata.yaml is not valid YAML, or a value has a type that the daemons reject. No instance of an
unreadable image starts.

Incus 7 also rejects a key that occurs twice in a mapping, and a second document after `---`. The check
reports a metadata.yaml that at least one host of the option `--as` rejects.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.errors import MetadataError, TemplaterError
from ...model.file_names import METADATA, TEMPLATES
from ..authored_image import AuthoredImage
from ..base import Observation, check


@check("unreadable", "error", "a part of the image that cannot be read")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for error in image.errors:
        yield observation(error, METADATA)
    names = [host.name for host in image.hosts if host.yaml == "v4"]
    if names and isinstance(image.by_v4, MetadataError):
        error = image.by_v4
        message = f"{error.message}: no instance of the image starts on {', '.join(names)}"
        yield Observation(message, error.span or METADATA, error.hint)
    for name, file in sorted(image.templates.items()):
        if file.error is not None:
            yield observation(file.error, f"{TEMPLATES}/{name}")


def observation(error: TemplaterError, place: str) -> Observation:
    return Observation(error.message, error.span or place, error.hint)
