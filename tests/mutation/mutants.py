"""Mutants of a module. Each mutant applies one mutation operator to one node of the module's syntax tree."""

import ast
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Add: ast.Sub,
    ast.Sub: ast.Add, ast.Mult: ast.Add, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.LShift: ast.RShift,
}  # fmt: skip


def compare(node: ast.AST) -> ast.AST | None:
    """Replace a comparison operator: ``<=`` by ``<``, ``!=`` by ``==`` and so on."""
    if not isinstance(node, ast.Compare) or type(node.ops[0]) not in SWAPS:
        return None
    swapped: list[ast.cmpop] = [SWAPS[type(node.ops[0])](), *node.ops[1:]]  # type: ignore[list-item]
    return ast.Compare(node.left, swapped, node.comparators)


def arithmetic(node: ast.AST) -> ast.AST | None:
    """Replace an arithmetic operator: ``-`` by ``+``, ``&`` by ``|`` and so on. Ignore operators on texts."""
    if not isinstance(node, ast.BinOp) or type(node.op) not in SWAPS:
        return None
    if any(
        isinstance(side, ast.Constant | ast.JoinedStr) and not is_number(side)
        for side in (node.left, node.right)
    ):
        return None
    return ast.BinOp(node.left, SWAPS[type(node.op)](), node.right)  # type: ignore[arg-type]


def connective(node: ast.AST) -> ast.AST | None:
    """Replace ``or`` by ``and``, and ``and`` by ``or``."""
    if not isinstance(node, ast.BoolOp):
        return None
    return ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)


def negation(node: ast.AST) -> ast.AST | None:
    """Replace ``not x`` by ``x``."""
    return node.operand if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not) else None


def condition(node: ast.AST) -> ast.AST | None:
    """Negate the condition of an ``if``."""
    if not isinstance(node, ast.If | ast.IfExp) or "TYPE_CHECKING" in ast.unparse(node.test):
        return None
    changed = ast.parse(ast.unparse(node)).body[0]
    changed = changed.value if isinstance(node, ast.IfExp) and isinstance(changed, ast.Expr) else changed
    assert isinstance(changed, ast.If | ast.IfExp)
    changed.test = ast.UnaryOp(ast.Not(), changed.test)
    return changed


def constant(node: ast.AST) -> ast.AST | None:
    """Change a constant: add one to a number, negate a bool, or append a letter to a text."""
    if not isinstance(node, ast.Constant) or node.value is None or node.value is Ellipsis:
        return None
    if isinstance(node.value, bool):
        return ast.Constant(not node.value)
    if isinstance(node.value, int | float):
        return ast.Constant(node.value + 1)
    return ast.Constant(node.value + ("X" if isinstance(node.value, str) else b"X"))  # type: ignore[operator]


def statement(node: ast.AST) -> ast.AST | None:
    """Replace a statement by ``pass``.

    The statement is a call, an assignment to an attribute or item, a raise or a continue.
    """
    called = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    assigned = isinstance(node, ast.Assign | ast.AugAssign) and not isinstance(
        node.targets[0] if isinstance(node, ast.Assign) else node.target, ast.Name
    )
    return ast.Pass() if called or assigned or isinstance(node, ast.Raise | ast.Continue) else None


def result(node: ast.AST) -> ast.AST | None:
    """Replace ``return x`` by ``return None``."""
    if not isinstance(node, ast.Return) or node.value is None:
        return None
    return (
        None
        if isinstance(node.value, ast.Constant) and node.value.value is None
        else ast.Return(ast.Constant(None))
    )


OPERATORS: dict[str, Callable[[ast.AST], ast.AST | None]] = {
    each.__name__: each
    for each in (compare, arithmetic, connective, negation, condition, constant, statement, result)
}


def is_number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


