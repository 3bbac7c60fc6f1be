"""pongo2's own test suite. The tests build those Go values of contexts that JSON can't express.

The suite is read in place: ``TEMPLATER_SUITE``, or the folder beside this repository.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from templater import pongo2
from templater.model.errors import TemplateError
from templater.model.source import Source
from templater.pongo2.confined_folder import Folder
from templater.pongo2.dialect import V4, V6, Dialect
from templater.pongo2.golang.time import Time
from templater.pongo2.values import Function

SUITE = Path(os.environ.get("TEMPLATER_SUITE") or Path(__file__).parents[2] / "shared" / "pongo2" / "suite")
CI = bool(os.environ.get("CI"))
pytestmark = pytest.mark.skipif(not SUITE.is_dir() and not CI, reason=f"pongo2's suite is not at {SUITE}")

#: expectations of v6 that v4 does not meet, by the suite's own notes
NOT_V4 = {"extends_super3", "extends_super4", "pongo2ctx"}
NOTHING: Mapping[str, str] = {}
UNREACHED = {"sandbox": "a tag and a filter that the suite's own Go code registers"}


#: 2014-06-10 15:30:15 and 2011-03-21 08:37:56.000000012, UTC
TIME_1, TIME_2 = Time(1402414215), Time(1300696676, 12)
ADMINS = ("user2",)


def text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "surrogateescape")


def json_context() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SUITE / "context.json").read_text())
    return found


def go_function(call: Callable[..., Any], *parameters: str, variadic: bool = False) -> Function:
    return Function(call, parameters, variadic=variadic)


def go_context() -> dict[str, Any]:
    """The context with the Go values that JSON can't hold."""
    context = json_context()
    context["simple"] |= {
        "time1": TIME_1,
        "time2": TIME_2,
        "func_add": go_function(lambda a, b: a + b, "int", "int"),
        "func_add_iface": go_function(lambda a, b: a + b, "interface {}", "interface {}"),
        "func_variadic": go_function(lambda f, *a: f % a, "string", "interface {}", variadic=True),
        "func_variadic_sum_int": go_function(lambda *a: sum(a), "int", variadic=True),
        "func_variadic_sum_int2": go_function(lambda *a: sum(a), "*pongo2.Value", variadic=True),
        "func_ensure_nil": go_function(lambda a: a is None, "interface {}"),
        "func_ensure_nil_variadic": go_function(
            lambda *a: all(v is None for v in a), "interface {}", variadic=True
        ),
    }
    complex_ = context["complex"]
    complex_["is_admin"] = go_function(lambda user: user["Name"] in ADMINS, "*pongo2.Value")
    for comment in complex_["comments"]:
        comment["Author"]["Is_admin"] = comment["Author"]["Name"] in ADMINS
    return context


def options(path: Path) -> dict[str, bool]:
    file = path.with_suffix(".options.json")
    return dict(json.loads(file.read_text())) if file.exists() else {}


def expectations(folder: str, unreached: Mapping[str, str] = NOTHING) -> list[Any]:
    """Every template that has an expected output beside it."""
    return [
        pytest.param(
            path,
            id=f"{folder}/{path.stem}",
            marks=pytest.mark.xfail(reason=unreached[path.stem]) if path.stem in unreached else (),
        )
        for path in sorted((SUITE / folder).glob("*.tpl"))
        if path.with_suffix(".out").exists()
    ]


def render(path: Path, dialect: Dialect, context: dict[str, Any]) -> str:
    """Render a template under its name in the suite. It includes other templates relative to this name."""
    source = Source(f"template_tests/{path.name}", path.read_bytes())
    template = pongo2.compile(source, dialect, mode="plain", loader=Folder(SUITE), **options(path))
    return template.render(context)


@pytest.mark.parametrize("dialect", [V6, V4], ids=["v6", "v4"])
@pytest.mark.parametrize("path", expectations("template_tests"))
def test_the_template_suite_of_pongo2_renders_as_expected(path: Path, dialect: Dialect) -> None:
    same = render(path, dialect, json_context()) == text(path.with_suffix(".out"))
    assert same == (dialect is not V4 or path.stem not in NOT_V4)


@pytest.mark.parametrize("path", expectations("reduced"))
def test_pongo2_suite_templates_without_go_values_render_as_expected(path: Path) -> None:
    assert render(path, V6, json_context()) == text(path.with_suffix(".out"))


@pytest.mark.parametrize("path", expectations("describable", UNREACHED))
def test_pongo2_suite_templates_with_go_values_render_as_expected(path: Path) -> None:
    context = json_context() if path.stem == "ssi" else go_context()
    assert render(path, V6, context) == text(path.with_suffix(".out"))


def bad_lines() -> list[Any]:
    file = SUITE / "errors.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    reason = UNREACHED["sandbox"]
    return [
        pytest.param(
            line,
            id=f"{line['file']}:{line['line']}",
            marks=pytest.mark.xfail(reason=reason) if "sandbox" in line["file"] else (),
        )
        for line in lines
    ]


@pytest.mark.parametrize("line", bad_lines())
def test_invalid_suite_lines_fail_with_the_expected_error_text(
    line: dict[str, Any],
) -> None:
    with pytest.raises(TemplateError) as raised:
        template = pongo2.compile(line["template"], V6, mode="plain")
        template.render(go_context())
    assert re.fullmatch(line["error_regex"], raised.value.pongo2_error or "")
