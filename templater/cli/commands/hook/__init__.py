"""``templater hook``: install, check and run hooks."""

from __future__ import annotations

import click

from ....hooks.runtimes import function_of, runtimes_with
from ... import output
from ...command_group import Commands

HELP = """Render templates whenever a runtime starts a container.

`install` prints or writes the lines that the runtime's configuration needs. `status` checks whether the hook
would run. The installed line runs the Python interpreter directly, which is four times as fast as this
command.

\b
  templater hook install lxc web1 --write      /var/lib/lxc/web1/config
  templater hook install podman --write        annotations org.templater.…
  templater hook install oci ./bundle --write  the bundle's config.json
  templater hook install nspawn web1 --write   systemd-nspawn@web1
  templater hook install lxc-template --write  lxc-create -t templater
  templater hook install incus                 the value of raw.lxc
  templater hook status lxc web1
"""


class Hook(Commands):
    """The group of ``install``, ``status``, and a command for each runtime that calls a hook."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *runtimes_with("read_request")})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        return runtime_command(cmd_name) if found is None and function_of(cmd_name, "read_request") else found


def runtime_command(runtime: str) -> click.Command:
    """Return a command that runs the hook.

    The configuration that ``hook install`` prints starts the hook faster than this command does.
    """

    @click.command(
        runtime,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
        help=f"Internal hook entry point for {runtime}; use `hook install`.",
    )
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def be(arguments: tuple[str, ...]) -> int:
        import resource

        from ....hooks.options import USAGE
        from ....hooks.run import bound_memory, run

        if {"-h", "--help"} & set(arguments):
            output.write(USAGE)
            return 0
        before = resource.getrlimit(resource.RLIMIT_AS)
        bound_memory()
        try:
            return run([runtime, *arguments])
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)

    return be


command = Hook(__name__, help=HELP)
