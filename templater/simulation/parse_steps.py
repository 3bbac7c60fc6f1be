"""A parser for the steps of a simulation, as a user types them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..model.errors import UsageError
from ..model.unprintable_characters import printable

#: the description of each step; `templater simulate --help` lists the same steps
VERBS = {
    "create": "create the instance; allowed only as the first step",
    "start": "start the instance; this runs the pending trigger, if any, and then the trigger start",
    "stop": "stop the instance; this renders nothing",
    "restart": "stop, then start",
    "reboot": "restart from inside the guest; this runs the same triggers as start",
    "copy": "copy=NAME copies the instance as NAME; copy=NAME/SNAPSHOT copies its snapshot SNAPSHOT as NAME",
    "rename": "rename=NAME renames the instance",
    "move": "move=NAME renames the instance; move=NAME,pool=POOL and move=NAME,project=PROJECT also move it",
    "rebuild": "create the root filesystem again from the image; rebuild=IMAGE uses another image",
    "snapshot": "snapshot=NAME takes a snapshot",
    "restore": "restore=NAME restores a snapshot",
    "publish": "publish=NAME publishes the instance as an image, and creates instance NAME from the image;"
    " publish=NAME/SNAPSHOT publishes the instance's snapshot SNAPSHOT instead;"
    " publish=NAME,KEY=VALUE also sets an image property",
    "export": "export=NAME exports a backup and imports it as instance NAME",
    "c": "c:KEY=VALUE sets a configuration key, c:KEY= unsets it, c:KEY=@FILE reads the value from a file",
    "d": "d:DEVICE,KEY=VALUE sets a key of a device, d:DEVICE= removes the device",
    "p": "p:FILE adds the profile in FILE, or replaces the profile of the same name;"
    " p:PROFILE= removes PROFILE",
}

#: steps that create or rename an instance; their report uses the new name
MAKING = ("copy", "rename", "move", "publish", "export")
#: steps that need an argument
WITH_ARGUMENT = (*MAKING, "snapshot", "restore")
#: steps that change a setting; a colon separates their arguments
SETTINGS = ("c", "d", "p")
_FORMS = (
    "create, start, stop, restart, reboot, copy=NAME, rename=NAME, move=NAME, rebuild, rebuild=IMAGE,"
    " snapshot=NAME, restore=NAME, publish=NAME, export=NAME, c:KEY=VALUE, d:DEVICE,KEY=VALUE, p:FILE"
)


@dataclass(frozen=True, slots=True)
class Step:
    """One step: ``[NAME:]VERB[=ARGUMENT[,OPTION=VALUE…]]``."""

    text: str
    verb: str
    argument: str = ""
    #: name of the instance to which the step applies, or empty for the current instance
    name: str = ""
    #: ``pool`` and ``project`` of a move, or the properties of a publish
    options: dict[str, str] = field(default_factory=dict)

    @property
    def made(self) -> str:
        """The name of the instance that the step creates.

        For ``copy=NAME/SNAPSHOT`` and ``publish=NAME/SNAPSHOT``, the name is NAME.
        """
        return self.argument.partition("/")[0] if self.verb in ("copy", "publish") else self.argument


def parse_step(text: str, read_file: Callable[[str], str] | None = None) -> Step:
    """Parse a step, such as ``start``, ``c2:start``, ``copy=c2``, ``c:user.foo=bar``, ``c2:d:eth0,mtu=1500``.

    ``read_file`` returns the content of FILE in ``c:KEY=@FILE``. Raises UsageError if the step is invalid.
    """
    setting = _setting(text, read_file)
    if setting is not None:
        return setting
    head, equals, argument = text.partition("=")
    *names, verb = head.split(":")
    if verb not in VERBS or verb in SETTINGS or len(names) > 1:
        raise UsageError(
            f"unknown step '{printable(text)}'",
            hint=f"known steps: {_FORMS}; to apply a step to another instance, write 'NAME:' before it",
        )
    if verb in WITH_ARGUMENT and not argument:
        raise UsageError(
            f"step '{printable(text)}' needs a name", hint=f"write a name, for example {verb}=c2"
        )
    if verb not in WITH_ARGUMENT and verb != "rebuild" and equals:
        raise UsageError(f"step '{printable(text)}': '{verb}' takes no argument")
    options: dict[str, str] = {}
    if verb in ("move", "publish"):
        argument, *pairs = argument.split(",")
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if not equals or (verb == "move" and key not in ("pool", "project")):
                hint = VERBS[verb]
                raise UsageError(f"step '{printable(text)}': unknown option '{printable(pair)}'", hint=hint)
            options[key] = value
    return Step(text, verb, argument, names[0] if names else "", options)


def _setting(text: str, read_file: Callable[[str], str] | None) -> Step | None:
    """Parse ``[NAME:]c:…``, ``d:…`` or ``p:…``. Return None for any other step, such as ``c:start``."""
    name, colon, rest = text.partition(":")
    if name not in SETTINGS:
        inner, _, rest_of_inner = rest.partition(":")
        if not colon or inner not in SETTINGS or not rest_of_inner:
            return None
        verb, argument = inner, rest_of_inner
    else:
        verb, argument, name = name, rest, ""
    key, equals, value = argument.partition("=")
    if not name and not equals and argument in VERBS:
        return None
    if verb == "c":
        if "." not in key or not equals:
            return None
        if value.startswith("@") and read_file is not None:
            argument = f"{key}={read_file(value[1:])}"
    elif verb == "d":
        device, comma, _ = key.partition(",")
        if not equals or not device or (not comma and value):
            raise UsageError(f"step '{printable(text)}' needs a device and a key", hint=VERBS["d"])
    return Step(text, verb, argument, name)
