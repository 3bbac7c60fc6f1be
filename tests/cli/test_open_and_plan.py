"""From the command line to a plan: choosing triggers and the root filesystem."""

import errno
import json
import os
import re
import shutil
import tarfile
from pathlib import Path

import pytest

from templater.hooks.container_state_folder import directory_identity
from templater.writing.mounted_file import MountedFile
from tests.rootfs_builders import as_root

SAMPLES = Path(__file__).resolve().parent.parent.parent / "sample-images"

METADATA = """\
architecture: x86_64
creation_date: 1700000000
templates:
  /etc/created: {when: [create], template: t.tpl}
  /etc/copied: {when: [copy], template: t.tpl}
  /etc/started: {when: [start], template: t.tpl}
  /etc/shipped: {when: [create, copy], create_only: true, template: t.tpl}
"""
PENDING_COPY = "name: web1\nconfig: {volatile.apply_template: copy, volatile.uuid: x}\ndevices: {}\n"
EXISTING = "name: web1\nconfig: {volatile.uuid: 36e685d9-9391-470b-bade-7f1555aab98c}\ndevices: {}\n"


@pytest.fixture
def image(tmp_path):
    folder = tmp_path / "image"
    (folder / "templates").mkdir(parents=True)
    (folder / "templates/t.tpl").write_text("{{ trigger }}\n")
    (folder / "metadata.yaml").write_text(METADATA)
    (folder / "rootfs/etc").mkdir(parents=True)
    (folder / "rootfs/etc/shipped").write_text("shipped\n")
    return folder


@pytest.fixture
def archive(image, tmp_path):
    with tarfile.open(tmp_path / "image.tar", "w") as tar:
        for name in ("metadata.yaml", "templates", "rootfs"):
            tar.add(image / name, name)
    return tmp_path / "image.tar"


@pytest.fixture
def listed(tmp_path):
    """A list of three containers and a virtual machine that no daemon has created."""
    kinds = {"c1": "container", "c2": "container", "c3": "container", "v1": "virtual-machine"}
    (tmp_path / "all.json").write_text(
        json.dumps([{"name": name, "type": kind} for name, kind in kinds.items()])
    )
    return tmp_path / "all.json"


@pytest.fixture
def form(request, listed, tmp_path):
    """The options that select one form of the output of `preview`."""
    return {
        "text": [],
        "json": ["--json"],
        "instances": ["--instances", listed],
        "instances as json": ["--instances", listed, "--json"],
        "every host": ["--as", "all"],
        "every host as json": ["--as", "all", "--json"],
        "page": ["--html", tmp_path / "report.html"],
        "page of instances": ["--html", tmp_path / "report.html", "--instances", listed],
        "page of every host": ["--html", tmp_path / "report.html", "--as", "all"],
    }[request.param]


FORMS = pytest.mark.parametrize(
    "form",
    [
        "text", "json", "instances", "instances as json", "every host", "every host as json", "page",
        "page of instances", "page of every host",
    ],
    indirect=True,
)  # fmt: skip


def plan(run, *words):
    code, out, err = run("preview", *words, "--json")
    assert code == 0, err
    data = json.loads(out)
    return data, {change["path"]: change["action"] for change in data["changes"]}, err


def write(path, text):
    path.write_text(text)
    return path


def test_a_preview_of_an_image_predicts_the_first_start(run, image):
    data, _, err = plan(run, image)
    assert data["triggers"] == ["create", "start"]
    assert "note: assuming a new container 'c1' (see -i and --name)" in err
    assert "note: triggers create,start: the first start of a new instance (see -t)" in err


def test_a_described_pending_trigger_precedes_the_start_trigger(run, image, tmp_path):
    data, _, err = plan(run, image, "-i", write(tmp_path / "web1.yaml", PENDING_COPY))
    assert data["triggers"] == ["copy", "start"]
    assert "note: triggers copy,start: 'copy' is pending in the description (see -t)" in err


