"""Decisions of commands about choices, questions, names and omissions, tested without whole commands."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import click
import pytest
import yaml

from templater.checks.run_checks import all_checks
from templater.cli import (
    against_options,
    explanation_output,
    html_report,
    open_and_plan,
    options,
    plan_warnings,
    save_image_edits,
    styled,
    terminal,
)
from templater.cli.against_options import OtherSide
from templater.cli.commands import apply, check, compile, explain, publish, unpack
from templater.cli.commands.image import info, template
from templater.cli.commands.streams import list as streams_list
from templater.cli.commands.streams import reindex
from templater.cli.commands.streams.prune import _seconds
from templater.cli.run_command_line import main
from templater.cli.watch_page import views
from templater.distribution import add_to_tree, remove_and_prune, republish, store
from templater.hooks import precompile, sandboxed_rendering
from templater.image import metadata_edit, publish_container, replace_files
from templater.image.unpack import Unpacked
from templater.model.errors import InputError, RefusedError, UsageError
from templater.model.file_names import WRITTEN
from templater.model.instance import VIRTUAL_MACHINE, Instance, Profile
from templater.model.metadata import Rule
from templater.model.plan import CREATE, FAILED, SKIP
from templater.model.source import Source
from templater.reporting.plan_text import Heading
from templater.rootfs import directory_rootfs
from templater.web.report_page import START


def a_plan(rules, triggers=("create",), changes=("one",), kind="container"):
    instance = Instance(type=kind)
    return SimpleNamespace(
        metadata=SimpleNamespace(rules=rules), triggers=triggers, changes=changes, instance=instance
    )


def once(*names, when="create"):
    return [Rule(f"/etc/{name}", "t", (when,), create_only=True) for name in names]


@pytest.mark.parametrize(
    ("rules", "kind", "option", "text"),
    [
        (once("a\n"), "container", "--rootfs", "/etc/a\\n (--rootfs shows which files exist)"),
        (once(*"abcde"), "container", "--rootfs image", "/etc/a, /etc/b, /etc/c, /etc/d, /etc/e (--rootfs image"),
        (once(*"abcdefg"), "container", "--rootfs", "/etc/a, /etc/b, /etc/c, /etc/d, /etc/e and 2 more (--rootfs"),
        (once("a"), "container", "", None),
        (once("a"), VIRTUAL_MACHINE, "--rootfs", None),
        (once("a", when="copy"), "container", "--rootfs", None),
        ([Rule("/a", "t", ("create",))], "container", "--rootfs", None),
    ],
)  # fmt: skip
def test_warning_mentions_create_only_files_if_rootfs_is_unknown(rules, kind, option, text):
    found = list(plan_warnings.plan_warnings([a_plan(rules, kind=kind)], option))
    start = f"create_only rules skip these files if they exist: {text}"
    assert [each[: len(start)] for each in found] == ([] if text is None else [start])


@pytest.mark.parametrize(
    ("rules", "changes", "text"),
    [
        ([], (), None),
        ([Rule("/a", "t", ("start",))], ("one",), None),
        ([Rule("/a", "t", ("rename", "boot")), Rule("/b", "t", ("copy",))], (), "copy, rename"),
        ([Rule("/a", "t", ("boot",))], (), "none"),
    ],
)
def test_warning_mentions_triggers_of_all_rules_if_none_runs(rules, changes, text):
    plans = [a_plan(rules, ("create", "start"), ()), a_plan(rules, ("start",), changes)]
    expected = f"no rule runs on create,start; the rules run on: {text} (see -t)"
    assert list(plan_warnings.plan_warnings(plans, "")) == ([] if text is None else [expected])


def test_a_warning_says_that_an_archive_was_only_partly_read():
    found = list(plan_warnings.image_warnings(SimpleNamespace(complete=False)))
    assert found == [
        "the archive was read up to its last template; `templater audit` reads the whole archive"
    ]
    assert list(plan_warnings.image_warnings(SimpleNamespace(complete=True))) == []


@pytest.mark.parametrize(
    ("src", "rootfs", "option"),
    [
        ("image.tar", None, "--rootfs image"),
        ("image.tar", "none", "--rootfs"),
        ("folder", None, "--rootfs"),
        ("incus:web1", None, "--rootfs"),
    ],
)
def test_warning_suggests_the_option_rootfs_image_only_for_archives(
    src, rootfs, option, tmp_path, monkeypatch
):
    """A warning about a running instance suggests no root filesystem, because its files can be unreadable."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "image.tar").touch()
    (tmp_path / "folder").mkdir()
    source, request = SimpleNamespace(definition=None), SimpleNamespace(src=src, rootfs=rootfs)
    assert plan_warnings.rootfs_option(source, request) == option


def test_no_warning_about_rules_is_printed_without_a_plan():
    assert list(plan_warnings.plan_warnings([], "--rootfs")) == []


def an_image_of(**texts):
    files = {
        name: SimpleNamespace(
            data=text and text.encode(), source=lambda place, text=text: Source(place, text)
        )
        for name, text in texts.items()
    }
    return SimpleNamespace(read_templates=lambda names: {n: f for n, f in files.items() if n in names})


def test_the_search_for_unknown_names_ends_after_two_seconds(monkeypatch, capsys):
    moments = iter([10.0, 12.0, 12.1])
    monkeypatch.setattr(plan_warnings, "process_time", lambda: next(moments))
    rules = [Rule(f"/{name}", name, ("start",)) for name in ("a", "b", "c")]
    image = an_image_of(a="{{ zz1 }}", b="{{ zz2 }}", c="{{ x }}")
    plan_warnings.warn_of_unknown_names(image, rules, ("v6",))
    assert capsys.readouterr().err == (
        "warning: templates/a:1:4: no host provides 'zz1'\n"
        "warning: checking all templates for unknown names takes too long: some templates were not checked\n"
    )


def test_equal_templates_are_searched_once_for_unknown_names(capsys):
    rules = [
        Rule("/a", "a", ("start",)), Rule("/b", "b", ("start",)), Rule("/c", "c", ("start",)),
        Rule("/d", "missing", ("start",)), Rule("/e", "", ("start",)),
        Rule("/f", "b", ("start",), properties={"x": "1"}),
    ]  # fmt: skip
    image = an_image_of(a="{{ properties.x }}", b="{{ properties.x }}", c=None)
    plan_warnings.warn_of_unknown_names(image, rules, ("v6", "v4"))
    assert capsys.readouterr().err == "warning: templates/a:1:15: no host provides 'properties.x'\n"


