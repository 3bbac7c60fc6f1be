"""The message and the hint of each refusal of a path that an annotation names."""

import contextlib
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from templater.hooks import oci_annotated_paths
from templater.hooks.oci_annotated_paths import open_source, read_description
from templater.model.errors import RefusedError, TemplaterError
from templater.model.file_names import MAX_PATH
from templater.rootfs import writable_by_others
from tests.rootfs_builders import as_root

IMAGE_HINT = "keep image sources in a directory of their own, such as /var/lib/templater/images"
APART = "keep image sources apart from instances"
MOVE = "move the file, or allow its directory in the hook line with --allow or --allow-instance"


@pytest.fixture
def places(tmp_path):
    for name in ("images/web/templates", "more", "other", "bundle/rootfs/etc"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "images/web/metadata.yaml").write_text("")
    (tmp_path / "images/web.yaml").write_text("name: web\n")
    return tmp_path


def opened(places, path, allowed=("more", "images")):
    folders = [str(places / name) for name in allowed]
    path = os.path.join(places, path)  # keeps repeated slashes, unlike Path
    image = open_source(path, folders, str(places / "bundle"), str(places / "bundle/rootfs"))
    image.close()


def described(places, path, allowed=("more", "images")):
    return read_description(str(places / path), [str(places / name) for name in allowed])


def open_on_the_way_to(folder):
    """Return the open descriptors of a folder, of files below it, and of directories above it.

    The garbage collector may close descriptors of earlier tests at any time.
    """
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the descriptor of the listing
            path = Path(os.readlink(f"/proc/self/fd/{fd}"))
            if path.is_relative_to(folder) or folder.is_relative_to(path):
                found.add((fd, path))
    return found


def refusal(function, places, *arguments):
    """Return the message, the hint and the notes of the error. ``~`` is the folder of the test."""
    before = open_on_the_way_to(places)
    with pytest.raises(TemplaterError) as caught:
        function(places, *arguments)
    assert open_on_the_way_to(places) <= before, "a refused file stays open"
    error = caught.value
    words = (error.message, error.hint, *error.notes)
    return tuple(each.replace(str(places), "~") for each in words)


def test_an_image_and_a_description_in_the_allowed_directory_are_accepted(places):
    opened(places, "images/web")
    assert described(places, "images/web.yaml").text == "name: web\n"


def linked(places):
    (places / "images/link").symlink_to(places / "images/web")


def an_instance(places):
    (places / "images/web/instance.yaml").write_text("")


def a_backup(places):
    (places / "images/web/backup.yaml").write_text("")


def a_state(places):
    (places / "images/web/.templater").mkdir()


def a_link_into_an_instance(places):
    (places / "images/web/rootfs").mkdir()
    (places / "images/link").symlink_to("web/rootfs")


def linked_metadata(places):
    (places / "images/web/metadata.yaml").unlink()
    (places / "images/web/metadata.yaml").symlink_to("../web.yaml")


def a_shared_template(places):
    (places / "images/web/templates/a.tpl").touch()
    (places / "images/web/templates/a.tpl").chmod(0o666)


def shared(path, mode):
    return lambda places: (places / path).chmod(mode)


def changeable(path, mode):
    uid = os.geteuid()
    return (
        f"an annotation uses '~/{path}', which other users can change: it belongs to uid {uid} and has mode {mode}",
        f"chown root '~/{path}'; chmod go-w '~/{path}'",
    )


def nothing(places):
    pass


