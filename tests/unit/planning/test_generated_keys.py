"""The keys of a new instance: names as recorded in a first start on Incus 6.0.4 (incus_cases_2, n59 and n10)."""

import json
from pathlib import Path

from templater.cli.run_command_line import main
from templater.image.open_image import open_image
from templater.model.hosts import INCUS_DEBIAN
from templater.model.instance import VIRTUAL_MACHINE, Instance
from templater.model.metadata import Rule
from templater.model.plan import CREATE, Change, Plan
from templater.model.render_options import RenderOptions
from templater.planning import generated_keys
from templater.planning.every_host import plan_every_host
from templater.planning.generated_keys import (
    PLACEHOLDER,
    new_instance,
    placeholder_note,
    with_placeholders,
)
from templater.planning.plan_image import plan_image

N59 = json.loads((Path(__file__).parents[2] / "incus_cases_2/n59_config_loop.json").read_text())


def image(path: Path, template: str, when: str = "create") -> Path:
    (path / "templates").mkdir(parents=True)
    (path / "metadata.yaml").write_text(
        f"architecture: x86_64\ncreation_date: 1\nproperties: {{os: tiny, release: test}}\n"
        f"templates: {{/etc/k: {{when: [{when}], template: k.tpl}}}}\n"
    )
    (path / "templates/k.tpl").write_text(template)
    return path


def planned(path: Path, template: str, instance: Instance, when: str = "create", **options: bool) -> Plan:
    return plan_image(
        open_image(image(path, template, when)), instance, RenderOptions(INCUS_DEBIAN),
        triggers=("create", "start"), **options,
    )  # fmt: skip


def test_a_new_instance_has_the_recorded_keys_at_its_first_start(
    tmp_path: Path,
) -> None:
    template = N59["image"]["templates"]["k.tpl"]
    made = planned(tmp_path, template, Instance(), "start", new=True, placeholders=True)
    first_start = N59["observed"][1]
    assert first_start["step"] == ["start", "c1"]
    recorded = first_start["after"]["c1"]["files"]["/etc/k"]["content"]
    assert made.changes[0].content == recorded.encode()


def test_a_new_instance_has_generated_keys_on_every_host(tmp_path: Path) -> None:
    opened = open_image(image(tmp_path, "{{ config_get('volatile.uuid', 'none') }}"))
    options = RenderOptions(INCUS_DEBIAN)
    for words, text in (({"new": True}, PLACEHOLDER), ({}, "none")):
        plans = plan_every_host(opened, Instance(), options, triggers=("create",), **words)
        assert {made.changes[0].content for made in plans.values()} == {text.encode()}


def test_generated_keys_have_a_placeholder_value_and_cause_a_note(tmp_path: Path) -> None:
    devices = {"eth0": {"type": "nic"}, "eth1": {"type": "nic", "hwaddr": "00:16:3e:00:00:01"}}
    template = "{{ config_get('volatile.uuid', 'none') }} {{ config_get('volatile.eth0.hwaddr', 'none') }} "
    template += "{{ config_get('volatile.eth1.hwaddr', 'none') }}"
    instance = Instance(devices=devices)
    made = planned(tmp_path, template, instance, new=True, placeholders=True)
    assert made.changes[0].content == f"{PLACEHOLDER} {PLACEHOLDER} none".encode()
    assert [PLACEHOLDER in note for note in made.notes] == [True]


def test_a_plan_without_placeholders_has_no_note(tmp_path: Path) -> None:
    made = planned(tmp_path, "{{ config_get('image.os', 'none') }}", Instance(), new=True, placeholders=True)
    assert made.changes[0].content == b"tiny" and made.notes == ()


def test_image_keys_override_user_keys_but_user_keys_override_generated_keys() -> None:
    given = Instance(config={"image.os": "mine", "volatile.uuid": "u", "user.a": "b"})
    config = new_instance(given, {"os": "tiny"}, ("create",), placeholders=True).config
    assert (config["image.os"], config["volatile.uuid"], config["user.a"]) == ("tiny", "u", "b")


def test_placeholders_replace_only_missing_keys_and_can_contain_the_instance_name() -> None:
    given = Instance(config={"volatile.uuid": "u"}, devices={"eth0": {"type": "nic"}})
    config = with_placeholders(given, "c1").config
    named = f"{PLACEHOLDER.rstrip('>')} of c1>"
    assert (config["volatile.uuid"], config["volatile.eth0.hwaddr"]) == ("u", named)
    assert with_placeholders(given).config["volatile.base_image"] == PLACEHOLDER
    assert with_placeholders(with_placeholders(given)).config == with_placeholders(given).config


def test_a_virtual_machine_has_no_id_map() -> None:
    made = new_instance(Instance(type=VIRTUAL_MACHINE), {}, ("create",), placeholders=True)
    assert "volatile.uuid" in made.config and "volatile.idmap.next" not in made.config


def test_a_preview_of_a_new_instance_has_generated_keys(tmp_path: Path, capsys) -> None:
    path = image(
        tmp_path / "image", "{{ config_get('image.os', 'none') }} {{ config_get('volatile.uuid', '-') }}\n"
    )
    assert main(["preview", str(path), "-c", "image.os=mine"]) == 0
    shown = capsys.readouterr()
    assert f"tiny {PLACEHOLDER}" in shown.out and PLACEHOLDER in shown.err


def test_existing_instances_have_no_generated_keys_in_the_preview(tmp_path: Path, capsys) -> None:
    path = image(tmp_path / "image", "[{{ config_get('image.os', 'none') }}]\n")
    description = tmp_path / "web1.yaml"
    description.write_text("name: web1\nconfig: {volatile.uuid: 6f1c}\n")
    assert main(["preview", str(path), "-i", str(description)]) == 0
    assert "[none]" in capsys.readouterr().out


def test_the_apply_command_writes_no_placeholder(tmp_path: Path) -> None:
    path = image(
        tmp_path / "image", "{{ config_get('image.os', 'none') }} {{ config_get('volatile.uuid', '-') }}\n"
    )
    (tmp_path / "rootfs/etc").mkdir(parents=True)
    assert main(["apply", str(path), str(tmp_path / "rootfs"), "-t", "create"]) == 0
    assert (tmp_path / "rootfs/etc/k").read_text() == "tiny -\n"


def test_a_note_explains_each_kind_of_placeholder(tmp_path: Path) -> None:
    def notes(content: "bytes | None") -> tuple[str, ...]:
        change = Change(Rule("/a", "a.tpl"), "create", "/a", CREATE)
        change.content = content
        return placeholder_note([change])

    assert notes(None) == notes(b"text") == ()
    generated = "stands for a value that the daemon generates when it creates the instance"
    assert notes(PLACEHOLDER.encode()) == (f"'{PLACEHOLDER}' {generated}",)
    (note,) = notes(generated_keys._NEW_ID.encode() + b"1>")
    assert note.startswith(f"'{generated_keys._NEW_ID}…>' stands for a new ") and note.endswith(
        ", which the daemon generates"
    )
