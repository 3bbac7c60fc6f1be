"""Many instances: each one gets the same plan as if it were planned alone."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from templater.batch import plan_instances
from templater.batch.plan_instances import Fleet
from templater.cli.run_command_line import main
from templater.image.open_image import open_image
from templater.model.entry import DIRECTORY, Entry
from templater.model.errors import TemplaterError
from templater.model.hosts import INCUS
from templater.model.instance import Instance
from templater.model.render_options import RenderOptions
from templater.parsing.instance_list import stream_instances
from templater.planning.plan_image import plan
from templater.reporting.json_data import plan_data
from templater.rootfs.memory_rootfs import MemoryRootfs

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = ROOT / "sample-images"
WEB = str(SAMPLES / "debian-cloud")


def an_instance(number, **more):
    config = {
        "user.user-data": f"#cloud-config\nhostname: web{number}\n",
        "image.os": "debian",
        "user.text": '"},{"',
    }
    return {
        "architecture": "x86_64", "config": config, "devices": {}, "ephemeral": False, "expanded_config": config,
        "expanded_devices": {"eth0": {"type": "nic", "name": "eth0"}}, "name": f"web{number}", "profiles": ["default"],
        "type": "virtual-machine" if number % 7 == 3 else "container", **more,
    }  # fmt: skip


def a_list(count, **more):
    return json.dumps(
        [an_instance(number, **more) for number in range(count)], separators=(",", ":")
    ).encode()


def fleet_of(image=WEB, triggers=("create", "start"), show="json", **more):
    return Fleet(open_image(image), RenderOptions(INCUS), triggers=triggers, show=show, **more)


def results(data, image=WEB, **more):
    return list(fleet_of(image, **more).results(stream_instances(io.BytesIO(data).read, "all.json")))


def plans(data, image=WEB, **more):
    return [json.loads(result.text) for result in results(data, image, **more)]


def one_by_one(data, image=WEB, triggers=("create", "start")):
    for instance in stream_instances(io.BytesIO(data).read, "all.json"):
        yield plan_data(plan(open_image(image), instance, triggers=triggers, host=INCUS))


def test_a_configuration_value_similar_to_a_placeholder_is_rendered_unchanged(tmp_path):
    """A reused plan is JSON with such placeholders in place of the contents."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/a.tpl").write_text('{{ config_get("user.text", "") }}\0001\0')
    (tmp_path / "templates/b.tpl").write_text("{{ instance.name }}")
    (tmp_path / "metadata.yaml").write_text(
        "templates: {/a: {when: [create], template: a.tpl}, /b: {when: [create], template: b.tpl}}\n"
    )
    data = json.dumps(
        [an_instance(n, name=f"c{n}") for n in range(4)]
        + [an_instance(5, name="c5", expanded_config={"user.text": '\0001\0"\\u00001\\u0000"'})]
    ).encode()
    assert plans(data, str(tmp_path)) == list(one_by_one(data, str(tmp_path)))