class Side:
    """A stand-in for one side of a comparison. Its plans have the given notes, or fail with ``error``."""

    def __init__(self, *notes, error=None):
        self.runs, self.notes, self.error, self.asked = (("create",), ("start",)), notes, error, []

    def plan(self, triggers, fixed):
        self.asked.append((triggers, fixed))
        if self.error is not None:
            raise self.error
        return SimpleNamespace(notes=[*self.notes, f"on {triggers[0]}"], metadata="metadata")


@pytest.fixture
def compared(monkeypatch):
    """Return a function that compares two sides."""

    def plans(first, second, other=OtherSide(set=("user.a=b",))):
        monkeypatch.setattr(OtherSide, "opened", lambda self, found, fixed: (second, "other options"))
        monkeypatch.setattr(OtherSide, "unread_keys", lambda self, *words: [f"unread {words[1:]}"])
        return list(other.plans(first, SimpleNamespace(dialect="v6")))

    return plans


def test_note_about_both_sides_is_printed_only_once(compared, capsys):
    first, second = Side("a", "b"), Side("b", "c")
    found = compared(first, second)
    assert [(before.notes[-1], after.notes[-1]) for before, after in found] == [
        ("on create",) * 2,
        ("on start",) * 2,
    ]
    assert [given for _, given in second.asked] == ["other options"] * 2
    lines = ["a", "b", "on create", "c", "on start", "unread ('metadata', 'v6')"]
    assert capsys.readouterr().err == "".join(f"note: {line}\n" for line in lines)


def test_error_on_second_side_mentions_options_of_that_side(
    compared,
):
    with pytest.raises(InputError) as caught:
        compared(Side(), Side(error=InputError("broken", notes=("first",))))
    assert caught.value.explain() == "broken\nfirst\nthis error occurs only with --set"
    with pytest.raises(InputError) as caught:
        compared(Side(error=InputError("broken")), Side())
    assert caught.value.explain() == "broken"


def test_set_option_suggests_similar_key_for_an_unread_key():
    image = an_image_of(a="{{ config_get('user.role', '') }}", b="{{ config.user }}", c=None)
    rules = [Rule("/a", "a", ("start",)), Rule("/c", "c", ("start",))]
    found = SimpleNamespace(source=SimpleNamespace(image=image))
    metadata = SimpleNamespace(rules=rules)

    def notes(*keys):
        return list(OtherSide(set=tuple(f"{key}=x" for key in keys)).unread_keys(found, metadata, "v6"))

    assert notes() == notes("user.role") == []
    assert notes("user.rloe", "user.role", "zzz\n") == [
        "no template reads 'user.rloe': did you mean 'user.role'?", "no template reads 'zzz\\n'",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("own", "profiles", "note"),
    [
        ({"user.a": "1"}, [], ""),
        ({}, [], "neither 'c1' nor a profile sets 'user.a'"),
        ({}, ["p"], "--unset user.a has no effect: 'user.a' comes from the profile 'p', not from 'c1'"),
        ({}, ["p", "q"], "--unset user.a has no effect: 'user.a' comes from the profile 'q', not from 'c1'"),
    ],
)
def test_note_mentions_the_profile_if_unset_option_is_ineffective(own, profiles, note, capsys):
    given = Instance(config=own, profiles=tuple(Profile(name, {"user.a": "2"}) for name in profiles))
    found = OtherSide(unset=("user.a",), set=("user.b=1",)).configured(given)
    assert found.config == {"user.b": "1"}
    assert capsys.readouterr().err == (f"note: {note}\n" if note else "")


def test_the_given_options_for_the_second_side_are_listed():
    given = OtherSide(("a=b",), ("c",), "image", "instance", "incus")
    assert given.given == list(against_options.NAMES)
    assert OtherSide(unset=("c",)).given == ["--unset"] and OtherSide().given == []


@pytest.mark.parametrize(
    ("given", "rootfs", "instances", "message"),
    [
        ({"set": ("a=b",), "unset": ("c",)}, None, None, ""),
        ({"unset": ("c",), "host": "lxd"}, None, None, "--unset and --against-host can't be combined: give one of them"),
        ({"image": "i"}, "r", None, "ROOTFS can't be combined with --against-image, which compares rendered files"),
        ({"instance": "i"}, None, "x", "--instances can't be combined with --against-instance"),
        ({"set": ("b=1", "a=1"), "unset": ("b", "a")}, None, None, "--set and --unset name the same key 'a'"),
        ({"host": "lxd"}, None, None, ""),
    ],
)  # fmt: skip
def test_contradicting_options_of_a_comparison_are_refused(given, rootfs, instances, message):
    request = SimpleNamespace(rootfs=rootfs, host=SimpleNamespace(name="incus"))
    if not message:
        OtherSide(**given).check(request, instances)
        return
    with pytest.raises(click.UsageError) as caught:
        OtherSide(**given).check(request, instances)
    assert caught.value.message == message


@pytest.mark.parametrize("words", [("image", "edit"), ("image", "template", "edit"), ("store", "edit")])
def test_the_file_extension_in_an_editor_depends_on_the_text_type(words, tmp_path, monkeypatch, capsys):
    asked = []
    stored = SimpleNamespace(auto_update=False, public=True, expires=0, properties={"os": "x"})
    store = SimpleNamespace(find=lambda name: stored)
    monkeypatch.setattr("templater.distribution.store.Store", lambda: store)
    monkeypatch.setattr(click, "edit", lambda text, extension: asked.append((text, extension)))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/t").write_text("text\n")
    (tmp_path / "metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n")
    code = main([*words, str(tmp_path), *(["t"] if "template" in words else [])])
    said = capsys.readouterr().err
    if "template" in words:
        assert (code, asked) == (2, [(b"text\n", ".tpl")])
        assert said == "templater: the editor saved nothing: the image is unchanged\n"
    elif "store" in words:
        text = "auto_update: false\npublic: true\nexpires: 0\nproperties:\n  os: x\n"
        assert (code, asked, said) == (0, [(text.encode(), ".yaml")], "nothing changed\n")
    else:
        text = (tmp_path / "metadata.yaml").read_bytes()
        assert (code, asked, said) == (0, [(text, ".yaml")], "nothing changed\n")


