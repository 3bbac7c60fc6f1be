r"""The regular expressions of Go, for the filter removetags and for expectations in image tests.

As in Perl and RE2, a search prefers the leftmost match, then the first alternative. The number of steps is
limited to the length of the text times the length of the compiled program.
"""

from unicodedata import category

from ...model.errors import LimitError
from ..values import Panic, grow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Test = Callable[[str], bool]
    # A program is a list of steps. Each step is a tuple of one of these forms:
    # ("char", test), ("char", test, weight of the test), ("split", preferred step, other step),
    # ("jump", step), ("look", test of a position), ("match",)
    Step = tuple[object, ...]

#: Go's limit on the count of a repetition, and on the product of the counts of nested repetitions
_MAX_REPEAT = 1000
_MAX_PROGRAM = 20_000
#: limit on the number of parts to compile; repeated empty parts would not reach a limit on steps
_MAX_PARTS = 5 * _MAX_PROGRAM


class Pattern:
    """A compiled regular expression.

    Raises Panic if the pattern is invalid, and LimitError if it is too large.
    """

    __slots__ = ("program", "size", "text", "weight")

    def __init__(self, pattern: str) -> None:
        # This check precedes parsing, because the time for parsing can grow with the square of the length.
        if len(pattern) > _MAX_PROGRAM:
            raise _too_large()
        self.text = pattern
        compiler = _Compiler(_Parser(pattern).parse())
        self.program = compiler.steps
        #: the work of the compilation
        self.size = max(compiler.parts, len(self.program))
        #: the largest number of comparisons at one position of a text
        self.weight = sum(map(_weight, self.program))

    def work(self, text: str) -> int:
        """Return the largest number of comparisons that a search in a text makes."""
        return self.weight * (len(text) + 1)

    def searcher(self, text: str) -> "_Search":
        """Return a `_Search` for a text. Raises TooLarge if the search can take too much work."""
        grow(self.work(text))
        return _Search(self.program, text)

    def remove_all(self, text: str) -> str:
        """Return the result of ReplaceAllString(text, "") in Go."""
        search = self.searcher(text)
        out = []
        done = position = 0
        while position <= len(text):
            found = search.next(position)
            if found is None:
                break
            start, end = found
            out.append(text[done:start])
            done = end
            position = end if end > start else end + 1
        out.append(text[done:])
        return "".join(out)

    def is_in(self, text: str) -> bool:
        """Return whether the pattern matches somewhere in a text. Raises TooLarge for too much work."""
        return self.searcher(text).next(0) is not None


class _Search:
    """A search for successive matches. The search records each failed state, and does not try it again."""

    def __init__(self, program: "list[Step]", text: str) -> None:
        self.program = program
        self.text = text
        self.failed = bytearray(len(program) * (len(text) + 1))

    def next(self, position: int) -> "tuple[int, int] | None":
        for start in range(position, len(self.text) + 1):
            end = self.match(start)
            if end is not None:
                return start, end
        return None

    def match(self, start: int) -> "int | None":
        """Return the end of the preferred match that begins at ``start``, or None."""
        # ``failed`` marks each step and position that was tried.
        program, text, failed = self.program, self.text, self.failed
        width = len(text) + 1
        stack = [(0, start)]
        while stack:
            step, position = stack.pop()
            place = step * width + position
            if failed[place]:
                continue
            failed[place] = 1
            op = program[step]
            if op[0] == "match":
                # The next match may begin at this position, so clear its marks.
                failed[position::width] = bytes(len(program))
                return position
            if op[0] == "char":
                if position < len(text) and op[1](text[position]):  # type: ignore[operator]
                    stack.append((step + 1, position + 1))
            elif op[0] == "split":
                stack.append((op[2], position))  # type: ignore[arg-type]
                stack.append((op[1], position))  # type: ignore[arg-type]
            elif op[0] == "jump":
                stack.append((op[1], position))  # type: ignore[arg-type]
            elif op[1](text, position):  # type: ignore[operator]
                stack.append((step + 1, position))
        return None


# --- syntax ------------------------------------------------------------------------------------------


class _Flags:
    __slots__ = ("ignore_case", "multi_line", "single_line", "ungreedy")

    def __init__(self) -> None:
        self.ignore_case = self.multi_line = self.single_line = self.ungreedy = False

    def copy(self) -> "_Flags":
        other = _Flags()
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        return other


