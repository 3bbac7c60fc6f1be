"""The rules for cloud-init's next boot, compared with recorded boots of Debian's cloud-init."""

import json
import shutil
import subprocess
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from templater.cli.run_command_line import main
from templater.cloud_init import guest as facts_of_guest
from templater.cloud_init import next_boot as predictions
from templater.cloud_init import yaml_values
from templater.cloud_init.guest import Guest, read_guest
from templater.cloud_init.next_boot import Daemon, Verdict, daemon_of, judge
from templater.cloud_init.seed import Seed
from templater.model.hosts import INCUS, LXD, NONE
from templater.model.instance import Instance
from templater.model.metadata import Metadata
from templater.model.plan import Plan
from tests.command_server import run_templater

SEED = "/var/lib/cloud/seed/nocloud-net"
FILE = json.loads((Path(__file__).parents[2] / "cloud_init/boots.json").read_text())
RECORDED = FILE["cases"]
#: the user-data that a case changes to
TWO = FILE["cases"]["user-data, same instance-id"]["seeds"][-1]["user-data"]

ROOT = Path(__file__).resolve().parents[3]


def seed(files: dict[str, str]) -> Seed:
    return Seed({f"{SEED}/{name}": text.encode() for name, text in files.items()})


def guest_of(files: dict[str, str]) -> Guest:
    def names(path: str) -> list[str] | None:
        found = {name[len(path) + 1 :].split("/")[0] for name in files if name.startswith(f"{path}/")}
        return sorted(found) or None

    return read_guest(lambda path: files[path].encode() if path in files else None, names)


def facts(case: dict) -> dict[str, str]:
    """The files from which templater reads the guest's facts before the last boot, as the boots left them."""
    return FILE["files of every guest"] | case["files before the last boot"]


def prediction(case: dict) -> Verdict:
    *earlier, last = case["seeds"]
    api = case.get("lxd", [None])[-1]
    daemon = Daemon("incus") if api is None else Daemon("lxd", api[0], has_socket=True)
    return judge(seed(earlier[-1] if earlier else {}), seed(last), guest_of(facts(case)), daemon)


def happened(case: dict) -> dict[str, object]:
    """What the last boot did, as far as the data of its seed differs from the earlier data."""
    last = case["boots"][-1]
    ran = last["ran"]
    return {
        "datasource": last["result"]["datasource"].split()[0].removeprefix("DataSource"),
        "per instance": "per-instance" in ran,
        "per boot": "per-boot" in ran,
        "network": last["network written"],
    }


@pytest.mark.parametrize("name", RECORDED)
def test_the_cloud_init_prediction_equals_the_recorded_boot(name):
    case = RECORDED[name]
    found = prediction(case)
    seen = happened(case)
    assert seen["per boot"], "per-boot modules always run"
    assert found.datasource == seen["datasource"], found
    if found.datasource == "None":
        # the datasource None has an instance-id of its own, with which the guest may have booted before
        assert found.per_instance is None and found.reads is False and found.network is False
        return
    assert found.per_instance == seen["per instance"], found
    assert found.network == seen["network"], found


def changes_user_data(case: dict) -> bool:
    texts = [seed.get("user-data") for seed in case["seeds"]]
    if case.get("lxd", [None])[0] is not None:
        texts = [config["cloud-init.user-data"] for _, config in case["lxd"]]
    return len(texts) > 1 and texts[-1] == TWO


@pytest.mark.parametrize("name", [name for name, case in RECORDED.items() if changes_user_data(case)])
def test_prediction_says_whether_the_guest_reads_new_user_data(name):
    case = RECORDED[name]
    found, ran = prediction(case), case["boots"][-1]["ran"]
    assert ("bootcmd two" in ran) == found.reads, found


def test_the_version_and_the_datasources_of_each_recorded_guest_are_read():
    assert len(RECORDED) >= 12
    for name, case in RECORDED.items():
        guest = guest_of(facts(case))
        assert guest.version == "25.1.4"
        assert guest.sources is not None and guest.sources[-1] == "None", name


def test_templater_assumes_the_old_seed_without_guest_facts():
    case = RECORDED["user-data, same instance-id"]
    before, after = map(seed, case["seeds"])
    found = judge(before, after)
    assert (found.reads, found.per_instance, found.network) == (False, False, False)
    assert found.version == "" and found.sources is None


def test_an_incus_guest_ignores_user_data_without_a_seed():
    found = judge(seed({}), seed({}), Guest(sources=("NoCloud", "LXD", "None")), Daemon("incus"))
    assert found.datasource == "None"
    assert [reason.rule for reason in found.reasons] == ["the-datasource-lxd", "choice-of-the-datasource"]


