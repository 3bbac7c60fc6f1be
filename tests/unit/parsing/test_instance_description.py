"""Instance descriptions: every form that the daemons print, and the notes about them."""

import io
import json
import os
import time
import tracemalloc

import pytest

from templater.instances.description_file import read_instance as read_instance_file
from templater.instances.description_file import read_instances as read_instances_file
from templater.instances.description_file import read_source
from templater.model.errors import InputError, LimitError, RefusedError, TemplaterError, UsageError
from templater.model.instance import CONTAINER, VIRTUAL_MACHINE, Profile
from templater.model.instance_name import MAX_NAME
from templater.model.source import Source
from templater.parsing import instance_description, instance_list
from templater.parsing.instance_description import (
    LIMITS,
    overridden,
    read_instance,
    read_instances,
    read_profile,
)
from templater.parsing.instance_list import stream_instances
from templater.parsing.json_stream import JsonStream
from templater.parsing.yaml_nodes import Limits

CONFIG_SHOW = """\
architecture: x86_64
config:
  image.os: ubuntu
  image.serial: "20250812_07:42"
  user.user-data: |
    #cloud-config
    {}
  volatile.eth0.hwaddr: 10:66:6a:3b:9e:01
devices: {}
ephemeral: false
profiles:
- default
- web
stateful: false
description: ""
"""

EXPANDED = CONFIG_SHOW.replace(
    "devices: {}\n",
    """\
devices:
  eth0:
    name: eth0
    network: incusbr0
    type: nic
  root:
    path: /
    pool: default
    type: disk
""",
)

DEFAULT = """\
config:
  user.role: none
  user.site: here
description: Default Incus profile
devices:
  eth0: {name: eth0, network: incusbr0, type: nic}
  root: {path: /, pool: default, type: disk}
name: default
used_by:
- /1.0/instances/web1
project: default
"""

WEB = "config: {user.role: www}\ndevices: {}\nname: web\n"

API = {
    "architecture": "aarch64",
    "config": {"user.own": "1", "limits.cpu": "2"},
    "devices": {},
    "ephemeral": True,
    "profiles": ["default"],
    "stateful": False,
    "description": "",
    "created_at": "2026-01-02T03:04:05Z",
    "expanded_config": {"user.own": "1", "limits.cpu": "2", "user.site": "here"},
    "expanded_devices": {"root": {"path": "/", "pool": "default", "type": "disk"}},
    "name": "web1",
    "status": "Running",
    "status_code": 103,
    "last_used_at": "2026-01-02T03:04:05Z",
    "location": "none",
    "type": "virtual-machine",
    "project": "default",
}


def source(text: object, name: str = "web1.yaml") -> Source:
    return Source(name, text if isinstance(text, str) else json.dumps(text))


def read(text: object, pick: str = "", **said):
    return read_instance(source(text), pick, **said)


def profiles(*texts: str) -> list[Source]:
    return [Source(f"p{number}.yaml", text) for number, text in enumerate(texts)]


def error_of(text: object, pick: str = "", **said) -> TemplaterError:
    with pytest.raises(TemplaterError) as caught:
        read(text, pick, **said)
    return caught.value


def test_the_default_instance_is_a_container_named_c1():
    instance = read_instance(None)
    assert (instance.name, instance.type, instance.architecture) == ("c1", CONTAINER, "x86_64")
    assert instance.expanded_config() == instance.expanded_devices() == {}
    assert instance.notes == ()


# incus config show


def test_profiles_of_incus_config_show_are_separate_layers():
    instance = read(CONFIG_SHOW, profiles=profiles(WEB, DEFAULT))
    assert [profile.name for profile in instance.profiles] == ["default", "web"]
    assert instance.expanded_config() == {
        "user.role": "www",
        "user.site": "here",
        "image.os": "ubuntu",
        "image.serial": "20250812_07:42",
        "user.user-data": "#cloud-config\n{}\n",
        "volatile.eth0.hwaddr": "10:66:6a:3b:9e:01",
    }
    assert instance.devices == {}
    assert list(instance.expanded_devices()) == ["eth0", "root"]


def test_notes_give_the_assumed_name_and_type():
    instance = read(CONFIG_SHOW, profiles=profiles(DEFAULT, WEB))
    assert (instance.name, instance.type) == ("web1", CONTAINER)
    assert instance.notes == (
        "the type container is assumed: the description has no type (see --type)",
        "the name 'web1' is taken from the file name: the description has no name (see --name)",
    )


