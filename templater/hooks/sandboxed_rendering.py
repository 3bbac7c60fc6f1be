"""Rendering of an image's templates in a sandboxed child process.

With cache entries, the child loads no parser and no compiler. If a run with cache entries fails, a second
child renders from the sources to find the exact position of the error.
"""

import marshal
import sys
from time import thread_time

from ..model import errors
from ..model.errors import LimitError, RefusedError, TemplaterError
from ..model.file_names import TEMPLATES
from ..model.instance import Instance, Profile
from ..model.metadata import Metadata, Rule
from ..model.pending_trigger import PENDING_KEY, passes
from ..model.render_options import SECONDS, TOTAL, RenderOptions
from ..model.source import Source, Span
from ..model.unprintable_characters import printable
from ..oslite import os
from .compile_cache import CacheEntry, is_language_module, key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import CodeType
    from typing import Any

    from ..limit_option import Given
    from ..model.entry import TemplateFile
    from ..model.hosts import Host
    from ..pongo2.render_state import Limits
    from ..rendering.render import Rendering
    from ..sandbox.child import Bounds, Child, Record, Send
    from .compile_cache import CompileCache

#: a trigger that matches no rule: the child then compiles templates, but renders none
COMPILE = ""

IMAGE = "image"
INSTANCE = "instance"

#: the modules that parse and compile, including those that are only imported when a function is called.
#: The child imports these modules before it is locked, because a locked child cannot open files.
COLD = (
    "parsing.metadata_yaml",
    "parsing.pure_yaml",
    "parsing.instance_description",
    "rendering.render",
    "rendering.instance_context",
    "pongo2.compiled_template",
    "pongo2.execution",
    "pongo2.daemon_context",
)
WARM = ("rendering.render", "rendering.instance_context", "pongo2.execution", "pongo2.daemon_context")


def children_seconds() -> float:
    """Return the processor time of this process's children that have ended."""
    return sum(os.times()[2:4])


class Job:
    """The input of a rendering: the sources as bytes, and the runtime's settings for the instance.

    * ``triggers``: if empty, the configuration has the pending trigger
    * ``total``: limit in processor seconds for all work on the templates after the object's creation
    """

    __slots__ = (
        "before", "clock", "config", "deadline", "dialect", "host", "instance", "keep", "kept", "keys",
        "limits", "metadata", "name", "seed", "sources", "templates", "total", "triggers",
    )  # fmt: skip

    def __init__(
        self,
        metadata: Source,
        templates: "Mapping[str, TemplateFile]",
        instance: "Source | None",
        triggers: "tuple[str, ...]",
        host: "Host",
        *,
        name: str = "",
        config: "Mapping[str, str] | None" = None,
        dialect: str = "",
        clock: "Any" = None,
        seed: "Any" = None,
        limits: "Given | None" = None,
    ) -> None:
        self.metadata = metadata
        self.templates = templates
        self.instance = instance
        self.triggers = triggers
        self.host = host
        self.name = name
        self.config: Mapping[str, str] = {} if config is None else config
        self.dialect = dialect or host.dialect
        self.clock = clock
        self.seed = seed
        self.limits = limits
        self.total = TOTAL if limits is None else limits.rendering.get("total", TOTAL)
        self.deadline = thread_time() + self.total
        self.before = children_seconds()
        self.sources: dict[str, Source] = {}
        #: whether the child returns cache entries
        self.keep = False
        self.kept: dict[str, CacheEntry] = {}
        #: the configuration keys that each compiled template reads
        self.keys: dict[str, tuple[str, ...]] = {}

    def left(self) -> float:
        """Return the processor seconds that this thread and its child processes may still use."""
        return self.deadline - thread_time() - (children_seconds() - self.before)

    def source(self, name: str) -> "Source | None":
        """Return the text of metadata.yaml or of a template, to show the source line of an error."""
        # Never return the instance's description, because a log must not quote it.
        if name == self.metadata.name:
            return self.metadata
        file = self.templates.get(name.removeprefix(f"{TEMPLATES}/"))
        if file is None or file.data is None:
            return None
        if name not in self.sources:  # errors share one Source: each Source keeps a copy of the text
            self.sources[name] = Source(name, file.data)
        return self.sources[name]


