"""The compile cache: a suspicious entry is ignored and never executed."""

import os
import sys

import pytest

from templater.hooks import compile_cache
from templater.hooks.compile_cache import CacheEntry, CompileCache, instance_cache
from templater.instances.state_directory import StateDirectory

ENTRY = CacheEntry(("templater.pongo2.filters.text",), b"payload \x00\n\xff with\nlines")


@pytest.fixture
def store(tmp_path):
    with StateDirectory(str(tmp_path)) as state_directory:
        cache = instance_cache(state_directory)
        yield cache
        cache.close()


@pytest.fixture
def folder(tmp_path, store):
    return tmp_path / ".templater/cache"


def saved(store):
    key = compile_cache.key([b"source"])
    store.save("image", key, ENTRY)
    return key


def test_a_saved_cache_entry_is_loaded_unchanged(store):
    found = store.load("image", saved(store))
    assert (found.modules, found.payload) == (ENTRY.modules, ENTRY.payload)


def test_the_cache_key_depends_on_the_template_source():
    assert compile_cache.key([b"ab", b"c"]) != compile_cache.key([b"a", b"bc"]) != compile_cache.key([b"abc"])


def test_the_cache_key_depends_on_the_interpreter(monkeypatch):
    before = compile_cache.key([b"source"])
    monkeypatch.setattr(sys, "hexversion", sys.hexversion + 1)
    assert compile_cache.key([b"source"]) != before


def test_the_cache_key_depends_on_the_templater_version(monkeypatch):
    before = compile_cache.key([b"source"])
    monkeypatch.setattr(compile_cache, "__version__", "99")
    assert compile_cache.key([b"source"]) != before


def test_a_cache_entry_under_the_wrong_name_is_ignored(store, folder):
    key = saved(store)
    other = compile_cache.key([b"other source"])
    os.rename(folder / f"image-{key}", folder / f"image-{other}")
    assert store.load("image", other) is None


def test_a_cache_entry_of_another_jinja2_version_is_ignored(store, monkeypatch):
    monkeypatch.setattr(compile_cache, "compiled_by", lambda: b"1.2 /nowhere/jinja2/__init__.py")
    assert store.load("image", saved(store)) is None


@pytest.mark.parametrize("packages", [b"- ", b"- \0- ", b"- /a/jinja2/__init__.py\0- /a/yaml/__init__.py"])
def test_a_cache_entry_is_ignored_if_its_package_files_are_missing(store, monkeypatch, packages):
    monkeypatch.setattr(compile_cache, "compiled_by", lambda: packages)
    assert store.load("image", saved(store)) is None


def test_a_cache_entry_for_packages_at_other_paths_is_ignored(store, monkeypatch, tmp_path):
    lines = []
    for name in compile_cache.PACKAGES:
        (tmp_path / name).mkdir()
        path = tmp_path / name / "__init__.py"
        path.touch()
        lines.append(b"%s %s" % (compile_cache._age(str(path)), bytes(path)))
    monkeypatch.setattr(compile_cache, "compiled_by", lambda: b"\0".join(lines))
    assert store.load("image", saved(store)) is None


@pytest.mark.parametrize("cut", range(0, 200, 7))
def test_a_truncated_cache_entry_is_ignored(store, folder, cut):
    key = saved(store)
    path = folder / f"image-{key}"
    whole = path.read_bytes()
    path.write_bytes(whole[: max(0, len(whole) - 1 - cut)])
    assert store.load("image", key) is None


@pytest.mark.parametrize("at", range(0, 250, 11))
def test_a_modified_cache_entry_is_ignored(store, folder, at):
    key = saved(store)
    path = folder / f"image-{key}"
    whole = bytearray(path.read_bytes())
    whole[at % len(whole)] ^= 0x20
    path.write_bytes(whole)
    assert store.load("image", key) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to plant another user's file")
def test_a_cache_entry_of_another_user_is_ignored(store, folder):
    key = saved(store)
    os.chown(folder / f"image-{key}", 1234, 1234)
    assert store.load("image", key) is None


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o644])
def test_a_cache_entry_is_ignored_if_other_users_can_write_it(store, folder, mode):
    key = saved(store)
    (folder / f"image-{key}").chmod(mode)
    assert store.load("image", key) is None


def test_a_symlink_in_place_of_a_cache_entry_is_ignored(store, folder):
    key = saved(store)
    (folder / f"image-{key}").rename(folder / "elsewhere")
    (folder / f"image-{key}").symlink_to("elsewhere")
    assert store.load("image", key) is None
    (folder / f"image-{key}").unlink()
    os.link(folder / "elsewhere", folder / f"image-{key}")
    assert store.load("image", key) is None, "a hard link may be another user's file"


