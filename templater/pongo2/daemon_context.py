"""What LXD and Incus hand a template: their names, with the Go types that show."""

from .values import Function, GoList, GoMap, MethodMap, NamedString, Struct, to_string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def daemon_context(
    trigger: str,
    path: str,
    instance: "Mapping[str, str]",
    config: "Mapping[str, str]",
    devices: "Mapping[str, Mapping[str, str]]",
    properties: "Mapping[str, str]",
) -> "dict[str, Any]":
    """The context of an image's template: Incus driver_lxc.go, templateApplyNow."""
    facts = GoMap(instance)
    settings = GoMap(config)
    return {
        "trigger": NamedString(trigger),
        "path": path,
        "container": facts,
        "instance": facts,
        "config": settings,
        "devices": _devices(devices),
        "properties": GoMap(properties),
        "config_get": _config_get(settings),
    }


def _config_get(config: "Mapping[str, str]") -> Function:
    def config_get(key: "Any", default: "Any") -> "Any":
        # a key that is set to nothing is set; line ends are what `incus config set - < file` leaves
        value = config.get(to_string(key))
        return default if value is None else value.rstrip("\r\n")

    two_values = ("*pongo2.Value", "*pongo2.Value")
    return Function(config_get, two_values, gotype="func(*pongo2.Value, *pongo2.Value) *pongo2.Value")


def _devices(devices: "Mapping[str, Mapping[str, str]]") -> MethodMap:
    """``devices`` with those of its Go methods that a template can reach."""

    def in_order() -> GoList:
        named = [
            Struct("config.DeviceNamed", {"Name": name, "Config": _device(devices[name])})
            for name in starting_order(devices)
        ]
        return GoList(named, "config.DevicesSortable")

    def native() -> GoMap:
        plain = {name: GoMap(device) for name, device in devices.items()}
        return GoMap(plain, "map[string]map[string]string")

    methods = {
        "Sorted": Function(in_order, gotype="func() config.DevicesSortable"),
        "Clone": Function(lambda: _devices(devices), gotype="func() config.Devices"),
        "CloneNative": Function(native, gotype="func() map[string]map[string]string"),
    }
    return MethodMap({name: _device(device) for name, device in devices.items()}, "config.Devices", methods)


def starting_order(devices: "Mapping[str, Mapping[str, str]]") -> "list[str]":
    """Interfaces first, then disks with the root before the others, then types from z to a."""
    # Incus: internal/server/device/config/devices_sort.go
    names = sorted(devices)
    types = {name: devices[name].get("type", "") for name in names}
    disks = [name for name in names if types[name] == "disk"]
    disks.sort(key=lambda name: devices[name].get("path", ""))
    disks.sort(key=lambda name: devices[name].get("path", "") != "/")
    others = [name for name in names if types[name] not in ("nic", "disk")]
    others.sort(key=lambda name: types[name], reverse=True)
    return [*(name for name in names if types[name] == "nic"), *disks, *others]


def _device(device: "Mapping[str, str]") -> MethodMap:
    clone = Function(lambda: _device(device), gotype="func() config.Device")
    return MethodMap(device, "config.Device", {"Clone": clone})
