"""The entries of `streams add` in a catalog: names, aliases, items and requirements, without any file."""

import time
from types import SimpleNamespace

import pytest

from templater.distribution import add_to_tree
from templater.distribution.add_to_tree import NewImage, check_facts, default_aliases, insert, product_fields
from templater.distribution.catalog_decoder import IMAGES_PATH
from templater.distribution.tree_catalog import Catalog, new_index
from templater.image.limits import DEFAULT
from templater.model.errors import InputError, LimitError, RefusedError
from templater.model.metadata import Metadata

NAME, VERSION = "debian:13:amd64:default", "20260101_0000"
CREATED = 1767225600


def facts(machine="x86_64", created=CREATED, **properties):
    return Metadata(machine, created, properties={"os": "Debian", "release": "13", **properties})


def split(meta="m", roots=("squashfs",), aliases=(), requirements=None, metadata=None):
    """A new image whose hashes are made of these letters."""
    made = NewImage(
        metadata or facts(), {"path": f"images/{meta}", "size": 1, "sha256": meta * 64},
        aliases=aliases, requirements=requirements or {},
    )  # fmt: skip
    for kind in roots:
        made.roots[kind] = {"path": f"images/{kind}", "size": 2, "sha256": kind[0] * 64}
        made.fingerprints[kind] = f"{meta}+{kind}"
    if not roots:
        made.fingerprints[""] = meta * 64
    return made


def a_catalog(**products):
    """A catalog with these products in the file to which templater adds images."""
    return Catalog(new_index(), {IMAGES_PATH: {"products": products}} if products else {})


