"""A cache shared by several images: an entry from the child of one image is never used for another image."""

import os
from pathlib import Path

import pytest

from templater.hooks import sandboxed_rendering
from templater.hooks.compile_cache import CacheEntry, open_cache
from templater.hooks.sandboxed_rendering import IMAGE, INSTANCE, Job, Run, cache_keys
from templater.instances.instance_directory import InstanceDirectory
from templater.model.hosts import NONE

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

METADATA = """\
architecture: x86_64
creation_date: 1
templates: {/etc/hostname: {when: [start], template: a.tpl}}
"""


def job(folder: Path, text: str) -> Job:
    (folder / "templates").mkdir(parents=True, exist_ok=True)
    (folder / "templates/a.tpl").write_text(text + " {{ config_get('user.x', '') }}")
    (folder / "metadata.yaml").write_text(METADATA)
    (folder / "instance.yaml").write_text("name: c1\nconfig: {user.x: honest}\n")
    with InstanceDirectory(str(folder)) as directory:
        source = directory.read_instance()
        source.name = "instance.yaml"  # the same for both
        return Job(directory.read_metadata(), directory.read_templates(), source, ("start",), NONE)


def content(folder: Path, text: str, cache: str) -> bytes:
    rendering = Run(job(folder, text), open_cache(cache), None, in_child=True)
    try:
        return rendering.finish().renderings[0].content
    finally:
        rendering.close()


def test_cached_description_is_not_used_for_another_image(tmp_path, monkeypatch):
    """A compromised child of a hostile image returns a forged description."""
    cache = str(tmp_path / "cache")
    real = sandboxed_rendering.Run.collect

    def taken_over(self):
        import marshal

        answer = real(self)
        payload = marshal.dumps(("c1", "container", "x86_64", False, {"user.x": "EVIL"}, {}, []))
        answer.kept[INSTANCE] = CacheEntry((), payload)
        return answer

    monkeypatch.setattr(sandboxed_rendering.Run, "collect", taken_over)
    assert content(tmp_path / "hostile", "a", cache) == b"a honest"
    monkeypatch.setattr(sandboxed_rendering.Run, "collect", real)
    assert content(tmp_path / "hostile", "a", cache) == b"a EVIL", "it has deceived itself, as it may"
    assert content(tmp_path / "other", "b", cache) == b"b honest"


def test_images_never_share_a_cache_entry(tmp_path):
    one, other = job(tmp_path / "one", "a"), job(tmp_path / "other", "b")
    found = [cache_keys(each, in_child=True) for each in (one, other)]
    assert found[0][IMAGE] != found[1][IMAGE]
    assert found[0][INSTANCE] != found[1][INSTANCE]


def test_instances_of_one_image_share_its_compiled_templates(tmp_path):
    one, other = job(tmp_path / "one", "a"), job(tmp_path / "other", "a")
    assert cache_keys(one, in_child=True) == cache_keys(other, in_child=True)
    other.instance.text += "# another\n"
    assert cache_keys(one, in_child=True)[IMAGE] == cache_keys(other, in_child=True)[IMAGE]
    assert cache_keys(one, in_child=True)[INSTANCE] != cache_keys(other, in_child=True)[INSTANCE]
