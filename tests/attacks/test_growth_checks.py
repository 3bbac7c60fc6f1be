"""Small images whose checks once took minutes: each check read each rendered file, or searched a text again."""

import contextlib
from collections.abc import Iterator

import pytest

from templater.checks import authored_image, host_differences
from templater.checks.cost_bound import bound
from templater.checks.filter_cost_bounds import NoBoundError
from templater.checks.possible_panics import ANYTHING, NESTED, ValueKinds, set_variables
from templater.checks.run_checks import audit
from templater.checks.security.secrets import secrets_of
from templater.model.source import Source
from templater.pongo2.dialect import V6
from templater.pongo2.parse_with_includes import Compilation
from tests.checks.authoring.authoring_builders import file, image
from tests.processor_time import ends_within


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    with ends_within(8):
        yield


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("N.toml", "".join(f"a{number} = 1\n" for number in range(15_000))),
        ("N.yaml", "- {dhcp4: true, a: [1, 2, 3]}\n" * 7000),
        ("netplan/N.yaml", "network:\n  version: 2\n  ethernets:\n" + "    e: {dhcp4: true}\n" * 9000),
        ("N/../hosts", "127.0.0.1 localhost\n" * 11_000),
    ],
)
def test_all_checks_of_rendered_files_share_a_time_limit(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authored_image, "MAX_FILE_SECONDS", 0.2)
    rules = (f"/etc/{name.replace('N', str(n))}: {{when: [create], template: t}}" for n in range(120))
    found = audit(image(*rules, t=text + "# {{ path }}\n"), "authoring")
    late = [each.message for each in found if each.message.startswith("not checked completely")]
    assert late[0].endswith("the checks of all rendered files take more than 0.2 seconds")


@pytest.mark.parametrize("opening", ["{{", "{%", "{#", "{% ", "{%x "])
def test_the_search_for_the_cause_of_a_difference_takes_linear_time(opening: str) -> None:
    text = "{{ 'a' + 'b' }}{% verbatim %}" + opening * 60_000 + "{% endverbatim %}"
    report = host_differences.host_report(file("/etc/a", text, hosts="incus,lxd"))
    assert report["files"][0]["hosts"]["lxd"]["result"] == "differs"


def test_the_search_for_causes_stops_at_a_character_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rules = (f"/etc/{number}: {{when: [create], template: t}}" for number in range(3))
    of = image(*rules, t="{{ 'a' + 'b' }}" + "x" * 85, hosts="incus,lxd")
    monkeypatch.setattr(host_differences, "SEARCHED", 250)
    found = [row["hosts"]["lxd"]["construct"] for row in host_differences.host_report(of)["files"]]
    assert found == [*["'a' + 'b' (templates/t:1:4)"] * 2, "templates/t"]


@pytest.mark.parametrize("names", ["a{0}=a{0}", "b{0}=a{0}"])
def test_long_tag_is_searched_for_secrets_in_linear_time(names: str) -> None:
    """1,600 variables took 90 seconds, because the tag was read again for each variable."""
    first, second = (" ".join(map(form.format, range(1600))) for form in ("a{0}=s", names))
    text = f"{{% set s = config_get('user.password') %}}{{% with {first} %}}{{% with {second} %}}"
    assert not list(secrets_of(Source("t", (text + "{% endwith %}{% endwith %}").encode())))


def _names(before: str, number: int, after: str) -> str:
    return "".join(f"{before}{n}{after}" for n in range(number))


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "{% macro m() %}" + _names("{{ a", 2000, " }}") + "{% endmacro %}{% for i in 'ab' %}"
        + _names("{% set a", 2000, " = m %}") + "{% endfor %}",
        "{% macro m() %}" + _names("{{ a", 2000, " }}") + "{% endmacro %}"
        + "{% for i in 'ab' %}{% set x = m %}{% endfor %}" * 900,
        "{% macro m(" + ",".join(map("p{}".format, range(3000))) + ") %}{% endmacro %}" + "{{ m(config) }}" * 2000,
        "{% for i in 'ab' %}" + "".join(f"{{% set a{n} = a{n + 1} %}}" for n in range(3000)) + "{% endfor %}",
        "{% macro m(x) %}{{ x }}{% endmacro %}{% macro n() %}"
        + ("{{ " + "m(" * 55 + "+".join(["a"] * 900) + ")" * 55 + " }}") * 9 + "{% endmacro %}",
    ],
)  # fmt: skip
def test_work_bound_of_macros_is_computed_in_linear_time(text: str) -> None:
    """Each call had its own set of names: 3,000 names took 2.7 seconds and 249 MB."""
    with ends_within(3), contextlib.suppress(NoBoundError):
        bound(Compilation(Source("t", text.encode()), V6).parsed())


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, -1])
def test_the_kinds_of_each_variable_are_computed_only_a_few_times(
    order: int,
) -> None:
    """The value of a variable was computed again for each other variable: 990 variables took 5.4 seconds."""
    tags = ["{% set x0 = devices %}", *(f"{{% set x{n + 1} = x{n} %}}" for n in range(900))]
    tags += ["{% set z = " + "|default:".join(f"x{n}" for n in range(900)) + " %}"] * 3
    tags += ["{% set y = " + " + ".join(f"x{n}" for n in range(900)) + " + 'a'" + "|upper" * 90 + " %}"]
    document = Compilation(Source("t", "".join(tags[::order]).encode()), V6).parsed()
    with ends_within(1):
        assert {NESTED, ANYTHING} & ValueKinds(document).names["z"]


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, -1])
def test_the_search_for_lists_and_maps_in_variables_takes_linear_time(order: int) -> None:
    """2,800 variables, each of which is set from the variable before it, took 7.8 seconds."""
    tags = ["{% set x0 = devices %}", *(f"{{% set x{n + 1} = x{n} %}}" for n in range(2800))][::order]
    document = Compilation(Source("t", "".join(tags).encode()), V6).parsed()
    with ends_within(1):
        assert NESTED in ValueKinds(document).names["x2800"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "{% if a %}" * 90 + "".join(f"{{% set x{n} = 1 %}}" for n in range(3000)) + "{% endif %}" * 90,
        "".join(f"{{% if a %}}{{% set x{n} = 1 %}}{{% else %}}{{% set x{n} = 2 %}}{{% endif %}}" for n in range(700)),
        "".join(f"{{% set x{n} = 1 %}}" for n in range(1500)) + "{% with a=1 %}{% endwith %}" * 900,
    ],
)  # fmt: skip
def test_the_search_for_variables_set_by_tags_takes_linear_time(text: str) -> None:
    document = Compilation(Source("t", text.encode()), V6).parsed()
    with ends_within(1.5):
        set_variables(document)


@pytest.mark.slow
@pytest.mark.parametrize("tag", ["set {0} = {1}", "for {0}, x in {1}", "cycle {1} as {0}"])
def test_invalid_tag_is_searched_for_secrets_in_linear_time(tag: str) -> None:
    """1,100 variables in one tag took five seconds, although pongo2 refuses the tag."""
    separator = {"set": " = s0|first|first ", "for": ", ", "cyc": " as "}[tag[:3]]
    names, sources = ([f"{letter}{number}" for number in range(1100)] for letter in "as")
    text = "".join(f"{{% set {name} = config_get('user.password') %}}" for name in sources)
    text += f"{{% {tag.format(separator.join(names), ' + '.join(sources))} %}}"
    with ends_within(2.5):
        list(secrets_of(Source("t", text.encode())))
