"""Plans for every supported LXD and Incus release.

Releases with the same YAML reader and the same pongo2 dialect share the rendered templates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.errors import LimitError, TemplaterError
from ..model.hosts import HOSTS
from ..model.plan import Plan
from ..model.render_options import RenderOptions
from ..rendering.render import render
from .decide_changes import plan_of
from .generated_keys import new_instance
from .plan_image import predicted, read_templates

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..model.entry import Image, RootfsView, TemplateFile
    from ..model.hosts import Host
    from ..model.instance import Instance
    from ..model.metadata import Metadata
    from ..parsing.yaml_nodes import Limits as YamlLimits

#: the metadata as decoded by one YAML library, and the templates that the rules name
_Read = tuple["Metadata", "Mapping[str, TemplateFile]"]


def plan_every_host(
    image: Image,
    instance: Instance,
    options: RenderOptions,
    *,
    triggers: tuple[str, ...],
    rootfs: RootfsView | None = None,
    reading: YamlLimits | None = None,
    new: bool = False,
    hosts: Iterable[Host] | None = None,
) -> dict[str, Plan | TemplaterError]:
    """Return the plan or the error of each LXD and Incus release, by the release's name.

    * ``options``: the host and the dialect are ignored. The caller must set the clock and the seed, so that
      all dialects render the same time and random values.
    * ``new``: whether to add the keys that a daemon sets in a new instance

    Raises LimitError if all plans together take too long.
    """
    limits = options.begun().limits
    read: dict[str, _Read | TemplaterError] = {}
    planned: dict[tuple[str, str], Plan] = {}
    plans: dict[str, Plan | TemplaterError] = {}
    #: each distinct content, so that plans with equal contents share the memory
    contents: dict[bytes, bytes] = {}
    for host in (host for host in HOSTS.values() if host.family) if hosts is None else hosts:
        own = RenderOptions(host, "", options.clock, options.seed, limits)
        if host.yaml not in read:
            read[host.yaml] = _read(image, host.yaml, reading)
        found = read[host.yaml]
        if isinstance(found, TemplaterError):
            plans[host.name] = found
            continue
        metadata, templates = found
        own_instance = instance
        if new:
            own_instance = new_instance(instance, metadata.properties, triggers, placeholders=True)
        key = host.yaml, host.dialect
        if key not in planned:
            renderings = render(metadata, templates, own_instance, triggers, own)
            for rendering in renderings:
                if rendering.content is not None:
                    rendering.content = contents.setdefault(rendering.content, rendering.content)
            planned[key] = plan_of(metadata, own_instance, renderings, rootfs, host=host, triggers=triggers)
        same = planned[key]
        plan = Plan(metadata, own_instance, host, triggers, same.changes, agent=same.agent)
        plans[host.name] = predicted(plan, templates, rootfs, own)
    return plans


def _read(image: Image, yaml: str, reading: YamlLimits | None) -> _Read | TemplaterError:
    from ..parsing.metadata_yaml import read_metadata

    try:
        metadata = read_metadata(image.read_metadata(), "v4" if yaml == "v4" else "v2", reading)
    except LimitError:
        raise
    except TemplaterError as error:
        return error
    return metadata, read_templates(image, metadata)
