"""A parser of test files. It finds the mistakes in all files before a test runs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import pairwise, product
from math import prod
from typing import Any, TypeVar

from ..model.errors import InputError, LimitError, RefusedError, TemplaterError, UsageError
from ..model.hosts import HOSTS
from ..model.instance import CONTAINER, Instance, Profile
from ..model.source import Source, Span
from ..model.unprintable_characters import printable
from ..parsing.combined_error import raise_all
from ..parsing.instance_description import Document, overridden, read_instance, read_profile
from ..parsing.yaml_nodes import Limits, Mapping, Node, Scalar, Sequence, parse
from ..planning.follow_links import clean
from ..pongo2.golang.regexp import Pattern
from ..pongo2.values import Panic
from ..simulation.parse_steps import parse_step
from .case import Case, CaseStep, Expectation, Expected
from .read_yaml_by_schema import MOST, Reader, entries, schema_of_tests
from .tests_folder import MAX_FILE, SNAPSHOT, SNAPSHOTS, Folder

#: maximum number of cases of all files, with every combination of each matrix
MAX_CASES = 5000
#: maximum number of values in all cases, with every combination of each matrix. Values are YAML nodes, and
#: the config keys and devices of instances and profiles.
MAX_NODES = 2_000_000
#: maximum number of characters of the options of all cases together
MAX_OPTIONS = 16 << 20
#: maximum number of steps of all regular expressions; each expression is compiled once and then kept
MAX_STEPS = 500_000
_LIMITS = Limits(bytes=MAX_FILE)
#: keys whose entries are merged: the entries of ``defaults``, of the test and of the matrix
_MERGED = ("config", "devices", "options", "rootfs", "expect")
_TEXTS = ("contains", "lacks", "matches")
#: expectations that contradict all other expectations about the same file
ALONE = {"absent", "error"}
#: maximum number of characters of one part of a label
_LABEL = 40

Made = TypeVar("Made")

#: for each key of a test, its values in increasing priority
Fields = dict[str, list[Node]]


def read_cases(folder: Folder, chosen: Callable[[Case], bool] = lambda case: True) -> list[Case]:
    """Read every test file of a folder.

    Raises InputError for the first mistake, with its position. The error's notes list the other mistakes.
    Raises LimitError if there are too many cases.
    """
    reader = _FolderReader(folder)
    cases = [case for source in folder.files() for case in reader.cases(source)]
    raise_all(reader.errors)
    return list(filter(chosen, cases))


def read_file(folder: Folder, name: str) -> list[Case]:
    """Read one test file. Raises the same errors as ``read_cases``."""
    reader = _FolderReader(folder)
    cases = list(reader.cases(folder.read(name)))
    raise_all(reader.errors)
    return cases


class _FolderReader:
    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.errors: list[TemplaterError] = []
        self.count = self.nodes = 0
        self.folders: set[str] = set()
        self.sources: dict[str, Source] = {}
        self.profiles: dict[str, Profile | TemplaterError] = {}
        self.patterns: dict[str, Pattern | TemplaterError] = {}
        self.documents: dict[str, Document | TemplaterError] = {}
        self.steps_of_patterns = self.option_characters = 0
        #: values of the current file that many cases share, by their kind and nodes
        self.shared: dict[tuple[object, ...], Any] = {}

    def wrong(self, node: Node, message: str, hint: str = "") -> None:
        self.errors.append(InputError(message, node.span, hint))

    def once(self, kind: str, nodes: Iterable[Node], make: Callable[[], Any]) -> Any:
        """Return the result of ``make``. Call ``make`` only once for all cases with the same YAML nodes."""
        key = kind, *map(id, nodes)  # the nodes of a file exist as long as its cases are read
        if key not in self.shared:
            self.shared[key] = make()
        return self.shared[key]

    # --- files

    def cases(self, source: Source) -> Iterator[Case]:
        """Yield the cases of a file, and record its mistakes."""
        try:
            root = parse(source, "v2", _LIMITS)
        except LimitError:
            raise
        except TemplaterError as error:
            self.errors.append(error)
            return
        if root is None:
            self.errors.append(InputError("the file is empty", source.span(0), "write: tests: […]"))
            return
        reader = Reader(schema_of_tests())
        reader.check(root, reader.root, "the file")
        if reader.errors:
            self.errors += reader.errors
            return
        keys = entries(root)
        defaults = entries(keys["defaults"][1]) if "defaults" in keys else {}
        for name in ("name", "steps", "matrix"):
            if name in defaults:
                self.wrong(defaults[name][0], f"'{name}' is not allowed in 'defaults'")
        names: dict[str, Node] = {}
        tests = keys["tests"][1]
        assert isinstance(tests, Sequence)
        self.shared.clear()
        for test in tests.children:
            yield from self.test(source, {name: value for name, (_, value) in defaults.items()}, test, names)

    def test(
        self, source: Source, defaults: dict[str, Node], test: Node, names: dict[str, Node]
    ) -> Iterator[Case]:
        own = {name: value for name, (_, value) in entries(test).items()}
        key = own["name"]
        slug = slug_of(text(key))
        if not slug:
            self.wrong(key, "the name has no letter or digit")
        elif slug.lower() in names:
            what = "duplicate" if text(names[slug.lower()]) == text(key) else "too similar"
            self.wrong(key, f"{what} name '{printable(text(key))}', see line {names[slug.lower()].line}")
        names.setdefault(slug.lower(), key)
        if "steps" in own:
            for name in ("triggers", "expect", "error"):
                if name in own:
                    self.wrong(own[name], f"'{name}' is not allowed beside 'steps': write it in a step")
            defaults = {name: node for name, node in defaults.items() if name not in ("expect", "error")}
        elif not {"expect", "error", "snapshot", "valid"} & {*own, *defaults}:
            self.wrong(
                test, "the test has no expectation", "add 'expect', 'steps', 'snapshot', 'valid' or 'error'"
            )
        fields: Fields = {}
        for given in (defaults, own):
            for name, node in given.items():
                fields[name] = [*fields.get(name, ()), node] if name in _MERGED else [node]
        folder = f"{SNAPSHOTS}/{os.path.basename(source.name).rpartition('.')[0]}/{slug}"
        self.folders.add(folder)
        for number, (label, combined) in enumerate(self.combinations(fields)):
            if len(self.errors) > MOST:
                return
            case = self.case(source, test, combined, label)
            if case is not None:
                place = f"{folder}-{slug_of(label)}" if label else folder
                if label and place in self.folders:
                    place += f"-{self.count - number}"
                self.folders.add(place)
                yield case(f"{place}{SNAPSHOT}")

    def combinations(self, fields: Fields) -> Iterator[tuple[str, Fields]]:
        """Yield a label and the fields for each combination of the matrix."""
        matrix = fields.pop("matrix", [])
        axes = [
            (name, choices_of(node)) for name, (_, node) in (entries(matrix[0]) if matrix else {}).items()
        ]
        count = prod(len(choices) for _, choices in axes)
        self.count += count
        if self.count > MAX_CASES:
            span = matrix[0].span if matrix else fields["name"][0].span
            what = f"the matrix has {count} combinations" if count > 1 else "too many tests"
            raise LimitError(f"{what}: all files together can have at most {MAX_CASES} cases", span)
        labels = [labels_of(name, choices) for name, choices in axes]
        for numbers in product(*(range(len(choices)) for _, choices in axes)):
            combined = dict(fields)
            for (name, choices), number in zip(axes, numbers, strict=True):
                choice = choices[number]
                combined[name] = [*fields.get(name, ()), choice] if name in _MERGED else [choice]
            yield ", ".join(each[number] for each, number in zip(labels, numbers, strict=True)), combined

    # --- cases

    def case(self, source: Source, test: Node, fields: Fields, label: str) -> Callable[[str], Case] | None:
        """Return a function that makes the case, or None if the case has a mistake.

        The function takes the path of the case's snapshot.
        """
        before = len(self.errors)
        self.count_values(sum(node.size for nodes in fields.values() for node in nodes), test)
        host = HOSTS[text(fields["host"][0])] if "host" in fields else HOSTS["incus"]
        try:
            instance = self.instance(fields, test)
            triggers = tuple(map(text, items(fields["triggers"][0]))) if "triggers" in fields else ()
            options = self.options(fields.get("options", []))
            rootfs = self.once("rootfs", fields.get("rootfs", ()), lambda: self.rootfs(fields))
            expected = self.once_expected(fields)
            steps = self.once_steps(fields)
        except TemplaterError as error:
            if isinstance(error, LimitError):
                raise
            self.errors.append(error if error.span is not None else error.replace(span=test.span))
        if len(self.errors) > before:
            return None
        span = fields["name"][0].span
        name = text(fields["name"][0])
        return lambda folder: Case(
            source.name, name, label, span, instance, host, triggers, options, rootfs, expected, steps, folder
        )

    def count_values(self, values: int, test: Node) -> None:
        """Add the number of values in one case to the total of all cases.

        Raises LimitError if the total is too high.
        """
        self.nodes += values
        if self.nodes > MAX_NODES:
            raise LimitError(f"the test cases set more than {MAX_NODES} values in total", test.span)

    def options(self, nodes: list[Node]) -> tuple[str, ...]:
        found = tuple(f"{name}={value}" for name, value in texts_of(nodes).items())
        self.option_characters += sum(map(len, found))
        if self.option_characters > MAX_OPTIONS:
            raise LimitError(f"the options of all cases together have more than {MAX_OPTIONS} characters")
        return found

    def instance(self, fields: Fields, test: Node) -> Instance:
        config, devices = texts_of(fields.get("config", [])), devices_of(fields.get("devices", []))
        nodes = items(fields["profiles"][0]) if "profiles" in fields else []
        profiles = tuple(self.profile(node) for node in nodes)
        node = fields["instance"][0] if "instance" in fields else None
        made = Instance(profiles=profiles)
        at = test if node is None else node
        try:
            if isinstance(node, Scalar):
                made = self.described(node.text, profiles)
            elif node is not None:
                made = inline_instance(node, profiles)
            layers: tuple[Instance | Profile, ...] = (made, *made.profiles)
            self.count_values(sum(len(layer.config) + len(layer.devices) for layer in layers), test)
            return overridden(made, config=config, devices=devices)
        except TemplaterError as error:
            raise error if error.span is not None else error.replace(span=at.span) from None

    def described(self, name: str, profiles: tuple[Profile, ...]) -> Instance:
        """Read an instance description below the folder of tests. Each file is parsed once."""
        file, _, pick = name.partition("#")
        document = kept(self.documents, file, lambda: Document.read(self.source(file)))
        return read_instance(document, pick, profiles=profiles)

    def source(self, name: str) -> Source:
        if name not in self.sources:
            self.sources[name] = self.folder.read(name)
        return self.sources[name]

    def profile(self, node: Node) -> Profile:
        if isinstance(node, Scalar):
            try:
                return kept(self.profiles, node.text, lambda: read_profile(self.source(node.text)))
            except TemplaterError as error:
                raise error if error.span is not None else error.replace(span=node.span) from None
        made: Profile = self.once("profile", (node,), lambda: inline_profile(node))
        return made

    def rootfs(self, fields: Fields) -> str | dict[str, str]:
        nodes = fields.get("rootfs", [])
        if not nodes or isinstance(nodes[-1], Scalar):
            return text(nodes[-1]) if nodes else "image"
        files: dict[str, str] = {}
        for node in nodes:
            for path, (key, value) in entries(node).items():
                try:
                    files[self.once("path", (key,), partial(clean, path))] = text(value)
                except RefusedError as error:
                    raise error.replace(span=key.span) from None
        # Sort with a trailing slash, so that the paths below "a" come directly after "a".
        # Without the slash, "a-b" comes between "a" and "a/b".
        ordered = sorted(f"{path}/" for path in files)
        above = next((one[:-1] for one, other in pairwise(ordered) if other.startswith(one)), None)
        if above is not None:
            raise InputError(f"'{printable(above)}' can't be both a file and a directory", nodes[-1].span)
        return files

    def once_steps(self, fields: Fields) -> tuple[CaseStep, ...]:
        nodes = (node for name in ("steps", "snapshot", "valid") for node in fields.get(name, ()))
        found: tuple[CaseStep, ...] = self.once("steps", nodes, lambda: tuple(self.steps(fields)))
        return found

    def steps(self, fields: Fields) -> Iterator[CaseStep]:
        for node in items(fields["steps"][0]) if "steps" in fields else ():
            own = (
                {"step": node} if isinstance(node, Scalar) else {n: v for n, (_, v) in entries(node).items()}
            )
            outer = {name: nodes for name, nodes in fields.items() if name in ("snapshot", "valid")}
            expected = self.expected(outer | {name: [value] for name, value in own.items()})
            try:
                step = parse_step(text(own["step"]), lambda file: self.source(file).text)
            except UsageError as error:
                raise error.replace(span=own["step"].span) from None
            yield CaseStep(step, expected, own["step"].span)

    # --- expectations

    def once_expected(self, fields: Fields) -> Expected:
        names = "expect", "error", "snapshot", "valid"
        nodes = (node for name in names for node in fields.get(name, ()))
        found: Expected = self.once("expected", nodes, lambda: self.expected(fields))
        return found

    def expected(self, fields: Fields) -> Expected:
        found: dict[tuple[str, str], Expectation] = {}
        kinds_of: dict[str, dict[str, None]] = {}
        for node in fields.get("expect", []):
            for path, (key, value) in entries(node).items():
                target = self.once("target", (key,), partial(cleaned, path))
                kinds, earlier = entries(value), kinds_of.setdefault(target, {})
                self.check_target(key, kinds)
                if ALONE & {*earlier, *kinds}:  # the keys of a later part replace contradicting keys
                    for kind in earlier:
                        del found[target, kind]
                    earlier.clear()
                for kind, (_, wanted) in kinds.items():
                    found[target, kind] = self.expectation(target, kind, wanted)
                    earlier[kind] = None
        error = fields["error"][0] if "error" in fields else None
        return Expected(
            tuple(found.values()),
            None if error is None else self.expectation("", "error", error),
            fields["snapshot"][0].span if "snapshot" in fields else None,
            fields["valid"][0].span if "valid" in fields else None,
        )

    def check_target(self, key: Node, kinds: dict[str, tuple[Node, Node]]) -> None:
        for alone in sorted(ALONE):
            other = next((kind for kind in kinds if kind != alone), None)
            if alone in kinds and other is not None:
                self.wrong(kinds[alone][0], f"'{alone}' contradicts '{other}'")
        if not text(key).startswith("/"):
            self.wrong(key, f"'{printable(text(key))}' is not a path", "begin the path with '/'")

    def expectation(self, target: str, kind: str, node: Node) -> Expectation:
        value: Any
        if kind in _TEXTS:
            value = tuple(text(each) for each in items(node))
        elif kind == "mode":
            value = int(text(node), 8)
        elif kind == "owner":
            value = tuple(map(int, text(node).split(":")))
        elif kind == "error":
            value = "" if text(node) == "true" and isinstance(node, Scalar) and node.plain else text(node)
        else:
            value = text(node) if kind == "equals" else True
        if kind == "matches":
            value = tuple(self.pattern(each) for each in items(node))
        return Expectation(target, kind, value, node.span)

    def pattern(self, node: Node) -> Pattern:
        try:
            return kept(self.patterns, text(node), lambda: self.compiled(text(node)))
        except TemplaterError as error:
            raise error.replace(span=node.span) from None

    def compiled(self, written: str) -> Pattern:
        try:
            pattern = Pattern(written)
        except Panic as panic:
            words = panic.message.partition("error parsing regexp: ")[2] or panic.message
            raise InputError(f"invalid regular expression: {printable(words)}") from None
        self.steps_of_patterns += pattern.size
        if self.steps_of_patterns > MAX_STEPS:
            raise LimitError(f"all regular expressions together need more than {MAX_STEPS} steps")
        return pattern


def kept(made: dict[str, Made | TemplaterError], name: str, make: Callable[[], Made]) -> Made:
    """Return ``made[name]``, or raise the error that is stored there.

    If nothing is stored, call ``make`` first, and store its result or error.
    """
    if name not in made:
        try:
            made[name] = make()
        except TemplaterError as error:
            made[name] = error
    found = made[name]
    if isinstance(found, TemplaterError):
        raise found.replace()
    return found


def cleaned(path: str) -> str:
    """Return a target's path in its cleaned form, for comparisons.

    Return an invalid path unchanged, because a rule with that path fails anyway.
    """
    try:
        return clean(path)
    except RefusedError:
        return path


def inline_instance(node: Node, profiles: tuple[Profile, ...]) -> Instance:
    found = {name: value for name, (_, value) in entries(node).items()}

    def word(name: str, default: str) -> str:
        return text(found[name]) if name in found else default

    return Instance(
        word("name", "c1"), word("type", CONTAINER), word("architecture", "x86_64"),
        word("ephemeral", "false") == "true",
        texts_of([found["config"]] if "config" in found else []),
        devices_of([found["devices"]] if "devices" in found else []), profiles,
    )  # fmt: skip


def inline_profile(node: Node) -> Profile:
    found = {name: value for name, (_, value) in entries(node).items()}
    return Profile(
        text(found["name"]),
        texts_of([found["config"]] if "config" in found else []),
        devices_of([found["devices"]] if "devices" in found else []),
    )


def choices_of(node: Node) -> list[Node]:
    """Return the values of an axis of a matrix. ``host: all`` selects every host."""
    if isinstance(node, Sequence):
        return node.children
    return [scalar(node.span, name) for name in HOSTS if HOSTS[name].family]


def scalar(span: Span, text: str) -> Scalar:
    return Scalar(span, text, True, "")


def labels_of(axis: str, choices: list[Node]) -> list[str]:
    """Return a label for each value of an axis. All labels differ."""
    words = [f"{axis}={summary(axis, node)[:_LABEL]}" for node in choices]
    if len({slug_of(each).lower() for each in words}) < len(words):
        words = [f"{each} #{number}" for number, each in enumerate(words, 1)]
    return words


def summary(axis: str, node: Node) -> str:
    if isinstance(node, Scalar):
        if axis != "instance":
            return node.text
        file, _, pick = node.text.rpartition("/")[2].partition("#")
        return pick or file.partition(".")[0]
    if isinstance(node, Sequence):
        return ",".join(summary(axis, child) for child in node.children[:10])
    found = entries(node)
    if axis in ("instance", "profiles") and "name" in found:
        return text(found["name"][1])
    return " ".join(f"{name}={summary('', value)}" for name, (_, value) in list(found.items())[:10]) or "{}"


def slug_of(name: str) -> str:
    """Return a file name for the name of a test."""
    return re.sub(r"[^A-Za-z0-9._=-]+", "-", name).strip("-.")[:100]


def text(node: Node) -> str:
    assert isinstance(node, Scalar)
    return node.text


def items(node: Node) -> list[Node]:
    return node.children if isinstance(node, Sequence) else [node]


def texts_of(nodes: Iterable[Node]) -> dict[str, str]:
    """Return the entries of several mappings, with each value as text. Later mappings have priority."""
    return {name: text(value) for node in nodes for name, (_, value) in entries(node).items()}


def devices_of(nodes: Iterable[Node]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for node in nodes:
        for name, (_, value) in entries(node).items():
            assert isinstance(value, Mapping)
            found[name] = {**found.get(name, {}), **texts_of([value])}
    return found
