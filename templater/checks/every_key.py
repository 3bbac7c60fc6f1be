"""Variables for the check ``runaway``: each key that a template reads has a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..pongo2.daemon_context import config_getter
from ..pongo2.values import MethodMap

#: the value of each missing key. Templates split values at these characters.
TEXT = "10 a, b;c:d=e/f.g-h_i|j\nk"


class EveryKey(MethodMap):
    """A map that returns an invented value for a missing key. Loops and lengths ignore missing keys.

    ``get`` also looks up the methods of the map, because pongo2's ``get_field`` does not do this for
    subclasses of ``MethodMap``.
    """

    __slots__ = ()

    def get(self, key: Any, default: Any = None) -> Any:
        if key in self.methods:
            return self.methods[key](self)
        found = super().get(key, default)
        return self.missing() if found is None else found

    def missing(self) -> Any:
        return TEXT


class EveryDevice(EveryKey):
    """The devices of an instance. For any other name, the map returns an invented device."""

    __slots__ = ()

    def missing(self) -> Any:
        return EveryKey((), "config.Device", {})


def with_every_key(context: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of ``context`` with invented values.

    The copy has a value for each missing configuration key, each missing device, and each missing key of a
    device.
    """
    config, devices = context["config"], context["devices"]
    every = EveryKey(config, config.gotype, {})
    found = {name: EveryKey(each, each.gotype, each.methods) for name, each in devices.items()}
    return {
        **context,
        "config": every,
        "config_get": config_getter(every),
        "devices": EveryDevice(found, devices.gotype, devices.methods),
    }
