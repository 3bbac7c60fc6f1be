"""Templates that name others, from a dict."""

from templater import pongo2
from templater.model.errors import InputError, TemplateSyntaxError
from templater.model.source import Source
from templater.pongo2.dialect import V6, Dialect


class MemoryLoader:
    def __init__(self, files: dict[str, str]) -> None:
        self.files = files

    def read(self, name: str) -> str:
        if name not in self.files:
            raise InputError(f"no {name}")
        return self.files[name]


def render(template: str, *, dialect: Dialect = V6, context: dict | None = None, **files: str) -> str:
    """``base_tpl="…"`` is the file ``base.tpl``."""
    loader = MemoryLoader({name.replace("_", "."): text for name, text in files.items()})
    compiled = pongo2.compile(Source("main.tpl", template), dialect, mode="plain", loader=loader)
    return compiled.render(context or {})


def banned(tag: str, dialect: Dialect) -> bool:
    """Return whether an image's template may not use the tag, even in a part that is never rendered."""
    refused = 0
    for text in (f'{{% {tag} "x" %}}', f'{{% if false %}}{{%- {tag} "x" -%}}{{% endif %}}'):
        try:
            pongo2.compile(text, dialect)
        except TemplateSyntaxError as error:
            refused += "not allowed" in error.message
    return refused == 2
