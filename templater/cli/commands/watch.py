"""``templater watch``: show the whole output once. After every change, show only the differences."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ...model.errors import TemplaterError, UsageError
from ...model.file_names import INSTANCE
from ...model.unprintable_characters import printable
from .. import options, output
from ..enforce_limits import fetched, guard
from ..open_and_plan import opened
from ..watch_page.options import PageOptions, page_options

if TYPE_CHECKING:
    from ...model.plan import Plan
    from ...rendering.rendered_text_cache import Name
    from ...reporting.plan_text import Block
    from ..open_and_plan import Opened

    Key = tuple[str, ...]

#: maximum number of files that a line about a configuration key names
MOST_NAMED = 5

HELP = """Preview and check SRC again after every change.

The command watches templates, metadata.yaml and the files that describe the instance. The first output shows
everything. After a change, the output shows only the changes in the files and in the findings of
`templater check`. With --test, the output also shows each test that now fails or passes again. Stop the
command with Ctrl-C.

With ROOTFS, the output is a patch like that of `templater diff`. If SRC is a running instance, templater
follows the daemon's events, and shows the output of `templater diff`.

With --web, the output is a page in the browser. The page shows the files, the origins of values, and the
findings. On the page, you can edit keys of the instance, and compare hosts, instances and triggers. Only you
can open the page, and only on this machine.

\b
Examples:
  templater watch ./image -i web1.yaml
  templater watch ./image --test
  templater watch ./image --web --open
  templater watch ./image /srv/web1/rootfs -t start
  templater watch incus:web1
