"""The builds of a definition: one for each combination of the values in its filters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from time import process_time

from ..image.limits import DEFAULT, Limits
from ..model.errors import LimitError
from .architecture_map import architectures_named
from .choice import CONTAINER, VM, Choice
from .predicted_image import build, read_source

#: maximum number of builds of one definition
MAX_BUILDS = 200
#: maximum processor time in seconds for all builds of one definition
SECONDS = 10.0


def all_choices(path: str, choice: Choice, limits: Limits = DEFAULT) -> list[Choice]:
    """Return one choice for each combination of release, architecture, variant and type.

    The values come from ``choice``, the definition, and the filters of ``files``. Raises LimitError for too
    many builds.
    """
    source = read_source(path)
    image = build(source, choice, limits)
    definition = image.definition
    own = definition.data["image"]

    def named(key: str) -> list[str]:
        return list(dict.fromkeys(value for file in definition.files for value in file.get(key, ())))

    releases = [*filter(None, [own.get("release", "")]), *named("releases")]
    variants = [own["variant"], *named("variants")]
    architectures = [own["architecture"]]
    for name in named("architectures"):
        if name != own["architecture_mapped"] and (found := architectures_named(definition, name)):
            architectures.append(found)
    types = [CONTAINER, VM] if named("types") else [choice.type]
    axes = [list(dict.fromkeys(axis)) for axis in (releases or [""], architectures, variants, types)]
    count = 1
    for axis in axes:
        count *= len(axis)
    if count > MAX_BUILDS:
        raise LimitError(f"the filters give {count} different builds, more than the limit of {MAX_BUILDS}")
    given = tuple(
        each
        for each in choice.parameters
        if each.partition("=")[0] not in ("image.release", "image.architecture", "image.variant")
    )

    def settings(release: str, architecture: str, variant: str) -> tuple[str, ...]:
        named = (f"image.architecture={architecture}", f"image.variant={variant}")
        return (f"image.release={release}", *named) if release else named

    return [
        choice._replace(parameters=(*given, *settings(release, architecture, variant)), type=kind)
        for release, architecture, variant, kind in product(*axes)
    ]


def in_time(choices: Iterable[Choice], seconds: float | None) -> Iterator[Choice]:
    """Yield the choices. The caller builds each choice before it asks for the next choice.

    Raises LimitError if all builds so far took too much processor time.
    """
    seconds = max(SECONDS, seconds or 0)
    end = process_time() + seconds
    for number, each in enumerate(choices):
        if number and process_time() > end:
            raise LimitError(
                f"all builds together take longer than {seconds:g} seconds; finished builds: {number}",
                hint="omit --all-variants, or allow ten minutes with --limit time=10m",
            )
        yield each
