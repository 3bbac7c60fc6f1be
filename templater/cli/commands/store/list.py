"""``templater store list``: show the images of the store."""

import click

from ....reporting.columns import columns
from ... import options, output
from . import data, day

HELP = """Show the images of the store.

A FILTER is KEY=VALUE, where KEY is a property, or one of type, architecture, public, auto_update and cached.
A FILTER without '=' is a part of an alias, or the beginning of a fingerprint. Images must match all filters.

\b
Examples:
  templater store list
  templater store list os=debian public=true
"""


@click.command(help=HELP)
@click.argument("filters", metavar="[FILTER]...", nargs=-1)
@options.json_option
def command(filters: tuple[str, ...], as_json: bool) -> None:
    from ....distribution.store import Store
    from ....distribution.store_filter import matching

    images = matching(Store().images(), filters)
    if as_json:
        output.write_json([data(image) for image in images])
        return
    table = [("ALIAS", "FINGERPRINT", "TYPE", "ARCHITECTURE", "FLAGS", "USED", "DESCRIPTION")]
    for image in images:
        flags = (("public", image.public), ("auto", image.auto_update), ("fetched", image.cached))
        shown = [name for name, on in (*flags, ("metadata", not image.complete)) if on]
        words = (image.properties.get(name, "") for name in ("os", "release", "variant"))
        described = image.properties.get("description") or " ".join(filter(None, words)) or image.source
        names = " ".join(image.aliases)
        kind = image.type or "?"
        table.append(
            (
                names,
                image.fingerprint[:12],
                kind,
                image.architecture or "?",
                ",".join(shown),
                day(image.used),
                described,
            )
        )
    output.write("".join(f"{line}\n" for line in columns(table)))