_FLAG_NAMES = {"i": "ignore_case", "m": "multi_line", "s": "single_line", "U": "ungreedy"}
_SPACES = "\t\n\f\r "
_ESCAPED = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def _is_word(c: str) -> bool:
    return c.isascii() and (c.isalnum() or c == "_")


def _is_boundary(text: str, position: int) -> bool:
    before = position > 0 and _is_word(text[position - 1])
    return before != (position < len(text) and _is_word(text[position]))


_CLASSES: "dict[str, Test]" = {
    "d": lambda c: "0" <= c <= "9",
    "w": _is_word,
    "s": lambda c: c in _SPACES,
}
_POSIX: "dict[str, Test]" = {
    "alnum": lambda c: c.isascii() and c.isalnum(),
    "alpha": lambda c: c.isascii() and c.isalpha(),
    "ascii": lambda c: c.isascii(),
    "blank": lambda c: c in "\t ",
    "cntrl": lambda c: c < " " or c == "\x7f",
    "digit": lambda c: "0" <= c <= "9",
    "graph": lambda c: "!" <= c <= "~",
    "lower": lambda c: "a" <= c <= "z",
    "print": lambda c: " " <= c <= "~",
    "punct": lambda c: "!" <= c <= "~" and not c.isalnum(),
    "space": lambda c: c in "\t\n\v\f\r ",
    "upper": lambda c: "A" <= c <= "Z",
    "word": _is_word,
    "xdigit": lambda c: c in "0123456789abcdefABCDEF",
}


#: the Unicode categories that every release of Go knows: for each first letter, all second letters
_LETTERS = {"C": "cfos", "L": "lmotu", "M": "cen", "N": "dlo", "P": "cdefios", "S": "ckmo", "Z": "lps"}
#: for each name of one or two letters, the categories of its characters
_CATEGORIES = {
    name: frozenset(first + second for second in seconds if first + second in (name, name + second))
    for first, seconds in _LETTERS.items()
    for name in (first, *(first + second for second in seconds))
}


def _negated(test: "Test") -> "Test":
    return lambda c: not test(c)


