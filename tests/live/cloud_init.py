"""Real boots of Debian's cloud-init in a separate root filesystem, the guest. A boot records which parts ran.

The environment variable ``TEMPLATER_CLOUD_INIT_GUEST`` names a folder with the unpacked packages of
cloud-init. ``.ci/run`` downloads these packages, but does not install them. The guest's ``/usr`` is a
read-only overlay of the packages over the host's ``/usr``. The guest has its own ``/etc``, ``/var`` and
``/run``. Each boot runs the four stages of cloud-init in new namespaces without a network.
"""

import json
import os
import subprocess
from pathlib import Path

SEED = "var/lib/cloud/seed/nocloud-net"
#: the names of a seed's files
META, USER, VENDOR, NETWORK = "meta-data", "user-data", "vendor-data", "network-config"
STAGES = ("init --local", "init", "modules --mode config", "modules --mode final")
RAN = "var/log/ran"
NETWORK_FILE = "etc/network/interfaces.d/50-cloud-init"

#: the datasources of Debian's images for LXD and Incus, as lxc-ci builds them
SOURCES = "[NoCloud, ConfigDrive, LXD, None]"

#: Run in new namespaces: mount the guest, then run cloud-init's stages as the units of a real boot do.
BOOT = r"""
set -e
guest=$1 packages=$2
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$packages/usr:/usr,ro" "$guest/usr"
mount -t proc proc "$guest/proc"
for name in run tmp dev; do mount -t tmpfs none "$guest/$name"; done
for name in null zero full random urandom; do touch "$guest/dev/$name"; mount --bind "/dev/$name" "$guest/dev/$name"; done
ln -s /proc/self/fd "$guest/dev/fd"
ip link set lo up
hostname guest
export LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin
if [ -e "$guest/lxd.json" ]; then
  mkdir "$guest/dev/lxd"
  /usr/bin/python3 -c "$3" "$guest/lxd.json" "$guest/dev/lxd/sock" &
  until [ -S "$guest/dev/lxd/sock" ]; do sleep 0.05; done
fi
shift 3
for stage; do
  chroot "$guest" /usr/bin/cloud-init $stage >> "$guest/var/log/stages" 2>&1 || echo "failed: $stage" >> "$guest/var/log/ran"
done
"""


#: A stand-in for the guest API of LXD: it answers GET with the texts in a JSON file.
API = r"""
import http.server, json, os, socket, sys
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = json.load(open(sys.argv[1])).get(self.path)
        self.send_response(404 if text is None else 200)
        data = (text or "").encode()
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def address_string(self):
        return "guest"
    def log_message(self, *words):
        pass
class Server(http.server.HTTPServer):
    address_family = socket.AF_UNIX
    def server_bind(self):
        self.socket.bind(sys.argv[2])
        self.server_name, self.server_port = "lxd", 0
Server(sys.argv[2], Answers).serve_forever()
"""


def packages() -> Path:
    return Path(os.environ["TEMPLATER_CLOUD_INIT_GUEST"])


def user_data(mark: str) -> str:
    """Return a user-data with several parts.

    If cloud-init runs a part, the part writes the text ``mark`` to a file of the guest.
    """
    return (
        "#cloud-config\n"
        f"bootcmd:\n- echo 'bootcmd {mark}' >> /{RAN}\n"
        f"runcmd:\n- echo 'runcmd {mark}' >> /{RAN}\n"
        f"write_files:\n- path: /etc/written\n  content: {mark}\n"
    )


def vendor_data(mark: str) -> str:
    return f"#!/bin/sh\necho 'vendor {mark}' >> /{RAN}\n"


def network(address: str, more: str = "") -> str:
    return f"version: 2\nethernets:\n  eth9:\n    addresses: [{address}/24]\n{more}"


def meta_data(instance: str, hostname: str = "web1", more: str = "") -> str:
    return f"instance-id: {instance}\nlocal-hostname: {hostname}\n{more}"


