"""Filters that quote URLs: urlencode, iriencode."""

from ..values import sized, to_bytes, to_runes, to_string
from . import filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~"
_QUOTED = ["+" if b == 32 else chr(b) if b in _UNRESERVED else f"%{b:02X}" for b in range(256)]
_IRI = list(_QUOTED)
for _c in b"/#%[]=:;$&()+,!?*@'~":
    _IRI[_c] = chr(_c)


@filter("urlencode")
def urlencode(value: "Any", argument: "Any") -> str:
    return sized("".join([_QUOTED[b] for b in to_bytes(to_string(value))]))


@filter("iriencode")
def iriencode(value: "Any", argument: "Any") -> str:
    return iri(to_string(value))


def iri(text: str) -> str:
    return sized("".join([_IRI[b] for b in to_bytes(to_runes(text))]))
