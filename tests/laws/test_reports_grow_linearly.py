"""Tests that the time of reports grows in proportion to the size of the files and templates in them."""

import pytest

from templater.checks.host_differences import DifferenceCauses
from templater.checks.run_checks import audit
from templater.checks.unknown_names_by_template import mistakes
from templater.model.hosts import INCUS
from templater.model.instance import Instance, Profile
from templater.model.metadata import Metadata, Rule
from templater.model.plan import WRITE, Change, Outcome, Plan, Prediction
from templater.model.render_options import RenderOptions
from templater.model.source import Source
from templater.pongo2.tracing.instrumented_template import Traced
from templater.pongo2.tracing.recorder import VALUE, Piece, Site
from templater.rendering.origins import Explainer, Layers, Line, Origin, Origins, Part, lines_of
from templater.rendering.render import render
from templater.rendering.unknown_names import called_with, parsed_reads, unknown_names
from templater.reporting.explanation import line_rows
from templater.reporting.file_tree import tree, tree_text
from templater.web.redaction import Redaction
from tests.checks.authoring.authoring_builders import file, image
from tests.laws.growth import Subject, check

NAME, TRIGGER = Origin("instance.name", "daemon"), Origin("trigger", "daemon")


def value(text: str, origin: Origin) -> Part:
    return Part(text, 1, 1, "value", (origin,), ())


def rows_of(*lines: "tuple[Part, ...]") -> Subject:
    """Return a subject that explains a text of n lines. The text repeats ``lines``."""

    def subject(n):
        every = [Line(number + 1, 1, lines[number % len(lines)]) for number in range(n)]
        return lambda: list(line_rows(every))

    return subject


def values_above_empty_lines(n):
    lines = [Line(1, 1, (value("c1", NAME), value("create", TRIGGER)) * n)]
    lines += [Line(number, 1, ()) for number in range(2, 2 * n)]
    return lambda: list(line_rows(lines))


@pytest.mark.slow
@pytest.mark.parametrize(
    "subject",
    [
        values_above_empty_lines,
        rows_of((value("c1", NAME),)),
        rows_of((value("c1", NAME), value("create", TRIGGER))),
        rows_of((value("c1", NAME),), ()),
        rows_of((value("c1", NAME),), (value("create", TRIGGER),)),
    ],
)
def test_explaining_a_file_takes_linear_time(subject):
    check(subject, start=500, largest=32_000)


READS = ["config.get", 'config.get("user.a")', "config.user.a", "instance.nmae", "nmae"]


@pytest.mark.slow
@pytest.mark.parametrize("read", READS)
def test_finding_unknown_names_takes_linear_time(read):
    def warnings(n):
        reads = parsed_reads(Source("t", f"{{{{ {read} }}}}" * n + "x" * 1000 * n), "v6")
        return lambda: unknown_names(reads, "v6")

    def findings(n):
        made = file("/etc/a", f"{{{{ {read} }}}}" * n + "x" * 1000 * n)
        assert made.parsed
        return lambda: [called_with(span) for found in mistakes(made) for span in found.spans]

    check(warnings, largest=2000)
    check(findings, largest=2000)


@pytest.mark.slow
@pytest.mark.parametrize("character", ["x", "\u0a0a"])
@pytest.mark.parametrize("newline", ["", "\n"])
def test_excerpts_at_many_positions_take_linear_time(character, newline):
    def places(n):
        source = Source("t", (character * 199 + (newline or character)) * n)
        return lambda: [
            (span.place, span.excerpt()) for span in map(source.span, range(0, len(source.text), 200))
        ]

    check(places, start=500, largest=16_000)


@pytest.mark.slow
@pytest.mark.parametrize("character", ["x", "\u0a0a"])
def test_finding_origins_of_rendered_lines_takes_linear_time(character):
    def lines(n):
        source = Source("t", character * 200 * n)
        pieces = [Piece("a", Site(len(source.text) - 1, VALUE), (), ())] * n
        return lambda: list(lines_of(Traced("a" * n, pieces, frozenset()), source, origins))

    origins = Origins(Layers(Instance("c1"), Instance("c1"), Metadata()), Rule("/a", "t"))
    check(lines, start=500, largest=16_000)


def image_of_one_template(n):
    """Return an image with n rules, which share a template of 400 · n characters."""
    entries = (f"/etc/f{number}: {{when: [create], template: t}}" for number in range(n))
    return image(*entries, t="{#" + "\u0a0a" * 400 * n + "#}x\n")


