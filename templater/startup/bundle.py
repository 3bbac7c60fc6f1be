"""Functions that write the file from which hooks load templater's modules.

``line/templater_hook.py`` reads the file. A "late definition" is a class or function that a hook loads when
code first uses its name.
"""

import ast
import marshal
import posix
import sys
from compileall import compile_dir

from .rare_definitions import LATE, RARE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType
    from typing import Any, TypeGuard

    Definition = ast.ClassDef | ast.FunctionDef
    File = tuple[str, int, int]
    #: name, start and end of each late definition, one after the other
    Places = tuple[str | int, ...]
    Group = tuple[list[tuple[str, bool]], list[File], int, int]

PACKAGE = __file__.rpartition("/startup/")[0]
HEAD = 4
#: the flag of generators in ``co_flags``
_GENERATOR = 0x20

#: The modules that a warm hook loads. Each group is in the order of its imports, which tests check.
#: Every hook loads the first group and then forks a child, which loads the modules that render.
#: While the child renders, the hook's own process loads the modules that plan and write.
#: The child loads no group of the hook's own process, so modules that both need are in a separate group.
#: Making a class or a function costs time even if nothing uses it. So the definitions in ``LATE`` are loaded
#: when code first uses their names, and the functions in ``RARE`` at their first call.
#: A runtime or a filter that is in no group is imported as usual.
GROUPS = (
    (
        "templater", "templater.model", "templater.model.errors",
        "templater.model.unprintable_characters", "templater.model.source",
        "templater.oslite", "templater.sandbox", "templater.model.hosts",
        "templater.rootfs", "templater.model.entry", "templater.rootfs.writable_by_others",
        "templater.rootfs.paths", "templater.rootfs.close_in_another_process",
        "templater.rootfs.system_calls", "templater.rootfs.resolve_beneath",
        "templater.rootfs.regular_files", "templater.rootfs.confined_directory",
        "templater.rootfs.confined_root", "templater.rootfs.trusted_paths",
        "templater.model.file_names", "templater.instances", "templater.instances.state_directory",
        "templater.hooks", "templater.hooks.source_stamp", "templater.hooks.compile_cache",
        "templater.instances.instance_directory", "templater.model.instance_name",
        "templater.model.metadata", "templater.model.instance", "templater.model.pending_trigger",
        "templater.model.render_options",
        "templater.hooks.sandboxed_rendering", "templater.hooks.runtimes", "templater.hooks.options",
        "templater.hooks.log", "templater.hooks.request", "templater.hooks.run",
        "templater.rendering", "templater.rendering.render", "templater.rootfs.id_map",
        "templater.rootfs.directory_rootfs",
    ),
    (
        "templater.model.plan", "templater.instances.record_of_written_files",
        "templater.writing", "templater.writing.remove_leftovers",
        "templater.model.permissions", "templater.planning",
        "templater.planning.follow_links", "templater.planning.changed_rootfs",
        "templater.planning.decide_changes", "templater.writing.apply_plan", "templater.writing.apply_locks",
    ),
    (
        "templater.pongo2", "templater.pongo2.golang", "templater.pongo2.golang.parse_float",
        "templater.pongo2.values", "templater.pongo2.render_state",
        "templater.pongo2.daemon_context", "templater.rendering.instance_context",
        "templater.pongo2.operators", "templater.pongo2.runtime_calls_and_loops",
        "templater.pongo2.execution", "templater.pongo2.filters",
    ),
    ("templater.sandbox.allowed_calls", "templater.sandbox.child"),
    (
        "templater.rootfs.file_system_type", "templater.writing.attributes",
        "templater.writing.target_directories", "templater.writing.staged_file",
        "templater.writing.deferred_signals", "templater.writing.transaction",
    ),
    ("templater.rootfs.disk_sync",),
    ("templater.hooks.lxc_config", "templater.hooks.runtimes.lxc"),
    ("templater.hooks.lxc_copies",),
    ("templater.hooks.container_state_folder", "templater.hooks.runtimes.incus"),
    ("templater.hooks.runtimes.nspawn",),
    ("templater.hooks.json_input", "templater.hooks.runtimes.oci"),
    ("templater.pongo2.golang.strings", "templater.pongo2.filters.text"),
    ("templater.pongo2.filters.choices",),
    ("templater.pongo2.filters.escaping",),
    ("templater.pongo2.filters.lists",),
    ("templater.pongo2.golang.strconv", "templater.pongo2.golang.fmt"),
)  # fmt: skip

#: the modules of the standard library that a hook loads from files of machine code
C_MODULES = ("_ctypes", "resource")


