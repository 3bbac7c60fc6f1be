"""``templater streams prune``: remove old versions and unused files from a tree."""

from __future__ import annotations

import re

import click

from ....model.errors import UsageError
from ....model.unprintable_characters import printable
from ... import options, output
from ...enforce_limits import guarded_alone
from ...output import size
from . import count, tree_argument

HELP = """Remove old versions and unused files.

With both --keep and --older-than, the command removes a version only if both options allow it. Without these
options, the command deletes only unused files. Clients cache the catalog for up to an hour. The command
therefore keeps each file for a grace period after the catalog stops listing the file.

\b
Examples:
  templater streams prune /srv/images --keep 3
  templater streams prune /srv/images --keep 1 --older-than 30d --dry-run
"""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@click.command(help=HELP)
@tree_argument
@click.option("--keep", type=click.IntRange(1), metavar="N", help="Keep the N newest versions of a product.")
@click.option("--older-than", metavar="AGE", help="Keep versions younger than AGE, e.g. 30d.")
@click.option(
    "--grace",
    default="24h",
    show_default=True,
    metavar="AGE",
    help="How long to keep files that the catalog no longer lists.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Show the changes without making them.")
@options.json_option
@guarded_alone
def command(
    tree: str, keep: int | None, older_than: str | None, grace: str, dry_run: bool, as_json: bool
) -> None:
    from ....distribution import remove_and_prune as library
    from ....distribution.tree import Tree

    pruned = library.prune(
        Tree(tree),
        keep=keep,
        older_than=None if older_than is None else _seconds(older_than),
        grace=_seconds(grace),
        dry_run=dry_run,
    )
    if as_json:
        versions = [{"product": product, "version": version} for product, version in pruned.versions]
        output.write_json(
            {
                "versions": versions,
                "deleted": list(pruned.deleted),
                "bytes": pruned.size,
                "waiting": pruned.waiting,
                "dry_run": dry_run,
            }
        )
        return
    would = "would remove" if dry_run else "removed"
    for product, version in pruned.versions:
        output.say(f"{would} {product} {version}")
    if dry_run:
        output.say(f"would delete {count(len(pruned.deleted), 'file')}")
    else:
        deleted = f"deleted {count(len(pruned.deleted), 'file')}, {size(pruned.size)}"
        output.say(f"{deleted}; kept {count(pruned.waiting, 'file')} that clients may still download")


def _seconds(text: str) -> int:
    """Parse ``90m``, ``24h`` or ``30d`` into seconds."""
    found = re.fullmatch(r"([0-9]{1,9})([smhdw])", text)
    if not found:
        raise UsageError(f"invalid duration '{printable(text)}'", hint="examples: 90m, 24h, 30d")
    return int(found[1]) * _UNITS[found[2]]
