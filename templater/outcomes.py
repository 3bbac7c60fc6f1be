"""What the chosen host would do with each change: the daemons' own steps, on a model of their file system.

Each family of releases is one way to walk the same steps (see ``Host.family``); where a step goes
through the kernel, or through Go's ``os.Root``, the model follows links as those do. The error texts
are the daemons' own, with ``$INSTANCE``, ``$ROOTFS`` and ``$TEMPLATES`` for the instance's folders.
Read from the recorded outcomes of each release's code; what they don't show is not guessed at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from posixpath import normpath

from .changes import FAILED, Change, Outcome, Plan
from .errors import RenderError, TemplaterError, TemplateSyntaxError
from .gonumbers import go_integer
from .hosts import Host
from .instance import Instance
from .metadata import Metadata, Rule
from .views import (
    BLOCK_DEVICE,
    CHAR_DEVICE,
    DIRECTORY,
    FIFO,
    FILE,
    SOCKET,
    SYMLINK,
    Entry,
    TemplateFile,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .views import RootfsView

Names = tuple[str, ...]
#: renders a template that templater itself refuses to read: its bytes, the rule, the trigger
Renderer = Callable[[bytes, Rule, str], bytes]

ENOENT = "no such file or directory"
ENOTDIR = "not a directory"
EISDIR = "is a directory"
EEXIST = "file exists"
ELOOP = "too many levels of symbolic links"
ENXIO = "no such device or address"
ENAMETOOLONG = "file name too long"
EINVAL = "invalid argument"
EXDEV = "invalid cross-device link"
ESCAPES = "path escapes from parent"
EMPTY = "empty path"

KERNEL_LINKS = 40
ROOT_LINKS = 8  # Go: os/root_unix.go rootMaxSymlinks

NIL_PANIC = "panic: runtime error: invalid memory address or nil pointer dereference"
OUTSIDE = "Template is attempting access to path outside of container"
#: majors set aside for local use: nothing drives them
LOCAL_MAJORS = (*range(60, 64), *range(120, 128), *range(240, 255))


class Errno(Exception):
    """What a system call answers; its text is Go's."""

    def __str__(self) -> str:
        return str(self.args[0])


class Fails(Exception):
    """The start fails with this text."""


class Hangs(Exception):
    """The daemon waits in a system call, and so does the start."""


class Unknown(Exception):
    """A way leads to a place of the daemon's machine of which nothing is known."""


