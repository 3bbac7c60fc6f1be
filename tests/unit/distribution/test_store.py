"""The store of images: records, aliases, expiry, and what a killed process leaves."""

import fcntl
import hashlib
import os
import sqlite3
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import yaml

from templater.cli.commands.store import as_yaml
from templater.cli.commands.store.edit import edited
from templater.distribution.downloads import PART, Downloads
from templater.distribution.store import MOST_PROPERTIES, UNUSED, Store, _set_alias, default_directory
from templater.distribution.store_filter import matching
from templater.model.errors import (
    BusyError,
    InputError,
    LimitError,
    RefusedError,
    TemplaterError,
    UsageError,
    WriteError,
)
from templater.model.progress import silent
from tests.streams.builders import QCOW2, SQUASHFS, split_image, unified_image
from tests.streams.killed import ended, forked, killed_at_random_moments


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"))


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ("[]", "the new text must have the keys auto_update, public, expires, properties", ""),
        ("{public: true}", "the new text must have the keys auto_update, public, expires, properties", ""),
        ({"other": 1}, "the new text must have the keys auto_update, public, expires, properties", ""),
        ({"public": 1}, "'public' must be true or false", ""),
        ({"auto_update": "yes"}, "'auto_update' must be true or false", ""),
        ({"expires": True}, "'expires' must be a number of seconds since 1970", ""),
        ({"properties": []}, "'properties' must be a mapping", ""),
        ({"properties": {"release": 13}}, "the names and values of properties must be strings",
         'quote numbers: release: "13"'),
        ({"properties": {13: "release"}}, "the names and values of properties must be strings",
         'quote numbers: release: "13"'),
        ({"auto_update": True}, "auto_update requires an image from a server", ""),
    ],
)  # fmt: skip
def test_an_invalid_edit_of_an_image_record_is_refused(store, split, change, message, hint):
    image = store.import_files(*split)
    values = {"auto_update": False, "public": True, "expires": 5, "properties": {"os": "x"}}
    text = change if isinstance(change, str) else yaml.safe_dump({**values, **change})
    with pytest.raises(TemplaterError) as error:
        edited(image, text)
    assert (str(error.value), error.value.hint) == (message, hint)
    assert edited(image, yaml.safe_dump(values)) == replace(image, **values)


@pytest.fixture
def split(tmp_path):
    return split_image(tmp_path / "split")


def verified(store: Store) -> int:
    """Assert that the files of every record match its hashes and its fingerprint.

    Return the number of images.
    """
    for image in store.images():
        digest = hashlib.sha256()
        for path in store.paths(image):
            with open(path, "rb") as file:
                data = file.read()
            assert hashlib.sha256(data).hexdigest() == os.path.basename(path)
            digest.update(data)
        assert digest.hexdigest() == image.fingerprint
    return len(store.images())


def test_an_imported_image_is_found_by_alias_and_fingerprint(store, split):
    image = store.import_files(*split, aliases=["tiny"])
    assert store.find("tiny") == store.find(image.fingerprint[:8]) == image
    assert image.type == "container"
    assert image.properties["os"] == "Tiny"
    assert verified(store) == 1


@pytest.mark.parametrize(("root", "type"), [(SQUASHFS, "container"), (QCOW2, "virtual-machine")])
def test_the_type_of_an_image_comes_from_its_root_filesystem(store, tmp_path, root, type):
    assert store.import_files(*split_image(tmp_path / "image", root=root)).type == type


def test_a_unified_image_is_stored_as_one_file(store, tmp_path):
    image = store.import_files(unified_image(tmp_path / "image"))
    assert store.paths(image) == [store.file(image.fingerprint)]


