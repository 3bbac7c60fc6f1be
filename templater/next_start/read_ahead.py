"""Reading of an instance's templates and target files, before the time limit of rendering begins."""

from __future__ import annotations

from ..live.live_instance import LiveInstance
from ..live.rest_client import NoAnswerError
from ..model.entry import FILE
from ..model.errors import TemplaterError
from ..planning.follow_links import Steps, clean, resolve

#: Maximum size in bytes of a file that is read ahead. Larger files are read later, which saves memory.
_MOST = 1 << 20


def read_ahead(live: LiveInstance) -> None:
    """Read the templates, and the files to which rules write.

    Raises TemplaterError for an unreadable template. Ignores unreadable files, which the verdicts report.
    """
    rules = live.image.rules()
    live.image.read_templates({name for _, name in rules if name})
    if live.unreadable:
        return
    steps = Steps()
    for path, _ in rules:
        try:
            resolved = resolve(live.rootfs, clean(path), steps)
            if isinstance(resolved.error, NoAnswerError):  # the daemon would not answer later either
                return
            entry = resolved.entry
            if entry is not None and entry.kind == FILE and max(entry.size, 1) <= min(_MOST, live.image.most):
                live.image.most -= len(live.rootfs.read(resolved.real, _MOST))
        except TemplaterError:
            pass
