"""The pongo2 template language, independent of images, files and containers.

May import: model.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model.source import Source
    from .compiled_template import Template
    from .dialect import Dialect
    from .parse_with_includes import Loader
    from .render_state import Limits


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
    """Compile a template. ``dialect`` is V4, V6 (the default) or V61 of `templater.pongo2.dialect`.

    * With ``mode="incus"``, autoescape is off, and includes are forbidden, as in the templates of images.
    * With ``mode="plain"``, autoescape is on, and ``loader`` reads the included templates.
    * ``limits`` are the default limits of each render.

    Raises:
        TemplateSyntaxError: the template has a mistake. The error has the position of the mistake.
        LimitError: the template is too large.
        InputError: the template is not valid Unicode.
    """
    from .compiled_template import compile_template
    from .dialect import V6

    return compile_template(
        source,
        dialect or V6,
        mode=mode,
        loader=loader,
        trim_blocks=trim_blocks,
        lstrip_blocks=lstrip_blocks,
        limits=limits,
    )