@pytest.mark.parametrize(
    "text",
    [
        EXISTING,
        "name: web1\nstatus: Stopped\n",
        "name: web1\nstatus: ''\n",
        "name: web1\ncreated_at: 2026-01-01T00:00:00Z\n",
        "name: web1\nlast_used_at: 2026-01-01T00:00:00Z\n",
        "name: web1\nconfig: {volatile.base_image: x}\n",
    ],
)
def test_a_note_for_an_existing_instance_suggests_the_next_trigger_value(text, run, image, tmp_path):
    description = write(tmp_path / "web1.yaml", text)
    data, _, err = plan(run, image, "-i", description)
    assert data["triggers"] == ["create", "start"]
    assert "the instance already exists: its next start runs only 'start' (see -t next)" in err
    data, _, err = plan(run, image, "-i", description, "-t", "next")
    assert data["triggers"] == ["start"]
    assert "note: triggers start: the next start, with no trigger pending (see -t)" in err


def test_a_plan_begins_with_the_recorded_pending_trigger(run, image):
    (image / "instance.yaml").write_text("name: web1\n")
    (image / ".templater").mkdir(mode=0o700)
    for pending, triggers in (("copy", ["copy", "start"]), ("", ["start"])):
        (image / ".templater/state").write_text(
            f"name=web1\npending={pending}\n" if pending else "name=web1\n"
        )
        data, _, err = plan(run, image)
        assert data["triggers"] == triggers
        assert f"note: triggers {','.join(triggers)}: the next start" in err


def test_the_diff_of_an_existing_instance_shows_its_next_start(run, image, tmp_path):
    description = write(tmp_path / "web1.yaml", EXISTING)
    code, out, err = run("diff", image, image / "rootfs", "-i", description)
    assert (code, "+++ b/etc/started" in out, "+++ b/etc/created" in out) == (0, True, False)
    assert "note: triggers start: the next start" in err
    code, out, _ = run("diff", image, image / "rootfs", "--name", "new")
    assert "+++ b/etc/created" in out


def test_a_diff_predicts_the_start_of_each_listed_instance(run, image, tmp_path):
    config = {"volatile.uuid": "36e685d9-9391-470b-bade-7f1555aab98c"}
    instances = [
        {"name": "web1", "config": config},
        {"name": "web2", "config": {**config, "volatile.apply_template": "copy"}},
        {"name": "web3"},
    ]
    (tmp_path / "all.json").write_text(json.dumps(instances))
    for each in instances:
        shutil.copytree(image / "rootfs", tmp_path / each["name"] / "rootfs")
    pattern = tmp_path / "{name}/rootfs"
    code, out, err = run("diff", image, pattern, "--instances", tmp_path / "all.json")
    assert code == 0, err
    found = {
        text.partition("\n")[0]: re.findall(r"(?m)^\+\+\+ b(.*)$", text) for text in out.split("# web")[1:]
    }
    assert found == {
        "1": ["/etc/started"],
        "2": ["/etc/copied", "/etc/started"],
        "3": ["/etc/created", "/etc/started"],
    }
    assert (
        "1 x (first: web1): note: triggers start: the next start, with no trigger pending (see -t)\n" in err
    )


def test_an_explicit_trigger_option_causes_no_note_about_triggers(run, image):
    _, _, err = run("preview", image, "--name", "c1", "-t", "start")
    assert "note:" not in err


def test_a_preview_or_diff_for_all_triggers_shows_each_trigger_separately(run, image):
    code, out, err = run("preview", image, "-t", "all")
    assert code == 0
    for path, trigger in (("created", "create"), ("copied", "copy"), ("started", "start")):
        assert f"==> /etc/{path}  create  0:0 0644  t.tpl on {trigger}: new" in out
    assert "c1: rename: nothing to do" in err
    _, out, _ = run("preview", image, "-t", "all", "--json")
    assert [each["triggers"] for each in json.loads(out)] == [["create"], ["copy"], ["start"], ["rename"]]
    code, out, _ = run("diff", image, image / "rootfs", "-t", "all")
    assert [line for line in out.splitlines() if line.startswith("# trigger")] == [
        "# trigger create", "# trigger copy", "# trigger start", "# trigger rename",
    ]  # fmt: skip
    assert run("apply", image, image / "rootfs", "-t", "all")[0] == 2
    assert run("preview", image, "-t", "all", "-o", "tree")[0] == 2


def test_a_trigger_without_rules_causes_a_note_about_others(run, image):
    code, _, err = run("preview", image, "-t", "rename")
    assert code == 0
    assert "note: no rule runs on rename; the rules run on: create, copy, start (see -t)" in err


