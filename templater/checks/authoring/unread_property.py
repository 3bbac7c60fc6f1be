"""A rule defines a property, but the rule's template does not read the property."""

from __future__ import annotations

from collections.abc import Iterator

from ...model.unprintable_characters import printable
from ...pongo2.syntax import tree
from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..typos import ClosestWords


@check("unread-property", "info", "a property that the template does not read", hint="remove the property")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    closest = ClosestWords()
    for template in image.parsed:
        if template.document is None:
            continue
        reads = [path for path in template.every(tree.Path) if path.name == "properties"]
        if any(len(path.parts) < 2 or isinstance(path.parts[1].key, tree.Expression) for path in reads):
            continue
        read = {str(path.parts[1].key) for path in reads}
        for rule in template.rules:
            missing = read - set(rule.properties)
            for name in rule.properties:
                if name not in read:
                    near = closest.find(name, missing)
                    yield Observation(
                        f"the template does not read the property '{printable(name)}'",
                        rule.spans.get(f"properties[{name}]")
                        or rule.spans.get("properties")
                        or rule.spans["path"],
                        f"fix the spelling of 'properties.{printable(near)}' in the template" if near else "",
                        rule=rule,
                    )