@pytest.mark.parametrize(
    ("file", "name", "source"),
    [
        ("web1", "web1", "taken from the file name"),
        ("/etc/web1.yaml", "web1", "taken from the file name"),
        ("C:\\lxd\\web1.a.yaml", "web1", "taken from the file name"),
        ("-", "c1", "assumed"),
        ("<stdin>", "c1", "assumed"),
        (".yaml", "c1", "assumed"),
        ("a/", "c1", "assumed"),
    ],
)
def test_an_unnamed_instance_gets_the_name_of_its_file(file, name, source):
    found = read_instance(Source(file, b"type: container\nconfig: {}\n"))
    assert found.name == name
    assert found.notes == (f"the name '{name}' is {source}: the description has no name (see --name)",)


def test_a_name_and_type_from_options_cause_no_note():
    instance = read(CONFIG_SHOW, profiles=profiles(DEFAULT, WEB), name="n", type="vm")
    assert (instance.name, instance.type, instance.notes) == ("n", VIRTUAL_MACHINE, ())


@pytest.mark.parametrize("file", ["-", "<stdin>"])
def test_a_note_gives_the_name_assumed_for_standard_input(file):
    instance = read_instance(Source(file, "config: {}\n"))
    assert instance.name == "c1"
    assert "the name 'c1' is assumed: the description has no name (see --name)" in instance.notes


@pytest.mark.parametrize("key", ["volatile.vsock_id", "volatile.vm.rtc_offset", "security.secureboot"])
def test_a_virtual_machine_is_detected_by_its_keys(key):
    instance = read(f"config: {{{key}: '1'}}\n")
    assert instance.type == VIRTUAL_MACHINE
    assert f"the type virtual-machine is assumed because of the key '{key}' (see --type)" in instance.notes


def test_a_note_gives_the_assumed_type_of_daemon_output():
    assert any("container is assumed" in note for note in read("name: a\nstateful: false\n").notes)
    assert read("name: a\nconfig: {volatile.vsock_id: '3'}\n").type == VIRTUAL_MACHINE
    assert read("name: a\n").notes == ()


def test_profiles_without_their_contents_are_an_error():
    error = error_of(CONFIG_SHOW)
    assert isinstance(error, InputError)
    assert error.message == "profiles: the contents of 'default', 'web' were not given"
    assert (error.span.line, error.span.column) == (12, 1)
    assert "`incus list NAME -f json`" in error.hint


def test_giving_only_one_of_two_listed_profiles_is_an_error():
    assert "contents of 'web' were not given" in error_of(CONFIG_SHOW, profiles=profiles(DEFAULT)).message


def test_a_description_with_all_devices_is_already_expanded():
    instance = read(EXPANDED)
    assert instance.profiles == ()
    assert list(instance.expanded_devices()) == ["eth0", "root"]
    assert any("already includes the profiles" in note for note in instance.notes)


def test_a_description_with_only_a_root_disk_is_incomplete():
    """The unset network interface must come from a profile."""
    text = CONFIG_SHOW.replace("devices: {}", "devices: {root: {path: /, pool: fast, type: disk}}")
    assert "were not given" in error_of(text).message


def test_an_option_decides_whether_profiles_count_as_already_expanded():
    assert read(CONFIG_SHOW, expanded=True).profiles == ()
    assert not any("expanded" in note for note in read(EXPANDED, expanded=True).notes)
    assert "were not given" in error_of(EXPANDED, expanded=False).message
    with pytest.raises(UsageError):
        read(EXPANDED, expanded=True, profiles=profiles(DEFAULT))


# the API: incus list -f json, incus query


def test_the_output_of_the_incus_list_command_describes_an_instance_completely():
    instance = read([API])
    assert (instance.name, instance.type) == ("web1", VIRTUAL_MACHINE)
    assert (instance.architecture, instance.ephemeral) == ("aarch64", True)
    assert instance.expanded_config()["user.site"] == "here"
    assert list(instance.expanded_devices()) == ["root"]
    assert instance.notes == ()


def test_an_instance_is_selected_by_name_from_a_list():
    both = [API, API | {"name": "db1", "type": "container"}]
    assert read(both, "db1").type == CONTAINER
    assert error_of(both).message == "the file describes 2 instances"
    assert error_of(both, "x").hint == "the list contains 'web1', 'db1'"
    assert error_of([]).message == "the list is empty"


