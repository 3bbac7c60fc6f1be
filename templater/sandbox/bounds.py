"""The limits of a sandboxed child."""


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
