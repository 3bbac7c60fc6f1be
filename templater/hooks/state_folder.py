"""The directory in which a hook keeps the state of one container."""

from ..model.errors import WriteError, reason


def make_state_folder(path: str) -> str:
    """Create a directory for the state of one container, and return its path.

    Raises WriteError if that fails.
    """
    from os import makedirs

    try:
        makedirs(path, 0o700, exist_ok=True)
    except OSError as error:
        raise WriteError(f"can't create '{path}': {reason(error)}", hint="see --state") from None
    return path
