"""``templater hook install``: print or write what a runtime's configuration needs."""

from __future__ import annotations

import os

import click

from ....hooks import install, runtimes
from ....hooks.options import read_options
from ....model.errors import UsageError
from ... import output
from . import runtimes_with


@click.command()
@click.argument("runtime", type=click.Choice(runtimes_with("snippet")))
@click.argument("name", default="")
@click.option("--write", is_flag=True, help="Write it where it belongs instead of printing it.")
@click.option("-P", "--path", default="", help="LXC's path, podman's hooks.d, or the folder of units.")
@click.option("--source", help="The image's directory, if it is not the instance's.")
@click.option("--instance", help="The instance's description, if it is not instance.yaml.")
@click.option("--state", help="Where .templater is kept, if not in the instance's directory.")
@click.option("--rootfs", help="A root filesystem instead of what the runtime says.")
@click.option("--on-error", type=click.Choice(["fail", "keep-going"]), default="fail", show_default=True)
@click.option(
    "--time-limit", type=click.IntRange(1, 86400), default=60, show_default=True, help="In seconds."
)
@click.option("--log", help="A file to log to, beside the instance's and the journal.")
@click.option("--dialect", type=click.Choice(["v4", "v6", "v6.1"]), help="Of pongo2.")
@click.option(
    "--limit", multiple=True, metavar="NAME=VALUE", help="Another limit of rendering: see docs/limits.md."
)
@click.option(
    "--allow", multiple=True, metavar="DIR", help="oci, podman: image sources that annotations may name."
)
@click.option(
    "--allow-instance",
    multiple=True,
    metavar="DIR",
    help="oci, podman: descriptions that annotations may name.",
)
@click.option("--in-place", is_flag=True, help="oci, podman: write through mounted files such as /etc/hosts.")
@click.option("--no-cache", is_flag=True, help="Compile at every start.")
def command(runtime: str, name: str, write: bool, path: str, **choices: object) -> int:
    """Print or write what RUNTIME's configuration needs. NAME is a container, a bundle or a machine."""
    words = option_words(choices)
    try:
        snippet: install.Snippet = runtimes.function_of(runtime, "snippet")(name, words, path)
        if not write:
            output.write(snippet.text)
            return 0
        changed = install.write(snippet)
    except UsageError as error:
        raise click.UsageError(error.explain()) from None
    output.say(f"{snippet.file}: {'written' if changed else 'already so'}")
    return 0


def option_words(choices: dict[str, object]) -> list[str]:
    """The options of the hook's own line, those left out that say nothing new."""
    words: list[str] = []
    for name in ("source", "instance", "state", "rootfs", "log"):
        if choices[name]:
            words += [f"--{name}", from_anywhere(str(choices[name]))]
    if choices["dialect"]:
        words += ["--dialect", str(choices["dialect"])]
    if choices["on_error"] != "fail":
        words += ["--on-error", str(choices["on_error"])]
    if choices["time_limit"] != 60:
        words += ["--time-limit", str(choices["time_limit"])]
    for name in ("limit", "allow", "allow_instance"):
        values = choices[name]
        assert isinstance(values, tuple)
        for value in values:
            words += ["--" + name.replace("_", "-"), value if name == "limit" else from_anywhere(value)]
    read_options(words)  # a mistake is better said now than at the next start
    for name in ("in_place", "no_cache"):
        if choices[name]:
            words.append("--" + name.replace("_", "-"))
    return words


def from_anywhere(path: str) -> str:
    """The whole path: runtimes run hooks in directories of their own. What begins with a variable of the
    runtime's is left to it."""
    return path if path[:1] in ("$", "%") else os.path.abspath(path)
