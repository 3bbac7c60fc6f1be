"""Options that several commands share: the instance, the host, the root filesystem, the format."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import click
from click.core import ParameterSource

from ..definitions.choice import CONTAINER as CONTAINER_BUILD
from ..definitions.choice import DEFAULT_BUILD, Choice
from ..definitions.choice import VM as VM_BUILD
from ..instances.description_file import read_instance, read_source
from ..limit_option import COMMAND, IMAGE, READING, RENDERING, parse
from ..model.errors import InputError, UsageError, reason
from ..model.hosts import HOSTS
from ..model.instance import CONTAINER, VIRTUAL_MACHINE
from ..model.metadata import TRIGGERS
from ..model.render_options import DIALECT_NAMES
from ..model.unprintable_characters import printable
from ..model.url_password import with_password
from ..rootfs.trusted_paths import open_file
from . import completers

if TYPE_CHECKING:
    from ..limit_option import Given
    from ..model.hosts import Host
    from ..model.instance import Instance
    from ..sources.open_source import OpenedSource

Command = Callable[..., Any]


class Description(NamedTuple):
    """The options of a command line that describe the instance.

    If a file that an option names has changed, call ``read()`` again.
    """

    file: str | None
    name: str | None
    type: str | None
    profiles: tuple[str, ...]
    config: tuple[str, ...]
    devices: tuple[str, ...]
    expanded: bool | None

    def read(self, source: OpenedSource | None = None) -> Instance:
        """Return the instance that the options describe.

        If ``source`` is an instance, and neither ``-i`` nor ``--name`` is given, the options change
        the instance of ``source``.
        """
        devices, notes = device_overrides(self.devices)
        given: dict[str, Any] = {
            "name": self.name,
            "type": self.type,
            "profiles": self.profiles,
            "config": self.config_overrides(),
            "devices": devices,
            "expanded": self.expanded,
        }
        if source is not None and source.is_instance and not self.is_named:
            instance = source.read_instance(**given)
        else:
            instance = read_instance(self.file, **given)
            if source is not None and not self.is_named:
                notes += (f"assuming a new {instance.type} '{instance.name}' (see -i and --name)",)
        return instance.replace(notes=(*instance.notes, *notes))

    def config_overrides(self) -> dict[str, str]:
        return dict(key_value(text) for text in self.config)

    def overridden_devices(self) -> set[str]:
        return {text.partition(",")[0] for text in self.devices}

    @property
    def is_named(self) -> bool:
        return self.file is not None or self.name is not None

    @property
    def is_given(self) -> bool:
        """Return whether any option describes the instance."""
        return self != Description(None, None, None, (), (), (), None)

    @property
    def files(self) -> tuple[str, ...]:
        """Return the paths of the files that ``read()`` reads."""
        instance = (self.file.partition("#")[0],) if self.file else ()
        from_values = tuple(text.partition("=@")[2] for text in self.config if "=@" in text)
        return (*instance, *self.profiles, *from_values)


class Request(NamedTuple):
    """The arguments of a command that ``request_options`` decorates."""

    src: str
    instance: Description
    #: names of triggers, or only ``all`` or ``next``; if empty, the command chooses the triggers
    triggers: tuple[str, ...]
    #: a directory, ``image`` or ``none``; if None, the command chooses the root filesystem
    rootfs: str | None
    host: Host
    dialect: str | None
    limits: Given
    as_json: bool
    #: true for ``--as all``; ``host`` is then the default host
    every_host: bool = False
    #: the build, if SRC is a definition
    choice: Choice = DEFAULT_BUILD
    #: whether the user chose the host
    host_given: bool = False
    project: str | None = None
    all_projects: bool = False


def key_value(text: str, example: str = "for example: -c user.user-data=@user-data.yaml") -> tuple[str, str]:
    """Parse ``KEY=VALUE``. ``KEY=@FILE`` reads the value from a file, unchanged."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"'{printable(text)}' is not KEY=VALUE", hint=example)
    return key, read_source(value[1:]).text if value.startswith("@") else value


