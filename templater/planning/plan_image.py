"""Plans of the files that an image's templates write for an instance. Planning writes nothing.

A plan assumes that the key ``volatile.apply_template`` is still set in the pass ``start``. For hosts without
recordings, a note names the files that depend on this key.
"""

import re
from contextlib import suppress

from ..model.entry import SYMLINK
from ..model.errors import TemplaterError, UsageError
from ..model.hosts import INCUS
from ..model.pending_trigger import FIRST_BOOT, PENDING_KEY
from ..model.plan import Plan
from ..model.render_options import RenderOptions
from ..model.unprintable_characters import printable
from ..rendering.render import render, render_data
from .decide_changes import plan_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from ..model.entry import Image, RootfsView, TemplateFile
    from ..model.hosts import Host
    from ..model.instance import Instance
    from ..model.metadata import Metadata, Rule
    from ..parsing.yaml_nodes import Limits as YamlLimits
    from ..pongo2.render_state import Limits
    from ..rendering.render import Rendering
    from ..rendering.rendered_text_cache import Memo

#: hosts whose starts were recorded: on these hosts, ``volatile.apply_template`` stays set in the pass start
RECORDED = ("incus-debian", "lxd-debian")
#: matches a template that may read ``volatile.apply_template``: the template contains the name of the key,
#: prints the whole configuration or loops over the configuration
_READS = re.compile(rb"apply_template|\bin\s+config\b|\{\{-?\s*config\s*[|}-]")


def plan(
    image: "Image",
    instance: "Instance",
    *,
    triggers: "tuple[str, ...]" = FIRST_BOOT,
    rootfs: "RootfsView | None" = None,
    host: "Host | str" = INCUS,
    dialect: str = "",
    clock: "Any" = None,
    seed: "Any" = None,
    limits: "Limits | None" = None,
    reading: "YamlLimits | None" = None,
    in_place: bool = False,
) -> Plan:
    """Plan the files that ``image`` writes for ``instance``. The ``triggers`` run in the given order.

    * Without ``rootfs``, existing files are unknown.
    * ``host`` is the release to predict, or its name. The host also decides how metadata.yaml is read.
    * ``dialect`` overrides the host's pongo2.
    * ``clock`` and ``seed`` fix the time and the random choices that templates see.
    * ``limits`` apply to each template, but ``limits.total`` applies to all templates together.
    * ``reading`` has the limits for metadata.yaml.
    * ``in_place`` allows a target at or below a mount point.

    Raises UsageError for an invalid argument, and RefusedError for an invalid name of the instance. Raises a
    different TemplaterError if the image can't be read, or if rendering exceeds a total limit. If a rule
    fails, its change has an ``error``.
    """
    _check_call(image, instance, rootfs, triggers)
    options = RenderOptions(_host(host), dialect, clock, seed, limits)
    return plan_image(
        image, instance, options, triggers=triggers, rootfs=rootfs, reading=reading, in_place=in_place
    )


def plan_image(
    image: "Image",
    instance: "Instance",
    options: RenderOptions,
    *,
    triggers: "tuple[str, ...]",
    rootfs: "RootfsView | None" = None,
    reading: "YamlLimits | None" = None,
    in_place: bool = False,
    new: bool = False,
    placeholders: bool = False,
    for_patch: bool = True,
    memo: "Memo | None" = None,
) -> Plan:
    """Read the image, render its templates, plan the files and predict the host's outcomes; see ``plan``.

    * ``new`` adds the keys that a daemon sets when it creates an instance from this image.
    * ``placeholders`` adds placeholders for generated values, and a note.
    * Without ``for_patch``, the changes lack the old content of files.
    * ``memo`` supplies the texts that earlier plans have rendered.
    """
    from ..parsing.metadata_yaml import read_metadata

    options = options.begun()
    metadata = read_metadata(image.read_metadata(), yaml=options.host.yaml, limits=reading)
    if new:
        from .generated_keys import new_instance

        instance = new_instance(instance, metadata.properties, triggers, placeholders=placeholders)
    templates = read_templates(image, metadata)
    compiled = templates if memo is None else memo.compiled(templates, options)
    renderings = render(metadata, compiled, instance, triggers, options)
    planned = plan_of(
        metadata, instance, renderings, rootfs,
        host=options.host, triggers=triggers, in_place=in_place, for_patch=for_patch,
    )  # fmt: skip
    if placeholders:
        from .generated_keys import placeholder_note

        planned.notes = placeholder_note((*planned.changes, *planned.agent))
    if len(triggers) > 1:
        found = pending_key_notes(renderings, templates, instance, options, triggers)
        planned.notes = (*planned.notes, *found)
    return predicted(planned, templates, rootfs, options)


