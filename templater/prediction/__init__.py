"""What the chosen host would do with each change: the daemons' own steps, on a model of their file system.

Each family of releases is one way to walk the same steps (see ``Host.family``); where a step goes
through the kernel, or through Go's ``os.Root``, the model follows links as those do. The error texts
are the daemons' own, with ``$INSTANCE``, ``$ROOTFS`` and ``$TEMPLATES`` for the instance's folders.
Read from the recorded outcomes of each release's code; what they don't show is not guessed at.

::

    errno_errors machine go_strconv      errors, paths and numbers, as the kernel and Go have them
    host_filesystem go_os_root           the file system: plain paths, and Go's os.Root
    templates                            which rules are due, and how a render fails
    daemon                               the steps that all releases share
    incus_6_and_lxd_5 incus_7 lxd_6_9    the families, where they differ
    config_drive agent                   virtual machines: the host's part and the guest's
    start predict                        a start as a whole; an outcome for each change of a plan
    deviations                           where templater differs on purpose

May import: model, rootfs.
"""

from .errno_errors import Errno
from .host_filesystem import HostFilesystem, Node
from .machine import InstanceView, Surroundings
from .predict import predict
from .start import FAMILIES, Verdict, start
from .templates import Due, due_of

__all__ = [
    "FAMILIES", "Due", "Errno", "HostFilesystem", "InstanceView", "Node", "Surroundings", "Verdict", "due_of",
    "predict", "start",
]  # fmt: skip
