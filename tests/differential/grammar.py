"""Templates and contexts drawn from pongo2's grammar, with pools so small that things collide.

Everything is decided by `Choices.draw`, so the same grammar runs on a seeded generator (fast), on a
recorded sequence (to replay and to shrink: 0 is always the simplest choice) and on hypothesis.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class Choices:
    """Decisions, written down as they are made."""

    def __init__(self, decide: Callable[[int], int]) -> None:
        self.decide = decide
        self.made: list[int] = []

    def draw(self, n: int) -> int:
        """Draw a number below ``n``."""
        if n <= 1:
            return 0
        choice = self.decide(n)
        self.made.append(choice)
        return choice

    def pick(self, options: Sequence[T]) -> T:
        return options[self.draw(len(options))]

    def chance(self, one_in: int) -> bool:
        """Return True with the probability 1 / ``one_in``. False is the simple answer."""
        return self.draw(one_in) == one_in - 1


def seeded(seed: str) -> Choices:
    # `random.Random.randrange` is the slowest part of it all; this is nearly as even
    uniform = random.Random(seed).random
    return Choices(lambda n: int(uniform() * n))


def replayed(sequence: Sequence[int]) -> Choices:
    """Return choices that replay a sequence, and take 0 if a number does not fit or none is left."""
    rest = iter(sequence)
    return Choices(lambda n: choice if (choice := next(rest, 0)) < n else 0)


# --- what templates know -----------------------------------------------------------------------------

TEXTS = (
    "", "a", "web01", "hello world", "5", "1.5", "0", "-3", "a,b,c", "<b>x</b> & 'y' \"z\"", "é日😀", "ǆ ß İ Σ",
    "line1\nline2\n\nline4", "  pad  ", "True", "1e3", "0x1p4", "1_000", "one two three four five",
    "http://example.org/?a=1&b=2 www.x.de me@x.org", "<p>Hello <b>big</b> <i>world</i></p>", "inf", "k1", "b",
    "it's\ta\\n\r", "ABC def", "a_b c-d", "10", "x" * 30, "\u2028\x85\x1c\ufffd",
)  # fmt: skip
INTS = (
    0,
    1,
    2,
    3,
    5,
    -3,
    10,
    7,
    42,
    100,
    1000000,
    9223372036854775807,
    -9223372036854775808,
    9007199254740993,
)
FLOATS = (0.5, 1.5, 0.0, 2.0, -2.25, 3.14159, 1e21, 1e-7, 100000.0, 1234567.0, -0.0, 0.1)
LISTS: tuple[list[Any], ...] = (
    [], ["a", "b", "c"], [3, 1, 2], [1.5, 0.5], [True, False], [1, "a", None], [[1, 2], ["x"]], ["é", "b", "a"],
    [None], [{"k": "v"}], ["10", "9", "1"], [1, 2.5],
)  # fmt: skip
MAPS: tuple[dict[str, Any], ...] = (
    {}, {"k1": "v1", "k2": "v2"}, {"a": 1, "b": [1, 2]}, {"name": "web01", "port": 80}, {"k": {"x": {"y": "z"}}},
    {"0": "zero", "x y": "blank"}, {"n": None, "t": True},
)  # fmt: skip
KINDS: dict[str, tuple[Any, ...]] = {
    "s": TEXTS, "s2": TEXTS, "n": INTS, "n2": INTS, "f": FLOATS, "t": (True, False), "l": LISTS, "l2": LISTS,
    "m": MAPS, "m2": MAPS, "x": (*TEXTS[:6], *INTS[:4], *FLOATS[:2], True, None, *LISTS[:4], *MAPS[:3]),
}  # fmt: skip
INCUS: dict[str, Any] = {
    "trigger": ("create", "start", "copy"),
    "path": ("/etc/hostname",),
    "instance": ({"name": "web01", "type": "container", "architecture": "x86_64", "privileged": "false"},),
    "config": (
        {"user.foo": "bar\n", "user.empty": "", "image.os": "Debian", "limits": "5"},
        {"user.foo": "1"},
        {},
    ),
    "devices": (
        {"eth0": {"type": "nic", "hwaddr": "00:16:3e:00:00:01"}, "root": {"type": "disk", "path": "/"}},
        {"eth0": {"type": "nic"}},
        {},
    ),
    "properties": ({"os": "debian", "release": "trixie"}, {}),
}
KEYS = ("k1", "k2", "a", "b", "name", "port", "k", "x", "n", "0", "nope", "Counter", "type", "eth0", "Name")
SCALARS = ("s", "s2", "n", "n2", "f", "t", "trigger", "path")  # parts of them are errors
NUMBERS = ("n", "n2", "f", "t")  # a subscript of them is a panic
SUBSCRIPTS = (
    "0", *(f'"{key}"' for key in KEYS), "n", "s", "i", "-1", '"user.foo"', '"x y"', "trigger", "1.9", "nope", "s2",
)  # fmt: skip
LOCALS = ("i", "k", "v", "y", "z", "c")  # names that templates bind
FILTERS = (
    "upper", "lower", "default", "length", "first", "last", "join", "add", "escape", "safe", "capfirst", "title",
    "cut", "default_if_none", "divisibleby", "float", "integer", "floatformat", "get_digit", "center", "ljust",
    "rjust", "length_is", "linebreaks", "linebreaksbr", "linenumbers", "make_list", "phone2numeric", "pluralize",
    "removetags", "slice", "split", "stringformat", "striptags", "truncatechars", "truncatechars_html",
    "truncatewords", "truncatewords_html", "urlencode", "iriencode", "urlize", "urlizetrunc", "wordcount",
    "wordwrap", "yesno", "escapejs", "addslashes", "date", "time", "e", "nosuch",
)  # fmt: skip
RARE = ("nosuch", "e", "date", "time", "pluralize")  # mostly errors
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "stringformat": (
        '"%s"', '"%d"', '"%v"', '"%5.2f"', '"%q"', '"%x"', '"%05d"', '"%-8s|"', '"%T"', '"%#v"', '"%+v"', '"%%"',
        '"%"', '"%z"', '"%d%d"', '"%[1]d %[1]v"', '"%[2]d"', '"%*d"', '"%.*f"', '"%e"', '"%g"', '"%08.3f"', '"%+d"',
        '"% x"', '"%#x"', '"%X"', '"%c"', '"%U"', '"%#U"', '"%b"', '"%o"', '"%O"', '"%t"', '"x"', '"%.2s"',
        '"%3c"', '"%#q"', '"%+q"', '"%6.2v"', '"%.3g"', '"%G"', '"%#g"', '"%x%!"', '"%w"', '"%é"', '"%-05d"',
        '"% d"', '"%+.3e"', '"%20v"', '"%#o"', '"%.0d"', '"%#.3x"',
    ),
    "slice": (
        '"1:"', '":2"', '"0:"', '":"', '"1:3"', '"-1:"', '":-1"', '"5:2"', '"1"', '"a:b"', '" 1 : 2 "', '"2:99"',
        '"1:2:3"', '"1.9:"',
    ),
    "date": ('"2006-01-02"',), "time": ('"15:04"',),
    "yesno": ('"y,n,m"', '"y,n"', '"y"', '"a,b,c,d"', '""'),
    "pluralize": ('"es"', '"y,ies"', '"a,b,c"', '""'),
    "removetags": ('"b"', '"b,i"', '"p"', '"[bi]"', '"("', '"."', '""', '"b|i"', '"b*"'),
    "split": ('","', '" "', '""', '"a"'),
    "join": ('","', '""', '" - "', "s"),
    "urlize": ("true", "false"),
    "truncatechars_html": ("5", "10", "3", "0", "20"), "truncatewords_html": ("1", "2", "3", "0"),
    "center": ("10", "5", "4", "0"), "ljust": ("10", "5", "0"), "rjust": ("10", "5", "0", "n"),
    "floatformat": ("2", "0", '"3"', '"-2"', '"x"', "n", "1.9"),
    "wordwrap": ("1", "2", "3", "10", "0"),
}  # fmt: skip
LITERALS = ("1", "0", '"a"', '""', "2", "1.5", "true", "false", '"web01"', "'x'", '"5"', "10", '"é"', '"a b"', "007",
            '"%}"', '"k1"', "3.0", '"<b>"')  # fmt: skip
OPERATORS = ("+", "-", "*", "+", "-", "*", "^", "+", "/", "%")
RELATIONS = ("==", "!=", "<", "<=", ">", ">=", "<>", "in")
PLAIN = (
    "a",
    " ",
    "\n",
    "text",
    "<b>",
    "</b> <i>",
    "é",
    "  \n",
    "{",
    "}",
    "%}",
    "}}",
    "'",
    "\t",
    "x\r\n",
    "-",
    "# ",
)
NOISE = ("{{", "}}", "{%", "%}", "{#", "#}", "|", ":", '"', "(", ")", "not ", " and ", "\n", "@", "-", ".", ",", "[", "]",
         "=", "{% endif %}", "{% else %}", "\x01", "true", "0", "\\")  # fmt: skip


class Example:
    """One thing to render."""

    __slots__ = ("choices", "context", "dialect", "mode", "options", "profile", "template")

    def __init__(self, c: Choices, profile: str = "templates", dialect: str = "v4") -> None:
        self.dialect = dialect
        self.mode = c.pick(("plain", "incus"))
        self.context: dict[str, Any] = {}
        self.options: dict[str, bool] = {}
        if profile == "templates":
            self.context = context(c, self.mode)
            self.template = Writer(c, self.mode, subscripts=dialect != "v4").template()
            if c.chance(20):
                self.options = {"trim_blocks": bool(c.draw(2)), "lstrip_blocks": bool(c.draw(2))}
        else:
            self.template, self.context = PROFILES[profile](c)
        self.profile = profile
        self.choices = c.made

    def request(self) -> dict[str, Any]:
        return {
            "template": self.template,
            "context": self.context,
            "mode": self.mode,
            "dialect": self.dialect,
            "options": self.options,
        }


def context(c: Choices, mode: str) -> dict[str, Any]:
    names = {name: c.pick(pool) for name, pool in KINDS.items() if not c.chance(12)}
    if mode == "incus":
        names |= {name: c.pick(pool) for name, pool in INCUS.items()}
    return names


class Writer:
    """Writes one template."""

    def __init__(self, c: Choices, mode: str, *, subscripts: bool = False) -> None:
        self.c = c
        self.subscripts = subscripts
        self.names = (*KINDS, *LOCALS, "nope", "forloop")
        if mode == "incus":
            self.names += (*INCUS, "container")
        self.incus = mode == "incus"
        self.macros: list[str] = []
        self.blocks = 0
        self.left = 24  # elements this template may still have

    def template(self) -> str:
        text = self.body(0)
        for _ in range(self.c.draw(3) if self.c.chance(9) else 0):
            text = self.spoiled(text)
        return text

    def spoiled(self, text: str) -> str:
        """Return the text without a part of it, or with an inserted part."""
        start = self.c.draw(len(text) + 1)
        if self.c.chance(2):
            return text[:start] + text[start + 1 + self.c.draw(4) :]
        return text[:start] + self.c.pick(NOISE) + text[start:]

    def body(self, depth: int) -> str:
        parts = []
        for _ in range(1 + self.c.draw(3 if depth else 5)):
            if self.left > 0:
                self.left -= 1
                parts.append(self.element(depth))
        return "".join(parts)

    def element(self, depth: int) -> str:
        kind = self.c.draw(20)
        if kind < 3:
            return self.c.pick(PLAIN)
        if kind < 11 or depth > 2:
            return self.output()
        return str(getattr(self, self.c.pick(TAGS))(depth))

    def output(self) -> str:
        left, right = self.trims("{{", "}}")
        return f"{left} {self.expression(0)} {right}"

    def trims(self, left: str, right: str) -> tuple[str, str]:
        if not self.c.chance(10):
            return left, right
        return left + self.c.pick(("", "-")), self.c.pick(("", "-")) + right

    def tag(self, text: str) -> str:
        left, right = self.trims("{%", "%}")
        return f"{left} {text} {right}"

    # --- expressions ---

    def expression(self, depth: int) -> str:
        c = self.c
        kind = c.draw(14)
        if kind < 6 or depth > 2:
            return self.filtered(depth)
        if kind < 8:
            return f"{self.expression(depth + 1)} {c.pick(RELATIONS)} {self.expression(depth + 1)}"
        if kind < 10:
            return f"{self.expression(depth + 1)} {c.pick(OPERATORS)} {self.expression(depth + 1)}"
        if kind == 10:
            return f"{self.expression(depth + 1)} {c.pick(('and', 'or', '&&', '||'))} {self.expression(depth + 1)}"
        if kind == 11 and depth == 0:
            number = c.pick(("n", "f", "n2", "5", "2.5", "s|integer", "l|length", self.filtered(1)))
            return f"{c.pick(('not ', '!', '-', '+', '-!'))}{number}"
        if kind == 12:
            return f"({self.expression(depth + 1)})"
        return self.expression(depth + 1)

    def filtered(self, depth: int) -> str:
        text = self.atom(depth)
        for _ in range(self.c.pick((0, 1, 0, 1, 2, 0, 3))):
            text += "|" + self.filter()
        return text

    def filter(self) -> str:
        c = self.c
        name = c.pick(FILTERS)
        if name in RARE and not c.chance(8):
            name = c.pick(("default", "upper", "join"))
        if name in ARGUMENTS and not c.chance(8):
            return f"{name}:{c.pick(ARGUMENTS[name])}"
        return f"{name}:{self.atom(3)}" if c.chance(2) else name

    def atom(self, depth: int) -> str:
        c = self.c
        kind = c.draw(12)
        if kind < 4:
            return c.pick(LITERALS)
        if kind == 11 and depth < 2:
            return self.subscripted(self.call(), depth)
        name = c.pick(self.names) if not c.chance(40) else "config_get"
        for _ in range(c.pick((0, 0, 0, 0, 1, 0, 0, 1, 2)) if name not in SCALARS or c.chance(15) else 0):
            name += "." + self.part(name)
        return self.subscripted(name, depth)

    def subscripted(self, name: str, depth: int) -> str:
        """Sometimes add a subscript, if the dialect has subscripts.

        Sometimes also add text after the subscript, which is an error.
        """
        c = self.c
        if (
            not self.subscripts
            or not c.chance(5 if depth < 3 else 12)
            or (name in NUMBERS and not c.chance(8))
        ):
            return name
        key = self.expression(2) if c.chance(3) else c.pick(SUBSCRIPTS)
        return f"{name}[{key}]{c.pick(('.a', '[0]', '(1)', ']')) if c.chance(40) else ''}"

    def part(self, name: str) -> str:
        c = self.c
        if name.startswith("forloop"):
            return c.pick(
                ("Counter", "Counter0", "First", "Last", "Revcounter", "Revcounter0", "Parentloop", "counter")
            )
        if name == "devices":
            return c.pick(("eth0", "Sorted", "Clone", "CloneNative", "root"))
        if name == "l" or name == "l2" or c.chance(8):
            return c.pick(("0", "1", "9"))
        return c.pick(KEYS)

    def call(self) -> str:
        c = self.c
        if self.incus and not c.chance(3):
            keys = ('"user.foo"', '"user.empty"', '"nope"', "s", "trigger", '"limits"')
            return f"config_get({c.pick(keys)}, {self.expression(2)})"
        name = c.pick((*self.macros, *self.macros, "nope", "nope", "nope", "s"))
        return f"{name}({', '.join(self.expression(2) for _ in range(c.draw(3)))})"

    # --- tags ---

    def if_(self, depth: int) -> str:
        text = self.tag(f"if {self.expression(0)}") + self.body(depth + 1)
        for _ in range(self.c.pick((0, 0, 1, 2))):
            text += self.tag(f"elif {self.expression(1)}") + self.body(depth + 1)
        if self.c.chance(2):
            text += self.tag("else") + self.body(depth + 1)
        return text + self.tag("endif")

    def for_(self, depth: int) -> str:
        c = self.c
        names = c.pick(("i", "k, v", "c", "y", "s"))
        what = c.pick(("l", "m", "s", "l2", "m2", "x", "devices", "config", self.filtered(2)))
        order = c.pick((" sorted", "", " reversed", " reversed sorted"))
        text = self.tag(f"for {names} in {what}{order}") + self.body(depth + 1)
        if c.chance(4):
            text += self.tag("empty") + self.body(depth + 1)
        return text + self.tag("endfor")

    def set_(self, depth: int) -> str:
        return self.tag(f"set {self.c.pick((*LOCALS, 's', 'n'))} = {self.expression(0)}")

    def with_(self, depth: int) -> str:
        c = self.c
        if c.chance(4):
            arguments = f"{self.filtered(1)} as {c.pick(LOCALS)}"
        else:
            arguments = " ".join(f"{c.pick(LOCALS)}={self.filtered(1)}" for _ in range(1 + c.draw(2)))
        return self.tag(f"with {arguments}") + self.body(depth + 1) + self.tag("endwith")

    def macro(self, depth: int) -> str:
        c = self.c
        name = c.pick(("mac", "mac2", "s"))
        parameters = ", ".join(c.pick(("i", "y=1", "z", 'v="d"', "k=n")) for _ in range(c.draw(3)))
        text = self.tag(f"macro {name}({parameters})") + self.body(depth + 1) + self.tag("endmacro")
        self.macros.append(name)
        return text + f"{{{{ {self.call()} }}}}"

    def cycle(self, depth: int) -> str:
        c = self.c
        items = " ".join(self.atom(3) for _ in range(1 + c.draw(3)))
        name = c.pick(("", "", " as z", " as z silent"))
        return self.tag(f"cycle {items}{name}") + (self.tag("cycle z") if name and c.chance(2) else "")

    def ifchanged(self, depth: int) -> str:
        c = self.c
        watched = " ".join(self.atom(3) for _ in range(c.draw(3)))
        text = self.tag(f"ifchanged {watched}".rstrip()) + self.body(depth + 1)
        if not c.chance(3):
            text += self.tag("else") + self.body(depth + 1)
        return text + self.tag("endifchanged")

    def firstof(self, depth: int) -> str:
        return self.tag("firstof " + " ".join(self.filtered(2) for _ in range(self.c.draw(4))))

    def ifequal(self, depth: int) -> str:
        name = self.c.pick(("ifequal", "ifnotequal"))
        text = self.tag(f"{name} {self.filtered(2)} {self.filtered(2)}") + self.body(depth + 1)
        if self.c.chance(2):
            text += self.tag("else") + self.body(depth + 1)
        return text + self.tag("end" + name)

    def filter_(self, depth: int) -> str:
        filters = "|".join(self.filter() for _ in range(1 + self.c.draw(2)))
        return self.tag(f"filter {filters}") + self.body(depth + 1) + self.tag("endfilter")

    def spaceless(self, depth: int) -> str:
        inner = f"<p> {self.body(depth + 1)}\n</p> <br/>\t<i> x </i>"
        return self.tag("spaceless") + inner + self.tag("endspaceless")

    def autoescape(self, depth: int) -> str:
        mode = self.c.pick(("on", "off", "on", "off", "on", "off", "maybe"))
        return self.tag(f"autoescape {mode}") + self.body(depth + 1) + self.tag("endautoescape")

    def widthratio(self, depth: int) -> str:
        arguments = " ".join(self.atom(3) for _ in range(3))
        return self.tag(f"widthratio {arguments}{self.c.pick(('', ' as y'))}")

    def templatetag(self, depth: int) -> str:
        names = (
            "openblock",
            "closeblock",
            "openvariable",
            "closevariable",
            "openbrace",
            "closebrace",
            "nope",
        )
        return self.tag("templatetag " + self.c.pick((*names, "opencomment", "closecomment")))

    def comment(self, depth: int) -> str:
        if self.c.chance(2):
            return "{# " + self.c.pick(PLAIN).replace("\n", "") + " #}"
        return self.tag("comment") + self.body(depth + 1) + self.tag("endcomment")

    def verbatim(self, depth: int) -> str:
        return "{% verbatim %}" + self.body(depth + 1) + "{% endverbatim %}"

    def now(self, depth: int) -> str:
        layouts = (
            "2006-01-02 15:04:05",
            "Jan _2 Monday 3:04PM",
            "02.01.06 MST -0700 .000",
            "__2 002 Janet Z07:00",
        )
        return self.tag(f'now "{self.c.pick(layouts)}" fake')

    def lorem(self, depth: int) -> str:
        return self.tag(f"lorem {self.c.pick(('', '2', '0', '5'))} {self.c.pick(('w', 'b', 'p', ''))}")

    def block(self, depth: int) -> str:
        self.blocks += 1
        name = f"b{self.blocks}" if not self.c.chance(6) else "b1"
        ending = self.c.pick(("", f" {name}"))
        return self.tag(f"block {name}") + self.body(depth + 1) + self.tag("endblock" + ending)

    def banned(self, depth: int) -> str:
        if not self.c.chance(4):
            return self.output()
        return self.tag(self.c.pick(('include "x"', 'extends "x"', 'ssi "x"', 'import "x" y')))


TAGS = (
    "if_", "for_", "set_", "with_", "macro", "if_", "for_", "set_", "for_", "cycle", "ifchanged", "firstof", "ifequal",
    "filter_", "spaceless", "autoescape", "widthratio", "templatetag", "comment", "verbatim", "now", "lorem", "block",
    "if_", "for_", "set_", "with_", "banned",
)  # fmt: skip


# --- one filter at a time, with arguments made up from their own small alphabets ----------------------

Case = tuple[str, dict[str, Any]]


def made_of(c: Choices, pieces: Sequence[str], most: int) -> str:
    return "".join(c.pick(pieces) for _ in range(c.draw(most + 1)))


def any_value(c: Choices) -> Any:
    return c.pick(KINDS[c.pick(("s", "n", "f", "t", "l", "m", "x"))])


VERBS = "dvsxXqtTfFeEgGbcoOUpw%z!é"


def formats(c: Choices) -> Case:
    """Draw directives for Go's fmt, with flags, width, precision, index and verb."""
    pieces = []
    for _ in range(1 + c.draw(2)):
        index = c.pick(("", "", "", "", "[1]", "[2]", "[", "[1", "[]", "[x]"))
        width = c.pick(("", "", "5", "12", "0", "*", "1", "30"))
        precision = c.pick(("", "", ".2", ".", ".0", ".10", ".*", ".1", ".20"))
        verb = c.pick([v for v in VERBS if v != "p"]) if not c.chance(15) else ""
        pieces.append(
            f"{c.pick(PLAIN)}%{made_of(c, ('', '-', '+', '#', ' ', '0'), 2)}{index}{width}{precision}{verb}"
        )
    return "[{{ x|stringformat:s }}]", {"x": any_value(c), "s": "".join(pieces)}


