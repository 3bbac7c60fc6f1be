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
    """Compile a template.

    Raises TemplateSyntaxError with the source position of the mistake, LimitError if the template is too
    large, and InputError if the template is not valid Unicode.

    ``dialect`` is V4, V6 or V61 of `templater.pongo2.dialect`, by default V6. ``limits`` are the default
    limits of each render. ``mode`` has two values:

    * ``incus``: compile the template as LXD and Incus compile the templates of images. Autoescape is off, and
      the template cannot include templates.
    * ``plain``: autoescape is on, and ``loader`` reads the templates that this template includes.
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
