"""Accounts of the root filesystem."""

import pytest

from templater.checks.base import Name
from templater.checks.finding import audit
from templater.checks.scan import scan_image
from templater.model.entry import FILE, SYMLINK, Entry
from tests.checks.builders import an_image, observed
from tests.image_archives import file, image

CHECK = "accounts"


@pytest.mark.parametrize("name", ["passwd", "shadow", "sudoers"])
def test_a_world_writable_account_file_is_a_high_finding(name):
    names = [Name(f"rootfs/etc/{name}", Entry(FILE, 0o666))]
    assert observed(CHECK, an_image(names=names)) == [
        ("high", f"rootfs/etc/{name}", f"'/etc/{name}' has mode 0666: every user can write it")
    ]


def test_ordinary_modes_and_links_have_no_finding():
    names = [
        Name("rootfs/etc/passwd", Entry(FILE, 0o644)),
        Name("rootfs/etc/shadow", Entry(SYMLINK, 0o777, target="x")),
        Name("rootfs/etc/issue", Entry(FILE, 0o666)),
    ]
    assert not observed(CHECK, an_image(names=names))


def test_a_second_user_with_uid_0_is_an_info_finding(tmp_path):
    passwd = b"root:x:0:0::/root:/bin/sh\ntoor:*:0:0::/root:\ndaemon:x:1:1::/:\n"
    scanned = scan_image(image(tmp_path / "i.tar", file("rootfs/etc/passwd", passwd)))
    (found,) = [finding for finding in audit(scanned) if finding.check == CHECK]
    assert (found.severity.name, found.message) == ("INFO", "2 accounts have uid 0: root, toor")


def test_one_user_with_uid_0_has_no_finding():
    assert not observed(CHECK, an_image(heads={"rootfs/etc/passwd": b"root:x:0:0:::\nx:x:10:0\n"}))