def pairs_of(arguments: tuple[str, ...], *, what: str) -> dict[str, str]:
    """Parse ``KEY=VALUE…``, or ``KEY VALUE`` as in ``incus image set-property``."""
    if len(arguments) == 2 and not any("=" in argument for argument in arguments):
        return {arguments[0]: with_password(arguments[1])}
    found: dict[str, str] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or not name:
            raise UsageError(f"'{argument}' is not KEY=VALUE", hint=f"for example: {what} os=Debian")
        found[name] = value
    return found


def device_overrides(texts: tuple[str, ...]) -> tuple[dict[str, dict[str, str]], tuple[str, ...]]:
    """Parse ``NAME,KEY=VALUE`` as Incus does. Return the keys of each device, and notes.

    The value can contain commas: ``eth0,ipv4.routes=10.0.0.0/24,10.0.1.0/24``.
    """
    devices: dict[str, dict[str, str]] = {}
    notes: tuple[str, ...] = ()
    for text in texts:
        name, comma, pair = text.partition(",")
        if not name or "=" in name or not comma:
            raise UsageError(
                f"'{printable(text)}' is not NAME,KEY=VALUE",
                hint="for example: -d eth0,ipv4.address=10.0.0.5",
            )
        key, value = key_value(pair, "for example: -d eth0,ipv4.address=10.0.0.5")
        devices.setdefault(name, {})[key] = value
        if found := SECOND_KEY.search(value):
            notes += (
                f"-d sets '{printable(key)}' of device '{printable(name)}' to '{printable(value)}';"
                f" to set '{found[1]}' too, add -d {printable(name)},{found[1]}=…",
            )
    return devices, notes


SECOND_KEY = re.compile(r",([a-z][a-z0-9._]*)=")


