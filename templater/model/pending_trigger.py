"""The pending trigger of an instance, and the triggers that the next start runs.

If a user creates, copies or renames an instance, Incus and LXD record a pending trigger. The next start runs
the pending trigger first, then ``start``.
"""

START = "start"

#: the passes of an instance's first start
FIRST_BOOT = ("create", START)

#: the configuration key in which the daemons store the pending trigger; users can set this key, too
PENDING_KEY = "volatile.apply_template"


def passes(pending: str) -> "tuple[str, ...]":
    """Return the triggers that the next start runs, in order. ``pending`` may be empty."""
    return (pending, START) if pending else (START,)


def pending_after(pending: str, trigger: str) -> str:
    """Return the pending trigger after a user's action. ``trigger`` is "create", "copy" or "rename".

    ``pending`` is the earlier pending trigger, or "". A rename does not replace it.
    """
    return pending or trigger if trigger == "rename" else trigger