class Mutant:
    """One change of one file.

    ``lines`` are the lines of the changed node, and ``source`` is the text of the changed file.
    """

    def __init__(self, path: Path, operator: str, lines: range, before: str, after: str, source: str) -> None:
        self.path = path
        self.operator = operator
        self.lines = lines
        self.before = before
        self.after = after
        self.source = source

    def __str__(self) -> str:
        return f"{self.path}:{self.lines[0]}: {self.operator}: {self.before} -> {self.after}"


@dataclass
class Candidate:
    """A possible change of one node. The method ``mutant`` makes the mutant."""

    path: Path
    text: str
    operator: str
    node: ast.AST
    changed: ast.AST

    def mutant(self) -> Mutant | None:
        """Return the mutant, or None if it equals the original or cannot be compiled."""
        node = self.node
        assert isinstance(node, ast.expr | ast.stmt)
        after = ast.unparse(ast.fix_missing_locations(self.changed))
        source = replaced(self.text, node, after)
        if source == self.text or not compiles(source):
            return None
        lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        before = ast.get_source_segment(self.text, node) or ""
        return Mutant(self.path, self.operator, lines, short(before), short(after), source)


def mutants(path: Path, text: str) -> Iterator[Mutant]:
    """Yield every mutant of a module, if it can be compiled."""
    for candidate in candidates(path, text):
        mutant = candidate.mutant()
        if mutant is not None:
            yield mutant


def candidates(path: Path, text: str) -> Iterator[Candidate]:
    """Yield every possible change of a module.

    This function does not check that the changed module can be compiled, because that would take minutes.
    """
    tree = ast.parse(text)
    silent = set(documentation(tree))
    for node in ast.walk(tree):
        if id(node) in silent or not hasattr(node, "lineno"):
            continue
        for name, operator in OPERATORS.items():
            changed = operator(node)
            if changed is not None:
                yield Candidate(path, text, name, node, changed)


def documentation(tree: ast.AST) -> Iterator[int]:
    """Yield the ids of nodes that tests can't observe, such as docstrings, annotations and ``__slots__``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield from map(id, ast.walk(node))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from map(id, ast.walk(node))
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in (
            "__slots__",
            "__all__",
            "TYPE_CHECKING",
        ):
            yield from map(id, ast.walk(node))
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if annotation is not None:
                yield from map(id, ast.walk(annotation))


def replaced(text: str, node: ast.AST, new: str) -> str:
    """Return the source with ``new`` instead of a node. Put ``new`` in parentheses if it is an expression."""
    assert isinstance(node, ast.expr | ast.stmt)
    lines = text.encode().splitlines(keepends=True)
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    head = lines[first][: node.col_offset]
    if isinstance(node, ast.expr):
        new = new if isinstance(node, ast.Constant) else f"({new})"
    new = new.replace("\n", "\n" + " " * node.col_offset)
    tail = lines[last][node.end_col_offset :]
    return b"".join([*lines[:first], head + new.encode() + tail, *lines[last + 1 :]]).decode()


def compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) < 70 else line[:67] + "..."


def sample(
    package: Path, seed: int, count: int, below: str = "", without: Iterable[str] = ()
) -> list[Mutant]:
    """Return random mutants. For each mutant, choose a file, then an operator, then a node in the file.

    The probability of a file is proportional to its number of lines.
    """
    chance = random.Random(seed)
    names = {path: str(path.relative_to(package)) for path in sorted(package.rglob("*.py"))}
    files = [
        path for path in names if below in names[path] and not any(each in names[path] for each in without)
    ]
    weights = [len(path.read_text().splitlines()) + 1 for path in files]
    found: dict[str, Mutant] = {}
    while files and len(found) < count:
        path = chance.choices(files, weights)[0]
        of_file = list(candidates(path.relative_to(package.parent), path.read_text()))
        if of_file:
            operator = chance.choice(sorted({each.operator for each in of_file}))
            chosen = chance.choice([each for each in of_file if each.operator == operator]).mutant()
            if chosen is not None:
                found.setdefault(str(chosen), chosen)
    return list(found.values())
