"""``templater schema``: the JSON Schema of metadata.yaml, for editors."""

from __future__ import annotations

from importlib.resources import files

import click

from .. import output

HELP = """Print the JSON Schema of metadata.yaml.

Editors with a YAML language server complete and check by it, given this line in the file:

\b
  # yaml-language-server: $schema=metadata.schema.json
  templater schema > metadata.schema.json
"""


@click.command(help=HELP)
def command() -> int:
    output.write((files("templater.image") / "metadata.schema.json").read_text("utf-8"))
    return 0
