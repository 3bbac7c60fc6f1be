"""Random products of a catalog, for tests of limits."""

import random
from typing import Any


def random_product(rng: random.Random) -> dict[str, Any]:
    """Return a product with unusual texts, and with images of every kind for both families of clients."""

    def text(most: int = 20) -> str:
        letters = rng.choice(["abc", '"\\\n\x01', "é/ %", "\N{GRINNING FACE}", "\u20ac", "x,y", "\ud800"])
        return "".join(rng.choices(letters, k=rng.randint(0, most)))

    def version() -> dict:
        digest = "".join(rng.choices("0123456789abcdef", k=64)) + text(300)
        combined = {"combined_squashfs_sha256": digest, "combined_disk-kvm-img_sha256": digest[::-1]}
        items = {
            family: {
                "ftype": f"{family}.tar.xz",
                "path": f"images/{text()}{text(300)}m",
                "size": rng.getrandbits(62),
                **combined,
            }
            for family in rng.sample(["incus", "lxd"], rng.randint(1, 2))
        }
        for kind in ("squashfs", "disk-kvm.img"):
            items[kind] = {"ftype": kind, "path": kind, "size": rng.getrandbits(62), "sha256": digest}
        path = f"images/{text(100)}u"
        items["u"] = {"ftype": "incus_combined.tar.gz", "path": path, "size": 1, "sha256": digest + "u"}
        return {"label": text(), "items": items}

    return {
        **{key: text() for key in ("os", "release", "release_title", "version", "variant")},
        "aliases": ",".join(text(40) for _ in range(rng.randint(0, 9))), "arch": rng.choice(["amd64", "arm64", "riscv64"]),
        "requirements": {f"{number}{text()}": text() for number in range(rng.randint(0, 20))},
        "support_eol": rng.choice(["", "2030-01-01"]),
        "versions": {f"2026010{number + 1}{text()}": version() for number in range(rng.randint(1, 4))},
    }  # fmt: skip
