"""``{% lorem [count] [w|p|b] [random] %}``: print filler text as words (w), HTML (p) or paragraphs (b)."""

from ..lorem_text import PARAGRAPHS, WORDS
from ..syntax.tree import Invoke, Print
from ..values import grow, to_int
from . import tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..render_state import Render
    from ..syntax.parser import Parser
    from ..syntax.tokens import Token


@tag("lorem")
def lorem(document: "Parser", start: "Token", arguments: "Parser") -> Print:
    number = arguments.match("number")
    count = to_int(number.value) if number else 1
    method = "b"
    if arguments.current is not None and arguments.current.kind == "identifier":
        token = arguments.match("identifier")
        assert token is not None
        if token.value not in ("w", "p", "b"):
            raise arguments.error("lorem-method must be either 'w', 'p' or 'b'.")
        method = token.value
    chance = arguments.match_word("random") is not None
    arguments.finish("Malformed lorem-tag arguments.")
    return Print(Invoke(start, filler, count, method, chance), raw=True)


def filler(render: "Render", count: int, method: str, chance: bool) -> str:
    pieces = WORDS if method == "w" else PARAGRAPHS
    if method == "p":
        pieces = tuple(f"<p>{paragraph}</p>" for paragraph in pieces)
    rounds, rest = divmod(max(count, 0), len(pieces))
    longest = max(map(len, pieces)) + 1
    size = count * longest if chance else rounds * sum(len(p) + 1 for p in pieces) + rest * longest
    grow(size)
    chosen = [pieces[int(render.random() * len(pieces))] for _ in range(count)] if chance else None
    return (" " if method == "w" else "\n").join(chosen or pieces * rounds + pieces[:rest])
