import contextlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from templater.cli.commands.streams.prune import _seconds
from templater.distribution import remove_and_prune
from templater.distribution import tree as tree_module
from templater.distribution.add_to_tree import add, types_of, version_name
from templater.distribution.catalog_decoder import IMAGES_PATH
from templater.distribution.remove_and_prune import REMOVED, prune, read_removed, record_removed, remove
from templater.distribution.tree import Tree
from templater.distribution.tree_catalog import fingerprints_of
from templater.model.errors import InputError, LimitError, RefusedError, UsageError
from tests.streams.builders import CREATED, DAY, QCOW2, checked, split_image, squashfs

HOUR = 3600
NAME = "tiny:1:amd64:default"


@pytest.fixture
def tree(tmp_path):
    """Five versions, a day apart."""
    tree = Tree(str(tmp_path / "tree"))
    for number in range(5):
        meta, root = split_image(tmp_path / "image", created=CREATED + number * DAY, root=squashfs(number))
        add(tree, meta, [root])
    return tree


def versions(tree):
    found = json.loads(tree.read(IMAGES_PATH))["products"]
    return sorted(found[NAME]["versions"]) if NAME in found else []


def files(tree):
    return set(os.listdir(os.path.join(tree.path, "images")))


def test_the_keep_option_of_prune_keeps_the_newest_versions(tree):
    pruned = prune(tree, keep=2)
    assert versions(tree) == ["20260104_0000", "20260105_0000"]
    assert pruned.versions == tuple((NAME, f"2026010{day}_0000") for day in (3, 2, 1))
    checked(tree)


def test_prune_keeps_versions_younger_than_the_given_age(tree):
    prune(tree, older_than=2 * DAY, now=lambda: CREATED + 4 * DAY)
    assert versions(tree) == ["20260103_0000", "20260104_0000", "20260105_0000"]


def test_prune_with_two_options_removes_only_versions_that_both_options_select(tree):
    prune(tree, keep=4, older_than=0, now=lambda: CREATED + 30 * DAY)
    assert versions(tree)[0] == "20260102_0000"
    prune(tree, keep=1, older_than=29 * DAY - HOUR, now=lambda: CREATED + 30 * DAY)
    assert versions(tree)[0] == "20260103_0000"


def test_unused_files_are_deleted_only_after_the_grace_period(tree):
    before = files(tree)
    start = CREATED + 10 * DAY
    prune(tree, keep=1, now=lambda: start)
    assert files(tree) == before
    pruned = prune(tree, now=lambda: start + 23 * HOUR)
    assert files(tree) == before
    assert pruned.waiting == 8
    pruned = prune(tree, now=lambda: start + 24 * HOUR)
    assert len(pruned.deleted) == 8
    assert len(files(tree)) == 2
    assert json.loads(tree.read(REMOVED)) == {}
    checked(tree)


def test_prune_keeps_files_of_an_image_added_again(tree, tmp_path):
    meta, root = split_image(tmp_path / "again", root=squashfs(0))
    remove(tree, [f"{NAME}@20260101_0000"])
    add(tree, meta, [root])
    prune(tree, grace=0)
    assert "20260101_0000" in versions(tree)
    checked(tree)


def test_stray_files_are_deleted_after_a_grace_period(tree):
    stray = Path(tree.path, "images", "0" * 64 + ".squashfs")
    stray.write_bytes(b"x")
    other = Path(tree.path, "images", "README")
    other.write_bytes(b"x")
    start = CREATED + 10 * DAY
    prune(tree, now=lambda: start)
    assert stray.exists()
    prune(tree, now=lambda: start + DAY)
    assert not stray.exists()
    assert other.exists(), "files that are named otherwise are left alone"