class Answer:
    """The child's answer: the rules to run, one rendering for each rule, and entries for the cache."""

    __slots__ = ("instance", "kept", "keys", "metadata", "renderings", "triggers")

    def __init__(self, metadata: Metadata, instance: Instance) -> None:
        self.triggers: tuple[str, ...] = ()
        self.metadata = metadata
        self.instance = instance
        self.renderings: list[Rendering] = []
        self.kept: dict[str, CacheEntry] = {}
        #: the configuration keys that each template reads
        self.keys: dict[str, tuple[str, ...]] = {}

    @property
    def failed(self) -> bool:
        return any(rendering.error is not None for rendering in self.renderings)


# --- in the parent ------------------------------------------------------------------------------


def cache_keys(job: Job, *, in_child: bool) -> "dict[str, str]":
    """Return the cache keys of a job.

    ``in_child`` tells whether a child process renders the job.
    """
    # Only a child may run code that a child has compiled.
    kind = b"child" if in_child else b"here"
    parts = [kind, job.dialect.encode(), job.host.yaml.encode(), job.metadata.data]
    for name, file in sorted(job.templates.items()):
        parts += (name.encode("utf-8", "surrogateescape"), b"" if file.data is None else b"=" + file.data)
    found = {IMAGE: key(parts)}
    if job.instance is not None:
        # an instance without a name is named after its file, unless the runtime gives a name
        stem = "" if job.name else job.instance.name
        # in a shared cache, the child of one image must not supply an entry for another image
        image = found[IMAGE].encode()
        found[INSTANCE] = key((kind, image, stem.encode("utf-8", "surrogateescape"), job.instance.data))
    return found


class Run:
    """A rendering in progress: the caller can do other work before it calls ``finish``."""

    __slots__ = ("bounds", "cache_keys", "child", "job", "store")

    def __init__(
        self, job: Job, store: "CompileCache | None", bounds: "Bounds | None", *, in_child: bool
    ) -> None:
        self.job = job
        self.store = store
        self.bounds = bounds
        self.cache_keys: dict[str, str] = {}
        self.child: Child | None = None
        job.keep = store is not None
        if store is not None:
            self.cache_keys = cache_keys(job, in_child=in_child)
            for name, its_key in self.cache_keys.items():
                kept = store.load(name, its_key)
                if kept is not None:
                    job.kept[name] = kept
        if in_child:
            self.child = self.fork()

    @property
    def warm(self) -> bool:
        return IMAGE in self.job.kept and (INSTANCE in self.job.kept or self.job.instance is None)

    def fork(self) -> "Child":
        """Start a child process that may use the remaining processor time."""
        from ..sandbox.child import Bounds, start

        job, bounds = self.job, self.bounds
        left = max(job.left(), 0.0)
        if bounds is not None:
            bounds = Bounds(min(bounds.cpu, int(left) + 1), bounds.wall, bounds.memory, bounds.output)

        def work(send: "Send") -> None:
            # A new process starts with zero processor time, so the child's limit is the remaining time.
            job.deadline = left
            render(job, send)

        return start(lambda: prepare(job), work, bounds)

    def finish(self) -> Answer:
        """Wait for the answer and return it.

        Raises:
            TemplaterError: the description or metadata.yaml is invalid, or a limit was reached.
            ChildFailure: the child ended without an answer.
        """
        answer = self.finish_warm() if self.warm else None
        if answer is None:
            answer = self.finish_cold()
        return answer

    def finish_warm(self) -> "Answer | None":
        """Return the answer of a run that used cache entries. Raises LimitError if the run reached a limit.

        If the run failed for another reason, start a run from the sources and return None.
        """
        try:
            answer = self.collect()
        except LimitError:
            raise
        except TemplaterError:
            answer = None
        if answer is not None and not answer.failed:
            return answer
        self.restart()
        return None

    def restart(self) -> None:
        self.job.kept.clear()
        if self.child is not None:
            self.child.close()
            self.child = self.fork()

    def recompile(self) -> Answer:
        """Render from the sources, without the cache."""
        self.restart()
        return self.finish_cold()

    def finish_cold(self) -> Answer:
        answer = self.collect()
        if self.store is not None:
            for name, kept in answer.kept.items():
                if name in self.cache_keys:
                    self.store.save(name, self.cache_keys[name], kept)
        return answer

    def collect(self) -> Answer:
        if self.child is not None:
            return read_answer(self.job, self.child.answer())
        records: list[Record] = []
        try:  # without a child no sandbox is active, so ``render`` may import modules
            render(self.job, lambda fields: records.append(list(fields)))
        except Exception as error:
            if isinstance(error, TemplaterError) or not self.warm:
                raise
            from ..sandbox.child import ChildFailure

            raise ChildFailure("the cached code does not run") from None
        return read_answer(self.job, records)

    def close(self) -> None:
        if self.child is not None:
            self.child.close()
        if self.store is not None:
            self.store.close()


