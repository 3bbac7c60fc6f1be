"""The errors of the lock on a root filesystem."""

import errno
import os

import pytest

from templater.model.errors import WriteError
from templater.rootfs.confined import Root
from templater.writing import lock as module
from templater.writing.lock import lock


@pytest.mark.parametrize("call", ["open", "flock"])
def test_a_system_error_of_the_lock_names_the_directory_and_leaves_no_descriptor_open(
    call, tmp_path, monkeypatch
):
    def fail(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    with Root(str(tmp_path)) as root:
        before = os.listdir("/proc/self/fd")
        with monkeypatch.context() as patch:
            patch.setattr(module.os if call == "open" else module.fcntl, call, fail)
            with pytest.raises(WriteError) as caught:
                lock(root, 0)
        assert os.listdir("/proc/self/fd") == before
    assert caught.value.message == "can't lock '/': no locks available"
