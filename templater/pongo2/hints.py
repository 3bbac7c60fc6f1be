"""Our own words for what is wrong with a template, and what its author can do."""

from .library import Library
from .tokens import STRING, Token


def did_you_mean(word: str, known: "list[str]") -> str:
    from difflib import get_close_matches  # slow to import, and needed for mistakes only

    close = get_close_matches(word, known, 1, 0.7)
    return f"did you mean {close[0]!r}?" if close else ""


def syntax_hint(message: str, token: "Token | None", library: Library, subscripts: bool) -> "tuple[str, str]":
    """Our message for pongo2's, or an empty one where its own will do; and a hint or an empty text."""
    word = token.value if token is not None else ""
    if message.startswith("Filter '"):
        known = sorted(library.filters)
        return f"unknown filter {word!r}", did_you_mean(word, known) or _foreign_filter(word)
    if message.startswith("Tag '") and "not found" in message:
        return _unknown_tag(word, sorted(library.tags))
    if message.startswith("Usage of tag"):
        return f"tag {word!r} is not allowed in an image's templates", "LXD and Incus forbid it"
    if token is not None and word.startswith("[") and not subscripts:
        return "a variable can't be subscripted here", _old_subscript(word)
    if message == "'}}' expected" and token is not None:
        return _after_expression(token)
    if message == "This keyword is not allowed here.":
        return "a keyword stands where a value is expected", ""
    return "", ""


def _old_subscript(text: str) -> str:
    key = text[1:].lstrip()[:1]
    end = text.find(key, text.find(key) + 1) if key in ("'", '"') else -1
    name = text[text.find(key) : end + 1] if end > 0 else '"key"'
    return f'config[{name}] needs pongo2 v6, LXD has v4: write config_get({name}, "")'


def _unknown_tag(word: str, known: "list[str]") -> "tuple[str, str]":
    if word.startswith("end") and word[3:] in known:
        return f"{{% {word} %}} without a {{% {word[3:]} %}} before it", ""
    if word in ("else", "elif", "empty"):
        return f"{{% {word} %}} stands in no block that takes it", ""
    if word == "endverbatim" or word == "verbatim":
        return f"unknown tag {word!r}", "verbatim is spelled exactly {% verbatim %} … {% endverbatim %}"
    if word == "elseif":
        return "unknown tag 'elseif'", "did you mean 'elif'?"
    return f"unknown tag {word!r}", did_you_mean(word, known)


def _foreign_filter(word: str) -> str:
    return {
        "replace": "pongo2 has no replace; cut removes text",
        "trim": "pongo2 has no trim",
        "d": "did you mean 'default'?",
        "count": "did you mean 'length'?",
        "int": "did you mean 'integer'?",
    }.get(word, "")


def _after_expression(token: "Token") -> "tuple[str, str]":
    if token.kind == "[":
        return "a subscript must be the last part of a variable", "use {% set %} for the part before it"
    if token.kind in ("(", "."):
        return "this can't be called or looked into", ""
    if token.kind == STRING or token.kind == "identifier":
        return "'}}' expected: two values without an operator between them", ""
    if token.value[:1] in ("~", "?"):
        return f"{token.value[:1]!r} is no operator of pongo2", ""
    return "'}}' expected", ""