def test_a_plan_reads_the_rootfs_in_an_image_directory(run, image):
    _, actions, err = plan(run, image)
    assert actions == {"/etc/created": "create", "/etc/started": "create", "/etc/shipped": "skip"}
    assert "create_only" not in err
    _, actions, err = plan(run, image, "--rootfs", "none")
    assert actions == {"/etc/created": "write", "/etc/started": "write", "/etc/shipped": "write"}
    assert (
        "note: create_only rules skip these files if they exist: /etc/shipped (--rootfs shows which files exist)"
        in err
    )


def test_a_plan_ignores_an_archives_root_filesystem_by_default(run, archive):
    _, actions, err = plan(run, archive)
    assert set(actions.values()) == {"write"}
    assert (
        "create_only rules skip these files if they exist: /etc/shipped (--rootfs image shows which files exist)"
        in err
    )
    _, actions, err = plan(run, archive, "--rootfs", "image")
    assert actions == {"/etc/created": "create", "/etc/started": "create", "/etc/shipped": "skip"}
    assert "create_only" not in err


def test_requesting_a_missing_root_filesystem_is_an_error(run, image, tmp_path):
    shutil.rmtree(image / "rootfs")
    assert run("preview", image, "--rootfs", "image") == (
        2, "", f"note: assuming a new container 'c1' (see -i and --name)\n"
        "note: triggers create,start: the first start of a new instance (see -t)\n"
        f"templater: '{image}' has no rootfs directory\nhint: give the root filesystem with --rootfs DIR\n",
    )  # fmt: skip
    with tarfile.open(tmp_path / "meta.tar", "w") as tar:
        for name in ("metadata.yaml", "templates"):
            tar.add(image / name, name)
    code, _, err = run("preview", tmp_path / "meta.tar", "--rootfs", "image")
    assert code == 2
    assert "has no root filesystem" in err
    assert "--rootfs FILE" in err
    with tarfile.open(tmp_path / "rootfs.tar", "w") as tar:
        (tmp_path / "files/etc").mkdir(parents=True)
        (tmp_path / "files/etc/shipped").write_text("shipped\n")
        tar.add(tmp_path / "files/etc", "etc")
    _, actions, _ = plan(run, tmp_path / "meta.tar", "--rootfs", tmp_path / "rootfs.tar")
    assert actions["/etc/shipped"] == "skip"


@as_root
def test_a_rule_may_set_owners_in_a_users_rootfs(run, image):
    """Packing the directory gives every file the owner of its rule."""
    (image / "metadata.yaml").write_text(METADATA.replace("when: [create],", "when: [create], uid: 100,", 1))
    shutil.chown(image / "rootfs", 1000, 1000)
    _, actions, _ = plan(run, image)
    assert actions["/etc/created"] == "create"


def test_a_hostile_root_filesystem_in_an_image_is_refused(run, image):
    shutil.rmtree(image / "rootfs")
    (image / "rootfs").symlink_to("/etc")
    code, out, err = run("preview", image)
    assert (code, out) == (3, "")
    assert "'rootfs' is a symlink, not a directory" in err


def test_diff_shows_a_rule_even_if_the_host_refuses_it(run, image):
    """preview and diff exit with 5 if the host would fail and templater would not."""
    (image / "rootfs/etc/started").symlink_to("/srv/started")
    (image / "rootfs/srv").mkdir()
    words = image, image / "rootfs", "-t", "start", "--as", "incus"
    code, out, err = run("diff", *words)
    assert code == 5
    assert "+++ b/srv/started" in out
    assert "/etc/started: incus: the start fails: " in err
    assert run("diff", image, image / "rootfs", "-t", "start", "--as", "none")[0] == 0


def test_each_report_mentions_the_known_differences_between_the_host_and_templater(run, image):
    """Each report uses the names in the table of differences."""
    (image / "rootfs/etc/started").symlink_to("/srv/started")
    (image / "rootfs/srv").mkdir()
    name = "links are followed only inside the root filesystem"
    assert f"    ! templater differs: {name}\n" in run("preview", image, "-t", "start")[1]
    assert (
        f"/etc/started: templater differs: {name}\n" in run("diff", image, image / "rootfs", "-t", "start")[2]
    )
    data = json.loads(run("preview", image, "-t", "start", "--json")[1])
    assert [change["host"]["deviations"] for change in data["changes"]] == [[name]]
    assert f"! /etc/started: templater differs ({name})" in run("simulate", image, "create", "start")[1]
    assert name in (SAMPLES.parent / "docs/differences.md").read_text()