def test_json_output_escapes_control_characters_of_terminals(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/a.tpl").write_text("a\u202e{{ instance.name }}")
    (tmp_path / "metadata.yaml").write_text("templates: {/\u202e: {when: [create], template: a.tpl}}\n")
    data = json.dumps([an_instance(number) for number in range(2)]).encode()
    texts = [result.text for result in results(data, str(tmp_path))]
    assert all("\\u202e" in text and "\u202e" not in text for text in texts)
    assert [json.loads(text)["changes"][0]["content"] for text in texts] == ["a\u202eweb0", "a\u202eweb1"]


IMAGES = ["debian-cloud", "permissions", "netplan", "broken", "rocky-vm", "openwrt", "ubuntu-2016"]


@pytest.mark.slow
@pytest.mark.parametrize("image", IMAGES)
def test_an_instance_list_gives_the_same_plans_as_individual_instances(image):
    data, image = a_list(12), str(SAMPLES / image)
    assert plans(data, image) == list(one_by_one(data, image))


@pytest.mark.parametrize("image", IMAGES)
def test_forty_instances_with_different_file_contents_need_at_most_four_plans(image, monkeypatch):
    planned = []
    real = Fleet._plan
    monkeypatch.setattr(Fleet, "_plan", lambda self, *a: planned.append(1) or real(self, *a))
    assert len(results(a_list(40), str(SAMPLES / image))) == 40
    assert 1 <= len(planned) <= 4  # containers and virtual machines, names of 4 and of 5 characters


@pytest.mark.slow
@pytest.mark.parametrize("content", ["", "new\n", "{{ instance.name }}\n"])
def test_a_plan_is_reused_even_if_target_files_exist(content, tmp_path, monkeypatch):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "t").write_text(content)
    rules = "".join(f"  /etc/{name}: {{when: [create], template: t}}\n" for name in ("equal", "old", "new"))
    (tmp_path / "metadata.yaml").write_text(f"templates:\n{rules}")
    rootfs = MemoryRootfs({"/etc/old": "old\n", "/etc/equal": content, "/etc": Entry(DIRECTORY, 0o755)})
    data, image = a_list(20), str(tmp_path)
    alone = [
        plan_data(plan(open_image(image), instance, triggers=("create",), rootfs=rootfs, host=INCUS))
        for instance in stream_instances(io.BytesIO(data).read, "all.json")
    ]
    planned = []
    real = Fleet._plan
    monkeypatch.setattr(Fleet, "_plan", lambda self, *a: planned.append(1) or real(self, *a))
    assert plans(data, image, triggers=("create",), rootfs=rootfs) == alone
    assert len(planned) <= 4


@pytest.mark.slow
def test_an_instance_list_gives_the_same_errors_as_individual_instances(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "a.tpl").write_text('{{ true|yesno:config_get("user.words", "") }}')
    (tmp_path / "templates" / "b.tpl").write_text("{{ instance.name }}")
    rules = [f"  /etc/{name}: {{when: [create], template: {name}.tpl}}\n" for name in "ab"]
    (tmp_path / "metadata.yaml").write_text("templates:\n" + "".join(rules))
    values = [{"user.words": f"a,b,c,{number % 100}"} if number % 3 else {} for number in range(300)]
    instances = [an_instance(n, config=config, expanded_config=config) for n, config in enumerate(values)]
    data = json.dumps(instances).encode()
    assert plans(data, str(tmp_path)) == list(one_by_one(data, str(tmp_path)))
    found = results(data, str(tmp_path), show="summary")
    assert len(found) == 300
    failing = [result for result in found if result.code]
    assert {result.code for result in failing} == {5}
    assert [result.name for result in failing] == [f"web{n}" for n in range(300) if n % 3]
    assert len({result.errors for result in failing}) == 100


@pytest.mark.slow
def test_the_cache_size_does_not_affect_the_results(tmp_path, monkeypatch):
    monkeypatch.setattr(plan_instances, "MOST_EXAMPLES", 2)
    data = json.dumps([an_instance(n, name="w" * (1 + n % 5)) for n in range(20)]).encode()
    assert plans(data) == list(one_by_one(data))


@pytest.mark.parametrize("ascii", [True, False])
def test_list_and_individual_results_agree_on_unusual_names(ascii):
    values = ["\udc80", '\x00"\\', "é\u2028", "</script>", "\udcff", "😀", "plain", "\udc80", ""]
    names = ["a", "-", "é", "a.b", 'x"y', "a" * 200, "b", "c", "d"]
    instances = [an_instance(0, name=name) for name in names]
    for instance, value in zip(instances, values, strict=True):
        instance["config"] = instance["expanded_config"] = {
            "user.user-data": value,
            "user.vendor-data": value,
        }
    data = json.dumps(instances, ensure_ascii=ascii).encode("utf-8", "surrogateescape")
    assert plans(data) == list(one_by_one(data))


#: two passes write one file: the action of the second depends on whether the content is the same
TWICE = """\
templates:
  /etc/a: {when: [create, start], template: trigger.tpl}
  /etc/b: {when: [create, start], template: name.tpl}
  /etc/c: {when: [create], template: name.tpl}
"""


