"""The choice between openat2 and opening one path component at a time."""

import errno

import pytest

from templater.model.errors import InputError
from templater.rootfs import resolve_beneath
from templater.rootfs.confined_root import Root
from templater.rootfs.resolve_beneath import OPENAT2, WALK
from tests.rootfs_builders import MECHANISMS


def test_an_environment_variable_chooses_the_path_resolution_mechanism(tmp_path, monkeypatch):
    for name in MECHANISMS:
        monkeypatch.setenv("TEMPLATER_CONFINED", name)
        with Root(str(tmp_path)) as root:
            assert root.mechanism == name
    monkeypatch.setenv("TEMPLATER_CONFINED", "trust me")
    with pytest.raises(InputError, match=r"^unknown mechanism 'trust me'$") as caught:
        Root(str(tmp_path))
    assert caught.value.hint == "set TEMPLATER_CONFINED to openat2 or walk"


def test_a_kernel_without_openat2_resolves_paths_component_by_component(tmp_path, monkeypatch):
    def absent(*_: object) -> int:
        raise OSError(errno.ENOSYS, "function not implemented")

    monkeypatch.setattr(resolve_beneath, "_known", [])
    monkeypatch.setattr(resolve_beneath, "openat2", absent)
    with Root(str(tmp_path)) as root:
        assert root.mechanism == WALK
    with pytest.raises(InputError, match=r"^this system has no openat2$"):
        Root(str(tmp_path), mechanism=OPENAT2)
