"""``templater streams verify``: check a stream as each client reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ....model.unprintable_characters import printable
from ... import options, output
from ...enforce_limits import guarded_alone
from ...output import size
from ...progress import progress
from . import count, stream_argument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ....distribution.verify_report import Problem, Report

#: maximum number of problems of one kind in the text output; the JSON output has all problems
_SHOWN = 10
CLIENTS = ("incus-6.0", "incus-7", "lxd")

HELP = """Check a stream as Incus and LXD read it.

Clients silently skip entries that they don't understand. If a single value has the wrong type, a client lists
nothing. The command reports each skipped entry and each wrong type, with the affected clients and the reason.
The command also compares the sizes, hashes and fingerprints in the stream with the files.

The exit code is 1 if there is an error for one of the chosen clients.

\b
Examples:
  templater streams verify /srv/images
  templater streams verify https://images.example.com --client lxd
"""


@click.command(help=HELP)
@stream_argument
@click.option("--metadata-only", is_flag=True, help="Don't read root filesystems; only check their sizes.")
@click.option(
    "--client",
    "clients",
    type=click.Choice(CLIENTS),
    multiple=True,
    help="Report only problems of these clients. [default: all]",
)
@options.json_option
@guarded_alone
def command(stream: str, metadata_only: bool, clients: tuple[str, ...], as_json: bool) -> int:
    from ....distribution.stream_interface import open_stream
    from ....distribution.verify import verify

    chosen = clients or CLIENTS
    with progress("verifying") as show:
        report = verify(open_stream(stream), metadata_only=metadata_only, clients=chosen, progress=show)
    problems = [each for each in report.problems if set(each.clients) & set(chosen)]
    if as_json:
        output.write_json(data(report, problems))
    else:
        output.write("".join(f"{line}\n" for line in lines(report, problems)))
    return 1 if report.errors(chosen) else 0


def lines(report: Report, problems: list[Problem]) -> Iterator[str]:
    shown: dict[str, int] = {}
    for problem in sorted(problems, key=lambda each: each.level):
        shown[problem.code] = shown.get(problem.code, 0) + 1
        if shown[problem.code] <= _SHOWN:
            reached = set(problem.clients) & set(report.images)
            who = "" if reached == set(report.images) else f" ({', '.join(sorted(reached))})"
            yield f"{problem.level}: {problem.place}: {problem.message}{who}"
    for code, number in shown.items():
        if number > _SHOWN:
            yield f"… and {number - _SHOWN} more problems of the kind '{code}'; --json shows all"
    unknown = any(problem.code == "combined-keys" for problem in problems)
    summary = (
        f"{client} {'is not predicted' if unknown else 'fails'}"
        if number is None
        else f"{client} lists {count(number, 'image')}"
        for client, number in report.images.items()
    )
    yield ", ".join(summary)
    yield f"{count(report.files, 'file')} checked, {size(report.bytes)} read"


def data(report: Report, problems: list[Problem]) -> dict[str, object]:
    return {
        "clients": report.images,
        "files": report.files,
        "bytes": report.bytes,
        "problems": [
            {
                "level": problem.level,
                "code": problem.code,
                "place": printable(problem.place),
                "message": problem.message,
                "clients": list(problem.clients),
            }
            for problem in problems
        ],
    }