def test_a_guest_reads_user_data_after_new_instance_id():
    guest = Guest(True, last_id="a", last_source="LXD", earlier=frozenset("a"))
    same = judge(seed({}), seed({}), guest, Daemon("lxd", "a", has_socket=True))
    new = judge(seed({}), seed({}), guest, Daemon("lxd", "b", has_socket=True))
    assert (same.datasource, same.reads, same.per_instance) == ("LXD", False, False)
    assert (new.datasource, new.reads, new.per_instance, new.network) == ("LXD", True, True, True)


def test_prediction_is_unknown_if_the_lxd_socket_is_uncertain():
    found = judge(seed({}), seed({}), Guest(), Daemon("lxd", "a", has_socket=None))
    assert (found.datasource, found.reads, found.per_instance, found.network) == ("", None, None, None)


@pytest.mark.parametrize("data", [b"\xff\xfe", b"a: [", b"- 1\n", b"instance-id: {a: b}\n", b"", b"&a [*a]"])
def test_damaged_cloud_init_seeds_and_settings_still_give_a_prediction(data):
    files = dict.fromkeys(("/etc/cloud/cloud.cfg", "/var/lib/cloud/data/result.json"), data)
    guest = read_guest(files.get, lambda path: None)
    found = judge(Seed({}), Seed({f"{SEED}/meta-data": data, f"{SEED}/user-data": data}), guest)
    assert found.datasource == "NoCloud"


