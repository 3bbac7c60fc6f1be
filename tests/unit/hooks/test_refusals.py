"""Refusals of hooks: exact texts of errors about options, input and names."""

import ast
import json
import os
import re
from pathlib import Path

import pytest

from templater.hooks import common_status_checks, install, lxc_config, lxc_copies, lxc_install_and_status
from templater.hooks.container_state_folder import make_state_folder
from templater.hooks.json_input import parse_json
from templater.hooks.options import USAGE, Options, read_options
from templater.hooks.run import MOST_TRIGGERS, require_triggers
from templater.hooks.runtimes import incus, lxc, lxc_template, nspawn, oci, podman
from templater.hooks.sandboxed_rendering import _without_description
from templater.model.errors import (
    InputError,
    LimitError,
    RefusedError,
    RenderError,
    TemplaterError,
    UsageError,
)
from templater.model.metadata import TRIGGERS
from templater.model.source import Source
from templater.rendering.render import _WITHOUT_VALUE, without_values
from templater.rootfs.confined_root import Root
from templater.rootfs.trusted_paths import open_folder

ROOT = Path(__file__).parents[3]
SECONDS = "give seconds: --time-limit 30"
ON_ERROR = "use --on-error fail or --on-error keep-going"
UNIT_LINE = "a systemd unit can't contain a line break, or bytes that are not UTF-8"


def words(*given, **fields):
    options = Options()
    options.words = given
    for name, value in fields.items():
        setattr(options, name, value)
    return options


def state(**fields):
    return json.dumps({"ociVersion": "1.0.2", **fields}).encode()


def lxc_name(name):
    return lxc.read_request(words("c1", "lxc", "mount"), {"LXC_NAME": name})


