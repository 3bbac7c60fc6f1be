"""A target is the root directory, leaves the root filesystem, or is too long for Linux.

With an invalid target, every start of an instance fails. As the target, write the absolute path of a file in
the root filesystem, such as `/etc/hostname`.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.errors import TemplaterError
from ...planning.follow_links import clean
from ..authored_image import AuthoredImage
from ..base import Observation, check


@check("invalid-target", "error", "a target that cannot be the path of a file in the root filesystem")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for rule in image.rules:
        try:
            clean(rule.path)
        except TemplaterError as error:
            yield Observation(error.message, rule.spans["path"], error.hint, rule=rule)
