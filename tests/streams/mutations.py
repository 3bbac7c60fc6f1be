"""The example tree changed in the ways whose effect on real clients is recorded in ``recorded.txt``.

The recordings were made with Debian's incus 6.0.4-2+deb13u12. Each case has the title of its recording.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
EXAMPLE = HERE / "example"
VERSION = "20260101_0000"
IMAGES, INDEX = "streams/v1/images.json", "streams/v1/index.json"

#: changes images.json and index.json in place
Change = Callable[[dict[str, Any], dict[str, Any]], object]


@dataclass
class Case:
    title: str
    change: Change
    #: text to write instead of images.json
    raw: str | None = None

    def build(self, folder: Path) -> Path:
        """Copy the example tree into ``folder`` and change it."""
        shutil.copytree(EXAMPLE, folder)
        images = json.loads((folder / IMAGES).read_text())
        index = json.loads((folder / INDEX).read_text())
        self.change(images, index)
        (folder / IMAGES).write_text(json.dumps(images) if self.raw is None else self.raw)
        (folder / INDEX).write_text(json.dumps(index))
        return folder


def product(images: dict[str, Any], variant: str = "default") -> dict[str, Any]:
    found: dict[str, Any] = images["products"][f"tiny:1:amd64:{variant}"]
    return found


def items(images: dict[str, Any], variant: str = "default") -> dict[str, Any]:
    found: dict[str, Any] = product(images, variant)["versions"][VERSION]["items"]
    return found


def metadata(images: dict[str, Any], variant: str = "default") -> dict[str, Any]:
    found: dict[str, Any] = items(images, variant)["incus.tar.xz"]
    return found


def nothing(images: dict[str, Any], index: dict[str, Any]) -> None:
    pass


def in_product(**fields: Any) -> Change:
    return lambda images, index: product(images).update(fields)


def in_metadata(**fields: Any) -> Change:
    return lambda images, index: metadata(images).update(fields)


def in_vm_metadata(**fields: Any) -> Change:
    return lambda images, index: metadata(images, "vm").update(fields)


def in_entry(**fields: Any) -> Change:
    return lambda images, index: index["index"]["images"].update(fields)


def version_named(name: str) -> Change:
    def change(images: dict[str, Any], index: dict[str, Any]) -> None:
        product(images)["versions"] = {name: product(images)["versions"][VERSION]}

    return change


def nulls(images: dict[str, Any], index: dict[str, Any]) -> None:
    product(images).update(version=None, supported=None)
    metadata(images)["size"] = None


def other_formats(images: dict[str, Any], index: dict[str, Any]) -> None:
    images.update(datatype="x", format="y")
    index["format"] = "z"


def combined_sha256(images: dict[str, Any], index: dict[str, Any]) -> None:
    item = metadata(images, "tarxz")
    item["combined_sha256"] = item.pop("combined_rootxz_sha256")


def path_changed(change: Callable[[str], str]) -> Change:
    def changed(images: dict[str, Any], index: dict[str, Any]) -> None:
        metadata(images)["path"] = change(metadata(images)["path"])

    return changed


def twice(images: dict[str, Any], index: dict[str, Any]) -> None:
    images["products"]["again"] = copy.deepcopy(product(images))


def two_versions(images: dict[str, Any], index: dict[str, Any]) -> None:
    for name in [name for name in images["products"] if not name.endswith(":default")]:
        del images["products"][name]
    versions = product(images)["versions"]
    versions["20260201_0000"] = copy.deepcopy(versions[VERSION])
    versions["20260201_0000"]["items"]["incus.tar.xz"]["combined_squashfs_sha256"] = "f" * 64


def variant_trap(images: dict[str, Any], index: dict[str, Any]) -> None:
    """One os and release, of which some products have a variant."""
    base = product(images)
    images["products"].clear()
    for name, variant, version in (
        ("a", None, "20260101"),
        ("b", "x", "20260115"),
        ("c", None, "20260201"),
        ("d", "y", "20260110"),
        ("e", None, "20260215"),
    ):
        made = copy.deepcopy(base)
        made["aliases"] = f"t/{variant}" if variant else "t"
        made["variant"] = variant
        if variant is None:
            del made["variant"]
        made["versions"] = {version: copy.deepcopy(base["versions"][VERSION])}
        made["versions"][version]["items"]["incus.tar.xz"]["combined_squashfs_sha256"] = name * 64
        images["products"][name] = made


def combined_type(images: dict[str, Any], index: dict[str, Any]) -> None:
    items(images, "unified")["incus_combined.tar.gz"]["combined_type"] = "virtual-machine"


def both_roots(images: dict[str, Any], index: dict[str, Any]) -> None:
    items(images)["root.tar.xz"] = items(images, "tarxz")["root.tar.xz"]
    metadata(images)["combined_rootxz_sha256"] = "9" * 64


def titles(images: dict[str, Any], index: dict[str, Any]) -> None:
    product(images)["versions"][VERSION]["label"] = "release"
    product(images).update(release_title="One", support_eol="2027-02-30", version="1.0")


def other_items(images: dict[str, Any], index: dict[str, Any]) -> None:
    items(images)["m"] = {"ftype": "manifest", "path": "x", "size": 1}
    items(images)["v"] = {
        "ftype": "squashfs.vcdiff", "path": "d.vcdiff", "size": 1, "delta_base": "20250101", "sha256": "0" * 64,
    }  # fmt: skip


def without(*path: str) -> Change:
    def change(images: dict[str, Any], index: dict[str, Any]) -> None:
        target: Any = {
            "index": index["index"]["images"],
            "metadata": metadata(images),
            "root": items(images)["squashfs"],
        }
        del target[path[0]][path[1]]

    return change


SHA256 = json.loads((EXAMPLE / IMAGES).read_text())["products"]["tiny:1:amd64:default"]["versions"][VERSION][
    "items"
]["incus.tar.xz"]["sha256"]

CASES = [
    Case("size as string", in_vm_metadata(size="464")),
    Case("size 464.0", in_vm_metadata(size=464.0)),
    Case("supported as string", in_product(supported="true")),
    Case("requirement bool", in_product(requirements={"secureboot": False})),
    Case("aliases list", in_product(aliases=["a"])),
    Case("version number in product", in_product(version=24.04)),
    Case("delta_base etc null ok", nulls),
    Case("requirements null", in_product(requirements=None)),
    Case("items as list", lambda images, index: product(images)["versions"][VERSION].update(items=[])),
    Case("index products missing", without("index", "products")),
    Case("index products empty", in_entry(products=[])),
    Case("index products other name", in_entry(products=["zzz"])),
    Case("index datatype image-ids", in_entry(datatype="image-ids")),
    Case("index path missing", without("index", "path")),
    Case("index path 404", in_entry(path="streams/v1/no.json")),
    Case("products datatype other, format other", other_formats),
    *(
        Case(f"version {name}", version_named(name))
        for name in ("latest", "2026", "20261301", "20260101", "202601011530", "20260101x")
    ),
    Case("arch unknown", in_product(arch="all")),
    Case("arch x86_64_v3", in_product(arch="x86_64_v3")),
    Case("arch 'amd64 amd64'", in_product(arch="amd64 amd64")),
    Case("arch arm64", in_product(arch="arm64")),
    Case("no combined", without("metadata", "combined_squashfs_sha256")),
    Case("rootxz via combined_sha256", combined_sha256),
    Case("meta path missing", without("metadata", "path")),
    Case("root path missing", without("root", "path")),
    Case("alias with space", in_product(aliases="a, b")),
    Case("no aliases", in_product(aliases="")),
    Case("combined wrong -log", in_metadata(combined_squashfs_sha256="0" * 64)),
    Case("combined not a hash", in_metadata(combined_squashfs_sha256="hello")),
    Case("file sha wrong -log", in_metadata(sha256="0" * 64)),
    Case("file sha missing", without("metadata", "sha256")),
    Case("file sha uppercase", in_metadata(sha256=SHA256.upper())),
    Case("size too small", in_metadata(size=1)),
    Case("path absolute / -log", path_changed(lambda path: f"/{path}")),
    Case("path full URL -log", path_changed(lambda path: f"https://127.0.0.1:18450/{path}")),
    Case("path with .. -log", path_changed(lambda path: f"x/../{path}")),
    Case("path with query -log", path_changed(lambda path: f"{path}?a=b")),
    Case("path with space -log", path_changed(lambda path: f"{path} x")),
    Case("same image twice", twice),
    Case("two versions", two_versions),
    Case("variant trap 0", variant_trap),
    Case("combined_type vm", combined_type),
    Case("both roots", both_roots),
    Case("bom", nothing, raw="\ufeff{}"),
    Case("empty file", nothing, raw=""),
    Case("label, title, eol", titles),
    Case("support_eol with time", in_product(support_eol="2027-02-03T00:00:00Z")),
    Case("key case", in_product(ALIASES="upper")),
    Case("vcdiff and unknown ftype", other_items),
]


def two_entries(index: dict[str, Any], **fields: Any) -> None:
    index["index"]["more"] = {**index["index"]["images"], **fields}


#: changes of the example tree, besides those whose effect on real clients is recorded
MORE_CASES = [
    Case("another entry with a file of the same name", lambda images, index: two_entries(index, path="images.json")),
    Case("another entry for the index", lambda images, index: two_entries(index, path="streams/v1/index.json")),
    Case("another entry for the same file", lambda images, index: two_entries(index)),
    Case("an entry without products and without file", lambda images, index: two_entries(index, products=[], path="x.json")),
    Case("a short fingerprint", in_metadata(combined_squashfs_sha256="a" * 11)),
    Case("a fingerprint that is shown", in_metadata(combined_squashfs_sha256="a" * 12)),
    Case("an empty alias", in_product(aliases="a,,b")),
    Case("an alias of another product", in_product(aliases="tiny/tarxz")),
    Case("a size that is too large", in_metadata(size=10**6)),
    Case("versions of different lengths", lambda images, index: images["products"]["tiny:1:amd64:default"]["versions"].update({"2026": {"items": {}}})),
    Case("a root file that is missing", lambda images, index: items(images)["squashfs"].update(path="x")),
    Case("an unused file that is missing", lambda images, index: items(images).update(m={"ftype": "manifest", "path": "x", "size": 1})),
    Case("a file that no item names", lambda images, index: images["products"].pop("tiny:1:amd64:vm")),
    Case("an image file that is a directory", in_metadata(path="images")),
    Case("a wrong disk hash", lambda images, index: items(images, "vm")["disk-kvm.img"].update(sha256="0" * 64)),
    Case("a wrong root hash", lambda images, index: items(images)["squashfs"].update(sha256="0" * 64)),
]  # fmt: skip


@dataclass
class Recording:
    """What the client did: the images that it listed (None: it failed), and the answer to an export."""

    listed: list[str] | None
    failure: str = ""
    exported: str = ""


def recordings() -> dict[str, Recording]:
    """Read what the real client did, by the title of the case."""
    found: dict[str, Recording] = {}
    for block in (HERE / "recorded.txt").read_text().split("### ")[1:]:
        title, _, body = block.partition("\n")
        lines = body.splitlines()
        failure = next((line.strip() for line in lines if line.startswith("   OUT:")), "")
        exported = next((line for line in lines if line.startswith("   $ image export x:tiny/1 OUT ->")), "")
        listed = [line.strip() for line in lines if line.startswith("   ") and line[3] in "0123456789abcdef"]
        not_listed = bool(failure) or (not listed and "   $ " in body)
        found[title] = Recording(None if not_listed else listed, failure, exported)
    return found
