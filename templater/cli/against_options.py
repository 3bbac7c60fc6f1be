"""Options of ``diff`` that compare with other settings: ``--against-…``, ``--set`` and ``--unset``.

The first side of the comparison ignores these options. The second side has a different configuration, image,
instance or host.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ..model.errors import TemplaterError
from ..model.hosts import HOSTS
from ..model.unprintable_characters import printable
from . import completers, options, output

if TYPE_CHECKING:
    from ..model.instance import Instance
    from ..model.metadata import Metadata
    from ..model.plan import Plan
    from ..model.render_options import RenderOptions
    from .open_and_plan import Opened

NAMES = ("--set", "--unset", "--against-image", "--against-instance", "--against-host")


class OtherSide(NamedTuple):
    """The options that choose the second side of a comparison.

    The user can give only one of these options, with one exception: ``set`` together with ``unset``.
    """

    set: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()
    image: str | None = None
    instance: str | None = None
    host: str | None = None

    @property
    def given(self) -> list[str]:
        """Return the names of the options that the user gave."""
        return [name for name, value in zip(NAMES, self, strict=True) if value]

    def check(self, request: options.Request, instances: str | None) -> None:
        """Raise click.UsageError if the options contradict each other or the request."""
        given = self.given
        if len(given) > 1 and given != ["--set", "--unset"]:
            raise click.UsageError(f"{' and '.join(given)} can't be combined: give one of them")
        if request.rootfs is not None:
            raise click.UsageError(f"ROOTFS can't be combined with {given[0]}, which compares rendered files")
        if instances is not None:
            raise click.UsageError(f"--instances can't be combined with {given[0]}")
        both = {text.partition("=")[0] for text in self.set} & {*self.unset}
        if both:
            raise click.UsageError(f"--set and --unset name the same key '{printable(min(both))}'")

    def plans(self, found: Opened, fixed: RenderOptions) -> Iterator[tuple[Plan, Plan]]:
        """Yield a pair of plans for each run: one plan for each side of the comparison.

        Report the notes of all plans on stderr.
        """
        other, other_fixed = self.opened(found, fixed)
        notes: dict[str, None] = {}
        for triggers in found.runs:
            before = found.plan(triggers, fixed)
            try:
                after = other.plan(triggers, other_fixed)
            except TemplaterError as error:
                raise error.replace(
                    notes=(*error.notes, f"this error occurs only with {self.given[0]}")
                ) from None
            notes.update(dict.fromkeys((*before.notes, *after.notes)))
            yield before, after
        notes.update(dict.fromkeys(self.unread_keys(found, before.metadata, fixed.dialect)))
        for note in notes:
            output.note(note)

    def unread_keys(self, found: Opened, metadata: Metadata, dialect: str) -> Iterator[str]:
        """Yield a note for each key of --set that no template reads."""
        from ..pongo2.syntax.hints import did_you_mean
        from ..rendering.origins import keys_read
        from .plan_warnings import MAX_SECONDS

        if not self.set:
            return
        templates = found.source.image.read_templates({rule.template for rule in metadata.rules})
        texts = {file.data: file for file in templates.values() if file.data is not None}
        keys = keys_read((file.source("") for file in texts.values()), dialect, MAX_SECONDS)
        if keys is None:
            return
        for key in [text.partition("=")[0] for text in self.set]:
            if key not in keys:
                hint = did_you_mean(key, sorted(keys))
                yield f"no template reads '{printable(key)}'{hint and ': '}{printable(hint)}"

    def opened(self, found: Opened, fixed: RenderOptions) -> tuple[Opened, RenderOptions]:
        """Open the second side of a comparison, with the triggers of the first side.

        Neither side has a root filesystem.
        """
        if self.image is not None:
            from ..definitions.choice import DEFAULT_BUILD
            from ..definitions.is_definition import is_definition
            from ..sources.open_source import open_source
            from .fetched_source import local_source

            path = local_source(self.image)
            choice = found.request.choice if is_definition(path) else DEFAULT_BUILD
            source = open_source(path, found.request.limits.for_images(), choice)
            for note in source.notes if source.definition is not None else ():
                output.note(f"{printable(self.image)}: {note}")
            return found._replace(source=source), fixed
        if self.instance is not None:
            described = found.request.instance._replace(file=self.instance, name=None, type=None)
            instance = described.read()
            for note in instance.notes:
                output.note(f"{printable(self.instance)}: {note}")
            return found._replace(instance=instance), fixed
        if self.host is not None:
            from ..model.render_options import RenderOptions

            if self.host == found.request.host.name:  # for a running instance, known only after opening
                raise click.UsageError(
                    f"both sides use the host {self.host}: use --as to choose another host for the first side"
                )
            host = HOSTS[self.host]
            dialect = found.request.dialect or ""
            return found, RenderOptions(host, dialect, fixed.clock, fixed.seed, fixed.limits)
        return found._replace(instance=self.configured(found.instance)), fixed

    def configured(self, instance: Instance) -> Instance:
        """Return the instance with the changes of ``--set`` and ``--unset``."""
        from ..parsing.instance_description import overridden
        from ..planning.generated_keys import with_new_id

        keys = dict(options.key_value(text, "for example: --set user.role=db") for text in self.set)
        for key in self.unset:
            if key not in instance.config:
                holder = next((p.name for p in reversed(instance.profiles) if key in p.config), None)
                if holder is None:
                    output.note(f"neither '{instance.name}' nor a profile sets '{key}'")
                else:
                    output.note(
                        f"--unset {key} has no effect: '{key}' comes from the profile '{holder}',"
                        f" not from '{instance.name}'"
                    )
            keys[key] = ""
        return with_new_id(instance, overridden(instance, config=keys, devices={}))


def other_side_options(function: options.Command) -> options.Command:
    """Add the options of ``OtherSide``. The command receives their values as ``other``."""

    @options.decorate(
        click.option(
            "--set", "set_", metavar="KEY=VALUE", multiple=True, shell_complete=completers.value,
            help="Compare with a changed configuration key. KEY=@FILE reads the value from a file.",
        ),
        click.option(
            "--unset", metavar="KEY", multiple=True,
            help="Compare with a configuration in which the instance does not set KEY.",
        ),
        click.option(
            "--against-image", "image", metavar="NEW", help="Compare with another image.",
            shell_complete=completers.source,
        ),
        click.option(
            "--against-instance", "against", metavar="FILE[#NAME]", help="Compare with another instance.",
            shell_complete=completers.instance,
        ),
        click.option(
            "--against-host", "against_host", metavar="HOST", type=click.Choice([*HOSTS]),
            help="Compare with another host. --as lists the hosts.",
        ),
    )  # fmt: skip
    @wraps(function)
    def wrapped(
        request: options.Request,
        *,
        set_: tuple[str, ...],
        unset: tuple[str, ...],
        image: str | None,
        against: str | None,
        against_host: str | None,
        **rest: Any,
    ) -> Any:
        return function(request, other=OtherSide(set_, unset, image, against, against_host), **rest)

    return wrapped