@dataclass(frozen=True, slots=True)
class Node:
    """Something in the daemon's file system; ``content`` None: as it was before."""

    kind: str
    mode: int
    uid: int
    gid: int
    content: bytes | None = None
    target: str = ""
    rdev: int = 0
    nlink: int = 1


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The daemon's machine. ``view`` is its whole file system, or None: only the instance is known.

    ``shift`` is the first id of the instance's map where ids on disk are shifted, else 0.
    """

    view: RootfsView | None = None
    instance: str = "/var/lib/incus/containers/c1"
    umask: int = 0o022
    shift: int = 0
    map_size: int = 65536


@dataclass(frozen=True, slots=True)
class Due:
    """A rule that is due, with what our own rendering of it gave."""

    rule: Rule
    trigger: str
    content: bytes | None
    #: pongo2's own words where rendering failed; empty: not known
    error: str = ""
    panics: bool = False
    runtime: bool = False
    #: larger than we render: the host does, and what it gives is not known
    limited: bool = False


@dataclass(slots=True)
class Verdict:
    """How a start ends, and the file system that it leaves; ``passed`` passes went through."""

    result: str
    error: str
    world: World
    passed: int = 0


class InstanceView:
    """A host's file system of which only the instance's own folder is known."""

    def __init__(
        self, instance: str, rootfs: RootfsView, templates: Mapping[str, TemplateFile], metadata: bytes
    ) -> None:
        self.instance = instance
        self.rootfs = rootfs
        self.templates = templates
        self.metadata = metadata

    def entry(self, path: str) -> Entry | None:
        inside = _below(path, self.instance + "/rootfs")
        if inside is not None:
            return self.rootfs.entry(inside) if inside != "/" else Entry(DIRECTORY, 0o755)
        inside = _below(path, self.instance + "/templates")
        if inside is not None:
            file = self.templates.get(inside[1:])
            return file.entry if file is not None else Entry(DIRECTORY, 0o755) if inside == "/" else None
        if path == self.instance + "/metadata.yaml":
            return Entry(FILE, 0o644, size=len(self.metadata))
        if _below(self.instance, path) is not None:
            return Entry(DIRECTORY, 0o755)
        if _below(path, self.instance) is not None:
            return None
        raise Unknown(path)

    def read(self, path: str, limit: int) -> bytes:
        inside = _below(path, self.instance + "/rootfs")
        if inside is not None:
            return self.rootfs.read(inside, limit)
        inside = _below(path, self.instance + "/templates")
        if inside is not None:
            return self.templates[inside[1:]].data or b""
        return self.metadata


class AnyRootfs:
    """Stands for a root filesystem that was not given: no target exists, every parent does."""

    def __init__(self, targets: Iterable[str]) -> None:
        self.directories = {parent for target in targets for parent in _parents(normpath("/" + target))}

    def entry(self, path: str) -> Entry | None:
        return Entry(DIRECTORY, 0o755) if path in self.directories else None

    def read(self, path: str, limit: int) -> bytes:
        raise Unknown(path)


class World:
    """The daemon's file system with what was written to it; paths are the daemon's."""

    def __init__(self, view: RootfsView, surroundings: Surroundings) -> None:
        self.view = view
        self.surroundings = surroundings
        self.instance = surroundings.instance
        self.rootfs = surroundings.instance + "/rootfs"
        self.templates = surroundings.instance + "/templates"
        self.made: dict[Names, Node] = {}
        #: what each write displaced, oldest first
        self.journal: list[tuple[Names, Node | None]] = []

    def undo(self, mark: int) -> None:
        """Take back everything that was written since the journal had this length."""
        while len(self.journal) > mark:
            names, before = self.journal.pop()
            if before is None:
                del self.made[names]
            else:
                self.made[names] = before

    def shown(self, path: str) -> str:
        """A path of the daemon as its users read it here."""
        for name, place in (
            ("$ROOTFS", self.rootfs),
            ("$TEMPLATES", self.templates),
            ("$INSTANCE", self.instance),
        ):
            inside = _below(path, place)
            if inside is not None:
                return name + inside.rstrip("/")
        return path

    def node(self, names: Names) -> Node | None:
        made = self.made.get(names)
        if made is not None:
            return made
        entry = self.view.entry("/" + "/".join(names)) if names else Entry(DIRECTORY, 0o755)
        if entry is None:
            return None
        shift = self.surroundings.shift if names[: len(_names(self.rootfs))] == _names(self.rootfs) else 0
        return Node(
            entry.kind,
            entry.mode,
            entry.uid + shift,
            entry.gid + shift,
            None,
            entry.target,
            entry.rdev,
            entry.nlink,
        )

    def content(self, names: Names) -> bytes:
        node = self.node(names)
        if node is not None and node.content is not None:
            return node.content
        return self.view.read("/" + "/".join(names), 1 << 30)

    def put(self, names: Names, node: Node) -> None:
        """Every write comes through here; nodes themselves are never changed."""
        self.journal.append((names, self.made.get(names)))
        self.made[names] = node

    # the kernel

    def walk(
        self, path: str, *, follow: bool = True, create: bool = False, beneath: Names | None = None
    ) -> tuple[Names, Node | None]:
        """Where a path leads, as the kernel goes there; None for a last name that does not exist.

        ``beneath`` is openat2's RESOLVE_BENEATH, ``create`` is O_CREAT.
        """
        if "\0" in path:
            raise Errno(EINVAL)
        names: list[str] = list(beneath or ())
        pending = path.split("/")[::-1]
        node: Node | None = self.node(tuple(names))
        links = 0
        slash = False
        while pending:
            name = pending.pop()
            if name in ("", "."):
                slash = node is None
                if node is not None and node.kind != DIRECTORY:
                    raise Errno(EISDIR if create and not any(pending) else ENOTDIR)
                continue
            if node is not None and node.kind != DIRECTORY:
                raise Errno(ENOTDIR)
            if node is None:
                raise Errno(ENOENT)
            if name == "..":
                if beneath is not None and tuple(names) == beneath:
                    raise Errno(EXDEV)
                del names[-1:]
                node = self.node(tuple(names))
                continue
            if len(name.encode("utf-8", "surrogateescape")) > 255:
                raise Errno(ENAMETOOLONG)
            found = self.node((*names, name))
            if found is not None and found.kind == SYMLINK and (follow or pending):
                links += 1
                if links > KERNEL_LINKS:
                    raise Errno(ELOOP)
                if found.target.startswith("/"):
                    if beneath is not None:
                        raise Errno(EXDEV)
                    names, node = [], self.node(())
                pending.extend(found.target.split("/")[::-1])
                continue
            names.append(name)
            node = found
        if slash and create:
            raise Errno(EISDIR)
        return tuple(names), node

    def stat(self, path: str) -> Node:
        _, node = self.walk(path)
        if node is None:
            raise Errno(ENOENT)
        return node

    def exists(self, path: str) -> bool:
        """Incus: internal/util PathExists; every error but ENOENT counts as existing."""
        try:
            return self.walk(path, follow=False)[1] is not None
        except Errno as error:
            return str(error) != ENOENT

    def open_truncate(self, path: str) -> Names:
        """Go's os.Create: O_RDWR|O_CREATE|O_TRUNC, 0666 less the umask."""
        names, node = self.walk(path, create=True)
        if node is None:
            self.put(names, Node(FILE, 0o666 & ~self.surroundings.umask, 0, 0, b""))
        else:
            self.truncate(names, node)
        return names

    def truncate(self, names: Names, node: Node) -> None:
        if node.kind == DIRECTORY:
            raise Errno(EISDIR)
        if not _driven(node):
            raise Errno(ENXIO)
        if node.kind == FILE:
            self.put(names, replace(node, content=b""))

    def write(self, names: Names, content: bytes) -> None:
        node = self.node(names)
        if node is not None and node.kind == FILE:
            self.put(names, replace(node, content=content))

    def mkdir(self, path: str) -> None:
        names, node = self.walk(path, follow=False)
        if node is not None:
            raise Errno(EEXIST)
        self.put(names, Node(DIRECTORY, 0o755 & ~self.surroundings.umask, 0, 0))

    def chown(self, names: Names, uid: int, gid: int) -> None:
        node = self.made[names]
        uid = node.uid if uid & _NOBODY == _NOBODY else uid & _NOBODY
        gid = node.gid if gid & _NOBODY == _NOBODY else gid & _NOBODY
        self.put(names, replace(node, uid=uid, gid=gid))

    def mkdir_all(self, path: str) -> None:
        """Incus: internal/util MkdirAllOwner, which chowns through a dangling link it could not make."""
        try:
            self.stat(path)
            return
        except Errno:
            pass
        parent = path.rpartition("/")[0]
        if parent:
            self.mkdir_all(parent)
        try:
            self.mkdir(path)
        except Errno as error:
            try:
                self.stat(path)
            except Errno as missing:
                raise Fails(f"chown {self.shown(path)}: {missing}") from None
            raise Fails(f"mkdir {self.shown(path)}: {error}") from None
        self.chown(self.walk(path)[0], self.surroundings.shift, self.surroundings.shift)


