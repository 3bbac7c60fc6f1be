"""The configuration of an LXC container: its settings, id map, and type of root filesystem."""

from ..model.errors import InputError, LimitError, RefusedError
from ..model.unprintable_characters import printable
from ..oslite import abspath, dirname, exists, is_missing, isdir, join, os, split
from ..rootfs.regular_files import read_regular
from ..rootfs.trusted_paths import clean_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..rootfs.confined_root import Root
    from ..rootfs.id_map import IdMap

#: maximum bytes of a configuration together with the files that it includes
MAX_CONFIG = 1 << 20
MAX_INCLUDES = 64
#: maximum number of digits in an id: Python refuses to convert thousands of digits
MAX_DIGITS = 10
#: maximum number of names in an included directory
MAX_NAMES = 10_000

#: The type prefixes of lxc.rootfs.path. LXC removes them from the path that it gives to hooks, except for
#: clone hooks and ephemeral copies.
PREFIXES = ("dir:", "overlay:", "overlayfs:", "btrfs:", "zfs:", "lvm:", "loop:", "nbd:", "rbd:")


def without_prefix(path: str) -> str:
    for prefix in PREFIXES:
        if path.startswith(prefix):
            return path[len(prefix) :]
    return path


def is_directory(path: str) -> bool:
    """Return whether the path of a root filesystem, without the type prefix, is a directory.

    Return False for a relative path.
    """
    # A relative path can name a data set, as in ``zfs:tank/c1``, or lead into another user's directory.
    return path.startswith("/") and isdir(path)


def layers_of(path: str) -> "tuple[str, ...]":
    """Return the lower and upper directories of ``lower:…:upper``, or () for any other path.

    The upper directory can be missing, because LXC makes it.
    """
    layers = tuple(path.split(":"))
    if len(layers) < 2 or not all(layer.startswith("/") for layer in layers):
        return ()
    if not all(map(isdir, layers[:-1])) or not (isdir(layers[-1]) or is_missing(layers[-1])):
        return ()
    return tuple(map(clean_path, layers))  # without a final "/" or "/.", which would hide a symlink


def refuse_other_container(path: str, folder: str) -> None:
    """Raise RefusedError if the directory of ``--rootfs`` is in another container's directory.

    ``folder`` is the directory of this container.
    """
    # After a container is copied, its hook line can still name the directory of the original container.
    above = join(dirname(folder), "")
    other = join(above, abspath(path).removeprefix(above).partition("/")[0])
    if abspath(path).startswith(above) and other != folder and exists(join(other, "config")):
        raise RefusedError(
            f"--rootfs '{printable(path)}' is in the directory of another container",
            hint="install the hook again, without --rootfs or with the directory of this container",
        )


def ids_on_disk(config: str) -> "IdMap | None":
    """Return the id map that a configuration file and its included files define, or None (see ``ids_in``)."""
    return ids_in(settings(config), config)


def ids_in(found: "Iterable[tuple[str, str]]", config: str) -> "IdMap | None":
    """Return the id map of the files on the disk, or None if ``lxc.idmap`` defines no map.

    ``found`` has the configuration's keys and values. The string ``config`` is the file's name in messages.
    """
    from ..rootfs.id_map import IDENTITY, IdMap

    ranges: dict[str, list[tuple[int, int, int]]] = {"u": [], "g": []}
    mounted = False
    for key, value in found:
        if key == "lxc.idmap":
            if not value:
                ranges = {"u": [], "g": []}
                continue
            kind, *words = value.split() or [""]
            if len(words) != 3 or kind not in ranges:
                raise InputError(f"'{config}' has an invalid lxc.idmap '{printable(value)}'")
            first, disk, count = (_number(word, config) for word in words)
            ranges[kind].append((first, disk, count))
        elif key == "lxc.rootfs.options":
            mounted = "idmap=" in value
    if not ranges["u"] or not ranges["g"]:
        return IDENTITY if mounted else None
    ids = IdMap(tuple(ranges["u"]), tuple(ranges["g"]))
    # If LXC maps the ids at the mount, the files on the disk need a map that changes no id.
    return ids.unshifted() if mounted else ids