# --- in the child -------------------------------------------------------------------------------


def prepare(job: Job) -> None:
    """Import the modules that the job needs, while files can still be opened."""
    names = list(COLD)
    if IMAGE in job.kept:
        modules = job.kept[IMAGE].modules
        names = [*WARM, *(name.removeprefix("templater.") for name in modules if is_language_module(name))]
    if job.instance is not None and INSTANCE not in job.kept and names[: len(WARM)] == list(WARM):
        names += ["parsing.instance_description", "parsing.pure_yaml"]
    for name in names:
        __import__(f"templater.{name}")
    if names[0] == COLD[0]:
        _import_all("pongo2")
        from ..pongo2 import compile as compile_template
        from ..pongo2.dialect import DIALECTS
        from ..pongo2.filters_and_tags import library_for

        library_for(DIALECTS[job.dialect]).load()
        compile_template("{{ a }}")  # make Jinja2 import any module that it loads on first use
    if "parsing.instance_description" in names:
        # Parsing needs these modules only for unprintable texts, misspelt keys ("did you mean") and JSON.
        __import__("encodings.unicode_escape")
        __import__("difflib")
        # A lazily imported module runs when an attribute of it is read, so import an attribute.
        from json import loads  # noqa: F401

        from ..parsing.pure_yaml import PureParser  # noqa: F401
    _load_timezone()


def _import_all(package: str) -> None:
    """Import every module of a package.

    Some functions import a module only when they run, but the child can't open files at that time.
    """
    from pkgutil import walk_packages

    parent = sys.modules[f"templater.{package}"]
    for found in walk_packages(parent.__path__, f"{parent.__name__}."):
        if not found.name.endswith("__main__"):
            __import__(found.name)


def _load_timezone() -> None:
    """Load the time zone for templates that use the time. Later, the child can't open /etc/localtime."""
    from time import localtime

    localtime()


def render(job: Job, send: "Send") -> None:
    """Parse, render, and send the result or the error."""
    try:
        instance = _instance(job, send)
        metadata, codes = _image(job, send)
        if not job.triggers:
            job.triggers = passes(instance.expanded_config().get(PENDING_KEY, ""))
        renderings = _renderings(job, metadata, instance, codes)
        keys = _encoded_keys(job, renderings)
    except TemplaterError as error:
        send((b"error", *error_fields(error)))
        return
    send((b"instance", _bytes(instance.name), _bytes(instance.type), *map(_bytes, job.triggers)))
    send((b"keys", keys))
    indices: dict[int, bytes] = {}
    for rendering in renderings:
        number = indices.get(id(rendering.rule))
        if number is None:
            number = indices[id(rendering.rule)] = b"%d" % len(indices)
            send((b"rule", *_rule_fields(rendering.rule)))
        trigger = _bytes(rendering.trigger)
        if rendering.error is not None:
            from ..rendering.render import without_values

            send((b"fail", number, trigger, *error_fields(without_values(rendering.error))))
        else:
            send((b"text", number, trigger, rendering.content or b""))