_NOBODY = 0xFFFFFFFF
_NO_DIRECTORY = "Template directory isn't a regular directory"


class Root:
    """Go's os.Root on the model (os/root_openat.go doInRoot): links are followed, never out of it."""

    def __init__(self, world: World, names: Names) -> None:
        self.world = world
        self.names = names

    def walk(self, name: str, *, follow: bool = True) -> tuple[Names, Node | None]:
        parts, separator = _split_in_root(name, [], [])
        links = index = 0
        while True:
            if parts[index] == "..":
                end = index + 1
                while end < len(parts) and parts[end] == "..":
                    end += 1
                if end - index > index:
                    raise Errno(ESCAPES)
                del parts[index - (end - index) : end]
                parts = parts or ["."]
                index = 0
                continue
            last = index == len(parts) - 1
            names = (*self.names, *(part for part in parts[: index + 1] if part != "."))
            node = self.step(parts[index], names)
            if node is not None and node.kind == SYMLINK and (follow or not last):
                links += 1
                if links > ROOT_LINKS:
                    raise Errno(ELOOP)
                parts, new_separator = _split_in_root(node.target, parts[:index], parts[index + 1 :])
                if index == len(parts) - 1 or last:
                    separator = new_separator or separator
                index = 0
                continue
            if last:
                if separator and node is not None and node.kind != DIRECTORY:
                    raise Errno(ENOTDIR)
                return names, node
            if node is None:
                raise Errno(ENOENT)
            if node.kind != DIRECTORY:
                raise Errno(ENOTDIR)
            index += 1

    def step(self, name: str, names: Names) -> Node | None:
        if "\0" in name:
            raise Errno(EINVAL)
        if len(name.encode("utf-8", "surrogateescape")) > 255:
            raise Errno(ENAMETOOLONG)
        return self.world.node(names)

    def stat(self, name: str, *, follow: bool = True) -> Node:
        _, node = self.walk(name, follow=follow)
        if node is None:
            raise Errno(ENOENT)
        return node

    def mkdir(self, name: str) -> Names | None:
        """The directory's names, or None where the name exists, whatever it is."""
        names, node = self.walk(name, follow=False)
        if node is not None:
            return None
        self.world.put(names, Node(DIRECTORY, 0o755 & ~self.world.surroundings.umask, 0, 0))
        return names


