"""Go's fmt.Sprintf for one operand, which the filter stringformat uses.

A directive consists of ``%``, flags, width, precision and verb. An index such as ``[1]`` may precede the
width, the precision and the verb. As in Go, an error appears in the text: ``%!d(string=hi)``.
"""

from ..values import Byte, Function, NilPointer, Struct, gotype, grow, recombine, to_bytes
from .strconv import can_backquote, format_float, is_printable, quote, rune

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_TOO_LARGE = 1_000_000
_LOWER = "0123456789abcdefx"
_UPPER = "0123456789ABCDEFX"
_BASES = {"d": 10, "v": 10, "b": 2, "o": 8, "O": 8, "x": 16, "X": 16}


#: the units of work for one value that is not a string; a string has one unit for each character
_VALUE = 32
#: the work is multiplied by this factor for verbs that process each character of a string in Python code
_SLOW_VERBS = 8
#: the work of several small directives is added up, and counted when the sum exceeds this number of units
_UNCOUNTED = 1024


def sprintf(form: str, operand: "Any", work: "Callable[[int], object] | None" = None) -> str:
    """Return the result of fmt.Sprintf(form, operand) in Go.

    Before each large operation, call the function ``work`` with the number of work units. ``work`` can raise
    an error.
    """
    return _Printf(form, operand, work).run()


def _work_on(v: "Any", known: "dict[int, int]") -> int:
    """Return the number of work units for printing a value with all of its items.

    ``known`` maps the ``id`` of a list or map to its work units.
    """
    if isinstance(v, str):
        return len(v)
    if not isinstance(v, list | dict):
        return _VALUE
    # A value can contain one list several times.
    if id(v) not in known:
        items = v if isinstance(v, list) else [*v, *v.values()]
        is_plain = set(map(type, items)) == {str}
        work = sum(map(len, items)) if is_plain else sum(_work_on(item, known) for item in items)
        known[id(v)] = work + _VALUE * (len(items) + 1)
    return known[id(v)]


class _Spec:
    """The flags, the width and the precision of one directive. A missing width or precision is -1."""

    __slots__ = ("minus", "plus", "plus_v", "prec", "sharp", "sharp_v", "space", "width", "zero")

    def __init__(self) -> None:
        self.minus = self.plus = self.sharp = self.space = self.zero = False
        self.plus_v = self.sharp_v = False
        self.width = self.prec = -1

    def set_flag(self, c: str) -> bool:
        if c == "#":
            self.sharp = True
        elif c == "0":
            self.zero = True
        elif c == "+":
            self.plus = True
        elif c == "-":
            self.minus = True
        elif c == " ":
            self.space = True
        else:
            return False
        return True

    def for_values(self) -> None:
        """Convert the flags of %+v and %#v into the modes ``plus_v`` and ``sharp_v``. Turn the flags off."""
        self.plus_v, self.sharp_v = self.plus, self.sharp
        # Otherwise, the flags would also apply to each element of the operand.
        self.plus = self.sharp = False

    def pad(self, text: str, *, zeros: bool = True) -> str:
        blanks = self.width - len(text)
        if blanks <= 0:
            return text
        grow(self.width)
        if self.minus:
            return text + " " * blanks
        return ("0" if zeros and self.zero else " ") * blanks + text


