"""What LXD and Incus hand to a template: the same names, with the same Go types."""

from .values import Function, GoList, GoMap, MethodMap, NamedString, Struct, to_string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

ANY_TWO = ("*pongo2.Value", "*pongo2.Value")


def daemon_context(
    trigger: str,
    path: str,
    instance: "Mapping[str, str]",
    config: "Mapping[str, str]",
    devices: "Mapping[str, Mapping[str, str]]",
    properties: "Mapping[str, str]",
) -> "dict[str, Any]":
    """The public context of a template. ``config`` and ``devices`` are the expanded ones."""
    settings = GoMap(config)
    described = GoMap(instance)

    def config_get(key: "Any", default: "Any") -> "Any":
        found = settings.get(to_string(key))
        return default if found is None else found.rstrip("\r\n")

    return {
        "trigger": NamedString(trigger),
        "path": path,
        "container": described,
        "instance": described,
        "config": settings,
        "devices": go_devices(devices),
        "properties": GoMap(properties),
        "config_get": Function(
            config_get, ANY_TWO, gotype="func(*pongo2.Value, *pongo2.Value) *pongo2.Value"
        ),
    }


def go_devices(devices: "Mapping[str, Mapping[str, str]]") -> MethodMap:
    """A ``config.Devices`` with the methods that a template can call."""
    made = {name: go_device(device) for name, device in devices.items()}
    return MethodMap(
        made,
        "config.Devices",
        {
            "Sorted": Function(lambda: sorted_devices(made), gotype="func() config.DevicesSortable"),
            "Clone": Function(lambda: go_devices(devices), gotype="func() config.Devices"),
            "CloneNative": Function(
                lambda: GoMap(
                    {name: GoMap(device) for name, device in devices.items()},
                    "map[string]map[string]string",
                ),
                gotype="func() map[string]map[string]string",
            ),
        },
    )


def go_device(device: "Mapping[str, str]") -> MethodMap:
    clone = Function(lambda: go_device(device), gotype="func() config.Device")
    return MethodMap(device, "config.Device", {"Clone": clone})


def sorted_devices(devices: "Mapping[str, MethodMap]") -> GoList:
    named = [
        Struct("config.DeviceNamed", {"Name": name, "Config": devices[name]}) for name in sorted(devices)
    ]
    return GoList(named, "config.DevicesSortable")