class Daemon:
    """One release at work on one start. Its steps are in the order of its ``templateApplyNow``."""

    def __init__(self, host: Host, world: World, instance: Instance, render: Renderer | None = None) -> None:
        self.host = host
        self.world = world
        self.instance = instance
        self.render = render
        self.notes: list[str] = []

    def open_roots(self) -> None:
        """What is opened, or checked, before any rule is looked at."""

    def check(self, rule: Rule) -> None:
        """What a rule has to pass before its target is touched."""

    def apply(self, due: Due) -> str:
        """``written`` or ``skipped``; else raises."""
        self.notes = []
        if due.rule.null:
            raise Fails(NIL_PANIC)
        self.check(due.rule)
        return self.put(due)

    def put(self, due: Due) -> str:
        """Plain paths: the kernel follows links wherever they lead on the daemon's machine."""
        world, rule = self.world, due.rule
        path = normpath(f"{world.rootfs}/{rule.path.lstrip('/')}")
        existed = world.exists(path)
        if existed and rule.create_only:
            return "skipped"
        uid, gid, mode = (0, 0, 0o644) if existed else self.owner(rule)
        if not existed:
            world.mkdir_all(path.rpartition("/")[0])
        try:
            names = world.open_truncate(path)
        except Errno as error:
            raise Fails(f"{self.creating if existed else ''}open {world.shown(path)}: {error}") from None
        if not existed:
            self.own(names, uid, gid, mode)
        self.remark(path, names, existed)
        world.write(names, self.content(due))
        return "written"

    creating = "Failed to create template file: "
    reading = "Failed to read template file: "

    def remark(self, path: str, names: Names, existed: bool) -> None:
        """Say what a user would not expect of this write."""
        world, node = self.world, self.world.node(names)
        if node is not None and node.kind in (FIFO, CHAR_DEVICE, BLOCK_DEVICE):
            self.notes.append(f"into a {node.kind}: what is written is lost")
        place = "/" + "/".join(names)
        if _below(place, world.rootfs) is None:
            self.notes.append(f"to {world.shown(place)} on the host's own file system")
        elif place != path:
            self.notes.append(f"through a symlink, to {_below(place, world.rootfs)}")
        if node is not None and node.nlink > 1:
            self.notes.append("its other hard links change too")

    def owner(self, rule: Rule) -> tuple[int, int, int]:
        """A new file's uid, gid and mode as the rule says; ids as Go's ParseInt(text, 10, 64)."""
        if not self.host.permissions:
            if rule.uid or rule.gid or rule.mode:
                self.notes.append("uid, gid and mode are ignored")
            return 0, 0, 0o644
        ids = []
        for what, text in (("UID", rule.uid), ("GID", rule.gid)):
            ids.append(
                _go_decimal(text, f"Bad file {what} {_quoted(text)} for {_quoted(rule.path)}") if text else 0
            )
        if not rule.mode:
            return ids[0], ids[1], 0o644
        text = "0" + rule.mode if len(rule.mode.encode("utf-8", "surrogateescape")) == 3 else rule.mode
        mode = go_integer(text)
        if mode is None:
            raise Fails(f"Bad mode {_quoted(text)} for {_quoted(rule.path)}: {_parse_error(text)}")
        return ids[0], ids[1], mode & 0o777

    def own(self, names: Names, uid: int, gid: int, mode: int) -> None:
        """chown and chmod of a new file; an id outside the map leaves the daemon's own root as owner."""
        around = self.world.surroundings
        if around.shift:
            uid = uid + around.shift if 0 <= uid < around.map_size else -1
            gid = gid + around.shift if 0 <= gid < around.map_size else -1
        self.world.chown(names, uid, gid)
        self.world.put(names, replace(self.world.made[names], mode=mode))

    def content(self, due: Due) -> bytes:
        """The template, read and rendered."""
        data = self.read_template(due.rule)
        if due.content is not None:
            return due.content
        if due.error:
            raise Fails(self.render_error(due))
        if self.render is None or due.limited:
            return b""
        try:
            return self.render(data, due.rule, due.trigger)
        except TemplaterError as error:
            words = pongo2_words(error)
            raise Fails(self.render_error(Due(due.rule, due.trigger, None, words))) from None

    def render_error(self, due: Due) -> str:
        host = self.host
        if due.panics:
            panic = due.error.removeprefix("panic: ")
            return (
                f"{host.render_prefix}Panic while rendering template: {panic}"
                if host.recovers_panics
                else (f"panic: {panic}")
            )
        # Incus before 6.23, LXD before 6.8: the template set of the chroot loader executes without a prefix
        return due.error if due.runtime and not host.banned else host.render_prefix + due.error

    def read_template(self, rule: Rule) -> bytes:
        world = self.world
        path = normpath(f"{world.templates}/{rule.template}")
        try:
            names, node = world.walk(path)
        except Errno as error:
            raise Fails(f"{self.reading}open {world.shown(path)}: {error}") from None
        if node is None:
            raise Fails(f"{self.reading}open {world.shown(path)}: {ENOENT}")
        if node.kind == DIRECTORY:
            raise Fails(f"{self.reading}read {self.read_name(path, rule)}: {EISDIR}")
        if node.kind in (FIFO, SOCKET):
            raise Hangs(f"reading the {node.kind} {world.shown(path)}")
        return world.content(names)

    def read_name(self, path: str, rule: Rule) -> str:
        return self.world.shown(path)


