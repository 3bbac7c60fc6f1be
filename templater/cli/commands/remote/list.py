"""``templater remote list``: show the known image servers."""

import click

from ....reporting.columns import columns
from ... import options, output

HELP = """Show the image servers that SRC can name.

If several lists define a name, the first of these lists decides: templater's own file, the configuration of
the Incus client, the configuration of the LXD client, the built-in list.
"""


@click.command(help=HELP)
@options.json_option
def command(as_json: bool) -> None:
    from ....distribution.remotes import read_remotes

    remotes = sorted(read_remotes().values(), key=lambda remote: remote.name)
    rows = [(remote.name, remote.shown_url, remote.protocol, remote.source) for remote in remotes]
    if as_json:
        output.write_json(
            [dict(zip(("name", "url", "protocol", "source"), row, strict=True)) for row in rows]
        )
        return
    table = [("NAME", "URL", "PROTOCOL", "FROM"), *rows]
    output.write("".join(f"{line}\n" for line in columns(table)))
