"""Coverage: the rules, branches, lines and reads that no test reaches."""

from pathlib import Path

import pytest

from templater.image.presets import make, presets
from templater.limit_option import Given
from templater.testing.coverage import KINDS, MOST, coverage_lines, percent
from templater.testing.read_tests import read_cases
from templater.testing.run_tests import Session
from templater.testing.tests_folder import Folder, folder_of
from tests.unit.testing.images import an_image

ROOT = Path(__file__).parents[3]


def covered(source: Path):
    tests = Folder(folder_of(str(source)))
    with Session(str(source), tests, Given(), coverage=True) as session:
        session.run(read_cases(tests))
        assert session.coverage is not None
        return session.coverage.report()


def missed(tmp_path: Path, template: str, body: str = "{name: a, error: nothing}", **templates: str):
    """Return the missed parts of a template, without the path of the image."""
    rules = "  /etc/x: {when: [create], template: x.tpl}\n" + "".join(
        f"  /etc/{name}: {{when: [copy], template: {name}.tpl}}\n" for name in templates
    )
    files = {"x.tpl": template, **{f"{name}.tpl": text for name, text in templates.items()}}
    image = an_image(tmp_path / "i", f"tests:\n- {body}\n", rules=rules, templates=files)
    report = covered(image)
    parts = [(part["place"], part["message"]) for kind in KINDS for part in report[kind]["missed"]]
    return [f"{place.removeprefix(f'{image}/templates/')}: {message}" for place, message in parts]


@pytest.mark.parametrize(
    ("template", "parts"),
    [
        ("a", []),
        ("{{ instance.name }}", []),
        (
            '{% if config_get("user.a", "") %}\na\n{% else %}\nb\n{% endif %}',
            ["x.tpl:2:1: no test runs this line", "x.tpl:1:7: no test makes this condition true"],
        ),
        (
            '{% if instance.name %}\na\n{% else %}\nb\n{% endif %}',
            ["x.tpl:4:1: no test runs this line", "x.tpl:1:7: no test reaches the 'else' of this condition"],
        ),
        ("{% if instance.name %}a{% endif %}", ["x.tpl:1:7: this condition is true in every test"]),
        (
            "{% if instance.name %}{% elif instance.type %}b{% endif %}",
            [
                "x.tpl:1:31: no test makes this condition true",
                "x.tpl:1:7: in every test, this condition or the condition of an 'elif' is true",
                "x.tpl:1:31: no test reads 'instance.type'",
            ],
        ),
        ("{% for d in devices %}a{% endfor %}", ["x.tpl:1:13: no test runs this loop"]),
        (
            "{% for k, v in config %}{{ v }}{% empty %}none{% endfor %}",
            ["x.tpl:1:16: no test reaches the 'empty' of this loop"],
        ),
        (
            "{% ifchanged %}a{% else %}b{% endifchanged %}",
            ["x.tpl:1:4: no test reaches the 'else' of this tag"],
        ),
        ("{% macro m() %}a{% endmacro %}", ["x.tpl:1:4: no test calls this macro"]),
        ("{% macro m() %}{% if instance.name %}a{% endif %}{% endmacro %}{{ m() }}", ["x.tpl:1:22: this condition is true in every test"]),
        ("{% filter upper %}{% if instance.nam %}a{% endif %}{% endfilter %}", ["x.tpl:1:25: no test makes this condition true"]),
        ('{{ config_get("user.a", config["user.b"]) }}{% if true or config["user.c"] %}{% else %}{% endif %}', [
            "x.tpl:1:51: no test reaches the 'else' of this condition", "x.tpl:1:59: no test reads 'config.user.c'",
        ]),
        ("{% for k, v in config %}{{ config_get(k, '') }}{{ forloop.Last }}{% endfor %}", []),
    ],
)  # fmt: skip
def test_the_coverage_report_contains_untested_template_parts(template, parts, tmp_path):
    assert missed(tmp_path, template) == parts


def test_the_coverage_report_contains_an_untested_rule_and_template(tmp_path):
    found = missed(tmp_path, "a", other="{{ config['user.b'] }}")
    assert found == [
        f"{tmp_path}/i/metadata.yaml:6:3: no test writes '/etc/other'",
        "other.tpl:1:4: no test runs this line",
        "other.tpl:1:1: no test renders this template",
        "other.tpl:1:4: no test reads 'config.user.b'",
    ]


