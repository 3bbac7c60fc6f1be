"""The output of commands about one odd image. `pytest --update` writes the recordings; review them."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from templater.cli.run_command_line import main
from tests.sampling import some_fast
from tests.web_pages import an_image

FOLDER = Path(__file__).parent / "outputs"
RULES = {
    "/etc/hostname": {"when": ["create", "copy", "rename"], "template": "name"},
    "/etc/motd": {"when": ["start"], "template": "motd", "properties": {"greeting": "hi"}},
    "/etc/once": {
        "when": ["create"],
        "template": "once",
        "create_only": True,
        "mode": "0600",
        "uid": "1",
        "gid": "2",
    },
    "/etc/new/deep/file": {"when": ["create", "start"], "template": "motd", "mode": "0755"},
    "/etc/link": {"when": ["create"], "template": "name"},
    "/etc/dangling": {"when": ["start"], "template": "name"},
    "/etc/bad": {"when": ["copy"], "template": "bad"},
    "/run/late": {"when": ["boot"], "template": "missing"},
}
TEMPLATES = {
    "name": "{{ instance.name }}\n",
    "motd": "{{ properties.greeting|default:'none' }} {{ config_get('user.a', 'unset') }}\n"
    "{% for key in devices sorted %}{{ key }} {% endfor %}{% if instance.ephemeral %}gone{% else %}stays{% endif %}\n",
    "once": "{% if config_get('user.a', '') == 'x' %}x{% elif trigger == 'create' %}created{% endif %}\n{{ container.type }} {{ instance.privileged }}\n",
    "bad": "{{ config.user.a }}{{ 1 / 0 }}\n",
    "unused": "{{ instance.nmae }}\n",
}  # fmt: skip
INSTANCE = {
    "name": "web1", "type": "container", "architecture": "x86_64", "ephemeral": True, "config": {"user.a": "x", "volatile.apply_template": "copy"},
    "devices": {"eth0": {"type": "nic", "network": "lan"}}, "profiles": [{"name": "default", "config": {"user.a": "p", "user.b": "q"}, "devices": {"root": {"type": "disk", "path": "/", "pool": "d"}}}],
}  # fmt: skip
TESTS = """\
tests:
  - name: the host name
    instance: {name: web1}
    triggers: create
    expect:
      /etc/hostname: {equals: "web1\\n", mode: "0600", owner: "1:1"}
      /etc/motd: {contains: hello}
  - name: wrong
    triggers: start
    rootfs: {/etc/motd: x}
    expect:
      /etc/motd: {contains: [hi, hello], lacks: stays, matches: "^h[ai]$"}
      /etc/none: {absent: true}
  - name: steps
    steps:
      - {step: create}
      - {step: start, expect: {/etc/hostname: {equals: "c1\\n"}, /etc/bad: {error: zero}}}
