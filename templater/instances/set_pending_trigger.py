"""A function that records that an instance directory was created, copied or renamed.

The next start then runs the rules for this action.
"""

from ..model.file_names import INSTANCE, STATE_FOLDER
from ..rootfs.trusted_paths import open_folder
from .instance_directory import InstanceDirectory
from .state_directory import State, StateDirectory

#: files by which an instance directory without an image is recognized; ``config`` is LXC's configuration
_SIGNS = (INSTANCE, STATE_FOLDER, "config")


def record(path: str, trigger: str, name: str = "") -> State:
    """Record that the instance directory ``path`` was created, copied or renamed, as ``trigger`` tells.

    Raises InputError if the directory has neither an image nor another file of an instance.
    """
    from ..model.instance_name import require_name
    from ..model.pending_trigger import pending_after

    if name:
        require_name(name)
    with open_folder(path) as folder:
        # The directory needs no image, because a hook line can name the image with --source.
        if all(folder.entry("/" + name) is None for name in _SIGNS):
            InstanceDirectory(path, folder).read_metadata()
        state_directory = StateDirectory(folder)
    with state_directory:
        state_directory.lock("trigger")
        state = state_directory.state() or State(
            "create"
        )  # without a state, the first start is still pending
        if trigger == "create":  # the root filesystem is new
            state_directory.forget_written()
        state.root = ""
        state.pending = pending_after(state.pending, trigger)
        if name:
            state.name = name
        state_directory.remember(state)
    return state
