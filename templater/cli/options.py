"""The options that commands share: the instance, the host, the root filesystem, the format."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, BinaryIO

import click
from click.shell_completion import CompletionItem

from ..instances.read import own_description, read_instance, read_source
from ..limits import IMAGE, READING, RENDERING, parse
from ..model.errors import InputError, UsageError, reason
from ..model.hosts import HOSTS
from ..model.lifecycle import FIRST_BOOT
from ..model.metadata import TRIGGERS

if TYPE_CHECKING:
    from ..model.instance import Instance

Command = Callable[..., Any]

DIALECTS = ("v4", "v6", "v6.1")


def complete_files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="file")]


@dataclass(frozen=True, slots=True)
class Description:
    """Which instance the command line describes; ``read()`` may be asked again when its files change."""

    file: str | None
    name: str | None
    type: str | None
    profiles: tuple[str, ...]
    config: tuple[str, ...]
    devices: tuple[str, ...]
    expanded: bool | None

    def read(self, src: str | None = None) -> Instance:
        """The instance; that of ``src`` where it is an instance directory and no other one is named."""
        own = None if src is None or self.is_named else own_description(src)
        file, name = (self.file, self.name) if own is None else (own[0], own[1] or None)
        found = read_instance(
            file,
            name=name,
            type=self.type,
            profiles=self.profiles,
            config=dict(key_value(text) for text in self.config),
            devices=dict(device(text) for text in self.devices),
            expanded=self.expanded,
        )
        if own is not None:
            note = f"the instance is the one of '{own[0].name}' (see -i and --name)"
            found.notes = (note, *found.notes)
        elif src is not None and not self.is_named:
            note = f"no instance is named: a {found.type} '{found.name}' is assumed (see -i and --name)"
            found.notes = (note, *found.notes)
        return found

    @property
    def is_named(self) -> bool:
        return self.file is not None or self.name is not None

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it was read from, for whoever watches them."""
        instance = (self.file.partition("#")[0],) if self.file else ()
        from_values = tuple(text.partition("=@")[2] for text in self.config if "=@" in text)
        return (*instance, *self.profiles, *from_values)


def key_value(text: str, example: str = "for example: -c user.user-data=@user-data.yaml") -> tuple[str, str]:
    """``KEY=VALUE``; ``KEY=@FILE`` takes the value from a file, as it is."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"'{text}' is not KEY=VALUE", hint=example)
    return key, read_source(value[1:]).text if value.startswith("@") else value


def device(text: str) -> tuple[str, dict[str, str]]:
    """``NAME,KEY=VALUE,…`` as ``incus launch -d`` takes it, all of a device at once."""
    example = "for example: -d eth0,type=nic,ipv4.address=10.0.0.5"
    name, *pairs = text.split(",")
    if not name or "=" in name or not pairs:
        raise UsageError(f"'{text}' is not NAME,KEY=VALUE,…", hint=example)
    return name, dict(key_value(pair, example) for pair in pairs)


def decorate(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several click options as one decorator, in the order in which help shows them."""

    def decorated(function: Command) -> Command:
        for option in reversed(options):
            function = option(function)
        return function

    return decorated


def instance_options(function: Command) -> Command:
    """``-i`` and what adds to it or replaces it; the command gets a ``Description`` as ``instance``."""

    @decorate(
        click.option(
            "-i",
            "--instance",
            "file",
            metavar="FILE[#NAME]",
            help="The instance: `incus config show` (also --expanded), `incus list -f json` (pick one "
            "with #NAME), `incus query`, backup.yaml, or our own short form. Without it: a container "
            "`c1` on x86_64, or the one of SRC if that is an instance directory.",
            shell_complete=complete_files,
        ),
        click.option("--name", help="The instance's name."),
        click.option(
            "--type", "kind", type=click.Choice(["container", "virtual-machine"]), help="The instance's type."
        ),
        click.option("--vm", is_flag=True, help="Short for --type virtual-machine."),
        click.option(
            "-p",
            "--profile",
            "profiles",
            metavar="FILE",
            multiple=True,
            help="A profile (`incus profile show`); several in order.",
            shell_complete=complete_files,
        ),
        click.option(
            "-c",
            "--config",
            metavar="KEY=VALUE",
            multiple=True,
            help="A configuration key; KEY=@FILE takes a file's content, KEY= unsets.",
        ),
        click.option(
            "-d",
            "--device",
            "devices",
            metavar="NAME,K=V,…",
            multiple=True,
            help="A device, or keys of one that the profiles have.",
        ),
        click.option(
            "--expanded/--no-expanded",
            default=None,
            help="Whether FILE is from `config show --expanded`; told by its devices otherwise.",
        ),
    )
    @wraps(function)
    def wrapped(
        *,
        file: str | None,
        name: str | None,
        kind: str | None,
        vm: bool,
        profiles: tuple[str, ...],
        config: tuple[str, ...],
        devices: tuple[str, ...],
        expanded: bool | None,
        **rest: Any,
    ) -> Any:
        if vm and kind == "container":
            raise click.UsageError("--vm and --type container contradict each other")
        kind = "virtual-machine" if vm else kind
        return function(instance=Description(file, name, kind, profiles, config, devices, expanded), **rest)

    return wrapped


