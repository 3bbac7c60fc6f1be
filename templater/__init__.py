"""See, test and safely apply the files that an LXD/Incus image's templates will write.

The public names are loaded when they are first used; everything else is private::

    from templater import open_image, read_instance, plan

    for change in plan(open_image("image.tar.xz"), read_instance("web1.yaml")).files():
        print(change.path, change.content)
"""

import sys

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .apply import apply
    from .changes import Change, Outcome, Plan
    from .diff import diff
    from .errors import TemplaterError
    from .hosts import HOSTS, Host
    from .image import open_image
    from .instance import Instance, Profile
    from .instance_file import read_instance
    from .metadata import Metadata, Rule
    from .plan import plan
    from .rootfs.directory import DirectoryRootfs
    from .rootfs.memory import MemoryRootfs
    from .source import Source, Span

#: where each public name lives
_HOMES = {
    "open_image": "image",
    "read_instance": "instance_file",
    "plan": "plan",
    "diff": "diff",
    "apply": "apply",
    "Change": "changes",
    "DirectoryRootfs": "rootfs.directory",
    "HOSTS": "hosts",
    "Host": "hosts",
    "Instance": "instance",
    "MemoryRootfs": "rootfs.memory",
    "Metadata": "metadata",
    "Outcome": "changes",
    "Plan": "changes",
    "Profile": "instance",
    "Rule": "metadata",
    "Source": "source",
    "Span": "source",
    "TemplaterError": "errors",
}

__all__ = [
    "HOSTS", "Change", "DirectoryRootfs", "Host", "Instance", "MemoryRootfs", "Metadata", "Outcome", "Plan",
    "Profile", "Rule", "Source", "Span", "TemplaterError", "apply", "diff", "open_image", "plan",
    "read_instance",
]  # fmt: skip


def __getattr__(name: str) -> "Any":
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'templater' has no attribute '{name}'")
    module = f"{__name__}.{home}"
    __import__(module)
    value = getattr(sys.modules[module], name)
    globals()[name] = value
    return value


def __dir__() -> "list[str]":
    return sorted([*globals(), *__all__])


class _Package(type(sys)):  # type: ignore[misc]  # mypy knows no class by that expression
    """The import system binds a submodule's name in its package when it is loaded. ``plan``, ``diff``
    and ``apply`` are modules and public functions: here the functions win, whoever comes first."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _HOMES and isinstance(value, type(sys)):
            return
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
