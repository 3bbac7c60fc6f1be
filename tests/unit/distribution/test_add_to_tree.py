import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from templater.distribution import catalog_decoder, catalog_limits
from templater.distribution.add_to_tree import add
from templater.distribution.catalog_decoder import IMAGES_PATH, INDEX_PATH
from templater.distribution.store import Store
from templater.distribution.tree import Tree
from templater.image.fingerprint import fingerprint
from templater.image.limits import DEFAULT
from templater.image.open_file import reading, whole_content
from templater.model.errors import InputError, LimitError, RefusedError, UsageError
from templater.serving.image_sources import TreeSource
from tests.image_archives import file, image, padded, pax
from tests.processor_time import ends_within
from tests.streams.builders import (
    CREATED,
    DAY,
    QCOW2,
    SQUASHFS,
    checked,
    listed,
    metadata_yaml,
    split_image,
    tarball,
    unified_image,
)
from tests.streams.mutations import EXAMPLE


def products(tree):
    return json.loads(tree.read(IMAGES_PATH))["products"]


def items(tree, product="tiny:1:amd64:default", version="20260101_0000"):
    return products(tree)[product]["versions"][version]["items"]


def files(tree):
    return sorted(
        path.relative_to(tree.path).as_posix() for path in Path(tree.path).rglob("*") if path.is_file()
    )


def sha256(*data):
    return hashlib.sha256(b"".join(data)).hexdigest()


def test_the_example_images_get_the_same_fingerprints_as_in_real_clients(tree):
    images = EXAMPLE / "images/tiny/1/amd64"
    shown = []
    for variant, root in (("default", "rootfs.squashfs"), ("tarxz", "root.tar.xz"), ("vm", "disk.qcow2")):
        folder = images / variant / "20260101_0000"
        shown += add(tree, str(folder / "incus.tar.xz"), [str(folder / root)]).fingerprints
    shown += add(tree, str(images / "unified/20260101_0000/unified.tar.gz")).fingerprints
    assert [each[:8] for each in shown] == ["e8b3e797", "0dbfcab8", "2acf0bab", "3e953774"]
    report = checked(tree)
    assert list(report.images.values()) == [4, 4, 4]


def test_the_catalog_items_for_lxd_and_incus_share_the_same_files(tree, tmp_path):
    add(tree, *wrapped(split_image(tmp_path / "a")))
    found = items(tree)
    assert {"incus.tar.xz", "lxd.tar.xz", "squashfs"} == set(found)
    assert found["incus.tar.xz"] == {**found["lxd.tar.xz"], "ftype": "incus.tar.xz"}
    assert len([path for path in files(tree) if path.startswith("images/")]) == 2


def wrapped(pair):
    return pair[0], [pair[1]]


def test_added_files_are_named_by_their_hash(tree, tmp_path):
    meta, root = split_image(tmp_path / "a")
    add(tree, meta, [root])
    for item in items(tree).values():
        data = tree.read(item["path"])
        assert item["path"].startswith(f"images/{sha256(data)}.")
        assert (item["size"], item["sha256"]) == (len(data), sha256(data))


def test_root_filesystems_with_a_shared_metadata_file_have_different_fingerprints(tree, tmp_path):
    meta, root = split_image(tmp_path / "a")
    _, disk = split_image(tmp_path / "b", root=QCOW2)
    _, tar = split_image(tmp_path / "c", root=tarball({"./etc": None}))
    add(tree, meta, [root, disk, tar])
    data = Path(meta).read_bytes()
    item = items(tree)["incus.tar.xz"]
    assert item["combined_squashfs_sha256"] == sha256(data, SQUASHFS)
    assert item["combined_disk-kvm-img_sha256"] == sha256(data, QCOW2)
    assert item["combined_rootxz_sha256"] == item["combined_sha256"] == sha256(data, Path(tar).read_bytes())
    checked(tree)


