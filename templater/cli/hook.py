"""``templater hook``: set hooks up, look after them, and be one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from . import options, output

if TYPE_CHECKING:
    from ..hooks.install import Snippet
    from ..hooks.status import Finding

HELP = """Render templates whenever a runtime starts a container.

`install` prints what the runtime's configuration needs (or writes it), `status` says whether it
would run. The line it writes runs a bare interpreter, not this command: it is four times as fast.

\b
  templater hook install lxc web1 --write      /var/lib/lxc/web1/config
  templater hook install podman --write        annotations org.templater.…
  templater hook install oci ./bundle --write  the bundle's config.json
  templater hook install nspawn web1 --write   systemd-nspawn@web1
  templater hook install incus                 the value of raw.lxc
  templater hook status lxc web1
"""

TARGETS = ("lxc", "oci", "podman", "nspawn", "incus")


@click.group(help=HELP)
def command() -> None:
    pass


@command.command("install")
@click.argument("runtime", type=click.Choice(TARGETS))
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
@click.option("--allow", multiple=True, help="oci, podman: where annotations may point to.")
@click.option("--in-place", is_flag=True, help="oci, podman: write through mounted files such as /etc/hosts.")
@click.option("--no-cache", is_flag=True, help="Compile at every start.")
def install_command(runtime: str, name: str, write: bool, path: str, **choices: object) -> int:
    """Print or write what RUNTIME's configuration needs. NAME is a container, a bundle or a machine."""
    from ..hooks import install

    snippet = snippet_for(runtime, name, path, choices)
    if not write:
        output.write(snippet.text)
        return 0
    if snippet.file == "raw.lxc":
        raise click.UsageError(
            'Incus keeps raw.lxc itself: incus config set NAME raw.lxc "$(templater hook …)"'
        )
    changed = install.write(snippet)
    output.say(f"{snippet.file}: {'written' if changed else 'already so'}")
    return 0


def snippet_for(runtime: str, name: str, path: str, choices: dict[str, object]) -> Snippet:
    from ..hooks import install, oci

    words = option_words(choices)
    seconds = int(str(choices["time_limit"]))
    in_place = bool(choices["in_place"])
    stage = oci.CREATE_CONTAINER if in_place else oci.CREATE_RUNTIME
    if runtime in ("oci", "podman"):
        words += ["--stage", stage]
    if runtime in ("lxc", "oci") and not name:
        raise click.UsageError(f"which {'container' if runtime == 'lxc' else 'bundle'}?")
    if runtime in ("podman", "incus") and name:
        raise click.UsageError(f"what {runtime} needs is for all containers: '{name}' says nothing to it")
    if runtime == "lxc":
        return install.for_lxc(name, words, path or install.LXC_PATH)
    if runtime == "oci":
        return install.for_oci(name, words, seconds, stage)
    if runtime == "podman":
        return install.for_podman(words, seconds, stage, path or install.HOOKS_D)
    if runtime == "nspawn":
        return install.for_nspawn(name, words, path or install.UNITS)
    return install.for_incus(words)


def option_words(choices: dict[str, object]) -> list[str]:
    """The options of the hook's own line, those left out that say nothing new."""
    from ..hooks.run import parse

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
    for name in ("limit", "allow"):
        values = choices[name]
        assert isinstance(values, tuple)
        for value in values:
            words += [f"--{name}", from_anywhere(value) if name == "allow" else value]
    parse(["lxc", *words])  # a mistake is better said now than at the next start
    for name in ("in_place", "no_cache"):
        if choices[name]:
            words.append("--" + name.replace("_", "-"))
    return words


def from_anywhere(path: str) -> str:
    """The whole path: runtimes run hooks in directories of their own. What begins with a variable of the
    runtime's is left to it."""
    return path if path[:1] in ("$", "%") else os.path.abspath(path)


@command.command("status")
@click.argument("runtime", type=click.Choice(("lxc", "oci", "podman", "nspawn")))
@click.argument("name", default="")
@click.option("-P", "--path", default="", help="LXC's path, podman's hooks.d, or the folder of units.")
@options.json_option
def status_command(runtime: str, name: str, path: str, as_json: bool) -> int:
    """Say whether the hook would run at the next start, and why not. Exit code 1: it would not."""
    findings = list(findings_of(runtime, name, path))
    if as_json:
        output.write_json([{"ok": each.ok, "text": each.text, "hint": each.hint} for each in findings])
    for finding in () if as_json else findings:
        mark = {True: "ok", False: "no", None: "--"}[finding.ok]
        output.write(f"{mark}  {finding.text}\n")
        if finding.hint and not finding.ok:
            output.write(f"    {finding.hint}\n")
    return 1 if any(finding.ok is False for finding in findings) else 0


def findings_of(runtime: str, name: str, path: str) -> Iterator[Finding]:
    from ..hooks import install, status

    if runtime != "podman" and not name:
        raise click.UsageError("which container, bundle or machine?")
    if runtime == "lxc":
        return status.lxc_status(name, path or install.LXC_PATH)
    if runtime == "podman":
        return status.podman_status(path or install.HOOKS_D)
    if runtime == "oci":
        return status.oci_status(name)
    return status.nspawn_status(name, path or install.UNITS)


def runtime_command(runtime: str) -> click.Command:
    """The hook itself through this command: slower than the line of ``install``, the same otherwise."""

    @command.command(
        runtime,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
        help=f"Be the hook that {runtime} calls; `install` writes a faster line.",
    )
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def be(arguments: tuple[str, ...]) -> int:
        from ..hooks.run import USAGE, run

        if {"-h", "--help"} & set(arguments):
            output.write(USAGE)
            return 0
        return run([runtime, *arguments])

    return be


for _runtime in ("lxc", "oci", "nspawn", "incus"):
    runtime_command(_runtime)