class HostOption(click.Option):
    """``--as``, which also answers to its older name ``--host``; help shows only ``--as``."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        super().add_to_parser(parser, ctx)
        parser.add_option(self, ["--host"], dest=self.name)


def host_options(*, default: str = "incus") -> Callable[[Command], Command]:
    """Add ``--as`` and ``--dialect``; the command gets a ``Host`` and the name of a dialect or None."""
    options = decorate(
        click.option(
            "--as",
            "host_name",
            cls=HostOption,
            metavar="HOST",
            type=click.Choice(list(HOSTS)),
            default=default,
            show_default=True,
            help=f"Daemon release to predict: {', '.join(HOSTS)}. 'none' shows only templater's own result.",
        ),
        click.option(
            "--dialect", type=click.Choice(DIALECTS), help="pongo2 version to use instead of the host's."
        ),
    )

    def with_host(function: Command) -> Command:
        @wraps(function)
        def wrapped(*, host_name: str, **rest: Any) -> Any:
            return function(host=HOSTS[host_name], **rest)

        return options(wrapped)

    return with_host


def trigger_option(*, default: tuple[str, ...] | None = FIRST_BOOT) -> Callable[[Command], Command]:
    """``-t``: passes in their order; commas and repetition both work."""
    explained = f"  [default: {','.join(default)}]" if default else ""
    return click.option(
        "-t",
        "--trigger",
        "triggers",
        metavar="TRIGGER",
        multiple=True,
        required=default is None,
        callback=lambda ctx, param, values: split_triggers(values) or default,
        help=f"What happens: {', '.join(TRIGGERS)}; several (with commas) are passes in order.{explained}",
        shell_complete=lambda ctx, param, incomplete: [
            CompletionItem(trigger) for trigger in TRIGGERS if trigger.startswith(incomplete)
        ],
    )


def split_triggers(values: tuple[str, ...]) -> tuple[str, ...]:
    """The passes in their order. A script whose variable is empty must not get the default instead."""
    triggers = tuple(part for value in values for part in value.split(",") if part or not value.strip(","))
    for trigger in triggers:
        if trigger not in TRIGGERS:
            raise click.BadParameter(f"'{trigger}' is not a trigger; there are {', '.join(TRIGGERS)}")
    return triggers


def limit_option(*kinds: str) -> Callable[[Command], Command]:
    """``--limit``: the command gets a ``limits.Given``; ``kinds`` are those that it has any use for."""
    return click.option(
        "--limit",
        "limits",
        metavar="NAME=VALUE",
        multiple=True,
        callback=lambda ctx, param, values: parse(values, kinds or (RENDERING, READING, IMAGE)),
        help="Another limit than ours, such as time=5m or template=32MiB; all are in docs/limits.md.",
    )


json_option = click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")

source_argument = click.argument("src", metavar="SRC", shell_complete=complete_files)


def rootfs_argument(*, required: bool = True) -> Callable[[Command], Command]:
    shown = "ROOTFS" if required else "[ROOTFS]"
    return click.argument("rootfs", metavar=shown, required=required, shell_complete=complete_files)


def existing(path: str) -> str:
    """The path, if something stands there."""
    if not os.path.exists(path):
        raise InputError(f"there is no '{path}'")
    return path


def open_binary(path: str) -> BinaryIO:
    """A file to be read piece by piece; ``-`` is standard input."""
    try:
        return open(0 if path == "-" else path, "rb", closefd=path != "-")
    except OSError as error:
        raise InputError(f"can't read '{path}': {reason(error)}") from error
