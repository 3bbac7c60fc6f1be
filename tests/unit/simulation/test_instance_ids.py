"""When a simulation generates a new volatile.cloud-init.instance-id, beside recordings of Incus and LXD."""

import re
from pathlib import Path

import pytest

from templater.model.entry import FILE, Entry, TemplateFile
from templater.model.hosts import INCUS, LXD_DEBIAN
from templater.model.instance import Instance, Profile
from templater.model.render_options import RenderOptions
from templater.model.source import Source
from templater.planning.generated_keys import ID_KEY
from templater.rootfs.memory_rootfs import MemoryRootfs
from templater.simulation.instance_actions import Simulation
from templater.simulation.simulated_instance import MemoryFolder
from tests.command_server import run_templater

RECORDED = Path(__file__).with_name("instance_ids")
METADATA = "architecture: x86_64\ncreation_date: 1\ntemplates:\n  /id: {when: [start], template: a.tpl}\n"
TEMPLATE = f"{{{{ config_get('{ID_KEY}', '') }}}}".encode()


class Image:
    name = "img"

    def read_metadata(self):
        return Source("img/metadata.yaml", METADATA)

    def read_templates(self, names):
        return {name: TemplateFile(Entry(FILE), TEMPLATE) for name in names}


def new_ids(family: str) -> dict[str, bool]:
    """Return for each recorded change whether the daemon generated a new instance-id."""
    found, last = {}, ""
    for what, new in re.findall(r"^([\w .-]+): id=(\S+)", (RECORDED / f"{family}.txt").read_text(), re.M):
        found[what] = new != last
        last = new
    return found


@pytest.mark.parametrize(("family", "host"), [("incus", INCUS), ("lxd", LXD_DEBIAN)])
def test_simulation_and_daemons_renew_instance_ids_after_same_changes(family, host):
    life = Simulation(RenderOptions(host=host), placeholders=True)
    life.create(Instance("k1"), MemoryFolder(Image(), MemoryRootfs()))
    name, last, found = "k1", "", {}
    for what in new_ids(family):
        verb, _, key = what.partition(" ")
        if verb == "set":
            life.set(name, key, "#cloud-config")
        elif what == "rename":
            life.rename(name, "k2")
            name = "k2"
        elif what == "copy":
            life.copy(name, "k3")
            name = "k3"
        elif what == "profile user-data":  # the instance has its own value, which hides that of the profile
            life.set_profile(name, Profile("p", {"cloud-init.user-data": "of the profile"}, {}))
        elif what == "nic added":
            life.set_device(name, "eth0", "type", "nic")
        else:
            assert what in ("init", "started", "restart")
        id = life.find(name).instance.expanded_config()[ID_KEY]
        found[what] = id != last
        last = id
    assert found == new_ids(family)
    assert sum(found.values()) == 6


def test_instance_id_changes_with_interface_name_or_vendor_data():
    life = Simulation(RenderOptions(host=INCUS), placeholders=True)
    life.create(Instance("k1"), MemoryFolder(Image(), MemoryRootfs()))
    life.set_profile("k1", Profile("p", {"user.vendor-data": "a"}, {"eth0": {"type": "nic"}}))
    assert life.find("k1").instance.config[ID_KEY] == "<new instance-id 1>"
    life.set_profile("k1", Profile("p", {"user.vendor-data": "a"}, {"eth0": {"type": "nic", "mtu": "9000"}}))
    assert life.find("k1").instance.config[ID_KEY] == "<new instance-id 1>"
    life.set_device("k1", "eth0", "name", "lan0")
    assert life.find("k1").instance.config[ID_KEY] == "<new instance-id 2>"
    life.remove_profile("k1", "p")
    assert life.find("k1").instance.config[ID_KEY] == "<new instance-id 3>"


@pytest.mark.slow
def test_changed_user_data_gives_new_instance_id_in_diff(tmp_path):
    image = tmp_path / "image"
    (image / "templates").mkdir(parents=True)
    (image / "metadata.yaml").write_text(METADATA)
    (image / "templates" / "a.tpl").write_text(f"{{{{ config_get('{ID_KEY}', '') }}}}\n")
    instance = tmp_path / "web1.yaml"
    instance.write_text(f"name: web1\nstatus: Stopped\nconfig: {{{ID_KEY}: old}}\n")
    words = ["diff", str(image), "-i", str(instance), "-t", "start", "--set"]
    done = run_templater([*words, "user.user-data=#cloud-config"])
    assert "-old\n+<new instance-id 1>\n" in done.stdout
    assert run_templater([*words, "user.foo=1"]).stdout == ""
    assert "+mine\n" in run_templater([*words, "user.user-data=x", "--set", f"{ID_KEY}=mine"]).stdout
