"""Which modules a compiled template may still import while it runs: filters import what few of them need
only when they need it, and a confined child must have all of that beforehand."""

import dis
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import resolve_name
from types import CodeType, FunctionType
from typing import Any


def modules_of(functions: Iterable[Callable[..., Any]]) -> tuple[str, ...]:
    """The modules of these functions, and all that they and what they call import inside functions."""
    found: set[str] = set()
    waiting = [function for function in functions if isinstance(function, FunctionType)]
    seen: set[FunctionType] = set()
    while waiting:
        function = waiting.pop()
        if function in seen:
            continue
        seen.add(function)
        found.add(function.__module__)
        codes = list(all_codes(function.__code__))
        for code in codes:
            if imports(code):
                found.update(imported(code, function.__module__))
            called = (function.__globals__.get(name) for name in code.co_names)
            waiting.extend(f for f in called if isinstance(f, FunctionType) and ours(f.__module__))
    return tuple(sorted(found))


def ours(module: str) -> bool:
    return module.startswith("templater.")


def all_codes(code: CodeType) -> Iterable[CodeType]:
    """A function's code and that of the functions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from all_codes(constant)


def imports(code: CodeType) -> bool:
    """Whether there may be an import statement in it; taking it apart is slow."""
    return dis.opmap["IMPORT_NAME"] in code.co_code[::2]


def imported(code: CodeType, module: str) -> Iterable[str]:
    """The modules that import statements in the code name."""
    package = import_module(module).__package__ or ""
    before: list[Any] = [0, 0]
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME":
            level = before[-2] if isinstance(before[-2], int) else 0
            yield resolve_name("." * level + str(instruction.argval), package)
        before.append(instruction.argval)
