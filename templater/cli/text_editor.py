"""The user's text editor, for the commands that edit a text."""

from __future__ import annotations

import click

from ..model.errors import UsageError, reason
from .enforce_limits import paused


def in_editor(data: bytes, extension: str) -> bytes | None:
    """Open the text in an editor. Return the saved text, or None if the user did not save."""
    try:
        with paused():
            # The text stays bytes: for a string, click would require valid UTF-8 and change line endings.
            return click.edit(data, extension=extension)
    except (
        click.ClickException,
        OSError,
        ValueError,
    ) as error:  # ValueError: a quote in $EDITOR is not closed
        if isinstance(error, click.ClickException):
            why = error.message
        else:
            why = reason(error) if isinstance(error, OSError) else f"$VISUAL or $EDITOR: {error}"
        raise UsageError(
            f"the editor failed, and the image is unchanged: {why}",
            hint="set $VISUAL or $EDITOR to an editor",
        ) from error


def wait_for_key(message: str) -> None:
    """Print a message and wait for a key. Raises KeyboardInterrupt for Ctrl-C, and Abort for Ctrl-D.

    ``click.pause`` would ignore both keys.
    """
    click.echo(message, err=True)
    try:
        click.getchar()
    except EOFError:
        raise click.Abort from None