def test_no_file_is_changed_by_a_dry_run_of_prune(tree):
    before = {name: tree.read(name) for name in (IMAGES_PATH, "streams/v1/index.json")}
    pruned = prune(tree, keep=1, dry_run=True)
    assert len(pruned.versions) == 4
    assert {name: tree.read(name) for name in before} == before
    assert not os.path.exists(os.path.join(tree.path, REMOVED))


def test_prune_without_options_keeps_every_version(tree):
    assert not prune(tree, grace=0).versions
    assert len(versions(tree)) == 5
    checked(tree)


def test_remove_accepts_a_product_or_version_or_fingerprint(tree, tmp_path):
    remove(tree, [f"{NAME}@20260103_0000"])
    assert len(versions(tree)) == 4
    items = json.loads(tree.read(IMAGES_PATH))["products"][NAME]["versions"]["20260104_0000"]["items"]
    remove(tree, [items["incus.tar.xz"]["combined_squashfs_sha256"][:12]])
    assert versions(tree) == ["20260101_0000", "20260102_0000", "20260105_0000"]
    checked(tree)
    remove(tree, [NAME])
    assert versions(tree) == []
    checked(tree)


def test_removing_one_of_two_images_keeps_the_other(tree, tmp_path):
    pair = split_image(tmp_path / "vm", variant="both")
    disk = split_image(tmp_path / "disk", root=QCOW2)[1]
    added = add(tree, pair[0], [pair[1], disk])
    remove(tree, [added.fingerprints[0]])
    items = json.loads(tree.read(IMAGES_PATH))["products"][added.product]["versions"][added.version]["items"]
    assert set(items) == {"incus.tar.xz", "lxd.tar.xz", "disk-kvm.img"}
    assert "combined_squashfs_sha256" not in items["lxd.tar.xz"]
    prune(tree, grace=0)
    checked(tree)


GIVE = "give PRODUCT, PRODUCT@VERSION or 12 characters of a fingerprint"


@pytest.mark.parametrize(
    ("name", "said", "hint"),
    [
        ("nothing", "unknown product 'nothing'", GIVE),
        ("", "unknown product ''", GIVE),
        ("0" * 11, f"unknown product '{'0' * 11}'", GIVE),
        (
            "0" * 12,
            f"the tree has no image '{'0' * 12}'",
            "to list the images, run: templater streams list TREE",
        ),
        (
            "0" * 64,
            f"the tree has no image '{'0' * 64}'",
            "to list the images, run: templater streams list TREE",
        ),
        (
            f"{NAME}@20250101_0000",
            f"the tree has no image '{NAME}@20250101_0000'",
            "to list the images, run: templater streams list TREE",
        ),
    ],
)
def test_removing_an_unknown_image_is_an_error_and_changes_nothing(tree, name, said, hint):
    with pytest.raises(InputError) as raised:
        remove(tree, [NAME, name])
    assert (raised.value.message, raised.value.hint) == (said, hint)
    assert len(versions(tree)) == 5


def test_the_streams_remove_command_refuses_an_ambiguous_fingerprint_prefix(tree):
    document = json.loads(tree.read(IMAGES_PATH))
    items = [version["items"]["incus.tar.xz"] for version in document["products"][NAME]["versions"].values()]
    start = items[0]["combined_squashfs_sha256"][:12]
    items[1]["combined_squashfs_sha256"] = start + "0" * 52
    before = json.dumps(document)
    Path(tree.path, IMAGES_PATH).write_text(before)
    with pytest.raises(InputError) as raised:
        remove(tree, [start])
    assert raised.value.message == f"several fingerprints begin with '{start}'"
    assert raised.value.hint == "give more characters"
    assert Path(tree.path, IMAGES_PATH).read_text() == before


def test_a_product_without_versions_is_removed(tree):
    document = json.loads(tree.read(IMAGES_PATH))
    document["products"] |= {"empty": {"arch": "amd64"}, "bare": {"arch": "amd64", "versions": {}}}
    Path(tree.path, IMAGES_PATH).write_text(json.dumps(document))
    assert remove(tree, ["empty", "bare"]).versions == ()
    assert list(json.loads(tree.read(IMAGES_PATH))["products"]) == [NAME]


