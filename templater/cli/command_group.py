"""Discovery of commands by file name: ``cli/commands/preview.py`` is ``templater preview``."""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import click

from . import terminal

#: other names of commands, which other tools use
ALIASES = {"render": "preview"}
#: words that users may try, with the command that the error message suggests
SUGGESTIONS = {
    "lint": "check", "validate": "check", "verify": "audit", "scan": "audit",
    "show": "preview", "plan": "preview", "init": "new", "export": "image export", "build": "image build",
    "info": "image info", "edit": "image edit", "install": "hook install",
}  # fmt: skip


class Commands(click.Group):
    """A group of commands, one for each module or package in ``package`` that defines ``command``.

    A command is imported when it is used.
    """

    def __init__(self, package: str, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.package = package

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in self.names() if self.get_command(ctx, name) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        stem = ALIASES.get(cmd_name, cmd_name).replace("-", "_")
        if not stem.isidentifier() or stem.startswith("_") or find_spec(f"{self.package}.{stem}") is None:
            return None
        found = getattr(import_module(f"{self.package}.{stem}"), "command", None)
        if not isinstance(found, click.Command):
            return None
        if all(option.name != "color" for option in found.params):
            found.params += terminal.options(hidden=True)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"unknown command '{args[0]}'{self._suggestion(ctx, args[0])}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        # imported here, because help and completion do not need it
        from ..rootfs.close_in_another_process import handing_over

        try:
            return handing_over(super().invoke, ctx)
        except BrokenPipeError as gone:
            # click would exit with 1, which means "would change" in templater
            raise ReaderGone from gone

    def names(self) -> Iterator[str]:
        """Yield the names of the commands, without importing their modules.

        The names of the modules are enough: every module of the package defines a command.
        """
        from pkgutil import iter_modules

        for module in iter_modules(import_module(self.package).__path__):
            yield module.name.replace("_", "-")

    def _suggestion(self, ctx: click.Context, name: str) -> str:
        if name in SUGGESTIONS and self.package.endswith(".cli.commands"):
            return f"; did you mean '{SUGGESTIONS[name]}'?"
        from difflib import get_close_matches

        near = get_close_matches(name, [*self.list_commands(ctx), *ALIASES], n=1)
        return f"; did you mean '{near[0]}'?" if near else ""


class ReaderGone(Exception):
    """Raised when the process that reads standard output has closed the pipe."""