def test_a_cache_entry_with_an_unknown_module_is_ignored(store, monkeypatch):
    key = compile_cache.key([b"source"])
    for name in ("os", "templater.hooks.run", "templater.pongo2.filters.text;os", "templater.pongo2..os"):
        store.save("image", key, CacheEntry((name,), b"payload"))
        assert store.load("image", key) is None or name == "templater.pongo2..os"


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o711])
def test_a_shared_cache_is_ignored_if_other_users_can_enter_it(tmp_path, mode):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(mode)
    assert compile_cache.open_cache(str(tmp_path / "cache")) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make another user's directory")
def test_a_shared_cache_owned_by_another_user_is_ignored(tmp_path):
    (tmp_path / "cache").mkdir(0o700)
    os.chown(tmp_path / "cache", 1234, 1234)
    assert compile_cache.open_cache(str(tmp_path / "cache")) is None


def test_a_missing_shared_cache_is_created(tmp_path):
    store = compile_cache.open_cache(str(tmp_path / "a/b"))
    store.close()
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o700


def test_a_cache_with_too_many_entries_loses_the_oldest(store, folder, monkeypatch):
    monkeypatch.setattr(compile_cache, "MOST_ENTRIES", 3)
    keys = [compile_cache.key([b"%d" % number]) for number in range(5)]
    for number, key in enumerate(keys):
        store.save("image", key, ENTRY)
        os.utime(folder / f"image-{key}", ns=(number, number))
    left = [number for number, key in enumerate(keys) if store.load("image", key)]
    assert left == [2, 3, 4]


def test_an_oversized_cache_loses_its_oldest_entries(store, folder, monkeypatch):
    sizes = [100_000, 300_000, 100_000, 100_000, 200_000]
    monkeypatch.setattr(compile_cache, "MOST_BYTES", 450_000)
    keys = [compile_cache.key([b"%d" % number]) for number in range(5)]
    for number, (key, size) in enumerate(zip(keys, sizes, strict=True)):
        store.save("image", key, CacheEntry((), bytes(size)))
        os.utime(folder / f"image-{key}", ns=(number, number))
        assert sum(entry.stat().st_size for entry in folder.iterdir()) <= 450_000
    assert [number for number, key in enumerate(keys) if store.load("image", key)] == [2, 3, 4]


def test_an_oversized_cache_entry_is_not_written(store, folder, monkeypatch):
    monkeypatch.setattr(compile_cache, "MAX_ENTRY", 1000)
    store.save("image", compile_cache.key([b"source"]), CacheEntry((), bytes(1000)))
    assert not list(folder.iterdir())


def test_reading_a_cache_entry_does_not_list_the_cache_directory(store, monkeypatch):
    key = saved(store)
    monkeypatch.setattr(CompileCache, "_remove_oldest", lambda self: pytest.fail("looked at the others"))
    assert store.load("image", key)


def test_the_cache_has_its_documented_limits():
    """A lower limit would let images be compiled again at every start. A higher limit would fill the disk."""
    assert compile_cache.MAX_ENTRY == 32 << 20
    assert compile_cache.MOST_ENTRIES == 512
    assert compile_cache.MOST_BYTES == 256 << 20


def test_a_cache_entry_is_recognised_by_its_file_name():
    digest = compile_cache.key([b"source"])
    assert len(digest) == 48
    assert compile_cache.is_entry(f"image-{digest}")
    assert compile_cache.is_entry(f"image-{digest}.new")
    assert not compile_cache.is_entry(f"image-{digest}0")
    assert not compile_cache.is_entry(f"image-{digest[1:]}")
    assert not compile_cache.is_entry(f"image-{digest[1:]}g")


def test_a_cache_entry_of_another_pyyaml_version_is_ignored(store, monkeypatch):
    key = saved(store)
    real = compile_cache._age
    monkeypatch.setattr(compile_cache, "_age", lambda path: b"1.2" if "/yaml/" in path else real(path))
    assert store.load("image", key) is None


def test_a_cache_entry_is_ignored_after_a_missing_package_is_installed(store, monkeypatch):
    monkeypatch.setattr(compile_cache, "PACKAGES", ("nosuchpackage",))
    key = saved(store)
    assert compile_cache.compiled_by() == b"- "
    assert store.load("image", key).payload == ENTRY.payload
    monkeypatch.setattr(compile_cache, "PACKAGES", ("yaml",))
    assert store.load("image", key) is None