@pytest.mark.parametrize("what", ["metadata only", "directory", "missing", "garbage", "fifo"])
def test_importing_an_incomplete_image_is_an_error_and_adds_no_record(store, tmp_path, split, what):
    paths = {"metadata only": split[0], "directory": str(tmp_path), "missing": str(tmp_path / "nothing")}
    (tmp_path / "garbage").write_bytes(b"garbage")
    os.mkfifo(tmp_path / "fifo")
    writer = os.open(tmp_path / "fifo", os.O_RDWR)
    try:
        with pytest.raises(InputError) as caught:
            store.import_files(paths.get(what, str(tmp_path / what)))
    finally:
        os.close(writer)
    if what == "metadata only":
        hint = "give both files: the metadata tarball, then the rootfs"
        assert (caught.value.message, caught.value.hint) == ("the image has no root filesystem", hint)
    assert not store.images()


def test_a_second_import_keeps_the_record_and_adds_aliases(store, split):
    first = store.import_files(*split, aliases=["one"])
    store.change("one", lambda image: replace(image, properties={"os": "Ours"}))
    second = store.import_files(*split, aliases=["two"], public=True)
    assert second.aliases == ("one", "two")
    assert second.public
    assert second.properties == {"os": "Ours"}
    assert second.imported == first.imported


def test_moving_an_alias_from_another_image_requires_an_option(store, split, tmp_path):
    store.import_files(*split, aliases=["tiny"])
    other = store.import_files(unified_image(tmp_path / "image"))
    with pytest.raises(UsageError, match=r"^another image has the alias 'tiny'$") as caught:
        store.set_alias("tiny", other.fingerprint)
    assert caught.value.hint == "the alias belongs to the image 8d1e0fdc50c1; --move takes it from that image"
    store.set_alias("tiny", other.fingerprint, move=True)
    assert store.find("tiny").fingerprint == other.fingerprint
    store.delete_alias("tiny")
    with pytest.raises(UsageError, match=r"^unknown alias 'tiny'$"):
        store.delete_alias("tiny")


@pytest.mark.parametrize("alias", ["", "a b", "a\nb", "a\tb"])
def test_an_alias_with_blanks_is_refused(store, split, alias):
    with pytest.raises(UsageError, match="invalid alias"):
        store.import_files(*split, aliases=[alias])


def test_a_prefix_of_two_fingerprints_is_refused_as_ambiguous(store):
    images = [_record(store, f"{'ab' * 4}{number}", cached=False) for number in range(2)]
    with pytest.raises(InputError, match=r"^several fingerprints in the store begin with 'abababab'$"):
        store.find("abababab")
    assert store.find(images[1]).fingerprint == images[1]


def test_deleting_an_image_removes_the_files_that_no_other_image_needs(store, tmp_path, split):
    image = store.import_files(*split, aliases=["tiny"])
    other = store.import_files(
        split[0], split_image(tmp_path / "other", root=SQUASHFS + b"more", name="o")[1]
    )
    store.delete("tiny")
    assert sorted(os.listdir(store.files)) == sorted({other.metadata, other.root})
    assert image.root not in os.listdir(store.files)
    with pytest.raises(InputError, match=r"^the store has no image 'tiny'$") as caught:
        store.find("tiny")
    assert caught.value.hint == "to list the images, run: templater store list"


def _record(store: Store, fingerprint: str, *, cached: bool, used: float | None = None) -> str:
    """Write a record whose single file has the fingerprint as its name."""
    fingerprint = fingerprint.ljust(64, "0")
    with open(store.file(fingerprint), "wb"):
        pass
    now = int(used or time.time())
    from templater.distribution.store import StoredImage

    store.cache(
        StoredImage(
            fingerprint, "container", "x86_64", 0, 0, now, now, public=False, auto_update=False, cached=cached,
            source="images:tiny", metadata=fingerprint, root="", complete=True, properties={},
        )
    )  # fmt: skip
    return fingerprint