def decorate(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Combine several click options into one decorator. The help keeps their order."""

    def decorated(function: Command) -> Command:
        for option in reversed(options):
            function = option(function)
        return function

    return decorated


def instance_options(function: Command) -> Command:
    """Add the options that describe an instance. The command receives a ``Description``."""

    @decorate(
        click.option(
            "-i",
            "--instance",
            "file",
            metavar="FILE[#NAME]",
            help="File that describes the instance: backup.yaml, templater's short form, or the output of "
            "`incus config show` (with or without --expanded), `incus query` or `incus list -f json`. #NAME "
            "selects one instance of a list. [default: SRC if SRC is an instance, else a new container `c1`]",
            shell_complete=completers.instance,
        ),
        click.option("--name", help="Instance name."),
        click.option(
            "--type", "kind", type=click.Choice([CONTAINER, VIRTUAL_MACHINE]), help="Instance type."
        ),
        click.option("--vm", is_flag=True, help="Short for --type virtual-machine."),
        click.option(
            "-p",
            "--profile",
            "profiles",
            metavar="FILE",
            multiple=True,
            help="A profile (`incus profile show`). Repeatable; later profiles override earlier ones.",
            shell_complete=completers.files,
        ),
        click.option(
            "-c",
            "--config",
            metavar="KEY=VALUE",
            multiple=True,
            help="Set a configuration key. KEY=@FILE reads the value from a file; KEY= unsets it.",
            shell_complete=completers.value,
        ),
        click.option(
            "-d",
            "--device",
            "devices",
            metavar="NAME,KEY=VALUE",
            multiple=True,
            help="Set a key of a device of the instance or of a profile. VALUE can contain commas.",
            shell_complete=completers.value,
        ),
        click.option(
            "--expanded/--no-expanded",
            default=None,
            help="Whether the FILE of -i is output of `config show --expanded`. "
            "[default: detected from the devices in FILE]",
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
        if vm and kind == CONTAINER:
            raise click.UsageError("--vm and --type container contradict each other")
        kind = VIRTUAL_MACHINE if vm else kind
        return function(instance=Description(file, name, kind, profiles, config, devices, expanded), **rest)

    return wrapped


class HostOption(click.Option):
    """The option ``--as`` with its older name ``--host``, which the help does not show."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        super().add_to_parser(parser, ctx)
        parser.add_option(self, ["--host"], dest=self.name)


def host_options(*, default: str = "incus", every: bool = False) -> Callable[[Command], Command]:
    """Add ``--as`` and ``--dialect``. The command receives a ``Host``, and a dialect's name or None.

    If ``every`` is true, the command's parameter ``every_host`` tells whether the user gave ``--as all``.
    """
    options = decorate(
        click.option(
            "--as",
            "host_name",
            cls=HostOption,
            metavar="HOST",
            type=click.Choice([*HOSTS, *(("all",) if every else ())]),
            default=default,
            show_default=True,
            help=f"Daemon release to predict: {', '.join(HOSTS)}. 'none' shows only templater's own result"
            + ("; 'all' compares all releases in a table." if every else "."),
        ),
        click.option(
            "--dialect", type=click.Choice(DIALECT_NAMES), help="pongo2 version to use instead of the host's."
        ),
    )

    def with_host(function: Command) -> Command:
        @wraps(function)
        def wrapped(*, host_name: str, **rest: Any) -> Any:
            if every:
                rest["every_host"] = host_name == "all"
            return function(host=HOSTS[default if host_name == "all" else host_name], **rest)

        return options(wrapped)

    return with_host


def trigger_option(*, required: bool = False) -> Callable[[Command], Command]:
    """Add the option ``-t``: the triggers to simulate, in this order.

    The option can be repeated, and its value can be several triggers, separated by commas.
    """
    choose = (
        "" if required else " `next` simulates the instance's next start,"
        " `all` simulates each trigger separately."
        "  [default: the pending trigger (create for a new instance), then start]"
    )  # fmt: skip
    return click.option(
        "-t",
        "--trigger",
        "triggers",
        metavar="TRIGGER",
        multiple=True,
        required=required,
        callback=lambda ctx, param, values: split_triggers(values, () if required else CHOICES),
        help=f"Triggers to run in order, separated by commas: {', '.join(TRIGGERS)}.{choose}",
        shell_complete=completers.list_of((*TRIGGERS, *(() if required else CHOICES))),
    )


#: special values of ``-t``, which select triggers
CHOICES = ("next", "all")


def split_triggers(values: tuple[str, ...], choices: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the words in the values of ``-t``, in order.

    Raises BadParameter for an unknown or empty word.
    """
    # An empty value stays, and is an error: it can come from an unset variable in the user's script.
    triggers = tuple(part for value in values for part in value.split(",") if part or not value.strip(","))
    for trigger in triggers:
        if trigger in choices and len(triggers) > 1:
            raise click.BadParameter(f"'{trigger}' can't be combined with other triggers")
        if trigger not in TRIGGERS and trigger not in choices:
            known = ", ".join((*TRIGGERS, *choices))
            raise click.BadParameter(f"unknown trigger '{printable(trigger)}'; known triggers: {known}")
    return triggers


def request_options(
    *,
    rootfs: str = "--rootfs",
    triggers: str = "optional",
    host: str = "incus",
    every_host: bool = False,
    parameters: bool = True,
    source: str = "SRC",
) -> Callable[[Command], Command]:
    """Add SRC and the options of a ``Request`` to a command, which gets the ``Request`` as first argument.

    * ``rootfs``: ``--rootfs`` for an option, or ``ROOTFS`` or ``[ROOTFS]`` for an argument.
    * ``triggers``: whether ``-t`` is ``optional``, ``required`` or left out (``none``).
    * ``host``: the default of ``--as``. If ``every_host`` is true, ``--as all`` is accepted.
    * ``parameters``: whether to add ``-o KEY=VALUE``.
    * ``source``: the name of SRC in the help.
    """
    options: list[Callable[[Command], Command]] = [
        click.argument("src", metavar=source, shell_complete=completers.source)
    ]
    if rootfs != "--rootfs":
        options.append(rootfs_argument(required=rootfs == "ROOTFS"))
    options.append(instance_options)
    if triggers != "none":
        options.append(trigger_option(required=triggers == "required"))
    if rootfs == "--rootfs":
        options.append(rootfs_option)
    if parameters:
        options.append(parameter_option)
    options += [project_options, host_options(default=host, every=every_host), limit_option(), json_option]

    def with_request(function: Command) -> Command:
        @wraps(function)
        def wrapped(
            *,
            src: str,
            instance: Description,
            rootfs: str | None,
            host: Host,
            dialect: str | None,
            limits: Given,
            as_json: bool,
            triggers: tuple[str, ...] = (),
            every_host: bool = False,
            parameters: tuple[str, ...] = (),
            project: str | None,
            all_projects: bool,
            **rest: Any,
        ) -> Any:
            chosen = Choice(
                parameters,
                VM_BUILD if instance.type == VIRTUAL_MACHINE else CONTAINER_BUILD,
                rootfs if has_option else None,
            )
            asked = click.get_current_context().get_parameter_source("host_name")
            request = Request(
                src, instance, triggers, rootfs, host, dialect, limits, as_json, every_host, chosen,
                asked is not ParameterSource.DEFAULT, project, all_projects,
            )  # fmt: skip
            return function(request, **rest)

        return decorate(*options)(wrapped)

    has_option = rootfs == "--rootfs"

    return with_request


def limit_option(*kinds: str) -> Callable[[Command], Command]:
    """Add ``--limit`` for limits of these ``kinds``. The command receives a ``limits.Given``."""
    chosen = kinds or (RENDERING, READING, IMAGE, COMMAND)
    return click.option(
        "--limit",
        "limits",
        metavar="NAME=VALUE",
        multiple=True,
        callback=lambda ctx, param, values: parse(values, chosen),
        help="Override a built-in limit, e.g. time=5m or output=32MiB; docs/limits.md lists them.",
        shell_complete=completers.limits(chosen),
    )


rootfs_option = click.option(
    "--rootfs",
    metavar="DIR|FILE|image|none",
    help="Root filesystem to compare with: a directory, the second file of a split image, or `image` for the"
    " root filesystem in SRC's archive. If SRC is a definition: the root filesystem that its build unpacks."
    "  [default: SRC's own if SRC is a directory or a backup]",
    shell_complete=completers.files,
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

parameter_option = click.option(
    "-o",
    "--option",
    "parameters",
    metavar="KEY=VALUE",
    multiple=True,
    help="If SRC is a definition: set a field of SRC, e.g. image.release=noble. Repeatable.",
)

project_options = decorate(
    click.option("--project", metavar="NAME", help="Project of SRC, if SRC is a running instance."),
    click.option(
        "--all-projects", is_flag=True, help="With `diff incus:`, show the instances of every project."
    ),
)

state_option = click.option(
    "--state",
    metavar="DIR",
    help="Directory that contains .templater.  [default: SRC if it is an instance directory, else the"
    " parent directory of ROOTFS]",
    shell_complete=completers.directories,
)

source_argument = click.argument("src", metavar="SRC", shell_complete=completers.source)


def rootfs_argument(*, required: bool = True) -> Callable[[Command], Command]:
    shown = "ROOTFS" if required else "[ROOTFS]"
    return click.argument("rootfs", metavar=shown, required=required, shell_complete=completers.files)


def existing(path: str) -> str:
    """Return the path. Raise InputError if it does not exist."""
    if not os.path.exists(path):
        raise InputError(f"'{printable(path)}' does not exist")
    return path


def open_binary(path: str) -> BinaryIO:
    """Open a file that is read piece by piece. ``-`` is standard input."""
    try:
        return open(0 if path == "-" else open_file(path), "rb", closefd=path != "-")
    except OSError as error:
        raise InputError(f"can't read '{path}': {reason(error)}") from error
