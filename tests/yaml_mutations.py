"""Damaging YAML texts the way authors and attackers do."""

from random import Random

FRAGMENTS = [
    "\t", " ", "\n", "\n  ", ": ", "- ", "[", "]", "{", "}", ",", '"', "'", "#", " #", "&a ", "*a", "<<: ",
    "|\n", ">\n", "!!str ", "!!int ", "!!bool ", "!!null ", "~", "null", "? ", "---\n", "...\n", "%", "@",
    "\\", "0755", "yes", "1.5", "é", "\r\n", "\r", "when", "templates:\n", "properties: ", "create_only: ",
    "template", "2024-01-01", "\u2028", "\x85",
]  # fmt: skip


def mutated(text: bytes, pick: Random, others: list[bytes]) -> bytes:
    """Some insertions, deletions, repetitions and pieces of other texts."""
    data = bytearray(text)
    for _ in range(pick.choice((1, 1, 2, 3, 5))):
        place = pick.randint(0, len(data))
        kind = pick.random()
        if kind < 0.6:
            data[place:place] = pick.choice(FRAGMENTS).encode()
        elif kind < 0.8:
            del data[place : place + pick.randint(1, 4)]
        elif kind < 0.9:
            data[place:place] = data[place : place + pick.randint(1, 30)]
        else:
            other = pick.choice(others)
            start = pick.randint(0, len(other))
            data[place:place] = other[start : start + pick.randint(1, 60)]
    return bytes(data)