def test_all_instances_of_a_list_are_read():
    both = [API, API | {"name": "db1"}]
    assert [instance.name for instance in read_instances(source(both))] == ["web1", "db1"]


@pytest.mark.parametrize(
    "envelope", [{"type": "sync", "status_code": 200}, {"status_code": 200, "error": ""}]
)
def test_output_of_incus_query_may_have_a_response_envelope(envelope):
    assert read(API).name == read(envelope | {"metadata": API}).name == "web1"
    assert read(envelope | {"metadata": [API]}).name == "web1"


def test_profiles_from_the_user_replace_the_expanded_values_of_the_description():
    instance = read(API, profiles=profiles("name: default\nconfig: {user.site: there, user.own: '2'}\n"))
    assert instance.expanded_config() == {"user.site": "there", "user.own": "1", "limits.cpu": "2"}


def test_the_output_of_incus_query_may_be_yaml():
    text = "name: web1\ntype: virtual-machine\nexpanded_config: {a: b}\nprofiles: [default]\nconfig: {}\n"
    assert read(text).expanded_config() == {"a": "b"}


# backup.yaml


@pytest.mark.parametrize(
    ("key", "others"),
    [
        ("container", {"pool": {}, "volume": {}, "snapshots": []}),
        ("instance", {"version": 2, "pools": [], "volumes": [], "snapshots": []}),
    ],
)
def test_the_description_in_backup_yaml_includes_the_profiles_of_the_instance(key, others):
    api = {name: API[name] for name in ("name", "type", "config", "devices", "profiles", "expanded_config")}
    profile = {"name": "default", "config": {"user.site": "here", "limits.cpu": "1"}, "devices": {}}
    instance = read({key: api, "profiles": [profile], **others})
    assert instance.name == "web1"
    assert [profile.name for profile in instance.profiles] == ["default"]
    assert instance.config == {"user.own": "1", "limits.cpu": "2"}
    assert instance.expanded_config()["user.site"] == "here"


def test_a_backup_yaml_without_profiles_counts_as_already_expanded():
    assert read({"container": API, "profiles": []}).expanded_config()["user.site"] == "here"


# templater's short form


def test_a_short_yaml_description_is_read_with_its_profiles():
    text = """\
name: web1
config:
  user.size: 5
  user.on: yes
  user.version: 22.10
  user.mode: 0644
  user.none:
devices:
  eth0: {type: nic, mtu: 1500}
profiles:
- name: base
  config: {user.size: 4, user.site: here}
"""
    instance = read(text)
    assert instance.notes == ()
    assert instance.expanded_config() == {
        "user.size": "5",
        "user.site": "here",
        "user.on": "yes",
        "user.version": "22.10",
        "user.mode": "0644",
        "user.none": "",
    }
    assert instance.expanded_devices() == {"eth0": {"type": "nic", "mtu": "1500"}}


def test_json_scalars_are_converted_to_strings_as_in_the_daemons():
    instance = read('{"name": "a", "config": {"a": true, "b": 1.50, "c": 5, "d": null, "e": 1e3}}')
    assert instance.expanded_config() == {"a": "true", "b": "1.50", "c": "5", "d": "", "e": "1e3"}


def test_the_configuration_key_security_privileged_overrides_the_top_level_key_privileged():
    assert read("privileged: true\n").privileged
    assert not read("privileged: true\nconfig: {security.privileged: 'false'}\n").privileged


def test_yaml_anchors_and_merge_keys_in_a_description_are_resolved():
    text = "name: a\nx: &x {a: '1', b: '1'}\nconfig: {b: '2', <<: *x}\ndevices: {e: &e {type: nic}, f: *e}\n"
    instance = read(text)
    assert instance.expanded_config() == {"a": "1", "b": "2"}
    assert instance.expanded_devices() == {"e": {"type": "nic"}, "f": {"type": "nic"}}


