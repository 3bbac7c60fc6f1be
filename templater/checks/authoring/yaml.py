"""A file whose name ends in `.yaml` or `.yml` is not valid YAML, so programs cannot parse it."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from ...model.unprintable_characters import printable
from ...parsing.yaml_nodes import MOST_DIRECTIVES
from ..authored_image import AuthoredImage
from ..base import Observation, check
from ..mistakes_in_files import Mistake, mistakes_of
from ..rendered_files import File

#: maximum number of YAML events that are read; the rest of the file is not checked
MAX_EVENTS = 200_000


@check("yaml", "error", "a .yaml file that is not valid YAML")
def check_image(image: AuthoredImage) -> Iterator[Observation]:
    yield from mistakes_of(image, ("yaml",), find)


def find(file: File) -> Iterator[Mistake]:
    """Yield the first syntax error.

    The function reads only YAML events, because events need no memory for aliases. All tags and several
    documents are allowed.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    if (file.text or "").count("%TAG") > MOST_DIRECTIVES:
        yield 1, f"the file has more than {MOST_DIRECTIVES} '%TAG' directives, and was not checked"
        return
    try:
        for count, _ in enumerate(yaml.parse(file.text or "", loader)):
            if count > MAX_EVENTS:
                return
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        yield line, f"invalid YAML: {printable(error.problem or '')}"
    except (yaml.YAMLError, UnicodeEncodeError):
        yield 1, "invalid YAML: the file contains a character that YAML forbids"