def test_files_of_two_fetches_are_never_combined(store, split):
    """A server can announce the fingerprint of another image.

    If templater fetches only the metadata, it cannot compare this fingerprint.
    """
    genuine = replace(store.import_files(*split), source="good:tiny", cached=True)
    store.delete(genuine.fingerprint)
    other = replace(
        genuine,
        metadata="e" * 64,
        root="",
        complete=False,
        source="evil:tiny",
        properties={"os": "evil"},
        public=True,
    )
    store.cache(other)
    genuine = replace(genuine, used=genuine.used + 5)
    store.cache(genuine)
    # the user has published the image, so it keeps the source that the user knows
    assert store.images() == [replace(genuine, public=True, source="evil:tiny")]
    store.cache(replace(other, used=genuine.used + 9))
    assert store.images() == [replace(genuine, used=genuine.used + 9, public=True, source="evil:tiny")]


def _fetched(store, split, **fields):
    image = replace(store.import_files(*split), root="", complete=False, source="good:tiny", cached=True)
    store.delete(image.fingerprint)
    store.cache(replace(image, **fields))
    return image


def test_an_image_with_many_properties_is_refused(store, tmp_path):
    """A few images with many properties would slow down all commands, which read all records."""
    name = "x"
    with pytest.raises(LimitError, match="the image's properties have more than 64 KiB"):
        store.import_files(unified_image(tmp_path / "image", os="y" * (MOST_PROPERTIES + 1)))
    image = store.import_files(unified_image(tmp_path / "image", os="y" * 60_000))
    with pytest.raises(LimitError):
        store.change(image.fingerprint, lambda old: replace(old, properties={name: "y" * MOST_PROPERTIES}))


def test_an_image_with_a_long_architecture_is_refused(store, tmp_path):
    """A server announced an architecture of 4 MB, and 130 fetches made records of 529 MB."""
    image = store.import_files(unified_image(tmp_path / "image"))
    for name in ("architecture", "type", "source"):
        with pytest.raises(LimitError, match="architecture, type or source has more than 4096 characters"):
            store.change(image.fingerprint, lambda old, name=name: replace(old, **{name: "y" * 4097}))


@pytest.mark.parametrize("how", ["", "alias", "public", "auto_update"])
def test_an_incomplete_fetch_cannot_change_another_sources_image(store, split, how):
    image = _fetched(store, split)
    if how == "alias":
        store.set_alias("mine", image.fingerprint)
    elif how:
        store.change(image.fingerprint, lambda old: replace(old, **{how: True}))
    before = store.find(image.fingerprint)
    store.cache(replace(image, metadata="e" * 64, source="evil:other", used=before.used + 1))
    assert store.find(image.fingerprint) == replace(before, used=before.used + 1)
    store.cache(replace(image, metadata="f" * 64, source="good:tiny"))
    assert store.find(image.fingerprint).metadata == "f" * 64


def test_another_source_cannot_replace_a_fetched_image_that_has_an_alias(store, hashes, tmp_path):
    """A server offers the genuine files of an image that the user fetched elsewhere and gave an alias."""
    good = store.keep(hashes, source="good:debian")
    good = store.change(good.fingerprint, lambda image: replace(image, cached=True))
    store.set_alias("mine", good.fingerprint)
    evil = store.import_files(unified_image(tmp_path / "image"), aliases=["tool"])
    store.change(evil.fingerprint, lambda image: replace(image, source="evil:tool", auto_update=True))
    with pytest.raises(UsageError, match=r"the store already has the image [0-9a-f]{12} from 'good:debian'"):
        store.replace_image(store.find(evil.fingerprint), hashes)
    with pytest.raises(UsageError, match=r"the store already has the image [0-9a-f]{12} from 'good:debian'"):
        store.keep(hashes, source="evil:tool", auto_update=True)
    assert store.find("mine").source == "good:debian"