#: the options of overlayfs that decide which files a mount shows
_OVERLAY_OPTIONS = ("userxattr", "redirect_dir", "metacopy")


def overlay_options(found: "Iterable[tuple[str, str]]") -> "list[str]":
    """Return mount options with which the hook's overlay shows the same files as LXC's overlay."""
    given: list[str] = []
    is_mapped = False
    for key, value in found:
        if key == "lxc.idmap":
            is_mapped = value != ""
        elif key == "lxc.rootfs.options":
            given = [word for word in value.split(",") if word.partition("=")[0] in _OVERLAY_OPTIONS]
    if is_mapped:
        # LXC mounts this overlay in a user namespace, where the kernel disables ``redirect_dir`` and
        # ``metacopy``.
        # If the hook copied only the metadata of a file, the container would see zeros in the file.
        return [*(word for word in given if word == "userxattr"), "redirect_dir=nofollow", "metacopy=off"]
    return given


def has_index(found: "Iterable[tuple[str, str]]") -> "bool | None":
    """Return whether LXC mounts an overlay with the option ``index=on``, or None for the kernel's default."""
    options: list[str] = []
    for key, value in found:
        if key == "lxc.rootfs.options":
            options = value.split(",")
    if "nfs_export=on" in options:  # this option needs the index
        return True
    return next((word == "index=on" for word in reversed(options) if word.startswith("index=")), None)


def or_identity(ids: "IdMap | None") -> "IdMap | None":
    """Return ``ids``, or the identity map for a container without lxc.idmap.

    If ``ids`` is None and this process does not run as root, return None.
    """
    from ..rootfs.id_map import IDENTITY

    # Only root can give files to other users.
    # The owner of the container's root directory does not show the map. With ``lxc-start -s``, a user can
    # give the container another id map, and the container's root can then change the owner.
    return IDENTITY if ids is None and os.geteuid() == 0 else ids


def of_other_directory(ids: "IdMap | None", path: str) -> "IdMap | None":
    """Return the id map of the directory that ``--rootfs`` names, or None if the host's root owns it."""
    try:
        # If the host's root owns the directory, its files have the ids of the host. The owner is reliable,
        # because a container's root can't give a directory to the host's root.
        return None if os.stat(path).st_uid == 0 else ids
    except OSError:
        return ids  # opening it later reports the error


def _number(word: str, config: str) -> int:
    """Parse a number as LXC does, with strtoull: it can be decimal, hexadecimal or octal."""
    if len(word) > MAX_DIGITS:
        raise InputError(f"'{config}' has a number of more than {MAX_DIGITS} digits in lxc.idmap")
    octal = word.startswith("0") and word.isdecimal()
    try:
        return int(word, 8 if octal else 0)
    except ValueError:
        raise InputError(f"'{config}' has an invalid number '{printable(word)}' in lxc.idmap") from None


def mount_points(found: "Iterable[tuple[str, str]]", roots: "tuple[str, ...]") -> "tuple[str, ...]":
    """Return the clean paths in the container at which ``lxc.mount.entry`` mounts file systems.

    The strings ``roots`` are paths of the root filesystem.
    """
    points: list[str] = []
    for key, value in found:
        words = [word for word in value.replace("\t", " ").split(" ") if word]
        if key != "lxc.mount.entry":
            continue
        if not words:
            points.clear()
        for point in words[1:2]:
            # An absolute path is a path on the host. LXC ignores it unless it contains one of ``roots``.
            if point.startswith("/"):
                root = next((root for root in roots if root and root in point), None)
                if root is None:
                    continue
                point = point.partition(root)[2]
            for number, character in (("040", " "), ("011", "\t"), ("012", "\n"), ("134", "\\")):
                point = point.replace("\\" + number, character)
            points.append(abspath("/" + point.lstrip("/")))
    return tuple(points)