NUMBER_PIECES = ("1", "0", "5", ".", "-", "e", "+", "_", "x", "p", "9", "inf", "nan", "E", "123", "a", " ")
NUMBER_TESTS = (
    "{{ s|float }} {{ s|integer }}", "{{ s * 1 }} {{ s * 1.0 }}", "{{ x ^ y }}", "{{ x + y }} {{ x - y }} {{ x * y }}",
    "{{ x / y }}", "{{ x % y }}", "{{ x < y }} {{ x >= y }} {{ x == y }}", "{{ x|floatformat:y }}", "{{ s|floatformat:y }}",
    "{{ x|divisibleby:y }} {{ x|get_digit:y }}", "{{ -x }} {{ not x }} {{ !y }}", "{{ x|add:y }} {{ x }} {{ y|length }}",
    "{% widthratio x y 100 %}", "{{ x|pluralize:s }}", "{{ x in l }} {{ y in l }}",
)  # fmt: skip


def numbers(c: Choices) -> Case:
    """Conversions and arithmetic."""
    pool = (*INTS, *FLOATS, 1e300, -1e300, 5e-324, 9.5, 2.5, 1000, 63, 64, -1, "3", "x", None, True)
    context = {"x": c.pick(pool), "y": c.pick(pool), "s": made_of(c, NUMBER_PIECES, 6), "l": c.pick(LISTS)}
    return c.pick(NUMBER_TESTS), context


