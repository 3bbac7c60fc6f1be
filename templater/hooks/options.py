"""The options of a hook line, and their parser.

The parser does not import the modules of templater's command line, because those modules load slowly.
"""

from ..model.errors import UsageError
from ..model.render_options import DIALECT_NAMES
from ..model.unprintable_characters import printable
from .runtimes import function_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..limit_option import Given

#: If this is the last word of a hook line, the hook only prints versions.
#: The word is never mistaken for a machine name, because machine names can't begin with a hyphen.
PROBE = "--probe"

#: The word that ends the options. A runtime appends further words, which can begin with a hyphen.
END = "--"

FAIL = "fail"
KEEP_GOING = "keep-going"

#: maximum number of digits of a uid
MAX_DIGITS = 10

#: maximum seconds for the whole hook: waiting for the lock, rendering, writing
TIME_LIMIT = 60.0


#: texts that identify a hook line of any templater version
MARKS = ("from templater_hook import", "from templater.hooks.")


def calls_templater(line: str) -> bool:
    """Return whether a line of a configuration is a hook line of templater."""
    return any(mark in line for mark in MARKS)


class Options:
    """The options of a hook line, the same for every runtime."""

    __slots__ = (
        "allow", "allow_instance", "cache", "dialect", "if_present", "in_child", "in_place", "instance",
        "keep_modified", "limits", "log", "on_error", "owner", "rootfs", "source", "stage", "state",
        "time_limit", "triggers", "use_cache", "words",
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
        self.owner = 0
        self.time_limit = TIME_LIMIT
        self.triggers: tuple[str, ...] = ()
        self.allow: tuple[str, ...] = ()
        self.allow_instance: tuple[str, ...] = ()
        self.limits: Given | None = None
        self.in_child = True
        self.in_place = False
        self.keep_modified = False
        self.if_present = False
        self.use_cache = True
        #: positional arguments: the machine's name, or the words that LXC appends
        self.words: tuple[str, ...] = ()

    @property
    def patience(self) -> float:
        """The seconds to wait for a lock. The wait ends before the time limit of the hook."""
        # After the wait, the hook can report which lock was held. The error about the time limit does not
        # name the lock.
        return 0.9 * self.time_limit


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
    "--keep-modified": ("keep_modified", True),
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
  --source DIR          directory of metadata.yaml and templates/ [default: the instance's directory]
  --instance FILE       description of the instance [default: instance.yaml beside the image]
  --rootfs DIR          root filesystem [default: the one that the runtime names]
  --state DIR           directory for .templater [default: the instance's directory]
  --owner UID           lxc: also trust the user who starts the container. UID is this user's id in
                        the container's user namespace
  --on-error fail|keep-going
                        stop or continue the start after an error [default: fail]
  --time-limit SECONDS  time limit for the whole hook [default: 60]
  --log FILE            additional log file, besides .templater/log and the journal
  --dialect v4|v6|v6.1  pongo2 version [default: v6]
  -t, --trigger NAME    trigger to run; repeatable [default: the pending trigger, then 'start']
  --stage NAME          oci: stage of this hook [default: createRuntime]; lxc: pre-start or mount
  --limit NAME=VALUE    override a rendering limit, see docs/limits.md; repeatable
  --allow DIR           oci: directory of image sources that annotations may name; repeatable
                        [default: /var/lib/templater/images]
  --allow-instance DIR  oci: directory of descriptions that annotations may name; repeatable
                        [default: none]
  --in-place            write into mounted files such as podman's /etc/hosts
  --keep-modified       do not overwrite files that were changed by hand: write the other files, then fail
  --if-present          skip instances without an image
  --cache DIR           directory of the compile cache [default: in .templater]
  --no-cache            do not use the compile cache
  --no-child            render in the hook's own process, without the sandbox
"""


def parse(arguments: "list[str]") -> "tuple[str, Options]":
    """Return the runtime and the options of a hook line.

    Raises UsageError if the runtime or an option is invalid.
    """
    if not arguments or function_of(arguments[0], "read_request") is None:
        raise UsageError("missing or unknown runtime", hint=USAGE)
    return arguments[0], read_options(arguments[1:])


def read_options(words: "list[str]") -> Options:
    """Parse the options of a hook line; positional arguments go to ``Options.words``.

    Raises UsageError for an unknown option or an invalid value.
    """
    options = Options()
    rest: list[str] = []
    lists: dict[str, list[str]] = {"triggers": [], "allow": [], "allow_instance": [], "limits": []}
    waiting = iter(words)
    for word in waiting:
        name, equals, value = word.partition("=")
        if word == END:
            rest += waiting
        elif name in _FLAGS:
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
    elif name == "--owner":
        options.owner = _uid(value)
    else:
        raise UsageError(f"unknown option '{printable(name)}'", hint=USAGE)
    if options.on_error not in (FAIL, KEEP_GOING):
        raise UsageError("invalid value for --on-error", hint="use --on-error fail or --on-error keep-going")
    if options.dialect not in ("", *DIALECT_NAMES):
        raise UsageError("invalid value for --dialect", hint="use v4, v6 or v6.1")


def _uid(value: str) -> int:
    if not value.isdecimal() or len(value) > MAX_DIGITS:
        raise UsageError(f"invalid uid '{printable(value)}'", hint="give a number: --owner 1000")
    return int(value)


def _limits(words: "list[str]") -> "Given":
    from ..limit_option import CHILD, READING, RENDERING, parse

    return parse(words, (RENDERING, READING, CHILD))


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86400:
        raise UsageError(f"invalid time limit '{printable(value)}'", hint="give seconds: --time-limit 30")
    return seconds
