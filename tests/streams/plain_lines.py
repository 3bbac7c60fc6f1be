"""Lines of products as `streams add` writes them, and changed copies of these lines."""

import json
import random
import re

from templater.distribution.client_image_list import ROOT_KINDS

ROOTS = ("squashfs", "root.tar.xz", "disk-kvm.img")
#: texts that replace a part of a line: another spelling, another type, or no JSON
_ODD = (
    " ", "\t", "\n", "\\u0041", "\\ud800", "\\n", "\x7f", "é", "😀", "\x00", "{", "}", "[]", ",", ":", '"', '""', '"x":1,',
    "null", "true", "0", "01", "-1", "1.5", "1e3", "9" * 17, "NaN", '"VARIANT":"x",', '"variant":"x",', '"variant":"",',
    '"combined_sha256":"x",', '"label":"x",', '"requirements":{},', '"a"', '"' + "x" * 513 + '"', '"' + "f" * 64 + '"',
)  # fmt: skip
_TOKEN = re.compile(r'"[^"]*"|[0-9]+|.', re.DOTALL)


def plain_product(rng: random.Random) -> dict:
    def digest() -> str:
        return "".join(rng.choices("0123456789abcdef", k=64))

    def file(ending: str) -> dict:
        return {
            "path": f"images/{digest()}{ending}",
            "size": rng.getrandbits(rng.randint(1, 48)),
            "sha256": digest(),
        }

    def version() -> dict:
        roots = rng.sample(ROOTS, rng.randint(0, 3))
        combined = {key: digest() for root in roots for key in ROOT_KINDS[root].combined}
        ending, first = (".tar.xz" if roots else "_combined.tar.gz"), file(".tar.xz")
        items = {f"{family}{ending}": {**first, **combined} for family in ("incus", "lxd")}
        items |= {root: file("." + root[:4]) for root in roots}
        return {"items": {key: {"ftype": key, **value} for key, value in items.items()}}

    def text() -> str:
        return "".join(rng.choices("abc {}:/+~", k=rng.randint(1, 40)))

    return {
        **{key: text() for key in ("os", "release", "release_title", "variant")},
        "aliases": ",".join(text() for _ in range(rng.randint(0, 9))), "arch": rng.choice(["amd64", "arm64", "x"]),
        "versions": {f"2026010{number + 1}_0000": version() for number in range(rng.randint(1, 4))},
    }  # fmt: skip


def plain_line(rng: random.Random, name: str) -> str:
    text = json.dumps({name: plain_product(rng)}, separators=(",", ":"), sort_keys=True)
    return text[1:-1]


def changed(rng: random.Random, line: str) -> str:
    """Return a copy of a line in which a part is missing, repeated, moved or replaced."""
    tokens = _TOKEN.findall(line)
    start = rng.randrange(len(tokens))
    end = min(len(tokens), start + rng.choice([1, 1, 2, 4, 8, 32, 33, 34, 35, 36]))
    part = tokens[start:end]
    place = rng.choice([start, end, rng.randrange(len(tokens))])
    match rng.randrange(5):
        case 0:
            tokens[start:end] = []
        case 1:
            tokens[place:place] = part
        case 2:
            tokens[start:end] = []
            tokens[place:place] = part
        case 3:
            tokens[start : start + 1] = rng.choice(_ODD)
        case _:
            tokens[place:place] = rng.choice(_ODD)
    return "".join(tokens)
