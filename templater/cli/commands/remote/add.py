"""``templater remote add``: give an image server a name."""

import click

from ... import completers, output

HELP = """Add a name for an image server, for SRC such as NAME:ALIAS.

The name and the URL are written into ~/.config/templater/remotes.yaml, which only you can read, because a URL
can contain a password.

\b
Examples:
  templater remote add ours https://images.example.com
  templater remote add host1 https://host1:8443 --protocol incus
"""


@click.command(help=HELP)
@click.argument("name", metavar="NAME")
@click.argument("url", metavar="URL")
@click.option(
    "--protocol",
    type=click.Choice(["simplestreams", "incus"]),
    default="simplestreams",
    show_default=True,
    help="Protocol of the server; `incus` is the public image API of Incus and LXD.",
)
@click.option(
    "--certificate",
    metavar="FILE",
    default="",
    help="Trust this certificate of the server.  [default: the system's certificates or SSL_CERT_FILE]",
    shell_complete=completers.files,
)
def command(name: str, url: str, protocol: str, certificate: str) -> None:
    from ....distribution.remotes import add_remote

    remote = add_remote(name, url, protocol, certificate)
    output.say(f"added remote '{remote.name}': {remote.shown_url} ({remote.protocol})")
