"""The hook for podman: a file in podman's hooks.d calls the ``oci`` hook for annotated containers."""

from __future__ import annotations

import json
from collections.abc import Iterator

from ...model.errors import TemplaterError, UsageError, reason
from ...oslite import join
from ..common_status_checks import Finding, elsewhere, read_configuration, runs
from ..install import Snippet, option_of_one, require_common
from ..json_input import parse_json
from . import oci

HOOKS_D = "/etc/containers/oci/hooks.d"
FILE = "templater.json"
#: the containers for which podman runs the hook
WHEN = {"annotations": {"^org\\.templater\\.": ".*"}}


def snippet(name: str, words: list[str], path: str) -> Snippet:
    """Return a file for hooks.d that applies to containers with an annotation ``org.templater.…``."""
    if name:
        raise UsageError(f"unexpected name '{name}': the file for podman is the same for all containers")
    require_common(words, "describe each container with annotations, such as org.templater.name")
    stage, hook = oci.hook(words)
    content = {
        "version": "1.0.0",
        "hook": hook,
        "when": WHEN,
        "stages": [stage],
    }
    return Snippet(join(path or HOOKS_D, FILE), json.dumps(content, indent=2) + "\n")


def status(_name: str, path: str) -> Iterator[Finding]:
    folder = path or HOOKS_D
    file = join(folder, FILE)
    hint = f"templater hook install podman{elsewhere(folder, HOOKS_D)} --write"
    try:
        hook = parse_json(read_configuration(file).encode("utf-8", "surrogateescape"), f"'{file}'")
        words, stages = hook["hook"]["args"], hook["stages"]
        for texts in (words, stages):
            if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
                raise ValueError("'args' and 'stages' are not lists of texts")
        line = oci.line_of(hook["hook"])
    except (OSError, ValueError, KeyError, TypeError, TemplaterError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        yield Finding(False, f"invalid hook '{file}': {why}", hint)
        return
    problem = next(filter(None, (oci.stage_problem(stage, line, hint) for stage in stages)), None)
    if problem is not None:
        yield problem
    elif hook.get("when") != WHEN:
        said = f"'{file}' has a different 'when' than `hook install` writes: podman might never run the hook"
        yield Finding(None, said, hint)
    else:
        at = ", ".join(stages)
        yield Finding(
            True, f"the hook of '{file}' runs at {at} for containers with an annotation org.templater.…"
        )
    if option := option_of_one(words):
        yield Finding(False, f"all containers have the same {option}", hint)
    yield runs("oci", line, hint)