def test_a_second_root_filesystem_joins_the_existing_version(tree, tmp_path):
    meta, root = split_image(tmp_path / "a")
    _, disk = split_image(tmp_path / "b", root=QCOW2)
    add(tree, meta, [root])
    add(tree, meta, [disk])
    assert {"squashfs", "disk-kvm.img"} <= set(items(tree))
    assert checked(tree).images["incus-6.0"] == 2


def test_adding_the_same_image_again_changes_no_file(tree, tmp_path):
    meta, root = split_image(tmp_path / "a")
    assert add(tree, meta, [root]).new
    before = {path: (Path(tree.path, path).stat().st_mtime_ns, tree.read(path)) for path in files(tree)}
    assert not add(tree, meta, [root]).new
    assert {
        path: (Path(tree.path, path).stat().st_mtime_ns, tree.read(path)) for path in files(tree)
    } == before


def test_adding_the_same_image_again_restores_a_lost_file(tree, tmp_path):
    meta, root = split_image(tmp_path / "a")
    add(tree, meta, [root])
    os.unlink(os.path.join(tree.path, items(tree)["squashfs"]["path"]))
    add(tree, meta, [root])
    checked(tree)


def test_a_different_image_for_an_existing_version_is_refused(tree, tmp_path):
    add(tree, *wrapped(split_image(tmp_path / "a")))
    before = files(tree)
    with pytest.raises(
        RefusedError,
        match=r"^'tiny:1:amd64:default' version '20260101_0000' already has an image with a different 'squashfs'$",
    ) as caught:
        add(tree, *wrapped(split_image(tmp_path / "b", root=SQUASHFS + b"x")))
    assert (
        caught.value.hint == "build the image again with a new creation_date, or remove the old version first"
    )
    with pytest.raises(
        RefusedError,
        match=r"^'tiny:1:amd64:default' version '20260101_0000' already has an image with a different 'incus\.tar\.xz'$",
    ) as caught:
        add(tree, unified_image(tmp_path / "c"))
    assert (
        caught.value.hint == "build the image again with a new creation_date, or remove the old version first"
    )
    assert files(tree) == before


