"""Go's values in templates: types, conversions, iteration and access.

A value is ``None``, ``bool``, ``int``, ``float``, ``str``, ``list``, ``dict`` or an instance of a class
below. A ``str`` contains undecodable bytes as surrogate escapes.
"""

from .golang.parse_float import parse_float

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    Methods = Mapping[str, "Callable[[Any], Function]"]

MIN_INT = -(1 << 63)
MAX_INT = (1 << 63) - 1


class Failure(Exception):
    """An error that pongo2 reports with this message. The runtime adds the source position.

    * ``v4``: the message of the v4 dialect
    * ``sender``: the origin that pongo2 reports; if empty, the filter that was called, or "execution"
    """

    def __init__(self, message: str, v4: str = "", sender: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.v4 = v4 or message
        self.sender = sender


class Panic(Exception):
    """Raised where Go would panic with this message."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class TooLarge(Exception):
    """An error for a value that would be larger than MAX. The runtime converts it to a LimitError."""


MAX = 4 * 1024 * 1024
"""The largest size of one value, in characters. An element of a list counts as several characters."""


def grow(size: int) -> None:
    """Raise TooLarge if ``size`` exceeds MAX. Call this function before creating a value of this size."""
    if size > MAX:
        raise TooLarge(f"a value of {size} characters")


def sized(text: str) -> str:
    """Return the text. Raises TooLarge if it is larger than MAX."""
    grow(len(text))
    return text


# --- Go's static types ----------------------------------------------------------------------------


class Byte(int):
    """One byte of a string (``name.0``), a number of Go's type uint8."""

    __slots__ = ()


class Safe(str):
    """A string that autoescape does not escape: the result of a macro or ``block.Super``."""

    __slots__ = ()


class NamedString(str):
    """A string of a named Go type. It prints like a string, but never equals a plain string."""

    __slots__ = ("gotype",)
    gotype: str

    def __new__(cls, text: str, gotype: str = "instance.TemplateTrigger") -> "NamedString":
        self = super().__new__(cls, text)
        self.gotype = gotype
        return self


class GoList(list):  # type: ignore[type-arg]
    """A list whose Go type is known.

    ``methods`` maps the names of Go methods to functions. Each function gets the list and
    returns the bound method.
    """

    __slots__ = ("gotype", "methods")

    def __init__(
        self,
        items: "Iterable[Any]" = (),
        gotype: str = "[]string",
        methods: "Methods | None" = None,
    ) -> None:
        super().__init__(items)
        self.gotype = gotype
        self.methods = methods


class GoMap(dict):  # type: ignore[type-arg]
    """A map whose Go type is known."""

    __slots__ = ("gotype",)

    def __init__(
        self,
        items: "Mapping[str, Any] | Iterable[tuple[str, Any]]" = (),
        gotype: str = "map[string]string",
    ) -> None:
        super().__init__(items)
        self.gotype = gotype


class MethodMap(GoMap):
    """A map of a named Go type with methods.

    Each function in ``methods`` gets the map and returns the bound method.
    """

    __slots__ = ("methods",)

    def __init__(
        self,
        items: "Mapping[str, Any] | Iterable[tuple[str, Any]]",
        gotype: str,
        methods: "Methods",
    ) -> None:
        super().__init__(items, gotype)
        self.methods = methods


#: the Go type of a parameter that accepts any value
VALUE = "*pongo2.Value"


class Function:
    """A function that a template can call.

    * ``params``: the Go types of the parameters; "*pongo2.Value" accepts any value
    * ``variadic``: whether the last type applies to all further arguments
    * ``results``: the number of results; pongo2 can only call a function with one or two results
    """

    __slots__ = ("call", "gotype", "params", "results", "simple", "variadic")

    def __init__(
        self,
        call: "Callable[..., Any]",
        params: "tuple[str, ...]" = (),
        *,
        variadic: bool = False,
        gotype: str = "func()",
        results: int = 1,
    ) -> None:
        self.call = call
        self.results = results
        self.params = params
        self.variadic = variadic
        self.gotype = gotype
        #: the number of arguments if every argument can have any type, or -1 if each call must be checked
        self.simple = -1 if variadic or results != 1 or params.count(VALUE) < len(params) else len(params)


class Struct:
    """A Go struct with fields and methods.

    * ``text``: the result of the method String(), or None without this method
    * ``pointer``: whether the struct equals only itself
    * ``hidden``: the unexported fields; reading one of them causes a panic
    """

    __slots__ = ("fields", "gotype", "hidden", "methods", "pointer", "text")
    instant: "tuple[int, int] | None" = None

    def __init__(
        self,
        gotype: str,
        fields: "Mapping[str, Any] | None" = None,
        methods: "Methods | None" = None,
        *,
        pointer: bool = False,
        text: "str | None" = None,
        hidden: "tuple[str, ...]" = (),
    ) -> None:
        self.gotype = gotype
        self.fields = fields or {}
        self.methods = methods
        self.pointer = pointer
        self.text = text
        self.hidden = hidden

    def get(self, name: str) -> "Any":
        """Return the value of a field, or None if the struct has no such field."""
        return self.fields.get(name)

    def all_fields(self) -> "Mapping[str, Any]":
        return self.fields

    def has(self, name: str) -> bool:
        return name in self.fields or name in self.hidden

    def to_text(self) -> str:
        return f"<{self.gotype} Value>" if self.text is None else self.text


class NilPointer:
    """A nil pointer with a Go type, such as ``forloop.Parentloop`` of the outermost loop.

    Such a pointer does not equal nil.
    """

    __slots__ = ("gotype",)

    def __init__(self, gotype: str) -> None:
        self.gotype = gotype

    def __bool__(self) -> bool:
        return False


class ForLoop(Struct):
    """The value of ``forloop``. Each round of the loop sets ``cell[0]`` to the index of the round.

    For a ``reversed`` loop over a string (``backward``), pongo2 sets First and Last in the wrong rounds.
    """

    __slots__ = ("backward", "cell", "count", "parent")

    def __init__(
        self, cell: "list[int]", count: int = -1, parent: "ForLoop | None" = None, backward: bool = False
    ) -> None:
        super().__init__("pongo2.tagForLoopInformation", pointer=True)
        self.cell = cell
        self.count = count
        self.parent = parent
        self.backward = backward

    def get(self, name: str) -> "Any":
        index = self.cell[0]
        if name == "Counter":
            return index + 1
        if name == "Counter0":
            return max(index, 0)
        if name == "Revcounter":
            return self.count - index if index >= 0 else 0
        if name == "Revcounter0":
            return self.count - index - 1 if index >= 0 else 0
        if name == "First":
            return index <= 0 if not self.backward else index > 1 or index < 0 or self.count == 1
        if name == "Last":
            return index >= 0 and (self.backward or index + 1 == self.count)
        if name == "Parentloop":
            return NO_LOOP if self.parent is None else self.parent
        return None

    def all_fields(self) -> "dict[str, Any]":
        return {name: self.get(name) for name in LOOP_FIELDS}

    def has(self, name: str) -> bool:
        return name in LOOP_FIELDS


class LoopField:
    """The value of ``x`` after ``{% set x = forloop.Counter %}``: a reference to a field of a loop.

    As in Go's reflection, the value of ``x`` changes in each round.
    """

    __slots__ = ("loop", "name")

    def __init__(self, loop: ForLoop, name: str) -> None:
        self.loop = loop
        self.name = name


def loop_field(loop: ForLoop, name: object) -> "Any":
    text = to_string(name)
    return LoopField(loop, text) if text in CHANGING_FIELDS else loop.get(text)


def current_value(v: "Any") -> "Any":
    """Return the current value of the field if ``v`` is a LoopField. Return any other value unchanged."""
    return v.loop.get(v.name) if type(v) is LoopField else v


CHANGING_FIELDS = ("Counter", "Counter0", "Revcounter", "Revcounter0", "First", "Last")
LOOP_FIELDS = (*CHANGING_FIELDS, "Parentloop")
NO_LOOP = NilPointer("*pongo2.tagForLoopInformation")


class Block(Struct):
    """The value of ``block``. Its only method, Super, renders the inherited body of the block."""

    __slots__ = ("super_",)

    def __init__(self, super_: "Callable[[], str]") -> None:
        methods = {"Super": lambda block: Function(block.super_, gotype="func() string")}
        super().__init__("pongo2.tagBlockInformation", methods=methods, hidden=("ctx", "wrappers"))
        self.super_ = super_


class CycleValue(Struct):
    """The value that ``{% cycle … as name %}`` binds. It prints as the current item of the cycle."""

    __slots__ = ("node", "value")

    def __init__(self, value: "Any", node: "Any" = None) -> None:
        methods = {"String": lambda cycle: Function(cycle.to_text, gotype="func() string")}
        super().__init__("pongo2.tagCycleValue", methods=methods, pointer=True, hidden=("node", "value"))
        self.value = value
        self.node = node

    def to_text(self) -> str:
        return to_string(self.value)


# --- text ------------------------------------------------------------------------------------------


def recombine(text: str) -> str:
    """Decode surrogate escapes that together form a character, and return the text.

    Call this function for every text that was joined from parts.
    """
    if text.isascii() or not has_bytes(text):
        return text
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def has_bytes(text: str) -> bool:
    """Return whether a text contains bytes that are not UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def from_bytes(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def to_runes(text: str) -> str:
    """Return the text after Go's conversion to runes: each undecodable byte becomes U+FFFD."""
    if text.isascii() or not has_bytes(text):
        return text
    return "".join("\ufffd" if "\udc80" <= c <= "\udcff" else c for c in text)


def without_bytes(text: str) -> str:
    """Return the text without undecodable bytes and U+FFFD. Go treats each of them as RuneError."""
    if text.isascii():
        return text
    return "".join(c for c in text if not ("\udc80" <= c <= "\udcff" or c == "\ufffd"))


def replace_all(text: str, old: str, new: str) -> str:
    """Replace text like Go's strings.Replace.

    Go searches bytes, so an undecodable byte in ``old`` also matches a byte inside a character.
    """
    if old.isascii() or not has_bytes(old):
        return recombine(text.replace(old, new)) if old else text
    return from_bytes(to_bytes(text).replace(to_bytes(old), to_bytes(new)))


# --- types -----------------------------------------------------------------------------------------

_SCALARS = {bool: "bool", int: "int", float: "float64", str: "string", Safe: "string", Byte: "uint8"}
_LISTS = {str: "[]string", int: "[]int", float: "[]float64", bool: "[]bool"}


def kind(v: object) -> str:
    """Return the name of the value's reflect.Kind in Go. The kind of nil is "invalid"."""
    name = _SCALARS.get(type(v))
    if name is not None:
        return name
    if v is None:
        return "invalid"
    if isinstance(v, str):
        return "string"
    if isinstance(v, list):
        return "slice"
    if isinstance(v, dict):
        return "map"
    if isinstance(v, Struct):
        return "ptr" if v.pointer else "struct"
    if isinstance(v, NilPointer):
        return "ptr"
    if isinstance(v, Function):
        return "func"
    raise TypeError(f"a template can't use a value of the type {type(v).__name__}")


def gotype(v: object) -> str:
    """Return the value's type as Go's ``%T`` prints it.

    The type of a plain list or dict depends on the types of its items.
    """
    name = _SCALARS.get(type(v))
    if name is not None:
        return name
    if type(v) is list:
        kinds = set(map(type, v))
        return _LISTS.get(kinds.pop(), "[]interface {}") if len(kinds) == 1 else "[]interface {}"
    if type(v) is dict:
        texts = set(map(type, v.values())) == {str}
        return "map[string]string" if texts else "map[string]interface {}"
    if v is None:
        return "<nil>"
    if isinstance(v, Struct) and v.pointer:
        return "*" + v.gotype
    if isinstance(v, NamedString | GoList | GoMap | Struct | NilPointer | Function):
        return v.gotype
    raise TypeError(f"a template can't use a value of the type {type(v).__name__}")


def is_nil(v: object) -> bool:
    return v is None or type(v) is NilPointer


def is_number(v: object) -> bool:
    t = type(v)
    return t is int or t is float or t is Byte


# --- conversions -----------------------------------------------------------------------------------


def to_string(v: object) -> str:
    t = type(v)
    if t is str:
        return v  # type: ignore[return-value]
    if v is None:
        return ""
    if t is bool:
        return "True" if v else "False"
    if t is float:
        return _float_text(v)  # type: ignore[arg-type]
    if isinstance(v, (str, int)):
        return str(v)
    if isinstance(v, Struct):
        return v.to_text()
    if t is NilPointer:
        return ""
    return f"<{gotype(v)} Value>"


def _float_text(v: float) -> str:
    if v - v == 0.0:
        return f"{v:.6f}"
    return special_float(v)


def special_float(v: float) -> str:
    """Return Go's text of an infinity or a NaN."""
    if v > 0:
        return "+Inf"
    return "-Inf" if v < 0 else "NaN"


def to_int(v: object) -> int:
    t = type(v)
    if t is int:
        return v  # type: ignore[return-value]
    if t is float:
        return _truncate(v)  # type: ignore[arg-type]
    if isinstance(v, str):
        number = parse_float(v)
        return 0 if number is None else _truncate(number)
    if t is Byte:
        return int(v)  # type: ignore[call-overload, no-any-return]
    return 0


def _truncate(v: float) -> int:
    """Convert to an integer like Go on amd64. A number that does not fit becomes the smallest integer."""
    if -9223372036854775808.0 <= v < 9223372036854775808.0:
        return int(v)
    return MIN_INT


def to_float(v: object) -> float:
    t = type(v)
    if t is float:
        return v  # type: ignore[return-value]
    if t is int or t is Byte:
        return float(v)  # type: ignore[arg-type]
    if isinstance(v, str):
        number = parse_float(v)
        return 0.0 if number is None else number
    return 0.0


def truthy(v: object) -> bool:
    """Return whether pongo2 treats a value as true. Python's ``bool`` gives the same result."""
    return bool(v)


def length(v: object) -> int:
    return len(v) if isinstance(v, (str, list, dict)) else 0


# --- iteration -------------------------------------------------------------------------------------


def iterate(
    v: object, backwards: bool = False, ordered: bool = False
) -> "tuple[list[Any], list[Any] | None]":
    """Return the values that a loop binds to its first name, and the values for its second name.

    * list: the items, and None
    * string: the bytes, and None
    * map: the sorted keys, and the values
    * other values: no items, and None
    """
    if isinstance(v, list):
        items = v
        if ordered:
            items = _sorted(v, backwards)
        elif backwards:
            items = v[::-1]
        return items, None
    if isinstance(v, dict):
        # The keys are sorted, because Go's order is random.
        keys = sorted(v)
        if not "".join(keys).isascii():
            keys.sort(key=_byte_order(v))
        if backwards and ordered:
            keys.reverse()
        return keys, [v[key] for key in keys]
    if isinstance(v, str):
        if ordered:
            raise Panic("TODO: handle sort for type string")
        pieces = split_bytes(v)
        if backwards:
            pieces.reverse()
        return pieces, None
    return [], None


def split_bytes(text: str) -> "list[str]":
    """Return the UTF-8 bytes of a text, each as a string."""
    if text.isascii():
        return list(text)
    return [chr(b) if b < 0x80 else chr(0xDC00 + b) for b in to_bytes(text)]


def _sorted(v: "list[Any]", backwards: bool) -> "list[Any]":
    name = gotype(v)
    if name == "[]string":
        return sorted(v, key=_byte_order(v), reverse=backwards)
    if name in ("[]int", "[]float64", "[]bool"):
        return sorted(v, reverse=backwards)
    return v  # pongo2 treats all elements of other types as equal, so their order stays the same


def _byte_order(texts: "Iterable[str]") -> "Callable[[str], bytes] | None":
    """Return a sort key that orders texts by bytes, like Go. Return None if Python uses the same order."""
    return to_bytes if has_bytes("".join(texts)) else None


# --- access ----------------------------------------------------------------------------------------


def get_field(v: object, name: str) -> "Any":
    """Return ``v.name``: a Go method (as a Function), or the value of a key or field.

    Return None if ``v`` has no member of this name. Raises Failure if values of this type have no members,
    and Panic if the field is unexported.
    """
    exact = type(v)
    if exact is dict or exact is GoMap or exact is ForLoop:
        return v.get(name)  # type: ignore[attr-defined]
    if exact is MethodMap:  # This test comes before the slower isinstance, because devices are common.
        methods = v.methods  # type: ignore[attr-defined]
        return methods[name](v) if name in methods else v.get(name)  # type: ignore[attr-defined]
    if isinstance(v, (GoList, Struct)) and v.methods is not None and name in v.methods:
        return v.methods[name](v)
    if isinstance(v, dict):
        return v.get(name)
    if isinstance(v, Struct):
        return _struct_field(v, name)
    if is_nil(v):
        return None
    raise Failure(f"can't access a field by name on type {kind(v)}")


def _struct_field(v: Struct, name: str) -> "Any":
    if name in v.hidden:
        raise Panic("reflect.Value.Interface: cannot return value obtained from unexported field or method")
    return v.get(name)


def get_index(v: object, i: int) -> "Any":
    """Return the element ``i`` of a list or the byte ``i`` of a string, for an expression such as ``v.0``.

    Return None if the index is too large.

    Raises Failure if values of this type have no elements.
    """
    if isinstance(v, list):
        return v[i] if i < len(v) else None
    if isinstance(v, str):
        return _byte_at(v, i)
    if is_nil(v):
        return None
    name = "struct" if isinstance(v, Struct) else kind(v)
    raise Failure(f"can't access an index on type {name}")


def _byte_at(text: str, i: int) -> "Byte | None":
    data = text if text.isascii() else to_bytes(text)
    if i < 0 or i >= len(data):
        return None
    byte = data[i]
    return Byte(byte if isinstance(byte, int) else ord(byte))


def subscript(v: object, key: object) -> "Any":
    """Return ``v[key]``, or None if the key is missing.

    Raises Panic if pongo2 panics for values of this type.
    """
    if isinstance(v, list):
        i = to_int(key)
        return v[i] if 0 <= i < len(v) else None
    if isinstance(v, dict):
        if is_nil(key) and not isinstance(key, NilPointer):
            raise Panic("reflect: call of reflect.Value.Type on zero Value")
        return v.get(key) if type(key) in (str, Safe) else None
    if isinstance(v, str):
        return _byte_at(v, to_int(key))
    if isinstance(v, Struct):
        return _struct_field(v, to_string(key))
    if is_nil(v):
        return None
    # pongo2 wants to report an error here, but panics because it cannot print a path with a subscript.
    raise Panic("unimplemented")