def settings(path: str) -> "Iterator[tuple[str, str]]":
    """Yield the keys and values of a container's configuration and of the files that it includes.

    Raises InputError for an unreadable file, and LimitError for too many or too large files.
    """
    return _included(path, [MAX_CONFIG, MAX_INCLUDES], path)


def _included(
    file: str, left: "list[int]", path: str, *, in_folder: bool = False
) -> "Iterator[tuple[str, str]]":
    """Yield the settings of a file and, after each include line, the settings of the included file.

    The list ``left`` has the number of bytes, and the number of files, that may still be read.
    """
    left[1] -= 1
    if left[1] < 0:
        raise LimitError(f"'{path}' includes more than {MAX_INCLUDES} files")
    if isdir(file) and not in_folder:
        for name in _files_in(file):
            yield from _included(name, left, path, in_folder=True)
        return
    if file.endswith("/") and not exists(file):
        # LXC ignores a missing directory, too. For example, its userns.conf includes a directory that
        # Debian lacks.
        return
    text = _read(file)
    left[0] -= len(text)
    if left[0] < 0:
        raise LimitError(f"'{path}' and the files that it includes are larger than {MAX_CONFIG} bytes")
    for key, value in _settings_in(text):
        yield key, value
        if key == "lxc.include":
            yield from _included(value, left, path)


def lines_of(container: "Root") -> "list[tuple[str, str]]":
    """Return the keys and values of the configuration in a container's open directory, without includes."""
    return list(_settings_in(_read(join(container.name, "config"), container.fd)))


def _files_in(folder: str) -> "list[str]":
    """Return the files that LXC includes from a directory. Like LXC, do not sort them."""
    names = []
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            if number == MAX_NAMES:
                raise LimitError(f"{folder!r} has more than {MAX_NAMES} entries")
            if entry.name.endswith(".conf"):
                names.append(entry.name)
    return [join(folder, name) for name in names]


def _read(path: str, folder: "int | None" = None) -> str:
    """Read a file. If the open directory ``folder`` is given, open the file by its name in ``folder``."""
    try:
        name = path if folder is None else split(path)[1]

        def opened(flags: int) -> int:
            return os.open(name, flags & ~os.O_NOFOLLOW, dir_fd=folder)

        def check(fd: int) -> None:
            # reading /proc/kmsg waits for messages of the kernel, and removes them
            if os.fstat(fd).st_dev == os.stat("/proc").st_dev:
                raise RefusedError("a file of the kernel")

        text = read_regular(opened, MAX_CONFIG, path, check).decode("utf-8", "surrogateescape")
    except RefusedError:
        raise InputError(f"{path!r} is not a regular file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path!r} can't be read: {why.lower()}") from None
    if "\0" in text or "\r" in text:
        refuse_control_characters(path, text)
    return text


def refuse_control_characters(path: str, text: str) -> None:
    """Raise InputError for a NUL, or for a carriage return that is not at the end of a line."""
    # LXC stops reading at a NUL, cuts a value at a carriage return, and skips a carriage return before a key.
    if "\0" in text or any("\r" in line.rstrip("\r") for line in text.split("\n")):
        raise InputError(
            f"{path!r} contains a NUL, or a carriage return inside of a line",
            hint="remove the character, because LXC ignores settings after it",
        )


def _settings_in(text: str) -> "Iterator[tuple[str, str]]":
    for line in text.split("\n"):
        key, equals, value = line.partition("=")
        key = key.strip(" \t")  # LXC strips no other white space, such as a no-break space
        if equals and key.startswith("lxc."):
            value = value.strip(" \t\r")
            if len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]:
                value = value[1:-1]  # as LXC does
            yield key, value
