"""Output of plans: the files as a list, a tree, a table of hosts or JSON, for ``preview`` and ``watch``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..model.unprintable_characters import printable_lines
from . import output, terminal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.text import Text

    from ..model.plan import Change, Plan
    from ..reporting.file_tree import Leaf
    from ..reporting.plan_text import Block
    from .open_and_plan import Opened


def show(plans: list[Plan], *, as_json: bool = False, contents: bool = True, tree: bool = False) -> int:
    """Print plans and return the exit code. JSON is an object for one plan, or a list for several."""
    from ..reporting import plan_text

    if as_json:
        from ..reporting import json_data

        data = [json_data.plan_data(plan) for plan in plans]
        output.write_json(data if len(data) > 1 else data[0])
    elif contents:
        for number, plan in enumerate(plans):
            output.write("\n" if number and plan.changes else "")
            if tree:
                show_tree(plan)
            elif terminal.has_layout():
                show_styled(list(plan_text.blocks(plan, fold=True)), plan_text.unchanged(plan))
            else:
                show_plain(plan_text.blocks(plan))
    for plan in () if as_json else plans:
        output.say(plan_text.summary(plan))
        if len(plans) == 1 and (other := plan_text.not_due(plan)):
            output.say(other)
    return max(map(plan_text.verdict, plans))


def show_every_host(found: Opened) -> int:
    """Print the table of files and hosts, and return the exit code of the command."""
    from ..model.plan import Plan
    from ..planning.every_host import plan_every_host
    from ..reporting.host_table import host_table, table_data, table_text
    from .open_and_plan import fixed_options
    from .plan_warnings import report_warnings

    triggers = found.runs[0]
    plans = plan_every_host(
        found.source.image, found.instance, fixed_options(found.request), triggers=triggers,
        rootfs=found.rootfs, reading=found.request.limits.for_reading(), new=found.makes_instance(triggers),
    )  # fmt: skip
    made = [plan for plan in plans.values() if isinstance(plan, Plan)]
    dialects = [plan.host.dialect for plan in made]
    report_warnings([made], found.source.image, found.rootfs_option, dialects)
    terminal.page()
    table = host_table(plans)
    if found.request.as_json:
        output.write_json(table_data(table))
    elif terminal.has_layout():
        from . import styled

        output.write_lines(styled.hosts(table, terminal.width()))
    else:
        output.write(table_text(table))
    return table.exit_code


def show_blocks(blocks: Iterable[Block]) -> None:
    """Print blocks of a plan, with the layout for terminals or as plain text."""
    if terminal.has_layout():
        show_styled(list(blocks), [])
    else:
        show_plain(blocks)


def show_plain(blocks: Iterable[Block]) -> None:
    from ..reporting.plan_text import plain

    for number, block in enumerate(blocks):
        output.write(("\n" if number else "") + plain(block))


def show_styled(blocks: list[Block], folded: list[Change]) -> None:
    from . import styled

    body = partial(styled_body, output.Highlighter())
    found = styled.preview(blocks, folded, terminal.width(), body=body, colour=terminal.has_colour())
    for text in found:
        output.write_styled(text)


def styled_body(highlighter: output.Highlighter, block: Block) -> str:
    from ..reporting.plan_text import ended

    body = printable_lines(ended(block.body or ""))
    if not body:
        return output.style("    (empty)\n", dim=True)
    change = block.change
    path = change.path if change.path.startswith("/") else change.rule.path  # the file is on the config drive
    return highlighter.coloured(body, path) if terminal.has_colour() else body


def show_tree(plan: Plan) -> None:
    from ..reporting import file_tree

    leaves = list(file_tree.tree(plan))
    if terminal.has_layout():
        output.write_lines(styled_tree(leaves))
    else:
        output.write(file_tree.tree_text(leaves))


def styled_tree(leaves: Sequence[Leaf]) -> Iterator[Text]:
    """Yield the lines of ``preview --tree``."""
    from rich.cells import cell_len
    from rich.text import Text

    from ..reporting.columns import WIDEST
    from .styled import ACTIONS

    width = min(max((cell_len(leaf.guides + leaf.name) for leaf in leaves), default=0), WIDEST)
    for leaf in leaves:
        line = Text().append(leaf.guides, "dim").append(leaf.name, "bold" if leaf.heading else "")
        if leaf.heading is not None:
            line.append(" " * max(width - line.cell_len + 2, 2))
            line.append(f"{leaf.heading.action:6}", ACTIONS.get(leaf.heading.action, "dim"))
            line.append(f"  {leaf.heading.owner} {leaf.heading.mode}".rstrip(), "dim")
        yield line