def _without_description(error: TemplaterError) -> TemplaterError:
    """Replace the message of an error about an instance's description.

    The message may quote a password from the description.
    """
    place = "" if error.span is None else f"{error.span.place}: "
    return type(error)(
        f"{place}the description of the instance is invalid", hint="templater preview -i FILE shows why"
    )


def _limits(job: Job) -> "Limits":
    if job.limits is not None:
        limits = job.limits.for_rendering(SECONDS, TOTAL)
    else:
        from ..pongo2.render_state import Limits

        limits = Limits(seconds=SECONDS, total=TOTAL)
    limits.deadline = job.deadline
    return limits


def _renderings(
    job: Job, metadata: Metadata, instance: Instance, codes: "Mapping[str, CodeType] | None"
) -> "list[Rendering]":
    from ..rendering.render import render as render_rules

    def run(codes: "Mapping[str, CodeType] | None") -> "list[Rendering]":
        options = RenderOptions(job.host, job.dialect, job.clock, job.seed, _limits(job))
        return render_rules(metadata, job.templates, instance, job.triggers, options, codes=codes)

    renderings = run(codes)
    if IMAGE not in job.kept and codes and any(rendering.error is not None for rendering in renderings):
        return run(None)  # errors in the source text have positions, unlike errors in cached code
    return renderings


def _image(job: Job, send: "Send") -> "tuple[Metadata, dict[str, CodeType] | None]":
    kept = job.kept.get(IMAGE)
    if kept is not None:
        metadata, codes, job.keys = _loaded_image(kept)
        return metadata, codes
    from ..parsing.metadata_yaml import read_metadata

    reading = None if job.limits is None else job.limits.for_reading()
    metadata = read_metadata(job.metadata, job.host.yaml, reading)
    if not job.keep:
        return metadata, None  # without a cache, only the templates of due rules are compiled
    codes, modules, complete = _compiled(job, metadata)
    if complete:
        payload = marshal.dumps(
            (
                metadata.architecture,
                dict(metadata.properties),
                [_rule_values(r) for r in metadata.rules],
                codes,
                job.keys,
            )
        )
        send((b"keep", IMAGE.encode(), " ".join(sorted(modules)).encode(), payload))
    return metadata, codes


def _loaded_image(kept: CacheEntry) -> "tuple[Metadata, dict[str, CodeType], dict[str, tuple[str, ...]]]":
    architecture, properties, rules, codes, keys = marshal.loads(kept.payload)  # noqa: S302 - a sandboxed child wrote the data
    return Metadata(architecture, 0, 0, properties, tuple(Rule(*values) for values in rules)), codes, keys


def _encoded_keys(job: Job, renderings: "list[Rendering]") -> bytes:
    """Return the names of the templates to render, and the keys that they read.

    NUL ends each name and key.
    """
    parts = []
    limits = _limits(job)
    parsed: dict[bytes, tuple[str, ...]] = {}
    for name in {rendering.rule.template for rendering in renderings if rendering.error is None}:
        keys = job.keys.get(name)
        if keys is None:  # without a cache, nothing has parsed the template for its keys
            from ..pongo2.dialect import DIALECTS
            from ..pongo2.names_read import config_keys

            data = job.templates[name].data or b""
            if data not in parsed:
                if limits.is_over:
                    raise limits.late()
                parsed[data] = config_keys(data, DIALECTS[job.dialect])
            keys = parsed[data]
        parts += [name, "\n".join(keys)]
    return _bytes("\0".join(parts))