@pytest.mark.parametrize(
    ("action", "error", "message", "hint"),
    [
        (lambda: read_options(["--nonsense", "1"]), UsageError, "unknown option '--nonsense'", USAGE),
        (lambda: read_options(["--nonsense=1"]), UsageError, "unknown option '--nonsense'", USAGE),
        (lambda: read_options(["--source"]), UsageError, "option '--source' needs a value", USAGE),
        (lambda: read_options(["--on-error", "x"]), UsageError, "invalid value for --on-error", ON_ERROR),
        (lambda: read_options(["--dialect", "v5"]), UsageError, "invalid value for --dialect", "use v4, v6 or v6.1"),
        (lambda: read_options(["--time-limit", "0"]), UsageError, "invalid time limit '0'", SECONDS),
        (lambda: read_options(["--time-limit", "x"]), UsageError, "invalid time limit 'x'", SECONDS),
        (lambda: read_options(["--time-limit", "nan"]), UsageError, "invalid time limit 'nan'", SECONDS),
        (lambda: read_options(["--time-limit", "86401"]), UsageError, "invalid time limit '86401'", SECONDS),
        (
            lambda: require_triggers(("create",) * (MOST_TRIGGERS + 1)), UsageError,
            f"{MOST_TRIGGERS + 1} triggers were given, more than the limit of {MOST_TRIGGERS}", "",
        ),
        (
            lambda: require_triggers(("create", "boot")), UsageError, "unknown trigger 'boot'",
            f"known triggers are {', '.join(TRIGGERS)}",
        ),
        # input
        (lambda: parse_json(b"{", "the state"), InputError, "the state is not JSON", ""),
        (lambda: parse_json(b"\xff", "the state"), InputError, "the state is not JSON", ""),
        (lambda: parse_json(b"[]", "the state"), InputError, "the state is not a JSON object", ""),
        (lambda: parse_json(b"{} {}", "the state"), InputError, "the state is not a JSON object", ""),
        (
            lambda: oci.read_state(b" \n"), UsageError, "no state on standard input: no OCI runtime called this hook",
            "to install a hook, run: templater hook install oci",
        ),
        (
            lambda: oci.read_state(b"{}"), InputError,
            "the state on standard input has no ociVersion: it is not from an OCI runtime", "",
        ),
        (
            lambda: oci.read_state(state(ociVersion="2.0")), InputError,
            "the state on standard input has ociVersion '2.0': only 1.x is supported", "",
        ),
        (lambda: oci._text({"id": ""}, "id"), InputError, "the state on standard input has no 'id'", ""),
        (lambda: oci._text({"id": "a\0b"}, "id"), InputError, "the state on standard input has no 'id'", ""),
        (lambda: oci._text({"id": 5}, "id"), InputError, "the state on standard input has no 'id'", ""),
        (lambda: oci._annotations({"annotations": [1]}), InputError, "the state on standard input has annotations that are not an object", ""),
        (lambda: oci._root_path({}), InputError, "config.json has no root.path", ""),
        (lambda: oci._root_path({"root": {"path": ""}}), InputError, "config.json has no root.path", ""),
        (lambda: oci._root_path({"root": {"path": "a\0"}}), InputError, "config.json has no root.path", ""),
        (lambda: oci._root_path({"root": {"path": "a" * 4096}}), InputError, "config.json has a root.path of more than 4095 characters", ""),
        (lambda: oci._ranges([{}]), InputError, "config.json has an invalid id mapping", ""),
        (lambda: oci._ranges([5]), InputError, "config.json has an invalid id mapping", ""),
        (
            lambda: oci._ranges([{"containerID": 0, "hostID": 1 << 32, "size": 1}]), InputError,
            "config.json has an invalid id mapping", "",
        ),
        (
            lambda: oci._ranges([{"containerID": -1, "hostID": 0, "size": 1}]), InputError,
            "config.json has an invalid id mapping", "",
        ),
        (lambda: oci.snippet("", [], ""), UsageError, "missing bundle path", ""),
        # names
        (
            lambda: incus.read_request(words(), {}), UsageError, "Incus did not call this hook through raw.lxc",
            "to install a hook, run: templater hook install incus",
        ),
        (
            lambda: lxc.read_request(words(), {}), UsageError, "LXC did not call this hook",
            "to install a hook, run: templater hook install lxc",
        ),
        (lambda: lxc_name(""), UsageError, "invalid container name ''", ""),
        (lambda: lxc_name(".."), UsageError, "invalid container name '..'", ""),
        (lambda: lxc_name("a/b"), UsageError, "invalid container name 'a/b'", ""),
        (lambda: lxc_name("a\nb"), UsageError, "invalid container name 'a\\nb'", ""),
        (
            lambda: nspawn.read_request(words(), {}), UsageError, "missing machine name",
            "end the ExecStartPre line of the unit with %i",
        ),
        (lambda: nspawn.read_request(words(""), {}), UsageError, "invalid machine name ''", ""),
        (lambda: nspawn.read_request(words("a/b"), {}), UsageError, "invalid machine name 'a/b'", ""),
        (lambda: nspawn.read_request(words(".."), {}), UsageError, "invalid machine name '..'", ""),
        (
            lambda: nspawn.read_request(words("images"), {}), UsageError,
            "reserved machine name 'images': templater itself uses the directory '/var/lib/templater/images'",
            "give the image with --source, and a directory for the state with --state",
        ),
        (
            lambda: incus.snippet("c1", [], ""), UsageError,
            "unexpected name 'c1': a hook line for Incus contains no container name", "",
        ),
        (
            lambda: podman.snippet("c1", [], ""), UsageError,
            "unexpected name 'c1': the file for podman is the same for all containers", "",
        ),
        (
            lambda: lxc_template.snippet("c1", [], ""), UsageError,
            "unexpected name 'c1': the script is the same for all containers", "",
        ),
        (lambda: common_status_checks.require_name(""), UsageError, "missing name of the container, bundle or machine", ""),
        (
            lambda: oci.read_request(words(stage="poststop"), {}), UsageError,
            "templates cannot be rendered in stage 'poststop'", "use stage createRuntime",
        ),
        (
            lambda: lxc.require_mounted("/usr/share"), RefusedError,
            "LXC has mounted no root filesystem at '/usr/share', which is a directory of the host",
            "set lxc.rootfs.path, or remove the hook from the container's configuration",
        ),
        # lines for configurations
        (lambda: install.shell_line(["a\nb"]), UsageError, "LXC's configuration can't contain a line break", ""),
        (lambda: install.shell_line(["a\rb"]), UsageError, "LXC's configuration can't contain a line break", ""),
        (lambda: lxc_install_and_status.added(None, "f", ""), InputError, "'f' does not exist", "create the container first"),
        (lambda: oci.merged(None, "f", "s", {}), InputError, "'f' does not exist", "create the bundle first: runc spec"),
        (lambda: oci.merged('{"a": 1e999}', "f", "s", {}), InputError, "'f' has a number that is too large for a float", ""),
        (lambda: oci.merged('{"a": [' + ",".join(["[" * 400 + "]" * 400] * 100) + "]}", "f", "s", {}), LimitError, "'f' would be larger than 4194304 bytes", ""),
        (lambda: oci.merged('{"hooks": {"s": {}}}', "f", "s", {}), InputError, "invalid hooks in 'f': each stage needs a list", ""),
        (lambda: oci.merged('{"hooks": [1]}', "f", "s", {}), InputError, "invalid hooks in 'f': each stage needs a list", ""),
        (lambda: nspawn.unit_line(["a\nb"]), UsageError, UNIT_LINE, ""),
        (lambda: nspawn.unit_line(["a\rb"]), UsageError, UNIT_LINE, ""),
        *((lambda c=c: nspawn.unit_line(["a" + c]), UsageError, UNIT_LINE, "") for c in "\ud800\udce9\udfff\ufdd0\ufdef\ufffe\U0001ffff"),
        (
            lambda: nspawn.snippet("", ["--source", "/a", "--state", "/b"], ""), UsageError,
            "--state is for one container or machine, but the hook is for several", "give the machine's name",
        ),
        (
            lambda: podman.snippet("", ["--rootfs", "/b"], ""), UsageError,
            "--rootfs is for one container or machine, but the hook is for several",
            "describe each container with annotations, such as org.templater.name",
        ),
        (
            lambda: lxc_template.snippet("", ["--instance", "/b"], ""), UsageError,
            "--instance is for one container or machine, but the hook is for several",
            "install the hook in each container: templater hook install lxc NAME",
        ),
    ],
)  # fmt: skip
def test_each_hook_refusal_has_the_expected_message_and_hint(action, error, message, hint):
    with pytest.raises(TemplaterError) as refused:
        action()
    found = refused.value
    assert (type(found), found.message, found.hint) == (error, message, hint)


