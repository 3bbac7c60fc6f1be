"""A check for templates whose rendering exceeds a limit, and for rules that make a daemon panic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ...model.errors import LimitError, TemplateError, TemplaterError
from ...model.file_names import DISK, METADATA
from ...model.hosts import INCUS, INCUS_6_0, LXD
from ...model.instance import CONTAINER, VIRTUAL_MACHINE, Instance
from ...model.metadata import TRIGGERS, Metadata
from ...model.render_options import RenderOptions
from ...model.source import Source
from ...model.unprintable_characters import printable
from ...planning.generated_keys import with_image_keys
from ...pongo2.compiled_template import Template
from ...pongo2.dialect import DIALECTS, V4, V6, V61, Dialect
from ...pongo2.parse_with_includes import Compilation
from ...pongo2.render_state import Limits
from ...rendering.render import Compiled, render
from ..base import Observation, check
from ..cost_bound import MOST_HELD, MOST_WORK, Texts, bound, texts_of
from ..filter_cost_bounds import NoBoundError
from ..possible_panics import possible_panic
from ..runaway_compilation import CountedCompilation, EveryBranchCompilation, with_every_key
from ..scanned_image import ScannedImage
from ..template_tokens import is_read_differently

#: limits in seconds. A limit on steps alone is not enough, because one step can process megabytes of text.
LIMITS = Limits(seconds=3.0, total=4.0)

#: the work to read a character of a template, in the unit of ``bound``
_READ = 100
#: limit on the work for all rules with the same trigger
MOST_WORK_TOGETHER = 5 * MOST_WORK
_TOO_MUCH = "a daemon may work too long on this part, or fill its memory, for an instance with long texts"
_READ_IT = "read the template, and preview it for an instance with long values"

#: the longest name that the daemons allow
_NAME = "a-long-name-of-an-instance-".ljust(63, "x")
_UUID = "5d0e1a52-9a60-4a4d-9a3e-6a0d1c1f2b7c"
_IDMAP = (
    '[{"Isuid":true,"Isgid":false,"Hostid":1000000,"Nsid":0,"Maprange":1000000000},'
    '{"Isuid":false,"Isgid":true,"Hostid":1000000,"Nsid":0,"Maprange":1000000000}]'
)
#: the keys that every instance has at its first start on Incus 6.0.4, or soon afterwards
_KEYS = {
    "volatile.base_image": "600b53cf79554ffed02bd03fa82710ecb2ff5629cd7da509d04b36bf4ae071bf",
    "volatile.cloud-init.instance-id": _UUID,
    "volatile.eth0.hwaddr": "10:66:6a:5c:0e:01",
    "volatile.last_state.power": "STOPPED",
    "volatile.uuid": _UUID,
    "volatile.uuid.generation": _UUID,
}
_CONTAINER_KEYS = {
    "volatile.idmap.base": "0",
    "volatile.idmap.current": _IDMAP,
    "volatile.idmap.next": _IDMAP,
    "volatile.last_state.idmap": _IDMAP,
}
_DEVICES = {
    "root": {"type": "disk", "path": "/", "pool": "default"},
    "eth0": {"type": "nic", "name": "eth0", "network": "incusbr0"},
}
#: an instance without any keys, and a container and a virtual machine as the daemons make them
PROBES = (
    Instance("c1", CONTAINER),
    Instance(_NAME, CONTAINER, config={**_KEYS, **_CONTAINER_KEYS}, devices=_DEVICES),
    Instance(_NAME, VIRTUAL_MACHINE, config={**_KEYS, "volatile.vsock_id": "3"}, devices=_DEVICES),
)


@check(
    "runaway",
    "high",
    "a template or rule that makes a daemon hang, panic or run out of memory: the daemons have no limits",
)
def check_image(image: ScannedImage) -> Iterator[Observation]:
    """Render each rule within limits, for the user's instance, an ordinary container and an ordinary VM.

    The check renders each template as Incus 7 does. It also renders a template as Incus 6.0 and LXD do, if
    the template fails, or can give another result on Incus 6.0 or LXD. All renders count the operations that
    take longer in pongo2 than in templater.

    Some loops do not run in such a render. So the check adds three steps for each template:

    * A special render runs all branches of each condition, one after the other, and each loop at least once.
    * The special render is repeated for an instance that sets every key.
    * Without a render, the check computes an upper bound of the work, because an error can end a render
      before a loop. The check reports a large bound, and a template without a bound.

    The check also adds up the bounds of all rules with the same trigger.

    The check reports each panic of these renders, and parts of templates that panic only for some values,
    such as a division. For a virtual machine, a panic ends the daemon. For a container, a panic only fails
    the start.
    """
    if image.metadata is None:
        return
    try:
        yield from _rendered(image, image.metadata)
    except LimitError as error:  # the time limit for all rules together
        yield Observation(error.message, image.placed(error.span) or METADATA)
    for rule in image.rules:
        if rule.null:
            yield Observation(
                f"the entry for '{printable(rule.path)}' is null: the daemons panic when they read it",
                rule.spans["path"],
                advisory="CVE-2026-40195",
                severity="medium",
            )


def _rendered(image: ScannedImage, metadata: Metadata) -> Iterator[Observation]:
    """Render the templates as each host does, and yield findings about panics and slow templates."""
    used = {rule.template for rule in metadata.rules}
    numbers = _numbers_of_rules(image, metadata)
    # The check 'template-file' reports unreadable templates.
    reported = {name for name, file in image.templates.items() if file.error is not None}
    options = RenderOptions(INCUS, limits=image.rendering_limits(LIMITS)).begun()
    ordinary = tuple(with_image_keys(probe, metadata.properties) for probe in PROBES[1:])
    probes = (*_described(image, metadata), PROBES[0], *ordinary)
    differing = {
        name
        for name, file in image.templates.items()
        if any(word in (file.data or b"") for word in _DIFFERING)
    }
    bracketed = {source.data for source in image.sources(sorted(used)) if is_read_differently(source)}
    differing |= {name for name in used & image.templates.keys() if image.templates[name].data in bracketed}
    panicking: set[str] = set()
    # For a container, the daemon catches the panic, so that only the start fails.
    panic_severity = "high" if image.heads.get(DISK) is not None else "medium"
    for host in (INCUS, LXD, INCUS_6_0):
        if host is not INCUS:
            # Incus 6.0 and LXD render only the templates that failed on Incus 7, or can give another result
            # on Incus 6.0 or LXD.
            rules = tuple(rule for rule in metadata.rules if rule.template in differing - reported)
            if not rules:
                break
            metadata = Metadata(properties=metadata.properties, rules=rules)
            options = RenderOptions(host, limits=options.limits)
        compiled, every = Counted(image.templates, options), EveryBranch(image.templates, options)
        every_key = EveryKey(image.templates, options)
        every_key.texts = every.texts
        branches = {every: _IF, every_key: _IF_SET}
        renders = [(compiled, probe) for probe in probes] + [(each, ordinary[0]) for each in branches]
        for templates, probe in renders:
            for rendering in render(metadata, templates, probe, TRIGGERS, options):
                error, rule = rendering.error, rendering.rule
                if isinstance(error, TemplateError):
                    differing.add(rule.template)
                    text = error.pongo2_error or ""
                    if text.startswith("panic: ") and rule.template not in reported | panicking:
                        panicking.add(rule.template)
                        at = image.placed(error.span) or rule.spans.get("template") or rule.spans["path"]
                        message = f"the template makes a daemon panic: {error.message}"
                        if templates in branches:
                            yield Observation(f"{branches[templates]}{message}", at, severity="medium")
                        else:
                            yield Observation(message, at, severity=panic_severity)
                if not isinstance(error, LimitError) or rule.template in reported:
                    continue
                reported.add(rule.template)
                at = image.placed(error.span) or rule.spans.get("template") or rule.spans["path"]
                if templates in branches:
                    message = f"{branches[templates]}{error.message}"
                    hint = "preview the template for an instance that makes the conditions true"
                    if templates is every_key:
                        hint = (
                            "preview the template for an instance that sets the keys which the template reads"
                        )
                    yield Observation(message, at, hint, severity="medium")
                else:
                    yield Observation(error.message, at, error.hint)
    panicking_texts = {image.templates[name].data for name in panicking}
    works = []
    texts = texts_of(image)
    for source in image.sources(sorted(used - reported)):
        dialects = [V6, *[V4] * (source.data in bracketed), *[V61] * (b"ifchanged" in source.data)]
        found, work = _dangers(source, texts, dialects, source.data in panicking_texts)
        yield from found
        works.append((source.data, work))
    yield from _dangers_together(numbers, works)


def _numbers_of_rules(image: ScannedImage, metadata: Metadata) -> Counter[tuple[bytes | None, str]]:
    """Return the number of rules for each pair of a template's text and a trigger."""
    texts = {name: file.data for name, file in image.templates.items()}
    return Counter(
        (texts.get(rule.template), trigger) for rule in metadata.rules for trigger in sorted(set(rule.when))
    )


