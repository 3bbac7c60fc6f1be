"""Options and arguments that a command refuses with an exact text, before it reads or writes anything."""

import os
import shlex
import shutil
from pathlib import Path

import pytest

from templater.cli.run_command_line import main
from templater.model.hosts import HOSTS

ROOT = Path(__file__).parents[2]

#: in the lines of CASES
PATHS = {
    "IMAGE": str(ROOT / "sample-images/alpine"),
    "DEFINITION": str(ROOT / "sample-images/definitions/debian.yaml"),
}
INSTANCES = "--instances can't be combined with -i, --name, --type or -p"
TREE = "--tree can't be combined with --json, --as all, --instances or --all-variants"
HTML = "--html can't be combined with --tree, --all-variants or -o DIR"
VARIANTS = "--all-variants can't be combined with --as all, --instances or -o DIR"
EVERY_HOST = "--as all can't be combined with --instances, -o, --dialect or -t all"
CHECK_HTML = "--html can't be combined with --report, --fix, --diff, --all-variants or several SRC"
WATCH_WEB = "--web can't be combined with a running instance, --test or --json"
WEB = "--open, --port, --instances and --allow-root need --web"
LOCAL = "'{}' does not name an image of the local daemon\nhint: give incus:image/ALIAS"
FROM = "-o, --vm and --rootfs need --from"
MANY = "-i, --name, --type and -p can't be combined with several running instances"
DEVICE = "'eth0' is not NAME,KEY=VALUE\nhint: for example: -d eth0,ipv4.address=10.0.0.5"
ADDRESS = "invalid address '{}'\nhint: for example: --listen 127.0.0.1:8443"

KNOWN = [name for name, host in HOSTS.items() if host.family]

