"""A file for sudo has a syntax error, or a name that sudo ignores.

If `visudo` is installed, the check runs it to find syntax errors. sudo ignores a file in `/etc/sudoers.d` if
its name contains `.` or ends in `~`.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.unprintable_characters import printable
from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..mistakes_in_files import mistakes_of, validated
from ..target_kinds import kind_of


@check(
    "sudoers", "error", "a sudoers file that sudo rejects or ignores",
    hint="compare the line with `man sudoers`", validated=True,
)  # fmt: skip
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    for rule, path, _ in image.targets:
        name = path.rpartition("/")[2]
        if kind_of(path) == "sudoers" and ("." in name or name.endswith("~")):
            what = "contains '.'" if "." in name else "ends in '~'"
            message = f"sudo ignores '{printable(rule.path)}', because its name {what}"
            yield Observation(message, rule.spans["path"], "give the file another name", rule=rule)
    yield from mistakes_of(
        image, ("sudoers",), lambda file: (), lambda file: validated(image, "visudo", file, "sudoers")
    )