def test_adding_an_image_is_refused_if_another_product_already_has_it(tree, tmp_path):
    meta, root = split_image(tmp_path / "a")
    add(tree, meta, [root])
    document = json.loads(tree.read(IMAGES_PATH))
    document["products"]["other"] = document["products"].pop("tiny:1:amd64:default")
    Path(tree.path, IMAGES_PATH).write_text(json.dumps(document))
    with pytest.raises(
        RefusedError, match=r"^the tree already has this image: 'other', version '20260101_0000'$"
    ) as caught:
        add(tree, meta, [root])
    assert (
        caught.value.hint == "remove the existing image: clients can't download an image that is listed twice"
    )


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
def test_the_version_is_the_creation_date_in_utc(tree, tmp_path, monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    assert add(tree, *wrapped(split_image(tmp_path / "a", created=CREATED + 60))).version == "20260101_0001"


def test_a_product_without_a_variant_gets_the_default_variant(tree, tmp_path):
    add(tree, *wrapped(split_image(tmp_path / "a")))
    assert products(tree)["tiny:1:amd64:default"]["variant"] == "default"


def test_adding_an_image_sets_a_missing_product_variant_to_default(tree, tmp_path):
    add(tree, *wrapped(split_image(tmp_path / "a")))
    document = json.loads(tree.read(IMAGES_PATH))
    del document["products"]["tiny:1:amd64:default"]["variant"]
    Path(tree.path, IMAGES_PATH).write_text(json.dumps(document))
    added = add(tree, *wrapped(split_image(tmp_path / "b", variant="cloud")))
    assert "added the variant 'default' to 1 products" in added.warnings[0]
    checked(tree)


def test_the_requirement_option_overrides_the_requirements_in_the_metadata(tree, tmp_path):
    pair = split_image(tmp_path / "a", **{"requirements.secureboot": "false", "requirements.nesting": "true"})
    add(tree, *wrapped(pair), requirements={"nesting": "false"})
    assert products(tree)["tiny:1:amd64:default"]["requirements"] == {
        "secureboot": "false",
        "nesting": "false",
    }


@pytest.mark.parametrize(
    ("variant", "aliases"),
    [(None, "tiny/1,tiny/1/default"), ("cloud", "tiny/1/cloud")],
)
def test_default_aliases_contain_the_os_and_the_release_and_the_variant(tree, tmp_path, variant, aliases):
    add(tree, *wrapped(split_image(tmp_path / "a", variant=variant)))
    (product,) = products(tree).values()
    assert product["aliases"] == aliases


@pytest.mark.parametrize("alias", ["", "a b", "a,b", " a", "a\n", "a\0"])
def test_aliases_are_refused_if_clients_would_parse_them_differently(tree, tmp_path, alias):
    with pytest.raises(UsageError, match="invalid alias"):
        add(tree, *wrapped(split_image(tmp_path / "a")), aliases=[alias])
    assert not os.path.exists(tree.path)


def test_default_aliases_contain_no_blanks_from_os_or_release(tree, tmp_path):
    added = add(tree, *wrapped(split_image(tmp_path / "a", os="Rocky Linux", release="9, beta")))
    assert added.aliases == ("rockylinux/9beta", "rockylinux/9beta/default")
    assert products(tree)[added.product]["os"] == "Rocky Linux"
    checked(tree)


def test_only_a_requested_alias_moves_to_the_new_image(tree, tmp_path):
    add(tree, *wrapped(split_image(tmp_path / "a")), aliases=["tiny/2", "tiny"])
    added = add(tree, *wrapped(split_image(tmp_path / "b", release="2")), aliases=["tiny"])
    assert added.aliases == ("tiny/2/default", "tiny")
    assert "did not set the alias 'tiny/2', which belongs to 'tiny:1:amd64:default'" in added.warnings
    assert products(tree)["tiny:1:amd64:default"]["aliases"] == "tiny/1,tiny/1/default,tiny/2"
    checked(tree)


def test_images_of_different_architectures_and_types_can_share_an_alias(tree, tmp_path):
    add(tree, *wrapped(split_image(tmp_path / "a")), aliases=["tiny"])
    add(tree, *wrapped(split_image(tmp_path / "b", arch="aarch64")), aliases=["tiny"])
    add(tree, *wrapped(split_image(tmp_path / "c", root=QCOW2, variant="vm")), aliases=["tiny"])
    assert all("tiny" in each["aliases"].split(",") for each in products(tree).values())
    checked(tree)


def test_the_catalog_uses_the_architecture_names_of_debian(tree, tmp_path):
    add(tree, *wrapped(split_image(tmp_path / "a", arch="aarch64")))
    assert list(products(tree)) == ["tiny:1:arm64:default"]


def test_an_older_version_does_not_change_the_requirements_of_its_product(tree, tmp_path):
    add(tree, *wrapped(split_image(tmp_path / "a", created=CREATED + DAY, **{"requirements.a": "1"})))
    add(tree, *wrapped(split_image(tmp_path / "b", **{"requirements.a": "2"})))
    (product,) = products(tree).values()
    assert set(product["versions"]) == {"20260101_0000", "20260102_0000"}
    assert product["requirements"] == {"a": "1"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"arch": "all"}, "unknown architecture 'all'"),
        ({"arch": "x86_64_v3"}, "unknown architecture"),
        ({"created": 0}, "no creation_date"),
        ({"created": 253_402_300_799}, "creation_date 253402300799 of metadata.yaml is in the future"),
        ({"os": None}, "no property 'os'"),
        ({"release": " "}, "no property 'release'"),
    ],
)
def test_an_image_is_refused_if_no_client_would_list_it(tree, tmp_path, fields, said):
    with pytest.raises(InputError, match=said):
        add(tree, *wrapped(split_image(tmp_path / "a", **fields)))
    assert not os.path.exists(tree.path)


