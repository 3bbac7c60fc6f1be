"""``templater watch`` of a running instance: show the verdicts again after each event of the daemon."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from ..live.rest_client import NoAnswerError
from ..model.errors import InputError, TemplaterError, UsageError
from ..model.unprintable_characters import printable
from . import options, output, terminal
from .enforce_limits import guard

if TYPE_CHECKING:
    from ..live.address import Address
    from ..live.connect import Daemon
    from ..live.events import Events

#: a burst of events ends after QUIET seconds without an event, or after PATIENCE seconds in total
QUIET, PATIENCE = 0.3, 2.0
#: seconds between attempts to connect to a stopped daemon
PAUSE = 1.0


def watch(request: options.Request) -> int:
    """Show the verdicts on one instance again after each event. Ctrl-C ends the watch."""
    from ..live.address import parse_address
    from ..live.connect import open_daemon

    if request.rootfs is not None:
        raise click.UsageError("ROOTFS can't be combined with a running instance")
    address = parse_address(request.src, request.project)
    if not address.is_one:
        raise UsageError(f"'{printable(request.src)}' does not name one instance")
    daemon = open_daemon(address)
    first = True
    try:
        while True:
            # follow the events before the first look, so that no change is missed
            events = _follow(daemon)
            try:
                profiles = _look(request, first=first)
                first = False
                _watch(request, daemon.address, events, profiles)
            except NoAnswerError as error:
                output.say(error.message)
            finally:
                events.close()
                daemon.close()
            daemon = _reconnect(address)
    except KeyboardInterrupt:
        return 0
    finally:
        daemon.close()


def _follow(daemon: Daemon) -> Events:
    from ..live.events import Events

    return Events(daemon.client, daemon.address)


def _watch(
    request: options.Request, address: Address, events: Events, profiles: frozenset[str]
) -> frozenset[str]:
    """Show the verdicts after each burst of events. Raises InputError if the stream of events ends."""
    from ..live.events import add_actions

    while True:
        actions: dict[str, None] = {}
        add_actions(actions, events.wait(3600), address, profiles)
        if not actions:
            continue
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and (more := events.wait(QUIET)):
            add_actions(actions, more, address, profiles)
        if terminal.has_layout():
            click.clear()
        output.say(f"changed: {', '.join(actions)}")
        profiles = _look(request) or profiles


def _look(request: options.Request, *, first: bool = False) -> frozenset[str]:
    """Show the verdicts, and return the names of the instance's profiles.

    If ``first`` is true, raise each error. Otherwise, only report each error.
    """
    from .live_diff import judge_one, show

    names: frozenset[str] = frozenset()
    try:
        with guard(request.limits, live=True):
            found, boot = judge_one(request)
        show(found, boot, as_json=request.as_json, lines=True)
        names = frozenset(profile.name for profile in found.instance.profiles)
    except TemplaterError as error:
        if first:
            raise
        # A later event may correct the error.
        output.say(error.explain())
    output.flush()
    return names


def _reconnect(address: Address) -> Daemon:
    """After the stream of events has ended, wait until the daemon answers again."""
    from ..live.connect import open_daemon

    while True:
        time.sleep(PAUSE)
        try:
            return open_daemon(address)
        except InputError:
            continue