REFUSALS = [
    (opened, nothing, "other", ("an annotation names '~/other', which is not below ~/more or ~/images", MOVE)),
    (opened, nothing, "images2", ("an annotation names '~/images2', which is not below ~/more or ~/images", MOVE)),
    (opened, nothing, "images/../other", ("an annotation names '~/images/../other', which is not below ~/more or ~/images", MOVE)),
    (opened, nothing, "bundle/rootfs", ("an annotation names '~/bundle/rootfs', but the directory 'rootfs' in this path belongs to an instance", APART)),
    (opened, nothing, "images/.templater/x", ("an annotation names '~/images/.templater/x', but the directory '.templater' in this path belongs to an instance", APART)),
    (opened, an_instance, "images/web", ("an annotation uses the instance directory '~/images/web': it contains 'instance.yaml'", IMAGE_HINT)),
    (opened, a_backup, "images/web", ("an annotation uses the instance directory '~/images/web': it contains 'backup.yaml'", IMAGE_HINT)),
    (opened, a_state, "images/web", ("an annotation uses the instance directory '~/images/web': it contains '.templater'", IMAGE_HINT)),
    (opened, nothing, "images/a\0b", ("an annotation names '~/images/a\\x00b', which is not below ~/more or ~/images", MOVE)),
    (opened, a_link_into_an_instance, "images/link", ("an annotation names '~/images/web/rootfs', but the directory 'rootfs' in this path belongs to an instance", APART)),
    (opened, linked_metadata, "images/web", ("an annotation uses '~/images/web/metadata.yaml', which must not be a symlink", "")),
    (opened, nothing, "images/none", ("'~/images/none' does not exist", "")),
    (opened, nothing, "images/web.yaml", ("'~/images/web.yaml' is a file, not a directory", "", "an annotation names '~/images/web.yaml'")),
    (opened, nothing, "images/web.yaml/x", ("'~/images/web.yaml/x' can't be used: not a directory", "")),
    (opened, shared("images", 0o775), "images/web", changeable("images", "0775")),
    (opened, shared("images", 0o1777), "images/web", changeable("images", "1777")),
    (opened, shared("images/web", 0o757), "images/web", changeable("images/web", "0757")),
    (opened, shared("images/web/metadata.yaml", 0o666), "images/web", changeable("images/web/metadata.yaml", "0666")),
    (opened, shared("images/web/templates", 0o777), "images/web", changeable("images/web/templates", "0777")),
    (opened, a_shared_template, "images/web", changeable("images/web/templates/a.tpl", "0666")),
    (described, nothing, "other/web.yaml", ("an annotation names '~/other/web.yaml', which is not below ~/more or ~/images", MOVE)),
    (described, nothing, "images/instance.yaml", ("an annotation names '~/images/instance.yaml': the file name 'instance.yaml' is reserved for instance directories", "rename the description, for example to web.yaml")),
    (described, nothing, "images/backup.yaml.1", ("an annotation names '~/images/backup.yaml.1': the file name 'backup.yaml.1' is reserved for instance directories", "rename the description, for example to web.yaml")),
    (described, shared("images/web.yaml", 0o646), "images/web.yaml", (*changeable("images/web.yaml", "0646"), "an annotation names '~/images/web.yaml'")),
    (described, shared("images/web.yaml", 0o1646), "images/web.yaml", (*changeable("images/web.yaml", "1646"), "an annotation names '~/images/web.yaml'")),
    (described, nothing, "images/none.yaml", ("'~/images/none.yaml' does not exist", "", "an annotation names '~/images/none.yaml'")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "prepare", "path", "words"),
    REFUSALS,
    ids=[f"{case[2]}-{number}" for number, case in enumerate(REFUSALS)],
)
def test_a_refused_path_gives_a_message_and_a_hint(function, prepare, path, words, places):
    prepare(places)
    assert refusal(function, places, path) == words


def test_a_shared_parent_directory_must_have_the_sticky_bit(places):
    places.chmod(0o1777)
    opened(places, "images/web")
    places.chmod(0o777)
    assert refusal(opened, places, "images/web")[0].startswith("an annotation uses '~', which")
    places.chmod(0o700)


def test_an_image_source_inside_the_root_filesystem_is_refused(places):
    with pytest.raises(TemplaterError) as caught:
        open_source(
            str(places / "images/web/templates"),
            [str(places / "images")],
            str(places / "bundle"),
            str(places / "images/web"),
        )
    assert caught.value.message == (
        f"an annotation names '{places}/images/web/templates', which is in the container's root filesystem"
    )
    assert caught.value.hint == "use an image source outside the root filesystem"


@pytest.mark.parametrize(("length", "accepted"), [(MAX_PATH, True), (MAX_PATH + 1, False)])
def test_an_annotation_can_contain_a_path_of_4095_characters(places, length, accepted):
    path = f"{places}/images".ljust(length - len("web"), "/") + "web"
    if accepted:
        opened(places, path)
    else:
        assert "names a path of more than 4095 characters" in refusal(opened, places, path)[0]


def test_an_image_with_an_invalid_templates_directory_is_readable(places):
    (places / "images/web/templates").rmdir()
    (places / "images/web/templates").touch()
    opened(places, "images/web")


@as_root
def test_an_allowed_directory_behind_a_replaceable_link_is_refused(places):
    (places / "other/images").symlink_to(places / "images")
    opened(places, "other/images/web", ["other/images"])
    for path in (places / "other", places / "other/images"):
        os.chown(path, 1234, 1234, follow_symlinks=False)
    assert refusal(opened, places, "other/images/web", ["other/images"])[0] == (
        "'~/other' belongs to another user (uid 1234), who can replace '~/other/images'"
    )