def test_importing_an_image_replaces_an_earlier_fetch(store, split):
    genuine = store.import_files(*split)
    store.delete(genuine.fingerprint)
    store.cache(
        replace(
            genuine, metadata="e" * 64, root="", complete=False, source="evil:tiny", properties={"os": "evil"}
        )
    )
    again = store.import_files(*split)
    assert replace(again, used=genuine.used, imported=genuine.imported) == genuine


def test_only_fetched_images_expire_ten_days_after_their_last_use(store):
    long_ago = time.time() - UNUSED - 60
    kept = {
        _record(store, "aa", cached=False, used=long_ago),
        _record(store, "bb", cached=True),
    }
    expired = _record(store, "cc", cached=True, used=long_ago)
    assert [image.fingerprint for image in store.prune()] == [expired]
    assert {image.fingerprint for image in store.images()} == kept == set(os.listdir(store.files))


def test_using_a_fetched_image_delays_its_expiry(store):
    name = _record(store, "aa", cached=True, used=time.time() - UNUSED - 60)
    store.use(name)
    assert not store.prune()


def test_importing_a_fetched_image_prevents_its_expiry(store, split):
    image = store.import_files(*split)
    store.change(image.fingerprint, lambda old: replace(old, cached=True, used=1))
    store.import_files(*split)
    assert not store.prune()


def test_the_store_prune_command_keeps_a_new_file_without_a_record(store):
    for name, age in (("young", 60), ("old", 7200)):
        with open(store.file(name), "wb"):
            pass
        os.utime(store.file(name), (time.time() - age,) * 2)
    store.prune()
    assert os.listdir(store.files) == ["young"]


def test_image_filters_compare_properties_and_flags_and_names(store, split, tmp_path):
    one = store.import_files(*split, aliases=["debian/13"], public=True)
    two = store.import_files(unified_image(tmp_path / "image", os="Other"), aliases=["other"])
    images = store.images()

    def names(*filters: str) -> set[str]:
        return {image.fingerprint for image in matching(images, filters)}

    assert names() == {one.fingerprint, two.fingerprint}
    assert (
        names("os=tiny")
        == names("public=true")
        == names("debian")
        == names(one.fingerprint[:6])
        == {one.fingerprint}
    )
    assert names("os=other", "public=true") == set()
    assert names("type=container", "architecture=x86_64") == {one.fingerprint, two.fingerprint}


def test_a_newer_image_version_inherits_aliases_and_flags(store, split, tmp_path):
    old = store.import_files(*split, aliases=["tiny"], public=True)
    new = replace(store.import_files(unified_image(tmp_path / "image")), cached=True)
    store.change(new.fingerprint, lambda _: new)
    store.replace_image(old, [new.metadata])
    (image,) = store.images()
    assert (image.fingerprint, image.aliases, image.public) == (new.fingerprint, ("tiny",), True)
    assert os.listdir(store.files) == [new.metadata]


@pytest.fixture
def hashes(store, split):
    """The files of an image in the store, without a record."""
    image = store.import_files(*split)
    with store._transaction() as records:
        records.execute("DELETE FROM image")
    return [image.metadata, image.root]


def test_importing_an_image_replaces_the_source_of_an_earlier_fetch(store, hashes):
    """Otherwise, the server of an earlier fetch could replace an imported image at the next refresh."""
    fetched = store.keep(hashes, source="evil:debian")
    store.change(fetched.fingerprint, lambda image: replace(image, cached=True))
    image = store.keep(hashes, source="good:debian", aliases=["debian"], auto_update=True)
    assert (image.source, image.cached) == ("good:debian", False)


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (True, True)])
def test_auto_update_allows_only_one_source_of_an_image(store, hashes, first, second):
    image = store.keep(hashes, source="good:debian", aliases=["debian"], auto_update=first)
    with pytest.raises(
        UsageError, match=f"the store already has the image {image.fingerprint[:12]} from 'good:debian'"
    ) as caught:
        store.keep(hashes, source="evil:debian", aliases=["tool"], auto_update=second)
    assert caught.value.hint == "delete the stored image first, because two sources can't refresh one image"
    assert store.images() == [image]


