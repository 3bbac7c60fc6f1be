"""Small functions and tables that only slow tests or no tests reached."""

import pytest

from templater.cloud_init.guest import _never_ran
from templater.image.file_extensions import refuse_extension
from templater.image.publish_container import STALE
from templater.model.errors import UsageError
from templater.prediction.go_strconv import quoted

OTHER = "7z br cpio deb erofs ext4 iso lz lzo ova qcow2 rar raw rpm sfs sqfs squashfs tbz tbz2 tlz tzst vhd vhdx vmdk zip"
ALONE = "bz2 gz lz4 lzma zst"


@pytest.mark.parametrize(
    "name", [f"a/i.{end}" for end in (*OTHER.split(), *OTHER.upper().split(), *ALONE.split())]
)
def test_an_image_name_with_a_non_tarball_extension_is_refused(name):
    with pytest.raises(UsageError) as caught:
        refuse_extension(name)
    message = f"'{name}' has the extension of another kind of file, but an image is a tarball"
    assert caught.value.message == message


def test_tarball_extensions_and_unknown_extensions_are_accepted():
    for name in ("i", "i.tar", "i.tgz", "i.v1.2", ".deb", *(f"i.tar.{end}" for end in ALONE.split())):
        refuse_extension(name)


def test_publishing_drops_the_properties_about_the_build_of_the_base_image():
    assert STALE == ("description", "serial", "name", "label", "version", "type")


@pytest.mark.parametrize(
    ("folders", "fresh"),
    [
        ({"/var/lib/cloud": ("seed",)}, True),
        ({"/var/lib/cloud": ()}, True),
        ({"/var/lib/cloud": ("seed", "instances")}, False),
        ({"/var/lib/cloud": ("data",)}, False),
        ({"/var/lib/cloud": ("instance",)}, False),
        ({"/var/lib": ("dpkg",)}, True),
        ({"/var/lib": ("cloud",)}, False),
        ({}, False),
    ],
)
def test_cloud_init_has_never_run_if_its_folder_contains_no_state(folders, fresh):
    assert _never_ran(folders.get) is fresh


def test_a_text_is_quoted_as_in_the_go_language():
    assert quoted('a\\b"c\n\t\r\a\b\f\v\x01\x7f') == '"a\\\\b\\"c\\n\\t\\r\\a\\b\\f\\v\\x01\\x7f"'
