"""A rendered text file does not end with a newline.

Most programs accept a file without a final newline. cron ignores the last line of a crontab if no
newline follows it.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.unprintable_characters import printable
from ..authored_image import AuthoredImage
from ..base import Fix, Observation, check
from ..target_kinds import is_cron, kind_of

#: kinds of files that need no newline at their end
ANY_END = ("json", "user-data", "meta-data", "network-config")

#: ends of tags that remove the newline after the tag
TRIMS = ("-%}", "-}}")


@check("final-newline", "info", "a file without a newline at its end", hint="end the template with a newline")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    seen: set[int] = set()
    for file in image.texts(lambda path: kind_of(path) not in ANY_END):
        text = file.text or ""
        if text and text[-1] != "\n" and "\0" not in text and id(file.rule) not in seen:
            seen.add(id(file.rule))
            source = image.source(file.rule)
            if source is None:
                continue
            end = len(source.text)
            yield Observation(
                f"'{printable(file.rule.path)}' does not end with a newline",
                source.span(max(0, end - 1)),
                severity="warning" if is_cron(file.rule.path) else "",
                rule=file.rule,
                fix=None if source.text.endswith(TRIMS) else Fix(((source.span(end, end), "\n"),)),
            )