@pytest.mark.parametrize(
    ("most", "data"),
    [(facts_of_guest.MAX_SETTINGS, b""), (4, b"#" * (facts_of_guest.MAX_SETTINGS_TOTAL // 4))],
)
def test_a_guest_with_too_many_settings_gives_no_facts(most, data):
    names = [f"{number}.cfg" for number in range(most + 1)]
    files = {f"/etc/cloud/cloud.cfg.d/{name}": data for name in names}
    files["/var/lib/cloud/data/instance-id"] = b"i-1"
    assert read_guest(files.get, lambda path: names if path.endswith(".d") else None) == Guest()
    assert read_guest(files.get, lambda path: names[:most] if path.endswith(".d") else None).last_id == "i-1"


@pytest.mark.parametrize(
    ("value", "trusts"),
    [("true", True), ("True", True), ("yes", True), ("on", True), ("1", True), ("'1'", True), ("false", False),
     ("no", False), ("0", False), ("''", False), ("~", False), ("[true]", False)],
)  # fmt: skip
def test_a_setting_of_cloud_init_may_have_any_spelling_of_true(value, trusts):
    settings = f"manual_cache_clean: {value}\n".encode()
    assert read_guest({"/etc/cloud/cloud.cfg": settings}.get, lambda path: None).trusts_cache == trusts


def test_each_cloud_init_settings_file_is_parsed_once(monkeypatch):
    parsed = []
    monkeypatch.setattr(yaml_values, "parse", lambda source: parsed.append(source.text))
    files = {f"/etc/cloud/cloud.cfg.d/{number}.cfg": b"%d" % number for number in range(3)}
    read_guest(files.get, lambda path: ["0.cfg", "1.cfg", "2.cfg"] if path.endswith(".d") else None)
    assert parsed == ["2", "1", "0"]


def test_every_reason_has_a_section_in_the_documentation():
    page = (Path(__file__).parents[3] / "docs/cloud-init.md").read_text()
    sections = {line[3:].lower().replace(" ", "-") for line in page.splitlines() if line.startswith("## ")}
    used = {reason.rule for case in RECORDED.values() for reason in prediction(case).reasons}
    assert used and used <= sections


@pytest.mark.slow
def test_the_last_boot_is_unknown_for_an_archive(tmp_path):
    """templater reads only the targets of rules from an archive, so the state of the last boot is unknown there."""
    image = shutil.copytree(ROOT / "sample-images/debian-cloud", tmp_path / "image", symlinks=True)
    for path, text in {
        "var/lib/cloud/data/instance-id": "web1\n",
        "var/lib/cloud/data/result.json": '{"v1": {"datasource": "DataSourceNoCloud [seed=x]"}}',
        "var/lib/cloud/seed/nocloud-net/meta-data": "instance-id: web1\n",
    }.items():
        (image / "rootfs" / path).parent.mkdir(parents=True, exist_ok=True)
        (image / "rootfs" / path).write_text(text)
    archive = tmp_path / "image.tar"
    subprocess.run(["tar", "-C", image, "-cf", archive, "metadata.yaml", "templates", "rootfs"], check=True)
    said = {}
    for source, rootfs in ((image, image / "rootfs"), (archive, "image")):
        words = [
            "diff",
            source,
            rootfs,
            "--name",
            "web1",
            "-c",
            "volatile.cloud-init.instance-id=web1",
            "-t",
            "create",
        ]
        said[rootfs] = run_templater(list(map(str, words))).stderr
    assert "the instance-id is still 'web1'" in said[image / "rootfs"]
    assert "the result of the next boot is unknown" in said["image"]
    assert (
        "it is unknown whether this is the guest's first boot: at the first boot, all modules run"
        in said["image"]
    )


@pytest.mark.parametrize("folder", ["var/lib/cloud/instances", "etc/cloud/cloud.cfg.d"])
@pytest.mark.parametrize(("number", "is_known"), [(5, True), (6, False)])
def test_guest_facts_are_unknown_if_directory_is_too_large(
    tmp_path, monkeypatch, capfd, folder, number, is_known
):
    """The user of a container could give a directory millions of names, which filled the memory of ``diff``."""
    monkeypatch.setattr(predictions, "MOST_NAMES", 5)
    image = shutil.copytree(ROOT / "sample-images/debian-cloud", tmp_path / "image", symlinks=True)
    for path in (folder, "var/lib/cloud/data"):
        (image / "rootfs" / path).mkdir(parents=True)
    (image / "rootfs/var/lib/cloud/data/instance-id").write_text("web1\n")
    for name in range(number):
        (image / "rootfs" / folder / str(name)).touch()
    main(["diff", str(image), str(image / "rootfs"), "-t", "create"])
    told = capfd.readouterr().err
    assert ("the instance-id changes from 'web1'" in told) == is_known
    assert ("it is unknown whether this is the guest's first boot" in told) == (not is_known)


FULL = {"meta-data": "instance-id: a\n", "user-data": "#cloud-config\n", "network-config": "version: 2\n"}
SEEDS = {
    "no seed": {},
    "no meta-data": {"user-data": "", "network-config": "version: 2\n"},
    "no user-data": {"meta-data": "instance-id: a\n"},
    "instance-id a": FULL,
    "instance-id a, other user-data": FULL | {"user-data": "#!/bin/sh\n"},
    "instance-id b": FULL | {"meta-data": "instance-id: b\n"},
    "no instance-id": FULL | {"meta-data": "local-hostname: c\n"},
    "no network-config": {name: text for name, text in FULL.items() if name != "network-config"},
}
BOOTED = Guest(True, last_id="a", last_source="NoCloud", earlier=frozenset("ab"))
GUESTS = {
    "unknown": Guest(),
    "never booted": Guest(True),
    "cloud-init disabled": Guest(True, disabled=True),
    "booted with a, earlier with b": BOOTED,
    "booted with a": replace(BOOTED, earlier=frozenset("a")),
    "booted without an id": replace(BOOTED, last_id="nocloud", earlier=frozenset(("nocloud",))),
    "booted, manual_cache_clean": replace(BOOTED, trusts_cache=True),
    "booted, manual_cache_clean and updates": replace(BOOTED, trusts_cache=True, updates_at_boot=True),
    "booted, updates": replace(BOOTED, updates_at_boot=True),
    "booted, network disabled": replace(BOOTED, disabled_network=True),
    "booted, updates, network disabled": replace(BOOTED, updates_at_boot=True, disabled_network=True),
    "booted, only LXD": replace(BOOTED, sources=("LXD",)),
    "booted from LXD": replace(BOOTED, last_source="LXD", last_id="x"),
    "booted from LXD, updates": replace(BOOTED, last_source="LXD", last_id="x", updates_at_boot=True),
}
DAEMONS = {
    "Incus": Daemon("incus"),
    "LXD": Daemon("lxd", "x", has_socket=True),
    "LXD, perhaps without a socket": Daemon("lxd", "x"),
}


def test_all_cloud_init_predictions_are_as_recorded(update):
    recorded = Path(__file__).with_name("predictions.txt")
    blocks: dict[str, list[str]] = {}
    for (guest_name, guest), (seed_name, files), (daemon_name, daemon) in product(
        GUESTS.items(), SEEDS.items(), DAEMONS.items()
    ):
        found = judge(seed(FULL), seed(files), guest, daemon)
        facts = f"{found.datasource or '?'} {found.instance or '?'} {found.reads} {found.per_instance} {found.network}"
        reasons = "".join(f"    {each.text} ({each.rule})\n" for each in found.reasons)
        blocks.setdefault(f"  {facts}\n{reasons}", []).append(f"{guest_name}; {seed_name}; {daemon_name}\n")
    text = "".join("".join(names) + block for block, names in blocks.items())
    if update:
        recorded.write_text(text)
    assert text == recorded.read_text()


@pytest.mark.parametrize(
    ("host", "devlxd", "served"),
    [
        (LXD, None, True), (LXD, "true", True), (LXD, "False", False), (LXD, "0", False), (LXD, "no", False), (LXD, "off", False),
        (INCUS, None, False), (INCUS, "true", False), (NONE, None, None), (NONE, "false", None),
    ],
)  # fmt: skip
def test_lxd_serves_an_enabled_metadata_socket_but_incus_never_serves_it(host, devlxd, served):
    config = {"volatile.cloud-init.instance-id": "id"} | (
        {} if devlxd is None else {"security.devlxd": devlxd}
    )
    found = daemon_of(Plan(Metadata(), Instance("c1", config=config), host, ("start",), ()))
    assert found == Daemon(host.product, "id", served)