def test_a_note_suggests_the_right_spelling_of_a_misspelled_key():
    assert "unknown key 'confg' is ignored; did you mean 'config'?" in read("name: a\nconfg: {}\n").notes


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("config: [a]\n", "config: must be a mapping of keys, not a list", (1, 9)),
        (
            "config:\n  a:\n    b: c\n",
            "config.a: must be text, not a mapping",
            (3, 5),
        ),
        ("devices: {eth0: nic}\n", "devices.eth0: must be a mapping of keys, not text", (1, 17)),
        ("profiles: default\n", "profiles: must be a list of profiles, not text", (1, 11)),
        ("name: [a]\n", "name: must be text, not a list", (1, 7)),
        ("ephemeral: maybe\n", "ephemeral: invalid boolean 'maybe'", (1, 12)),
        ("type: pod\n", "type: unknown instance type 'pod'", (1, 7)),
        ("- a\n", "0: an instance must be a mapping, not text", (1, 3)),
        ("text\n", "an instance must be a mapping, not text", (1, 1)),
        ("", "an instance must be a mapping, not nothing", (1, 1)),
        ("a: [\n", "invalid YAML: did not find expected node content, while parsing a flow node", (2, 1)),
        ('{"a" "b"}', "not JSON: expecting ':' delimiter", (1, 6)),
        ("[[]]", "0: an instance must be a mapping, not a list", (1, 1)),
        ("? [a]\n: b\n", "a key must be text, not a sequence", (1, 3)),
        ("<<: a\n", "'<<' needs a mapping or a list of mappings", (1, 5)),
        ("x: &x [{a: b}]\n<<: *x\n", "'<<' needs a mapping or a list of mappings", (1, 4)),
        ("templates: {}\n", "this is an image's metadata.yaml, not an instance", (1, 1)),
        (DEFAULT, "this is a profile, not an instance", (1, 1)),
        ("a: \xff".encode("latin-1").decode("utf-8", "surrogateescape"), "invalid UTF-8: byte 0xff", (1, 4)),
    ],
)
def test_an_invalid_description_gives_one_error_with_its_position(text, message, place):
    error = error_of(text)
    assert error.message.startswith(message)
    assert (error.span.line, error.span.column) == place
    assert error.exit_code == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "version: '3'\nservices: {}\n",
            "this looks like a Compose file: none of the keys belongs to an instance:",
        ),
        ("apiVersion: v1\nkind: Pod\n", "this looks like a Kubernetes object: "),
        ("#cloud-config\npackages: [vim]\n", "this looks like cloud-init user-data: "),
        ("confg: {}\n", "none of the keys belongs to an instance: 'confg'; did you mean 'config'?"),
        (
            "{a: 1, b: 1, c: 1, d: 1, e: 1, f: 1}",
            "none of the keys belongs to an instance: 'a', 'b', 'c', 'd', 'e' and",
        ),
        ("architecture: x86_64\ncreation_date: 1\n", "this is an image's metadata.yaml, not an instance"),
    ],
)
def test_a_file_without_an_instance_description_is_refused_with_the_reason(text, message):
    error = error_of(text)
    assert error.message.startswith(message)
    assert error.exit_code == 2
    assert "this is an image" in message or "incus config show" in error.hint


def test_an_instance_description_may_have_no_keys_or_unknown_keys():
    assert read("{}").type == read("services: {}\nname: a\n").type == CONTAINER


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "a: " + "[" * 53_000])
def test_a_deeply_nested_instance_description_is_refused(text):
    assert isinstance(error_of(text), LimitError)


# profiles


def test_a_profile_without_a_name_uses_the_file_name():
    profile = read_profile(Source("dir/web.yaml", "config: {a: 1}\n"))
    assert (profile.name, profile.config) == ("web", {"a": "1"})


def test_an_unlisted_profile_is_applied_last_and_causes_a_note():
    extra = Profile("extra", {"user.role": "extra"})
    instance = read(CONFIG_SHOW, profiles=[extra, *profiles(DEFAULT, WEB)])
    assert [profile.name for profile in instance.profiles] == ["default", "web", "extra"]
    assert "profile 'extra' is applied last: the description does not list it" in instance.notes


def test_profiles_without_an_instance_description_apply_in_the_given_order():
    instance = read_instance(None, profiles=profiles(DEFAULT, WEB))
    assert instance.expanded_config() == {"user.role": "www", "user.site": "here"}


# overrides


def test_values_from_options_take_precedence_over_the_description_and_the_profiles():
    instance = read(
        CONFIG_SHOW,
        profiles=profiles(DEFAULT, WEB),
        config={"user.role": "own", "image.os": ""},
        devices={"root": {"size": "5GiB"}, "eth1": {"type": "nic"}},
    )
    assert instance.expanded_config()["user.role"] == "own"
    assert "image.os" not in instance.expanded_config()
    assert instance.devices["root"] == {"path": "/", "pool": "default", "type": "disk", "size": "5GiB"}
    assert list(instance.expanded_devices()) == ["eth0", "root", "eth1"]


