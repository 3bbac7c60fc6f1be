"""Detection of definitions among the files that users give as SRC."""

from __future__ import annotations

import os
import re

from ..image.open_file import reading
from ..parsing.magic_bytes import EMPTY, HEAD, recognise

_KEYS = rb"(?m)^(image|files)[ \t]*:"


def is_definition(path: str) -> bool:
    """Return whether a regular file is a definition.

    It must be text. Its name ends in ``.yaml`` or ``.yml``, or it has a key of a definition.
    """
    if not os.path.isfile(path):
        return False
    with reading(path) as file:
        head = file.read(HEAD)
    named = path.endswith((".yaml", ".yml"))
    return recognise(head) in ("text", EMPTY) and (named or bool(re.search(_KEYS, head)))