def test_a_disk_with_a_backing_file_is_refused(tree, tmp_path):
    disk = QCOW2[:8] + (512).to_bytes(8, "big") + QCOW2[16:]
    with pytest.raises(
        RefusedError, match=r"^'.*' is a qcow2 file that needs a backing file, which clients don't have$"
    ) as caught:
        add(tree, *wrapped(split_image(tmp_path / "a", root=disk)))
    assert caught.value.hint == "convert the disk first: qemu-img convert -O qcow2"


def test_a_disk_with_an_external_data_file_is_refused(tree, tmp_path):
    disk = bytearray(QCOW2)
    disk[7], disk[79] = 3, 4
    with pytest.raises(
        RefusedError,
        match=r"^'.*' is a qcow2 file that needs an external data file, which clients don't have$",
    ) as caught:
        add(tree, *wrapped(split_image(tmp_path / "a", root=bytes(disk))))
    assert caught.value.hint == "convert the disk first: qemu-img convert -O qcow2"


def test_unsuitable_files_and_combinations_of_files_are_refused(tree, tmp_path):
    meta, root = split_image(tmp_path / "a")
    _, text = split_image(tmp_path / "b", root=b"hello\n")
    with pytest.raises(InputError, match=r"^'.*' is a text file$") as caught:
        add(tree, meta, [text])
    assert caught.value.hint == "a root filesystem is a squashfs file, a tarball or a qcow2 disk"
    with pytest.raises(UsageError, match=r"^'.*' is a second root filesystem of the type 'squashfs'$"):
        add(tree, meta, [root, root])
    with pytest.raises(
        UsageError, match=r"^'.*' is the metadata of a split image, without a root filesystem$"
    ) as caught:
        add(tree, meta)
    assert caught.value.hint == "give both files: the metadata tarball, then the root filesystem"
    with pytest.raises(UsageError, match=r"^'.*' already contains a root filesystem$") as caught:
        add(tree, unified_image(tmp_path / "c"), [root])
    assert caught.value.hint == "give only the image"
    with pytest.raises(
        UsageError,
        match=r"^'.*' is a unified virtual machine image, which older clients list as a container$",
    ) as caught:
        add(tree, unified_image(tmp_path / "d", rootfs="rootfs.img"))
    assert caught.value.hint == "add --split to store the image as metadata and disk"


def test_adding_an_image_never_overwrites_a_damaged_file(tree, tmp_path):
    meta, root = split_image(tmp_path / "a")
    os.makedirs(os.path.join(tree.path, "images"))
    place = Path(tree.path, f"images/{sha256(SQUASHFS)}.squashfs")
    place.write_bytes(b"damaged")
    with pytest.raises(RefusedError, match="does not match its name") as caught:
        add(tree, meta, [root])
    assert caught.value.hint == "delete the file and run the command again"
    assert place.read_bytes() == b"damaged"
    assert not os.path.exists(os.path.join(tree.path, INDEX_PATH))