@pytest.mark.slow
def test_checking_many_rules_of_one_template_takes_linear_time():
    def used(n):
        made = image_of_one_template(n)
        return lambda: [made.source(rule) for rules in made.used.values() for rule in rules]

    def all_checks(n):
        made = image_of_one_template(n)
        return lambda: audit(made, "authoring")

    check(used, largest=2000)
    check(all_checks, largest=2000)


@pytest.mark.slow
def test_explaining_many_files_of_one_template_takes_linear_time():
    def explanations(n):
        made = image_of_one_template(n)
        instance, options = Instance("c1"), RenderOptions(INCUS, clock=1.0, seed=1)
        files = render(made.metadata, made.templates, instance, ("create",), options)
        explainer = Explainer(made.templates, Layers(instance, instance, made.metadata), options)
        return lambda: [explainer.lines(file) for file in files]

    check(explanations, largest=2000)


@pytest.mark.slow
def test_searching_image_texts_for_secrets_takes_linear_time():
    def redactions(n):
        lines = (
            "a" * 64 + "b" + f"{number:024b}".translate({48: "a", 49: "b"}) + "a" * 8
            for number in range(n // 8)
        )
        instance = Instance("c1", config={"user.password": "\n".join(lines)})
        public = "a" * n + "\n"
        return lambda: Redaction([instance], public)

    check(redactions, start=2000, largest=32_000)


def many_files(n):
    return [f"/etc/{number}" for number in range(n)]


def deep_files(n):
    """Return n paths of files in nested directories. On average, a path has about 50 names."""
    return ["/" + "a/" * (number % 100) + f"{number // 100}" for number in range(n)]


def deeper_files(n):
    return [f"/{number}/{'a/' * 100}f" for number in range(n)]


@pytest.mark.slow
@pytest.mark.parametrize("paths", [many_files, deep_files, deeper_files])
def test_displaying_files_as_a_tree_takes_linear_time(paths):
    def trees(n):
        changes = (Change(Rule(path, "t", ("create",)), "create", path, WRITE) for path in paths(n))
        plan = Plan(Metadata(), Instance("c1"), INCUS, ("create",), tuple(changes))
        return lambda: tree_text(list(tree(plan)))

    check(trees, largest=8000)


def test_files_in_a_thousand_nested_directories_are_shown_as_a_tree():
    paths = [f"/{'a/' * number}f" for number in range(1000)]
    changes = (Change(Rule(path, "t", ("create",)), "create", path, WRITE) for path in paths)
    leaves = list(tree(Plan(Metadata(), Instance("c1"), INCUS, ("create",), tuple(changes))))
    assert [leaf.name for leaf in leaves[:5]] == ["/", "f", "a/", "f", "a/"]
    assert (len(leaves), leaves[-1].name) == (1999, "a/f")


def test_a_very_long_path_does_not_widen_other_lines():
    changes = (Change(Rule(path, "t"), "create", path, WRITE) for path in ("/b", "/" + "a" * 1000))
    lines = tree_text(
        list(tree(Plan(Metadata(), Instance("c1"), INCUS, ("create",), tuple(changes))))
    ).splitlines()
    assert [len(line.partition("  ")[0]) for line in lines[1:]] == [5, 1004]
    assert lines[1].index("write") == 102


def test_searching_for_the_profile_of_each_key_takes_linear_time():
    def origins(n):
        profiles = tuple(
            Profile(f"p{number}", {f"user.{number}": "x"}, {f"d{number}": {"type": "nic"}})
            for number in range(n)
        )
        instance, rule = Instance("c1", profiles=profiles), Rule("/a", "t")
        names = [
            name for number in range(n) for name in (("config", f"user.{number}"), ("devices", f"d{number}"))
        ]

        def find():
            layers = Layers(instance, instance, Metadata())
            return [layers.origin(name, rule).detail for name in names]

        return find

    check(origins, start=250, largest=8000)


def test_searching_for_the_rule_field_behind_a_difference_takes_linear_time():
    def fields(n):
        changes = [Change(Rule(f"/{number}", "t"), "create", f"/{number}", WRITE) for number in range(n)]
        metadata = Metadata(rules=tuple(change.rule for change in changes))
        outcomes = {change: Outcome("written", "uid is ignored") for change in changes}
        prediction = Prediction(outcomes, "")
        plan = Plan(metadata, Instance("c1"), INCUS, ("create",), tuple(changes), prediction=prediction)
        made = file("/etc/a", "x")

        def find():
            causes = DifferenceCauses(made, RenderOptions(INCUS))
            return [causes.construct(plan, change, None, None) for change in changes]

        return find

    check(fields, start=250, largest=8000)