def test_publish_command_gives_example_for_property_without_value(tmp_path, capsys, container):
    os.mkdir(f"{container}/rootfs")
    assert main(["publish", container, "-o", str(tmp_path / "x"), "os"]) == 2
    assert "for example: templater publish web1 -o web1.tar.gz os=Debian" in capsys.readouterr().err


def test_streams_remove_command_prints_removed_versions(monkeypatch, capsys, tmp_path):
    for waiting, more in (
        (0, ""),
        (1, "kept for clients that read the old catalog: 1 file; see `templater streams prune`\n"),
    ):
        removed = SimpleNamespace(versions=[("p", "v"), ("q", "w")], waiting=waiting)
        monkeypatch.setattr(remove_and_prune, "remove", lambda tree, images, removed=removed: removed)
        assert main(["streams", "remove", str(tmp_path), "x"]) == 0
        assert capsys.readouterr().err == f"removed p v\nremoved q w\n{more}"


def test_the_store_prune_command_prints_each_removed_image_and_its_source(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    images = [SimpleNamespace(fingerprint="ab" * 32, source="images:debian/13")]
    monkeypatch.setattr(store.Store, "prune", lambda self: images)
    assert main(["store", "prune"]) == 0
    assert capsys.readouterr().err == f"removed {'ab' * 6} (images:debian/13)\n"


@pytest.mark.parametrize(
    ("kind", "path"), [((), "/container"), (("--vm",), "v.tpl.out"), (("--type", "container"), "/container")]
)
def test_a_definition_is_built_for_the_type_of_the_instance(kind, path, tmp_path, capsys):
    (tmp_path / "d.yaml").write_text(
        "image: {distribution: tiny}\nfiles:\n"
        "- {generator: template, path: /container, name: c, types: [container], content: c}\n"
        "- {generator: template, path: /vm, name: v, types: [vm], content: v}\n"
    )
    assert main(["preview", str(tmp_path / "d.yaml"), "--json", *kind]) == 0
    assert {change["path"] for change in json.loads(capsys.readouterr().out)["changes"]} == {path}
    (tmp_path / "d.yaml").write_text("image: {distribution: tiny}\n")
    assert main(["preview", str(tmp_path / "d.yaml"), "--all-variants", *kind]) == 0
    assert capsys.readouterr().out == f"### x86_64 default {'vm' if '--vm' in kind else 'container'}\n"


@dataclasses.dataclass
class Stored:
    properties: dict


def test_a_property_of_a_stored_image_is_set_or_removed(monkeypatch):
    changed = []
    fake = SimpleNamespace(
        change=lambda name, change: changed.append((name, change(Stored({"a": "1", "b": "2"}))))
    )
    monkeypatch.setattr(store, "Store", lambda: fake)
    assert main(["store", "set-property", "image", "a=", "c=x=y"]) == 0
    assert changed == [("image", Stored({"b": "2", "c": "x=y"}))]


@pytest.mark.parametrize(("options", "moved"), [((), False), (("--move",), True)])
def test_an_alias_is_moved_only_on_request(options, moved, monkeypatch, capsys):
    given = []
    fake = SimpleNamespace(
        set_alias=lambda alias, image, move: given.append((alias, image, move)),
        find=lambda image: SimpleNamespace(complete=False, source="images:a\n"),
    )
    monkeypatch.setattr(store, "Store", lambda: fake)
    assert main(["store", "alias", "create", "a", "image", *options]) == 0
    assert given == [("a", "image", moved)]
    assert capsys.readouterr().err == (
        "note: the store has only this image's metadata, fetched from 'images:a\\n': see `store info`\n"
    )


@pytest.mark.parametrize(
    ("contents", "names"),
    [
        ([b"\x1f\x8b1", b"hsqs2"], ["meta-{}.tar.gz", "{}.squashfs"]),
        ([b"\x1f\x8b1"], ["{}.tar.gz"]),
    ],
)
def test_store_export_adds_meta_prefix_only_to_split_metadata(contents, names, tmp_path, monkeypatch, capsys):
    paths = []
    for number, content in enumerate(contents):
        (tmp_path / str(number)).write_bytes(content + bytes(600))
        paths.append(str(tmp_path / str(number)))
    found = SimpleNamespace(complete=True, source="x", public=False, fingerprint="ab" * 32)
    monkeypatch.setattr(
        store, "Store", lambda: SimpleNamespace(use=lambda name: found, paths=lambda image: paths)
    )
    folder = tmp_path / "new/folder"
    assert main(["store", "export", "image", str(folder)]) == 0
    expected = [f"{folder}/{name.format('ab' * 32)}" for name in names]
    assert capsys.readouterr().out.splitlines() == expected
    for path, original in zip(expected, paths, strict=True):
        with open(path, "rb") as copy, open(original, "rb") as first:
            assert copy.read() == first.read()


@pytest.mark.parametrize("is_new", [True, False])
def test_streams_add_command_describes_added_image_in_json(is_new, monkeypatch, capsys, tmp_path):
    added = add_to_tree.Added("p", "v", ("f",), ("a", "b"), ("x",), is_new, ("odd",))
    monkeypatch.setattr(add_to_tree, "add", lambda *words, **options: added)
    words = ["streams", "add", str(tmp_path), "image"]
    assert main([*words, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == "warning: odd\n"
    assert json.loads(out) == {
        "product": "p", "version": "v", "fingerprints": ["f"], "aliases": ["a", "b"], "files": ["x"], "new": is_new,
    }  # fmt: skip
    assert main(words) == 0
    said = "added" if is_new else "already there:"
    assert capsys.readouterr() == ("f\n", f"warning: odd\n{said} p v (a, b)\n")


@pytest.mark.parametrize(
    ("when", "fields"),
    [((), {"uid": "5"}), (("create,", "start,copy"), {"uid": "5", "when": ("create", "start", "copy")})],
)
def test_only_given_fields_of_a_rule_are_changed(when, fields):
    given = {"create_only": None, "mode": None, "uid": "5", "gid": None, "when": when}
    assert template._fields(given) == fields


def test_the_remote_remove_command_prints_the_name_of_the_removed_remote(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert main(["remote", "add", "mine", "https://images.example.org"]) == 0
    capsys.readouterr()
    assert main(["remote", "remove", "mine"]) == 0
    assert capsys.readouterr().err == "removed remote 'mine'\n"


@pytest.mark.parametrize(
    ("options", "message"), [((), "it is running"), (("--force",), "'os' is not KEY=VALUE")]
)
def test_a_running_container_is_published_only_with_the_force_option(
    options, message, container, tmp_path, monkeypatch, capsys
):
    def refuse(path):
        raise RefusedError("it is running")

    os.mkdir(f"{container}/rootfs")
    monkeypatch.setattr(publish_container, "refuse_running", refuse)
    main(["publish", container, "-o", str(tmp_path / "x"), "os", *options])
    assert capsys.readouterr().err.startswith(f"templater: {message}\n")


def test_the_list_of_checks_has_a_line_for_each_check(capsys):
    assert main(["check", "--rule", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for each in all_checks("authoring"):
        assert f"{each.id:<19} {each.severity:<9} {each.about}" in lines


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("n" * 251, ""),
        ("n" * 252, f"the template name '{'n' * 40}' is not a file name"),
        ("é" * 126, f"the template name '{'é' * 40}' is not a file name"),
        ("a/b", "the template name 'a/b' contains a '/'"),
    ],
)
def test_template_name_in_definition_must_be_a_file_name(name, message, tmp_path, capsys):
    (tmp_path / "d.yaml").write_text(
        "image: {distribution: tiny}\n"
        f"files: [{{generator: template, path: /a, name: {name}, content: c}}]\n"
    )
    assert main(["preview", str(tmp_path / "d.yaml"), "--json"]) == (2 if message else 0)
    assert message in capsys.readouterr().err


def test_html_report_contains_hosts_only_if_several_are_checked(monkeypatch):
    shown = []
    monkeypatch.setattr(open_and_plan, "opened", lambda request: contextlib.nullcontext("found"))
    monkeypatch.setattr(
        check,
        "report_plans",
        lambda found, target, hosts, findings: shown.append([host.name for host in hosts]),
    )
    for hosts in (["incus"], ["incus", "lxd"]):
        check.write_html(None, hosts, None, ())
    assert shown == [[], ["incus", "lxd"]]


@pytest.mark.parametrize(
    ("is_vm", "as_agent", "expected"),
    [
        (False, False, "plan"), (True, True, "as agent"),
        (False, True, "--as-agent requires a virtual machine"),
        (
            True, False,
            "'v1' is a virtual machine: the host writes no files into the root filesystem of a virtual machine",
        ),
    ],
)  # fmt: skip
def test_only_agent_writes_into_rootfs_of_a_virtual_machine(is_vm, as_agent, expected):
    plan = SimpleNamespace(instance=SimpleNamespace(is_vm=is_vm, name="v1"), as_agent=lambda: "as agent")
    try:
        found = apply.for_rootfs(plan, as_agent=as_agent)
    except (click.UsageError, RefusedError) as error:
        found = error.message
    assert ("plan" if found is plan else found) == expected


def test_apply_saves_the_keys_read_by_each_template(tmp_path, capsys):
    for name in ("image/templates", "root/etc"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "image/templates/t").write_text(
        '{{ config_get("user.b", "") }}{{ config_get("user.a", "") }}'
    )
    (tmp_path / "image/metadata.yaml").write_text(
        "architecture: x86_64\ncreation_date: 1\ntemplates: {/etc/a: {when: [create], template: t}}\n"
    )
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    assert (
        main(
            ["apply", str(tmp_path / "image"), str(tmp_path / "root"), "--state", str(state), "-t", "create"]
        )
        == 0
    )
    (record,) = state.rglob(WRITTEN)
    data = record.read_bytes()
    assert all(text in data for text in (b"/etc/a", b"user.a", b"user.b"))


def test_the_time_for_reading_an_image_is_measured_as_processor_time(monkeypatch):
    moments = iter([100.0, 102.5])
    limits, source = SimpleNamespace(for_files=int), SimpleNamespace(notes=(), close=lambda: None)
    request = SimpleNamespace(limits=limits)
    monkeypatch.setattr(directory_rootfs, "limit_reading", lambda rootfs, limits: None)
    monkeypatch.setattr(open_and_plan, "process_time", lambda: next(moments))
    monkeypatch.setattr(open_and_plan, "open_request", lambda request: (source, SimpleNamespace(notes=())))
    monkeypatch.setattr(open_and_plan, "for_source", lambda request, source: request)
    monkeypatch.setattr(open_and_plan, "choose_runs", lambda *words, **options: ())
    monkeypatch.setattr(open_and_plan, "open_rootfs", lambda *words, **options: contextlib.nullcontext())
    with open_and_plan.opened(request):
        assert limits.seconds_read == 2.5


def test_only_a_complete_image_of_the_store_is_exported(monkeypatch, capsys):
    found = SimpleNamespace(complete=False, source="images:debian/13")
    monkeypatch.setattr(store, "Store", lambda: SimpleNamespace(use=lambda name: found))
    assert main(["store", "export", "image"]) == 2
    assert capsys.readouterr().err == (
        "templater: the store has only the metadata of 'image'\n"
        "hint: import the whole image first: templater store import images:debian/13\n"
    )


def test_each_changed_field_is_one_edit_towards_the_limit(tmp_path, monkeypatch, capsys):
    rules = "".join(f"  /{n}: {{when: [create], template: {'t' if n < 3 else 'u'}}}\n" for n in range(5))
    (tmp_path / "metadata.yaml").write_text(f"architecture: x86_64\ncreation_date: 1\ntemplates:\n{rules}")
    counted, changed = [], []
    monkeypatch.setattr(metadata_edit, "refuse_many", lambda source, changes: counted.append(changes))
    monkeypatch.setattr(
        metadata_edit, "change_rule", lambda source, path, fields: changed.append(path) or source
    )
    fields = {"gid": 6, "uid": 5}
    template._changed_rules(str(tmp_path), "t", None, fields)
    template._changed_rules(str(tmp_path), "t", "/1", fields)
    assert (counted, changed) == ([6, 2], ["/0", "/1", "/2", "/1"])
    with pytest.raises(UsageError, match=r"^no rule uses 't' for '/4'$"):
        template._changed_rules(str(tmp_path), "t", "/4", fields)
    with pytest.raises(UsageError, match=r"^no rule uses 'v'$"):
        template._changed_rules(str(tmp_path), "v", None, fields)


@pytest.mark.parametrize("option", ["--fix", "--diff"])
@pytest.mark.parametrize("name", ["file", "missing", "images:file"])
def test_the_fix_and_diff_options_accept_only_an_image_directory(option, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    code = main(["check", name, option])
    message = capsys.readouterr().err.splitlines()[0]
    if name == "missing":
        assert (code, "missing" in message, "fixed" in message) == (2, True, False)
    else:
        assert message == f"templater: '{name}' is not a directory, so it can't be fixed"


def test_report_is_private_and_replaces_an_earlier_report(tmp_path):
    path = tmp_path / "report"
    before = os.umask(0o022)
    try:
        for text in ("a", "ü"):
            html_report.write(str(path), iter([text, "z"]))
            assert (path.read_text(encoding="utf-8"), path.stat().st_mode & 0o777) == (f"{text}z", 0o600)
    finally:
        os.umask(before)


@pytest.mark.parametrize("options", [(), ("--fix",), ("--diff",), ("--fix", "--diff")])
def test_the_unsafe_fixes_option_requires_the_fix_or_diff_option(options, container, capsys):
    code = main(["check", container, "--unsafe-fixes", "--no-run-validators", *options])
    assert (code == 2) == (not options)
    assert ("--unsafe-fixes needs --fix or --diff" in capsys.readouterr().err) == (not options)


@pytest.mark.parametrize(
    ("change", "added", "files"), [({"b": b""}, None, ["b"]), ({"b": b""}, {"a": b""}, ["a", "b"])]
)
def test_json_output_of_edit_contains_changed_and_added_files(change, added, files, monkeypatch, capsys):
    found = SimpleNamespace(old="1", new="2")
    monkeypatch.setattr(replace_files, "replace", lambda src, changes, added, **options: found)
    save_image_edits.save("image", change, added, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"old": "1", "new": "2", "image": "image", "files": files}


@pytest.mark.parametrize(
    ("asked", "passes"),
    [
        ("create,copy,start,rename", ("create", "copy", "start", "rename")),
        (",start,", ("start",)),
        ("create,copy,start,rename,start", ("copy", "start")),
        ("start,other", ("copy", "start")),
        ("", ("copy", "start")),
    ],
)
def test_page_has_the_requested_triggers_unless_they_are_invalid(asked, passes):
    made = views.Views(None, None)
    made._instances = [Instance(name="a"), Instance(name="b")]
    request = SimpleNamespace(host=SimpleNamespace(name="lxd"))
    made._found = SimpleNamespace(runs=(("copy", "start"),), request=request)
    side = made._side({"trigger": asked, "instance": "b", "host": "incus"}, {})
    assert (side.passes, side.host, side.given.name) == (passes, "incus", "b")
    side = made._side({"instance": "c", "host": "odd"}, {})
    assert (side.host, side.given.name) == ("lxd", "a")


@pytest.mark.parametrize("options", [(), ("--no-tables",), ("--copy",)])
def test_reindex_command_prints_the_written_file_names(options, monkeypatch, capsys, tmp_path):
    made = SimpleNamespace(
        warnings=["odd"], images=1, products=2, copied=3, bytes=4, rules=["r.conf"], described=()
    )
    tables = []
    monkeypatch.setattr(republish, "republish", lambda origin, tree, **options: made)
    monkeypatch.setattr(reindex, "write_tables", lambda *words: tables.append(words))
    assert main(["streams", "reindex", "https://host/x", str(tmp_path / "tree"), *options]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "warning: odd", "republished 1 image of 2 products", *(["copied 3 files, 4 B"] if "--copy" in options else []),
        "wrote r.conf",
    ]  # fmt: skip
    assert len(tables) == ("--no-tables" not in options)


@pytest.mark.parametrize(("used", "left"), [(0.4, 9), (3.6, 5), (20, 1)])
def test_time_for_compiling_reduces_the_time_for_other_work(used, left, tmp_path, monkeypatch, capsys):
    (tmp_path / "metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1\n")
    seconds = iter([5.0, 5.0 + used])
    monkeypatch.setattr(sandboxed_rendering, "children_seconds", lambda: next(seconds))
    monkeypatch.setattr(precompile, "precompile", lambda folder, cache, dialect: {sandboxed_rendering.IMAGE})
    limits = []
    monkeypatch.setattr(
        compile, "guard", lambda given: limits.append(given.command) or contextlib.nullcontext()
    )
    assert main(["compile", str(tmp_path)]) == 0
    assert [each["processor"] for each in limits] == [left]
    assert "cached" in capsys.readouterr().err


class Screen:
    """A terminal that a person uses. Its output goes to ``file``."""

    def __init__(self, file):
        self.fileno, self.isatty, self.write, self.flush = file.fileno, lambda: True, file.write, file.flush


class Pager:
    """A pager that was started with an open file as its input."""

    def __init__(self, file, started):
        self.stdin, self.started = file, started

    def wait(self):
        self.started.append("end")


@pytest.fixture
def screens(tmp_path, monkeypatch):
    """Return a function that replaces standard output and standard error by terminals.

    Instead of a program, the pager is a file.
    """
    with (
        open(tmp_path / "out", "w+") as out, open(tmp_path / "err", "w+") as err,
        open(tmp_path / "paged", "wb+") as paged,
    ):  # fmt: skip
        started = []

        def start(words, stdin, env):
            started.append((words, stdin, env))
            return Pager(os.fdopen(os.dup(paged.fileno()), "wb"), started)

        monkeypatch.setattr(subprocess, "Popen", start)
        monkeypatch.setattr(terminal, "_pager_words", lambda: ["less"])
        monkeypatch.setattr(terminal._State, "pages", True)
        monkeypatch.setattr(terminal._State, "pager", None)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "66")
        monkeypatch.delenv("LESS", raising=False)
        monkeypatch.delenv("LV", raising=False)

        def show():  # pytest sets both outputs when a test begins
            monkeypatch.setattr(sys, "stdout", Screen(out))
            monkeypatch.setattr(sys, "stderr", Screen(err))
            return tmp_path, started

        yield show


def test_output_goes_to_pager_if_both_streams_are_terminals(screens, monkeypatch):
    folder, started = screens()
    sys.stdout.write("before ")
    terminal.page()
    monkeypatch.setenv("COLUMNS", "99")
    assert terminal.width() == 66 and terminal.is_terminal(sys.stdout)
    for stream in (sys.stdout, sys.stderr):
        stream.write("paged ")
        stream.flush()
    terminal.page()  # the second call changes nothing
    terminal.end_pager()
    assert terminal.width() == 99
    sys.stdout.write("after")
    sys.stdout.flush()
    (words, stdin, env), end = started
    assert (words, stdin, end) == (["less"], subprocess.PIPE, "end")
    assert (env["LESS"], env["LV"], env["TERM"]) == ("FRX", "-c", "xterm")
    texts = [(folder / name).read_text() for name in ("out", "err", "paged")]
    assert texts == ["before after", "", "paged paged "]


def test_pager_keeps_user_options_and_displays_only_terminal_output(screens, monkeypatch):
    folder, started = screens()
    monkeypatch.setenv("LESS", "-X")
    sys.stderr.isatty = lambda: False
    terminal.page()
    assert not terminal.is_terminal(sys.stderr)
    sys.stderr.write("a note")
    sys.stderr.flush()
    terminal.end_pager()
    assert started[0][2]["LESS"] == "-X"
    assert (folder / "err").read_text() == "a note"


@pytest.mark.parametrize("why", ["no pager", "dumb", "a pipe", "no program", "the option"])
def test_no_pager_is_started_without_program_or_suitable_terminal(why, screens, monkeypatch):
    _, started = screens()
    if why == "no pager":
        monkeypatch.setattr(terminal, "_pager_words", list)
    elif why == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    elif why == "a pipe":
        sys.stdout.isatty = lambda: False
    elif why == "no program":

        def fail(words, **options):
            raise OSError

        monkeypatch.setattr(subprocess, "Popen", fail)
    else:
        monkeypatch.setattr(terminal._State, "pages", False)
    terminal.page()
    assert started == [] and terminal._State.pager is None


def test_the_pager_may_stay_open_after_an_interrupt(screens):
    _, started = screens()
    terminal.page()
    interrupts = [1, 1]

    def wait():
        if interrupts:
            interrupts.pop()
            raise KeyboardInterrupt
        started.append("left")

    terminal._State.pager.wait = wait
    terminal.end_pager()
    assert started[-1] == "left" and interrupts == []


@pytest.fixture
def container(tmp_path):
    (tmp_path / "metadata.yaml").write_text(
        "architecture: x86_64\ncreation_date: 1\nproperties: {os: a, serial: 's\\n1', name: n, description: d}\n"
    )
    return str(tmp_path)


@pytest.mark.parametrize(
    ("stdin", "stderr", "kept"), [(True, True, ["serial"]), (True, False, []), (False, True, [])]
)
def test_the_publish_command_asks_on_a_terminal_which_properties_to_keep(
    stdin, stderr, kept, container, monkeypatch
):
    asked = []

    def confirm(text, *, err):
        asked.append((text, err))
        return True

    monkeypatch.setattr(click, "confirm", confirm)
    monkeypatch.setattr("sys.stdin.isatty", lambda: stdin)
    monkeypatch.setattr("sys.stderr.isatty", lambda: stderr)
    assert publish.asked(container, {"name": "new"}, ("description",)) == kept
    assert asked == [("keep the base image's serial 's\\n1'?", True)] * len(kept)
    monkeypatch.setattr(click, "confirm", lambda text, *, err: "serial" not in text)
    assert publish.asked(container, {}, ()) == (["description", "name"] if kept else [])


def test_publish_command_cannot_keep_a_missing_property(container, tmp_path):
    publish.refuse_unknown(container, ("os", "name"))
    with pytest.raises(UsageError) as caught:
        publish.refuse_unknown(container, ("os", "nmae\n"))
    assert caught.value.message == "the base image has no property 'nmae\\n' to keep"
    assert caught.value.hint == "its properties are os, serial, name, description"
    (tmp_path / "metadata.yaml").unlink()
    with pytest.raises(UsageError) as caught:
        publish.refuse_unknown(container, ("os",))
    assert caught.value.hint == ""


CHOSEN = [
    Rule("/etc/hosts", "hosts.tpl"), Rule("etc//motd", "motd.tpl"), Rule("/../x", "motd.tpl"), Rule("/null", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("target", "found"),
    [
        (None, [0, 1, 2, 3]), ("/etc/hosts", [0]), ("etc/hosts", [0]), ("hosts.tpl", [0]), ("/etc/motd", [1]),
        ("etc//motd", [1]), ("motd.tpl", [1, 2]), ("/../x", [2]), ("null", [3]),
    ],
)  # fmt: skip
def test_explain_target_is_a_path_or_a_template_name(target, found):
    plan = SimpleNamespace(metadata=SimpleNamespace(rules=CHOSEN))
    assert explain.chosen_rules(plan, target) == [CHOSEN[number] for number in found]


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("/etc/hsots", "did you mean '/etc/hosts'?"),
        ("hosts.tlp", "did you mean 'hosts.tpl'?"),
        ("/zzzzz/zz", "the image has rules for /etc/hosts, etc//motd, /../x, /null"),
        (
            "zzzzz",
            "the image has rules for /etc/hosts, etc//motd, /../x, /null"
            "; see --reads for the keys and variables that templates read",
        ),
        ("", "the image has rules for /etc/hosts, etc//motd, /../x, /null"
         "; see --reads for the keys and variables that templates read"),
    ],
)  # fmt: skip
def test_explain_command_gives_hint_if_no_rule_writes_target(target, hint):
    plan = SimpleNamespace(metadata=SimpleNamespace(rules=CHOSEN))
    with pytest.raises(UsageError) as caught:
        explain.chosen_rules(plan, target)
    assert (caught.value.message, caught.value.hint) == (f"no rule writes '{target}'", hint)


def test_the_hint_of_the_explain_command_contains_at_most_five_files():
    rules = [Rule(f"/{number}", "") for number in range(6)]
    with pytest.raises(UsageError) as caught:
        explain.chosen_rules(SimpleNamespace(metadata=SimpleNamespace(rules=rules)), "/unknown")
    assert caught.value.hint == "the image has rules for /0, /1, /2, /3, /4"


def test_the_explain_command_mentions_at_most_five_files_of_unchosen_triggers(capsys):
    rules = [Rule(f"/{number}\n", "t", ("copy",)) for number in range(7)]
    due = SimpleNamespace(change=SimpleNamespace(rule=rules[1]))
    explanation_output.say_not_due(rules, [due])
    assert capsys.readouterr().err == "".join(
        f"/{number}\\n: not rendered for these triggers;"
        " the file is rewritten on copy; not on create, start or rename (see -t)\n"
        for number in (0, 2, 3, 4, 5)
    )


@pytest.mark.parametrize(
    ("triggers", "config", "runs"),
    [
        ((), {}, (("create", "start"),)),
        ((), {"volatile.apply_template": "copy"}, (("copy", "start"),)),
        (("next",), {}, (("start",),)),
        (("next",), {"volatile.apply_template": "rename"}, (("rename", "start"),)),
        (("all",), {}, "all runs"),
    ],
)
def test_triggers_in_report_depend_on_option_and_pending_trigger(triggers, config, runs):
    """Without ``-t``, the first trigger is the pending trigger or create. ``-t next`` never adds create."""
    found = SimpleNamespace(request=SimpleNamespace(triggers=triggers), runs="all runs")
    assert html_report.runs_of(found, Instance(config=config)) == runs
    existing = Instance(config={**config, "volatile.uuid": "x"})
    assert html_report.runs_of(found, existing) == runs


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, None), ("", None), (START, None), (START + "more", None),
        (START[:-1], "exists and is not a report of templater"), ("x", "exists and is not a report of templater"),
        ("fifo", "is not a regular file"), ("folder", "is not a regular file"), ("link", "is not a regular file"),
    ],
)  # fmt: skip
def test_a_report_replaces_only_an_empty_file_or_an_earlier_report(content, message, tmp_path):
    path = tmp_path / "report"
    if content == "fifo":
        os.mkfifo(path)
    elif content == "folder":
        path.mkdir()
    elif content == "link":
        (tmp_path / "empty").touch()
        path.symlink_to("empty")
    elif content is not None:
        path.write_text(content)
    if message is None:
        html_report.check_target(str(path))
        return
    with pytest.raises(RefusedError) as caught:
        html_report.check_target(str(path))
    assert (caught.value.message, caught.value.hint) == (f"'{path}' {message}", "give the name of a new file")