class Unchecked(Daemon):
    """I604 and L505: nothing is checked."""


class Beneath(Daemon):
    """I606 and L506: openat2(RESOLVE_BENEATH) says no to what leaves the root, then plain paths."""

    def open_roots(self) -> None:
        if self.host.product == "incus":
            self.open_rootfs("Failed to open instance rootfs path: ")

    def open_rootfs(self, prefix: str) -> None:
        world = self.world
        try:
            world.stat(world.rootfs)
        except Errno as error:
            raise Fails(f"{prefix}open {world.shown(world.rootfs)}: {error}") from None

    def check(self, rule: Rule) -> None:
        try:
            if self.host.product == "lxd":
                self.open_rootfs("Failed opening instance rootfs path: ")
            self.check_target(rule)
            self.check_template(rule)
        except Fails as failure:
            if self.host.check_prefix:
                raise Fails(f"Template security check failed for {_quoted(rule.path)}: {failure}") from None
            raise

    def check_target(self, rule: Rule) -> None:
        try:
            names, _ = self.world.walk(self.world.rootfs)
            self.world.walk(rule.path.lstrip("/"), beneath=names)
        except Errno as error:
            if str(error) == EXDEV:
                raise Fails(OUTSIDE) from None

    def check_template(self, rule: Rule) -> None:
        lxd = self.host.product == "lxd"
        access = "Could not access" if lxd else "Couldn't access"
        if rule.template.rpartition("/")[2] != rule.template or not rule.template:
            raise Fails("Template path is attempting to read outside of template directory")
        _, directory = self.world.walk(self.world.templates, follow=False)
        shown = self.world.shown(self.world.templates)
        if directory is None:
            raise Fails(f"{access} template directory: lstat {shown}: {ENOENT}")
        if directory.kind != DIRECTORY:
            raise Fails("Template directory is not a regular directory" if lxd else _NO_DIRECTORY)
        if rule.template == "..":
            # the daemons reach an instance by a symlink into the storage pool
            raise Fails("Template file is a symlink")
        path = normpath(f"{self.world.templates}/{rule.template}")
        _, file = self.world.walk(path, follow=False)
        if file is None:
            raise Fails(f"{access} template file: lstat {self.world.shown(path)}: {ENOENT}")
        if file.kind == SYMLINK:
            raise Fails("Template file is a symlink")


class Rooted(Beneath):
    """I73: everything goes through an os.Root; parents are made before anything else is looked at."""

    def check_target(self, rule: Rule) -> None:
        pass

    def put(self, due: Due) -> str:
        world, rule = self.world, due.rule
        name = rule.path.lstrip("/")
        root = Root(world, world.walk(world.rootfs)[0])
        self.make_parents(root, name)
        try:
            names, node = root.walk(name)
        except Errno as error:
            if str(error) != ENOENT:
                raise Fails(f"Failed to check template file: statat {name}: {error}") from None
            names, node = (), None
        if node is None:
            names = self.create(root, name, rule)
        elif rule.create_only:
            return "skipped"
        else:
            self.open_existing(name, names, node)
        self.remark(
            "/" + "/".join(names) if node is None else normpath(f"{world.rootfs}/{name}"), names, True
        )
        world.write(names, self.content(due))
        return "written"

    def open_existing(self, name: str, names: Names, node: Node) -> None:
        if node.kind == FIFO:
            raise Hangs("opening a fifo until somebody reads it; the hook gives up after 30 seconds")
        try:
            self.world.truncate(names, node)
        except Errno as error:
            raise Fails(f"{self.creating}openat {name}: {error}") from None

    def make_parents(self, root: Root, name: str) -> None:
        shift = self.world.surroundings.shift
        parent = normpath(name.rpartition("/")[0]) if "/" in name else "."
        made: list[str] = []
        for part in parent.split("/") if parent != "." else ():
            made.append(part)
            place = "/".join(made)
            try:
                names = root.mkdir(place)
            except Errno as error:
                raise Fails(f"Failed to create template directory: mkdirat {place}: {error}") from None
            if names is not None:
                self.world.chown(names, shift, shift)

    def create(self, root: Root, name: str, rule: Rule) -> Names:
        uid, gid, mode = self.owner(rule)
        try:
            names, node = root.walk(name, follow=False)
            if node is not None:
                raise Errno(EEXIST)
            if name.endswith("/"):
                raise Errno(EISDIR)
        except Errno as error:
            raise Fails(f"openat {name}: {error}") from None
        self.world.put(names, Node(FILE, 0o666 & ~self.world.surroundings.umask, 0, 0, b""))
        self.own(names, uid, gid, mode)
        return names