@pytest.mark.parametrize("kind", ["container", "virtual-machine"])
def test_list_and_individual_results_agree_for_two_competing_rules(tmp_path, kind):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "trigger.tpl").write_text('{{ config_get("user.x", trigger) }}')
    (tmp_path / "templates" / "name.tpl").write_text("{{ instance.name }}")
    (tmp_path / "metadata.yaml").write_text(TWICE)
    values = [{}, {"user.x": "same"}, {"user.x": "web3"}, {}, {"user.x": "web5"}, {"user.x": "start"}]
    instances = [
        an_instance(n, type=kind, config=config, expanded_config=config) for n, config in enumerate(values)
    ]
    data = json.dumps(instances).encode()
    found = plans(data, str(tmp_path))
    assert found == list(one_by_one(data, str(tmp_path)))
    if kind == "virtual-machine":
        assert len({tuple(change["action"] for change in one["changes"]) for one in found}) > 1


def test_every_instance_before_an_invalid_instance_has_a_result():
    instances = json.loads(a_list(120))
    instances[97]["config"] = instances[97]["expanded_config"] = [1]
    found = fleet_of().results(stream_instances(io.BytesIO(json.dumps(instances).encode()).read, "all.json"))
    names = []
    with pytest.raises(
        TemplaterError, match=r"^all\.json\[97\]:1:1: config: must be a mapping of keys, not a list$"
    ):
        names.extend(result.name for result in found)
    assert names == [f"web{number}" for number in range(97)]


def test_config_and_device_options_override_the_values_of_every_instance(tmp_path, capfd):
    (tmp_path / "all.json").write_bytes(a_list(3))
    words = ["-c", "cloud-init.user-data=mine", "-d", "eth0,hwaddr=00:16:3e:00:00:01", "-t", "create"]
    assert main(["preview", WEB, "--instances", str(tmp_path / "all.json"), "--json", *words]) == 0
    found = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [any(c["content"] == "mine\n" for c in one["changes"]) for one in found] == [True] * 3


@pytest.mark.parametrize("rootfs", [[], ["--rootfs", "none"], ["--rootfs", "image"]])
@pytest.mark.parametrize("triggers", [[], ["-t", "next"], ["-t", "start"]])
def test_list_and_individual_previews_are_equal(rootfs, triggers, tmp_path, capfd):
    """Each instance has its own triggers and notes.

    The image's root filesystem has a file that one instance would write.
    """
    image = tmp_path / "image"
    (image / "templates").mkdir(parents=True)
    (image / "templates/name.tpl").write_text("{{ instance.name }}\n")
    rules = "".join(
        f"  /etc/{trigger}: {{when: [{trigger}], template: name.tpl}}\n"
        for trigger in ("create", "copy", "start")
    )
    (image / "metadata.yaml").write_text(
        "architecture: x86_64\ncreation_date: 1\ntemplates:\n" + rules
        + "  /etc/once: {when: [create, copy], create_only: true, template: name.tpl}\n"
    )  # fmt: skip
    (image / "rootfs/etc").mkdir(parents=True)
    (image / "rootfs/etc/once").write_text("shipped\n")
    (image / "rootfs/etc/start").write_text("web4\n")
    pending = {0: {"volatile.apply_template": "copy"}, 2: {"volatile.uuid": "x"}}
    instances = [an_instance(n) for n in range(6)]
    for number, instance in enumerate(instances):
        config = instance["config"] | pending.get(number, {})
        instance.update(config=config, expanded_config=config)
    (tmp_path / "all.json").write_text(json.dumps(instances))
    words = ["preview", str(image), "--json", *rootfs, *triggers]
    assert main([*words, "--instances", str(tmp_path / "all.json")]) == 0
    together = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    alone = []
    for number in range(6):
        assert main([*words, "-i", f"{tmp_path}/all.json#web{number}"]) == 0
        alone.append(json.loads(capfd.readouterr().out))
    assert together == alone
    if not triggers:
        assert together[0]["triggers"] == ["copy", "start"]