def described(**given):
    blank = dict.fromkeys(options.Description._fields)
    return options.Description(**(blank | {"profiles": (), "config": (), "devices": ()} | given))


METADATA = b"architecture: aarch64\ncreation_date: 1\nproperties: {os: Debian}\n"


@pytest.mark.parametrize(
    ("metadata", "file", "architecture"),
    [
        (METADATA, None, "aarch64"),
        (METADATA, "architecture: riscv64\nname: web1\n", "riscv64"),
        (METADATA.replace(b"aarch64", b"''"), None, "x86_64"),
    ],
)
def test_the_unpack_command_describes_the_instance_that_a_daemon_would_create(
    metadata, file, architecture, tmp_path
):
    if file is not None:
        (tmp_path / "i.yaml").write_text(file)
    (tmp_path / "p.yaml").write_text("name: p\nconfig: {user.b: p, user.a: p}\n")
    found = unpack.described_by(
        described(
            file=file and str(tmp_path / "i.yaml"), name="web1", config=("user.b=own", "image.os=mine"),
            devices=("eth0,type=nic",), profiles=(str(tmp_path / "p.yaml"),),
        ),
        metadata,
    )  # fmt: skip
    assert (found.name, found.type, found.architecture, found.ephemeral) == (
        "web1",
        "container",
        architecture,
        False,
    )
    assert list(found.config.items()) == [("image.os", "Debian"), ("user.a", "p"), ("user.b", "own")]
    assert found.devices == {"eth0": {"type": "nic"}}