def _dangers_together(
    numbers: Counter[tuple[bytes | None, str]], works: list[tuple[bytes, int]]
) -> Iterator[Observation]:
    """Report a trigger whose rules together cause too much work, even if each template alone is harmless."""
    for trigger in TRIGGERS:
        # the daemons read each template again for each rule
        total = sum((work + len(text) * _READ) * numbers[text, trigger] for text, work in works)
        if total > MOST_WORK_TOGETHER:
            message = f"all rules with the trigger '{trigger}' together may be too much work for a daemon"
            yield Observation(message, METADATA, "use fewer rules, or fewer loops", severity="medium")
            return


def _dangers(
    source: Source, texts: Texts, dialects: Sequence[Dialect], is_panicking: bool
) -> tuple[list[Observation], int]:
    """Return findings about a template's possible panics and its cost, and an upper bound of the cost.

    The bound ignores each dialect in which the cost causes a finding.
    """
    if b"{" not in source.data:
        return [], 0
    found: dict[Observation, None] = {}
    most = 0
    for dialect in dialects:
        try:
            document = Compilation(source, dialect).parsed()
        except TemplaterError:  # the check 'language' reports the error
            continue
        if not is_panicking:
            panic = possible_panic(document)
            if panic is not None:
                message, token = panic
                found[Observation(message, token.span, severity="medium")] = None
                is_panicking = True
        try:
            work, held, token = bound(document, texts)
        except NoBoundError as error:
            if not found and not is_panicking:  # many parts that panic have no bound, either
                message = f"templater knows no limit for the daemon's work: {error.reason}"
                found[Observation(message, error.token.span, _READ_IT, "medium")] = None
            continue
        if work > MOST_WORK or held > MOST_HELD:
            found[Observation(_TOO_MUCH, token.span, _READ_IT, "medium")] = None
        else:
            most = max(most, work)
    return list(found), most