def another(aliases="", arch="amd64", ftype="squashfs", **item):
    return {
        "aliases": aliases, "arch": arch, "os": "x", "release": "y", "variant": "default",
        "versions": {"1": {"items": {"a": {"ftype": ftype, "path": "p", "sha256": "z" * 64, **item}}}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("architecture", "properties", "fields"),
    [
        ("x86_64", {}, {"arch": "amd64", "release_title": "13", "variant": "default"}),
        ("aarch64", {"architecture": "arm64"}, {"arch": "arm64"}),
        ("x86_64", {"architecture": "arm64"}, {"arch": "amd64"}),
        ("x86_64", {"architecture": "x86_64"}, {"arch": "x86_64"}),
        ("riscv64", {"architecture": "nonsense"}, {"arch": "riscv64"}),
        ("x86_64", {"release_title": "Trixie", "variant": " cloud "}, {"release_title": "Trixie", "variant": "cloud"}),
        ("x86_64", {"os": " Debian ", "release": " 13 "}, {"os": "Debian", "release": "13", "release_title": "13"}),
    ],
)  # fmt: skip
def test_a_product_gets_its_fields_from_image_properties(architecture, properties, fields):
    found = product_fields(facts(architecture, **properties))
    assert {key: found[key] for key in fields} == fields
    assert list(found) == ["os", "release", "release_title", "arch", "variant"]


@pytest.mark.parametrize(
    ("os", "release", "variant", "aliases"),
    [
        ("Debian", "13", "default", ["debian/13", "debian/13/default"]),
        ("Rocky Linux", "9/x", "Cloud", ["rockylinux/9x/cloud"]),
        ("日本", ":", "a,b", ["unnamed/unnamed/ab"]),
        ("a~b ", "1.0-x_y", "é", ["a~b/1.0-x_y/unnamed"]),
    ],
)
def test_a_default_alias_has_only_characters_that_clients_keep(os, release, variant, aliases):
    assert default_aliases({"os": os, "release": release, "variant": variant}) == aliases


def test_a_new_split_image_has_items_for_each_daemon():
    catalog = a_catalog()
    added = insert(catalog, split(roots=("squashfs", "root.tar.xz")), unified=False)
    product = catalog.files[IMAGES_PATH]["products"][NAME]
    first = {
        "path": "images/m", "size": 1, "sha256": "m" * 64, "combined_squashfs_sha256": "m+squashfs",
        "combined_rootxz_sha256": "m+root.tar.xz", "combined_sha256": "m+root.tar.xz",
    }  # fmt: skip
    assert product["versions"] == {
        VERSION: {
            "items": {
                "incus.tar.xz": {"ftype": "incus.tar.xz", **first},
                "lxd.tar.xz": {"ftype": "lxd.tar.xz", **first},
                "squashfs": {"ftype": "squashfs", "path": "images/squashfs", "size": 2, "sha256": "s" * 64},
                "root.tar.xz": {
                    "ftype": "root.tar.xz", "path": "images/root.tar.xz", "size": 2, "sha256": "r" * 64,
                },
            }
        }
    }  # fmt: skip
    assert "requirements" not in product
    assert added == add_to_tree.Added(
        NAME, VERSION, ("m+squashfs", "m+root.tar.xz"), ("debian/13", "debian/13/default"),
        ("images/m", "images/squashfs", "images/root.tar.xz"), True, (),
    )  # fmt: skip
    assert catalog.changed == {IMAGES_PATH}


def test_a_new_unified_image_has_one_item_for_each_daemon_family():
    catalog = a_catalog()
    added = insert(catalog, split(roots=()), unified=True)
    items = catalog.files[IMAGES_PATH]["products"][NAME]["versions"][VERSION]["items"]
    first = {"path": "images/m", "size": 1, "sha256": "m" * 64}
    assert items == {
        name: {"ftype": name, **first} for name in ("incus_combined.tar.gz", "lxd_combined.tar.gz")
    }
    assert (added.fingerprints, added.files) == (("m" * 64,), ("images/m",))


def test_adding_an_image_again_reports_that_the_image_is_not_new():
    catalog = a_catalog()
    insert(catalog, split(), unified=False)
    catalog.changed.clear()
    added = insert(catalog, split(), unified=False)
    assert (added.new, added.warnings, catalog.changed) == (False, (), set())
    assert added.aliases == ("debian/13", "debian/13/default")
    added = insert(catalog, split(aliases=("more", "debian/13")), unified=False)
    assert (added.new, added.warnings, catalog.changed) == (False, (), {IMAGES_PATH})
    assert added.aliases == ("debian/13", "debian/13/default", "more")


def test_adding_a_second_root_filesystem_keeps_the_first():
    catalog = a_catalog()
    insert(catalog, split(), unified=False)
    items = catalog.files[IMAGES_PATH]["products"][NAME]["versions"][VERSION]["items"]
    items["incus.tar.xz"]["path"] = "elsewhere"
    added = insert(catalog, split(roots=("disk-kvm.img",)), unified=False)
    assert added.new and set(items) == {"incus.tar.xz", "lxd.tar.xz", "squashfs", "disk-kvm.img"}
    assert items["incus.tar.xz"] == {
        "ftype": "incus.tar.xz", "path": "elsewhere", "size": 1, "sha256": "m" * 64,
        "combined_squashfs_sha256": "m+squashfs", "combined_disk-kvm-img_sha256": "m+disk-kvm.img",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("second", "unified", "key"),
    [
        (split("n"), False, "incus.tar.xz"),
        (split(roots=()), True, "incus.tar.xz"),
        (split("n", roots=()), True, "incus.tar.xz"),
    ],
)
def test_a_different_image_in_the_same_version_is_refused(second, unified, key):
    catalog = a_catalog()
    insert(catalog, split(), unified=False)
    with pytest.raises(RefusedError) as caught:
        insert(catalog, second, unified=unified)
    place = f"'{NAME}' version '{VERSION}'"
    assert caught.value.message == f"{place} already has an image with a different '{key}'"


def test_an_image_is_refused_if_an_item_is_damaged():
    catalog = a_catalog()
    insert(catalog, split(), unified=False)
    catalog.files[IMAGES_PATH]["products"][NAME]["versions"][VERSION]["items"]["squashfs"] = 5
    with pytest.raises(RefusedError, match="already has an image with a different 'squashfs'"):
        insert(catalog, split(), unified=False)


@pytest.mark.parametrize(
    ("ftype", "field", "refused"),
    [
        ("lxd.tar.xz", "combined_squashfs_sha256", True), ("lxd_combined.tar.gz", "sha256", True),
        ("squashfs", "sha256", False), ("lxd.tar.xz", "delta_base", False),
    ],
)  # fmt: skip
def test_an_image_is_refused_if_another_version_already_has_it(ftype, field, refused):
    catalog = a_catalog(other=another(ftype=ftype, **{field: "m+squashfs"}))
    if not refused:
        assert insert(catalog, split(), unified=False).new
        return
    with pytest.raises(RefusedError) as caught:
        insert(catalog, split(), unified=False)
    assert caught.value.message == "the tree already has this image: 'other', version '1'"
    assert NAME not in catalog.files[IMAGES_PATH]["products"]


@pytest.mark.parametrize(
    ("aliases", "other", "own", "left", "warnings"),
    [
        ((), another("a,debian/13"), ["debian/13/default"], "a,debian/13", ["did not set the alias 'debian/13', which belongs to 'other'"]),
        (("debian/13",), another("a,debian/13"), ["debian/13/default", "debian/13"], "a", ["moved the alias 'debian/13' from 'other'"]),
        (("a", "b", "c"), another("b,c,d"), ["debian/13", "debian/13/default", "a", "b", "c"], "d", ["moved the alias 'b, c' from 'other'"]),
        (("a",), another("a", arch="arm64"), ["debian/13", "debian/13/default", "a"], "a", []),
        (("a",), another("a", arch="x86_64"), ["debian/13", "debian/13/default", "a"], "", ["moved the alias 'a' from 'other'"]),
        (("a",), another("a,debian/13", ftype="disk-kvm.img"), ["debian/13", "debian/13/default", "a"], "a,debian/13", []),
        (("a",), another("a", ftype="lxd_combined.tar.gz"), ["debian/13", "debian/13/default", "a"], "", ["moved the alias 'a' from 'other'"]),
        (("a",), another("ab"), ["debian/13", "debian/13/default", "a"], "ab", []),
    ],
)  # fmt: skip
def test_products_of_equal_type_and_architecture_cannot_share_aliases(aliases, other, own, left, warnings):
    catalog = a_catalog(other=other)
    added = insert(catalog, split(aliases=aliases), unified=False)
    products = catalog.files[IMAGES_PATH]["products"]
    assert list(added.aliases) == products[NAME]["aliases"].split(",") == own
    assert products["other"]["aliases"] == left
    assert list(added.warnings) == warnings


def test_an_alias_moves_even_from_another_catalog_file():
    catalog = Catalog(new_index(), {"streams/v1/x.json": {"products": {"theirs": another("a")}}})
    insert(catalog, split(aliases=("a",)), unified=False)
    assert catalog.changed == {IMAGES_PATH, "streams/v1/x.json"}


@pytest.mark.parametrize(
    ("created", "requirements", "left", "warned"),
    [
        (CREATED + 86400, {"b": "2", "a": "1"}, {"a": "1", "b": "2"}, True),
        (CREATED + 86400, {"old": "1"}, {"old": "1"}, False),
        (CREATED + 86400, {}, None, True),
        (CREATED - 86400, {"a": "1"}, {"old": "1"}, False),
    ],
)
def test_the_newest_version_decides_the_requirements_of_its_product(created, requirements, left, warned):
    catalog = a_catalog()
    insert(catalog, split(requirements={"old": "1"}), unified=False)
    added = insert(
        catalog, split("n", requirements=requirements, metadata=facts(created=created)), unified=False
    )
    assert catalog.files[IMAGES_PATH]["products"][NAME].get("requirements") == left
    text = ("the new requirements apply to all versions of the product",)
    assert added.warnings == (text if warned else ())


def test_adding_an_image_again_updates_the_release_title():
    catalog = a_catalog()
    insert(catalog, split(), unified=False)
    catalog.changed.clear()
    added = insert(catalog, split(metadata=facts(release_title="Trixie")), unified=False)
    assert (added.new, catalog.changed) == (False, {IMAGES_PATH})
    assert catalog.files[IMAGES_PATH]["products"][NAME]["release_title"] == "Trixie"


def test_the_clock_of_the_building_machine_may_be_a_day_ahead(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    check_facts(facts(created=1000 + 86400), "i")
    with pytest.raises(InputError) as caught:
        check_facts(facts(created=1001 + 86400), "i")
    assert caught.value.message == "'i': the creation_date 87401 of metadata.yaml is in the future"
    assert caught.value.hint == "build the image on a machine whose clock is right"


@pytest.mark.parametrize(("size", "refused"), [(50, False), (51, True)])
@pytest.mark.parametrize(("least", "ratio"), [(50, 2), (40, 5)])
def test_a_disk_may_be_as_large_as_the_limit(size, refused, least, ratio, tmp_path):
    (tmp_path / "i").write_bytes(bytes(10))
    limits = DEFAULT._replace(ratio_from=least, ratio=ratio)
    if not refused:
        add_to_tree._refuse_sparse(str(tmp_path / "i"), size, limits)
        return
    with pytest.raises(LimitError) as caught:
        add_to_tree._refuse_sparse(str(tmp_path / "i"), size, limits)
    assert caught.value.message == (
        f"'rootfs.img' in '{tmp_path}/i' has 51 bytes including its holes: more than {ratio} times"
        " the size of the image file (10 bytes)"
    )


def test_a_directory_is_packed_before_it_is_added(tree, tmp_path):
    with pytest.raises(add_to_tree.UsageError) as caught:
        add_to_tree.add(tree, str(tmp_path))
    assert caught.value.message == f"'{tmp_path}' is a directory"
    assert caught.value.hint == f"pack the directory first: templater image build {tmp_path} -o FILE"


def test_copy_progress_is_counted_in_bytes(tmp_path, monkeypatch):
    (tmp_path / "root").write_bytes(b"x" * 10)
    seen, written = [], []
    output = SimpleNamespace(size=0)

    def write(piece):
        written.append(piece)
        output.size += len(piece)

    output.write = write
    add_to_tree._copy(str(tmp_path / "root"), output, lambda *words: seen.append(words))
    assert (written, seen) == ([b"x" * 10], [(0, 10, str(tmp_path / "root"), 10)])

    def fail(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(add_to_tree, "reading", fail)
    with pytest.raises(InputError) as caught:
        add_to_tree._copy("root", output, lambda *words: None)
    assert caught.value.message == "'root' can't be read: input/output error"