def test_notes_about_assumptions_are_printed_on_stderr(run):
    _, out, err = run(
        "preview",
        SAMPLES / "debian-cloud",
        "-i",
        SAMPLES / "debian-cloud/instances/web1.yaml",
        "-t",
        "create",
    )
    assert "note: the name 'web1' is taken from the file name" in err
    assert "note:" not in out


def test_a_preview_for_all_hosts_is_a_table(run, image):
    code, out, err = run("preview", image, "--as", "all", "-t", "create")
    assert code == 0, err
    assert "/etc/created" in out
    assert all(name in out for name in ("incus", "lxd-6.7"))
    code, out, _ = run("preview", image, "--as", "all", "-t", "create", "--json")
    assert json.loads(out)["hosts"][0] == "incus"
    (image / "rootfs/etc/created").symlink_to("/srv/created")
    assert run("preview", image, "--as", "all", "-t", "create")[0] == 5
    for words in (["-t", "all"], ["-o", "tree"], ["--dialect", "v4"], ["--instances", "x"]):
        assert run("preview", image, "--as", "all", *words)[0] == 2
    assert run("diff", image, image / "rootfs", "--as", "all")[0] == 2


def test_commands_warn_of_unknown_variables(run, image, tmp_path):
    (image / "templates/t.tpl").write_text("a\n{{ instnace.name }}{{ container.nmae }}{{ config.user.x }}\n")
    expected = (
        "warning: templates/t.tpl:2:4: no host provides 'instnace'\nhint: did you mean 'instance'?\n",
        "no host provides 'container.nmae'\nhint: did you mean 'name'?\n",
        "no host provides 'config.user.x'\n",
    )
    (tmp_path / "root").mkdir()
    (tmp_path / "all.json").write_text('[{"name": "c1"}]')
    for words in (
        ["preview", image], ["apply", image, tmp_path / "root", "-t", "create"], ["compile", image],
        ["preview", image, "--instances", tmp_path / "all.json"],
    ):  # fmt: skip
        code, _, err = run(*words)
        assert (code, [text for text in expected if text not in err]) == (0, []), err


def test_an_empty_rendered_file_is_shown_as_empty(run, image):
    (image / "templates/t.tpl").write_text("")
    _, out, _ = run("preview", image, "-t", "start")
    assert out == "==> /etc/started  create  0:0 0644  t.tpl on start: new\n    (empty)\n"


CREATE_ONLY = "create_only rules skip these files if they exist: /etc/shipped"


@pytest.mark.slow
@FORMS
def test_a_preview_mentions_the_create_only_key_exactly_once(run, archive, image, form, tmp_path):
    code, _, err = run("preview", archive, *form)
    assert code == 0, err
    assert err.count(f"note: {CREATE_ONLY} (--rootfs image shows which files exist)\n") == 1
    assert err.count("create_only") == 1
    if "--html" in form:
        assert CREATE_ONLY in (tmp_path / "report.html").read_text()
    assert f"note: {CREATE_ONLY} (--rootfs shows which" in run("preview", image, "--rootfs", "none", *form)[2]
    for words in ([archive, "--rootfs", "image"], [image], [archive, "-t", "start"]):
        assert "create_only" not in run("preview", *words, *form)[2]


def test_virtual_machines_cause_no_note_about_create_only_keys(run, archive, tmp_path):
    file = write(tmp_path / "vms.json", '[{"name": "v1", "type": "virtual-machine"}]')
    assert "create_only" not in run("preview", archive, "--instances", file)[2]


@FORMS
def test_each_output_of_preview_says_exactly_once_that_no_rule_runs(run, image, form):
    code, _, err = run("preview", image, "-t", "rename", *form)
    assert code == 0, err
    assert err.count("no rule runs on rename; the rules run on: create, copy, start (see -t)\n") == 1
    assert "no rule runs" not in run("preview", image, "-t", "start", *form)[2]