#: the start of a message about a render that runs every branch
_IF = "if certain conditions are true, "
#: the start of a message about a render for an instance that sets every key
_IF_SET = "if certain keys are set, "


class Counted(Compiled):
    """Compiled templates that also count the operations that take longer in pongo2 than in templater."""

    __slots__ = ()

    def compile_source(self, source: Source) -> Template:
        limits = self.limits or LIMITS
        dialect = DIALECTS[self.options.dialect]
        return Template(CountedCompilation(source, dialect, longest=limits.source), limits)


class EveryBranch(Counted):
    """Compiled templates that run each branch and each loop, and compute each value, at least once."""

    __slots__ = ()

    def compile(self, name: str, data: bytes) -> Callable[[Mapping[str, Any]], str]:
        # If a template has no condition, no loop and no choice between values, an ordinary render already
        # runs all its parts. An empty text is then enough.
        return super().compile(name, data) if any(word in data for word in _WORDS) else lambda context: ""

    def compile_source(self, source: Source) -> Template:
        limits = self.limits or LIMITS
        dialect = DIALECTS[self.options.dialect]
        return Template(EveryBranchCompilation(source, dialect, longest=limits.source), limits)


class EveryKey(EveryBranch):
    """Templates that run every branch, for an instance that has every configuration key and every device."""

    __slots__ = ()

    def compile(self, name: str, data: bytes) -> Callable[[Mapping[str, Any]], str]:
        # A template that contains neither ``config`` nor ``devices`` does not use these keys and devices.
        if not any(word in data for word in _SETTINGS):
            return lambda context: ""
        run = Counted.compile(self, name, data)
        return lambda context: run(with_every_key(context))


#: tags, filters and names whose meaning depends on the release of pongo2
_DIFFERING = (b"ifchanged", b"removetags", b"slice", b"widthratio", b"Super")
#: each template with a condition, a loop or a choice of values contains one of these texts
_WORDS = (b"if", b"or", b"and", b"||", b"&&", b"firstof", b"cycle")
#: the variables that have the keys of an instance
_SETTINGS = (b"config", b"devices")


def _described(image: ScannedImage, metadata: Metadata) -> tuple[Instance, ...]:
    """Return the user's instance in a tuple, or () if the user gave no instance."""
    instance = image.instance
    if instance is None:
        return ()
    # A new instance also gets the keys that a daemon copies from the image.
    return (instance if instance.exists else with_image_keys(instance, metadata.properties),)
