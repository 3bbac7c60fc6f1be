"""``templater explain``: show where each line and value of the rendered files comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ...model.errors import TemplaterError, UsageError
from ...model.plan import SKIP
from ...model.unprintable_characters import printable
from ...reporting.plan_text import FAILURE, MOST_NAMED
from .. import completers, options, output, terminal
from ..enforce_limits import guarded

if TYPE_CHECKING:
    from ...model.metadata import Rule
    from ...model.plan import Plan
    from ...model.render_options import RenderOptions
    from ...reporting.explanation import Explained
    from ..open_and_plan import Opened

HELP = """Show where the rendered lines and values come from.

TARGET is the path of a file, or the name of a template. Each rendered line begins with two numbers: the line
number in the rendered file, and the line number in the template. Below a line, the command shows the origin
of each value: a profile, the instance's own configuration, a property of the image or of the rule, a default,
or the daemon. Values without an origin are `not set`. `because` names the values that decide the conditions
and loops around a line.

The exit code is 5 if a template fails.

\b
Examples:
  templater explain ./image /etc/hosts -i web1.yaml -p default.yaml
  templater explain image.tar.xz network-config.tpl -i all.json#web1
  templater explain ./image --reads     what each template reads
"""

#: maximum number of names with which a misspelled TARGET is compared
MOST_COMPARED = 1000


@click.command(help=HELP)
@options.request_options()
@click.argument("target", metavar="[TARGET]", required=False, shell_complete=completers.targets)
@click.option("--reads", is_flag=True, help="List the variables and keys that each template reads.")
@guarded
def command(request: options.Request, target: str | None, reads: bool) -> int:
    from ...reporting.explanation import explained_data, failed
    from .. import explanation_output
    from ..open_and_plan import fixed_options, opened

    with opened(request) as found:
        # Each template is rendered again. The second render must give the same text.
        fixed = fixed_options(found.request).begun()
        plans = found.plans(options=fixed)
        rules = chosen_rules(plans[0], target)
        if reads:
            return show_reads(found, plans[0], rules, fixed.dialect)
        files = [(plan, explained(found, plan, rules, fixed)) for plan in plans]
    terminal.page()
    shown = [file for _, some in files for file in some]
    if request.as_json:
        data = [plan_data(plan, list(map(explained_data, some))) for plan, some in files]
        output.write_json(data if len(data) > 1 else data[0])
    else:
        explanation_output.show(shown)
        explanation_output.say_not_due(rules, shown)
    return FAILURE if failed(shown) else 0


def chosen_rules(plan: Plan, target: str | None) -> list[Rule]:
    """Return the rules that TARGET names, or all rules. Raises UsageError if no rule matches."""
    from ...planning.follow_links import clean
    from ...pongo2.syntax.hints import did_you_mean

    rules = list(plan.metadata.rules)
    if target is None:
        return rules
    names: dict[str, list[Rule]] = {}
    for rule in rules:
        try:
            path = clean(rule.path)
        except TemplaterError:
            path = rule.path
        for name in dict.fromkeys(filter(None, (path, rule.path, rule.template))):
            names.setdefault(name, []).append(rule)
    if target not in names and f"/{target}" not in names:
        paths = ", ".join(rule.path for rule in rules[:MOST_NAMED])
        hint = did_you_mean(target, [*names][:MOST_COMPARED])
        if not hint:
            keys = "" if "/" in target else "; see --reads for the keys and variables that templates read"
            hint = f"the image has rules for {paths}{keys}"
        raise UsageError(f"no rule writes '{printable(target)}'", hint=printable(hint))
    return names.get(target) or names[f"/{target}"]


def explained(found: Opened, plan: Plan, rules: list[Rule], fixed: RenderOptions) -> list[Explained]:
    from ...planning.plan_image import read_templates
    from ...rendering.origins import Explainer, layers_of
    from ...reporting.explanation import Explained

    given, templates = found.request.instance, read_templates(found.source.image, plan.metadata)
    layers = layers_of(found.instance, plan, given.config_overrides(), given.overridden_devices())
    last = {change.real: change for change in plan.changes if change.content is not None}
    files = []
    explainer, chosen = Explainer(templates, layers, fixed), set(map(id, rules))
    for change in (change for change in plan.changes if id(change.rule) in chosen):
        later = last.get(change.real)
        if later is not None and later is not change and change.error is None:
            files.append(Explained(change, None, later))
        elif change.error is None and change.action != SKIP:
            files.append(Explained(change, explainer.lines(change)))
        else:
            files.append(Explained(change, None))
    return files


def plan_data(plan: Plan, files: list[dict[str, Any]]) -> dict[str, Any]:
    from ...reporting.json_escapes import json_text

    return {
        "instance": json_text(plan.instance.name), "host": plan.host.name, "triggers": list(plan.triggers),
        "files": files,
    }  # fmt: skip


def show_reads(found: Opened, plan: Plan, rules: list[Rule], dialect: str) -> int:
    """List the names that each template reads, and return the exit code."""
    from ...planning.plan_image import read_templates
    from ...rendering.origins import layers_of, readings
    from ...rendering.render import template_bytes
    from ...reporting.explanation import reading_data, reading_rows
    from ..explanation_output import write_rows

    given, templates = found.request.instance, read_templates(found.source.image, plan.metadata)
    layers = layers_of(found.instance, plan, given.config_overrides(), given.overridden_devices())
    by_template: dict[str, list[Rule]] = {}
    for rule in rules:
        by_template.setdefault(rule.template, []).append(rule)
    code, data = 0, []
    for name, users in by_template.items():
        try:
            template_bytes(name, templates)  # raises an error for a missing or unreadable template
            source = templates[name].source(f"templates/{name}")
            reads = readings(source, users[0], layers, dialect)
        except TemplaterError as error:
            output.say(error.explain())
            code = FAILURE
            continue
        if found.request.as_json:
            data.append(reading_data(name, users, reads))
        else:
            write_rows(reading_rows(name, users, reads))
    if found.request.as_json:
        output.write_json({"templates": data})
    return code
