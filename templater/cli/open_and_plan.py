"""Functions that the commands preview, diff, apply and watch share.

The functions open SRC, choose the triggers, and make the plans.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from time import process_time
from typing import TYPE_CHECKING, NamedTuple

from ..model.errors import InputError, UsageError
from ..model.metadata import TRIGGERS
from ..model.render_options import SECONDS, TOTAL
from ..model.unprintable_characters import printable
from . import output
from .progress import progress

if TYPE_CHECKING:
    from ..limit_option import Given
    from ..model.entry import RootfsView
    from ..model.instance import Instance
    from ..model.plan import Plan
    from ..model.render_options import RenderOptions
    from ..pongo2.render_state import Limits
    from ..rendering.rendered_text_cache import Memo
    from ..sources.open_source import OpenedSource
    from .options import Request


def rendering(given: Given) -> Limits:
    """Return the rendering limits for interactive commands."""
    return given.for_rendering(SECONDS, TOTAL)


def render_options(request: Request) -> RenderOptions:
    from ..model.render_options import RenderOptions

    return RenderOptions(request.host, request.dialect or "", limits=rendering(request.limits))


def fixed_options(request: Request) -> RenderOptions:
    """Return options with a fixed clock and seed, for several renders that must give equal texts."""
    from time import time

    from ..model.render_options import RenderOptions

    return RenderOptions(request.host, request.dialect or "", time(), 0, rendering(request.limits))


class Opened(NamedTuple):
    """A request with its opened SRC, its instance and its root filesystem (or None).

    ``runs`` has the triggers of each plan, in order.
    """

    request: Request
    source: OpenedSource
    instance: Instance
    runs: tuple[tuple[str, ...], ...]
    rootfs: RootfsView | None

    def plans(
        self,
        *,
        in_place: bool = False,
        placeholders: bool = True,
        for_patch: bool = True,
        options: RenderOptions | None = None,
        memo: Memo | None = None,
    ) -> list[Plan]:
        """Plan every run, and report assumptions about the image on stderr.

        * ``placeholders``: show placeholders for the keys that a daemon generates for a new instance
        * ``for_patch``: read the old content of files, which a patch shows
        * ``options``: rendering options in place of the request's options
        * ``memo``: results of earlier plans to use again
        """
        from .plan_warnings import report_warnings

        options = options or render_options(self.request).begun()
        with progress("rendering"):
            made = [
                self.plan(
                    triggers,
                    options,
                    in_place=in_place,
                    placeholders=placeholders,
                    for_patch=for_patch,
                    memo=memo,
                )
                for triggers in self.runs
            ]
        report_warnings([made], self.source.image, self.rootfs_option, (options.dialect,), memo)
        return made

    def plan(
        self,
        triggers: tuple[str, ...],
        options: RenderOptions,
        *,
        in_place: bool = False,
        placeholders: bool = True,
        for_patch: bool = True,
        memo: Memo | None = None,
    ) -> Plan:
        """Plan one run, and report nothing on stderr."""
        from ..planning.plan_image import plan_image

        new = self.makes_instance(triggers)
        return plan_image(
            self.source.image, self.instance, options, triggers=triggers, rootfs=self.rootfs,
            reading=self.request.limits.for_reading(), in_place=in_place, new=new,
            placeholders=placeholders and new and bool(options.host.product), for_patch=for_patch, memo=memo,
        )  # fmt: skip

    @property
    def rootfs_option(self) -> str:
        """The option with which the user can add a root filesystem to the plans.

        If the plans already have a root filesystem, return "".
        """
        from .plan_warnings import rootfs_option

        return "" if self.rootfs is not None else rootfs_option(self.source, self.request)

    def makes_instance(self, triggers: tuple[str, ...]) -> bool:
        """Return whether a run of ``triggers`` is the first start of a new instance of SRC."""
        is_image = self.source.pending(self.instance) is None
        return is_image and triggers[0] == "create" and not self.instance.exists


@contextmanager
def opened(
    request: Request, *, rootfs_of_instance: bool = False, cross_mounts: bool = False
) -> Iterator[Opened]:
    """Open SRC and the root filesystem, and report every automatic choice on stderr.

    If ``rootfs_of_instance`` is true and the instance exists, use its root filesystem.
    """
    from ..rootfs.directory_rootfs import DirectoryRootfs, limit_reading

    begun = process_time()
    with progress("reading"):
        source, instance = open_request(request)
    with closing(source):
        request = for_source(request, source)
        for note in (*source.notes, *instance.notes):
            output.note(note)
        runs = choose_runs(request, source, instance, rootfs_of_instance=rootfs_of_instance)
        with open_rootfs(request, source, cross_mounts=cross_mounts) as rootfs:
            if isinstance(rootfs, DirectoryRootfs):
                from .lxc_id_map import use_id_map

                use_id_map(rootfs, request.src)
            limit_reading(rootfs, request.limits.for_files())
            request.limits.seconds_read = process_time() - begun
            yield Opened(request, source, instance, runs, rootfs)


def for_source(request: Request, source: OpenedSource) -> Request:
    """Return the request, with the host nearest to the daemon's version if SRC is a running instance.

    The option ``--as`` overrides this host.
    """
    if source.nearest is None or request.host_given:
        return request
    return request._replace(host=source.nearest.host)


def open_request(request: Request) -> tuple[OpenedSource, Instance]:
    """Open SRC, and read the instance.

    If SRC is a definition, predict the image that its build makes for the instance's type.
    """
    from ..definitions.choice import CONTAINER, VM
    from ..sources.open_source import open_source

    limits = request.limits.for_images()
    if request.all_projects:
        raise UsageError("--all-projects is for `diff` of several instances")
    source = open_source(request.src, limits, request.choice, request.project)
    instance = request.instance.read(source)
    kind = VM if instance.is_vm else CONTAINER
    if source.definition is not None and kind != request.choice.type:
        source = open_source(request.src, limits, request.choice._replace(type=kind))
    return source, instance


def choose_runs(
    request: Request, source: OpenedSource, instance: Instance, *, rootfs_of_instance: bool
) -> tuple[tuple[str, ...], ...]:
    """Return the triggers of each plan. If the user named no triggers, report the choice on stderr."""
    from ..model.default_triggers import default_triggers, next_start

    if request.triggers == ("all",):
        return tuple((trigger,) for trigger in TRIGGERS)
    if request.triggers and request.triggers != ("next",):
        return (request.triggers,)
    pending = source.pending(instance)
    if request.triggers:
        chosen = next_start(instance, pending)
    else:
        chosen = default_triggers(instance, pending, rootfs_of_instance=rootfs_of_instance)
    for note in (f"triggers {','.join(chosen.passes)}: {chosen.reason} (see -t)", *chosen.notes):
        output.note(note)
    return (chosen.passes,)


def open_rootfs(
    request: Request, source: OpenedSource, *, cross_mounts: bool = False
) -> AbstractContextManager[RootfsView | None]:
    """Return a context manager that yields the root filesystem for the plan, or None."""
    if request.rootfs == "none":
        return nullcontext()
    if request.rootfs is None or (request.rootfs == "image" and source.has_rootfs):
        return source.open_rootfs(cross_mounts=cross_mounts)
    packed = os.path.isfile(request.rootfs) and not os.path.isdir(request.src)
    if request.rootfs == "image" or packed:
        from ..image.archived_rootfs_in_memory import read_planned_rootfs

        if os.path.isdir(request.src):
            raise UsageError(
                f"'{printable(request.src)}' has no rootfs directory",
                hint="give the root filesystem with --rootfs DIR",
            )
        second = None if request.rootfs == "image" else request.rootfs
        reading, limits = request.limits.for_reading(), request.limits.for_images()
        try:
            return nullcontext(read_planned_rootfs(request.src, second, source.image, reading, limits))
        except InputError as error:
            if second is None:
                error.hint = "give the second file of a split image with --rootfs FILE"
            raise
    return source.open_below(request.rootfs, cross_mounts=cross_mounts)