def test_hook_values_at_the_limits_are_accepted():
    assert read_options(["--time-limit", "86400"]).time_limit == 86400
    require_triggers(("create",) * MOST_TRIGGERS)
    assert oci.read_state(state(ociVersion="v1.1"))["ociVersion"] == "v1.1"
    largest = {"containerID": 0, "hostID": (1 << 32) - 1, "size": 0}
    assert oci._ranges([largest]) == ((0, (1 << 32) - 1, 0),)
    assert oci._ranges(None) == ()


def test_arguments_after_two_hyphens_are_not_parsed_as_options():
    options = read_options(["--source", "a", "-", "--", "--source", "b"])
    assert (options.source, options.words) == ("a", ("-", "--source", "b"))


def test_hook_options_with_list_values_can_be_repeated():
    options = read_options(["-t", "create,copy", "--allow=a", "-t", "start", "--allow", "b"])
    assert (options.triggers, options.allow) == (("create", "copy", "start"), ("a", "b"))


def test_a_symlink_to_a_root_filesystem_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("rootfs")
    with pytest.raises(RefusedError) as refused:
        oci.root_of({"root": {"path": "link"}}, str(tmp_path))
    assert refused.value.message == f"the root filesystem '{tmp_path}/link' is a symlink, not a directory"
    assert refused.value.hint == "give the target of the symlink in the hook line: --rootfs DIR"


def test_an_lxc_configuration_can_include_only_a_limited_number_of_files(tmp_path, monkeypatch):
    monkeypatch.setattr(lxc_config, "MAX_INCLUDES", 3)
    for number in range(3):
        (tmp_path / str(number)).write_text(f"lxc.a = {number}\nlxc.include = {tmp_path}/{number + 1}\n")
    (tmp_path / "2").write_text("lxc.a = 2\n")
    assert [value for key, value in lxc_config.settings(str(tmp_path / "0")) if key == "lxc.a"] == [
        "0",
        "1",
        "2",
    ]
    (tmp_path / "2").write_text(f"lxc.include = {tmp_path}/3\n")
    (tmp_path / "3").write_text("a = 3\n")
    with pytest.raises(LimitError) as refused:
        list(lxc_config.settings(str(tmp_path / "0")))
    assert refused.value.message == f"'{tmp_path}/0' includes more than 3 files"