#: of click: the text follows the usage of the command
USAGE = {
    "preview IMAGE --instances x -i y": INSTANCES,
    "preview IMAGE --instances x --name y": INSTANCES,
    "preview IMAGE --instances x --type container": INSTANCES,
    "preview IMAGE --instances x -p y": INSTANCES,
    "preview IMAGE --instances x -t all": "--instances can't be combined with -t all",
    "diff IMAGE ROOTFS --instances x": (
        "with --instances, ROOTFS must contain {name}, e.g. containers/{name}/rootfs"
    ),
    "preview IMAGE --tree --json": TREE,
    "preview IMAGE --tree --as all": TREE,
    "preview IMAGE --tree --instances x": TREE,
    "preview IMAGE --tree --all-variants": TREE,
    "preview IMAGE --html r --tree": HTML,
    "preview IMAGE --html r -o d": HTML,
    "preview IMAGE --html r --all-variants": HTML,
    "preview IMAGE --html r --json": "--html can't be combined with --json",
    "preview IMAGE --show-secrets": "--show-secrets needs --html",
    "preview IMAGE --all-variants --as all": VARIANTS,
    "preview IMAGE --all-variants --instances x": VARIANTS,
    "preview IMAGE --all-variants -o d": VARIANTS,
    "preview IMAGE --as all --instances x": EVERY_HOST,
    "preview IMAGE --as all -o d": EVERY_HOST,
    "preview IMAGE --as all --dialect v4": EVERY_HOST,
    "preview IMAGE --as all -t all": EVERY_HOST,
    "preview IMAGE --instances x -o d": "-o can't be combined with --instances",
    "preview IMAGE -t all -o d": "-o can't be combined with -t all: several triggers write the same files",
    "preview IMAGE -o d -o e": "-o names two outputs: d, e",
    "preview IMAGE --vm --type container": "--vm and --type container contradict each other",
    "apply IMAGE ROOTFS -t create --as-agent": "--as-agent requires a virtual machine",
    "audit IMAGE --json --report sarif": "--json and --report sarif contradict each other",
    "check IMAGE --json --report junit": "--json and --report junit contradict each other",
    "check IMAGE --html r --report sarif": CHECK_HTML,
    "check IMAGE --html r --fix": CHECK_HTML,
    "check IMAGE IMAGE --html r": CHECK_HTML,
    "check IMAGE --html r --json": "--html can't be combined with --json",
    "check": "missing argument 'SRC...'",
    "check IMAGE --as foo": f"Invalid value for '--as': unknown host 'foo'; known hosts: {', '.join(KNOWN)}, all",
    "check IMAGE --diff --json": "--diff can't be combined with --report or --json",
    "check IMAGE --unsafe-fixes": "--unsafe-fixes needs --fix or --diff",
    "check IMAGE --all-variants": "--all-variants is for definitions, but 'IMAGE' is not a definition",
    "check IMAGE --project x": "--project is for running instances, such as incus:web1",
    "diff IMAGE --html r": "diff --html needs ROOTFS, or an option such as --set for the comparison",
    "diff IMAGE --html r --instances x": "diff --html can't be combined with --instances",
    "diff IMAGE ROOTFS MORE": "unexpected argument 'MORE'",
    "diff incus:web1 --html r": "--html can't be combined with a running instance",
    "diff incus:web1 --instances x": "--instances can't be combined with a running instance",
    "diff incus:web1 -t create": (
        "-t can't be combined with `diff` of a running instance, which always shows the next start"
    ),
    "diff incus: -i x": MANY,
    "diff incus: --name x": MANY,
    "diff incus: --type container": MANY,
    "watch IMAGE --web --test": WATCH_WEB,
    "watch IMAGE --web --json": WATCH_WEB,
    "watch incus:web1 --web": WATCH_WEB,
    "watch incus:web1 --test": "--test can't be combined with a running instance",
    "watch IMAGE --open": WEB,
    "watch IMAGE --port 5": WEB,
    "watch IMAGE --instances x": WEB,
    "watch IMAGE --allow-root": WEB,
    "watch IMAGE --web --instances x --name y": INSTANCES,
    "watch IMAGE --web --instances x --type container": INSTANCES,
    "new d --from DEFINITION --preset minimal": (
        "--from can't be combined with --preset: both choose a source"
    ),
    "new d --from DEFINITION os=x": (
        "--from can't be combined with KEY=VALUE: set fields with -o image.release=…"
    ),
    "new d --vm": FROM,
    "new d --rootfs x": FROM,
    "new d -o image.release=x": FROM,
    "new d --preset minimal --preset list": "--preset can be given only once: choose one of minimal, list",
    "image set-property IMAGE": "Missing argument 'KEY=VALUE… | KEY VALUE'.",
    "image unset-property IMAGE": "Missing argument 'KEY…'.",
    "new": "missing argument DIR: templater new DIR",
    "watch incus:web1 ROOTFS": "ROOTFS can't be combined with a running instance",
    "new --from DEFINITION": "missing argument DIR: templater new --from FILE DIR",
    "test IMAGE --json --report tap": "--json and --report tap contradict each other",
    "test IMAGE IMAGE --tests x": "--tests can't be combined with several SRC",
}
REFUSED = {
    "preview IMAGE --all-variants": "--all-variants is for definitions, but 'IMAGE' is not a definition",
    "preview IMAGE -o d.tar.gz": (
        "can't write 'd.tar.gz': -o writes a directory or an uncompressed .tar file\n"
        "hint: use -o d.tar, and compress that file"
    ),
    "preview IMAGE --instances missing": "can't read 'missing': no such file or directory",
    "preview IMAGE --instances ROOTFS": "can't read 'ROOTFS': is a directory",
    "preview IMAGE -d eth0": DEVICE,
    "preview IMAGE -d eth0,": DEVICE.replace("'eth0' is not NAME,", "'' is not "),
    "preview incus:": "'incus:' does not name one instance\nhint: give incus:NAME",
    "apply DEFINITION ROOTFS -t create": (
        "can't apply definition 'DEFINITION': templater only predicts its image\n"
        "hint: build the image, or make an image directory: templater new DIR --from FILE"
    ),
    "apply IMAGE ROOTFS -t create --vm": (
        "'c1' is a virtual machine: the host writes no files into the root filesystem of a virtual machine\n"
        "hint: add --as-agent to write the files that the agent in the guest writes"
    ),
    "diff IMAGE ROOTFS --all-projects": "--all-projects is for `diff` of several instances",
    "simulate IMAGE copy": "step 'copy' needs a name\nhint: write a name, for example copy=c2",
    "serve IMAGE --url x": "invalid URL 'x'\nhint: for example: --url https://images.example.com",
    "serve IMAGE --listen x": ADDRESS.format("x"),
    "serve IMAGE --listen 127.0.0.1:65536": ADDRESS.format("127.0.0.1:65536"),
    "serve store: IMAGE": "'store:' can't be combined with another SRC or with --alias",
    "serve ROOTFS": (
        "'ROOTFS' is not a simplestreams tree\n"
        "hint: 'streams/v1/index.json' is missing; `templater streams add` creates a tree"
    ),
    "store import incus:": LOCAL.format("incus:"),
    "preview incus:image/": LOCAL.format("incus:image/"),
    "preview lxd:image/": LOCAL.format("lxd:image/").replace("give incus", "give lxd"),
    "store import images:": "'images:' names no image\nhint: images:ALIAS or images:FINGERPRINT",
    "preview http://x/a": "templater fetches images only over https\nhint: begin the URL with https://",
    "streams list http://x": "clients read simplestreams only over https\nhint: begin the URL with https://",
    "streams list https://x/?a": "the URL is not https://HOST/PATH\nhint: give a host, and leave out '?' and '#'",
    "streams list https://x/a#b": "the URL is not https://HOST/PATH\nhint: give a host, and leave out '?' and '#'",
    "unpack IMAGE x --vm": "a virtual machine's image has no root filesystem to unpack",
    "serve IMAGE --redirect ROOTFS": (
        "'ROOTFS' has no redirect rules\nhint: `templater streams reindex --redirect DIR` writes these rules"
    ),
    "image template show IMAGE nope": (
        "'IMAGE' has no template 'nope'\nhint: to list the templates, run: templater image template list IMAGE"
    ),
    "image build IMAGE -o o --expire x": "invalid date 'x'\nhint: for example: 2026-12-31T00:00:00Z",
    **{
        f"image template create COPY a /etc/a --from /dev/null --when create --mode {mode}": (
            f"the daemons read mode '{mode}' as decimal, because it has four digits and no leading 0\n"
            "hint: a rule can set permissions such as 0755, but not the setuid, setgid or sticky bit"
        )
        for mode in ("1644", "4755")
    },
    **{
        f"image template create COPY a /etc/a --from /dev/null --when create --mode {mode}": (
            f"invalid mode '{mode}'\nhint: use three octal digits, e.g. 0644"
        )
        for mode in ("8", "64", "06444", "888", "0x1")
    },
    **{
        f"image template create COPY a /etc/a --from /dev/null --when create --{what} {value}": f"'{value}' is not a {what}"
        for what in ("uid", "gid")
        for value in ("x", "4294967295", "9" * 5000, "٣")
    },
    "image template create COPY a / --from /dev/null --when create": (
        "invalid file path '/'\nhint: PATH is the file to write, such as /etc/motd"
    ),
    "image template create COPY a /etc/a --from /dev/null": (
        "a rule without --when never runs\nhint: for example: --when create,copy,start"
    ),
    "image template create COPY a /etc/a --from /dev/null --when strat": (
        "unknown trigger 'strat'\nhint: use one of create, copy, start, rename"
    ),
    "image template create COPY a /etc/a --from missing --when start": (
        "'missing' can't be read: no such file or directory"
    ),
    "new COPY/metadata.yaml": "'COPY/metadata.yaml' exists\nhint: give a new directory, or an empty one",
    "status IMAGE --rootfs none": (
        "status needs the root filesystem of an instance\nhint: give the root filesystem with --rootfs DIR"
    ),
    "status IMAGE --rootfs ROOTFS --vm": "'c1' is a virtual machine: hooks are for containers",
    "publish COPY/templates -o x.tar": (
        "'COPY/templates' has no 'rootfs' directory\n"
        "hint: give the directory of an instance or of an LXC container"
    ),
    "image build COPY -o COPY/metadata.yaml/x/": "'COPY/metadata.yaml/x/' can't be created: not a directory",
    "store import IMAGE --auto-update": (
        "--auto-update requires an image from a server\nhint: give images:ALIAS"
    ),
    "preview missing:web1": (
        "'missing:web1' does not exist, and 'missing' is not a known remote\n"
        "hint: templater remote list shows the known remotes"
    ),
}
CODES = {
    "apply DEFINITION ROOTFS -t create": 3,
    "apply IMAGE ROOTFS -t create --vm": 3,
    "status IMAGE --rootfs ROOTFS --vm": 3,
    "new COPY/metadata.yaml/x": 6,
    "image build COPY -o COPY/metadata.yaml/x/": 6,
}


@pytest.mark.parametrize("line", [*USAGE, *REFUSED])
def test_each_refused_command_line_has_its_exact_error_message(line, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    os.mkdir("ROOTFS")
    if "COPY" in line:
        shutil.copytree(PATHS["IMAGE"], "COPY")
    before = sorted(tmp_path.rglob("*"))
    code = main([PATHS.get(word, word) for word in shlex.split(line)])
    out, err = capfd.readouterr()
    for name, path in PATHS.items():
        err = err.replace(path, name)
    if line in USAGE:
        assert "Usage: templater " in err
        assert err.partition("\nError: ")[2] == USAGE[line] + "\n"
    else:
        told = [text for text in err.splitlines(keepends=True) if not text.startswith("note: ")]
        assert "".join(told) == f"templater: {REFUSED[line]}\n"
    assert (code, out) == (CODES.get(line, 2), "")
    assert sorted(tmp_path.rglob("*")) == before