class Stated(Daemon):
    """LHEAD: an os.Root is asked for the target and the template, then plain paths are used."""

    creating = "Failed creating template file: "
    reading = "Failed reading template file: "

    def open_roots(self) -> None:
        for name, place in (("rootfs", self.world.rootfs), ("templates", self.world.templates)):
            if name == "templates" and not self.world.exists(place):
                self.world.put(_names(place), Node(DIRECTORY, 0o700, 0, 0))
            self.open_root(name, place)

    def open_root(self, name: str, place: str) -> Root:
        prefix = f'Failed opening "{name}" for instance {_quoted(self.instance.name)} (path $INSTANCE): '
        try:
            names, node = Root(self.world, _names(self.world.instance)).walk(name)
        except Errno as error:
            raise Fails(f"{prefix}openat {name}: {error}") from None
        if node is None:
            raise Fails(f"{prefix}openat {name}: {ENOENT}")
        if node.kind != DIRECTORY:
            raise Fails(f"{prefix}open {self.world.shown(place)}: {ENOTDIR}")
        return Root(self.world, names)

    def check(self, rule: Rule) -> None:
        try:
            self.check_target(rule)
            self.check_template(rule)
        except Fails as failure:
            raise Fails(f"Template security check failed for {_quoted(rule.path)}: {failure}") from None

    def check_target(self, rule: Rule) -> None:
        name = rule.path.lstrip("/")
        try:
            node = self.open_root("rootfs", self.world.rootfs).stat(name)
        except Errno as error:
            if str(error) == ENOENT:
                return
            raise Fails(
                f"Could not stat target path {_quoted(name)} in container rootfs: statat {name}: {error}"
            ) from None
        if node.kind == DIRECTORY:
            raise Fails(f"Template target path {_quoted(name)} is a directory, not a regular file")

    def check_template(self, rule: Rule) -> None:
        try:
            node = self.open_root("templates", self.world.templates).stat(rule.template, follow=False)
        except Errno as error:
            raise Fails(f"Could not access template file: statat {rule.template}: {error}") from None
        if node.kind == SYMLINK:
            raise Fails("Template file is a symlink")

    def read_name(self, path: str, rule: Rule) -> str:
        return f"$TEMPLATES/{rule.template}"


FAMILIES: Mapping[str, type[Daemon]] = {
    "I604": Unchecked,
    "L505": Unchecked,
    "I606": Beneath,
    "L506": Beneath,
    "I73": Rooted,
    "LHEAD": Stated,
}


def start(
    host: Host,
    world: World,
    instance: Instance,
    passes: Iterable[Iterable[Due]],
    *,
    metadata: Metadata | None = None,
    render: Renderer | None = None,
) -> Verdict:
    """One start, pass by pass, rules in the order given, until something fails.

    The daemons take the rules of a pass in random order: whoever needs all that can happen asks
    for every order.
    """
    daemon = FAMILIES[host.family](host, world, instance, render)
    result, passed = "skipped", 0
    try:
        check_metadata(host, metadata or Metadata())
        for dues in passes:
            daemon.open_roots()
            for due in dues:
                if daemon.apply(due) == "written":
                    result = "written"
            passed += 1
    except Fails as failure:
        return Verdict("fails", str(failure), world, passed)
    except Hangs as hang:
        return Verdict("hangs", str(hang), world, passed)
    return Verdict(result, "", world, passed)


def check_metadata(host: Host, metadata: Metadata) -> None:
    """What of metadata.yaml itself ends a start, though we could read it."""
    if metadata.null and host.family != "LHEAD":
        raise Fails(NIL_PANIC)
    size = 0 if metadata.source is None else len(metadata.source.data)
    if host.metadata_limit and size > host.metadata_limit:
        raise Fails(
            'Failed reading metadata: Failed parsing metadata file "$INSTANCE/metadata.yaml": '
            f"yaml: input error: input data is larger than maximum {host.metadata_limit} bytes"
        )