HTML_PIECES = (
    "<",
    ">",
    "/",
    "b",
    "<b>",
    "</b>",
    "<br/>",
    "a ",
    "é",
    " ",
    ".",
    "<i class='x'>",
    "</i>",
    "日",
    ",",
    "\ufffd",
)
HTML_TESTS = (
    "{{ s|truncatechars_html:n }}", "{{ s|truncatewords_html:n }}", "{{ s|striptags }}", "{{ s|removetags:r }}",
    "{% spaceless %}{{ s|safe }}{% endspaceless %}",
)  # fmt: skip


def html(c: Choices) -> Case:
    """Draw texts with valid and invalid HTML tags."""
    pattern = made_of(
        c, ("b", "i", ".", "*", "+", "?", "|", "(", ")", "[", "]", "^", "a", ",", "{2}", "\\w", "-"), 4
    )
    return c.pick(HTML_TESTS), {"s": made_of(c, HTML_PIECES, 14), "n": c.draw(12), "r": pattern}


URL_PIECES = ("http://", "https://", "www.", "a", "b.com", " ", "  ", "\n", "@", ".", "x", "info", ".de", "é", "?a=1&b", "-",
              "me@x.org", "<", "mail", "_", "name.net")  # fmt: skip
URL_TESTS = (
    "{{ s|urlize }}",
    "{{ s|urlizetrunc:n }}",
    "{{ s|urlize:false }}",
    "{{ s|urlencode }}{{ s|iriencode }}",
)