class _Printf:
    """A formatter of one operand by a format string. The methods follow Go's doPrintf."""

    def __init__(self, form: str, operand: "Any", work: "Callable[[int], object] | None") -> None:
        self.form = form
        self.operand = operand
        self.work = work
        self.work_on_operand = _work_on(operand, {}) if work else 0
        self.uncounted = 0
        self.size = 0
        self.position = 0
        self.last_bracket = form.rfind("]")
        self.argument = 0  # index of the next operand; this implementation has one operand, with index 0
        self.reordered = False
        self.good_index = True
        self.out: list[str] = []

    def run(self) -> str:
        form = self.form
        while self.position < len(form):
            percent = form.find("%", self.position)
            if percent < 0:
                self.out.append(form[self.position :])
                break
            self.out.append(form[self.position : percent])
            self.position = percent + 1
            self.directive()
        if not self.reordered and self.argument < 1:
            self.out.append(self.extra())
        return recombine("".join(self.out))

    def extra(self) -> str:
        if self.operand is None:
            return "%!(EXTRA <nil>)"
        return f"%!(EXTRA {gotype(self.operand)}={self.value(_Spec(), 'v')})"

    def value(self, spec: _Spec, verb: str) -> str:
        """Format the operand. Count the work before formatting, and the size of all results afterwards."""
        if self.work is not None:
            slow = verb in "qxX" or spec.sharp_v
            self.uncounted += self.work_on_operand * _SLOW_VERBS if slow else self.work_on_operand
            if self.uncounted > _UNCOUNTED:
                self.work(self.uncounted)
                self.uncounted = 0
        text = _Value(spec).argument(self.operand, verb)
        self.size += len(text)
        grow(self.size)
        return text

    def directive(self) -> None:
        spec = _Spec()
        self.good_index = True
        form = self.form
        while self.position < len(form) and spec.set_flag(form[self.position]):
            self.position += 1
        if self.position < len(form) and "a" <= form[self.position] <= "z" and self.argument < 1:
            self.verb(spec)
            return
        after_index = self.index()
        after_index = self.width(spec, after_index)
        after_index = self.precision(spec, after_index)
        if not after_index:
            self.index()
        if self.position >= len(form):
            self.out.append("%!(NOVERB)")
            return
        self.verb(spec)

    def verb(self, spec: _Spec) -> None:
        verb = self.form[self.position]
        self.position += 1
        if "\udc80" <= verb <= "\udcff":
            verb = "\ufffd"
        if verb == "%":
            self.out.append("%")
        elif not self.good_index:
            self.out.append(f"%!{verb}(BADINDEX)")
        elif self.argument >= 1:
            self.out.append(f"%!{verb}(MISSING)")
        else:
            if verb in "vw":
                spec.for_values()
            self.out.append(self.value(spec, verb))
            self.argument += 1

    def index(self) -> bool:
        """Parse an operand index such as ``[1]``. Return whether there was a valid index."""
        form, start = self.form, self.position
        if form[start : start + 1] != "[":
            return False
        self.reordered = True
        has_bracket = start < self.last_bracket and len(to_bytes(form[start : start + 3])) >= 3
        closing = form.find("]", start) if has_bracket else -1
        if closing < 0:
            self.good_index = False
            self.position += 1
            return False
        self.position = closing + 1
        number, position = _number(form, start + 1, closing)
        if number is None or position != closing:
            self.good_index = False
            return False
        if number == 1:
            self.argument = 0
        else:
            self.good_index = False
        return True

    def width(self, spec: _Spec, after_index: bool) -> bool:
        if self.form[self.position : self.position + 1] == "*":
            self.position += 1
            width = self.number_from_operand()
            if width is None:
                self.out.append("%!(BADWIDTH)")
                return False
            if width < 0:
                spec.minus, spec.zero = True, False
            spec.width = abs(width)
            return False
        number, self.position = _number(self.form, self.position, len(self.form))
        if number is not None:
            spec.width = number
            if after_index:
                self.good_index = False
        return after_index

    def precision(self, spec: _Spec, after_index: bool) -> bool:
        if self.position + 1 >= len(self.form) or self.form[self.position] != ".":
            return after_index
        self.position += 1
        if after_index:
            self.good_index = False
        after_index = self.index()
        if self.form[self.position : self.position + 1] == "*":
            self.position += 1
            precision = self.number_from_operand()
            if precision is None or precision < 0:
                self.out.append("%!(BADPREC)")
            else:
                spec.prec = precision
            return False
        number, self.position = _number(self.form, self.position, len(self.form))
        spec.prec = number or 0
        return after_index

    def number_from_operand(self) -> "int | None":
        """Return the operand as the width or precision of a directive with ``*``.

        Return None if the operand was used before, or is not an integer in the allowed range.
        """
        if self.argument >= 1:
            return None
        self.argument += 1
        number = self.operand
        if type(number) not in (int, Byte) or abs(number) > _TOO_LARGE:
            return None
        return int(number)


def _number(form: str, start: int, end: int) -> "tuple[int | None, int]":
    """Parse the decimal number at ``start``. Return the number and the index after its last digit.

    The number is None if there are no digits. Return None and ``end`` if the number is too large.
    """
    number = None
    position = start
    while position < end and "0" <= form[position] <= "9":
        if (number or 0) > _TOO_LARGE:
            return None, end
        number = (number or 0) * 10 + ord(form[position]) - 48
        position += 1
    return number, position