def test_a_note_tells_how_many_instances_have_no_rule(run, image, listed, tmp_path):
    said = "note: no rule runs on rename; the rules run on: create, copy, start (see -t)\n"
    assert f"4 x (first: c1): {said}" in run("preview", image, "--instances", listed, "-t", "rename")[2]
    (tmp_path / "c2/rootfs").mkdir(parents=True)
    pattern = tmp_path / "{name}/rootfs"
    err = run("diff", image, pattern, "--instances", listed, "-t", "rename")[2]
    assert f"1 x (first: c2): {said}" in err, "the other instances have no plan"


def test_the_note_about_unused_rules_mentions_each_shown_trigger(run, image):
    (image / "metadata.yaml").write_text("templates: {/etc/a: {when: [boot], template: t.tpl}}\n")
    err = run("preview", image, "-t", "all")[2]
    assert "no rule runs on create,copy,start,rename; the rules run on: none (see -t)\n" in err


@FORMS
def test_every_output_of_preview_warns_once_of_each_unknown_variable(run, image, form):
    (image / "templates/t.tpl").write_text("a\n{{ instnace.name }}\n")
    code, _, err = run("preview", image, *form)
    assert code == 0, err
    warning = "warning: templates/t.tpl:2:4: no host provides 'instnace'\nhint: did you mean 'instance'?\n"
    assert err.count(warning) == 1


@FORMS
def test_every_output_contains_each_metadata_mistake_only_once(run, image, form):
    (image / "metadata.yaml").write_text(METADATA + "nosuch: 1\n")
    code, _, err = run("preview", image, *form)
    assert code == 0, err
    assert err.count("'nosuch'") == 1


def test_a_simulation_mentions_the_create_only_key(run, archive, image, tmp_path):
    code, out, err = run("simulate", archive, "create", "start", "restart")
    assert code == 0, err
    assert f"note: {CREATE_ONLY} (--rootfs image shows which files exist)\n" in err
    assert "  /etc/shipped  write  0:0 0644  t.tpl on create\n" in out
    assert "new" not in out
    assert out.endswith("restart\n  c1: start: writes nothing\n"), "the simulation wrote these files itself"
    code, out, err = run("simulate", archive, "create", "start", "--json")
    assert f"note: {CREATE_ONLY} (--rootfs image shows which files exist)\n" in err
    assert {change["action"] for step in json.loads(out) for change in step["changes"]} == {"write"}
    with tarfile.open(tmp_path / "meta.tar", "w") as tar:
        for name in ("metadata.yaml", "templates"):
            tar.add(image / name, name)
    assert f"note: {CREATE_ONLY} (--rootfs image shows" in run("simulate", tmp_path / "meta.tar", "start")[2]
    err = run("simulate", image, "start", "--rootfs", "none")[2]
    assert f"note: {CREATE_ONLY} (--rootfs shows which files exist)\n" in err


def test_a_simulation_with_known_files_never_mentions_create_only(run, archive, image):
    for words in ([archive, "--rootfs", "image"], [image]):
        code, out, err = run("simulate", *words, "create", "start")
        assert (code, "create_only" in err) == (0, False), err
        assert "create then start: writes 2 files" in out
        assert "/etc/created  create  0:0 0644  t.tpl on create: new\n" in out
    assert "create_only" not in run("simulate", archive, "create", "--json")[2], "no rule has run"
    assert "create_only" not in run("simulate", archive, "start", "--vm")[2]


def test_unknown_files_of_a_rebuild_image_cause_a_note(run, archive, image):
    steps = ("create", "start", "stop")
    err = run("simulate", image, *steps, f"rebuild={archive}", "start")[2]
    advice = "if IMAGE in rebuild=IMAGE is a directory with a rootfs, templater knows which files exist"
    assert f"note: {CREATE_ONLY} ({advice})\n" in err
    assert "create_only" not in run("simulate", image, *steps, f"rebuild={image}", "start")[2]


@pytest.mark.parametrize(("word", "command"), [("lint", "check"), ("validate", "check"), ("buidl", None)])
def test_an_unknown_command_gets_a_suggestion(run, word, command):
    code, _, err = run(word, "x")
    assert code == 2
    assert f"unknown command '{word}'" in err
    if command:
        assert f"did you mean '{command}'?" in err


