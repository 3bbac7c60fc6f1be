"""A template reads a variable that no release of LXD or Incus provides.

The daemons render an unknown variable as empty text, without an error. The variables are `instance`,
`container`, `config`, `config_get`, `devices`, `properties`, `trigger` and `path`.

    {{ instnace.name }}                      wrong
    {{ instance.name }}                      right
    {{ config_get(user.role, web) }}         wrong: without quotes, web is a variable
    {{ config_get("user.role", "web") }}     right
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model.unprintable_characters import printable
from ...pongo2.render_state import DAEMON_NAMES
from ...pongo2.syntax import tree
from ..authored_image import AuthoredImage, Template
from ..base import Fix, Observation, check
from ..typos import only_candidate
from ..unknown_names_by_template import UnknownName, mistakes


@check("unknown-variable", "error", "a variable that no host provides")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    arguments: dict[str, dict[int, str]] = {}
    for found in mistakes(image):
        if "." not in found.name and found.name != "loop":
            message = f"{found.message}: it is always empty"
            if found.template.name not in arguments:
                arguments[found.template.name] = arguments_of(found.template)
            unquoted = arguments[found.template.name].get(found.span.start)
            hint = found.hint or (f'a text needs quotes: write "{unquoted}"' if unquoted else "")
            yield Observation(message, found.span, hint, fix=corrected(found))


def arguments_of(template: Template) -> dict[int, str]:
    """Return the unquoted names among the arguments of ``config_get``, in a dict from position to name."""
    calls = (path.parts[0] for path in template.every(tree.Path) if path.name == "config_get")
    return {
        template.span(argument).start: printable(argument.text)
        for call in calls
        for argument in call.arguments or ()
        if isinstance(argument, tree.Path)
    }


def corrected(found: UnknownName) -> Fix | None:
    """Return the fix for a misspelled name, unless the name is close to several known names."""
    bound = found.template.document.bound if found.template.document is not None else ()
    name = only_candidate(found.name, {*DAEMON_NAMES, *bound})
    return Fix(tuple((span, name) for span in found.spans)) if name else None