@as_root
@pytest.mark.parametrize(
    ("function", "path", "foreign", "accepted"),
    [
        (opened, "images/group/web", ["images", "."], True),
        (opened, "images/group/web", ["images/group"], False),
        (opened, "images/group/web", ["images/group/web"], False),
        (described, "images/group/web.yaml", ["images", "."], True),
        (described, "images/group/web.yaml", ["images/group"], False),
        (described, "images/group/web.yaml", ["images/group/web.yaml"], False),
    ],
)
def test_unmapped_users_may_own_only_the_allowed_directory_and_its_parents(
    function, path, foreign, accepted, places, monkeypatch
):
    """In the namespace, all users without an id appear with the id of the root directory's owner."""
    (places / "images/group").mkdir()
    for name in ("web", "web.yaml"):
        (places / "images" / name).rename(places / "images/group" / name)
    for each in foreign:
        os.chown(places / each, 1234, 1234)
    lstat = os.lstat
    top = SimpleNamespace(st_uid=1234, st_mode=0o40755)
    monkeypatch.setattr(oci_annotated_paths.os, "lstat", lambda path: top if path == "/" else lstat(path))
    if accepted:
        function(places, path)
    else:
        (refused,) = foreign
        assert f"'~/{refused}', which other users can change" in refusal(function, places, path)[0]


def test_an_instance_annotation_is_refused_without_the_allow_option(places):
    assert refusal(described, places, "images/web.yaml", ()) == (
        "the annotation org.templater.instance is not allowed",
        "to allow a directory of descriptions, add --allow-instance DIR to the hook line",
    )


@pytest.mark.parametrize(
    ("mode", "options", "trusted"),
    [
        (0o755, {}, True),
        (0o775, {}, False),
        (0o757, {}, False),
        (0o1777, {}, False),
        (0o1777, {"or_sticky": True}, True),
        (0o777, {"or_sticky": True}, False),
    ],
)
def test_a_sticky_directory_is_trusted_only_on_request(mode, options, trusted, tmp_path):
    tmp_path.chmod(mode)
    if trusted:
        oci_annotated_paths._require_trusted(str(tmp_path), **options)
        return
    with pytest.raises(RefusedError) as caught:
        oci_annotated_paths._require_trusted(str(tmp_path), **options)
    uid = os.geteuid()
    reason = f"it belongs to uid {uid} and has mode {mode:04o}"
    assert caught.value.message == f"an annotation uses '{tmp_path}', which other users can change: {reason}"
    assert caught.value.hint == f"chown root '{tmp_path}'; chmod go-w '{tmp_path}'"


@pytest.mark.parametrize("creator", [5001, 0, 5002])
def test_the_hint_mentions_keep_id_for_the_namespace_creator(monkeypatch, creator):
    """With ``chown root``, rootless podman could no longer read its image source."""
    monkeypatch.setattr(writable_by_others, "namespace_creator", lambda: creator)
    status = os.stat_result((stat.S_IFDIR | 0o755, 1, 1, 2, 5001, 5001, 0, 0, 0, 0))
    with pytest.raises(RefusedError) as caught:
        oci_annotated_paths._require_owner(status, "/x")
    keep_id = "use --in-place or --userns=keep-id, not both: together, they do not work in rootless podman"
    assert caught.value.hint == (keep_id if creator == 5001 else "chown root '/x'; chmod go-w '/x'")


@pytest.mark.parametrize(
    ("above", "options", "trusted"),
    [
        (0o755, {}, False),
        (0o755, {"named": True}, True),
        (0o775, {"named": True}, False),
        (0o757, {"named": True}, False),
    ],
)
def test_unmapped_users_are_trusted_only_for_directories_in_the_hook_line(
    above, options, trusted, monkeypatch
):
    """All users without an id in the namespace appear with the id of the root directory's owner."""
    modes = {"/a/b": 0o40755, "/a": 0o40000 | above, "/": 0o40755}
    status = lambda path: SimpleNamespace(st_uid=os.geteuid() + 1, st_mode=modes[path])  # noqa: E731
    monkeypatch.setattr(oci_annotated_paths.os, "lstat", status)
    if trusted:
        oci_annotated_paths._require_trusted("/a/b", **options)
    else:
        with pytest.raises(RefusedError, match=rf"it belongs to uid {os.geteuid() + 1} and has mode 0755"):
            oci_annotated_paths._require_trusted("/a/b", **options)
