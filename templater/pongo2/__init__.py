"""The pongo2 template language; knows nothing of images, files or containers.

May import: model.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model.source import Source
    from .dialect import Dialect
    from .state import Limits
    from .template import Loader, Template


def compile(
    source: "Source | str | bytes",
    dialect: "Dialect | None" = None,
    *,
    mode: str = "incus",
    loader: "Loader | None" = None,
    trim_blocks: bool = False,
    lstrip_blocks: bool = False,
    limits: "Limits | None" = None,
) -> "Template":
    """Compile a template, or raise TemplateSyntaxError with its place.

    ``dialect`` is one of `templater.pongo2.dialect`, V6 if omitted. In the mode ``incus`` the template
    is read as LXD and Incus read an image's: autoescape off, and no other template can be named. ``plain``
    is the language by itself; ``loader`` is then where other templates come from. ``limits`` hold for every
    render that gives none.
    """
    from .dialect import V6
    from .template import compile_template

    return compile_template(
        source,
        dialect or V6,
        mode=mode,
        loader=loader,
        trim_blocks=trim_blocks,
        lstrip_blocks=lstrip_blocks,
        limits=limits,
    )