@pytest.mark.parametrize("name", ["images", "streams", "streams/v1", ".templater"])
def test_a_symlink_instead_of_a_directory_is_refused(tree, tmp_path, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    place = Path(tree.path, name)
    place.parent.mkdir(parents=True)
    place.symlink_to(outside)
    with pytest.raises(RefusedError, match="not a directory"):
        add(tree, *wrapped(split_image(tmp_path / "a")))
    assert not list(outside.iterdir())


def test_adding_an_image_keeps_unknown_keys_and_entries_of_the_catalog(tree, tmp_path):
    add(tree, *wrapped(split_image(tmp_path / "a")))
    index = json.loads(tree.read(INDEX_PATH))
    index["index"]["other"] = {"datatype": "image-ids", "path": "streams/v1/other.json", "x": 1}
    Path(tree.path, INDEX_PATH).write_text(json.dumps(index))
    document = json.loads(tree.read(IMAGES_PATH))
    document["note"] = document["products"]["tiny:1:amd64:default"]["note"] = {"by": "hand"}
    Path(tree.path, IMAGES_PATH).write_text(json.dumps(document))
    add(tree, *wrapped(split_image(tmp_path / "b", variant="cloud")))
    assert json.loads(tree.read(INDEX_PATH))["index"]["other"] == index["index"]["other"]
    found = json.loads(tree.read(IMAGES_PATH))
    assert found["note"] == found["products"]["tiny:1:amd64:default"]["note"] == {"by": "hand"}


def test_a_tree_of_the_official_tool_accepts_an_image(tree, tmp_path):
    from tests.streams.mutations import HERE

    shutil.copytree(HERE / "incus-simplestreams", tree.path)
    add(tree, *wrapped(split_image(tmp_path / "a", variant="cloud")))
    assert len(products(tree)) == 4
    assert "tiny:1:vm:amd64" in products(tree)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_image_size(tree, tmp_path):
    import tracemalloc

    meta, root = split_image(tmp_path / "a")
    with open(root, "r+b") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    try:
        add(tree, meta, [root])
        checked(tree)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_splitting_a_virtual_machine_image_gives_metadata_and_a_disk(tree, tmp_path):
    add(tree, unified_image(tmp_path / "a", rootfs="rootfs.img"), split=True)
    assert tree.read(items(tree)["disk-kvm.img"]["path"]) == QCOW2
    checked(tree)
    (image,) = listed(tree, "incus-6.0")
    assert image.type == "virtual-machine"


def test_a_sparse_disk_with_a_huge_unpacked_size_is_refused(tree, tmp_path):
    """An image of 459 bytes made a disk of a terabyte."""
    records = {"GNU.sparse.major": b"1", "GNU.sparse.minor": b"0", "GNU.sparse.realsize": b"%d" % (8 << 20)}
    disk = pax({**records, "GNU.sparse.name": b"rootfs.img"}) + file(
        "d", padded(b"2\n0\n512\n%d\n0\n" % (8 << 20)) + QCOW2
    )
    path = image(tmp_path / "i.tar", disk, metadata=metadata_yaml())
    limits = DEFAULT._replace(ratio_from=1 << 20, ratio=100)
    with pytest.raises(
        LimitError, match=f"'rootfs.img' in .* has {8 << 20} bytes including its holes"
    ) as caught:
        add(tree, path, split=True, limits=limits)
    assert caught.value.hint == "if you trust the image, raise the limit: --limit ratio=…"
    assert not os.path.exists(tree.path)
    add(tree, path, split=True, limits=limits._replace(ratio=1000))
    assert len(tree.read(items(tree)["disk-kvm.img"]["path"])) == 8 << 20


@pytest.mark.skipif(shutil.which("mksquashfs") is None, reason="needs mksquashfs")
def test_splitting_a_container_image_always_gives_the_same_metadata_and_squashfs(tree, tmp_path):
    image = unified_image(tmp_path / "a")
    (first,) = add(tree, image, split=True).fingerprints
    (second,) = add(Tree(str(tmp_path / "other")), image, split=True).fingerprints
    assert first == second
    assert {"incus.tar.xz", "lxd.tar.xz", "squashfs"} == set(items(tree))
    checked(tree)


def test_adding_an_image_again_can_add_an_alias_and_a_requirement(tree, tmp_path):
    meta, root = split_image(tmp_path / "a")
    add(tree, meta, [root])
    added = add(tree, meta, [root], aliases=["tiny"], requirements={"secureboot": "false"})
    assert not added.new
    (product,) = products(tree).values()
    assert product["aliases"] == "tiny/1,tiny/1/default,tiny"
    assert product["requirements"] == {"secureboot": "false"}
    assert added.warnings == ("the new requirements apply to all versions of the product",)


def test_a_very_sparse_file_is_neither_copied_nor_hashed(tree, tmp_path):
    path = unified_image(tmp_path / "image")
    os.truncate(path, 3 << 30)
    store = Store(str(tmp_path / "store"))
    for read in (lambda: add(tree, path), lambda: store.import_files(path), lambda: fingerprint(path)):
        with ends_within(1), pytest.raises(InputError) as raised:
            read()
        assert raised.value.message == f"'{path}' is sparse: most of its {3 << 30} bytes are in holes"
    assert [str(each) for each in tmp_path.rglob("*") if each.lstat().st_size > 1 << 20] == [path]


def test_reading_a_growing_file_stops_at_its_original_size(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    with reading(str(path)) as file:
        content = whole_content(file, str(path))
        os.truncate(path, 0)
        path.write_bytes(b"y" * 10)
        first = next(content)
        os.truncate(path, 100)
        assert first + b"".join(content) == b"y" * 10


@pytest.mark.parametrize(
    "fields",
    [
        {"os": "x" * 600},
        {"release": "x" * 600},
        {"variant": "x" * 600},
        {"requirements.a": "x" * 600},
        {f"requirements.a{number}": "x" for number in range(21)},
    ],
)
def test_an_image_with_excessive_values_is_not_added(tree, tmp_path, fields):
    """The command said 'added', but afterwards no reader accepted the tree."""
    add(tree, unified_image(tmp_path / "a"))
    before = files(tree), tree.read(IMAGES_PATH)
    with pytest.raises(LimitError, match=r"has more than (512 characters|20 values)"):
        add(tree, unified_image(tmp_path / "b", created=CREATED + DAY, **fields))
    assert (files(tree), tree.read(IMAGES_PATH)) == before
    checked(tree)


def test_an_image_is_not_added_above_a_catalog_limit(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(catalog_decoder, "MOST_ALIASES", 3)
    add(tree, unified_image(tmp_path / "a"))
    before = files(tree), tree.read(IMAGES_PATH)
    with pytest.raises(LimitError, match="the catalog has more than 3 aliases"):
        add(tree, unified_image(tmp_path / "b", release="2"))
    assert (files(tree), tree.read(IMAGES_PATH)) == before
    checked(tree)


@pytest.mark.parametrize("limit", ["MOST_OF_CATALOG", "MOST_OF_LISTS"])
def test_attack_82_a_new_image_never_makes_servers_refuse_the_tree(tree, tmp_path, monkeypatch, limit):
    add(tree, unified_image(tmp_path / "a"))
    size = sum(len(tree.read(path)) for path in (INDEX_PATH, IMAGES_PATH))
    monkeypatch.setattr(catalog_limits, limit, size if limit == "MOST_OF_CATALOG" else 4000)
    before = files(tree), tree.read(IMAGES_PATH)
    with pytest.raises(
        LimitError, match=r"^the (catalog has|image lists .* have) more than 0 MiB$"
    ) as caught:
        for number in range(2, 9):
            add(tree, unified_image(tmp_path / str(number), release=str(number)))
    assert caught.value.hint == "`templater serve` cannot serve a larger catalog"
    assert TreeSource(tree.path).load().images
    if limit == "MOST_OF_CATALOG":
        assert (files(tree), tree.read(IMAGES_PATH)) == before


@pytest.mark.parametrize("exists", [True, False])
def test_an_image_is_added_despite_capitalised_index_keys(tree, tmp_path, exists):
    """Clients read an index entry with capitalised keys, but `streams add` does not change its file."""
    add(tree, unified_image(tmp_path / "a"))
    index = json.loads(tree.read(INDEX_PATH))
    index["index"]["x"] = {"Datatype": "image-downloads", "Path": "streams/v1/x.json", "Products": ["a"]}
    Path(tree.path, INDEX_PATH).write_text(json.dumps(index))
    if exists:
        Path(tree.path, "streams/v1/x.json").write_text("{}")
    assert add(tree, unified_image(tmp_path / "b", release="2")).new
