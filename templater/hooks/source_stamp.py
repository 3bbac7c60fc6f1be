"""A digest of the sources that determine the compiled code, as a part of the compile cache's key."""

import sys

from ..oslite import blake2b, dirname, isdir, join, os

#: The sources that determine which code is generated, how it is stored, and how it runs.
#: A hook compares the mtime and size of each file, which takes two microseconds per file.
SOURCES = (
    "hooks/compile_cache.py", "hooks/sandboxed_rendering.py", "hooks/source_stamp.py", "model", "parsing",
    "pongo2", "rendering",
)  # fmt: skip


def source_stamp() -> bytes:
    """Return a digest over the mtimes and sizes of ``SOURCES``."""
    # If no file has changed, the hook's own import finder supplies a recorded digest.
    for finder in sys.meta_path:
        known = getattr(finder, "source_stamp", None)
        stamp: bytes = b"" if known is None else known()
        if stamp:
            return stamp
    return stamp_of(sources())


def sources() -> "list[tuple[str, int, int]]":
    """Return path, mtime (ns) and size of each file of ``SOURCES``, or of the zip file that contains them."""
    package = dirname(dirname(__file__))
    waiting = [join(package, name) for name in SOURCES] if isdir(package) else [dirname(package)]
    found = []
    for path in waiting:
        if not isdir(path):
            status = os.stat(path)
            found.append((path, status.st_mtime_ns, status.st_size))
        else:
            names = sorted(os.listdir(path))
            waiting += [join(path, name) for name in names if name.endswith(".py") or _is_package(name)]
    return found


def _is_package(name: str) -> bool:
    return "." not in name and name != "__pycache__"


def stamp_of(sources: "list[tuple[str, int, int]]") -> bytes:
    """Return a digest of the paths, modification times and sizes of some files."""
    digest = blake2b()
    for path, age, size in sources:
        digest.update(b"%s %d %d\n" % (path.encode("utf-8", "surrogateescape"), age, size))
    stamp: bytes = digest.digest()
    return stamp
