"""Predictions of a host's result for each change: the daemon's steps, run on a model of its file system.

The steps are based on recorded runs of each release's code. Cases without a recording are "unknown". Error
texts are the daemons' texts, but ``$INSTANCE``, ``$ROOTFS`` and ``$TEMPLATES`` replace the instance's
directories.

* `errno_errors` and `go_strconv`: errors of system calls, and numbers and quoted texts as in Go.
* `known_host_files`: the known files of the host, usually only the instance's files.
* `host_filesystem` and `go_os_root`: the model file system, with plain paths and with Go's os.Root.
* `host_rendering`: rules with their renderings, and render errors.
* `incus_and_lxd_daemons`: the steps of each family of releases (see ``Host.family``).
* `config_drive` and `agent`: virtual machines, with the steps of the host and of the guest.
* `simulated_start`: a whole start.
* `predicted_outcomes`: an outcome for each change of a plan.
* `deviations`: the intentional differences of templater.

May import: model, rootfs.
"""

from .errno_errors import Errno
from .host_filesystem import HostFilesystem, Node
from .host_rendering import Due, due_of
from .known_host_files import InstanceView, Surroundings
from .predicted_outcomes import predict
from .simulated_start import FAMILIES, StartResult, start

__all__ = [
    "FAMILIES", "Due", "Errno", "HostFilesystem", "InstanceView", "Node", "StartResult", "Surroundings",
    "due_of", "predict", "start",
]  # fmt: skip
