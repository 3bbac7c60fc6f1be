"""The problems that `verify` finds in a stream, and texts for messages about a product, version or item."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from ..model.errors import LimitError
from ..model.unprintable_characters import printable
from .catalog_decoder import CLIENTS

ERROR, WARNING = "error", "warning"
#: limits on the number of problems, and on the characters of all problems together
_MOST_PROBLEMS, _MOST_TEXT = 200_000, 32 << 20
#: Maximum number of characters of a catalog's text in a problem. A report can repeat the text for each image.
_LONGEST = 100


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem that affects ``clients``. ``code`` identifies the kind of problem in JSON output."""

    level: str
    code: str
    place: str
    message: str
    clients: tuple[str, ...] = CLIENTS


@dataclass(slots=True)
class Report:
    problems: list[Problem] = field(default_factory=list)
    #: for each client: how many images the client lists, or None if the client can't use the stream
    images: dict[str, int | None] = field(default_factory=dict)
    files: int = 0
    bytes: int = 0
    #: how many characters the problems have
    text: int = 0

    def add(self, level: str, code: str, place: str, message: str, clients: Iterable[str] = CLIENTS) -> None:
        self.text += len(place) + len(message)
        if len(self.problems) == _MOST_PROBLEMS or self.text > _MOST_TEXT:
            first = self.problems[0]
            raise LimitError(
                f"the stream has more than {len(self.problems)} problems,"
                f" such as {first.place}: {first.message}"
            )
        self.problems.append(Problem(level, code, place, message, tuple(clients)))

    def errors(self, clients: Iterable[str] = CLIENTS) -> list[Problem]:
        wanted = set(clients)
        return [each for each in self.problems if each.level == ERROR and wanted & set(each.clients)]


def place_of(product: str, version: str = "", item: str = "") -> str:
    place = f"product '{shown(product)}'"
    if version:
        place += f", version '{shown(version)}'"
    return place + (f", item '{shown(item)}'" if item else "")


def shown(text: str) -> str:
    """Return the beginning of a text, because a report could repeat a long text for each of 50,000 images."""
    return _shown(text[:_LONGEST])


@lru_cache(maxsize=4096)
def _shown(text: str) -> str:
    return printable(text)[:_LONGEST]


def join_clients(report: Report) -> None:
    """Merge equal problems of several clients into one."""
    joined: dict[tuple[str, str, str, str], list[str]] = {}
    for each in report.problems:
        clients = joined.setdefault((each.level, each.code, each.place, each.message), [])
        clients += [client for client in each.clients if client not in clients]
    report.problems = [Problem(*key, tuple(clients)) for key, clients in joined.items()]