def predict(
    plan: Plan,
    templates: Mapping[str, TemplateFile],
    rootfs: RootfsView | None,
    surroundings: Surroundings | None = None,
    render: Renderer | None = None,
) -> None:
    """Put an outcome beside every change of a plan: what its host would do with that rule.

    Rules are looked at one by one, each pass in file order. Where a result depends on the random
    order in which the daemons take them, it says ``random``.
    """
    host = plan.host
    if not host.family:
        return
    try:
        check_metadata(host, plan.metadata)
    except Fails as failure:
        plan.host_error = str(failure)
        for change in plan.changes:
            change.outcome = Outcome("fails", error=plan.host_error)
        return
    if plan.instance.is_vm:
        _predict_config_drive(plan)
        return
    data = b"" if plan.metadata.source is None else plan.metadata.source.data
    around = surroundings or Surroundings(instance=f"/var/lib/{host.product}/containers/{plan.instance.name}")
    view = around.view
    if view is None:
        known = rootfs if rootfs is not None else AnyRootfs(rule.path for rule in plan.metadata.rules)
        view = InstanceView(around.instance, known, templates, data)
    daemon = FAMILIES[host.family](host, World(view, around), plan.instance, render)
    ended = ""
    for changes in passes_of(plan.changes):
        if ended:
            for change in changes:
                change.outcome = Outcome("fails", f"not reached: {ended}")
            continue
        for change in changes:
            change.outcome = _outcome(daemon, change)
        ended = _mark_random(changes)


def passes_of(changes: Iterable[Change]) -> Iterator[list[Change]]:
    """The changes pass by pass."""
    current: list[Change] = []
    rules: set[int] = set()
    for change in changes:
        if current and (current[-1].trigger != change.trigger or id(change.rule) in rules):
            yield current
            current, rules = [], set()
        current.append(change)
        rules.add(id(change.rule))
    if current:
        yield current


def due_of(change: Change) -> Due:
    """What the host's renderer would make of a change's template."""
    error = change.render_error
    words = pongo2_words(error) if error is not None else ""
    return Due(
        change.rule,
        change.trigger,
        change.content,
        words,
        panics=words.startswith("panic: ") or "runtime error: " in words,
        runtime=error is not None and error.kind == "render",
        limited=error is not None and error.kind == "limit",
    )


def pongo2_words(error: TemplaterError) -> str:
    """What pongo2 says of an error in a template; empty for errors that are our own."""
    if not isinstance(error, TemplateSyntaxError | RenderError):
        return ""
    return error.pongo2_error or error.message


def _outcome(daemon: Daemon, change: Change) -> Outcome | None:
    """What becomes of one rule; the world keeps what it wrote, unless it failed.

    None where it can't be told: the root filesystem does not let us look.
    """
    world = daemon.world
    mark = len(world.journal)
    try:
        result, text, words = _attempt(daemon, change)
    except TemplaterError:
        world.undo(mark)
        return None
    outcome = Outcome(result, text, words)
    outcome.left = _left(world, mark, change)
    if not outcome.ok:
        outcome.text = outcome.text or _aftermath(world, mark, change)
        world.undo(mark)
    return outcome


def _attempt(daemon: Daemon, change: Change) -> tuple[str, str, str]:
    """Result, what is to be said of it, and the daemon's own words where it fails."""
    error = change.render_error
    try:
        daemon.open_roots()
        if error is not None and error.kind == "limit" and not change.rule.null:
            daemon.check(change.rule)
            return "hangs", f"nothing limits this render there: {error.message}", ""
        return daemon.apply(due_of(change)), "; ".join(daemon.notes), ""
    except Fails as failure:
        return "fails", "", str(failure)
    except Hangs as hang:
        return "hangs", "", str(hang)
    except Unknown as place:
        return "written", f"to {place} on the host's own file system", ""


def _aftermath(world: World, mark: int, change: Change) -> str:
    """What a failure leaves behind at its own target."""
    target = normpath(f"{world.rootfs}/{change.rule.path.lstrip('/')}")
    try:
        names, node = world.walk(target)
    except (Errno, Unknown):
        return ""
    written = {place for place, _ in world.journal[mark:]}
    if node is None or node.kind != FILE or node.content != b"" or names not in written:
        return ""
    existed = all(before is not None for place, before in world.journal[mark:] if place == names)
    existed = existed or world.view.entry("/" + "/".join(names)) is not None
    return "the target is left empty" if existed else "an empty target is left"


def _left(world: World, mark: int, change: Change) -> tuple[str, ...]:
    """What else changed, as the daemon names it."""
    target = _names(normpath(f"{world.rootfs}/{change.rule.path.lstrip('/')}"))
    written = dict.fromkeys(names for names, _ in world.journal[mark:] if names != target)
    return tuple(world.shown("/" + "/".join(names)) for names in written)