def test_coverage_of_a_failed_render_includes_the_parts_before_the_failure(tmp_path):
    template = (
        "{% if instance.name %}a{% else %}b{% endif %}{{ config_get() }}{% if instance.type %}c{% endif %}"
    )
    assert "x.tpl:1:7: no test makes this condition true" not in missed(tmp_path, template)


def test_coverage_does_not_count_a_skipped_rule_as_reached(tmp_path):
    image = an_image(
        tmp_path / "i", "tests:\n- {name: a, rootfs: {/etc/x: old}, expect: {/etc/x: {absent: true}}}\n",
        rules="  /etc/x: {when: [create], template: hostname.tpl, create_only: true}\n",
    )  # fmt: skip
    report = covered(image)
    assert report["rules"]["covered"] == report["branches"]["covered"] == 0
    assert percent(report) == 0


def test_coverage_is_combined_over_all_steps_and_hosts(tmp_path):
    template = '{% if instance.name == "c2" %}a{% else %}b{% endif %}{{ "x" + config_get("user.a", "") }}'
    tests = "tests:\n- {name: a, host: lxd, steps: [start, copy=c2, 'c2:start']}\n- {name: b, host: incus, triggers: create, error: x}\n"
    image = an_image(
        tmp_path / "i",
        tests,
        rules="  /x: {when: [create, copy], template: x.tpl}\n",
        templates={"x.tpl": template},
    )
    assert covered(image)["branches"] == {"covered": 3, "total": 3, "missed": []}


@pytest.mark.slow
def test_coverage_of_a_template_with_many_lines_takes_linear_time(tmp_path):
    """The position of a line is not searched from the beginning of the template."""
    template = "{% if instance.nam %}\n" + "line\n" * 50_000 + "{% endif %}"
    image = an_image(
        tmp_path / "i",
        "tests:\n- {name: a, error: x}\n",
        rules="  /x: {when: [create], template: x.tpl}\n",
        templates={"x.tpl": template},
    )
    report = covered(image)
    assert (report["lines"]["covered"], report["lines"]["total"]) == (1, 50_001)
    assert len(report["lines"]["missed"]) == MOST


def test_neighbouring_untested_lines_are_shown_as_one_range(tmp_path):
    template = '{% if config_get("user.a", "") %}\na\nb\nc\n{% endif %}\nd\n'
    image = an_image(
        tmp_path / "i",
        "tests:\n- {name: a, error: x}\n",
        rules="  /x: {when: [create], template: x.tpl}\n",
        templates={"x.tpl": template},
    )
    lines = list(coverage_lines(covered(image)))
    assert lines[0] == "coverage: 1 of 1 rules, 2 of 5 lines, 2 of 3 branches, 1 of 1 reads"
    assert lines[-1] == f"  {image}/templates/x.tpl:2: no test runs lines 2 to 4"


IMAGES = [
    *sorted(path.parent for path in (ROOT / "sample-images").glob("*/metadata.yaml")),
    ROOT / "sample-images" / "definitions" / "debian.yaml",
]


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.name)
def test_the_tests_of_a_sample_image_pass_and_reach_most_branches(image):
    tests = Folder(folder_of(str(image)))
    with Session(str(image), tests, Given(), coverage=True) as session:
        outcomes = session.run(read_cases(tests))
        assert session.coverage is not None
        assert [failure for outcome in outcomes for failure in outcome.failures] == []
        assert session.unused() == []
        assert percent(session.coverage.report()) >= 90


@pytest.mark.parametrize("preset", [preset.name for preset in presets()])
def test_the_tests_of_every_preset_pass_and_reach_most_branches(preset, tmp_path):
    image = tmp_path / "image"
    make(str(image), preset, now=1, architecture="x86_64", properties={"os": "Debian"})
    tests = Folder(folder_of(str(image)))
    with Session(str(image), tests, Given(), coverage=True) as session:
        outcomes = session.run(read_cases(tests))
        assert session.coverage is not None
        assert [failure for outcome in outcomes for failure in outcome.failures] == []
        assert percent(session.coverage.report()) >= 90