def urls(c: Choices) -> Case:
    return c.pick(URL_TESTS), {"s": made_of(c, URL_PIECES, 12), "n": c.draw(20)}


TEXT_PIECES = ("a", "B", " ", "é", "日", "\n", "\t", "'", '"', "\\", "<", "&", ",", ":", "-", "1", "\u2028", "\x1f", "ß", "İ", "Σ",
               "ǆ", "_", "r", "n", ".", "\r", "\x85", "😀")  # fmt: skip
TEXT_FILTERS = ("upper", "lower", "title", "capfirst", "center", "ljust", "rjust", "cut", "wordcount", "wordwrap", "slice",
                "truncatechars", "truncatewords", "linenumbers", "linebreaks", "linebreaksbr", "phone2numeric", "escape",
                "escapejs", "addslashes", "split", "join", "first", "last", "make_list", "length", "length_is", "default",
                "yesno", "get_digit", "add", "urlencode")  # fmt: skip


def texts(c: Choices) -> Case:
    """Draw filters on texts. The arguments are texts or numbers."""
    names = [c.pick(TEXT_FILTERS) for _ in range(1 + c.draw(2))]
    chain = "".join(f"|{name}:{c.pick(('n', 's2', 'n2', 'r'))}" for name in names)
    context = {
        "s": made_of(c, TEXT_PIECES, 10), "s2": made_of(c, TEXT_PIECES, 2), "n": c.draw(12), "n2": c.draw(6) - 3,
        "r": made_of(c, ("0", ":", "1", "-", "2", " "), 4),
    }  # fmt: skip
    template = c.pick((f"[{{{{ s{chain} }}}}]", f"{{% for c in s %}}{{{{ c{chain} }}}},{{% endfor %}}"))
    return template, context


LAYOUT_PIECES = (
    "Jan", "January", "Mon", "Monday", "MST", "01", "02", "03", "04", "05", "06", "002", "15", "1", "2", "_2", "__2",
    "_2006", "2006", "3", "4", "5", "PM", "pm", "-07", "-0700", "-07:00", "-070000", "Z07", "Z0700", "Z07:00", ".0",
    ".000", ",9", ".999", ".", ",", "x", ":", "J", "M", "0", "7", "uary", "day", " ",
)  # fmt: skip


def layouts(c: Choices) -> Case:
    """Time layouts."""
    return f'{{% now "{made_of(c, LAYOUT_PIECES, 8)}" fake %}}', {}


PROFILES: dict[str, Callable[[Choices], Case]] = {
    "formats": formats, "numbers": numbers, "html": html, "urls": urls, "texts": texts, "layouts": layouts,
}  # fmt: skip