def test_unsetting_a_key_gives_it_the_value_from_the_profile():
    profile = Profile("p", {"a": "profile"})
    instance = overridden(
        read_instance(None, profiles=[profile], config={"a": "own"}), config={"a": ""}, devices={}
    )
    assert instance.expanded_config() == {"a": "profile"}


def test_a_device_without_a_type_is_refused():
    with pytest.raises(UsageError) as caught:
        read_instance(None, devices={"eth0": {"mtu": "9000"}})
    assert caught.value.message == "device 'eth0' has no type, and no profile defines it"


def test_values_from_options_do_not_modify_the_original_instance():
    before = read_instance(None, config={"a": "1"})
    overridden(before, name="n", config={"a": "2"}, devices={"d": {"type": "none"}})
    assert (before.name, dict(before.config), dict(before.devices)) == ("c1", {"a": "1"}, {})


# files


def test_a_name_after_the_file_path_selects_an_instance(tmp_path):
    file = tmp_path / "fleet#1.json"
    file.write_text(json.dumps([API, API | {"name": "db1"}]))
    (tmp_path / "web.yaml").write_text(WEB)
    assert read_instance_file(f"{file}#db1").name == "db1"
    default = tmp_path / "default.yaml"
    default.write_text(DEFAULT)
    assert read_instance_file(f"{file}#web1", profiles=[str(default)]).profiles[0].name == "default"
    with pytest.raises(InputError) as caught:
        read_instance_file(str(tmp_path / "none.yaml"))
    assert caught.value.message == f"can't read '{tmp_path}/none.yaml': no such file or directory"


def test_a_description_file_name_may_begin_with_a_number_sign(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "#web.json").write_text(json.dumps(API))
    assert read_instance_file("#web.json").name == "web1"


@pytest.mark.parametrize(
    ("begin", "kind"), [(b"BZh91AY&SY" + b"\xff" * 99, "bzip2"), (b"a".ljust(257, b"\0") + b"ustar", "tar")]
)
def test_an_archive_without_null_bytes_is_refused_as_description(begin, kind, tmp_path):
    (tmp_path / "a").write_bytes(begin)
    with pytest.raises(InputError, match=f"is a {kind} file, so it does not describe an instance"):
        read_instance_file(str(tmp_path / "a"))


def test_an_instance_description_is_read_from_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps([API]).encode())))
    assert read_instance_file("-").name == "web1"


@pytest.mark.parametrize("name", ["", "a/b", "..", "a\nb", "x" * 256, "web 1", "-web"])
def test_an_invalid_instance_name_is_refused(name):
    with pytest.raises(RefusedError, match="invalid instance name"):
        read_instance_file(name=name)


@pytest.mark.parametrize("name", ["web_1", "web.1", "web-", "12", "w" * 64])
def test_a_note_says_which_hosts_refuse_the_name_of_the_instance(name):  # observed on Incus 6.0.4
    assert any("LXD and Incus" in note for note in read_instance_file(name=name).notes)
    assert not read_instance_file(name="Web-1").notes


def test_a_profile_is_applied_to_an_instance_from_a_list():
    listed = {
        **API,
        "profiles": ["default", "web"],
        "expanded_config": {"user.site": "here", "user.own": "1"},
    }
    instance = read(
        [listed], profiles=profiles("name: web\nconfig: {user.site: new, user.own: p, user.more: x}\n")
    )
    assert instance.expanded_config() == {
        "user.site": "new", "user.own": "1", "limits.cpu": "2", "user.more": "x",
    }  # fmt: skip
    assert (
        "the description has only the merged keys of its profiles, so profile 'web' overrides every other"
        " profile; if a key was removed from 'web', the key keeps its merged value"
    ) in instance.notes


# lists of instances


def fleet(count: int) -> bytes:
    return json.dumps([API | {"name": f"c{number}"} for number in range(count)], indent=1).encode()


def test_a_list_of_instances_is_read_instance_by_instance():
    data = fleet(500)
    names = [instance.name for instance in stream_instances(io.BytesIO(data).read, "fleet.json")]
    assert names == [f"c{number}" for number in range(500)]


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_instances_can_be_read_in_pieces_of_any_size(step):
    data = '[{"name": "é😀\\u0041"} , {"name":"b"}]\n'.encode()
    stream = io.BytesIO(data)
    names = [instance.name for instance in stream_instances(lambda size: stream.read(step), "x")]
    assert names == ["é😀A", "b"]


