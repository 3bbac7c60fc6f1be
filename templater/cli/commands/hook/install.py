"""``templater hook install``: print or write the configuration of a runtime."""

from __future__ import annotations

import click

from ....hooks import install, runtimes
from ....hooks.runtimes import runtimes_with
from ....limit_option import CHILD, READING, RENDERING, Given
from ....model.errors import UsageError
from ....model.render_options import DIALECT_NAMES
from ... import completers, output
from ...enforce_limits import guard


@click.command()
@click.argument(
    "runtime",
    metavar="RUNTIME",
    type=click.Choice([name.replace("_", "-") for name in runtimes_with("snippet")]),
)
@click.argument("name", default="")
@click.option("--write", is_flag=True, help="Write the configuration file instead of printing the lines.")
@click.option(
    "-P",
    "--path",
    default="",
    help="LXC's lxcpath, podman's hooks.d, or the directory of systemd units.",
    shell_complete=completers.directories,
)
@click.option(
    "--source",
    help="Image directory. [default: the instance directory]",
    shell_complete=completers.directories,
)
@click.option(
    "--instance", help="Instance description. [default: instance.yaml]", shell_complete=completers.files
)
@click.option(
    "--state",
    help="Directory that contains the state directory .templater. [default: the instance directory]",
    shell_complete=completers.directories,
)
@click.option(
    "--rootfs",
    help="Root filesystem. [default: the directory that the runtime names]",
    shell_complete=completers.directories,
)
@click.option("--on-error", type=click.Choice(["fail", "keep-going"]), default="fail", show_default=True)
@click.option(
    "--time-limit", type=click.IntRange(1, 86400), default=60, show_default=True, help="Limit in seconds."
)
@click.option(
    "--log",
    help="Additional log file, besides the instance's log and the journal.",
    shell_complete=completers.files,
)
@click.option("--dialect", type=click.Choice(DIALECT_NAMES), help="pongo2 version.")
@click.option(
    "--limit",
    multiple=True,
    metavar="NAME=VALUE",
    help="Override a rendering limit; see docs/limits.md.",
    shell_complete=completers.limits((RENDERING, READING, CHILD)),
)
@click.option(
    "--allow",
    multiple=True,
    metavar="DIR",
    help="oci, podman: allow annotations to name images in DIR.",
    shell_complete=completers.directories,
)
@click.option(
    "--allow-instance",
    multiple=True,
    metavar="DIR",
    help="oci, podman: allow annotations to name instance descriptions in DIR.",
    shell_complete=completers.directories,
)
@click.option("--in-place", is_flag=True, help="oci, podman: write into mounted files such as /etc/hosts.")
@click.option("--keep-modified", is_flag=True, help="Do not overwrite files that were changed by hand.")
@click.option("--no-cache", is_flag=True, help="Compile the templates at every start.")
def command(runtime: str, name: str, write: bool, path: str, **choices: object) -> None:
    """Print or write the lines that RUNTIME needs. NAME is a container, bundle or machine."""
    words = install.option_words(choices)
    try:
        with guard(Given()):
            snippet: install.Snippet = runtimes.function_of(runtime.replace("-", "_"), "snippet")(
                name, words, path
            )
            install.compile_hook()
            if not write:
                output.write(snippet.text)
                return
            changed = install.write(snippet)
    except UsageError as error:
        raise click.UsageError(error.explain()) from None
    output.say(f"{snippet.file}: {'written' if changed else 'already up to date'}")