class Guest:
    """A root filesystem with cloud-init. Each call of `boot` simulates a boot of the guest."""

    def __init__(self, folder: Path, *, sources: str = SOURCES, config: str = "") -> None:
        self.folder = folder
        for name in ("usr", "etc", SEED, "var/log", "run", "tmp", "proc", "sys", "dev", "root", "home"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            (folder / name).symlink_to(f"usr/{name}")
        subprocess.run(["cp", "-a", f"{packages()}/etc/.", str(folder / "etc")], check=True)
        (folder / "etc/ssl/certs").mkdir(parents=True)
        subprocess.run(
            ["cp", "-L", "/etc/ssl/certs/ca-certificates.crt", str(folder / "etc/ssl/certs")], check=True
        )
        for name in ("passwd", "group", "shadow", "gshadow"):
            (folder / "etc" / name).write_text(USERS[name])
        (folder / "etc/hosts").write_text("127.0.0.1 localhost\n")
        (folder / "etc/os-release").write_text('ID=debian\nVERSION_ID="13"\nNAME="Debian GNU/Linux"\n')
        (folder / "etc/network/interfaces.d").mkdir(parents=True, exist_ok=True)
        (folder / "etc/network/interfaces").write_text("source /etc/network/interfaces.d/*\n")
        (folder / "etc/cloud/cloud.cfg.d/95_test.cfg").write_text(
            f"datasource_list: {sources}\nsystem_info:\n  network:\n    renderers: [eni]\nlocale: false\n"
            + config
        )
        for frequency in ("per-boot", "per-instance", "per-once"):
            place = folder / f"var/lib/cloud/scripts/{frequency}"
            place.mkdir(parents=True)
            (place / "note").write_text(f"#!/bin/sh\necho {frequency} >> /{RAN}\n")
            (place / "note").chmod(0o755)

    def seed(self, files: dict[str, str]) -> None:
        """Replace the files of the guest's NoCloud seed."""
        for name in (META, USER, VENDOR, NETWORK):
            (self.folder / SEED / name).unlink(missing_ok=True)
        for name, text in files.items():
            (self.folder / SEED / name).write_text(text)

    def serve(self, instance_id: str, config: dict[str, str]) -> None:
        """Set the instance-id and the configuration keys that the simulated guest API of LXD serves."""
        routes = {f"/1.0/config/{key}": text for key, text in config.items()}
        routes["/1.0/meta-data"] = f"instance-id: {instance_id}\nlocal-hostname: web1\n"
        routes["/1.0/config"] = json.dumps(sorted(routes.keys() - {"/1.0/meta-data"}))
        (self.folder / "lxd.json").write_text(json.dumps(routes))

    def boot(self) -> dict[str, object]:
        """Run the stages of one boot. Return their effects, such as the parts that ran."""
        ran = self.folder / RAN
        ran.unlink(missing_ok=True)
        network = self.folder / NETWORK_FILE
        if network.exists():
            os.utime(network, (1, 1))
        words = [
            "unshare",
            "--mount",
            "--uts",
            "--ipc",
            "--pid",
            "--net",
            "--fork",
            "--kill-child",
            "bash",
            "-c",
            BOOT,
            "boot",
            str(self.folder),
            str(packages()),
            API,
            *STAGES,
        ]
        done = subprocess.run(
            words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        return {
            "ran": ran.read_text().splitlines() if ran.exists() else [],
            "instance-id": self.text("var/lib/cloud/data/instance-id"),
            "network written": network.exists() and network.stat().st_mtime != 1,
            "network": self.text(NETWORK_FILE),
            "hostname": self.text("etc/hostname"),
            "written": self.text("etc/written"),
            "result": json.loads(self.text("var/lib/cloud/data/result.json") or "{}").get("v1"),
        }

    def facts(self) -> dict[str, str]:
        """Return the files from which templater reads facts about a guest: a dict from path to content."""
        places = ["etc/cloud/cloud.cfg", "etc/cloud/cloud.cfg.d/*.cfg", "var/lib/cloud/data/instance-id"]
        places += ["var/lib/cloud/data/result.json", "var/lib/cloud/instances/*/cloud-config.txt"]
        found = {
            f"/{path.relative_to(self.folder)}": path for place in places for path in self.folder.glob(place)
        }
        version = "usr/lib/python3/dist-packages/cloudinit/version.py"
        found[f"/{version}"] = packages() / version
        return {name: path.read_text() for name, path in sorted(found.items())}

    def text(self, name: str) -> str:
        path = self.folder / name
        return path.read_text().strip() if path.exists() else ""


USERS = {
    "passwd": "root:x:0:0:root:/root:/bin/bash\n",
    "shadow": "root:*:19000:0:99999:7:::\n",
    "group": "".join(
        f"{name}:x:{number}:\n"
        for number, name in enumerate(
            ("root", "adm", "audio", "cdrom", "dialout", "dip", "floppy", "plugdev", "sudo", "video")
        )
    ),
    "gshadow": "".join(
        f"{name}:*::\n"
        for name in ("root", "adm", "audio", "cdrom", "dialout", "dip", "floppy", "plugdev", "sudo", "video")
    ),
}
