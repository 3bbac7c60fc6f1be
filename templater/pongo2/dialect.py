"""The pongo2 releases that matter, as values: everything in which they differ is asked of one of these."""


class Dialect:
    """One release of the language. Instances are compared by identity; there are only the ones below.

    ``subscripts``: ``config["key"]`` exists. ``macro_errors_print``: an error inside a macro does not
    fail the render, its text is printed. ``safe_super``: ``block.Super`` is not escaped.
    ``fixed``: with the fixes of 6.1: an unchanged ``ifchanged x`` without ``else`` does not panic, without
    ``x`` its ``else`` counts, ``removetags`` takes names literally, ``widthratio`` of a zero maximum is
    empty, and the message for a banned tag is another.
    """

    __slots__ = ("fixed", "macro_errors_print", "name", "safe_super", "subscripts", "version")

    def __init__(self, name: str, version: str, *, old: bool = False, fixed: bool = False) -> None:
        self.name = name
        self.version = version
        self.subscripts = not old
        self.safe_super = not old
        self.macro_errors_print = old
        self.fixed = fixed

    def __repr__(self) -> str:
        return f"Dialect({self.name!r})"

    @property
    def old(self) -> bool:
        """Whether messages have the wording of pongo2 4."""
        return self.macro_errors_print


V4 = Dialect("v4", "4.0.2", old=True)
V6 = Dialect("v6", "6.0.0")
V61 = Dialect("v6.1", "6.1.0", fixed=True)

DIALECTS = {dialect.name: dialect for dialect in (V4, V6, V61)}
