"""What hooks refuse: exact texts of errors about their options, their input and their names."""

import json

import pytest

from templater.hooks import install, lxc_config
from templater.hooks.json_input import parse_json
from templater.hooks.options import USAGE, Options, read_options
from templater.hooks.render_job import _without_description
from templater.hooks.run import MOST_TRIGGERS, require_triggers
from templater.hooks.runtimes import incus, lxc, nspawn, oci
from templater.model.errors import InputError, LimitError, RefusedError, TemplaterError, UsageError
from templater.model.metadata import TRIGGERS
from templater.model.source import Source

SECONDS = "give seconds: --time-limit 30"
ON_ERROR = "use --on-error fail or --on-error keep-going"


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
            "to install one, run: templater hook install oci",
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
        (lambda: oci._annotations({"annotations": [1]}), InputError, "the annotations of the state are not an object", ""),
        (lambda: oci._root_path({}), InputError, "config.json has no root.path", ""),
        (lambda: oci._root_path({"root": {"path": ""}}), InputError, "config.json has no root.path", ""),
        (lambda: oci._root_path({"root": {"path": "a\0"}}), InputError, "config.json has no root.path", ""),
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
            "to install one, run: templater hook install incus",
        ),
        (
            lambda: lxc.read_request(words(), {}), UsageError, "LXC did not call this hook",
            "to install one, run: templater hook install lxc",
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
        # lines for configurations
        (lambda: install.shell_line(["a\nb"]), UsageError, "LXC's configuration can't contain a line break", ""),
        (lambda: install.unit_line(["a\nb"]), UsageError, "a systemd unit can't contain a line break", ""),
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


def test_a_root_filesystem_behind_a_link_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("rootfs")
    with pytest.raises(RefusedError) as refused:
        oci.root_of({"root": {"path": "link"}}, str(tmp_path))
    assert refused.value.message == f"the root filesystem '{tmp_path}/link' is a symlink, not a directory"
    assert refused.value.hint == "give the target of the symlink in the hook line: --rootfs DIR"


def test_an_lxc_configuration_can_include_only_a_limited_number_of_files(tmp_path, monkeypatch):
    monkeypatch.setattr(lxc_config, "MAX_INCLUDES", 3)
    for number in range(3):
        (tmp_path / str(number)).write_text(f"a = {number}\nlxc.include = {tmp_path}/{number + 1}\n")
    (tmp_path / "2").write_text("a = 2\n")
    assert [value for key, value in lxc_config.settings(str(tmp_path / "0")) if key == "a"] == ["0", "1", "2"]
    (tmp_path / "2").write_text(f"lxc.include = {tmp_path}/3\n")
    (tmp_path / "3").write_text("a = 3\n")
    with pytest.raises(LimitError) as refused:
        list(lxc_config.settings(str(tmp_path / "0")))
    assert refused.value.message == f"'{tmp_path}/0' includes more than 3 files"


def test_the_error_about_an_instance_description_shows_its_position_but_quotes_no_text():
    span = Source("instance.yaml", "a: secret").span(3, 9)
    for found, said in ((InputError("secret", span), "instance.yaml:1:4: "), (LimitError("secret"), "")):
        hidden = _without_description(found)
        assert (type(hidden), hidden.message) == (
            type(found),
            f"{said}the description of the instance is invalid",
        )
        assert hidden.span is None
        assert hidden.hint == "templater preview -i FILE shows why"