def test_an_error_about_a_description_hides_its_text():
    span = Source("instance.yaml", "a: secret").span(3, 9)
    for found, said in ((InputError("secret", span), "instance.yaml:1:4: "), (LimitError("secret"), "")):
        hidden = _without_description(found)
        assert (type(hidden), hidden.message) == (
            type(found),
            f"{said}the description of the instance is invalid",
        )
        assert hidden.span is None
        assert hidden.hint == "templater preview -i FILE shows why"


@pytest.mark.parametrize(
    "message",
    [
        "filename for 'include'-tag evaluated to an empty string", "filter 'pluralize' does only work on numbers",
        "filter input argument must be of type 'time.Time'", "negative sign on a non-number expression",
        "runtime error: integer divide by zero", "unable to resolve template",
        "you cannot pass more than 2 arguments to filter 'pluralize'", "can't access a field by name on type int",
        "can't access an index on type int", "filter with name 'x'", "unknown filter 'x'",
    ],
)  # fmt: skip
def test_the_log_quotes_an_error_message_without_template_values(message):
    assert without_values(RenderError(message)).message == message


def test_a_systemd_unit_can_contain_all_characters_accepted_by_systemd():
    assert not any(nspawn.is_ignored(f"a{c}") for c in "\t\x0b\x0e\ud7ff\ue000\ufdcf\ufdf0\ufffd\U0001fffd")


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            "the template builds a value of 7 characters",
            "the template builds a value that is larger than the limit",
        ),
        ("one filter or operator needs 7 units", "one filter or operator exceeds its limit on work"),
        (
            "templater does not know the class \\p{secret} of a regular expression",
            "templater does not know a class of a regular expression",
        ),
        ("the template takes more than 7 steps", "the template takes more than 7 steps"),
    ],
)
def test_a_limit_error_in_the_log_contains_no_value(message, shown):
    assert without_values(LimitError(message)).message == shown


def test_pongo2_limit_errors_with_a_value_are_shortened():
    """If the message of a new limit error contains more than constants, it also needs a shorter message."""
    found = []
    for path in sorted((ROOT / "templater/pongo2").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "LimitError":
                parts = node.args[0].values if isinstance(node.args[0], ast.JoinedStr) else []
                values = [ast.unparse(part.value) for part in parts if isinstance(part, ast.FormattedValue)]
                if not all(re.fullmatch(r"(\w+\.)*(limits\.\w+|_?MAX(_\w+)?)", value) for value in values):
                    found.append(ast.unparse(node.args[0]).lstrip("f\"'"))
    hidden = [text for text in found if text.startswith(tuple(_WITHOUT_VALUE))]
    # these count or name parts of a template's source, or the time limit of the command; ``error`` begins with "a value of"
    sources = {
        "the template builds {error}, more than the limit of {values.MAX}",
        "more than {limit} {what}",
        "rendering all templates together takes longer than {self.total:g} seconds",
        "the template is longer than {self.longest} characters",
        "template {name!r} has more than {MAX_FILE} bytes",
    }
    assert {text.rstrip("\"'") for text in found if text not in hidden} == sources
    assert len(hidden) == 2, hidden


def test_possibly_secret_errors_are_not_quoted_in_the_log():
    hidden = without_values(RenderError("secret"))
    assert (hidden.message, hidden.hint) == (
        "the template fails here",
        "templater preview shows the whole message",
    )


def test_a_container_state_folder_cannot_be_created_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TemplaterError) as refused:
        make_state_folder(f"{tmp_path}/file/a")
    assert refused.value.message == f"can't create '{tmp_path}/file/a': not a directory"
    assert refused.value.hint == "to use another directory, add --state DIR to the hook line"
    assert os.path.isdir(make_state_folder(f"{tmp_path}/a/b"))
    assert os.stat(f"{tmp_path}/a/b").st_mode & 0o777 == 0o700


def test_other_users_cannot_open_the_directory_of_all_states(tmp_path):
    """A user who can open the directory can hold its lock, and then no other container gets a state."""
    for name in ("b", "b", "c"):
        make_state_folder(f"{tmp_path}/templater/incus/{name}")
    modes = [
        os.stat(f"{tmp_path}/templater/{name}").st_mode & 0o777
        for name in ("", "incus", "incus/b", "incus/c")
    ]
    assert modes == [0o711, 0o711, 0o700, 0o700]