@pytest.mark.slow
def test_the_first_instance_is_returned_before_reading_the_last():
    stream = io.BytesIO(fleet(20_000))
    assert next(stream_instances(stream.read, "x")).name == "c0"
    assert stream.tell() < 1 << 20


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "x is empty"),
        (b'{"services": {}}', "this looks like a Compose file"),
        (b'[{"name": "a"}', "not JSON: ',' expected after instance 0 of x"),
        (b'[{"name": "a"} {"name": "b"}]', "not JSON: ',' expected after instance 0 of x"),
        (b'[{"name": "a"},]', "not JSON: instance 1 of x: "),
        (b'[{"name": "a"', "not JSON: instance 0 of x: "),
        (b'[{"name": "a"}] x', "x has more text after its list of instances"),
        (b'[{"type": "container"}]', "instance 0 of x has no name"),
        (b"[5]", "an instance must be a mapping, not text"),
    ],
)
def test_a_damaged_list_of_instances_gives_one_error(data, message):
    with pytest.raises(InputError) as caught:
        list(stream_instances(io.BytesIO(data).read, "x"))
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    "data",
    [
        b"- name: c1\n- name: c2\n",
        b'{"type": "sync", "status_code": 200, "metadata": [{"name": "c1"}, {"name": "c2"}]}',
        b'\xef\xbb\xbf [{"name": "c1"}, {"name": "c2"}]',
    ],
)
def test_a_list_of_instances_is_read_in_every_supported_format(data, tmp_path):
    assert [instance.name for instance in stream_instances(io.BytesIO(data).read, "x")] == ["c1", "c2"]
    (tmp_path / "all").write_bytes(data)
    assert [instance.name for instance in read_instances_file(tmp_path / "all")] == ["c1", "c2"]


def test_standard_input_stays_open_after_reading_a_list(tmp_path):
    (tmp_path / "all").write_text("- name: c1\n- name: c2\n")
    saved = os.dup(0)
    file = os.open(tmp_path / "all", os.O_RDONLY)
    try:
        os.dup2(file, 0)
        assert [instance.name for instance in read_instances_file("-")] == ["c1", "c2"]
        assert os.path.sameopenfile(0, file)
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(file)


def test_a_single_description_is_read_as_a_list_of_one_instance():
    data = "name: web1\nconfig: {user.é: '1'}\n".encode()
    for step in (1, 3, 4096):
        stream = io.BytesIO(data)
        (instance,) = stream_instances(lambda size, s=stream, n=step: s.read(n), "x")
        assert instance.config == {"user.é": "1"}


@pytest.mark.parametrize("name", ["a/b", "..", "a\nb", "x" * 256])
def test_an_invalid_name_in_a_list_is_refused(name):
    data = json.dumps([{"name": "ok"}, {"name": name}]).encode()
    with pytest.raises(RefusedError, match="invalid instance name"):
        list(stream_instances(io.BytesIO(data).read, "x"))


@pytest.mark.slow
def test_reading_a_list_of_instances_buffers_only_one_instance():
    endless = iter([b'[{"name": "', *([b"x" * (1 << 20)] * 40)])
    with pytest.raises(LimitError) as caught:
        list(stream_instances(lambda size: next(endless), "x"))
    assert caught.value.message == "instance 0 of x is larger than 16 MiB"


def test_a_too_deeply_nested_list_of_instances_is_refused():
    with pytest.raises(LimitError):
        list(stream_instances(io.BytesIO(b"[" * 500_000).read, "x"))