def test_prune_refuses_a_folder_without_an_image_tree(tmp_path):
    with pytest.raises(InputError, match=r"^'.*' is not a simplestreams tree$") as caught:
        prune(Tree(str(tmp_path)), keep=1)
    assert caught.value.hint == "'streams/v1/index.json' is missing; `templater streams add` creates a tree"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "path", ["../secret", "/etc/passwd", "streams/v1/images.json", ".templater/x", "x/../../secret"]
)
def test_a_recorded_path_outside_the_images_folder_is_never_deleted(tree, tmp_path, path):
    (tmp_path / "secret").write_text("keep")
    Path(tree.path, REMOVED).write_text(json.dumps({path: 0}))
    before = sorted(Path(tree.path).rglob("*"))
    with contextlib.suppress(RefusedError):
        prune(tree)
    assert (tmp_path / "secret").exists()
    assert sorted(Path(tree.path).rglob("*")) == before
    checked(tree)


def test_deletion_records_with_unnormalised_paths_or_non_integer_times_are_ignored(tree):
    entries = {"images/a": 5, "images/../b": 5, "images/c": "5", "images/d": True, "images/e": None}
    Path(tree.path, REMOVED).write_text(json.dumps(entries))
    assert read_removed(tree) == {"images/a": 5}


@pytest.mark.parametrize("path", ["images/folder", "streams", "streams/v1/index.json", REMOVED])
def test_prune_succeeds_after_removing_an_item_without_a_file(tree, path):
    """Each later prune was refused, so no file of the tree was ever deleted."""
    Path(tree.path, "images/folder").mkdir()
    products = json.loads(tree.read(IMAGES_PATH))
    version = products["products"][NAME]["versions"]["20260101_0000"]
    next(iter(version["items"].values()))["path"] = path
    Path(tree.path, IMAGES_PATH).write_text(json.dumps(products))
    stray = Path(tree.path, "images", "0" * 64 + ".squashfs")
    stray.write_text("x")
    remove(tree, [f"{NAME}@20260101_0000"])
    prune(tree, grace=0)
    assert not stray.exists() and Path(tree.path, path).exists()
    assert path not in read_removed(tree)
    prune(tree, keep=1, grace=0)
    assert len(versions(tree)) == 1


def test_files_below_a_symlinked_directory_are_never_deleted(tree, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("keep")
    Path(tree.path, "link").symlink_to(outside)
    Path(tree.path, REMOVED).write_text(json.dumps({"link/file": 0}))
    with pytest.raises(RefusedError, match=r"^'.*' is reached through a symlink$"):
        prune(tree)
    assert (outside / "file").exists()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90m", 5400), ("24h", 86400), ("30d", 2592000), ("2w", 1209600), ("0s", 0)]
)
def test_a_duration_is_parsed_to_seconds(text, seconds):
    assert _seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "24", "h", "-1h", "1.5h", "1h30m", "9" * 20 + "d"])
def test_invalid_durations_are_refused(text):
    with pytest.raises(UsageError, match="invalid duration"):
        _seconds(text)


def test_one_run_of_prune_deletes_a_limited_number_of_files(tree, monkeypatch):
    monkeypatch.setattr(remove_and_prune, "_MOST_DELETED", 3)
    prune(tree, keep=1, now=lambda: 0)
    before = files(tree)
    assert len(before) == 10
    for left in (7, 4, 2, 2):
        pruned = prune(tree)
        assert (len(files(tree)), pruned.waiting) == (left, left - 2)
    checked(tree)


