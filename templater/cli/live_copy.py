"""A copy of a running instance's metadata and templates as an image directory, for `templater check`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from ..model.file_names import METADATA, TEMPLATES
from ..parsing.metadata_yaml import read_metadata
from . import output

if TYPE_CHECKING:
    from ..image.limits import Limits
    from ..model.instance import Instance


@contextmanager
def live_copy(src: str, project: str | None, limits: Limits) -> Iterator[tuple[str, Instance, str]]:
    """Yield the directory of the copy, the instance, and the host's name.

    The host is the supported release that is nearest to the daemon's version.
    """
    from ..sources.open_source import open_source

    with tempfile.TemporaryDirectory(prefix="templater-check.") as folder:
        with closing(open_source(src, limits, project=project)) as source:
            assert source.nearest is not None
            for note in source.notes:
                output.note(note)
            metadata = source.image.read_metadata()
            rules = read_metadata(metadata).rules
            templates = source.image.read_templates({rule.template for rule in rules if rule.template})
            instance, host = source.read_instance(), source.nearest.host.name
        os.mkdir(os.path.join(folder, TEMPLATES))
        _write(os.path.join(folder, METADATA), metadata.data)
        for name, file in templates.items():
            if file.data is not None:
                _write(os.path.join(folder, TEMPLATES, name), file.data)
        yield folder, instance, host


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