@pytest.mark.slow
def test_ten_thousand_instances_are_read_in_constant_memory(tmp_path):
    file = tmp_path / "fleet.json"
    file.write_bytes(fleet(10_000))
    started = time.perf_counter()
    tracemalloc.start()
    count = sum(1 for _ in read_instances_file(str(file)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 10_000
    assert peak < 8 << 20
    assert time.perf_counter() - started < 30


@pytest.mark.parametrize(
    "given",
    [
        {"config": {"user.user-data": 1}},
        {"config": {2: "a"}},
        {"devices": {"eth0": {"type": "nic", "mtu": 1500}}},
    ],
)
def test_config_and_device_options_must_be_strings(given):
    with pytest.raises(UsageError, match="not a string"):
        read_instance(None, **given)


def description(**keys):
    return Source("desc", json.dumps({"name": "w", "config": {}, **keys}))


def test_a_message_about_missing_profiles_mentions_at_most_twenty_profiles():
    with pytest.raises(InputError) as caught:
        read_instance(description(profiles=[f"p{number}" for number in range(30)]))
    assert caught.value.message.endswith("'p18', 'p19' and 10 more were not given")


def test_too_many_profiles_give_a_limit_error():
    with pytest.raises(LimitError, match="lists more than 10000 profiles"):
        read_instance(description(profiles=["p"] * 10_001))


def test_notes_about_unknown_keys_are_limited_in_number_and_length():
    notes = read_instance(description(**{f"{number}-" + "x" * 300: 1 for number in range(30)})).notes
    told = [note for note in notes if "unknown" in note]
    assert len(told) == 21
    assert told[-1] == "10 more unknown keys are ignored"
    assert all(len(note) < 300 for note in told)


def test_an_error_about_an_unknown_instance_name_is_short():
    with pytest.raises(InputError) as caught:
        read_instance(Source("desc", json.dumps([{"name": "w" * 1000, "config": {}}] * 30)), "y" * 1000)
    assert len(caught.value.message) < 300
    assert caught.value.hint.endswith(" and 10 more")
    assert len(caught.value.hint) < 6000


@pytest.mark.slow
@pytest.mark.parametrize("is_stdin", [False, True])
def test_a_description_of_more_than_32_mib_gives_a_limit_error(is_stdin, tmp_path, monkeypatch):
    path = tmp_path / "all.json"

    def read(content):
        path.write_bytes(content)
        if not is_stdin:
            return read_instance_file(str(path))
        with open(path) as stdin:
            monkeypatch.setattr("sys.stdin", stdin)
            return read_instance_file("-")

    largest = b'{"config": {"user.a": "b"}}'.ljust(32 << 20)
    assert read(largest).config == {"user.a": "b"}
    with pytest.raises(LimitError, match=f"'{'-' if is_stdin else path}' is larger than 32 MiB"):
        read(largest + b" ")


def test_json_with_a_million_lists_and_objects_gives_a_limit_error():
    text = f'{{"config": {{"a": [{",".join(["[]"] * LIMITS.nodes)}]}}}}'
    with pytest.raises(LimitError, match="has more than 1000000 values"):
        read_instance(Source("a.json", text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"a\ud800", "a\ufffd"), (r"a\uD800", "a\ufffd"), (r"\udfffb", "\ufffdb"), (r"\uDFFFb", "\ufffdb"),
        (r"\ud83d\ude00", "\U0001f600"), (r"\uD83D\uDE00", "\U0001f600"), (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
    ],
)  # fmt: skip
def test_lone_surrogates_in_json_are_replaced_as_in_go(text, value):
    instance = read_instance(source(f'{{"name": "c1", "config": {{"user.a": "{text}"}}}}'))
    assert instance.config["user.a"] == value


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": [1], "b": 2}', True),
        ('{ "b" : 2}', True),
        ('{"a": 1}', False),
        ("{}", False),
        ('{"a" 1, "b": 2}', False),
        ("{a: 1}", False),
        ('{"a": 1 "b": 2}', False),
    ],
)
def test_a_json_member_after_damaged_text_is_not_found(text, found):
    stream = JsonStream(io.BytesIO(text.encode()).read, "x")
    assert stream.member("b") is found
    assert not found or stream.value(0) == "2"


def test_only_a_json_object_has_members():
    with pytest.raises(InputError, match=r"^x is not a JSON object$"):
        JsonStream(io.BytesIO(b"[1]").read, "x").member("b")


def test_a_list_element_above_the_size_limit_is_refused(monkeypatch):
    monkeypatch.setattr("templater.parsing.json_stream.LARGEST", 1 << 20)
    with pytest.raises(LimitError, match=r"^instance 0 of x is larger than 1 MiB$"):
        list(stream_instances(io.BytesIO(b'["' + b"a" * (3 << 20)).read, "x"))


def test_a_list_element_with_too_many_values_is_refused(monkeypatch):
    monkeypatch.setattr("templater.parsing.json_stream.MOST_VALUES", 1000)
    with pytest.raises(LimitError, match=r"^instance 0 of x has more than 1000 values$"):
        list(stream_instances(io.BytesIO(b"[[" + b"1," * (1 << 19)).read, "x"))


