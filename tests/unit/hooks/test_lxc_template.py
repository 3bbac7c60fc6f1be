"""The template script for lxc-create: what is written, and that a shell accepts it."""

import os
import subprocess
import sys

import pytest

from templater.hooks import lxc_config, lxc_install_and_status
from templater.hooks.install import write
from templater.hooks.runtimes import lxc
from templater.hooks.runtimes.lxc_template import snippet
from templater.model.errors import RefusedError, UsageError
from tests.rootfs_builders import as_root


def test_the_lxc_template_script_is_executable_and_calls_the_current_interpreter(tmp_path):
    made = snippet("", [], str(tmp_path))
    assert write(made)
    script = tmp_path / "lxc-templater"
    assert script.stat().st_mode & 0o777 == 0o755
    assert sys.executable in script.read_text()
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
    assert not write(made), "already up to date"


def test_the_lxc_template_script_quotes_the_options_of_the_hook(tmp_path):
    assert "--write --log '/a b'\n" in snippet("", ["--log", "/a b"], str(tmp_path)).text


def test_the_lxc_template_script_cannot_be_installed_for_one_container(tmp_path):
    with pytest.raises(UsageError, match="the same for all containers"):
        snippet("web1", [], str(tmp_path))


@pytest.mark.parametrize("words", [[], ["--name=x", "--path=/x", "--rootfs=/x/r"], ["--strange"], ["image"]])
def test_the_lxc_template_script_reports_a_missing_argument_in_one_line(tmp_path, words):
    write(snippet("", [], str(tmp_path)))
    done = subprocess.run([tmp_path / "lxc-templater", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("lxc-templater: ")
    assert done.stderr.count("\n") == 1


CONFIG = "lxc.idmap = u 0 100000 65536\nlxc.idmap = g 0 200000 65536\n"


@pytest.fixture
def config(tmp_path):
    (tmp_path / "web1").mkdir()
    (tmp_path / "web1/config").write_text(CONFIG)
    return tmp_path / "web1/config"


def lines(config, *words):
    text = lxc.snippet("web1", list(words), str(config.parent.parent)).text
    return dict(line.removeprefix("lxc.hook.").split(" = ", 1) for line in text.splitlines())


def test_the_hook_of_a_user_enters_the_user_namespace(config, monkeypatch):
    monkeypatch.setattr(lxc_config.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 1001)
    found = lines(config, "--on-error", "keep-going")
    start = (
        "lxc-usernsexec -m u:0:100000:65536 -m u:65536:1000:1 -m g:0:200000:65536 -m g:65536:1001:1 -- "
    )  # fmt: skip
    end = 'lxc --on-error keep-going --owner 65536 --rootfs "$LXC_ROOTFS_PATH" --'
    for stage in ("pre-start", "destroy"):
        assert found[stage].startswith(start)
        assert found[stage].endswith(end)
        assert f"{sys.executable} -I -S -B " in found[stage]
    assert found["clone"].startswith(f"{sys.executable} -I -S -B "), "LXC runs it in the namespace"
    assert " lxc --on-error keep-going --owner 65536 " in found["clone"]
    assert lines(config, "--rootfs", "/r")["pre-start"].endswith("lxc --rootfs /r --owner 65536 --")


@as_root
def test_a_users_hook_below_a_foreign_directory_is_refused(config, monkeypatch):
    """In the container's user namespace, the hook can't see who owns the directory."""
    monkeypatch.setattr(lxc_config.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    os.chown(config.parent, 100000, 100000)
    os.chown(config.parent.parent, 1000, 1000)
    lines(config)
    os.chown(config.parent.parent, 2000, 2000)
    with pytest.raises(RefusedError, match=r"belongs to another user \(uid 2000\), who can replace"):
        lines(config)


@pytest.mark.parametrize("settings", ["", CONFIG + "lxc.rootfs.options = idmap=container\n"])
def test_the_hook_enters_no_namespace_if_owners_are_unshifted(config, monkeypatch, settings):
    config.write_text(settings)
    monkeypatch.setattr(lxc_config.os, "geteuid", lambda: 1000)
    assert "lxc-usernsexec" not in "".join(lines(config).values())


MAPS = {
    "the host": ("0 0 4294967295\n", "0 0 4294967295\n", False),
    "lxc-create of the host's root": ("0 100000 65536\n65536 0 1\n", "0 200000 65536\n65536 0 1\n", False),
    "lxc-create of the host's root, who maps a user": (
        "0 100000 65536\n65536 1000 1\n65537 0 1\n",
        "0 200000 65536\n65536 0 1\n",
        False,
    ),
    "lxc-create of a user": ("0 100000 65536\n65536 1000 1\n", "0 200000 65536\n65536 1000 1\n", True),
    "a rootless container": ("0 1000 1\n1 100000 65536\n", "0 1000 1\n1 200000 65536\n", False),
}


@pytest.mark.parametrize("place", MAPS)
def test_lxc_create_by_an_ordinary_user_adds_lxc_usernsexec(config, monkeypatch, place):
    uids, gids, enters = MAPS[place]
    maps = {"uid_map": uids, "gid_map": gids}
    monkeypatch.setattr(lxc_config.os, "geteuid", lambda: 0)
    monkeypatch.setattr(
        lxc_install_and_status,
        "own_map",
        lambda name: (tuple(map(int, line.split())) for line in maps[name].splitlines()),
    )
    monkeypatch.setattr(lxc_install_and_status, "namespace_creator", lambda: 65536)
    assert ("lxc-usernsexec" in lines(config)["pre-start"]) == enters
    assert ("--owner 65536 " in lines(config)["pre-start"]) == enters
    assert lxc_install_and_status.namespace_words(str(config)).startswith("lxc-usernsexec -m u:") == enters


def test_lxc_create_adds_the_owner_option_for_mapped_users(config, monkeypatch):
    """If the id map contains the user, the namespace of lxc-create has only the ids of the container.

    The hook did not enter this namespace.
    """
    rows = {"u": ((0, 100000, 500), (500, 1000, 1)), "g": ((0, 200000, 65536),)}
    config.write_text(
        "".join(
            f"lxc.idmap = {kind} {' '.join(map(str, row))}\n" for kind, each in rows.items() for row in each
        )
    )
    monkeypatch.setattr(lxc_config.os, "geteuid", lambda: 0)
    monkeypatch.setattr(lxc_install_and_status, "own_map", lambda name: rows[name[0]])
    monkeypatch.setattr(lxc_install_and_status, "namespace_creator", lambda: 500)
    found = lines(config)
    assert found["pre-start"].startswith(
        "lxc-usernsexec -m u:0:100000:500 -m u:500:1000:1 -m g:0:200000:65536 -- "
    )
    assert all(" lxc --owner 500 " in line for line in found.values())


def test_a_clone_hook_writes_no_compiled_python_modules(config):
    """With the caller's id in the namespace, the container's root may write into the caller's folders."""
    found = lines(config)
    assert " -B " in found["clone"]
    assert " -B " not in found["pre-start"], "the host's root runs it outside of the namespace"


def test_the_template_script_refuses_owners_outside_the_id_range(tmp_path):
    """The id after the container's last id belongs to the caller.

    Setuid files with this id would run as the caller.
    """
    text = snippet("", [], str(tmp_path)).text
    assert "--idmap u:0:0:$uid --idmap g:0:0:$gid" in text
    assert "export PYTHONDONTWRITEBYTECODE=1" in text


@pytest.mark.parametrize("place", MAPS)
def test_the_hook_refuses_foreign_ids_in_the_namespace_of_lxc_create(config, monkeypatch, place):
    uids, gids, _ = MAPS[place]
    maps = {"uid_map": uids, "gid_map": gids}
    monkeypatch.setattr(
        lxc, "own_map", lambda name: (tuple(map(int, line.split())) for line in maps[name].splitlines())
    )
    found = lxc.in_namespace(lxc_config.ids_on_disk(str(config)))
    if place.startswith("lxc-create"):
        assert found is not None
        assert found.on_disk(65535, 0) == (65535, 0)
        with pytest.raises(RefusedError):
            found.on_disk(65536, 0)
    else:
        assert found is None


def test_the_callers_id_is_not_mapped_twice(config, monkeypatch):
    config.write_text(
        "".join(f"lxc.idmap = {kind} 1000 1000 1\nlxc.idmap = {kind} 0 100000 1000\n" for kind in "ug")
    )
    monkeypatch.setattr(lxc_config.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 1000)
    found = lines(config)
    assert all(" lxc --owner 1000" in line for line in found.values())
    words = found["pre-start"].partition(" -- ")[0]
    assert words == "lxc-usernsexec -m u:1000:1000:1 -m u:0:100000:1000 -m g:1000:1000:1 -m g:0:100000:1000"


def test_the_caller_gets_the_first_free_id(config, monkeypatch):
    """In the clone hook, the caller has the user id that LXC has chosen for the namespace."""
    rows = [(70000, 300000, 10), (0, 100000, 65536)]
    config.write_text("".join(f"lxc.idmap = {kind} {a} {b} {c}\n" for kind in "ug" for a, b, c in rows))
    monkeypatch.setattr(lxc_config.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    found = lines(config)
    assert all(" lxc --owner 65536 " in line for line in found.values())
    assert " -m u:65536:1000:1 " in found["pre-start"]


def test_a_user_mapped_to_root_gets_no_owner_option(config, monkeypatch):
    config.write_text("".join(f"lxc.idmap = {kind} 0 1000 1\n" for kind in "ug"))
    monkeypatch.setattr(lxc_config.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 1000)
    assert "--owner" not in "".join(lines(config).values())