class _Parser:
    """A parser of RE2's syntax. The result of the parser consists of nested tuples.

    The first item of each tuple is its kind: "char", "look", "join", "either" or "repeat".
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.position = 0
        self.flags = _Flags()
        self.depth = 0

    def parse(self) -> "Step":
        tree = self.alternatives()
        if self.position < len(self.pattern):
            raise self.bad("unexpected )")
        return tree

    def bad(self, why: str, start: int = 0, end: "int | None" = None) -> Panic:
        """Return the panic for an error. Go quotes the invalid part of the pattern, or the whole pattern."""
        part = self.pattern[start:end]
        return Panic(f"regexp: Compile(`{self.pattern}`): error parsing regexp: {why}: `{part}`")

    def peek(self, text: str) -> bool:
        return self.pattern.startswith(text, self.position)

    def take(self, text: str) -> bool:
        if not self.peek(text):
            return False
        self.position += len(text)
        return True

    def char(self, why: str, start: int = 0) -> str:
        if self.position >= len(self.pattern):
            raise self.bad(why, start)
        self.position += 1
        return self.pattern[self.position - 1]

    def alternatives(self) -> "Step":
        flags = self.flags.copy()
        self.depth += 1
        if self.depth > 100:
            raise self.bad("expression nests too deeply")
        options = [self.sequence()]
        while self.take("|"):
            options.append(self.sequence())
        self.depth -= 1
        self.flags = flags
        return ("either", options) if len(options) > 1 else options[0]

    def sequence(self) -> "Step":
        parts: list[Step] = []
        while self.position < len(self.pattern) and not self.peek("|") and not self.peek(")"):
            parts += self.atoms()
            if parts:  # Go applies an operator behind flags to the expression before them
                parts[-1] = self.repeated(parts[-1])
        return ("join", parts)

    def repeated(self, atom: "Step") -> "Step":
        """Parse the repetition operator after an atom of a pattern.

        Raises Panic if a second operator follows.
        """
        start = self.position
        bounds = self.bounds()
        if bounds is None:
            return atom
        least, most = bounds
        greedy = not self.take("?")
        # Like Go, compute this product only for real repetitions, which can be nested at most nine times.
        if max(least, most or 0) >= 2 and _copies(atom) * max(least, most or 0) > _MAX_REPEAT:
            raise self.bad("invalid repeat count", start, self.position)
        if self.bounds() is not None:
            self.take("?")
            raise self.bad("invalid nested repetition operator", start, self.position)
        return ("repeat", atom, least, most, greedy != self.flags.ungreedy)

    def bounds(self) -> "tuple[int, int | None] | None":
        if self.take("*"):
            return 0, None
        if self.take("+"):
            return 1, None
        if self.take("?"):
            return 0, 1
        if self.peek("{") and "0" <= self.pattern[self.position + 1 : self.position + 2] <= "9":
            return self.counted()
        return None

    def counted(self) -> "tuple[int, int | None] | None":
        """Parse ``{n}``, ``{n,}`` or ``{n,m}`` and return (n, m), where None means no maximum.

        If the braces have none of these three forms, return None: the braces are literal text.
        """
        closing = self.pattern.find("}", self.position)
        low, comma, high = self.pattern[self.position + 1 : max(closing, 0)].partition(",")
        if closing < 0 or not _is_count(low) or (high and not _is_count(high)):
            return None
        start, self.position = self.position, closing + 1
        # Five digits are enough, because a count with more than four is above the limit.
        least = int(low[:5])
        most = int(high[:5]) if high else None if comma else least
        if least > _MAX_REPEAT or (most is not None and (most > _MAX_REPEAT or most < least)):
            raise self.bad("invalid repeat count", start, self.position)
        return least, most

    def atoms(self) -> "list[Step]":
        """Parse the next part of a pattern into atoms. Flags give no atom, and quoted text gives several."""
        if self.take("\\Q"):
            return self.quoted()
        atom = self.atom()
        return [] if atom is None else [atom]

    def atom(self) -> "Step | None":
        start = self.position
        if self.bounds() is not None:
            self.take("?")
            raise self.bad("missing argument to repetition operator", start, self.position)
        c = self.char("missing expression")
        if c == "(":
            return self.group()
        if c == "[":
            return ("char", *self.bracket())
        if c == ".":
            return ("char", (lambda c: True) if self.flags.single_line else (lambda c: c != "\n"))
        if c == "^":
            return ("look", _line_start if self.flags.multi_line else _text_start)
        if c == "$":
            return ("look", _line_end if self.flags.multi_line else _text_end)
        if c == "\\":
            return self.escape()
        return self.literal(c)

    def literal(self, c: str) -> "Step":
        if self.flags.ignore_case:
            forms = _case_forms(c)
            return ("char", lambda other: other in forms)
        return ("char", lambda other: other == c)

    def group(self) -> "Step | None":
        if self.take("?"):
            left = len(self.pattern) - self.position  # Go needs a character after "<"
            if (left > 2 and self.take("P<")) or (left > 1 and self.take("<")):
                self.group_name()
            elif self.set_flags():
                return None
            else:
                return self.closed()
        return self.closed()

    def group_name(self) -> None:
        closing = self.pattern.find(">", self.position)
        name = self.pattern[self.position : max(closing, 0)]
        if closing < 0 or not name or not all(map(_is_word, name)):
            start = self.pattern.rfind("(", 0, self.position)
            raise self.bad("invalid named capture", start, closing + 1 if closing >= 0 else None)
        self.position = closing + 1

    def closed(self) -> "Step":
        flags = self.outer_flags if self.outer_flags is not None else self.flags.copy()
        self.outer_flags = None
        tree = self.alternatives()
        if not self.take(")"):
            raise self.bad("missing closing )")
        self.flags = flags
        return tree

    outer_flags: "_Flags | None" = None
    bracket_start = 0

    def set_flags(self) -> bool:
        """Parse flags after ``(?``. Return whether the flags apply to the rest of the enclosing group.

        This is so for ``(?i)``. In contrast, ``(?i:`` begins a group.
        """
        outer = self.flags.copy()
        value = is_complete = True  # Go requires a flag after "-"
        why, start = "invalid or unsupported Perl syntax", self.position - 2
        while True:
            c = self.char(why, start)
            if c == ")" and is_complete:
                return True
            if c == ":" and is_complete:
                self.outer_flags = outer
                return False
            if c == "-" and value:
                value = is_complete = False
            elif c in _FLAG_NAMES:
                is_complete = True
                setattr(self.flags, _FLAG_NAMES[c], value)
            else:
                raise self.bad(why, start, self.position)

    def escape(self) -> "Step":
        c = self.char("trailing backslash at end of expression", self.position)
        if c == "A":
            return ("look", _text_start)
        if c == "z":
            return ("look", _text_end)
        if c == "b":
            return ("look", _is_boundary)
        if c == "B":
            return ("look", lambda text, position: not _is_boundary(text, position))
        test = self.escaped_class(c)
        weight = _MOST_FORMS if self.flags.ignore_case else 1
        return ("char", test, weight) if test is not None else self.literal(self.escaped_char(c))

    def quoted(self) -> "list[Step]":
        r"""Parse the literal text in ``\Q…\E``."""
        text, ending, _ = self.pattern[self.position :].partition("\\E")
        self.position += len(text) + len(ending)
        return [self.literal(c) for c in text]

    def escaped_class(self, c: str) -> "Test | None":
        start, inverted = self.position - 2, c.isupper()
        if c.lower() in _CLASSES:
            test = self.folded(_CLASSES[c.lower()])
        elif c in "pP":
            name = self.category_name()
            inverted ^= name.startswith("^")
            test = self.folded(self.category(name.removeprefix("^"), start))
        else:
            return None
        return _negated(test) if inverted else test

    def folded(self, test: "Test") -> "Test":
        """Return a test that ignores upper and lower case if the flag ``i`` is set."""
        if not self.flags.ignore_case:
            return test
        return lambda c: any(test(form) for form in _case_forms(c))

    def category_name(self) -> str:
        """Parse the name of a class of characters after ``\\p``, such as ``{Lu}``, ``{^Lu}`` or ``L``."""
        start = self.position - 2
        name = self.char("invalid character class range", start)
        if name != "{":
            return name
        closing = self.pattern.find("}", self.position)
        if closing < 0:
            raise self.bad("invalid character class range", start)
        name = self.pattern[self.position : closing]
        self.position = closing + 1
        return name

    def category(self, name: str, start: int) -> "Test":
        """Return a test for the characters of a Unicode category.

        Raises Panic for a name that is invalid in every release of Go, and LimitError for a name that
        templater does not support.
        """
        if name == "Any":
            return lambda c: True
        if name in _CATEGORIES:
            return lambda c: category(c) in _CATEGORIES[name]
        letters = name.replace("_", "").replace("-", "").replace(" ", "")
        if not letters.isascii() or not letters.isalnum() or (len(letters) == 1 and letters not in "clmnpsz"):
            raise self.bad("invalid character class range", start, self.position)
        # Python does not know scripts. Only some releases of Go know names such as LC or Letter.
        raise LimitError(f"templater does not know the class \\p{{{name[:50]}}} of a regular expression")

    def escaped_char(self, c: str) -> str:
        if c in _ESCAPED:
            return _ESCAPED[c]
        if c == "x":
            return self.hexadecimal()
        if c in "01234567":
            return self.octal(c)
        if c.isascii() and not c.isalnum():
            return c
        raise self.bad("invalid escape sequence", self.position - 2, self.position)

    def hexadecimal(self) -> str:
        start, number = self.position - 2, 0
        if not self.take("{"):
            digits = self.pattern[self.position : self.position + 2]
            self.position += 2
            if len(digits) < 2 or not all(map(_POSIX["xdigit"], digits)):
                raise self.bad("invalid escape sequence", start, self.position)
            return chr(int(digits, 16))
        first = self.position
        while (c := self.char("invalid escape sequence", start)) != "}":
            number = 16 * number + int(c, 16) if _POSIX["xdigit"](c) else 0x110000
            if number > 0x10FFFF:
                raise self.bad("invalid escape sequence", start, self.position)
        if self.position == first + 1:
            raise self.bad("invalid escape sequence", start, self.position)
        return chr(number)

    def octal(self, first: str) -> str:
        digits = first
        while (
            len(digits) < 3
            and self.position < len(self.pattern)
            and self.pattern[self.position] in "01234567"
        ):
            digits += self.char("")
        if first != "0" and len(digits) == 1:
            # Go does not support back-references.
            raise self.bad("invalid escape sequence", self.position - 2, self.position)
        return chr(int(digits, 8))

    def bracket(self) -> "tuple[Test, int]":
        """Parse a class such as ``[a-z]``, after its opening bracket.

        Return a function that tests a character, and the maximum number of comparisons in this test.
        """
        self.bracket_start = self.position - 1
        inverted = self.take("^")
        tests: list[Test] = []
        first = True
        while first or not self.take("]"):
            first = False
            tests.append(self.bracket_item())
        plain = _any_of(tests)
        weight = _MOST_FORMS * len(tests) if self.flags.ignore_case else len(tests)
        return _negated(plain) if inverted else plain, weight

    def bracket_item(self) -> "Test":
        if self.peek("[:") and (closing := self.pattern.find(":]", self.position)) >= 0:
            name = self.pattern[self.position + 2 : closing]
            test = _POSIX.get(name.removeprefix("^"))
            if test is None:
                raise self.bad("invalid character class range", self.position, closing + 2)
            self.position = closing + 2
            test = self.folded(test)
            return _negated(test) if name.startswith("^") else test
        if self.peek("\\") and (test := self.bracket_class()) is not None:
            return test
        start = self.position
        low = high = self.bracket_char()
        if self.peek("-") and not self.pattern.startswith("-]", self.position):
            self.position += 1
            high = self.bracket_char()
            if high < low:
                raise self.bad("invalid character class range", start, self.position)
        return self.folded(lambda c: low <= c <= high)

    def bracket_class(self) -> "Test | None":
        start = self.position
        self.position += 1
        test = self.escaped_class(self.char("trailing backslash at end of expression", self.position))
        if test is None:
            self.position = start
        return test

    def bracket_char(self) -> str:
        c = self.char("missing closing ]", self.bracket_start)
        if c != "\\":
            return c
        return self.escaped_char(self.char("trailing backslash at end of expression", self.position))


def _copies(tree: "Any") -> int:
    """Return the maximum number of copies that nested repetitions make of a part: 6 for ``(a{2}){3}``."""
    op = tree[0]
    if op in ("join", "either"):
        return max(map(_copies, tree[1]), default=1)
    if op != "repeat" or tree[3] == 0:
        return 1
    copies: int = tree[2] if tree[3] is None else tree[3]
    # The counts of the repetitions are multiplied, as in Go's repeatIsValid.
    return max(copies, 1) * _copies(tree[1])


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and (text == "0" or text[0] != "0")


def _any_of(tests: "list[Test]") -> "Test":
    return lambda c: any(test(c) for test in tests)


#: the cases of characters for which Go's unicode.SimpleFold differs from Python's lower() and upper()
_MANY_CASES = (
    "Kk\u212a Ss\u017f \u00b5\u039c\u03bc \u00c5\u00e5\u212b \u00df\u1e9e \u01c4\u01c5\u01c6 "
    "\u01c7\u01c8\u01c9 \u01ca\u01cb\u01cc \u01f1\u01f2\u01f3 \u0345\u0399\u03b9\u1fbe "
    "\u0392\u03b2\u03d0 \u0395\u03b5\u03f5 \u0398\u03b8\u03d1\u03f4 \u039a\u03ba\u03f0 "
    "\u03a0\u03c0\u03d6 \u03a1\u03c1\u03f1 \u03a3\u03c2\u03c3 \u03a6\u03c6\u03d5 \u03a9\u03c9\u2126 "
    "\u0412\u0432\u1c80 \u0414\u0434\u1c81 \u041e\u043e\u1c82 \u0421\u0441\u1c83 "
    "\u0422\u0442\u1c84\u1c85 \u042a\u044a\u1c86 \u0462\u0463\u1c87 \u1c88\ua64a\ua64b "
    "\u1e60\u1e61\u1e9b \u1f80\u1f88 \u1f81\u1f89 \u1f82\u1f8a \u1f83\u1f8b \u1f84\u1f8c \u1f85\u1f8d "
    "\u1f86\u1f8e \u1f87\u1f8f \u1f90\u1f98 \u1f91\u1f99 \u1f92\u1f9a \u1f93\u1f9b \u1f94\u1f9c "
    "\u1f95\u1f9d \u1f96\u1f9e \u1f97\u1f9f \u1fa0\u1fa8 \u1fa1\u1fa9 \u1fa2\u1faa \u1fa3\u1fab "
    "\u1fa4\u1fac \u1fa5\u1fad \u1fa6\u1fae \u1fa7\u1faf \u1fb3\u1fbc \u1fc3\u1fcc \u1ff3\u1ffc"
)
_FORMS = {c: frozenset(forms) for forms in _MANY_CASES.split() for c in forms}
#: the largest number of cases of a character
_MOST_FORMS = 4


def _case_forms(c: str) -> "frozenset[str] | set[str]":
    """Return a character and its forms in upper and lower case, as Go's unicode.SimpleFold does."""
    if c in _FORMS:
        return _FORMS[c]
    return {form for form in (c, c.lower(), c.upper()) if c in (form, form.lower(), form.upper())}


def _text_start(text: str, position: int) -> bool:
    return position == 0


def _text_end(text: str, position: int) -> bool:
    return position == len(text)


def _line_start(text: str, position: int) -> bool:
    return position == 0 or text[position - 1] == "\n"


def _line_end(text: str, position: int) -> bool:
    return position == len(text) or text[position] == "\n"


# --- program -----------------------------------------------------------------------------------------


def _too_large() -> LimitError:
    return LimitError(f"a regular expression needs more than {_MAX_PROGRAM} steps")


def _weight(step: "Step") -> int:
    """Return the largest number of comparisons that a step makes at one position of the text."""
    return step[2] if step[0] == "char" and len(step) == 3 else 1  # type: ignore[return-value]


class _Compiler:
    """A compiler that turns a parsed pattern into a list of steps."""

    def __init__(self, tree: "Step") -> None:
        self.steps: list[Step] = []
        self.parts = 0
        self.emit(tree)
        self.add(("match",))

    def add(self, step: "Step") -> int:
        if len(self.steps) >= _MAX_PROGRAM:
            raise _too_large()
        self.steps.append(step)
        return len(self.steps) - 1

    def emit(self, tree: "Step") -> bool:
        """Add the steps of ``tree``. Return whether ``tree`` can match without reading a character."""
        self.parts += 1
        if self.parts > _MAX_PARTS:
            raise _too_large()
        op = tree[0]
        if op == "join":
            can_be_empty = True
            for part in tree[1]:  # type: ignore[attr-defined]
                can_be_empty &= self.emit(part)
            return can_be_empty
        if op == "either":
            return self.either(tree[1])  # type: ignore[arg-type]
        if op == "repeat":
            return self.repeat(*tree[1:])  # type: ignore[arg-type]
        self.add(tree)
        return op == "look"

    def either(self, options: "list[Step]") -> bool:
        jumps = []
        can_be_empty = False
        for option in options[:-1]:
            split = self.add(("split",))
            can_be_empty |= self.emit(option)
            jumps.append(self.add(("jump",)))
            self.steps[split] = ("split", split + 1, len(self.steps))
        can_be_empty |= self.emit(options[-1])
        for jump in jumps:
            self.steps[jump] = ("jump", len(self.steps))
        return can_be_empty

    def repeat(self, tree: "Step", least: int, most: "int | None", greedy: bool) -> bool:
        """Add the steps of a repetition in the same form as Go, because empty matches depend on the form."""
        # For example, x{2,} has the form xx+. If x can be empty, x* has the form (x+)?.
        can_be_empty = True
        for _ in range(least if most is not None else least - 1):
            can_be_empty = self.emit(tree)
        if most is None:
            first = self.add(("split",)) if least == 0 else None
            start = len(self.steps)
            can_be_empty = self.emit(tree)
            last = self.add(("jump", first))
            if first is None or can_be_empty:
                self.steps[last] = ("split", start, last + 1) if greedy else ("split", last + 1, start)
            if first is not None:
                self.branch(first, greedy)
            return least == 0 or can_be_empty
        splits = []
        for _ in range(most - least):
            splits.append(self.add(("split",)))
            self.emit(tree)
        for split in splits:
            self.branch(split, greedy)
        return least == 0 or can_be_empty

    def branch(self, split: int, greedy: bool) -> None:
        """Set the targets of a split: the step after the split, and the current end of the program."""
        inside, after = split + 1, len(self.steps)
        # A greedy repetition first tries the step after the split.
        self.steps[split] = ("split", inside, after) if greedy else ("split", after, inside)
