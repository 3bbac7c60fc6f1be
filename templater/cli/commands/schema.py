"""``templater schema``: print the JSON Schema of metadata.yaml or of test files, for editors."""

from __future__ import annotations

from importlib.resources import files

import click

from .. import output

HELP = """Print the JSON Schema of metadata.yaml, or of test files.

Test files are the files that `templater test` reads.

Save the schema to a file, and name the schema in the first line of your YAML file. Editors with a YAML
language server then complete and check your file.

\b
  templater schema > metadata.schema.json
  # yaml-language-server: $schema=metadata.schema.json
  templater schema tests > tests.schema.json
"""
#: the package and file of each schema
SCHEMAS = {
    "metadata": ("templater.image", "metadata.schema.json"),
    "tests": ("templater.testing", "tests.schema.json"),
}


@click.command(help=HELP)
@click.argument("kind", type=click.Choice(list(SCHEMAS)), default="metadata", metavar="[metadata|tests]")
def command(kind: str) -> None:
    package, name = SCHEMAS[kind]
    output.write((files(package) / name).read_text("utf-8"))
