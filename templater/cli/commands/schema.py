"""``templater schema``: the JSON Schema of metadata.yaml, for editors."""

from __future__ import annotations

from importlib.resources import files

import click

from .. import output

HELP = """Print the JSON Schema of metadata.yaml.

Save the schema to a file, and name it in the first line of metadata.yaml. Editors with a YAML language
server then complete and check the file.

\b
  templater schema > metadata.schema.json
  # yaml-language-server: $schema=metadata.schema.json
"""


@click.command(help=HELP)
def command() -> int:
    output.write((files("templater.image") / "metadata.schema.json").read_text("utf-8"))
    return 0