def test_equal_notes_about_triggers_are_counted_for_all_instances_together(tmp_path, capfd):
    instances = [an_instance(n) for n in range(3)]
    instances[1]["config"] = instances[1]["expanded_config"] = {"volatile.apply_template": "copy"}
    (tmp_path / "all.json").write_text(json.dumps(instances))
    assert main(["preview", WEB, "--instances", str(tmp_path / "all.json")]) == 0
    said = capfd.readouterr().err
    assert (
        "2 x (first: web0): note: triggers create,start: the first start of a new instance (see -t)\n" in said
    )
    assert (
        "1 x (first: web1): note: triggers copy,start: 'copy' is pending in the description (see -t)\n"
        in said
    )
    assert said.endswith("3 instances, 18 files, 0 failing\n"), said


def test_diff_continues_after_instances_without_a_root_filesystem(tmp_path, capfd):
    instances = [an_instance(n) for n in range(5)]  # web3 is a virtual machine
    for name, hostname in (("web0", "web0\n"), ("web1", "old\n"), ("web4", "old\n")):
        (tmp_path / name / "rootfs/etc").mkdir(parents=True)
        (tmp_path / name / "rootfs/etc/hostname").write_text(hostname)
        (tmp_path / name / "rootfs/etc/hosts").write_text(f"127.0.0.1 {name}\n")
    (tmp_path / "image/templates").mkdir(parents=True)
    (tmp_path / "image/templates/h.tpl").write_text("{{ instance.name }}\n")
    (tmp_path / "image/metadata.yaml").write_text(
        "architecture: x86_64\ncreation_date: 1\n"
        "templates:\n  /etc/hostname: {when: [create, start], template: h.tpl}\n"
    )
    (tmp_path / "all.json").write_text(json.dumps(instances))
    words = [
        "diff", str(tmp_path / "image"), str(tmp_path / "{name}/rootfs"),
        "--instances", str(tmp_path / "all.json"), "-t", "start",
    ]  # fmt: skip
    assert main(words) == 2
    said = capfd.readouterr()
    assert [line for line in said.out.splitlines() if line.startswith("# web")] == ["# web1", "# web4"]
    assert f"1 x (first: web2): '{tmp_path}/web2/rootfs' " in said.err
    assert said.err.endswith("2 of 5 would change, 1 unreadable, 1 skipped (virtual machine)\n")
    (tmp_path / "web2/rootfs/etc").mkdir(parents=True)
    assert main(words) == 0
    assert main([*words, "--exit-code"]) == 1
    assert capfd.readouterr().err.endswith("3 of 5 would change, 1 skipped (virtual machine)\n")


def test_diff_inserts_each_instance_name_into_the_path_pattern(tmp_path, capfd):
    for number in range(2):
        (tmp_path / f"web{number}" / "rootfs" / "etc").mkdir(parents=True)
    (tmp_path / "web0" / "rootfs" / "etc" / "hostname").write_text("web0\n")
    (tmp_path / "all.json").write_bytes(a_list(2))
    pattern = str(tmp_path / "{name}" / "rootfs")
    code = main(
        ["diff", str(SAMPLES / "alpine"), pattern, "--instances", str(tmp_path / "all.json"), "-t", "create"]
    )
    out = capfd.readouterr().out
    assert code == 0
    assert out.count("+++ b/etc/hostname") == 1
    assert out.count("+++ b/etc/hosts") == 2


COMMAND = [sys.executable, "-m", "templater", "preview", WEB, "--json", "--instances"]


@pytest.mark.slow
def test_a_piped_instance_list_gives_same_output_as_file(tmp_path):
    data = a_list(600)
    (tmp_path / "all.json").write_bytes(data)
    piped = subprocess.run([*COMMAND, "-"], input=data, cwd=ROOT, capture_output=True, check=False)
    filed = subprocess.run([*COMMAND, tmp_path / "all.json"], cwd=ROOT, capture_output=True, check=False)
    assert piped.stdout.count(b"\n") == 600
    assert (filed.stdout, filed.stderr, filed.returncode) == (piped.stdout, piped.stderr, piped.returncode)