def test_the_unpack_command_writes_an_instance_description_with_all_values_unchanged():
    given = Instance(
        "web1", "container", "aarch64", True, {"user.a": "é\n" + "x " * 200}, {"eth0": {"mtu": "9"}}
    )
    assert list(yaml.safe_load(unpack.instance_yaml(given)).items()) == [
        ("name", "web1"), ("type", "container"), ("architecture", "aarch64"), ("ephemeral", True),
        ("config", {"user.a": "é\n" + "x " * 200}), ("devices", {"eth0": {"mtu": "9"}}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("ranges", "users", "groups"),
    [
        (("0:1000:5",), ((0, 1000, 5),), ((0, 1000, 5),)),
        (("u:0:1000:5", "g 0 2000 6"), ((0, 1000, 5),), ((0, 2000, 6),)),
        (("b:0:1:2", "u:3:4:5"), ((0, 1, 2), (3, 4, 5)), ((0, 1, 2),)),
    ],
)
def test_an_id_range_applies_to_users_or_groups_or_both(ranges, users, groups):
    found = unpack.ids_of(ranges)
    assert (found.uids, found.gids) == (users, groups)


@pytest.mark.parametrize("text", ["0:0", "0:0:0:0", "x:0:0:0", "0:0:-1", "0:a:1", f"0:0:{'1' * 16}"])
def test_an_invalid_range_of_ids_is_refused_with_an_example(text):
    with pytest.raises(UsageError) as caught:
        unpack.id_range(text)
    assert caught.value.message == f"invalid id range '{text}'"
    assert caught.value.hint == "for example: --idmap 0:100000:65536, or 'u 0 100000 65536'"
    assert unpack.id_range(f"0:0:{'1' * 15}") == ("b", (0, 0, int("1" * 15)))


def test_each_note_of_the_unpack_command_mentions_at_most_three_files(capsys):
    unpack._say_left_out(
        Unpacked(9, left_out=["a", "b\n", "a"], without_privileges=list("abc"), without_xattrs=list("abcd"))
    )
    assert capsys.readouterr().err.splitlines() == [
        "skipped devices and fifos: 2 (/a, /b\\n); add --keep devices to keep them",
        "removed setuid bits or capabilities: 3 (/a, /b, /c); add --keep setuid to keep them",
        "removed extended attributes: 4 (/a, /b, /c, …); add --keep xattrs to keep them",
    ]


HEADINGS = [
    Heading("/etc/a", CREATE, "0:0", "0644", "a.tpl on start"),
    Heading("/etc/longer", SKIP, "", "", "b.tpl"),
    Heading("/f", FAILED, "1000:1000", "0600", "c"),
]


def laid_out(width, headings=HEADINGS, **more):
    layout = styled.Headings(headings, width, **more)
    return [str(line) for each in headings for line in layout.lines(each)]


def test_heading_has_aligned_columns_on_a_wide_terminal():
    wide = [
        f"── /etc/a {'─' * 5}  create  0:0        0644  a.tpl on start",
        f"── /etc/longer   skip{' ' * 21}b.tpl",
        f"── /f {'─' * 9}  failed  1000:1000  0600  c",
    ]
    assert laid_out(56) == laid_out(200) == wide
    assert laid_out(56, rule=False) == [line.replace("─", " ") for line in wide]


def test_reason_in_heading_has_own_line_on_narrow_terminal():
    narrow = [
        f"── /etc/a {'─' * 20}  create  0:0        0644", "   a.tpl on start",
        f"── /etc/longer {'─' * 15}  skip", "   b.tpl",
        f"── /f {'─' * 24}  failed  1000:1000  0600", "   c",
    ]  # fmt: skip
    assert laid_out(55) == narrow
    indented = [f"  {line}" if line.startswith("   ") else line.replace("─", " ") for line in narrow]
    assert laid_out(55, rule=False) == indented


def test_a_too_wide_target_has_its_own_line():
    def lines(target):
        return laid_out(30, [Heading(target, CREATE, "0:0", "0644", "t")])

    assert lines("/etc/abc") == ["── /etc/abc", f"{' ' * 13}create  0:0  0644", "   t"]
    assert lines("/etc/ab") == ["── /etc/ab   create  0:0  0644", "   t"]


FACTS = {
    "layout": "split", "rootfs": "", "fingerprint": "", "architecture": "", "creation_date": 0, "expiry_date": None,
    "properties": {}, "enforced": [], "rules": [], "unused": [], "files": [],
}  # fmt: skip
A_RULE = {
    "path": "/etc/a", "when": ["create", "boot\n"], "template": "", "size": None, "create_only": False, "mode": "",
    "uid": "", "gid": "",
}  # fmt: skip


def test_the_image_info_command_mentions_missing_facts():
    assert list(info.lines(FACTS)) == [
        "Format:          split image",
        "Root filesystem: none",
        "Fingerprint:     none: only a packed image has a fingerprint",
        "Architecture:    missing, so the daemons refuse to import the image",
        "Created:         missing, so the daemons refuse to import the image",
        "Expires:         never",
    ]
    found = list(info.lines({**FACTS, "layout": "metadata", "unused": ["a\n", "b"]}))
    assert found[0] == "Format:          split image, metadata tarball only"
    assert found[2] == (
        "Fingerprint:     unknown without the root filesystem: templater image info METADATA ROOTFS"
    )
    assert found[-2:] == ["", "Used by no rule: a\\n, b"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "a\\n (tar, 2.0 KiB)"),
        ({"compression": "xz", "unpacked": 4096, "members": 3}, "a\\n (tar, xz, 2.0 KiB, 4.0 KiB unpacked, 3 members)"),
        ({"unpacked": 0, "members": 0}, "a\\n (tar, 2.0 KiB, 0 B unpacked, 0 members)"),
    ],
)  # fmt: skip
def test_each_file_of_an_image_is_described_in_one_line(changes, text):
    file = {
        "path": "a\n",
        "kind": "tar",
        "compression": "none",
        "size": 2048,
        "unpacked": None,
        "members": None,
    }
    assert list(info.lines({**FACTS, "files": [{**file, **changes}]}))[1] == f"File:            {text}"


