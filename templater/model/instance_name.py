"""Valid names of instances."""

from .errors import RefusedError, UsageError
from .unprintable_characters import printable

MAX_NAME = 255


def require_name(name: str, *, typed: bool = False, daemon: bool = False) -> None:
    """Raise RefusedError if ``name`` is not a valid instance name, and UsageError if it is not a string.

    If ``typed`` is true, also reject probable typing mistakes. If ``daemon`` is true, also reject names that
    LXD and Incus refuse.
    """
    if not isinstance(name, str):
        raise UsageError(f"name={name!r} is not a string", hint="for example: web1")
    problem = _name_problem(name)
    if typed and not problem:
        problem = _typing_problem(name)
    if daemon and not problem:
        problem = daemon_name_problem(name)
    if problem:
        raise RefusedError(
            f"invalid instance name '{printable(name[:MAX_NAME])}': {problem}", hint="for example: web1"
        )


def _typing_problem(name: str) -> str:
    if any(character.isspace() for character in name):
        return "a name can't contain white space"
    return "a name can't begin with '-'" if name[0] == "-" else ""


def _name_problem(name: str) -> str:
    """Return the reason why a name cannot be used as a directory name, or "" if it can."""
    if not name:
        return "the name is empty"
    if name in (".", "..") or "/" in name:
        return "a name can't be '.' or '..', or contain '/'"
    if not name.isprintable() or name.strip() != name:
        return "a name can't contain invisible characters"
    if len(name.encode("utf-8", "surrogateescape")) > MAX_NAME:
        return f"a name can't be longer than {MAX_NAME} bytes"
    return ""


def daemon_name_problem(name: str) -> str:
    """Return the reason why LXD and Incus refuse a name, or "" if they accept it.

    The rules were observed on Incus 6.0.4.
    """
    if not 1 <= len(name) <= 63:
        return "LXD and Incus allow 1 to 63 characters"
    if not name.isascii() or not name.replace("-", "a").isalnum():
        return "LXD and Incus allow letters, digits and '-'"
    if name[0] == "-" or name[-1] == "-":
        return "LXD and Incus refuse '-' at the start and at the end"
    if name.isdigit():
        return "LXD and Incus refuse names that consist of digits only"
    return ""