@pytest.mark.slow
def test_a_command_ends_after_the_reader_closes_the_pipe(tmp_path):
    (tmp_path / "all.json").write_bytes(a_list(5000))
    command = subprocess.Popen(
        [*COMMAND, tmp_path / "all.json"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert command.stdout.read(100)
    command.stdout.close()
    assert command.stderr.read() == b""
    assert command.wait() == 141
    command.stderr.close()


def test_an_instance_name_with_a_slash_selects_no_root_filesystem(tmp_path):
    (tmp_path / "outside" / "rootfs").mkdir(parents=True)
    data = json.dumps([an_instance(0, name="../outside")]).encode()
    pattern = str(tmp_path / "inside" / "{name}" / "rootfs")
    with pytest.raises(
        TemplaterError,
        match=r"^invalid instance name '\.\./outside': a name can't be '\.' or '\.\.', or contain '/'$",
    ) as caught:
        results(data, pattern=pattern, show="patch")
    assert caught.value.hint == "for example: web1"
    instance = Instance("web1")
    instance.name = "../outside"
    (result,) = fleet_of(pattern=pattern, show="patch").results([instance])
    assert (result.code, result.text, result.skipped) == (3, "", "unreadable")


@pytest.mark.parametrize(
    "arguments",
    [
        ["-i", "x"],
        ["--name", "x"],
        ["--vm"],
        ["-p", "x"],
        ["-o", "tree"],
        ["--rootfs", "no-name-in-it"],
        ["-t", "all"],
    ],
)
def test_options_for_one_instance_are_refused_with_the_instances_option(arguments, tmp_path, capfd):
    (tmp_path / "all.json").write_bytes(a_list(1))
    assert main(["preview", WEB, "--instances", str(tmp_path / "all.json"), *arguments]) == 2


def test_an_error_suggests_option_i_for_one_instance(tmp_path, capfd):
    file = tmp_path / "all.json"
    file.write_bytes(a_list(2))
    assert main(["preview", WEB, "--instances", f"{file}#web1"]) == 2
    said = capfd.readouterr().err
    assert "can't select 'web1'" in said
    assert f"hint: use -i '{file}#web1'" in said
    (tmp_path / "all.json#web1").write_bytes(a_list(2))
    assert main(["preview", WEB, "--instances", f"{file}#web1"]) == 0


def test_preview_exits_with_the_code_of_a_failing_instance(tmp_path, capfd):
    (tmp_path / "all.json").write_bytes(a_list(2))
    assert (
        main(["preview", str(SAMPLES / "broken"), "--instances", str(tmp_path / "all.json"), "-t", "create"])
        == 5
    )
    said = capfd.readouterr()
    assert "2 x (first: web0)" in said.err


PEAK = """
import sys
sys.path.insert(0, {root!r})
from templater.cli.run_command_line import main
main(["preview", {image!r}, "--instances", {file!r}, "--json", "-t", "create"])
# not ru_maxrss, which begins with that of the process that started this one
print(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0], file=sys.stderr)
"""


@pytest.mark.slow
def test_peak_memory_does_not_grow_with_more_instances(tmp_path):
    peaks = []
    for count in (16_000, 48_000):
        file = tmp_path / f"{count}.json"
        file.write_bytes(a_list(count))
        code = PEAK.format(root=str(ROOT), image=WEB, file=str(file))
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
            env=os.environ,
        )
        peaks.append(int(done.stderr.split()[-1]))
    assert peaks[1] < peaks[0] + 2048
    assert peaks[1] < 60 * 1024


def test_each_template_is_compiled_once_for_all_instances_of_a_list(monkeypatch):
    calls = []
    import templater.pongo2 as pongo2

    real = pongo2.compile
    monkeypatch.setattr(pongo2, "compile", lambda *a, **k: calls.append(1) or real(*a, **k))
    results(a_list(20), triggers=("create",))
    assert len(calls) == 6
