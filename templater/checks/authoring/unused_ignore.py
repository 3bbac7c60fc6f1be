"""An ignore comment or entry matches no finding, or names an unknown check.

An author can ignore findings with comments in templates and with entries in templater.toml. This finding
has two usual causes: the comment or entry is misspelled, or the author has fixed the ignored mistake.

    127.0.1.1 {{ instance.name }}{# templater: ignore rename #}       in a template
    [[ignore]]                                                        in templater.toml
    id = "rename"

Put an ignore comment at the end of a line that has other text. A comment alone on a line leaves an empty line
in the rendered file.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.source import Span
from ...model.unprintable_characters import printable
from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..finding import Finding, Severity
from ..ignores import MAX_COMMENTS, Ignores
from ..run_checks import MAX_FINDINGS, all_checks
from ..templater_toml import Ignore, known_ids


@check(
    "unused-ignore",
    "warning",
    "an ignore comment or entry that matches no finding",
    hint="remove the ignore comment or entry",
)
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    """Yield nothing. ``unused`` reports unused ignores when all other checks have run."""
    yield from ()


def unused(ignores: Ignores) -> Iterator[Finding]:
    """Yield a warning for each ignore comment, and each entry in templater.toml, that matches no finding.

    If any validator did not run, skip the comments and entries for all checks that use validators.
    """
    known = known_ids()
    validators = ignores.image.validators
    uncertain: set[str] = set()
    if validators is None or validators.notes:
        # On a machine with the validator, these comments and entries can match findings.
        uncertain = {check.id for check in all_checks("authoring") if check.validated}
    comments = [each for each in ignores.comments.values() if not each.used and each.id not in uncertain]
    for comment in comments[:MAX_FINDINGS]:
        what = "matches no finding here" if comment.id in known else "is not a check"
        yield _unused(f"'{printable(comment.id)}' {what}: the comment has no effect", comment.at)
    if len(comments) > MAX_FINDINGS:
        more = len(comments) - MAX_FINDINGS
        yield _unused(f"{more} more ignore comments have no effect", comments[MAX_FINDINGS].at)
    if ignores.unread is not None:
        message = f"the ignore comments contain more than {MAX_COMMENTS} ids: later ids have no effect"
        yield _unused(message, ignores.unread.at)
    for entry, used in ignores.entries:
        assert isinstance(entry, Ignore)
        if not used and entry.id not in uncertain:
            where = f" for '{printable(entry.target)}'" if entry.target else ""
            yield _unused(f"'{entry.id}' matches no finding{where}: the entry has no effect", entry.at)


def _unused(message: str, at: Span) -> Finding:
    hint = "remove the ignore comment or entry"
    return Finding("unused-ignore", Severity.WARNING, message, at, "", hint=hint)