def test_a_streamed_description_above_the_size_limit_is_refused(monkeypatch):
    monkeypatch.setattr("templater.parsing.instance_list.LIMITS", Limits(bytes=10))
    with pytest.raises(LimitError, match=r"^x is larger than 10 bytes$"):
        list(stream_instances(io.BytesIO(b"name: c1\nconfig: {}\n").read, "x"))


PRINTED = {
    "name": "c1", "type": "container", "architecture": "x86_64", "ephemeral": False, "profiles": ["default"],
    "config": {"user.a": "1"}, "devices": {}, "expanded_config": {"user.a": "1", "user.b": "2"},
    "expanded_devices": {"root": {"type": "disk", "path": "/"}},
}  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [
        {"privileged": True}, {"other": 1}, {"profiles": []}, {"profiles": [1]}, {"type": "other"}, {"ephemeral": 1},
        {"config": {"a": 1}}, {"devices": {"a": 1}}, {"name": 5}, {"architecture": None},
    ],
)  # fmt: skip
def test_only_the_exact_daemon_format_is_read_without_checks(
    changed,
):
    assert instance_list._printed_by_daemon(PRINTED).expanded_config() == {"user.a": "1", "user.b": "2"}
    assert instance_list._printed_by_daemon(PRINTED | changed) is None


def test_a_list_entry_without_expanded_keys_is_read_with_all_checks():
    value = {key: found for key, found in PRINTED.items() if not key.startswith("expanded_")}
    assert instance_list._printed_by_daemon(value) is None
    assert instance_list._printed_by_daemon([]) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, True) for text in ("true", "yes", "on", "1", "y", "TRUE", "On")),
        *((text, False) for text in ("false", "no", "off", "0", "n", '""', "NO", "~")),
    ],
)
def test_a_boolean_value_can_be_written_in_several_ways(text, value):
    source = Source("i.yaml", f"name: c1\nephemeral: {text}\nprivileged: {text}\n".encode())
    found = read_instance(source)
    assert found.ephemeral is value
    assert found.expanded_config().get("security.privileged") == ("true" if value else None)


def test_a_source_is_called_stdin_or_its_file_path(monkeypatch, tmp_path):
    (tmp_path / "i.yaml").write_bytes(b"name: c1\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"name: c1\n")))
    assert (read_source("-").name, read_source(f"{tmp_path}/i.yaml").name) == (
        "<stdin>",
        f"{tmp_path}/i.yaml",
    )


@pytest.mark.parametrize(
    ("size", "shown"), [(MAX_NAME, "n" * MAX_NAME), (MAX_NAME + 1, "n" * MAX_NAME + "…")]
)
def test_an_error_shortens_a_too_long_instance_name(size, shown):
    with pytest.raises(InputError) as caught:
        read_instance(Source("i.yaml", "- {name: a}\n- {name: b}\n"), pick="n" * size)
    assert caught.value.message == f"unknown instance '{shown}'"
    assert caught.value.hint == "the list contains 'a', 'b'"


def test_any_name_selects_a_single_unnamed_instance():
    assert read_instance(Source("i.yaml", "config: {user.a: b}\n"), pick="c1").config == {"user.a": "b"}
    with pytest.raises(InputError, match=r"^i\.yaml:1:1: unknown instance 'c1'$"):
        read_instance(Source("i.yaml", "- {config: {}}\n- {config: {}}\n"), pick="c1")


@pytest.mark.parametrize("text", ["name: c1\n#", '{"name": "c1"}'])
def test_the_text_of_a_description_has_a_size_limit(text, monkeypatch):
    monkeypatch.setattr("templater.parsing.instance_description.LIMITS", Limits(bytes=20))
    assert read_instance(Source("i", text.ljust(20))).name == "c1"
    with pytest.raises(LimitError, match=r"i is larger than 20 bytes$"):
        read_instance(Source("i", text.ljust(21)))


@pytest.mark.parametrize("size", [20, 21])
def test_a_description_file_has_a_size_limit_in_bytes(size, tmp_path, monkeypatch):
    monkeypatch.setattr(instance_description, "LIMITS", Limits(bytes=20))
    (tmp_path / "f").write_text("name: a #" + "x" * (size - 9))
    if size == 20:
        assert read_instance_file(str(tmp_path / "f")).name == "a"
        return
    with pytest.raises(LimitError, match=r"f' is larger than 20 bytes$"):
        read_instance_file(str(tmp_path / "f"))
