"""See, test and safely apply the files that an LXD/Incus image's templates will write.

Each public name is loaded at its first use. An example::

    from templater import open_image, read_instance, plan

    for change in plan(open_image("image.tar.xz"), read_instance("web1.yaml")).files():
        print(change.path, change.content)
"""

import sys

__version__ = "0.2.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .image.open_image import open_image
    from .instances.description_file import read_instance, read_instances
    from .model.errors import TemplaterError
    from .model.hosts import HOSTS, Host
    from .model.instance import Instance, Profile
    from .model.metadata import Metadata, Rule
    from .model.plan import Change, Outcome, Plan
    from .model.source import Source, Span
    from .planning.plan_image import plan
    from .reporting.patch import diff
    from .rootfs.directory_rootfs import DirectoryRootfs
    from .rootfs.memory_rootfs import MemoryRootfs
    from .writing.apply_plan import apply

#: the module that defines each public name
_HOMES = {
    "open_image": "image.open_image",
    "read_instance": "instances.description_file",
    "read_instances": "instances.description_file",
    "plan": "planning.plan_image",
    "diff": "reporting.patch",
    "apply": "writing.apply_plan",
    "Change": "model.plan",
    "DirectoryRootfs": "rootfs.directory_rootfs",
    "HOSTS": "model.hosts",
    "Host": "model.hosts",
    "Instance": "model.instance",
    "MemoryRootfs": "rootfs.memory_rootfs",
    "Metadata": "model.metadata",
    "Outcome": "model.plan",
    "Plan": "model.plan",
    "Profile": "model.instance",
    "Rule": "model.metadata",
    "Source": "model.source",
    "Span": "model.source",
    "TemplaterError": "model.errors",
}

__all__ = [
    "HOSTS", "Change", "DirectoryRootfs", "Host", "Instance", "MemoryRootfs", "Metadata", "Outcome", "Plan",
    "Profile", "Rule", "Source", "Span", "TemplaterError", "apply", "diff", "open_image", "plan",
    "read_instance", "read_instances",
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