def test_files_of_an_auto_updated_image_cannot_be_imported(store, split, hashes):
    """Otherwise, the server could later replace an image of the user under the image's alias."""
    image = store.keep(hashes, source="evil:debian", aliases=["tool"], auto_update=True)
    with pytest.raises(
        UsageError, match=r"^the store already has the image 8d1e0fdc50c1 from 'evil:debian'$"
    ) as caught:
        store.import_files(*split, aliases=["debian"])
    assert caught.value.hint == "delete the stored image first, because two sources can't refresh one image"
    assert store.images() == [image]


def test_a_second_import_keeps_the_source_without_auto_update(store, hashes):
    store.keep(hashes, source="good:debian", aliases=["debian"])
    image = store.keep(hashes, source="other:debian", aliases=["second"])
    assert (image.source, image.aliases) == ("good:debian", ("debian", "second"))


def test_a_fetch_never_changes_the_source_of_an_imported_image(store, split):
    image = store.import_files(*split)
    store.cache(replace(image, source="evil:debian", cached=True))
    assert store.images() == [image]
    store.change(image.fingerprint, lambda old: replace(old, source="good:debian", complete=False))
    store.cache(replace(image, source="evil:debian", cached=True))
    assert store.find(image.fingerprint).source == "good:debian"


def test_a_refresh_cannot_overwrite_an_image_from_another_source(store, hashes, tmp_path):
    good = store.keep(hashes, source="good:debian", aliases=["debian"])
    evil = store.import_files(unified_image(tmp_path / "image"), aliases=["tool"], public=True)
    store.change(evil.fingerprint, lambda image: replace(image, source="evil:tool", auto_update=True))
    before = store.images()
    with pytest.raises(
        UsageError, match=r"^the store already has the image 8d1e0fdc50c1 from 'good:debian'$"
    ) as caught:
        store.replace_image(store.find(evil.fingerprint), hashes)
    assert caught.value.hint == "delete the stored image first, because two sources can't refresh one image"
    assert store.images() == before
    assert store.find("debian") == good


def test_a_refresh_fails_if_the_source_was_changed_meanwhile(store, hashes, tmp_path):
    """A slow server could wait until the user had deleted the image and imported it from another source."""
    old = store.keep(hashes, source="evil:debian", aliases=["tool"], auto_update=True)
    new = store.import_files(unified_image(tmp_path / "image"))
    store.change(new.fingerprint, lambda image: replace(image, cached=True))
    store.delete(old.fingerprint)
    store.import_files(*split_image(tmp_path / "again"))
    good = store.change(old.fingerprint, lambda image: replace(image, source="good:debian", auto_update=True))
    with pytest.raises(InputError, match=r"^another process changed the image's source during the refresh$"):
        store.replace_image(old, [new.metadata])
    assert store.find(good.fingerprint) == good


def test_changing_a_record_keeps_fingerprint_and_file_hashes(store, split):
    image = store.import_files(*split)
    changed = store.change(
        image.fingerprint, lambda old: replace(old, fingerprint="0" * 64, metadata="x", root="y", public=True)
    )
    assert (changed.fingerprint, changed.metadata, changed.root) == (
        image.fingerprint,
        image.metadata,
        image.root,
    )
    assert changed.public


