"""How templates are rendered, as one value that callers pass on unchanged."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .hosts import Host


class RenderOptions:
    """The host, the dialect of pongo2, the clock, the seed and the limits of a run.

    ``dialect`` is the host's unless another is given. ``clock`` fixes the time that templates see, ``seed``
    their random choices. ``limits`` is a ``pongo2.state.Limits``, whose ``total`` bounds the prediction of
    the host too.
    """

    __slots__ = ("clock", "dialect", "host", "limits", "seed")

    def __init__(
        self, host: "Host", dialect: str = "", clock: "Any" = None, seed: "Any" = None, limits: "Any" = None
    ) -> None:
        self.host = host
        self.dialect = dialect or host.dialect
        self.clock = clock
        self.seed = seed
        self.limits = limits

    def begun(self) -> "RenderOptions":
        """Return the options of a run that begins now; a run that has begun stays as it is."""
        limits = None if self.limits is None else self.limits.begun()
        if limits is self.limits:
            return self
        return RenderOptions(self.host, self.dialect, self.clock, self.seed, limits)

    def check_time(self) -> None:
        """Raise LimitError if the run's time in total is over."""
        if self.limits is not None and self.limits.is_over:
            raise self.limits.late()