@pytest.mark.slow
def test_the_keep_modified_option_keeps_a_changed_file(run, image, tmp_path):
    (tmp_path / "root/etc").mkdir(parents=True)
    words = (image, tmp_path / "root", "-t", "create", "--state", tmp_path)
    assert run("apply", *words)[0] == 0
    (tmp_path / "root/etc/created").write_text("mine\n")
    code, out, err = run("apply", *words, "--keep-modified")
    assert (code, out) == (1, "")
    assert err.partition("templater: ")[2] == (
        "--keep-modified kept one file\n/etc/created: changed by hand\n"
        "hint: to overwrite the kept files, run once without --keep-modified\n"
    )
    assert (tmp_path / "root/etc/created").read_text() == "mine\n"


@pytest.mark.slow
def test_the_status_command_compares_files_with_their_record(run, image, tmp_path):
    (tmp_path / "root/etc").mkdir(parents=True)
    status = ("status", image, "--rootfs", tmp_path / "root", "--state", tmp_path, "-t", "create")
    assert run(*status, "--exit-code")[0] == 1
    err = run("status", image, "--rootfs", tmp_path / "root")[2]
    assert "note: no record of written files: this instance was never started with templater\n" in err
    assert run("apply", image, tmp_path / "root", "-t", "create", "--state", tmp_path)[0] == 0
    code, out, _err = run(*status, "--exit-code")
    assert code == 0 and out.splitlines()[1].split() == ["/etc/created", "no", "no", "change"]
    (tmp_path / "root/etc/created").write_text("mine\n")
    assert run(*status)[0] == 0
    code, out, err = run(*status, "--exit-code")
    assert code == 1 and out.splitlines()[1].split() == [
        "/etc/created",
        "yes",
        "(content)",
        "would",
        "update",
    ]
    assert err.endswith("2 files: 1 changed by hand, 1 would change at the next start\n")
    (file, _) = json.loads(run(*status, "--json")[1])["files"]
    assert (file["path"], file["changed_by_hand"], file["differences"]) == ("/etc/created", True, ["content"])
    assert file["recorded"]["mode"] == "0644" and file["template_changed"] is False


def test_apply_finds_the_instance_record_for_a_separate_rootfs(run, image, tmp_path):
    """A machine of nspawn is an example.

    `apply` did not use its record, so the next start called the written files "changed by hand".
    """
    state = image / ".templater"
    (image / "rootfs").rename(tmp_path / "root")
    state.mkdir(mode=0o700)
    words = (image, tmp_path / "root", "-t", "create")
    err = run("apply", *words)[2]
    assert (".templater" in err, (state / "written").exists()) == (False, False)  # compiled, never started
    (state / "state").write_text("name=web1\n")
    note = f"note: using the record of written files in '{state}'\n"
    code, _, err = run("apply", *words, "--keep-modified")
    assert (code, note in err, (state / "written").exists()) == (0, True, True)
    assert note in run("status", image, "--rootfs", tmp_path / "root")[2]
    # a hook records the root directory: the files of a trial elsewhere are not those of the machine
    (state / "state").write_text(f"name=web1\nroot={directory_identity(str(tmp_path / 'root'))}\n")
    written = (state / "written").read_bytes()
    (tmp_path / "trial/etc").mkdir(parents=True)
    for root, said in (
        ("trial", f"note: '{state}' is ignored: it is for another root directory"),
        ("root", note),
    ):
        code, _, err = run("apply", image, tmp_path / root, "-t", "create")
        assert (code, said in err) == (0, True)
        assert root != "trial" or (state / "written").read_bytes() == written
        assert said in run("status", image, "--rootfs", tmp_path / root)[2]


def test_the_apply_command_ignores_the_record_for_another_root_filesystem(run, image, tmp_path):
    state = image / ".templater"
    state.mkdir(mode=0o700)
    (state / "state").write_text("name=web1\n")
    (tmp_path / "root/etc").mkdir(parents=True)
    code, _, err = run("apply", image, tmp_path / "root", "-t", "create")
    note = f"note: '{state}' is ignored: it is for the root filesystem '{image}/rootfs' (see --state)\n"
    assert (code, note in err, (state / "written").exists()) == (0, True, False)


