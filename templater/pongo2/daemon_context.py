"""The context that LXD and Incus pass to a template.

If the Go type of a value affects the output of templates, the context's value behaves like this type.
"""

from .render_state import VERSION
from .values import VALUE, Function, GoList, GoMap, MethodMap, NamedString, Panic, Struct, to_string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .values import Methods


def daemon_context(
    trigger: str,
    path: str,
    instance: "Mapping[str, str]",
    config: "Mapping[str, str]",
    devices: "Mapping[str, Mapping[str, str]]",
    properties: "Mapping[str, str]",
    *,
    version: str = "",
    nested_last: bool = True,
) -> "dict[str, Any]":
    """Return the context of an image's template (Incus: driver_lxc.go, templateApplyNow).

    ``version`` is the value of ``pongo2.version`` for an unreleased pongo2, or empty. If ``nested_last`` is
    true, ``devices.Sorted`` lists nested network interfaces after the other network interfaces.
    """
    facts = GoMap(instance)
    settings = GoMap(config)
    context = {
        "trigger": NamedString(trigger),
        "path": path,
        "container": facts,
        "instance": facts,
        "config": settings,
        "devices": _devices(devices, DEVICES_METHODS if nested_last else OLD_DEVICES_METHODS),
        "properties": GoMap(properties),
        "config_get": config_getter(settings),
    }
    if version:
        context[VERSION] = version
    return context


LINE_ENDS = ("\r", "\n")


def config_getter(config: "Mapping[str, str]") -> Function:
    """Return the function ``config_get`` of a template."""
    # a cache of values without trailing line ends, because a template may read a large value many times
    stripped: dict[str, str] = {}

    def config_get(key: "Any", default: "Any") -> "Any":
        # The default replaces only a missing value, not an empty value.
        # Like the daemons, remove the line ends that `incus config set … - < file` stores.
        name = to_string(key)
        value = config.get(name)
        if value is None:
            return default
        if not value.endswith(LINE_ENDS):
            return value
        if name not in stripped:
            stripped[name] = value.rstrip("\r\n")
        return stripped[name]

    return Function(config_get, (VALUE, VALUE), gotype="func(*pongo2.Value, *pongo2.Value) *pongo2.Value")


def _devices(devices: "Mapping[str, Mapping[str, str]]", methods: "Methods") -> MethodMap:
    return MethodMap({name: _device(device) for name, device in devices.items()}, "config.Devices", methods)


def _device(device: "Mapping[str, str]") -> MethodMap:
    return MethodMap(device, "config.Device", DEVICE_METHODS)


# The Go methods of devices are defined in Incus in internal/server/device/config.


def _method(
    gotype: str, call: "Callable[..., Any]", *params: str, results: int = 1
) -> "Callable[[Any], Function]":
    """Return a Go method: a function that takes the receiver and returns ``call`` bound to the receiver."""
    return lambda v: Function(lambda *arguments: call(v, *arguments), params, gotype=gotype, results=results)


def _never(*arguments: "Any") -> None:
    """Do nothing. This function represents Go methods that no template can call successfully."""


DEVICE_METHODS = {
    "Clone": _method("func() config.Device", _device),
    "Validate": _method("func(map[string]func(string) error) error", _never, "map[string]func(string) error"),
}


def _devices_methods(nested_last: bool) -> "Methods":
    def less(devices: "Any", i: int, j: int) -> bool:
        for index in (i, j):
            if not 0 <= index < len(devices):
                length = f" with length {len(devices)}" if index >= 0 else ""
                raise Panic(f"runtime error: index out of range [{index}]{length}")
        a, b = devices[i].fields, devices[j].fields
        pair = {a["Name"]: a["Config"], b["Name"]: b["Config"]}
        return i != j and start_order(pair, nested_last)[0] == a["Name"]

    sortable = {
        "Len": _method("func() int", len),
        "Less": _method("func(int, int) bool", less, "int", "int"),
        "Swap": _method("func(int, int)", _never, "int", "int", results=0),
    }

    def named(devices: "Any", backwards: bool) -> GoList:
        names = start_order(devices, nested_last)
        if backwards:
            names.reverse()
        items = [Struct("config.DeviceNamed", {"Name": name, "Config": devices[name]}) for name in names]
        return GoList(items, "config.DevicesSortable", sortable)

    def native(devices: "Any") -> GoMap:
        plain = {name: GoMap(device) for name, device in devices.items()}
        return GoMap(plain, "map[string]map[string]string")

    def contains(devices: "Any", name: str, device: "Any") -> bool:
        return name in devices and _set_keys(devices[name]) == _set_keys(device)

    methods: dict[str, Callable[[Any], Function]] = {
        "Clone": _method("func() config.Devices", lambda devices: _devices(devices, methods)),
        "CloneNative": _method("func() map[string]map[string]string", native),
        "Contains": _method("func(string, config.Device) bool", contains, "string", "config.Device"),
        "Reversed": _method("func() config.DevicesSortable", lambda devices: named(devices, True)),
        "Sorted": _method("func() config.DevicesSortable", lambda devices: named(devices, False)),
        "Update": _method(
            "func(config.Devices, func(config.Device, config.Device) []string) (map[string]config.Device, "
            "map[string]config.Device, map[string]config.Device, []string)",
            _never,
            "config.Devices",
            "func(config.Device, config.Device) []string",
            results=4,
        ),
    }
    return methods


def _set_keys(device: "Mapping[str, str]") -> "dict[str, str]":
    """Return the keys of a device that have a value. Go's comparison treats an empty value as missing."""
    return {key: value for key, value in device.items() if value}


def start_order(devices: "Mapping[str, Mapping[str, str]]", nested_last: bool = True) -> "list[str]":
    """Return the names of devices in the order in which the daemons start them.

    * network interfaces
    * the root disk, then all other disks
    * devices of other types, in reverse alphabetical order of the types
    """
    # The daemons define this order in devices_sort.go.
    # Since LXD 5.0.3 and Incus 6.0.4, nested interfaces follow the other interfaces.
    names = sorted(devices)
    types = {name: devices[name].get("type", "") for name in names}
    interfaces = [name for name in names if types[name] == "nic"]
    if nested_last:
        interfaces.sort(key=lambda name: devices[name].get("nested", "") != "")
    disks = [name for name in names if types[name] == "disk"]
    disks.sort(key=lambda name: devices[name].get("path", ""))
    disks.sort(key=lambda name: devices[name].get("path", "") != "/")
    others = [name for name in names if types[name] not in ("nic", "disk")]
    others.sort(key=lambda name: types[name], reverse=True)
    return [*interfaces, *disks, *others]


DEVICES_METHODS = _devices_methods(nested_last=True)
OLD_DEVICES_METHODS = _devices_methods(nested_last=False)
