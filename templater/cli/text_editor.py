"""The user's text editor, for the commands that edit a text."""

from __future__ import annotations

import click

from ..model.errors import UsageError
from .enforce_limits import paused


def in_editor(text: str, extension: str) -> str | None:
    """Open the text in an editor. Return the saved text, or None if the user did not save."""
    try:
        with paused():
            return click.edit(text, extension=extension)
    except click.ClickException as error:
        raise UsageError(
            f"the editor failed, and the image is unchanged: {error.message}",
            hint="set $VISUAL or $EDITOR to an editor",
        ) from error