def write(place: str) -> None:
    """Write the modules in ``GROUPS`` to the file ``place``, and compile the packages that hooks import.

    Ignore failures, because a hook without the file only starts more slowly.
    """
    if sys.dont_write_bytecode:
        return
    staged = f"{place}.{posix.getpid()}"
    _remove(staged)  # a killed process with the same number can have left this file
    try:
        # open the file before compiling: compiling takes longer than the hook, and opening may fail
        fd = posix.open(staged, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o644)
    except OSError:
        return
    try:
        data = contents()
        if posix.write(fd, data) == len(data):
            posix.fsync(fd)
            posix.rename(staged, place)
            from ..hooks.install import PACKAGES

            for name in PACKAGES:
                module = sys.modules.get(name)
                if module is not None and module.__file__:
                    compile_dir(module.__file__.rpartition("/")[0], quiet=2)
            return
    except Exception:  # noqa: S110
        pass
    finally:
        posix.close(fd)
    _remove(staged)


def _remove(staged: str) -> None:
    try:
        posix.unlink(staged)
    except OSError:
        return


def contents() -> bytes:
    """Return the content of the file from which hooks load modules.

    The file has a table of contents, each group's code, and the code of the definitions in ``LATE`` and
    ``RARE``.
    """
    # imported here, because these functions can be late definitions: ``definition_of`` loads them if the file
    # is damaged
    from ..hooks.source_stamp import sources, stamp_of

    parts: list[bytes] = []
    functions = bytearray()
    groups: list[Group] = []
    known: dict[str, File] = {}
    at = 0
    for names in GROUPS:
        modules: list[tuple[str, bool]] = []
        files: list[File] = []
        codes: list[tuple[CodeType, Places]] = []
        for name in names:
            path, is_package = source_of(name)
            file, code, late = compiled(path, name, functions)
            modules.append((name, is_package))
            files.append(file)
            codes.append((code, late))
            known[path] = file
        # In one value, marshal stores a name only once, even if several modules use the name.
        parts.append(marshal.dumps(tuple(codes)))
        groups.append((modules, files, at, at + len(parts[-1])))
        at += len(parts[-1])
    # marshal stores an object once, so both lists must contain the same object for a file
    files = [known.get(file[0], file) for file in sources()]
    places = {name: place_of(name) for name in C_MODULES}
    ends = at, at + len(functions)
    head = marshal.dumps((sys.hexversion, PACKAGE, ends, groups, files, stamp_of(files), places))
    return len(head).to_bytes(HEAD, "little") + head + b"".join(parts) + functions


def place_of(module: str) -> "tuple[str, int, int]":
    """Return the path, mtime (ns) and size of a C module. The path of a built-in module is empty."""
    # a module that the hook's finder has found has no __file__
    spec = __import__(module).__spec__
    path = spec and spec.origin
    if not path or not path.startswith("/"):
        return "", 0, 0
    status = posix.stat(path)
    return path, status.st_mtime_ns, status.st_size


def source_of(name: str) -> "tuple[str, bool]":
    path = PACKAGE + name.removeprefix("templater").replace(".", "/")
    return (f"{path}/__init__.py", True) if _is_directory(path) else (f"{path}.py", False)


def compiled(file: str, name: str, functions: bytearray) -> "tuple[File, CodeType, Places]":
    """Return path, mtime (ns) and size of a source, its code, and the positions of its late definitions.

    Append the code of definitions in ``LATE`` and ``RARE`` to ``functions``. A position is a name and two
    offsets in ``functions``.
    """
    status = posix.stat(file)
    tree, late = _parsed(file, name)
    places: list[str | int] = []
    for definition in late:
        data = _marshalled(definition, file)
        places += definition.name, len(functions), len(functions) + len(data)
        functions += data
    code = compile(tree, file, "exec", optimize=2)
    for body, index, qualname, data in separable(tree.body, code):
        if qualname in RARE.get(name, ()):
            body[index] = _substitute(body[index], qualname, len(functions), len(functions) + len(data))
            functions += data
    code = compile(tree, file, "exec", optimize=2)
    return (file, status.st_mtime_ns, status.st_size), _with_short_names(code), (*places,)


def _with_short_names(code: "CodeType") -> "CodeType":
    """Return code with numbers as the names of local variables, and without qualified names of functions."""
    # Code with fewer different names loads faster. Parameters keep their names, because callers use them.
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
    names = [
        name if place < count or name in code.co_cellvars else str(place)
        for place, name in enumerate(code.co_varnames)
    ]
    consts = [_with_short_names(each) if isinstance(each, type(code)) else each for each in code.co_consts]
    return code.replace(co_varnames=(*names,), co_consts=(*consts,), co_qualname=code.co_name)


