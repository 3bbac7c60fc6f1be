"""The options of `watch --web`."""

from __future__ import annotations

from functools import wraps
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from ...model.errors import UsageError
from ...model.unprintable_characters import printable
from .. import completers, options

if TYPE_CHECKING:
    from ...model.instance import Instance

#: the maximum number of instances among which the user can choose
MOST_INSTANCES: Final = 1000


class PageOptions(NamedTuple):
    """The values of the options. ``instances`` is a file with a list of instances."""

    port: int
    opens: bool
    instances: str | None
    allows_root: bool


def page_options(function: options.Command) -> options.Command:
    """Add ``--web`` and its options. The command receives ``PageOptions`` or None as ``page``."""

    @options.decorate(
        click.option("--web", is_flag=True, help="Serve a page on 127.0.0.1, and print its address."),
        click.option("--open", "opens", is_flag=True, help="With --web: open the page in the browser."),
        click.option(
            "--port", type=click.IntRange(1, 65535), help="With --web: the port.  [default: any free port]"
        ),
        click.option(
            "--instances", metavar="FILE", shell_complete=completers.files,
            help="With --web: choose among the instances in FILE, the output of `incus list -f json`.",
        ),
        click.option("--allow-root", is_flag=True, help="With --web: serve the page even as root."),
    )  # fmt: skip
    @wraps(function)
    def wrapped(
        *arguments: Any,
        web: bool,
        opens: bool,
        port: int | None,
        instances: str | None,
        allow_root: bool,
        **rest: Any,
    ) -> Any:
        if not web and (opens or port or instances is not None or allow_root):
            raise click.UsageError("--open, --port, --instances and --allow-root need --web")
        described = arguments[0].instance
        if instances is not None and (described.is_named or described.type or described.profiles):
            raise click.UsageError("--instances can't be combined with -i, --name, --type or -p")
        return function(
            *arguments, page=PageOptions(port or 0, opens, instances, allow_root) if web else None, **rest
        )

    return wrapped


def listed_instances(file: str, described: options.Description) -> list[Instance]:
    """Return the instances in the FILE of ``--instances``, with the values of the options -c and -d."""
    from ...instances.description_file import read_instances
    from ...parsing.instance_description import overridden

    config, (devices, _) = described.config_overrides(), options.device_overrides(described.devices)
    found = list(islice(read_instances(file), MOST_INSTANCES))
    if not found:
        raise UsageError(f"'{printable(file)}' has no instances")
    if config or devices:
        found = [overridden(instance, config=config, devices=devices) for instance in found]
    return found
