"""An instance directory: the image's files, and the instance's description.

* ``DIR/metadata.yaml``, ``DIR/templates/`` and ``DIR/rootfs/`` are as in LXD and Incus.
* ``DIR/instance.yaml`` has the output of ``incus config show``.
* ``DIR/.templater/`` has templater's own state (see ``state_directory``).
"""

from ..model.entry import TEMPLATE_BYTES, TemplateFile
from ..model.errors import InputError, LimitError, TemplaterError
from ..model.file_names import INSTANCE, METADATA, TEMPLATES
from ..model.source import Source
from ..oslite import Closing, join, os, stat
from ..rootfs.confined_directory import Directory
from ..rootfs.confined_root import Root
from ..rootfs.paths import MissingError
from ..rootfs.regular_files import require_public
from ..rootfs.system_calls import entry_of, write_error

MAX_METADATA = 1 << 20
MAX_INSTANCE = 4 << 20
MAX_TEMPLATES = 1000
MAX_TEMPLATES_TOTAL = 32 << 20
#: the limit in bytes on the size of a directory of templates. ext4 never shrinks a directory, so reading even
#: an empty directory can take minutes.
MAX_LISTED = 4 << 20


class InstanceDirectory(Closing):
    """An open instance directory or image directory. Links in it are not followed."""

    __slots__ = ("_root", "name")

    def __init__(self, path: str, held: "Root | None" = None) -> None:
        """Open the directory ``path``, or use the open directory ``held``.

        The method ``close`` closes the directory in both cases.
        """
        self.name = path
        self._root = Root(path, named=True) if held is None else held

    def close(self) -> None:
        self._root.close()

    def has_image(self) -> bool:
        return self._root.entry("/" + METADATA) is not None

    def read_metadata(self) -> Source:
        """Read metadata.yaml. Raises InputError if it is missing."""
        try:
            return Source(
                join(self.name, METADATA), self._root.read("/" + METADATA, MAX_METADATA, public=True)
            )
        except MissingError:
            raise InputError(
                f"'{self.name}' has no metadata.yaml",
                hint="give an image directory, or make an instance directory with templater unpack IMAGE DIR",
            ) from None

    def read_instance(self) -> "Source | None":
        """Read instance.yaml, or return None if it is missing."""
        try:
            return Source(join(self.name, INSTANCE), self._root.read("/" + INSTANCE, MAX_INSTANCE))
        except MissingError:
            return None

    def read_templates(self, longest: int = TEMPLATE_BYTES) -> "dict[str, TemplateFile]":
        """Return every template by name. Unreadable files have no data.

        ``longest`` is the size limit of one template in bytes. Raises LimitError for too many templates.
        """
        try:
            held = self._root.directory("/" + TEMPLATES)
        except MissingError:
            return {}
        found: dict[str, TemplateFile] = {}
        total = 0
        with held as directory:
            require_public(directory.fd, self._root.fd, directory.path)
            if os.fstat(directory.fd).st_size > MAX_LISTED:
                raise LimitError(
                    f"the directory '{directory.path}' itself is larger than {MAX_LISTED >> 20} MiB",
                    hint="replace the directory by a new directory with the same templates",
                )
            for name in directory.names_with("", MAX_TEMPLATES + 1)[0]:
                found[name] = file = self._template(directory, name, longest)
                total += len(file.data or b"")
                if len(found) > MAX_TEMPLATES or total > max(MAX_TEMPLATES_TOTAL, longest):
                    raise LimitError(
                        f"'{directory.path}' has more than {MAX_TEMPLATES} templates,"
                        f" or its templates have more than {MAX_TEMPLATES_TOTAL >> 20} MiB in total"
                    )
        return found

    def _template(self, directory: Directory, name: str, longest: int) -> TemplateFile:
        status = directory.lstat(name)
        if status is None or not stat.S_ISREG(status.st_mode):
            return TemplateFile(directory.entry(name))
        entry = entry_of(status, "", is_mount=False)  # opening a mount point would fail

        def check(fd: int) -> None:
            # The owner of either directory could have moved a secret file of another user into it.
            for above in (directory.fd, self._root.fd):
                require_public(fd, above, directory.path_of(name))

        try:
            return TemplateFile(entry, directory.read(name, longest, check))
        except TemplaterError as error:
            return TemplateFile(entry, error=error)
        except OSError as error:
            return TemplateFile(entry, error=write_error("read", directory.path_of(name), error))
