"""``templater store refresh``: fetch newer versions of images."""

from __future__ import annotations

from functools import partial
from time import monotonic

import click

from ....model.errors import LimitError, TemplaterError
from ....model.progress import Progress
from ... import completers, output
from ...enforce_limits import guarded_alone, time_left
from ...progress import progress

HELP = """Fetch newer versions of images.

The images must have been imported with --auto-update. Without IMAGE, the command refreshes every image that
was imported with this option. Aliases and flags move to the newer version, and the command removes the old
version. If an image can't be refreshed, the command reports the image and continues; the exit code is then 2.
If you already imported the newer version from another source, the refresh of this image fails.
"""


@click.command(help=HELP)
@click.argument("images", metavar="[IMAGE]...", nargs=-1, shell_complete=completers.stored)
@partial(guarded_alone, downloads=True)
def command(images: tuple[str, ...]) -> int:
    from ....distribution.fetch_image import fetch_source
    from ....distribution.store import Store

    store = Store()
    chosen = (
        [store.find(name) for name in images]
        if images
        else [each for each in store.images() if each.auto_update]
    )
    failed = False
    for number, image in enumerate(chosen):
        name = image.aliases[0] if image.aliases else image.fingerprint[:12]
        if not image.source:
            output.say(f"{name}: not refreshed, because it was imported from files")
            failed = True
            continue
        try:
            with progress("fetching") as show:
                shown = _in_time(time_left() / (len(chosen) - number), show)
                fetched = fetch_source(image.source, whole=True, progress=shown)
            if fetched.fingerprint == image.fingerprint:
                output.say(f"{name}: already the newest version")
                continue
            store.replace_image(image, fetched.hashes)
            output.say(f"{name}: replaced {image.fingerprint[:12]} with {fetched.fingerprint[:12]}")
        except TemplaterError as error:
            output.say(f"{name}: {error.explain()}")
            failed = True
    return 2 if failed else 0


def _in_time(seconds: float, show: Progress) -> Progress:
    """Return a function that calls ``show``, or raises LimitError once ``seconds`` have passed."""
    end = monotonic() + seconds

    def report(items: int, size: int, name: str, total: int = 0, /) -> None:
        if monotonic() > end:
            raise LimitError(
                f"fetching the image takes longer than {seconds:.0f} seconds:"
                " the limit command-time is divided among the images",
                hint="to allow two days for all images, use --limit command-time=48h",
            )
        show(items, size, name, total)

    return report
