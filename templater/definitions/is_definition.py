"""Detection of definitions among the files that users give as SRC."""

from __future__ import annotations

import os
import re

from ..image.open_file import reading
from ..model.errors import TemplaterError
from ..parsing.file_kind import EMPTY, HEAD, recognise

#: bytes of a file that are read to decide whether it is certainly a definition
_HEAD = 64 << 10
_KEYS = rb"(?m)^(image|files)[ \t]*:"


def is_definition(path: str) -> bool:
    """Return whether a regular file is a definition.

    A definition is a text file, which may be empty. Its name ends in ``.yaml`` or ``.yml``, or its beginning
    has a key that ``_KEYS`` matches.
    """
    if not os.path.isfile(path):
        return False
    with reading(path) as file:
        head = file.read(HEAD)
    named = path.endswith((".yaml", ".yml"))
    return recognise(head) in ("text", EMPTY) and (named or bool(re.search(_KEYS, head)))


def is_certainly_definition(path: str) -> bool:
    """Return whether a file is certainly a definition.

    The key ``image`` is not enough, as many YAML files have this key.
    """
    try:
        if not is_definition(path):
            return False
        with reading(path) as file:
            head = file.read(_HEAD)
    except TemplaterError:
        return False
    return bool(re.search(rb"(?m)^image[ \t]*:", head) and re.search(rb"\bdistribution[ \t]*:", head))
