"""Newer versions of an instance's image."""

import io
import tarfile

import pytest

from templater.live.address import parse_address
from templater.live.connect import open_daemon
from templater.live.live_instance import open_instance
from templater.live.newer_image import NewerImages
from tests.recorded_daemon import TEMPLATES, error, recorded, sync
from tests.sampling import some_fast

NEW = "a" * 64


def packed(metadata: str, templates: dict[str, bytes], padding: int = 0) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        files = {
            "metadata.yaml": metadata.encode(),
            **{f"templates/{name}": data for name, data in templates.items()},
        }
        for name, data in {**files, "rootfs/large": b"x" * padding}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return made.getvalue()


@pytest.fixture
def newer(incus):
    """Return a function that adds an image with these templates, and gives the note.

    ``others`` are fields of further images.
    """
    recorded_image = incus.data(
        f"GET /1.0/images/{incus.data('GET /1.0/instances/c1')['config']['volatile.base_image']}"
    )
    import yaml

    metadata = incus.data("GET /1.0/instances/c1/metadata")
    (hostname,) = (each["text"] for each in recorded("incus") if each["name"] == "template")

    def note(templates=(), created="2030-01-01T00:00:00Z", rules=None, padding=0, others=(), **properties):
        image = {**recorded_image, "fingerprint": NEW, "created_at": created,
                 "properties": {**recorded_image["properties"], **properties}}  # fmt: skip
        images = [recorded_image, image, *({**image, **fields} for fields in others)]
        incus.put("GET /1.0/images?recursion=1", sync(images))
        changed = {**metadata, "templates": {**metadata["templates"], **(rules or {})}}
        texts = {"hostname.tpl": hostname.encode(), **TEMPLATES, **dict(templates)}
        body = packed(yaml.safe_dump(changed), texts, padding)
        incus.put(f"GET /1.0/images/{NEW}/export", (200, {"Content-Type": "application/octet-stream"}, body))
        daemon = open_daemon(parse_address("incus:c1"))
        try:
            return NewerImages(daemon).note(open_instance(daemon))
        finally:
            daemon.close()

    return note


def test_the_note_on_newer_images_gives_the_affected_files(newer):
    text = newer({"once.tpl": b"new"}, padding=1 << 20)
    assert (
        text == "a newer version of the image (aaaaaaaaaaaa) has different rules or templates for /etc/once"
    )
    rule = {"/etc/new": {"when": ["start"], "template": "once.tpl"}}
    assert newer(rules=rule).endswith("templates for /etc/new")


def test_an_unrelated_image_is_not_reported_as_a_newer_version(newer):
    assert newer() == ""  # the same templates
    assert newer({"once.tpl": b"new"}, created="2000-01-01T00:00:00Z") == ""
    assert newer({"once.tpl": b"new"}, release="2") == ""


def test_an_unreadable_newer_image_causes_no_note(newer, incus):
    newer()
    incus.put(
        f"GET /1.0/images/{NEW}/export", (200, {"Content-Type": "application/octet-stream"}, b"not a tarball")
    )
    daemon = open_daemon(parse_address("incus:c1"))
    assert NewerImages(daemon).note(open_instance(daemon)) == ""
    daemon.close()


def test_users_without_permission_get_no_note_about_newer_images(newer, incus):
    newer()
    incus.put("GET /1.0/images?recursion=1", error(403, "not authorized"))
    daemon = open_daemon(parse_address("incus:c1"))
    assert NewerImages(daemon).note(open_instance(daemon)) == ""
    daemon.close()


@pytest.mark.parametrize("fingerprint", ["\x1b]0;title\x07", "../../instances", {"a": "b"}])
def test_an_invalid_fingerprint_does_not_hide_a_newer_image(fingerprint, newer):
    other = {"created_at": "2031-01-01T00:00:00Z", "fingerprint": fingerprint}
    text = newer({"once.tpl": b"new"}, others=[other])
    assert (
        text == "a newer version of the image (aaaaaaaaaaaa) has different rules or templates for /etc/once"
    )


@pytest.mark.parametrize("key", ["os", "release", "variant", "architecture"])
@pytest.mark.parametrize("value", some_fast([["x"], {"a": "b"}, 1, True, None], every=5))
def test_a_non_text_image_key_causes_no_traceback(newer, incus, key, value):
    newer({"once.tpl": b"new"})
    data = incus.data("GET /1.0/instances/c1")
    data["expanded_config"][f"image.{key}"] = value
    incus.put("GET /1.0/instances/c1", sync(data))
    daemon = open_daemon(parse_address("incus:c1"))
    assert isinstance(NewerImages(daemon).note(open_instance(daemon)), str)
    daemon.close()


def test_only_the_beginning_of_a_newer_image_is_read(newer, monkeypatch):
    monkeypatch.setattr("templater.live.newer_image._MOST", 1 << 20)
    note = newer({"once.tpl": b"new"}, padding=3 << 20)
    assert (
        note == "a newer version of the image (aaaaaaaaaaaa) has different rules or templates for /etc/once"
    )
    monkeypatch.setattr("templater.live.newer_image._MOST", 1 << 9)
    assert newer({"once.tpl": b"new"}) == ""