def test_a_removal_record_with_too_many_files_is_refused(tree, monkeypatch):
    monkeypatch.setattr(remove_and_prune, "MOST_REMOVED", 2)
    Path(tree.path, REMOVED).write_text(json.dumps({"a": 1, "b": 2, "d/" * 30 + "x": 1}))
    with pytest.raises(LimitError, match=r"'\.templater/removed\.json' lists more than 2 files"):
        read_removed(tree)
    monkeypatch.setattr(remove_and_prune, "MOST_REMOVED", 3)
    assert read_removed(tree) == {"a": 1, "b": 2}  # templater never writes so many nested directories


def test_the_removal_record_stays_readable_with_too_many_files(tree, monkeypatch):
    number = len(files(tree))
    monkeypatch.setattr(tree_module, "MOST_REMOVED", number - 1)
    with pytest.raises(LimitError, match=rf"/images' has more than {number - 1} files$"):
        prune(tree)
    monkeypatch.setattr(tree_module, "MOST_REMOVED", number)
    assert len(list(tree.content_files())) == number
    monkeypatch.setattr(remove_and_prune, "MOST_REMOVED", 2)
    record_removed(tree, {"images/a": 1, "images/b": 1})
    with pytest.raises(LimitError, match="would list 3 files, more than `prune` can read"):
        record_removed(tree, {"images/a": 1, "images/b": 1, "images/c": 1})
    monkeypatch.setattr(remove_and_prune, "MOST_BYTES", 40)
    with pytest.raises(LimitError, match="would list 2 files"):
        record_removed(tree, {"images/a": 1, "images/" + "b" * 40: 1})
    assert read_removed(tree) == {"images/a": 1, "images/b": 1}


@pytest.mark.parametrize(
    ("version", "age"),
    [
        ("20240102_0304", 0), ("20240102_0304-1", 0), ("202401020304", 0), ("20240102", 3 * HOUR + 4 * 60),
        ("20240102.1", 3 * HOUR + 4 * 60), ("20240101_0304", DAY), ("2024010", 0), ("99999999", 0), ("latest", 0),
        ("", 0),
    ],
)  # fmt: skip
def test_the_age_of_a_version_comes_from_its_name(version, age):
    moment = int(datetime(2024, 1, 2, 3, 4, tzinfo=UTC).timestamp())
    assert remove_and_prune._age(version, moment) == age


def test_an_invalid_creation_date_gives_an_error():
    assert version_name(CREATED) == datetime.fromtimestamp(CREATED, UTC).strftime("%Y%m%d_%H%M")
    with pytest.raises(InputError, match=r"^creation_date 99999999999999 is not a date$"):
        version_name(99999999999999)


@pytest.mark.parametrize(
    ("item", "found"),
    [
        (None, set()), ([], set()), ({}, set()), ({"combined_sha256": "a", "sha256": "b"}, {"a"}),
        ({"ftype": "lxd_combined.tar.gz", "sha256": "b"}, {"b"}), ({"combined_sha256": 5}, set()),
    ],
)  # fmt: skip
def test_the_fingerprints_of_a_catalog_item_of_any_type_are_found(item, found):
    assert fingerprints_of(item) == found


def test_a_unified_image_is_removed_by_its_fingerprint():
    items = {"a": {"ftype": "lxd_combined.tar.gz", "sha256": "f" * 64}, "b": {"ftype": "other"}}
    remove_and_prune._drop_image(items, "e" * 64)
    assert set(items) == {"a", "b"}
    remove_and_prune._drop_image(items, "f" * 64)
    assert set(items) == {"b"}


def test_the_types_of_all_images_of_a_product_are_listed():
    items = {"a": {"ftype": "squashfs"}, "b": {"ftype": "disk-kvm.img"}, "c": {"ftype": "lxd_combined.tar.gz"},
             "d": {}}  # fmt: skip
    product = {"versions": {"1": {"items": items}, "2": None, "3": {}}}
    product["versions"].pop("2")
    assert list(types_of(product)) == ["container", "virtual-machine", "container"]
    assert list(types_of({"versions": None})) == []