IDS = "lxc.idmap = {0} 0 100000 1000\nlxc.idmap = {0} 1000 1000 1\nlxc.idmap = {0} 1001 101001 64535\n"
RANGES = "lxc.rootfs.path = dir:ROOTFS\n" + IDS.format("u") + IDS.format("g")


@as_root
@pytest.mark.parametrize(
    ("config", "mode", "note", "uid"),
    [
        (RANGES, 0o640, "using the id map in '{}'", 1000),
        (RANGES, 0o660, "'{}' is ignored: other users can change it (owner uid 0)", 101000),
        (
            RANGES.replace("0 100000", "0 200000"), 0o640, "the id map in '{}' is ignored: it gives root the"
            " ids 200000:200000, but the root directory belongs to 100000:100000", 101000,
        ),
        (
            RANGES.replace("ROOTFS", "/elsewhere"), 0o640,
            "the id map in '{0}' is ignored: lxc.rootfs.path is not '{1}'", 101000,
        ),
        (RANGES.partition("\n")[2], 0o640, "the id map in '{0}' is ignored: lxc.rootfs.path is not '{1}'", 101000),
        ("lxc.idmap = u 0\n", 0o640, "the id map in '{0}' is ignored: '{0}' has an invalid lxc.idmap 'u 0'", 101000),
        ("lxc.idmap = u 0 100000 65536\nlxc.idmap = g 0 100000 65536\n", 0o640, "", 101000),
        ("not of LXC\n", 0o640, "", 101000),
    ],
)  # fmt: skip
def test_the_apply_command_uses_the_id_map_of_an_lxc_container(run, image, tmp_path, config, mode, note, uid):
    """An id map can give files to any user of the host. So a ``config`` in an unpacked image is ignored."""
    (image / "metadata.yaml").write_text(
        "templates:\n  /created: {when: [create], template: t.tpl, uid: 1000, gid: 1000}\n"
    )
    os.chown(image / "rootfs", 100000, 100000)
    path = write(image / "config", config.replace("ROOTFS", f"{image}/rootfs"))
    path.chmod(mode)
    for src in (image, tmp_path / "image"):
        if src != image:
            shutil.copytree(image, src, ignore=shutil.ignore_patterns("config", "rootfs"))
        code, _, err = run("apply", src, image / "rootfs", "-t", "create")
        made = (image / "rootfs/created").stat()
        assert (code, made.st_uid, made.st_gid) == (0, uid, uid)
        assert f"note: {note.format(path, image / 'rootfs')}\n" in err if note else "id map" not in err
        os.unlink(image / "rootfs/created")
    os.mkfifo(tmp_path / "fifo")
    os.replace(tmp_path / "fifo", path)
    assert "config" not in run("preview", image, "--rootfs", image / "rootfs")[2]


@as_root
def test_the_error_about_an_unrestored_mounted_file_mentions_a_saved_copy(
    run, image, tmp_path, mounts, monkeypatch
):
    """The state directory had the record of the files, but the old content was only in memory."""

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/created").touch()
    (tmp_path / "volume").write_text("the old content\n")
    mounts.bind(tmp_path / "volume", tmp_path / "root/etc/created")
    monkeypatch.setattr(MountedFile, "cut", fail)
    monkeypatch.setattr(MountedFile, "_restore", fail)
    words = (image, tmp_path / "root", "-t", "create", "--cross-mounts", "--state", tmp_path)
    code, _, err = run("apply", *words)
    assert code == 6
    note = "can't restore '/etc/created': no space left on device; its old content is in '(.*)'"
    (place,) = re.findall(note, err)
    assert Path(place).read_text() == "the old content\n"
    assert (tmp_path / "volume").read_text() != "the old content\n"


def test_the_apply_command_removes_leftovers_of_a_killed_hook(run, image, tmp_path):
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / ".templater").mkdir(mode=0o700)
    (tmp_path / ".templater/journal").write_text("0123456789ab-1\0/etc")
    (tmp_path / "root/etc/.templater-0123456789ab-7-1").touch()
    assert run("apply", image, tmp_path / "root", "-t", "create", "--state", tmp_path)[0] == 0
    assert not (tmp_path / ".templater/journal").exists()
    assert sorted(path.name for path in (tmp_path / "root/etc").iterdir()) == ["created", "shipped"]