def _mark_random(changes: list[Change]) -> str:
    """Rules are taken in map order: a failure may come before or after its neighbours.

    Answers why the start ends in this pass; empty if it goes on.
    """
    failing = [change for change in changes if change.outcome is not None and not change.outcome.ok]
    for change in changes:
        if change.collides is not None and change.outcome is not None:
            change.outcome = Outcome(
                "random",
                f"'{change.collides.path}' reaches the same place, and their order is random",
                change.outcome.error,
            )
    if not failing:
        return ""
    for change in changes:
        if change.outcome is not None and change.outcome.result == "written":
            change.outcome = Outcome(
                "random", f"written or not: '{failing[0].rule.path}' fails, and the order is random"
            )
    return f"'{failing[0].rule.path}' ends the start in the {changes[0].trigger} pass"


def _predict_config_drive(plan: Plan) -> None:
    """A virtual machine's start: the host renders, nothing of path, owner or create_only matters there."""
    contents: dict[str, set[bytes | None]] = {}
    for change in plan.changes:
        contents.setdefault(f"{change.trigger} {change.path}", set()).add(change.content)
    for change in plan.changes:
        try:
            change.outcome = _config_drive_outcome(plan.host, change)
        except Fails as failure:
            change.outcome = Outcome("fails", error=str(failure))
        if change.outcome.ok and len(contents[f"{change.trigger} {change.path}"]) > 1:
            change.outcome = Outcome(
                "random", f"rules that differ share {change.path}, and their order is random"
            )


def _config_drive_outcome(host: Host, change: Change) -> Outcome:
    if change.rule.null:
        raise Fails(NIL_PANIC)
    if change.action != FAILED:
        return Outcome("written", f"files/{change.path} on the config drive")
    due = due_of(change)
    if due.error:
        raise Fails(Daemon(host, _NOWHERE, Instance()).render_error(due))
    assert change.error is not None
    return Outcome("fails", change.error.message)


def _driven(node: Node) -> bool:
    """Whether opening it finds anybody: a socket never does, a device only with its driver."""
    if node.kind in (CHAR_DEVICE, BLOCK_DEVICE):
        return (node.rdev >> 8) & 0xFFF not in LOCAL_MAJORS
    return node.kind != SOCKET


def _split_in_root(path: str, prefix: list[str], suffix: list[str]) -> tuple[list[str], str]:
    """Go: os/root.go splitPathInRoot; a trailing separator is kept, ``.`` is dropped but at the end."""
    if not path:
        raise Errno(EMPTY)
    if path.startswith("/"):
        raise Errno(ESCAPES)
    stripped = path.rstrip("/")
    names = [name for name in stripped.split("/") if name]
    parts = prefix + [name for index, name in enumerate(names) if name != "." or index == len(names) - 1]
    if suffix and parts and parts[-1] == ".":
        parts.pop()
    return parts + suffix, path[len(stripped) :]


def _names(path: str) -> Names:
    return tuple(name for name in path.split("/") if name)


def _below(path: str, root: str) -> str | None:
    """``path`` as seen from ``root``: ``/`` for the root itself, None for what is not below it."""
    if root == "/" or path == root:
        return "/" if path == root else path
    return path[len(root) :] if path.startswith(root + "/") else None


def _parents(path: str) -> Iterator[str]:
    names = path.split("/")[1:-1]
    for count in range(1, len(names) + 1):
        yield "/" + "/".join(names[:count])


def _go_decimal(text: str, complaint: str) -> int:
    """Go's ParseInt(text, 10, 64)."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        raise Fails(f"{complaint}: strconv.ParseInt: parsing {_quoted(text)}: invalid syntax")
    if len(digits.lstrip("0")) > 19 or not -(1 << 63) <= int(text) < 1 << 63:
        raise Fails(f"{complaint}: strconv.ParseInt: parsing {_quoted(text)}: value out of range")
    return int(text)


def _parse_error(text: str) -> str:
    digits = text.lstrip("+-")
    reason = (
        "value out of range"
        if digits.isdigit() and digits.isascii() and len(digits) > 18
        else "invalid syntax"
    )
    return f"strconv.ParseInt: parsing {_quoted(text)}: {reason}"


def _quoted(text: str) -> str:
    """Go's %q, as far as paths need it."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\a": "\\a", "\b": "\\b"}
    escapes |= {"\f": "\\f", "\v": "\\v"}
    shown = "".join(
        escapes.get(char)
        or (
            char
            if char.isprintable()
            else f"\\x{ord(char):02x}"
            if ord(char) < 128
            else f"\\u{ord(char):04x}"
        )
        for char in text
    )
    return f'"{shown}"'


_NOWHERE = World(AnyRootfs(()), Surroundings())
