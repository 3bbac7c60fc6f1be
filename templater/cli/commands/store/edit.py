"""``templater store edit``: change the flags, the expiry and the properties of an image."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from ....model.errors import InputError, UsageError
from ... import output
from ...text_editor import in_editor
from . import as_yaml, image_argument

if TYPE_CHECKING:
    from ....distribution.store import StoredImage

HELP = """Change an image's flags, expiry and properties.

The editor is $VISUAL or $EDITOR. If standard input is a pipe, templater reads the new text from it instead.
The image's files and its fingerprint stay as they are.

\b
Example:
  templater store show debian > debian.yaml
  templater store edit debian < debian.yaml
"""

#: the largest time that the store's database can hold
MOST = 2**63 - 1


@click.command(help=HELP)
@image_argument
def command(image: str) -> None:
    from ....distribution.store import Store

    store = Store()
    before = text_of(store.find(image)).encode()
    after = in_editor(before, ".yaml") if sys.stdin.isatty() else sys.stdin.buffer.read()
    if after is None or after == before:
        output.say("nothing changed")
        return
    text = after.decode("utf-8", "surrogateescape")
    store.change(image, lambda found: edited(found, text))
    output.say(f"updated {image}")


def text_of(image: StoredImage) -> str:
    """Return the flags, the expiry and the properties of an image as YAML."""
    value = {
        "auto_update": image.auto_update, "public": image.public, "expires": image.expires,
        "properties": dict(image.properties),
    }  # fmt: skip
    return as_yaml(value)


def edited(image: StoredImage, text: str) -> StoredImage:
    """Return a copy of ``image`` with the values in a YAML text. Raises InputError if the text is invalid."""
    import yaml

    from ....distribution.remotes import load_yaml

    try:
        value = load_yaml(text)
    except yaml.YAMLError as error:
        raise InputError(f"the new text is not valid YAML: {' '.join(str(error).split())}") from None
    kinds = {
        "auto_update": (bool, "true or false"), "public": (bool, "true or false"),
        "expires": (int, "a number of seconds since 1970"), "properties": (dict, "a mapping"),
    }  # fmt: skip
    if not isinstance(value, dict) or set(value) != set(kinds):
        raise InputError(f"the new text must have the keys {', '.join(kinds)}")
    for name, (kind, description) in kinds.items():
        if type(value[name]) is not kind:
            raise InputError(f"'{name}' must be {description}")
    if not -MOST <= value["expires"] <= MOST:
        raise InputError(f"'expires' must be a number from -{MOST} to {MOST}")
    properties = value["properties"]
    if not all(isinstance(each, str) for pair in properties.items() for each in pair):
        raise InputError(
            "the names and values of properties must be strings", hint='quote numbers: release: "13"'
        )
    if value["auto_update"] and not image.source:
        raise UsageError("auto_update requires an image from a server")
    return replace(image, **value)