def pending_key_notes(
    renderings: "Iterable[Rendering]",
    templates: "Mapping[str, TemplateFile]",
    instance: "Instance",
    options: "RenderOptions",
    triggers: tuple[str, ...],
) -> "Iterator[str]":
    """Yield a note if files depend on whether the key ``volatile.apply_template`` stays set.

    The note names the files of later triggers that would differ without the key.
    """
    host = options.host
    # Hosts in ``RECORDED`` need no note: there, the key stays set.
    if not host.product or host.name in RECORDED:
        return
    if PENDING_KEY not in instance.expanded_config():
        return
    config = {key: value for key, value in instance.config.items() if key != PENDING_KEY}
    without = instance.replace(config=config)
    found = []
    for each in renderings:
        file = templates.get(each.rule.template)
        data = file.data if file is not None else None
        if (
            each.content is None
            or each.trigger not in triggers[1:]
            or data is None
            or not _READS.search(data)
        ):
            continue
        with suppress(TemplaterError):
            if render_data(data, each.rule, each.trigger, without, options) != each.content:
                found.append(printable(each.rule.path))
    if found:
        kind = "virtual machines" if instance.is_vm else "containers"
        yield (
            f"assuming that {PENDING_KEY} stays set in the {triggers[-1]} pass for {kind} of {host.name},"
            f" as recorded for {' and '.join(RECORDED)}; affected files: {', '.join(found)}"
        )


def read_templates(image: "Image", metadata: "Metadata") -> "Mapping[str, TemplateFile]":
    """Return the templates of the rules. If a template is a symlink to another template, return both."""
    templates = dict(image.read_templates({rule.template for rule in metadata.rules if rule.template}))
    # templater refuses such a symlink, but old hosts follow it, so the prediction needs the link's target.
    links = list(templates.values())
    while links:
        targets = {
            name.removeprefix("./")
            for file in links
            if file.entry is not None and file.entry.kind == SYMLINK
            for name in (file.entry.target.removeprefix("../templates/"),)
        }
        new = {name for name in targets if name and "/" not in name and name not in (".", "..", *templates)}
        read = image.read_templates(new) if new else {}
        templates.update(read)
        links = list(read.values())
    return templates


def predicted(
    plan: Plan,
    templates: "Mapping[str, TemplateFile]",
    rootfs: "RootfsView | None",
    options: RenderOptions,
    other: "list[str] | None" = None,
) -> Plan:
    """Return the plan with a prediction for its host.

    If the host reads a rule's template from another file than templater, append the rule's path to ``other``.
    """
    if not plan.host.family:
        return plan
    from ..prediction import predict

    def render_other(data: bytes, rule: "Rule", trigger: str) -> bytes:
        # The host can read another file than templater: for example, only the host follows a symlink.
        if other is not None:
            other.append(rule.path)
        return render_data(data, rule, trigger, plan.instance, options)

    return plan.with_prediction(
        predict(plan, templates, rootfs, render=render_other, check_time=options.check_time)
    )


def _host(host: "Any") -> "Host":
    from ..model.hosts import HOSTS, Host

    found = HOSTS.get(host) if isinstance(host, str) else host
    if not isinstance(found, Host):
        names = ", ".join(HOSTS)
        raise UsageError(f"unknown host {host!r}", hint=f"use one of templater.HOSTS: {names}")
    return found


def _check_call(image: "Any", instance: "Any", rootfs: "Any", triggers: "Any") -> None:
    """Raise UsageError for arguments of the wrong type."""
    from ..model.instance_name import require_name
    from ..model.metadata import TRIGGERS

    if not hasattr(image, "read_metadata"):
        raise UsageError(f"image={image!r} is not an image", hint="open it: templater.open_image(path)")
    if not hasattr(instance, "expanded_config"):
        hint = "for example: templater.read_instance(file)"
        raise UsageError(f"instance={instance!r} is not an instance", hint=hint)
    require_name(instance.name)  # the name can have changed after the instance was made
    if rootfs is not None and not hasattr(rootfs, "entry"):
        hint = "for example: templater.DirectoryRootfs(path)"
        raise UsageError(f"rootfs={rootfs!r} is not a root filesystem", hint=hint)
    known = ", ".join(TRIGGERS)
    if not isinstance(triggers, (tuple, list)) or not triggers:
        raise UsageError(
            f"triggers={triggers!r} is not a tuple of triggers",
            hint=f"for example: triggers=('create', 'start'); known triggers: {known}",
        )
    # Any text is allowed as the pending trigger, because users can set it.
    wrong = [trigger for trigger in triggers if not isinstance(trigger, str) or not trigger]
    if wrong or not set(triggers) & set(TRIGGERS):
        raise UsageError(f"unknown trigger {(wrong or triggers)[0]!r}", hint=f"known triggers: {known}")
