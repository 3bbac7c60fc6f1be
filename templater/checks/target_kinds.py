"""Well-known target paths, and the kind of file at each path."""

from __future__ import annotations

SEEDS = ("/var/lib/cloud/seed/nocloud-net", "/var/lib/cloud/seed/nocloud")

#: files in which programs read only one line
ONE_LINE = {
    "/etc/HOSTNAME", "/etc/hostname", "/etc/mailname", "/etc/machine-id", "/etc/timezone",
    "/var/lib/dbus/machine-id",
}  # fmt: skip

_EXACT = {
    "/etc/HOSTNAME": "hostname",
    "/etc/hostname": "hostname",
    "/etc/hosts": "hosts",
    "/etc/fstab": "fstab",
    "/etc/resolv.conf": "resolv.conf",
    "/etc/sudoers": "sudoers",
    "/etc/network/interfaces": "interfaces",
}
#: the files that cloud-init reads in a seed, with the kind of each
SEED_FILES = {
    "user-data": "user-data",
    "vendor-data": "user-data",
    "meta-data": "meta-data",
    "network-config": "network-config",
}
_UNITS = (
    ".service", ".socket", ".timer", ".mount", ".target", ".path", ".network", ".netdev", ".link", ".nspawn"
)  # fmt: skip
#: with _UNITS, the ends of names whose directories of settings have the syntax of units
_WITH_SETTINGS = (".automount", ".conf", ".scope", ".slice", ".swap")
_CRON = ("/etc/crontab", "/etc/cron.d/", "/var/spool/cron/")
#: files whose readers treat a carriage return as part of the value
_CRLF_FILES = (
    "/etc/environment", "/etc/fstab", "/etc/group", "/etc/HOSTNAME", "/etc/hostname", "/etc/hosts",
    "/etc/machine-id", "/etc/passwd", "/etc/resolv.conf", "/etc/shadow", "/etc/sudoers", "/etc/timezone",
)  # fmt: skip
_CRLF_FOLDERS = ("/etc/sudoers.d/", "/etc/profile.d/", "/etc/default/", "/etc/sysconfig/", *_CRON)


def kind_of(path: str) -> str:
    """Return the kind of file at a cleaned target path, such as ``hosts`` or ``yaml``, or an empty string."""
    folder, _, name = path.rpartition("/")
    if path in _EXACT:
        return _EXACT[path]
    if folder in SEEDS:
        return SEED_FILES.get(name, "")
    if folder in ("/etc/netplan", "/run/netplan", "/lib/netplan"):
        return "netplan" if name.endswith((".yaml", ".yml")) else ""
    if folder == "/etc/sudoers.d":
        return "sudoers"
    if folder == "/etc/network/interfaces.d":
        return "interfaces"
    if name.endswith(_UNITS) and "/systemd/" in path:
        return "unit"
    if "/systemd/" in path and name.endswith(".conf") and folder.endswith(".d"):
        # such as a.service.d, service.d and journald.conf.d, but not ssh_config.d
        of_unit = f".{folder.rpartition('/')[2].removesuffix('.d')}".endswith((*_UNITS, *_WITH_SETTINGS))
        return "unit" if of_unit else ""
    extension = name.rpartition(".")[2]
    return {"json": "json", "yaml": "yaml", "yml": "yaml", "toml": "toml"}.get(extension, "")


def is_cron(path: str) -> bool:
    return path.startswith(_CRON)


def breaks_with_crlf(path: str) -> bool:
    """Return whether programs misread the file if its lines end with CRLF."""
    return path in _CRLF_FILES or path.startswith(_CRLF_FOLDERS)
