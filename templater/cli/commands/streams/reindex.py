"""``templater streams reindex``: republish another server's images for Incus and LXD."""

from __future__ import annotations

import os
from copy import copy
from time import time
from typing import TYPE_CHECKING

import click

from ....limit_option import COMMAND, IMAGE, READING, RENDERING
from ....model.unprintable_characters import printable
from ... import completers, options, output
from ...enforce_limits import guard
from ...output import size
from ...progress import progress
from . import count, tree_argument

if TYPE_CHECKING:
    from ....distribution.https_client import UrlStream
    from ....distribution.republish import Described
    from ....limit_option import Given

#: default limit on the processor seconds for all tables
_SECONDS = 6.0
_LATE = "no time is left for this table; to allow five minutes for all tables, use --limit time=5m\n"

HELP = """Republish another server's images.

Incus can't list a stream that is made for LXD, such as Ubuntu's, and LXD can't list a stream for Incus. This
command writes the stream at URL into TREE, so that both Incus and LXD can read the stream. The files of the
images and their hashes stay the same. Aliases become OS/ALIAS. Run the command again to update the tree.

With --redirect, the files stay at the origin, and the command writes redirect rules into DIR: for nginx, for
Caddy, and as JSON. With --copy, the command downloads and checks the files.

The command prints a table for each image, as `templater preview --as all` does. The table shows how each
release of Incus and LXD would render the templates. For these tables, the command downloads the metadata of
the images. --no-tables omits the tables.

All tables together get 6 seconds of processor time; --limit time=5m changes this limit.

\b
Examples:
  templater streams reindex https://images.example.com/releases tree --copy
  templater streams reindex https://images.example.com/releases tree \\
      --redirect /etc/nginx/streams --keyring keyring.gpg
"""


@click.command(help=HELP)
@click.argument("url", metavar="URL")
@tree_argument
@click.option(
    "--redirect",
    "redirects",
    metavar="DIR",
    help="Leave files at the origin, and write redirect rules into DIR.",
    shell_complete=completers.directories,
)
@click.option("--copy", "copying", is_flag=True, help="Copy the files into TREE.")
@click.option(
    "--keyring",
    metavar="FILE",
    help="Check the signatures of the origin's catalog (.sjson) with these keys.",
    shell_complete=completers.files,
)
@click.option("--no-tables", is_flag=True, help="Do not render the templates of the images.")
@options.limit_option(IMAGE, READING, RENDERING, COMMAND)
def command(
    url: str,
    tree: str,
    redirects: str | None,
    copying: bool,
    keyring: str | None,
    no_tables: bool,
    limits: Given,
) -> None:
    from ....distribution.https_client import UrlStream
    from ....distribution.republish import republish
    from ....distribution.tree import Tree

    origin = UrlStream(url)
    with guard(limits, images=None), progress("copying" if copying else "reading") as show:
        made = republish(
            origin,
            Tree(tree),
            redirects=redirects,
            copying=copying,
            keyring=keyring,
            progress=show,
        )
    for warning in made.warnings:
        output.say(f"warning: {warning}")
    output.say(f"republished {count(made.images, 'image')} of {count(made.products, 'product')}")
    if copying:
        output.say(f"copied {count(made.copied, 'file')}, {size(made.bytes)}")
    for path in made.rules:
        output.say(f"wrote {path}")
    if not no_tables:
        write_tables(origin, made.described, limits)


def write_tables(origin: UrlStream, described: tuple[Described, ...], limits: Given) -> None:
    """Print the table of files and hosts for each image. Images with equal tables share one table."""
    texts: dict[tuple[str, str], str] = {}
    end = processor_seconds() + limits.rendering.get("total", _SECONDS)
    headings: dict[str, dict[str, None]] = {}
    with progress("rendering", "images") as show:
        for number, each in enumerate(described):
            image = each.image
            key = image.metadata.sha256, image.type
            if key not in texts:
                show(number, 0, image.product.name)
                left = end - processor_seconds()
                texts[key] = _LATE if left < 0 else table_of(origin, each, _within(limits, left))
            heading = f"==> {printable(image.product.name)} {printable(image.version.name)} ({image.type})\n"
            headings.setdefault(texts[key], {})[heading] = None
    output.write("\n".join("".join(names) + text for text, names in headings.items()))


def _within(limits: Given, seconds: float) -> Given:
    """Return the limits for one table: reading and rendering together take at most ``seconds``."""
    shorter, most = copy(limits), max(1, int(seconds))
    shorter.rendering = {**limits.rendering, "total": most}
    shorter.command = {"processor": most, **limits.command}
    return shorter


def processor_seconds() -> float:
    """Return the processor time of this process and its children."""
    return sum(os.times()[:4])


def table_of(origin: UrlStream, described: Described, limits: Given) -> str:
    from ....distribution.republish import metadata_file
    from ....image.open_image import open_image
    from ....model.errors import TemplaterError
    from ....model.hosts import NONE
    from ....model.pending_trigger import FIRST_BOOT
    from ....model.render_options import RenderOptions
    from ....planning.every_host import plan_every_host
    from ....reporting.host_table import host_table, table_text
    from ...open_and_plan import rendering

    try:
        with guard(limits), metadata_file(origin, described) as path:
            instance = options.Description(None, None, described.image.type, (), (), (), None).read()
            image = open_image(path, limits.for_images())
            fixed = RenderOptions(NONE, "", time(), 0, rendering(limits))
            plans = plan_every_host(
                image, instance, fixed, triggers=FIRST_BOOT, reading=limits.for_reading(), new=True
            )
            table = host_table(plans)
    except FileNotFoundError:
        return "no table: the metadata is missing at the origin\n"
    except TemplaterError as error:
        return f"no table: {printable(str(error))}\n"
    return table_text(table) if table.rows or table.errors else "no templates\n"