def test_an_error_about_wrong_owners_contains_the_right_owner(tmp_path, monkeypatch):
    for uid, gid, kind, owner, right, command in (
        (65536, 65536, "", 0, 0, ""), (65535, 65535, "", 0, 0, ""), (0, 0, "", 0, 0, ""),
        (65537, 65536, "uid", 65537, 65536, "chown"), (131072, 131073, "gid", 131073, 131072, "chgrp"),
    ):  # fmt: skip
        fake = os.stat_result((0o40755, 1, 1, 1, uid, gid, 0, 0, 0, 0))
        with monkeypatch.context() as patch:
            patch.setattr(nspawn.os, "stat", lambda path, fake=fake: fake)
            if not kind:
                nspawn._owner_of("/m")
                continue
            with pytest.raises(RefusedError) as refused:
                nspawn._owner_of("/m")
        assert (
            refused.value.message
            == f"'/m' belongs to {kind} {owner}, which is not the first id of a machine's range"
        )
        assert (
            refused.value.hint
            == f"the machine's root user has the {kind} {right}: set this {kind} with {command}"
        )


def test_a_configuration_path_with_too_many_links_is_refused(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(RefusedError) as refused:
        open_folder(f"{tmp_path}/loop")
    assert refused.value.message == f"'{tmp_path}/loop' leads through too many links"


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: needs root to make another user's directory")
@pytest.mark.parametrize(
    ("uid", "gid", "mode", "is_refused"),
    [
        (1234, 1234, 0o755, True), (0, 4242, 0o2775, True), (0, 0, 0o777, True), (0, 4242, 0o755, False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("inner", ["", "inner/"])
def test_root_owned_links_in_a_changeable_directory_are_refused(uid, gid, mode, is_refused, inner, tmp_path):
    """A user can rename root's link to a directory of the system, or rename the directory above the link."""
    (tmp_path / "system").mkdir()
    home = tmp_path / "home"
    (home / inner).mkdir(parents=True)
    (home / inner / "lxc").symlink_to(tmp_path / "system")
    os.chown(home, uid, gid)
    home.chmod(mode)
    place = f"{home}/{inner}lxc/new"
    snippet = install.Snippet(f"{place}/templater.json", "text")
    if not is_refused:
        assert install.write(snippet)
        assert (tmp_path / "system/new/templater.json").read_text() == "text"
        return
    with pytest.raises(RefusedError) as refused:
        install.write(snippet)
    assert refused.value.message == f"'lxc' on the way to '{place}' may be a link that another user controls"
    assert list((tmp_path / "system").iterdir()) == []


def test_a_configuration_is_replaced_only_if_it_is_a_regular_file(tmp_path):
    (tmp_path / "config").mkdir()
    with pytest.raises(RefusedError) as refused:
        install.write(install.Snippet(str(tmp_path / "config"), "text"))
    assert refused.value.message == f"'{tmp_path}/config' is a directory, not a regular file"


@pytest.mark.parametrize(
    ("program", "folder", "name", "folders", "found"),
    [
        ("", "web/snaps/snap0", "web", "web", ("web", True)),
        ("", "web", "snap0", "web/snaps/snap0 snap0", ("web/snaps/snap0", True)),
        ("lxc-snapshot", "new", "snap0", "web/snaps/snap0 db/snaps/snap0", ("web/snaps/snap0", False)),
        ("lxc-snapshot", "new", "snap0", "db/snaps/snap0 snap0", ("db/snaps/snap0", False)),
        ("lxc-snapshot", "new", "snap0", "snap0", None),
        ("lxc-copy", "new", "web", "web db/snaps/web", ("web", False)),
        ("lxc-copy", "new", "web", "db/snaps/web", None),
        ("", "new", "web", "web", ("web", False)),
        ("", "new", "web", "web db/snaps/web", None),
        ("", "new", "web", "db/snaps/web", ("db/snaps/web", False)),
    ],
)
def test_a_copy_is_refused_if_templater_cannot_determine_the_original_container(
    program, folder, name, folders, found, tmp_path, monkeypatch
):
    monkeypatch.setattr(lxc_copies, "copying_program", lambda: program)
    monkeypatch.setattr(lxc_copies, "named_container", lambda: "web")
    for each in (folder, *folders.split()):
        (tmp_path / each).mkdir(parents=True, exist_ok=True)
    if found is None:
        with pytest.raises(InputError):
            lxc_copies.find_source(f"{tmp_path}/{folder}", name)
    else:
        assert lxc_copies.find_source(f"{tmp_path}/{folder}", name) == (f"{tmp_path}/{found[0]}", found[1])


@pytest.mark.parametrize("program", ["", "lxc-copy"])
def test_the_hint_says_how_to_prepare_a_copy_manually(program, tmp_path, monkeypatch):
    monkeypatch.setattr(lxc_copies, "copying_program", lambda: program)
    monkeypatch.setattr(lxc_copies, "named_container", lambda: "")
    folder = f"{tmp_path}/copy"
    (tmp_path / "copy").mkdir()
    hint = f"copy metadata.yaml, templates and instance.yaml (those that exist) to '{folder}', then run: templater trigger '{folder}' copy"
    with pytest.raises(InputError) as refused:
        lxc_copies.find_source(folder, "a")
    assert refused.value.message == "'copy' was made from 'a', but the original container is missing"
    assert refused.value.hint == hint
    for name in ("b/snaps/a", "c/snaps/a"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(InputError) as refused:
        lxc_copies.find_source(folder, "a")
    several = "several containers have that name"
    missing = "the original container is missing"
    assert refused.value.message == f"'copy' was made from 'a', but {missing if program else several}"
    monkeypatch.setattr(lxc_copies, "copies_elsewhere", lambda: True)
    with Root(f"{tmp_path}/b") as a, Root(folder) as copy:
        assert not lxc_copies.is_original(a, copy, exact=True)
        error = lxc_copies.uncertain(a, copy)
    assert error.message == f"it is not certain that '{folder}' is a copy of '{tmp_path}/b'"
    assert error.hint == hint.replace("instance.yaml (", "instance.yaml of the original (")


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("", ""),
        ("nbd:/dev/nbd0", "unsupported rootfs type 'nbd': 'nbd:/dev/nbd0'"),
        ("/dev/sda1", "unsupported rootfs type: '/dev/sda1'"),
    ],
)
def test_an_lxc_mounted_root_filesystem_requires_a_mount_hook(path, problem, tmp_path):
    config = tmp_path / "config"
    config.write_text("lxc.hook.pre-start = from templater_hook import\nlxc.hook.mount = true\n")
    with pytest.raises(RefusedError) as refused:
        lxc.require_mount_hook(path, str(config))
    assert (refused.value.message, refused.value.hint) == (
        (
            f"{problem} is neither a directory nor an overlay of directories, so only LXC can mount it",
            "in the container's configuration, set lxc.hook.mount to the same command as lxc.hook.pre-start",
        )
        if path
        else (
            "the container has no root filesystem of its own, and hooks never write to the host",
            "remove the hook from the container's configuration, or set lxc.rootfs.path",
        )
    )
    config.write_text("lxc.hook.mount = from templater_hook import\nlxc.rootfs.path = zfs:a\n")
    lxc.require_mount_hook(path, str(config))
    config.write_text(
        "lxc.hook.mount = from templater_hook import\nlxc.rootfs.path = zfs:a\nlxc.hook.mount =\n"
    )
    with pytest.raises(RefusedError):  # LXC drops the earlier line
        lxc.require_mount_hook(path, str(config))


def test_a_users_id_map_contains_the_users_id():
    assert lxc_install_and_status._with(((0, 100000, 65536),), 1000) == ((0, 100000, 65536), (65536, 1000, 1))
    assert lxc_install_and_status._with(((0, 1000, 10), (10, 100000, 5)), 999) == (
        (0, 1000, 10),
        (10, 100000, 5),
        (15, 999, 1),
    )
    assert lxc_install_and_status._with(((0, 1000, 10),), 1010) == ((0, 1000, 10), (10, 1010, 1))
    for own in (1000, 1009):
        assert lxc_install_and_status._with(((0, 1000, 10),), own) == ((0, 1000, 10),)
