"""The work of `templater compile`: compile the templates of an instance directory before its next start."""

from __future__ import annotations

from ..instances.instance_directory import InstanceDirectory
from ..instances.state_directory import StateDirectory
from ..limit_option import Given
from ..model.errors import RefusedError
from ..model.hosts import NONE
from ..model.render_options import TOTAL
from ..oslite import address_space
from ..rootfs.confined_root import Root
from ..sandbox.child import Bounds
from .compile_cache import CacheEntry, instance_cache, open_cache
from .sandboxed_rendering import COMPILE, Job, Run

#: the maximum memory of the child in bytes, in addition to the memory of this process
MEMORY = 512 << 20


def precompile(
    folder: Root, cache: str = "", dialect: str = "", seconds: float = TOTAL
) -> dict[str, CacheEntry]:
    """Compile an instance's templates in a child process, and store them in the cache.

    Return the cache entries by name. The parameter ``seconds`` limits the child's processor time. If a
    template does not compile, the image gets no entry.

    Raises:
        RefusedError: another user can enter the cache directory.
        TemplaterError: the description or metadata.yaml is invalid.
    """
    directory = InstanceDirectory(folder.name, folder)
    limits = Given()
    limits.rendering["total"] = int(max(1, min(seconds, TOTAL)))
    job = Job(
        directory.read_metadata(), directory.read_templates(), directory.read_instance(),
        (COMPILE,), NONE, dialect=dialect, limits=limits,
    )  # fmt: skip
    state_directory = None if cache else StateDirectory(folder)
    try:
        store = open_cache(cache) if state_directory is None else instance_cache(state_directory)
        if store is None:
            raise RefusedError(
                f"other users can enter the cache of '{cache or folder.name}'",
                hint="chown the cache directory to your own user, and set its mode to 0700",
            )
        # A child begins with the memory of this process, which may have unpacked a large image.
        run = Run(job, store, Bounds(memory=address_space() + MEMORY), in_child=True)
        try:
            return dict(job.kept) if run.warm else run.finish().kept
        finally:
            run.close()
    finally:
        if state_directory is not None:
            state_directory.close()
