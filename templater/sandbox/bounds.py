"""The limits of a sandboxed child, and the errors of a child that reached one or failed."""

from ..model.errors import LimitError, TemplaterError


class Bounds:
    """The limits of a child: seconds of processor and wall clock time, bytes of memory and of output."""

    __slots__ = ("cpu", "memory", "output", "wall")

    def __init__(
        self, cpu: int = 10, wall: float = 15.0, memory: int = 512 << 20, output: int = 64 << 20
    ) -> None:
        self.cpu = cpu
        self.wall = wall
        self.memory = memory
        self.output = output


class ChildFailure(TemplaterError):
    """Raised if a child ends without a valid answer, and not because of a limit."""

    exit_code = 5
    kind = "child"


class BoundError(LimitError):
    """An error for a child that exceeded one of its ``Bounds``. ``bound`` is the name of the attribute."""

    def __init__(self, bound: str, message: str) -> None:
        super().__init__(message)
        self.bound = bound
