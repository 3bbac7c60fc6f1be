"""Templater's messages and hints for mistakes in a template."""

from ..filters_and_tags import Library
from .tokens import IDENTIFIER, STRING, Token

#: tags of other template languages, with a hint for each
FOREIGN_TAGS = {
    "elseif": "did you mean 'elif'?",
    "elsif": "did you mean 'elif'?",
    "end": "pongo2 has no 'end': write {% endif %}, {% endfor %}, …",
    "foreach": "did you mean 'for'?",
    "raw": "did you mean 'verbatim'?",
    "unless": "pongo2 has no 'unless': write {% if not … %}",
}

#: words that pongo2 does not accept after a condition, with a hint for each
AFTER_CONDITIONS = {
    "=": "did you mean '=='?",
    "is": "pongo2 has no 'is': write {% if name %}, which is false if 'name' is not set",
    "not": "write 'not' before the comparison, and put the comparison in brackets: not (a in b)",
}


#: the hosts with pongo2 v4
OLD_HOSTS = "LXD and incus-debian"


def did_you_mean(word: str, known: "list[str]") -> str:
    # difflib is slow to import, so only a template with a mistake imports it.
    from difflib import get_close_matches

    close = get_close_matches(word, known, 1, 0.66)  # the cutoff is low enough to suggest "for" for "fro"
    return f"did you mean {close[0]!r}?" if close else ""


def syntax_hint(
    message: str, token: "Token | None", before: "list[Token]", library: Library, subscripts: bool
) -> "tuple[str, str]":
    """Return templater's message and hint for a message of pongo2. Each of them can be "".

    pongo2 reports the token ``token``. The list ``before`` has at most two tokens in front of this token.
    """
    word = token.value if token is not None else ""
    if message.startswith("Filter '"):
        known = sorted(library.filters)
        return f"unknown filter {word!r}", _foreign_filter(word) or did_you_mean(word, known)
    if message.startswith("Tag '") and "not found" in message:
        return _unknown_tag(word, sorted(library.tags))
    if message.startswith("Usage of tag"):
        return (
            f"tag {word!r} is not allowed in an image's templates",
            "many releases of LXD and Incus forbid this tag",
        )
    if token is not None and word.startswith("[") and not subscripts:
        return "this pongo2 release has no subscripts", _old_subscript(token, before)
    if token is not None and token.kind == "(" and before and before[0].kind == "|":
        name = before[-1].value
        return "a filter takes no parentheses", f'write the argument after a colon: {name}:"…"'
    if message.endswith("-condition is malformed."):
        return "", "end the tag with %}" if word.startswith("}") else AFTER_CONDITIONS.get(word, "")
    if message == "'}}' expected" and token is not None:
        return _after_expression(token)
    if message == "This keyword is not allowed here.":
        return f"a value is expected here, not {word!r}", ""
    return "", ""


def _old_subscript(token: "Token", before: "list[Token]") -> str:
    """Return a hint for a subscript, which the v4 dialect lacks. If possible, the hint has a replacement."""
    kinds = [each.kind for each in before]
    word = token.value
    path = _path_before(token) if kinds[-1:] == [IDENTIFIER] else ""
    if not path:
        return f"subscripts need pongo2 v6, and {OLD_HOSTS} have v4"
    quote = word[1:].lstrip()[:1]
    quoted = quote in ("'", '"')
    inside = word.partition(quote)[2].partition(quote)[0] if quoted else word[1:].partition("]")[0].strip()
    key = f"{quote}{inside}{quote}" if quoted else inside
    needs = f"{path}[{key}] needs pongo2 v6, and {OLD_HOSTS} have v4"
    if path == "config":
        return f'{needs}: write config_get({key}, "")'
    if inside.isidentifier() if quoted else inside.isdecimal():
        return f"{needs}: write {path}.{inside}"
    if not quoted:
        return needs
    loop = f"{{% for k, v in {path} %}}{{% if k == {key} %}}{{{{ v }}}}{{% endif %}}{{% endfor %}}"
    return f"{needs}: write {loop}"


def _path_before(token: "Token") -> str:
    """Return the variable in front of a token, such as ``devices.eth0``, or "" if spaces divide its parts."""
    span = token.span
    text = span.source.text[: span.start].rstrip()
    start = len(text)
    while start and (text[start - 1].isalnum() or text[start - 1] in "_."):
        start -= 1
    path = text[start:]
    return "" if path.startswith(".") or text[:start].rstrip().endswith(".") else path


def _unknown_tag(word: str, known: "list[str]") -> "tuple[str, str]":
    if word.startswith("end") and word[3:] in known:
        return f"{{% {word} %}} without a {{% {word[3:]} %}} before it", ""
    if word in ("else", "elif", "empty"):
        return f"{{% {word} %}} outside a block that allows it", ""
    if word == "endverbatim" or word == "verbatim":
        return f"unknown tag {word!r}", "write exactly {% verbatim %} … {% endverbatim %}, with single spaces"
    return f"unknown tag {word!r}", FOREIGN_TAGS.get(word) or did_you_mean(word, known)


def _foreign_filter(word: str) -> str:
    if word.lower() in ("json", "quote", "to_json", "tojson"):
        return f'pongo2 has no {word!r}: stringformat:"%q" writes a text in double quotes'
    return {
        "replace": "pongo2 has no 'replace': 'cut' removes text",
        "trim": "pongo2 has no 'trim'",
        "d": "did you mean 'default'?",
        "count": "did you mean 'length'?",
        "int": "did you mean 'integer'?",
    }.get(word, "")


def _after_expression(token: "Token") -> "tuple[str, str]":
    if token.kind == "[":
        return "a subscript must be the last part of a variable", "store the first part with {% set %}"
    if token.kind in ("(", "."):
        return "only a variable can be called or have members", ""
    if token.kind == STRING or token.kind == "identifier":
        return "'}}' expected: two values without an operator between them", ""
    if token.value[:1] in ("~", "?"):
        return f"unknown operator {token.value[:1]!r}", ""
    return "'}}' expected", ""


def render_hint(message: str) -> str:
    if message.startswith(("can't access a field", "can't access an index")):
        return "only maps have members; strings and numbers do not"
    if "calling argument count" in message and "config_get" in message:
        return "config_get takes a key and a default"
    return ""