def test_info_command_prints_triggers_of_rules_in_a_table():
    other = {
        **A_RULE,
        "when": ["start"],
        "template": "t",
        "size": 3,
        "create_only": True,
        "mode": "0600",
        "gid": "5",
    }
    assert list(info.lines({**FACTS, "rules": [A_RULE, other], "properties": {"b": "1", "a": "2"}, "enforced": ["a"]}))[
        6:
    ] == [
        "", "Properties:", "! a  2", "  b  1", "", "Templates:",
        "          create  copy  start  rename  boot\\n  template  size",
        "  /etc/a  x       .     .      .       x       none      missing",
        "  /etc/a  .       .     x      .       .       t         3 B      create_only mode=0600 gid=5",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("2m", 120), ("3h", 10_800), ("4d", 345_600), ("5w", 3_024_000), ("0s", 0)],
)
def test_an_age_is_a_number_with_a_unit(text, seconds):
    assert _seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "1y", "-1h", "1.5h", "1h ", "1h\n", "²h", "1" * 10 + "s"])
def test_an_invalid_age_is_refused_with_examples(text):
    with pytest.raises(UsageError) as caught:
        _seconds(text)
    assert caught.value.hint == "examples: 90m, 24h, 30d"


def test_the_table_of_a_stream_has_one_line_for_each_image():
    image = SimpleNamespace(
        product="p\n", version="v", type=VIRTUAL_MACHINE, size=2048, fingerprint="f" * 64,
        clients=("incus-6.0", "incus-7", "lxd"), shown_aliases=lambda: ["a\n", "b (random)"],
    )  # fmt: skip
    other = SimpleNamespace(
        **{**image.__dict__, "type": "container", "clients": ("lxd",), "shown_aliases": list}
    )
    assert [line.split() for line in streams_list.table([image, other]).splitlines()] == [
        ["PRODUCT", "VERSION", "TYPE", "SIZE", "FINGERPRINT", "CLIENTS", "ALIASES"],
        ["p\\n", "v", "vm", "2.0", "KiB", "f" * 12, "incus+lxd", "a\\n", "b", "(random)"],
        ["p\\n", "v", "container", "2.0", "KiB", "f" * 12, "lxd"],
    ]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("os", "Debian"), {"os": "Debian"}),
        (("os=Debian",), {"os": "Debian"}),
        (("os=a", "b=c=d"), {"os": "a", "b": "c=d"}),
        (("os=",), {"os": ""}),
        ((), {}),
        (("os",), None),
        (("os", "b=c"), None),
        (("=a",), None),
        (("a", "b", "c"), None),
    ],
)
def test_a_property_argument_needs_an_equals_sign_between_key_and_value(arguments, found):
    if found is not None:
        assert options.pairs_of(arguments, what="command") == found
        return
    with pytest.raises(UsageError) as caught:
        options.pairs_of(arguments, what="command")
    bad = next(each for each in arguments if "=" not in each[1:])
    assert caught.value.message == f"'{bad}' is not KEY=VALUE"
    assert caught.value.hint == "for example: command os=Debian"


def test_standard_input_stays_open_after_reading_unlike_named_file(tmp_path, monkeypatch):
    (tmp_path / "list").write_text("x")
    saved = os.dup(0)
    try:
        with open(tmp_path / "list") as file:
            os.dup2(file.fileno(), 0)
        with options.open_binary("-") as stream:
            assert stream.read() == b"x"
        os.fstat(0)
        with options.open_binary(str(tmp_path / "list")) as stream:
            number = stream.fileno()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)
    finally:
        os.dup2(saved, 0)
        os.close(saved)