"""

COMMANDS = {
    "preview": ["preview image -t create", "preview image -t all", "preview image --name c9 -p prof.yaml --vm", "preview image -i web1.yaml --json", "preview image -i web1.yaml --rootfs root --tree"],
    "hosts": ["preview image --as all", "preview image --as lxd -t copy", "preview image --as incus-6.0 --rootfs root", "preview image --vm --as all --json"],
    "diff": ["diff image root -t create", "diff image root -t start --json", "diff image --set user.a=y", "diff image -i web1.yaml --against-host lxd --json", "diff image --unset user.a -i web1.yaml", "diff image -i web1.yaml --against-instance all.json#web2"],
    "explain": ["explain image -i web1.yaml", "explain image /etc/motd -i web1.yaml --json", "explain image once", "explain image --reads", "explain image --reads --json", "explain image /none"],
    "simulate": ["simulate image create start copy=w2 w2:start rename=w3", "simulate image create c:user.a=z start stop start c:user.a= restart --json", "simulate image create start rebuild start snapshot=s restore=s start --rootfs root", "simulate image create w:start", "simulate image publish=p start export=e move=m"],
    "check": ["check image", "check image --json", "check image --report junit", "check image --report sarif", "check image --as all --at-least info"],
    "audit": ["audit image", "audit image --json --at-least info", "audit image --report sarif"],
    "image": ["image info image", "image info image --json", "image template list image", "image template show image motd"],
    "test": ["test image", "test image --json", "test image --report junit", "test image --coverage"],
    "apply": ["apply image root -t create -i web1.yaml", "apply image root -t create -i web1.yaml --json", "apply image root -t copy"],
    "instances": ["preview image --instances all.json", "preview image --instances all.json --json", "diff image root/{name} --instances all.json"],
    "errors": ["preview none", "preview image -c a", "preview image -c user.a=@none", "preview image -d x", "image info none", "diff image", "simulate image go", "test image --tests none", "streams list none", "streams verify none", "store show none", "status none", "unpack image", "new", "remote remove none"],
    "other-side": ["diff image --unset user.b -i web1.yaml", "diff image --set user.c=1 --set user.aa=x", "diff image --set user.a=y --json", "diff image --unset user.a -t start -i web1.yaml#web1", "diff image --against-image other", "diff image --against-instance web1.yaml --name c9", "diff image --against-host lxd -t create", "diff image --set user.a=y --unset user.b", "diff image root --set user.a=y"],
    "edit": ["image set-property image release=9 os=tiny", "image set-property image a", "image unset-property image release none", "image unset-property image os", "image template list image", "image template create image new /etc/new --from prof.yaml --when start --mode 0600", "image template create image new /etc/new --from prof.yaml", "image template show image new", "image template delete image new", "image template delete image newer", "image info image"],
    "unpack": ["image build image -o i.tar --compression none", "image info i.tar", "unpack i.tar w1 --name w1", "unpack i.tar w1", "status w1", "trigger w1 copy --name w2", "status w1 --json", "preview w1", "hook status lxc w1 -P .", "publish w1 -o w.tar --compression none os=own", "image info w.tar --json"],
    "store": ["image build plain -o i.tar --compression none", "store import i.tar --alias own --public", "store import i.tar --alias own", "store show own", "store list", "store list os=none", "store info own", "store set-property own os=x release=", "store info none", "store export own out", "store export own out", "store delete own", "store list --json", "store prune"],
    "streams": ["image build plain -o i.tar --compression none", "streams add t i.tar --alias own", "streams add t i.tar --alias own", "streams list t", "streams list t --json", "streams verify t", "streams verify t --json", "streams remove t none", "streams prune t --keep 1", "streams remove t own", "streams list t", "streams verify t", "streams prune t"],
}  # fmt: skip

#: options that no other test uses together with these commands
OPTIONS = {
    "options-instance": [
        "apply image root -t create -i web1.yaml --type container -p prof.yaml -d eth0,mtu=9 --dialect v6 --json", "apply image root -t start -i web1.yaml --expanded", "apply image root -t start --limit output=5",
        "audit image --name c9 --vm -p prof.yaml -d eth0,type=nic --json", "audit image -i web1.yaml --expanded", "audit image --type container --at-least info",
        "check image --name c9 --vm -p prof.yaml -d eth0,type=nic", "check image -i web1.yaml --expanded --json", "check image --type container",
        "diff image root --vm -t create", "diff image root -i web1.yaml --expanded --limit output=5", "preview image -i web1.yaml --no-expanded -t start",
        "explain image /etc/motd --type virtual-machine", "explain image --vm -d eth0,type=nic --reads", "explain image -i web1.yaml --expanded --dialect v6.1 /etc/motd",
        "simulate image create start --vm", "simulate image create start -p prof.yaml --type container --dialect v6", "simulate image create start -i web1.yaml --expanded", "simulate image create start --limit output=5",
        "image info image --vm", "test image -k host", "test image -v --only wrong --json", "test image --min-coverage 99", "test plain", "test image --rootfs none --report tap",
    ],
    "options-image": [
        "image template create image new /etc/new --from prof.yaml --when start --uid 5 --gid 6", "image template edit image new --gid 7 --mode 0640 --when create,copy --create-only --path /etc/new", "image template edit image new --from web1.yaml --uid 8 --no-create-only --json", "image info image --json",
        "image template list image --limit metadata=9", "image template show image motd --limit command-time=1h", "image template delete image new --limit command-time=1h", "image set-property image a=b --limit command-time=1h", "image unset-property image a --limit command-time=1h", "image info image --limit metadata=9",
        "image build plain -o i.tar --compression none --tar gnu release=7 --expire 2031-02-03", "image build plain -o i.tar --compression none --reuse --json", "image build plain -o out --format split --compression none --limit command-time=1h", "image build plain -o out --format split --compression none",
        "image export i.tar e.tar --compression none --tar gnu --reuse", "image export i.tar e.tar --compression none --reuse --json", "image export i.tar out2 --format split --compression none", "image set-property out --rootfs out.root release=8", "image template delete out name --rootfs out.root", "image unset-property out release --rootfs out.root --json",
        "unpack i.tar w2 -i web1.yaml --type container -p prof.yaml --trusted", "status w2 --type container -p prof.yaml --as lxd --dialect v6 -d eth0,mtu=9", "status w2 -i web1.yaml --expanded --limit output=5 -t start", "status w2 --state w2 --exit-code",
        "publish w2 -o p.tar --compression none --tar gnu --expire 2031-02-03 --keep release", "publish w2 -o p.tar --compression none --reuse --idmap 0:0:65536 --json", "publish w2 -o p2.tar --compression none --idmap 0:100000:65536", "publish w2 -o p3.tar --compression none --limit command-time=1h",
        "store import i.tar --alias a", "store import e.tar --alias a", "store alias create b a", "store alias create b none --move", "store list", "store refresh a", "store refresh a --limit command-time=1h", "streams add t i.tar --alias b --limit command-time=1h", "streams add t i.tar --alias a", "streams list t --limit command-time=1h", "streams remove t a --limit command-time=1h", "streams prune t --limit command-time=1h", "streams verify t --limit command-time=1h", "new made --limit metadata=9", "compile image --dialect v6 --cache c",
    ],
}  # fmt: skip

ON_A_TERMINAL = [
    "preview image -t create", "preview image -t all", "preview image -i web1.yaml --rootfs root --tree", "preview image --as all", "preview image --instances all.json",
    "diff image root -t create", "explain image /etc/motd -i web1.yaml", "explain image --reads", "simulate image create start copy=w2", "check image --at-least info",
    "audit image --at-least info", "test image --coverage", "image info image", "apply image root -t copy", "status web1", "preview none", "image template list image",
]  # fmt: skip

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="NOT RUN: needs root, as whom the files are recorded"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("TEMPLATER_RUN_VALIDATORS", "no")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    an_image(tmp_path / "image", RULES, TEMPLATES)
    an_image(tmp_path / "other", {**RULES, "/etc/motd": {"when": ["start"], "template": "name"}}, TEMPLATES)
    plain = {"os": "Tiny", "release": "1", "description": "a tiny image"}
    an_image(tmp_path / "plain", {"/etc/hostname": RULES["/etc/hostname"]}, {"name": "x"}, properties=plain)
    for name in ("image", "plain"):
        (tmp_path / name / "rootfs/etc").mkdir(parents=True)
    (tmp_path / "image/tests").mkdir()
    (tmp_path / "image/tests/a.yaml").write_text(TESTS)
    (tmp_path / "web1.yaml").write_text(json.dumps(INSTANCE))
    (tmp_path / "all.json").write_text(json.dumps([INSTANCE, {**INSTANCE, "name": "web2", "config": {}}]))
    (tmp_path / "prof.yaml").write_text("name: p\nconfig: {user.a: from profile}\n")
    for root in ("root", "root/web1", "root/web2"):
        etc = tmp_path / root / "etc"
        etc.mkdir(parents=True)
        (etc / "hostname").write_text("old\n")
        (etc / "once").write_text("kept\n")
        (etc / "link").symlink_to("motd")
        (etc / "motd").write_text("hi x\neth0 root gone\n")
        (etc / "dangling").symlink_to("nowhere")
    os.chmod(tmp_path / "root/etc/motd", 0o640)
    return tmp_path


def shown_by(line, folder, capfd):
    """Run a command that does not change the root filesystem.

    Return its command line, its output and its exit code.
    """
    shutil.copytree(folder / "root", folder / "before", symlinks=True)
    code = main(line.split())
    out, err = capfd.readouterr()
    text = f"{out}{err}".replace(str(folder), "FOLDER")
    text = re.sub(r"templater \d[\w.+]*\w|(?<=\"version\": \")\d[\w.]*", "VERSION", text)
    text = re.sub(r"(\"seconds\": |time=\")[\d.e-]+", r"\1…", text)
    text = re.sub(r"(imported\"?: |used\"?: )\d+|20\d\d-\d\d-\d\d", r"\1…", text)
    shutil.rmtree(folder / "root")
    os.rename(folder / "before", folder / "root")
    return f"$ templater {line}\n{text}[{code}]\n"


def require_recorded(shown, name, update):
    path = FOLDER / f"{name}.txt"
    if update:
        path.write_text("".join(shown))
    assert "".join(shown) == path.read_text()


@pytest.mark.parametrize(
    "name", [*some_fast(COMMANDS, every=2), *(pytest.param(name, marks=pytest.mark.slow) for name in OPTIONS)]
)
def test_commands_about_an_odd_image_have_the_recorded_output(name, folder, update, capfd):
    lines = COMMANDS.get(name) or OPTIONS[name]
    require_recorded([shown_by(line, folder, capfd) for line in lines], name, update)


@pytest.mark.parametrize("columns", [60, pytest.param(100, marks=pytest.mark.slow)])
def test_commands_have_the_recorded_layout_and_colours_on_a_terminal(
    columns, folder, update, capfd, monkeypatch
):
    for name in ("NO_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = [
        shown_by(line, folder, capfd).replace("\x1b[", "<").replace("\x1b", "<ESC>") for line in ON_A_TERMINAL
    ]
    require_recorded(shown, f"terminal-{columns}", update)
