"""Readers of untrusted images.

If templater runs as root, a child process without privileges reads the image.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from ..model.counters_of_work import input_size
from ..model.errors import InputError, LimitError
from ..oslite import address_space
from .enforce_limits import over_limit, processor_left
from .progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..image.limits import Limits
    from ..image.open_file import OpenFile
    from ..limit_option import Given

#: maximum size of a report in bytes
REPORT = 256 << 20

#: Modules and packages that the child imports completely before it is locked. Their functions import further
#: modules when they run, but a locked child can't open the files of modules.
PACKAGES = (
    "checks", "definitions", "image.describe", "parsing", "planning", "pongo2", "prediction", "reporting",
    "rootfs.memory_rootfs", "validators",
)  # fmt: skip
#: The packages and modules for an audit. With this list, an audit starts in half the time.
AUDIT = (
    "checks.import_refusals", "checks.audit_report", "checks.security",
    "pongo2.codegen.compiler", "pongo2.error_positions", "pongo2.filters", "pongo2.golang",
    "pongo2.names_read", "pongo2.tags", "rootfs.confined_without_descriptors",
    "rootfs.group_members",
)  # fmt: skip
SARIF_AUDIT = (*AUDIT, "checks.sarif")
#: more modules, which readers import only for some images
MODULES = (
    "templater.rendering.render", "templater.rendering.instance_context",
    "difflib", "json", "keyword", "re", "urllib.parse", "yaml._yaml",
)  # fmt: skip


def needs_sandbox(paths: Iterable[str | None]) -> bool:
    """Return whether ``read_image`` reads these files in a child process."""
    is_root = sys.platform.startswith("linux") and os.geteuid() == 0
    return is_root and not any(path is not None and os.path.isdir(path) for path in paths)


def read_image(
    work: Callable[..., Any],
    paths: Iterable[str | None],
    limits: Given,
    descriptors: Iterable[int] = (),
    packages: tuple[str, ...] = PACKAGES,
    reserved: float = 0,
) -> Any:
    """Return the result of ``work(*paths)``, which must be a JSON value.

    If templater runs as root on Linux and no path is a directory, ``work`` runs in a confined child process.
    In the child, ``work`` may import all modules of ``packages``. The child may use the command's processor
    time, except ``reserved`` seconds.
    """
    paths = tuple(paths)
    # The files in a directory can belong to any user, so this process reads directories itself.
    if not needs_sandbox(paths):
        return work(*paths)
    from ..image.limits import SQUASHFS_SECONDS
    from ..image.open_file import OpenFile, kind_of_file
    from ..parsing.file_kind import SQUASHFS
    from ..sandbox import child_json
    from ..sandbox.child import BoundError, Bounds

    files = [path if path is None else OpenFile(path) for path in paths]
    command = limits.for_command()
    more = input_size() >> 20 if command.grows else 0
    command.processor = max(1, int(min(command.processor + more, processor_left() - reserved)))
    if any(file is not None and kind_of_file(file) == SQUASHFS for file in files):
        # reserve the time that sqfs2tar can need for a small file
        command.processor = max(min(3, command.processor), command.processor - SQUASHFS_SECONDS - 1)
    # The parent process has its own timer, so the timer of the child can be later.
    bounds = Bounds(command.processor, command.time + 5, address_space() + command.memory, REPORT)
    try:
        return child_json.run(
            lambda: (*descriptors, *_prepare(files, packages, limits.for_images())),
            lambda: work(*files),
            bounds,
            partial(progress, "reading"),
        )
    except BoundError as error:
        if error.bound == "output":
            raise LimitError(f"the report is larger than {REPORT >> 20} MiB") from None
        name = {"wall": "time", "cpu": "processor", "memory": "memory"}[error.bound]
        raise over_limit(f"command-{name}", command) from None
    finally:
        for file in files:
            if file is not None:
                os.close(file.fd)


def _prepare(files: Iterable[OpenFile | None], packages: tuple[str, ...], limits: Limits) -> Iterator[int]:
    """Import all modules that readers need, and start the programs that read squashfs files.

    Yield the file descriptors that the child process needs.
    """
    from contextlib import suppress
    from importlib import import_module
    from pkgutil import walk_packages
    from time import localtime

    from ..image.compression_modules import load_lz4, load_zstd
    from ..image.open_file import kind_of_file
    from ..image.sqfs2tar import start_sqfs2tar
    from ..parsing.file_kind import LZ4, SQUASHFS, ZSTD
    from ..startup import lazy_imports

    for package in packages:
        module = import_module(f"templater.{package}")
        for found in walk_packages(getattr(module, "__path__", ()), f"{module.__name__}."):
            if not found.name.endswith("__main__"):
                import_module(found.name)
    for name in MODULES:
        with suppress(ImportError):  # a missing optional module is reported by the reader that needs it
            import_module(name)
    # A postponed module runs when code reads one of its attributes. No code reads attributes of jinja2.
    for name in lazy_imports.NAMES - {"jinja2"} if packages is PACKAGES else ("json",):
        dir(sys.modules.get(name))
    for name in ("yaml.parser", "yaml.scanner"):
        import_module(name)
    for name in ("yaml.reader", "templater.parsing.pure_yaml"):  # slow to run, and few images need them
        lazy_imports.read_code(name)
    from ..checks.run_checks import all_checks
    from ..pongo2 import compile as compile_template
    from ..pongo2.dialect import DIALECTS
    from ..pongo2.filters_and_tags import library_for

    all_checks("security")
    if packages is PACKAGES:
        from ..definitions.architecture_map import local_architecture

        all_checks("authoring")
        local_architecture()  # cache the result, because the sandbox forbids uname(2)
    for dialect in DIALECTS.values():
        library_for(dialect).load()
    compile_template("{{ a }}")  # Jinja2 imports some modules only when it first compiles a template
    localtime()  # the C library reads the file of the time zone on first use
    for file in files:
        if file is not None:
            yield file.fd
            kind = kind_of_file(file)
            if kind in (LZ4, ZSTD):
                with suppress(InputError):  # the reader reports a missing module
                    load_lz4() if kind == LZ4 else load_zstd()
            if kind == SQUASHFS:
                import_module("templater.image.squashfs_directories")
                from ..image.squashfs_compression import load_compression

                with suppress(InputError):
                    load_compression(file)
                file.program = start_sqfs2tar(file, limits)
                yield from file.program.descriptors