"""


@click.command(help=HELP)
@options.request_options(rootfs="[ROOTFS]")
@click.option(
    "--check/--no-check", "checked", default=True, help="Also run `templater check`.  [default: --check]"
)
@click.option("--test", "tested", is_flag=True, help="Also run the tests that are stored beside the image.")
@page_options
def command(request: options.Request, checked: bool, tested: bool, page: PageOptions | None) -> int:
    from ...live.address import is_live
    from ..file_watcher import Watch, sources_of

    live = is_live(request.src)
    if ":" in request.src and not live:
        with guard(request.limits):
            request = fetched(request)
    if page is not None:
        if live or tested or request.as_json:
            raise click.UsageError("--web can't be combined with a running instance, --test or --json")
        from ..watch_page.server import serve_page

        return serve_page(request, page)
    if live:
        from ..live_watch import watch as watch_instance

        if tested:
            raise click.UsageError("--test can't be combined with a running instance")
        return watch_instance(request)
    files, folders = sources_of(options.existing(request.src))
    named = [*request.instance.files, *([] if request.rootfs is None else [request.rootfs])]
    image = WatchedImage(request, checked=checked, tested=tested)

    def missing() -> list[str]:
        return [path for path in named if path != "-" and not os.path.exists(path)]

    try:
        watched = [*files, os.path.join(request.src, INSTANCE), *named]
        with Watch(watched, [*folders, *image.test_folders()]) as watch:
            with watch.interruptible():
                attempt(image.look, missing, first=True)
            while True:
                names = watch.wait()
                output.say(f"changed: {', '.join(names)}")
                with watch.interruptible():
                    attempt(image.look, missing)
    except KeyboardInterrupt:
        return 0


def attempt(look: Callable[[], None], missing: Callable[[], list[str]], *, first: bool = False) -> None:
    """Run ``look`` once. Report its errors, but do not end the watch.

    If ``first`` is true, do not catch a UsageError: no change of a file can correct the command line.
    """
    try:
        look()
    except TemplaterError as error:
        if first and isinstance(error, UsageError):
            raise
        output.say(error.explain())
        for path in missing():
            output.say(f"waiting for '{path}' to appear")
    output.flush()


class Shown:
    """Hashes of the texts of the previous and the current output, by key.

    The texts are not stored, because they could need much memory.
    """

    def __init__(self) -> None:
        self._before: dict[Key, int] = {}
        self._now: dict[Key, int] = {}

    def begin(self) -> None:
        """Begin a new output. The texts that were added so far become the previous output."""
        self._before, self._now = self._now, {}

    def add(self, key: Key, text: str | None) -> bool:
        """Store the hash of a text. Return whether the text is new or has changed."""
        self._now[key] = hash(text)
        return self._before.get(key) != self._now[key]

    @property
    def has_changed(self) -> bool:
        """Whether the current output differs from the previous output."""
        return self._now != self._before

    def gone(self) -> list[Key]:
        """Return the keys of the texts that are in the previous output, but not in the current output."""
        return [key for key in self._before if key not in self._now]

    def update(self, texts: dict[Key, str]) -> tuple[list[Key], list[Key]]:
        """Begin the next output, and store its ``texts`` by key.

        Return the keys with new or changed texts, and the removed keys.
        """
        self.begin()
        return [key for key, text in texts.items() if self.add(key, text)], self.gone()


class WatchedImage:
    """The files, findings, tests and messages of an image at the last call of ``look``.

    If ``checked`` is true, each call also runs ``templater check``. If ``tested`` is true, each call also
    runs the image's tests.
    """

    def __init__(self, request: options.Request, *, checked: bool, tested: bool) -> None:
        self.request = request
        self.checked, self.tested = checked, tested
        from ...rendering.rendered_text_cache import Memo

        #: the files that earlier calls of ``look`` have rendered
        self.memo = Memo()
        self._files, self._bodies, self._findings, self._failures = Shown(), Shown(), Shown(), Shown()
        self._said: set[str] = set()
        self._config: dict[str, str] | None = None

    def look(self) -> None:
        """Print the changes since the last call. After an error, the next call prints everything.

        Raises TemplaterError if SRC cannot be read.
        """
        said: set[str] = set()
        try:
            with output.without_repeats(self._said, said):
                self._look()
        except TemplaterError:
            self._files, self._bodies, self._findings, self._failures = Shown(), Shown(), Shown(), Shown()
            self._config = None
            said.clear()
            raise
        finally:
            self._said = said

    def _look(self) -> None:
        request, first = self.request, self._config is None
        with (
            guard(request.limits),
            opened(request, rootfs_of_instance=request.rootfs is not None) as found,
        ):
            self.memo.begin()
            plans = found.plans(memo=self.memo)
            self._tell_readers(found, plans)
            if request.as_json:
                import json

                from ...reporting.json_data import plan_data
                from ...reporting.json_escapes import safe_json

                for plan in plans:
                    output.write(safe_json(json.dumps(plan_data(plan), ensure_ascii=False)) + "\n")
                return
            same = not (self._show_patches(plans) if request.rootfs is not None else self._show_files(plans))
        del found, plans  # free memory: the next guard counts only memory that is allocated later
        if self.checked:
            with guard(request.limits):
                same = not self._check() and same
        if self.tested:
            with guard(request.limits):
                same = not self._test() and same
        if same and not first:
            output.say("nothing changed")

    def _tell_readers(self, found: Opened, plans: list[Plan]) -> None:
        """Print the files that depend, or may depend, on each changed configuration key."""
        before, config = self._config, dict(plans[0].instance.config)
        self._config = config
        if before is None or before == config:
            return
        from ..plan_warnings import due_rules

        rules = due_rules(plans)
        templates = found.source.image.read_templates({rule.template for rule in rules if rule.template})
        dialect = found.request.dialect or found.request.host.dialect
        names: dict[str, tuple[Name, ...]] = {}
        for name, file in templates.items():
            if file.data is not None:
                with suppress(TemplaterError):  # the output shows the error
                    names[name] = self.memo.parsed(file.source(f"templates/{name}"), dialect).names
        for key in sorted(key for key in before.keys() | config if before.get(key) != config.get(key)):
            wanted = {("config", key), ("config",)}
            readers = [
                printable(rule.path) for rule in rules if not wanted.isdisjoint(names.get(rule.template, ()))
            ]
            output.say(
                f"{printable(key)} changed: used by {', '.join(readers[:MOST_NAMED]) or 'no template'}"
            )

    def _show_files(self, plans: list[Plan]) -> bool:
        """Print the blocks that have changed since the last output. Return whether a block has changed."""
        from ...reporting import plan_text
        from ..preview_output import show_blocks

        self._files.begin()
        self._bodies.begin()
        show_blocks(self._changed_blocks(plans))
        for key in self._files.gone():
            output.say(f"{key[-1]}: no longer written on {printable(key[-2])}")
        for plan in plans:
            output.say(plan_text.summary(plan))
            if len(plans) == 1 and (other := plan_text.not_due(plan)):
                output.say(other)
        return self._files.has_changed

    def _changed_blocks(self, plans: list[Plan]) -> Iterator[Block]:
        """Yield the blocks that have changed since the last output. A block is the report on one file.

        Only one block's text is in memory at a time.
        """
        from ...reporting import plan_text

        counts: Counter[Key] = Counter()
        for number, plan in enumerate(plans):
            for block in plan_text.blocks(plan):
                place = str(number), block.change.trigger, block.heading.target
                counts[place] += 1
                key = str(counts[place]), *place
                has_new_body = self._bodies.add(key, block.body)
                if self._files.add(key, plan_text.plain(block)):
                    # do not show a file's text again if only its heading or remarks changed
                    yield block if has_new_body else block._replace(body=None)

    def _show_patches(self, plans: list[Plan]) -> bool:
        """Print the patches that have changed since the last output. Return whether a patch has changed."""
        from ...reporting import patch
        from ..patches import show_patch
        from .diff import complaints

        self._files.begin()
        for number, plan in enumerate(plans):
            work = patch.Work()
            for change in plan.files():
                text = patch.file_patch(change, work)
                if self._files.add((str(number), change.trigger, change.path), text):
                    show_patch(text)
        for key in self._files.gone():
            output.say(f"{printable(key[-1])}: no difference any more")
        for plan in plans:
            for text in complaints(plan):
                output.say(text)
        return self._files.has_changed

    def _check(self) -> bool:
        """Print new findings, and name the corrected findings. Return whether the findings changed."""
        from ...checks.authored_image import LIMITS
        from ...checks.check_report import check_report
        from ...definitions.is_definition import is_definition
        from ..check_output import show as show_findings
        from . import check

        request = self.request
        limits, src = request.limits, request.src
        work = partial(
            check_report,
            hosts=(request.host.name,) if request.host_given else (),
            instances=(request.instance.read(),) if request.instance.is_given else (),
            limits=limits.for_images(),
            yaml=limits.for_reading(),
            rendering=limits.for_rendering(LIMITS.seconds, LIMITS.total),
            trusted=os.path.isdir(src),
            choice=request.choice if is_definition(src) else None,
            memo=self.memo,
        )
        found: list[dict[str, Any]] = check.read(work, (src, None), limits, None)["findings"]
        findings: dict[Key, dict[str, Any]] = {
            (each["check"], each["file"], each["message"]): each for each in found
        }
        new, gone = self._findings.update({key: key[-1] for key in findings})
        show_findings([findings[key] for key in new])
        for name, file, message in gone:
            output.say(f"corrected: {printable(file)}: {printable(message)}  [{name}]")
        return self._findings.has_changed

    def _test(self) -> bool:
        """Print new failures, and name the tests that pass again. Return whether the failures changed."""
        from ...testing import reports
        from ...testing.read_tests import read_cases
        from ...testing.run_tests import Session
        from ...testing.tests_folder import Folder, folder_of
        from .check import local_validators

        request = self.request
        folder = Folder(folder_of(request.src))
        with Session(
            request.src,
            folder,
            request.limits,
            choice=request.choice,
            validators=local_validators(None),
            memo=self.memo,
        ) as session:
            cases = [
                reports.case_data(outcome) for outcome in session.run(read_cases(folder, lambda _: True))
            ]
        for note in session.notes:
            output.note(note)
        failed: dict[Key, dict[str, Any]] = {
            (case["file"], reports.title(case)): case for case in cases if not case["passed"]
        }
        texts = {key: "\n".join(reports.case_lines(case)) for key, case in failed.items()}
        new, gone = self._failures.update(texts)
        for key in new:
            output.write(texts[key] + "\n")
        for file, title in gone:
            output.say(f"passes again: {printable(file)}: {title}")
        output.say(reports.summary({"image": request.src.rstrip("/"), "cases": cases}))
        return self._failures.has_changed

    def test_folders(self) -> Iterator[str]:
        """Yield the folders that contain the image's tests."""
        if self.tested:
            from ...testing.tests_folder import folder_of

            for folder, _, _ in os.walk(folder_of(self.request.src)):
                yield folder