def test_a_store_is_refused_if_other_users_can_write_to_it(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(0o777)
    with pytest.raises(RefusedError, match=r"^another user can write to '.*'$") as caught:
        Store(str(tmp_path / "store"))
    assert caught.value.hint == "set XDG_DATA_HOME to another directory"


@pytest.mark.parametrize("data", [b"garbage" * 100, b"SQLite format 3\0" + bytes(5000)])
def test_damaged_records_in_the_store_give_one_clear_error(store, data):
    with open(os.path.join(store.path, "images.db"), "wb") as file:
        file.write(data)
    with pytest.raises(TemplaterError, match="records of the store") as raised:
        Store(store.path).images()
    assert raised.value.exit_code in (2, 6)


@pytest.mark.parametrize("version", [2, 99])
def test_records_of_a_newer_templater_version_are_refused(store, version):
    with store._transaction() as records:
        records.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(InputError) as caught:
        Store(store.path)
    assert caught.value.message == f"the store '{store.path}' was written by a newer templater"


# the child only changes files, and ends without running anything of pytest's
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_no_change_is_lost_with_two_concurrent_writers(store, tmp_path):
    """All processes import the same image first, each with its own alias."""
    shared = unified_image(tmp_path / "shared", variant="shared")
    images = [unified_image(tmp_path / str(number), variant=str(number)) for number in range(12)]

    def work(number: int) -> None:
        Store(store.path).import_files(shared, aliases=[f"shared{number}"])
        for path in images[number::3]:
            Store(store.path).import_files(path, aliases=[os.path.basename(os.path.dirname(path))])

    for pid in [forked(partial(work, number)) for number in range(3)]:
        assert ended(pid) == 0
    assert verified(store) == 13
    assert sorted(image.aliases for image in store.images()) == sorted(
        [("shared0", "shared1", "shared2"), *((str(number),) for number in range(12))]
    )


# the child only changes files, and ends without running anything of pytest's
@pytest.mark.in_memory
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize(("action", "count"), [("import", 60), ("delete", 20)])
def test_a_store_stays_valid_after_its_writer_is_killed(store, tmp_path, action, count):
    """A kill counts only if it hits the action itself, not the code before or after it."""
    files = split_image(tmp_path / "split", root=SQUASHFS + bytes(1 << 20))
    kept = store.import_files(unified_image(tmp_path / "kept"), aliases=["kept"])

    def import_tiny() -> None:
        Store(store.path).import_files(*files, aliases=["tiny"])

    def delete_tiny() -> None:
        if any("tiny" in image.aliases for image in store.images()):
            Store(store.path).delete("tiny")

    killed, prepare = (
        (import_tiny, delete_tiny)
        if action == "import"
        else (lambda: Store(store.path).delete("tiny"), import_tiny)
    )
    for _ in killed_at_random_moments(killed, count, prepare=prepare, seed=5):
        assert verified(Store(store.path)) in (1, 2)
        assert store.find("kept") == kept
    import_tiny()
    assert verified(store) == 2
    assert store.find("tiny").complete


def test_a_file_is_downloaded_again_if_another_process_downloads_it_slowly(tmp_path, monkeypatch):
    """A hostile server can announce the hash of another server's image, and send its bytes slowly."""
    monkeypatch.setattr("templater.distribution.downloads._PATIENCE", 0)
    digest = hashlib.sha256(b"content").hexdigest()
    found = Downloads(str(tmp_path / "files"))
    other = Path(found.path, digest + PART)
    other.write_bytes(b"slow")

    @contextmanager
    def download(start):
        yield start, iter([b"content"[start:]])

    with other.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        path = found.fetch(digest, "image", download, silent)
    assert Path(path).read_bytes() == b"content"
    assert sorted(os.listdir(found.path)) == [digest, digest + PART]


@pytest.mark.parametrize(
    ("code", "error", "hint"),
    [
        (sqlite3.SQLITE_BUSY, BusyError, "another process is changing the store; try again later"),
        (sqlite3.SQLITE_LOCKED, BusyError, "another process is changing the store; try again later"),
        (sqlite3.SQLITE_FULL, WriteError, ""),
        (sqlite3.SQLITE_IOERR | 3 << 8, WriteError, ""),
        (sqlite3.SQLITE_READONLY, WriteError, ""),
        (sqlite3.SQLITE_CORRUPT, InputError, ""),
    ],
)
def test_the_database_failure_determines_error_class_and_hint(store, code, error, hint):
    failure = sqlite3.OperationalError("no")
    failure.sqlite_errorcode = code
    with pytest.raises(TemplaterError) as caught, store._transaction():
        raise failure
    assert type(caught.value) is error
    assert caught.value.message == f"can't access the records of the store '{store.path}': no"
    assert caught.value.hint == hint


def test_bidirectional_characters_are_escaped_in_the_yaml_of_an_image_record():
    assert as_yaml({"os": "Débian"}) == "os: Débian\n"
    value = {"os": "a\u202eb"}
    assert as_yaml(value) == 'os: "a\\u202Eb"\n'
    assert yaml.safe_load(as_yaml(value)) == value


def test_invalid_yaml_is_refused_as_the_new_record_of_an_image():
    with pytest.raises(InputError, match=r"^the new text is not valid YAML: while parsing a flow node "):
        edited(None, "[")


@pytest.mark.parametrize("alias", ["", "a b", "a\tb", "a\n", "\x1b", "a\u2028"])
def test_an_alias_with_spaces_or_invisible_characters_is_refused(alias):
    with pytest.raises(UsageError) as caught:
        _set_alias(None, alias, "a" * 64, move=False)
    assert caught.value.message.startswith("invalid alias '")
    assert caught.value.hint == "use one or more printable characters, without spaces"


def test_images_are_sorted_with_the_newest_first(store):
    for name, imported in (("cc", 5), ("aa", 5), ("bb", 9), ("dd", 1)):
        fingerprint = _record(store, name, cached=False)
        store.change(fingerprint, lambda image, imported=imported: replace(image, imported=imported))
    assert [image.fingerprint[:2] for image in store.images()] == ["bb", "aa", "cc", "dd"]


def test_a_fingerprint_prefix_has_at_least_six_digits(store):
    first, second = _record(store, "abcdef1", cached=False), _record(store, "123456", cached=False)
    assert store.find("abcdef").fingerprint == first
    for name in ("abcde", "ABCDEF", "abcdeg", "", "*", "abcdef*", "[a-f]bcdef"):
        with pytest.raises(InputError, match="the store has no image"):
            store.find(name)
    store.set_alias("abcdef", second)
    assert store.find("abcdef").fingerprint == second


@pytest.mark.parametrize(("size", "fits"), [(MOST_PROPERTIES, True), (MOST_PROPERTIES + 1, False)])
def test_the_properties_of_a_record_may_have_at_most_64_kib(store, size, fits):
    name = _record(store, "aa", cached=False)
    properties = {"a": "x" * (size - len('{"a": ""}'))}
    if fits:
        store.change(name, lambda image: replace(image, properties=properties))
        return
    with pytest.raises(LimitError):
        store.change(name, lambda image: replace(image, properties=properties))


@pytest.mark.parametrize("field", ["type", "architecture", "source"])
def test_a_text_field_may_have_up_to_4096_characters(store, field):
    name = _record(store, "aa", cached=False)
    assert (
        getattr(store.change(name, lambda image: replace(image, **{field: "x" * 4096})), field) == "x" * 4096
    )
    with pytest.raises(LimitError):
        store.change(name, lambda image: replace(image, **{field: "x" * 4097}))


@pytest.mark.parametrize(
    ("name", "age", "stays"),
    [
        ("f" * 64, 3599, True), ("f" * 64, 3601, False),
        ("f" * 64 + PART, UNUSED - 60, True), ("f" * 64 + PART, UNUSED + 60, False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("how", ["prune", "delete"])
def test_unrecorded_files_are_removed_after_a_delay(store, name, age, stays, how):
    other = _record(store, "aa", cached=False)
    Path(store.files, name).write_bytes(b"")
    os.utime(store.file(name), (time.time() - age,) * 2)
    if how == "prune":
        assert store.prune() == []
    else:
        assert store.delete(other).fingerprint == other
    assert os.path.exists(store.file(name)) is stays
    assert os.path.exists(store.file(other)) is (how == "prune")


@pytest.mark.parametrize(("age", "stays"), [(UNUSED, True), (UNUSED + 1, False)])
def test_a_fetched_image_stays_for_ten_days_after_its_last_use(store, monkeypatch, age, stays):
    now = int(time.time())
    fingerprint = _record(store, "aa", cached=True, used=now - age)
    monkeypatch.setattr(time, "time", lambda: float(now))
    assert [image.fingerprint for image in store.prune()] == ([] if stays else [fingerprint])


@pytest.mark.parametrize(("mode", "kept"), [(0o644, 0o644), (0o640, 0o600), (0o600, 0o600), (0o604, 0o644)])
def test_a_stored_copy_of_a_private_file_stays_private(store, split, mode, kept):
    for path in split:
        os.chmod(path, mode)
    image = store.import_files(*split)
    assert {os.stat(path).st_mode & 0o777 for path in store.paths(image)} == {kept}


def test_the_progress_of_an_import_is_reported(store, split):
    seen = []
    store.import_files(*split, progress=lambda *words: seen.append(words))
    assert seen == [(0, os.path.getsize(path), path, os.path.getsize(path)) for path in split]
    os.chmod(split[1], 0o600)
    with pytest.raises(RefusedError):
        store.import_files(*split, public=True)


def test_the_record_of_an_imported_image_contains_facts_from_its_metadata(store, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 2_000_000_000.9)
    image = store.import_files(
        *split_image(tmp_path / "a", arch="aarch64", created=1_800_000_000, serial="1")
    )
    facts = (image.architecture, image.created, image.expires, image.imported, image.used)
    assert facts == ("aarch64", 1_800_000_000, 0, 2_000_000_000, 2_000_000_000)
    flags = (image.public, image.auto_update, image.cached, image.complete, image.source, image.aliases)
    assert flags == (False, False, False, True, "", ())
    assert image.properties == {"os": "Tiny", "release": "1", "serial": "1"}
    assert store.paths(image) == [store.file(image.metadata), store.file(image.root)]
    monkeypatch.setattr(time, "time", lambda: 2_000_000_005.9)
    assert store.use(image.fingerprint).used == store.find(image.fingerprint).used == 2_000_000_005


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("public=true",), "a"), (("public=false",), "b"), (("public=True",), ""), (("auto_update=true",), "b"),
        (("cached=true",), "b"), (("type=container",), "a"), (("type=Virtual-Machine",), "b"), (("os=DEBIAN",), "a"),
        (("architecture=own",), "a"), (("architecture=x86_64",), "b"), (("none=",), "ab"), (("none=x",), ""),
        (("deb",), "a"), (("a" * 6,), "a"), (("bb",), "b"), (("a" * 63 + "b",), ""), ((), "ab"), (("deb", "os=x"), ""),
    ],
)  # fmt: skip
def test_a_filter_selects_images_by_flag_or_fact_or_name(words, found):
    from templater.distribution.store import StoredImage

    first = StoredImage(
        "a" * 64, "container", "x86_64", 0, 0, 0, 0, True, False, False, "", "m", "", True,
        {"os": "Debian", "architecture": "own"}, ("my/debian",),
    )  # fmt: skip
    second = replace(
        first, fingerprint="b" * 64, type="virtual-machine", public=False, auto_update=True, cached=True,
        properties={}, aliases=(),
    )  # fmt: skip
    assert "".join(image.fingerprint[0] for image in matching([first, second], words)) == found


@pytest.mark.parametrize(
    ("data", "place"), [("/data", "/data/templater/store"), ("", "/home/u/.local/share/templater/store")]
)
def test_the_store_is_in_the_data_directory_of_the_user(data, place, monkeypatch):
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.setenv("XDG_DATA_HOME", data)
    assert default_directory() == place
