"""The supported pongo2 releases. The attributes of `Dialect` describe how the releases differ."""

from ..model.render_options import DIALECT_NAMES


class Dialect:
    """One release of pongo2. The instances are V4, V6 and V61, all in this module.

    * ``subscripts``: the release supports ``config["key"]``.
    * ``macro_errors_print``: a macro that fails returns the error text, and the render continues.
    * ``safe_super``: autoescape does not escape ``block.Super``.
    * ``fixed``: the release has the fixes of pongo2 6.1 in ``ifchanged``, ``include``, ``removetags``,
      ``widthratio`` and the message for a banned tag.
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
        """Return whether error messages have the wording of pongo2 v4."""
        return self.macro_errors_print


_V4, _V6, _V61 = DIALECT_NAMES
V4 = Dialect(_V4, "4.0.2", old=True)
V6 = Dialect(_V6, "6.0.0")
V61 = Dialect(_V61, "6.1.0", fixed=True)

DIALECTS = {dialect.name: dialect for dialect in (V4, V6, V61)}
