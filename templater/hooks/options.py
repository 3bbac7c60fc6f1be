"""The options of a hook's line, parsed without the machinery of the command line, which takes longer."""

from ..model.errors import UsageError
from ..model.source import printable
from .runtimes import function_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..limits import Given

#: the last word of a line that only has to answer; no machine's name begins like this
PROBE = "--probe"

FAIL = "fail"
KEEP_GOING = "keep-going"

#: seconds for everything: waiting for the lock, rendering, writing
TIME_LIMIT = 60.0


class Options:
    """The options of a hook's line, the same for every runtime."""

    __slots__ = (
        "allow", "allow_instance", "cache", "dialect", "if_present", "in_child", "in_place", "instance",
        "limits", "log", "on_error", "rootfs", "source", "stage", "state", "time_limit", "triggers",
        "use_cache", "words",
    )  # fmt: skip

    def __init__(self) -> None:
        self.source = ""
        self.instance = ""
        self.rootfs = ""
        self.state = ""
        self.cache = ""
        self.log = ""
        self.dialect = ""
        self.stage = ""
        self.on_error = FAIL
        self.time_limit = TIME_LIMIT
        self.triggers: tuple[str, ...] = ()
        self.allow: tuple[str, ...] = ()
        self.allow_instance: tuple[str, ...] = ()
        self.limits: Given | None = None
        self.in_child = True
        self.in_place = False
        self.if_present = False
        self.use_cache = True
        #: the machine's name, or the words that LXC appends
        self.words: tuple[str, ...] = ()


_VALUES: "Mapping[str, str]" = {
    "--source": "source",
    "--instance": "instance",
    "--rootfs": "rootfs",
    "--state": "state",
    "--cache": "cache",
    "--log": "log",
    "--dialect": "dialect",
    "--on-error": "on_error",
    "--stage": "stage",
}
_FLAGS: "Mapping[str, tuple[str, bool]]" = {
    "--no-cache": ("use_cache", False),
    "--no-child": ("in_child", False),
    "--in-place": ("in_place", True),
    "--if-present": ("if_present", True),
}
#: options that may be repeated
_LISTS: "Mapping[str, str]" = {
    "-t": "triggers",
    "--trigger": "triggers",
    "--allow": "allow",
    "--allow-instance": "allow_instance",
    "--limit": "limits",
}

USAGE = """\
usage: templater hook RUNTIME [OPTION …] [NAME]
  --source DIR          metadata.yaml and templates/; else the instance's directory
  --instance FILE       its description; else instance.yaml beside the image
  --rootfs DIR          instead of what the runtime says
  --state DIR           where .templater is kept; else the instance's directory
  --on-error fail|keep-going
  --time-limit SECONDS  for everything (60)
  --log FILE            beside .templater/log and the journal
  --dialect v4|v6|v6.1  of pongo2 (v6)
  -t, --trigger NAME    instead of the pending trigger and start; may be repeated
  --stage NAME          oci: the stage that this hook stands in (createRuntime)
  --limit NAME=VALUE    of rendering: see docs/limits.md; may be repeated
  --allow DIR           oci: image sources that annotations may name (/var/lib/templater/images)
  --allow-instance DIR  oci: descriptions that annotations may name (none); both may be repeated
  --in-place            write through mount points such as podman's /etc/hosts
  --if-present          an instance without an image is left alone
  --cache DIR, --no-cache, --no-child
"""


def parse(arguments: "list[str]") -> "tuple[str, Options]":
    """Return the runtime and the options of a hook's line."""
    if not arguments or function_of(arguments[0], "read_request") is None:
        raise UsageError("missing name of the runtime", hint=USAGE)
    return arguments[0], read_options(arguments[1:])


def read_options(words: "list[str]") -> Options:
    """Parse the options of a hook's line; what is left over goes to ``Options.words``."""
    options = Options()
    rest: list[str] = []
    lists: dict[str, list[str]] = {"triggers": [], "allow": [], "allow_instance": [], "limits": []}
    waiting = iter(words)
    for word in waiting:
        name, equals, value = word.partition("=")
        if name in _FLAGS:
            attribute, flag = _FLAGS[name]
            setattr(options, attribute, flag)
        elif name.startswith("-") and name != "-":
            given = value if equals else next(waiting, None)
            if given is None:
                raise UsageError(f"option '{printable(name)}' needs a value", hint=USAGE)
            if name in _LISTS:
                lists[_LISTS[name]] += given.split(",") if _LISTS[name] == "triggers" else [given]
            else:
                _set(options, name, given)
        else:
            rest.append(word)
    options.words = tuple(rest)
    options.triggers = tuple(lists["triggers"])
    options.allow = tuple(lists["allow"])
    options.allow_instance = tuple(lists["allow_instance"])
    options.limits = _limits(lists["limits"]) if lists["limits"] else None
    return options


def _set(options: Options, name: str, value: str) -> None:
    if name in _VALUES:
        setattr(options, _VALUES[name], value)
    elif name == "--time-limit":
        options.time_limit = _seconds(value)
    else:
        raise UsageError(f"unknown option '{printable(name)}'", hint=USAGE)
    if options.on_error not in (FAIL, KEEP_GOING):
        raise UsageError("--on-error is fail or keep-going")
    if options.dialect not in ("", "v4", "v6", "v6.1"):
        raise UsageError("--dialect is v4, v6 or v6.1")


def _limits(words: "list[str]") -> "Given":
    from ..limits import CHILD, READING, RENDERING, parse

    return parse(words, (RENDERING, READING, CHILD))


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86400:
        raise UsageError(f"invalid time limit '{printable(value)}'", hint="give seconds: --time-limit 30")
    return seconds