class _Value:
    """A formatter of values for one directive."""

    def __init__(self, spec: _Spec) -> None:
        self.spec = spec
        self.erroring = False  # true inside an error text, where Go does not call String() methods
        self.is_sized = spec.width >= 0 or spec.prec >= 0
        self.size = 0  # the characters of all items of lists, maps and structs so far

    def argument(self, v: "Any", verb: str) -> str:
        spec = self.spec
        if v is None:
            return spec.pad("<nil>") if verb in "Tv" else f"%!{verb}(<nil>)"
        if verb == "T":
            return self.text(gotype(v))
        if verb == "p" and _is_reference(v):
            return self.pointer(v, verb)
        if verb == "p":
            return self.bad(v, verb)
        return self.value(v, verb, 0)

    def bad(self, v: "Any", verb: str) -> str:
        was = self.erroring
        self.erroring = True
        text = f"%!{verb}({gotype(v)}={self.value(v, 'v', 0)})"
        self.erroring = was
        return text

    def value(self, v: "Any", verb: str, depth: int) -> str:
        t = type(v)
        if v is None:
            # With any verb, Go prints a nil element of a container as <nil>.
            return "interface {}(nil)" if self.spec.sharp_v else "<nil>"
        if verb == "w":
            return self.bad(v, verb)
        if t is bool:
            return self.spec.pad("true" if v else "false") if verb in "tv" else self.bad(v, verb)
        if t is float:
            return self.floating(v, verb)
        if isinstance(v, int):
            return self.integer(v, verb)
        if isinstance(v, str):
            return self.string(v, verb)
        if isinstance(v, list):
            return self.list(v, verb, depth)
        if isinstance(v, dict):
            return self.map(v, verb, depth)
        return self.object(v, verb, depth)

    # --- strings ---

    def string(self, v: str, verb: str) -> str:
        if verb == "s" or (verb == "v" and not self.spec.sharp_v):
            return self.text(str(v))
        if verb in "qv":
            return self.quoted(str(v))
        if verb in "xX":
            return self.hex_bytes(to_bytes(v), _LOWER if verb == "x" else _UPPER)
        return self.bad(v, verb)

    def text(self, v: str) -> str:
        return self.spec.pad(self.truncated(v))

    def truncated(self, v: str) -> str:
        return v if self.spec.prec < 0 else v[: self.spec.prec]

    def quoted(self, v: str) -> str:
        v = self.truncated(v)
        if self.spec.sharp and can_backquote(v):
            return self.spec.pad(f"`{v}`")
        return self.spec.pad(quote(v, '"', ascii_only=self.spec.plus))

    def hex_bytes(self, data: bytes, digits: str) -> str:
        spec = self.spec
        if spec.prec >= 0:
            data = data[: spec.prec]
        pairs = [digits[b >> 4] + digits[b & 15] for b in data]
        prefix = "0" + digits[16] if spec.sharp and data else ""
        text = prefix + (" " + prefix if spec.space else "").join(pairs)
        return spec.pad(text)

    # --- numbers ---

    def integer(self, v: int, verb: str) -> str:
        spec = self.spec
        if verb in _BASES:
            if verb == "v" and spec.sharp_v and type(v) is Byte:
                return self.digits(int(v), 16, "v", sharp=True)
            return self.digits(int(v), _BASES[verb], verb, sharp=spec.sharp)
        unsigned = v & 0xFFFFFFFFFFFFFFFF
        character = rune(unsigned)
        if verb == "c":
            return spec.pad(character)
        if verb == "q":
            return spec.pad(quote(character, "'", ascii_only=spec.plus))
        if verb == "U":
            return self.code_point(unsigned)
        return self.bad(v, verb)

    def digits(self, v: int, base: int, verb: str, *, sharp: bool) -> str:
        spec = self.spec
        sign = "-" if v < 0 else "+" if spec.plus else " " if spec.space else ""
        wanted = 0
        if spec.prec >= 0:
            wanted = spec.prec
            if wanted == 0 and v == 0:
                return " " * max(spec.width, 0)
        elif spec.zero and not spec.minus:
            wanted = spec.width - len(sign)
        grow(wanted)
        text = format(abs(v), {2: "b", 8: "o", 10: "d", 16: "X" if verb == "X" else "x"}[base])
        text = text.rjust(wanted, "0")
        if sharp:
            text = _based(text, base, verb)
        if verb == "O":
            text = "0o" + text
        return spec.pad(sign + text, zeros=False)

    def code_point(self, v: int) -> str:
        grow(self.spec.prec)
        text = "U+" + format(v, "X").rjust(max(self.spec.prec, 4), "0")
        if self.spec.sharp and v <= 0x10FFFF and is_printable(v):
            text += f" '{chr(v)}'"
        return self.spec.pad(text, zeros=False)

    def floating(self, v: float, verb: str) -> str:
        spec = self.spec
        if verb not in "vbgGxXfFeE":
            return self.bad(v, verb)
        form = {"v": "g", "F": "f"}.get(verb, verb)
        precision = spec.prec
        if precision < 0:
            precision = 6 if verb in "fFeE" else -1
        number = format_float(v, form, precision)
        if number[0] not in "+-":
            number = "+" + number
        if spec.space and number[0] == "+" and not spec.plus:
            number = " " + number[1:]
        if number[1] in "IN":
            return self.special(number)
        if spec.sharp and verb != "b":
            number = _with_point(number, verb, precision)
        return self.signed(number)

    def special(self, number: str) -> str:
        """Format an infinity or NaN.

        Infinities and NaN are padded only with spaces. NaN has a sign only with a flag.
        """
        spec = self.spec
        if number[1] == "N" and not spec.space and not spec.plus:
            number = number[1:]
        return spec.pad(number, zeros=False)

    def signed(self, number: str) -> str:
        spec = self.spec
        if not spec.plus and number[0] == "+":
            return spec.pad(number[1:])
        if spec.zero and not spec.minus and spec.width > len(number):
            grow(spec.width)
            return number[0] + "0" * (spec.width - len(number)) + number[1:]
        return spec.pad(number)

    # --- containers ---

    def item(self, v: "Any", verb: str, depth: int) -> str:
        """Format an item. If a width or a precision can make every item long, check the total size so far."""
        text = self.value(v, verb, depth + 1)
        if self.is_sized and not isinstance(v, list | dict | Struct):  # these count their own items
            self.size += len(text)
            grow(self.size)
        return text

    def list(self, v: "list[Any]", verb: str, depth: int) -> str:
        items = [self.item(item, verb, depth) for item in v]
        grow(sum(map(len, items)))
        if self.spec.sharp_v:
            return f"{gotype(v)}{{{', '.join(items)}}}"
        return f"[{' '.join(items)}]"

    def map(self, v: "dict[str, Any]", verb: str, depth: int) -> str:
        items = [
            self.item(key, verb, depth) + ":" + self.item(v[key], verb, depth)
            for key in sorted(v, key=to_bytes)
        ]
        grow(sum(map(len, items)))
        if self.spec.sharp_v:
            return f"{gotype(v)}{{{', '.join(items)}}}"
        return f"map[{' '.join(items)}]"

    def object(self, v: "Any", verb: str, depth: int) -> str:
        if not isinstance(v, Struct):
            return self.pointer(v, verb)
        if v.text is not None and not self.spec.sharp_v and not self.erroring and verb in "vsxXq":
            return self.string(v.text, verb)
        if v.pointer and depth > 0:
            return self.pointer(v, verb)
        return ("&" if v.pointer else "") + self.struct(v, verb, depth)

    def struct(self, v: Struct, verb: str, depth: int) -> str:
        named = self.spec.plus_v or self.spec.sharp_v
        items = [
            (name + ":" if named else "") + self.item(field, verb, depth)
            for name, field in v.all_fields().items()
        ]
        if self.spec.sharp_v:
            return f"{v.gotype}{{{', '.join(items)}}}"
        return f"{{{' '.join(items)}}}"

    def pointer(self, v: "Any", verb: str) -> str:
        """Format a pointer. All pointers have one address here, but in Go, addresses differ in every run."""
        spec = self.spec
        address = 0 if isinstance(v, NilPointer) else 0xC000010000
        if verb == "v" and spec.sharp_v:
            return f"({gotype(v)})({'nil' if not address else hex(address)})"
        if verb == "v" and not address:
            return spec.pad("<nil>")
        if verb in "vp":
            return self.digits(address, 16, "v", sharp=not spec.sharp)
        if verb in "bodxX":
            return self.integer(address, verb)
        return self.bad(v, verb)


def _is_reference(v: "Any") -> bool:
    return isinstance(v, list | dict | NilPointer | Function) or (isinstance(v, Struct) and v.pointer)


def _based(text: str, base: int, verb: str) -> str:
    if base == 2:
        return "0b" + text
    if base == 8:
        return text if text[0] == "0" else "0" + text
    if base == 16:
        return ("0X" if verb == "X" else "0x") + text
    return text


def _with_point(number: str, verb: str, precision: int) -> str:
    """Apply the flag #: add a missing decimal point and, for verbs such as %g, trailing zeros."""
    digits = 0
    if verb in "vgGx":
        digits = 6 if precision == -1 else precision
    exponent = "pP" if verb in "xX" else "eEpP"
    cut = next((i for i in range(1, len(number)) if number[i] in exponent), len(number))
    body, tail = number[:cut], number[cut:]
    # As in Go, the x of the prefix 0x counts as a digit.
    digits -= len(body[1:].replace(".", "").lstrip("0"))
    if "." not in body:
        if body[1:] == "0":
            digits -= 1
        body += "."
    grow(digits)
    return body + "0" * digits + tail
