"""Templates with the recorded answers of pongo2 4.0.2, for the tests of tags."""

from templater import pongo2
from templater.model.errors import TemplateError
from templater.pongo2.dialect import DIALECTS

CONTEXT = {
    "l": ["a", "b", "c"],
    "n": 5,
    "m": {"k": "v", "a": "b"},
    "html": "<b>",
    "t": True,
    "empty": [],
    "s": "héllo",
}
PANIC = "[panic]"


def outcome(template: str, dialect: str) -> str:
    """Return the output or pongo2's error text; ``PANIC`` if pongo2 would crash."""
    try:
        return pongo2.compile(template, DIALECTS[dialect], mode="plain").render(CONTEXT)
    except TemplateError as error:
        assert error.pongo2_error is not None
        return PANIC if error.pongo2_error.startswith("panic: ") else error.pongo2_error


def check(template: str, recorded: str, later: tuple[str, ...] = ("v6", "v6.1")) -> None:
    """Compare v4 with the record. Later dialects give the same, apart from the wording of errors."""
    assert outcome(template, "v4") == recorded
    for dialect in later:
        result = outcome(template, dialect)
        if recorded.startswith(("[Error", PANIC)):
            assert result.startswith(recorded[:7]), result
        else:
            assert result == recorded