def _compiled(job: Job, metadata: Metadata) -> "tuple[dict[str, CodeType], set[str], bool]":
    """Compile the templates. Return three values:

    * a dict from template names to code
    * the modules that the code imports
    * whether every template compiled
    """
    from ..pongo2 import compile as compile_template
    from ..pongo2.dialect import DIALECTS
    from ..pongo2.names_read import config_keys
    from ..rendering.render import template_bytes

    limits = _limits(job)
    codes: dict[str, CodeType] = {}
    modules: set[str] = set()
    complete = True
    # Templates with the same content are compiled only once.
    done: dict[bytes, tuple[CodeType, tuple[str, ...]] | None] = {}
    for name in {rule.template for rule in metadata.rules}:
        if limits.is_over:
            raise limits.late()
        try:
            data = template_bytes(name, job.templates)
            if data not in done:
                done[data] = None
                source = Source(f"templates/{name}", data)
                template = compile_template(source, DIALECTS[job.dialect], mode="incus", limits=limits)
                modules.update(template.modules)
                done[data] = template.code, config_keys(source, DIALECTS[job.dialect])
        except TemplaterError:
            complete = False
            continue
        found = done[data]
        if found is None:
            complete = False
        else:
            codes[name], job.keys[name] = found
    return codes, modules, complete


def _instance(job: Job, send: "Send") -> Instance:
    instance = _described(job, send)
    if job.name:
        instance.name = job.name
    if job.config:
        instance.config = {**instance.config, **job.config}
    return instance


def _described(job: Job, send: "Send") -> Instance:
    if job.instance is None:
        return Instance()
    kept = job.kept.get(INSTANCE)
    if kept is not None:
        *values, layers = marshal.loads(kept.payload)  # noqa: S302 - a sandboxed child wrote the data
        name, type, architecture, ephemeral, config, devices = values
        profiles = tuple(Profile(*layer) for layer in layers)
        return Instance(name, type, architecture, ephemeral, config, devices, profiles)
    from ..parsing.instance_description import read_instance

    try:
        instance = read_instance(job.instance, name=job.name or None)
    except (LimitError, RefusedError):  # RefusedError quotes only the instance's name
        raise
    except TemplaterError as error:
        raise _without_description(error) from None
    if not job.keep:
        return instance
    payload = marshal.dumps(
        (
            instance.name, instance.type, instance.architecture, instance.ephemeral,
            *_layer(instance), [(profile.name, *_layer(profile)) for profile in instance.profiles],
        )
    )  # fmt: skip
    send((b"keep", INSTANCE.encode(), b"", payload))
    return instance


def _layer(layer: "Instance | Profile") -> "tuple[dict[str, str], dict[str, dict[str, str]]]":
    return _plain(layer.config), {name: _plain(device) for name, device in layer.devices.items()}


def _plain(mapping: "Mapping[str, str]") -> "dict[str, str]":
    return {str(k): str(v) for k, v in mapping.items()}


# --- records --------------------------------------------------------------------------------------

_RULE = ("path", "template", "when", "create_only", "properties", "uid", "gid", "mode", "null")
_TEXTS = ("path", "template", "uid", "gid", "mode")
#: the fields whose positions are sent, because errors show them; a record cannot hold all positions of a rule
_PLACES = ("path", "entry", "template", "uid", "gid", "mode", "create_only", "when")


def _rule_values(rule: Rule) -> "tuple[Any, ...]":
    return tuple(dict(rule.properties) if name == "properties" else getattr(rule, name) for name in _RULE)


def _rule_fields(rule: Rule) -> "Iterable[bytes]":
    for name in _TEXTS:
        yield _bytes(getattr(rule, name))
    yield b"%d%d" % (rule.create_only, rule.null)
    for name in _PLACES:
        span = rule.spans.get(name)
        if span is not None:
            yield b"%s %d %d" % (name.encode(), span.start, span.end)