def _parsed(file: str, name: str) -> "tuple[ast.Module, list[Definition]]":
    """Return the syntax tree of a module without its late definitions, and the trees of these definitions.

    In these trees, each use of a late definition becomes ``module.name``.
    """
    fd = posix.open(file, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        source = posix.read(fd, posix.fstat(fd).st_size)
    finally:
        posix.close(fd)
    tree = ast.parse(source, file)
    _strip(tree)
    names = {late: ("__here__", late) for late in LATE.get(name, ())}
    if not file.endswith("/__init__.py"):  # other modules may import from this one what it imports
        tree.body = [new for node in tree.body for new in _without_late_imports(node, name, names)]
    # At the first use of ``module.name``, the ``__getattr__`` of ``module`` loads the definition.
    _LateNames(names).visit(tree)
    ast.fix_missing_locations(tree)
    own = [each for each in tree.body if _is_definition(each) and each.name in LATE.get(name, ())]
    tree.body = [each for each in tree.body if each not in own]
    return tree, own


def _without_late_imports(
    node: ast.stmt, name: str, names: "dict[str, tuple[str, str]]"
) -> "Iterator[ast.stmt]":
    """Yield the statements that replace the statement ``node`` of the module ``name``.

    Add each late definition that ``node`` imports to ``names``.
    """
    level = node.level if isinstance(node, ast.ImportFrom) else 0
    parts = name.split(".")[: -level or None] if level else []
    origin = ".".join([*parts, *filter(None, [getattr(node, "module", None)])])
    if not isinstance(node, ast.ImportFrom) or origin not in LATE or source_of(origin)[1]:
        yield node
        return
    # If ``origin`` has late definitions, ``from origin import thing`` would call the ``__getattr__`` of
    # ``origin``. So the replacement imports ``origin`` itself.
    module = f"__{origin.replace('.', '_')}__"  # a name that Python does not mangle
    yield ast.copy_location(ast.Import([ast.alias(origin, module)]), node)
    for each in node.names:
        if each.name in LATE[origin]:
            names[each.asname or each.name] = (module, each.name)
        else:
            found = ast.Attribute(ast.Name(module, ast.Load()), each.name, ast.Load())
            kept = ast.Name(each.asname or each.name, ast.Store())
            yield ast.copy_location(ast.Assign([kept], found), node)


class _LateNames(ast.NodeTransformer):
    """A transformer that turns the names of late definitions into attributes of their modules.

    In a function that has a variable of the same name, the name stays unchanged.
    """

    def __init__(self, names: "dict[str, tuple[str, str]]") -> None:
        #: for each name, the variable that has the module, and the name of the attribute
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id not in self.names or not isinstance(node.ctx, ast.Load):
            return node
        module, name = self.names[node.id]
        return ast.copy_location(ast.Attribute(ast.Name(module, ast.Load()), name, ast.Load()), node)

    def visit_FunctionDef(self, node: "ast.FunctionDef | ast.Lambda") -> ast.AST:
        outer = self.names
        variables = {*_variables(node)}
        self.names = {name: place for name, place in outer.items() if name not in variables}
        self.generic_visit(node)
        self.names = outer
        return node

    visit_Lambda = visit_FunctionDef

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.ExceptHandler:
        """Do not load a class for an ``except`` clause."""
        # While the class is not loaded, no exception of this class exists, so the clause can't match. Loading
        # the class could raise MemoryError. Later clauses of the same ``try`` would then not run.
        if node.type is not None:
            if isinstance(node.type, ast.Tuple):
                node.type.elts = [self._if_loaded(each) for each in node.type.elts]
            else:
                node.type = self._if_loaded(node.type)
        node.body = [self.visit(each) for each in node.body]
        return node

    def _if_loaded(self, node: ast.expr) -> ast.expr:
        """Return an expression that gives the class of an ``except`` clause without loading it.

        If the class is not loaded, the expression gives an exception class that nothing raises.
        """
        if not isinstance(node, ast.Name) or node.id not in self.names:
            visited: ast.expr = self.visit(node)
            return visited
        module, name = self.names[node.id]
        found = ast.parse(f"{module}.__dict__.get({name!r}, StopAsyncIteration)", mode="eval").body
        for each in ast.walk(found):
            if isinstance(each, ast.expr):
                ast.copy_location(each, node)
        return found


def _variables(node: ast.AST) -> "Iterator[str]":
    """Yield the names that a function binds."""
    for each in ast.iter_child_nodes(node):
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            yield each.id
        elif isinstance(each, ast.arg):
            yield each.arg
        elif isinstance(each, ast.alias):
            yield each.asname or each.name
        elif _is_definition(each):
            yield each.name
        if not isinstance(each, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            yield from _variables(each)


def _is_definition(node: ast.AST) -> "TypeGuard[Definition]":
    return isinstance(node, ast.ClassDef | ast.FunctionDef)


def _marshalled(definition: "Definition", file: str) -> bytes:
    code = compile(ast.Module([definition], []), file, "exec", optimize=2)
    return marshal.dumps(_with_short_names(code.replace(co_name=f"<{definition.name}>")))


def definition_of(file: str, module: str, name: str) -> bytes:
    """Return the marshalled code of a late definition, compiled from its source.

    Raises ImportError if an upgrade has removed the definition from its source.
    """
    for each in _parsed(file, module)[1]:
        if each.name == name:
            return _marshalled(each, file)
    raise _gone(module, name)


def function_of(file: str, module: str, qualname: str) -> bytes:
    """Return the marshalled code and defaults of a function in ``RARE``, compiled from its source.

    Raises ImportError if an upgrade has removed the function from its source.
    """
    tree, _ = _parsed(file, module)
    code = compile(tree, file, "exec", optimize=2)
    for _, _, name, data in separable(tree.body, code):
        if name == qualname:
            return data
    raise _gone(module, qualname)


def _gone(module: str, name: str) -> ImportError:
    return ImportError(f"an upgrade has removed {name!r} from {module!r}", name=module)


def separable(
    body: "list[Any]", code: "CodeType", prefix: str = ""
) -> "Iterator[tuple[list[Any], int, str, bytes]]":
    """Yield each function of a module or class that can be loaded at its first call.

    Each result has four parts:

    * the list of statements that contains the function
    * the function's index in this list
    * the function's qualified name
    * the function's marshalled code and defaults
    """
    inner = [each for each in code.co_consts if isinstance(each, type(code))]
    names = [each.co_name for each in inner]
    for index, node in enumerate(body):
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or names.count(node.name) != 1:
            continue
        found = inner[names.index(node.name)]
        if isinstance(node, ast.ClassDef):
            yield from separable(node.body, found, f"{prefix}{node.name}.")
            continue
        given = [each for each in (*node.args.defaults, *node.args.kw_defaults) if each is not None]
        if (
            node.decorator_list
            or node.name.startswith("__")  # Python treats some of them differently when it makes a class
            or found.co_freevars
            or found.co_flags & _GENERATOR
        ):
            continue
        if all(isinstance(each, ast.Constant) for each in given):
            defaults: Any = tuple(each.value for each in node.args.defaults)  # type: ignore[attr-defined]
            pairs: Any = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            named = {each.arg: default.value for each, default in pairs if default is not None}
            data = marshal.dumps((found, defaults or None, named or None))
            yield body, index, prefix + node.name, data


def _substitute(node: "Any", qualname: str, start: int, end: int) -> "ast.Assign":
    """Return the statement that defines a substitute for a function in ``RARE``.

    ``start`` and ``end`` are offsets in the ``functions`` of ``compiled``.
    """
    place: Any = {"lineno": node.lineno, "end_lineno": node.lineno, "col_offset": 0, "end_col_offset": 0}
    # The substitute's first call loads the function (see ``templater_hook.substitute``).
    make = ast.Name("__rare__", ast.Load(), **place)
    arguments: list[ast.expr] = [ast.Constant(each, **place) for each in (qualname, start, end)]
    call = ast.Call(make, arguments, [], **place)
    return ast.Assign([ast.Name(node.name, ast.Store(), **place)], call, **place)


def _strip(node: "Any") -> None:
    """Remove annotations, the blocks of ``if TYPE_CHECKING``, and columns from a syntax tree."""
    # Columns cost space: without columns, operations of one line share a position.
    if hasattr(node, "lineno"):
        node.end_lineno = node.lineno
        node.col_offset = node.end_col_offset = 0
    for field in node._fields:
        value = getattr(node, field, None)
        # Annotations cost time when Python runs the module.
        if field in ("annotation", "returns"):
            setattr(node, field, None)
        elif isinstance(value, list):
            kept = [new for each in value for new in _replacement(each)]
            setattr(node, field, kept)
            for each in kept:
                if isinstance(each, ast.AST):
                    _strip(each)
        elif isinstance(value, ast.AST):
            _strip(value)


def _replacement(node: "Any") -> "list[Any]":
    """Return the nodes that replace an element of a list in a syntax tree."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return [new for each in node.orelse for new in _replacement(each)]
    if isinstance(node, ast.AnnAssign):
        if node.value is None:
            return [ast.Pass(lineno=node.lineno)]
        return [ast.Assign(targets=[node.target], value=node.value, lineno=node.lineno)]
    return [node]


def _is_directory(path: str) -> bool:
    try:
        return posix.stat(path).st_mode & 0o170000 == 0o040000
    except OSError:
        return False
