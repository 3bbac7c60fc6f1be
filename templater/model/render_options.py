"""Options for rendering templates."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .hosts import Host


#: the releases of pongo2, oldest first
DIALECT_NAMES = ("v4", "v6", "v6.1")

#: maximum seconds for one template, and for all templates of an image; most templates take milliseconds
SECONDS = TOTAL = 8.0


class RenderOptions:
    """The host and the dialect of pongo2 for a run, and three settings:

    * ``clock``: the time that templates see
    * ``seed``: decides the random choices of templates
    * ``limits``: a ``pongo2.render_state.Limits``. ``limits.total`` is for rendering and prediction together.
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
        """Return options whose total time limit starts now, or ``self`` if the limit has already started."""
        limits = None if self.limits is None else self.limits.begun()
        if limits is self.limits:
            return self
        return RenderOptions(self.host, self.dialect, self.clock, self.seed, limits)

    def check_time(self) -> None:
        """Raise LimitError if the total time limit of the run has passed."""
        if self.limits is not None and self.limits.is_over:
            raise self.limits.late()