def _rule_read(fields: "list[bytes]", source: Source) -> Rule:
    path, template, uid, gid, mode = (_text(field) for field in fields[:5])
    spans = {}
    for field in fields[6:]:
        name, start, end = field.split()
        spans[name.decode("ascii")] = _span(source, start, end)
    only, null = fields[5] in (b"10", b"11"), fields[5] in (b"01", b"11")
    return Rule(path, template, (), only, None, uid, gid, mode, null, spans)


def error_fields(error: TemplaterError) -> "list[bytes]":
    """Return an error as fields of a record: class, message, hint, position, notes."""
    span = error.span
    place = [] if span is None else [_bytes(span.source.name), b"%d" % span.start, b"%d" % span.end]
    return [
        type(error).__name__.encode(),
        _bytes(error.message),
        _bytes(error.hint),
        b"%d" % len(place),
        *place,
        *[_bytes(note) for note in error.notes[:40]],
    ]


def error_read(fields: "list[bytes]", source_of: "Callable[[str], Source | None]") -> TemplaterError:
    name, message, hint, places = fields[:4]
    kind = getattr(errors, name.decode("ascii", "replace"), None)
    if not (isinstance(kind, type) and issubclass(kind, TemplaterError)):
        kind = TemplaterError
    span, notes = None, [_text(note) for note in fields[4:]]
    if places == b"3":
        source = source_of(notes[0])
        span = None if source is None else _span(source, fields[5], fields[6])
        notes = notes[3:]
    # escape control characters: a compromised child can send any text, and a terminal may show it
    return kind(printable(_text(message)), span, printable(_text(hint)), tuple(map(printable, notes)))


def read_answer(job: Job, records: "list[Record]") -> Answer:
    """Decode the child's records. Raises ChildFailure if their format is invalid."""
    try:
        return _answer(job, records)
    except (ValueError, IndexError, KeyError, UnicodeError) as error:
        from ..sandbox.child import ChildFailure

        hint = "please report this"
        raise ChildFailure("the sandboxed process sent an invalid answer", hint=hint) from error


def _answer(job: Job, records: "list[Record]") -> Answer:
    from ..rendering.render import Rendering

    rules: list[Rule] = []
    answer = Answer(Metadata(source=job.metadata), Instance())
    answer.instance.name = job.name
    for word, *fields in records:
        if word == b"text":
            number, trigger, content = fields
            answer.renderings.append(Rendering(rules[int(number)], _text(trigger), content))
        elif word == b"rule":
            rules.append(_rule_read(fields, job.metadata))
        elif word == b"fail":
            error = error_read(fields[2:], job.source)
            answer.renderings.append(Rendering(rules[int(fields[0])], _text(fields[1]), error=error))
        elif word == b"instance":
            answer.instance = Instance(_text(fields[0]), _text(fields[1]))
            answer.triggers = tuple(_text(field) for field in fields[2:])
        elif word == b"keys":
            names = _text(fields[0]).split("\0")
            keys = (tuple(text.split("\n")) if text else () for text in names[1::2])
            answer.keys = dict(zip(names[::2], keys))  # noqa: B905 - the child is not trusted
        elif word == b"keep":
            name, modules, payload = fields
            answer.kept[{b"image": IMAGE, b"instance": INSTANCE}[name]] = CacheEntry(
                tuple(m for m in modules.decode("ascii").split() if is_language_module(m)), payload
            )
        elif word == b"error":
            raise error_read(fields, job.source)
        else:
            raise ValueError(word)
    answer.metadata.rules = tuple(rules)
    return answer


def _span(source: Source, start: bytes, end: bytes) -> Span:
    last = len(source.text)
    first = min(int(start), last)
    return Span(source, first, min(max(int(end), first), last))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
