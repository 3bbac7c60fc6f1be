"""The stages of LXC's hooks: which hook renders, and what is refused if that is uncertain."""

import sys

import pytest

from templater.hooks import install
from templater.hooks.options import Options
from templater.hooks.runtimes import incus, lxc
from templater.model.errors import RefusedError, UsageError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux")
LATER = "in the container's configuration, set lxc.hook.mount to the same command as lxc.hook.pre-start"
UNSURE = (
    "the mount hook can't tell whether the pre-start hook has rendered the templates,"
    " because '{}' is unreadable: {}"
)
ONLY = "in an unprivileged container, use only lxc.hook.pre-start"


@pytest.mark.parametrize("prefix", ["", "dir:"])
@pytest.mark.parametrize(
    ("lines", "fits"),
    [
        ("lxc.hook.mount = from templater_hook import --stage mount\n", True),
        ("lxc.hook.mount = from templater_hook import --stage=mount\n", True),
        ("lxc.hook.mount = true\nlxc.hook.mount = from templater_hook import --stage mount\n", True),
        ("lxc.hook.mount = from templater_hook import\n", False),
        ("lxc.hook.mount = other --stage mount\n", False),
        ("lxc.hook.pre-start = from templater_hook import --stage mount\n", False),
        ("lxc.hook.mount = from templater_hook import --stage mount\nlxc.hook.mount =\n", False),
        ("lxc.hook.mount = from templater_hook import --stage mount\nlxc.hook =\n", False),
        ("lxc.hook.mount = from templater_hook import --stage mount\nlxc.hook.pre-start =\n", True),
    ],
)
def test_the_option_stage_mount_requires_a_mount_hook(lines, fits, prefix, tmp_path):
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "config").write_text(f"lxc.rootfs.path = {prefix}{tmp_path}/rootfs\n{lines}")
    if fits:
        lxc.require_mount_hook("", f"{tmp_path}/config", "mount")
        return
    with pytest.raises(RefusedError) as refused:
        lxc.require_mount_hook("", f"{tmp_path}/config", "mount")
    assert refused.value.message == (
        "no hook renders the templates: the pre-start hook has --stage mount, and no lxc.hook.mount"
        " calls templater with --stage mount"
    )
    assert refused.value.hint == LATER


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("lxc.hook.mount = from templater_hook import\n", True), ("lxc.hook.pre-start = from templater_hook import\n", False), ("lxc.hook.mount = true\n", False),
        ("lxc.hook.mount = from templater_hook import\nlxc.hook.mount =\n", False), ("", False),
    ],
)  # fmt: skip
def test_a_mount_hook_is_found_in_the_lxc_configuration(lines, found, tmp_path):
    (tmp_path / "config").write_text(lines)
    assert lxc.has_hook(f"{tmp_path}/config", "mount") is found


@pytest.mark.parametrize(
    ("line", "elsewhere", "found"),
    [
        ("/srv/templater-tools/notify.sh", False, False),
        ("templater trigger c1 copy", False, False),
        ("/usr/bin/templater hook lxc --stage mount", False, True),
        ("/usr/bin/python3 -c 'from templater_hook import main;main()' lxc", False, True),
        ("/usr/bin/python3 -c 'from templater.hooks.run import serve' lxc", False, True),
        ("/usr/bin/python3 -c 'from templater_hook import main' lxc --rootfs /srv/other", False, False),
        ("/usr/bin/python3 -c 'from templater_hook import main' lxc --rootfs /srv/other", True, True),
    ],
)
def test_a_hook_line_that_renders_nothing_is_not_recognised(line, elsewhere, found, tmp_path):
    """A line with another program in a folder called templater made the mount hook render nothing."""
    (tmp_path / "config").write_text(f"lxc.hook.pre-start = {line}\n")
    assert lxc.has_hook(f"{tmp_path}/config", "pre-start", elsewhere=elsewhere) is found


def test_a_mount_hook_is_refused_if_it_cannot_read_the_configuration(tmp_path):
    path = f"{tmp_path}/none"
    with pytest.raises(RefusedError) as refused:
        lxc.has_hook(path, "pre-start")
    assert refused.value.message == UNSURE.format(path, f"'{path}' can't be read: no such file or directory")
    assert refused.value.hint == ONLY


def test_the_deferred_marker_is_removed_after_reading(tmp_path):
    assert not lxc.is_deferred(str(tmp_path))
    lxc.defer(str(tmp_path))
    assert lxc.is_deferred(str(tmp_path)) and not lxc.is_deferred(str(tmp_path))


def test_a_mount_hook_is_refused_if_it_cannot_read_the_state(tmp_path):
    (tmp_path / ".templater").write_text("")
    with pytest.raises(RefusedError) as refused:
        lxc.is_deferred(str(tmp_path))
    assert refused.value.message == UNSURE.format(f"{tmp_path}/.templater", "not a directory")
    assert refused.value.hint == ONLY


@pytest.mark.parametrize(
    ("lines", "refused"), [("", False), ("lxc.hook.pre-mount =\n", False), ("lxc.hook.pre-mount = x\n", True)]
)
def test_a_pre_mount_hook_may_not_hide_written_files(lines, refused, tmp_path):
    (tmp_path / "config").write_text(lines)
    found = list(lxc.settings(f"{tmp_path}/config"))
    if not refused:
        lxc.refuse_later_mounts("/c/rootfs", found)
        return
    with pytest.raises(RefusedError) as caught:
        lxc.refuse_later_mounts("/c/rootfs", found)
    assert caught.value.message == (
        "lxc.hook.pre-mount runs after the pre-start hook, and may hide files that the pre-start hook"
        " writes to '/c/rootfs'"
    )
    assert caught.value.hint.startswith(
        "if lxc.hook.pre-mount hides no files, add --stage pre-start to the command in lxc.hook.pre-start; if"
    )


def test_installing_for_incus_asks_users_to_set_raw_lxc():
    snippet = incus.snippet("", ["--source", "/a b"], "")
    assert snippet.file == "raw.lxc"
    assert snippet.text.startswith("lxc.hook.pre-start = ") and snippet.text.endswith(
        "incus --source '/a b'\n"
    )
    assert snippet.by_hand == (
        'raw.lxc is a key, not a file; run: incus config set NAME raw.lxc "$(templater hook …)"'
    )
    with pytest.raises(UsageError) as refused:
        install.write(snippet)
    assert refused.value.message == snippet.by_hand


@pytest.mark.parametrize("rootfs", ["", "other"])
def test_the_incus_hook_compares_files_unless_it_has_a_rootfs_option(rootfs, tmp_path):
    (tmp_path / "metadata.yaml").touch()
    (tmp_path / "config").write_text("lxc.idmap = u 0 1000 10\nlxc.idmap = g 0 2000 10\n")
    options = Options()
    options.state, options.rootfs = str(tmp_path), rootfs and f"{tmp_path}/{rootfs}"
    environ = {
        "LXC_NAME": "c1",
        "LXC_ROOTFS_PATH": f"{tmp_path}/rootfs",
        "LXC_CONFIG_FILE": f"{tmp_path}/config",
    }
    request = incus.read_request(options, environ)
    assert request.compare is not bool(rootfs) and request.pending_in_config
    assert request.rootfs == f"{tmp_path}/{rootfs or 'rootfs'}"
    assert (request.image, request.instance_file) == (str(tmp_path), f"{tmp_path}/backup.yaml")
    if rootfs:
        assert request.ids is None
    else:
        assert request.ids.on_disk(3, 4) == (1003, 2004)
