"""What the chosen host would do with each change: the daemons' own steps, on a model of their file system.

Each family of releases is one way to walk the same steps (see ``Host.family``); where a step goes
through the kernel, or through Go's ``os.Root``, the model follows links as those do. The error texts
are the daemons' own, with ``$INSTANCE``, ``$ROOTFS`` and ``$TEMPLATES`` for the instance's folders.
Read from the recorded outcomes of each release's code; what they don't show is not guessed at.

::

    ends places words        errors and paths, as the kernel and Go have them
    world goroot             the file system: plain paths, and Go's os.Root
    templates                what is due, and how a render fails
    daemon                   the steps that all releases share
    beneath rooted stated    the families, where they differ
    start prediction         a start as a whole; an outcome for each change of a plan

May import: model, rootfs.
"""

from .errno_errors import Errno
from .host_filesystem import Node, World
from .known_paths import InstanceView, Surroundings
from .predict import predict
from .start import FAMILIES, Verdict, start
from .templates import Due, due_of

__all__ = [
    "FAMILIES", "Due", "Errno", "InstanceView", "Node", "Surroundings", "Verdict", "World", "due_of",
    "predict", "start",
]  # fmt: skip
