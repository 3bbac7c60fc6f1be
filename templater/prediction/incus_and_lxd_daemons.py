"""The daemons of Incus and LXD: the steps of a start, first for all releases, then for each ``Host.family``.

* I604 and L505 (Incus 6, older LXD releases) check nothing, and use plain paths.
* I606 and L506 (Incus 6, older LXD releases) check paths with openat2, then use plain paths.
* I73 (Incus 7) accesses all files through Go's os.Root.
* LHEAD (LXD 6.9, 5.21.5 and 5.0.7) checks paths with os.Root, then uses plain paths.
"""

from __future__ import annotations

from contextlib import suppress
from posixpath import normpath

from ..model.entry import BLOCK_DEVICE, CHAR_DEVICE, DIRECTORY, FIFO, FILE, SOCKET, SYMLINK
from ..model.errors import TemplaterError
from ..model.file_names import ROOTFS, TEMPLATES
from ..model.hosts import Host
from ..model.instance import Instance
from ..model.metadata import Rule
from ..model.permissions import go_integer
from ..model.plan import Change
from .errno_errors import EEXIST, EISDIR, ENOENT, ENOTDIR, EXDEV, NIL_PANIC, Errno, Fails, Hangs
from .go_os_root import Root
from .go_strconv import go_decimal, parse_error, quoted
from .host_filesystem import HostFilesystem, Node, Place
from .host_rendering import Due, Renderer, due_of, pongo2_words, render_error
from .known_host_files import Unknown, UnknownTemplate, below, names_of

OUTSIDE = "Template is attempting access to path outside of container"
_IS_NOT = "isn't"


class Daemon:
    """A simulated daemon that starts one instance.

    The methods follow the order of ``templateApplyNow`` in LXD and Incus.
    """

    def __init__(
        self, host: Host, filesystem: HostFilesystem, instance: Instance, render: Renderer | None = None
    ) -> None:
        self.host = host
        self.filesystem = filesystem
        self.instance = instance
        self.render = render
        self.notes: list[str] = []

    def open_roots(self) -> None:
        """Open or check the directories that the release needs before it reads any rule."""

    def check(self, rule: Rule) -> None:
        """Raise Fails if a rule fails a check that the release makes before it opens the target."""

    def apply(self, due: Due) -> str:
        """Apply a rule, and return ``written`` or ``skipped``. Raises Fails or Hangs."""
        self.notes = []
        if due.rule.null:
            raise Fails(NIL_PANIC)
        self.check(due.rule)
        return self.put(due)

    def attempt(self, change: Change) -> tuple[str, str, str]:
        """Apply a change's rule. Return the result, a remark for the user, and the daemon's error text.

        The remark and the error text can be empty.
        """
        error = change.render_error
        try:
            self.open_roots()
            if error is not None and error.kind == "limit" and not change.rule.null:
                self.check(change.rule)
                remark = "templater stopped the render at a limit that the host does not have"
                return "unknown", f"{remark}: {error.message}", ""
            return self.apply(due_of(change)), "; ".join(self.notes), ""
        except Fails as failure:
            return "fails", "", str(failure)
        except Hangs as hang:
            return "hangs", "", str(hang)
        except UnknownTemplate as place:
            return "written", f"the template is the host's own file {place}", ""
        except Unknown as place:
            return "written", f"the target is {place} on the host's own file system", ""

    def put(self, due: Due) -> str:
        """Write the target with ordinary system calls on its path.

        Links in this path can lead to any place on the daemon's machine.
        """
        filesystem, rule = self.filesystem, due.rule
        path = normpath(f"{filesystem.rootfs}/{rule.path.lstrip('/')}")
        existed = filesystem.exists(path)
        if existed and rule.create_only:
            return "skipped"
        uid, gid, mode = (0, 0, 0o644) if existed else self.owner(rule)
        if not existed:
            filesystem.mkdir_all(path.rpartition("/")[0])
        is_dangling = False
        with suppress(Errno):
            is_dangling = existed and filesystem.walk(path)[1] is None
        try:
            place = filesystem.open_truncate(path)
        except Errno as error:
            raise Fails(f"{self.creating if existed else ''}open {filesystem.shown(path)}: {error}") from None
        if not existed:
            self.own(place, uid, gid, mode)
        elif is_dangling and self.host.permissions and (rule.uid or rule.gid or rule.mode):
            self.notes.append("a dangling link counts as an existing file, so uid, gid and mode are ignored")
        self.remark(path, place, existed)
        filesystem.write(place, self.content(due))
        return "written"

    creating = "Failed to create template file: "
    reading = "Failed to read template file: "

    def remark(self, path: str, place: Place, existed: bool) -> None:
        """Add notes for the user about unexpected effects of a write."""
        filesystem, node = self.filesystem, self.filesystem.node(place)
        if node is not None and node.kind in (FIFO, CHAR_DEVICE, BLOCK_DEVICE):
            self.notes.append(f"the target is a {node.kind}, so the text is lost")
        real = place.path
        if below(real, filesystem.rootfs) is None:
            self.notes.append(f"the target is {filesystem.shown(real)} on the host's own file system")
        elif real != path:
            self.notes.append(f"a symlink leads to {below(real, filesystem.rootfs)}")
        if node is not None and node.nlink > 1:
            self.notes.append("the other hard links of the target change, too")

    def owner(self, rule: Rule) -> tuple[int, int, int]:
        """Return the uid, gid and mode of a new file. Ids are parsed like Go's ParseInt(text, 10, 64)."""
        if not self.host.permissions:
            if rule.uid or rule.gid or rule.mode:
                self.notes.append("LXD ignores uid, gid and mode")
            return 0, 0, 0o644
        ids = []
        for what, text in (("UID", rule.uid), ("GID", rule.gid)):
            ids.append(
                go_decimal(text, f"Bad file {what} {quoted(text)} for {quoted(rule.path)}") if text else 0
            )
        if not rule.mode:
            return ids[0], ids[1], 0o644
        text = "0" + rule.mode if len(rule.mode.encode("utf-8", "surrogateescape")) == 3 else rule.mode
        mode = go_integer(text)
        if mode is None:
            raise Fails(f"Bad mode {quoted(text)} for {quoted(rule.path)}: {parse_error(text)}")
        return ids[0], ids[1], mode & 0o777

    def own(self, place: Place, uid: int, gid: int, mode: int) -> None:
        """Set owner and mode of a new file.

        If the uid or gid is outside the id map, do not change it.
        """
        around = self.filesystem.surroundings
        if around.shift:
            uid = uid + around.shift if 0 <= uid < around.map_size else -1
            gid = gid + around.shift if 0 <= gid < around.map_size else -1
        self.filesystem.chown(place, uid, gid)
        assert place.made is not None
        self.filesystem.put(place, place.made._replace(mode=mode))

    def content(self, due: Due) -> bytes:
        """Read and render the template of a rule."""
        data = self.read_template(due.rule)
        if due.content is not None:
            return due.content
        if due.error:
            raise Fails(render_error(self.host, due))
        if self.render is None or due.limited:
            return b""
        try:
            return self.render(data, due.rule, due.trigger)
        except TemplaterError as error:
            words = pongo2_words(error)
            raise Fails(render_error(self.host, Due(due.rule, due.trigger, None, words))) from None

    def read_template(self, rule: Rule) -> bytes:
        filesystem = self.filesystem
        path = normpath(f"{filesystem.templates}/{rule.template}")
        try:
            place, node = filesystem.walk(path)
        except Errno as error:
            raise Fails(f"{self.reading}open {filesystem.shown(path)}: {error}") from None
        except Unknown as unknown:
            raise UnknownTemplate(*unknown.args) from None
        if node is None:
            raise Fails(f"{self.reading}open {filesystem.shown(path)}: {ENOENT}")
        if node.kind == DIRECTORY:
            raise Fails(f"{self.reading}read {self.read_name(path, rule)}: {EISDIR}")
        if node.kind in (FIFO, SOCKET):
            raise Hangs(f"reading the {node.kind} {filesystem.shown(path)} never ends")
        return filesystem.content(place)

    def read_name(self, path: str, rule: Rule) -> str:
        return self.filesystem.shown(path)


# families I604, L505, I606 and L506: plain paths


class UncheckedDaemon(Daemon):
    """The daemons of families I604 and L505, which check neither template paths nor target paths."""


class Openat2CheckedDaemon(Daemon):
    """The daemons of families I606 and L506 in ``model.hosts``.

    These daemons check a target with openat2(RESOLVE_BENEATH), and then write to the target by its plain
    path.
    """

    def open_roots(self) -> None:
        if self.host.product == "incus":
            self.open_rootfs("Failed to open instance rootfs path: ")

    def open_rootfs(self, prefix: str) -> None:
        filesystem = self.filesystem
        try:
            filesystem.stat(filesystem.rootfs)
        except Errno as error:
            raise Fails(f"{prefix}open {filesystem.shown(filesystem.rootfs)}: {error}") from None

    def check(self, rule: Rule) -> None:
        try:
            if self.host.product == "lxd":
                self.open_rootfs("Failed opening instance rootfs path: ")
            self.check_target(rule)
            self.check_template(rule)
        except Fails as failure:
            if self.host.check_prefix:
                raise Fails(f"Template security check failed for {quoted(rule.path)}: {failure}") from None
            raise

    def check_target(self, rule: Rule) -> None:
        try:
            place, _ = self.filesystem.walk(self.filesystem.rootfs)
            self.filesystem.walk(rule.path.lstrip("/"), beneath=place)
        except Errno as error:
            if str(error) == EXDEV:
                raise Fails(OUTSIDE) from None

    def check_template(self, rule: Rule) -> None:
        lxd = self.host.product == "lxd"
        access = "Could not access" if lxd else "Couldn't access"
        if rule.template.rpartition("/")[2] != rule.template or not rule.template:
            raise Fails("Template path is attempting to read outside of template directory")
        _, directory = self.filesystem.walk(self.filesystem.templates, follow=False)
        shown = self.filesystem.shown(self.filesystem.templates)
        if directory is None:
            raise Fails(f"{access} template directory: lstat {shown}: {ENOENT}")
        if directory.kind != DIRECTORY:
            raise Fails(f"Template directory {'is not' if lxd else _IS_NOT} a regular directory")
        if rule.template == "..":
            # The instance's directory, to which ".." leads, is a symlink into the storage pool.
            raise Fails("Template file is a symlink")
        path = normpath(f"{self.filesystem.templates}/{rule.template}")
        try:
            _, file = self.filesystem.walk(path, follow=False)
        except Errno as error:
            raise Fails(f"{access} template file: lstat {self.filesystem.shown(path)}: {error}") from None
        if file is None:
            raise Fails(f"{access} template file: lstat {self.filesystem.shown(path)}: {ENOENT}")
        if file.kind == SYMLINK:
            raise Fails("Template file is a symlink")


# family I73: os.Root


class OsRootDaemon(Openat2CheckedDaemon):
    """The daemon of Incus 7. It creates the target's parent directories before any other step."""

    def check_target(self, rule: Rule) -> None:
        pass

    def put(self, due: Due) -> str:
        filesystem, rule = self.filesystem, due.rule
        name = rule.path.lstrip("/")
        root = Root(filesystem, filesystem.walk(filesystem.rootfs)[0])
        self.make_parents(root, name)
        try:
            place, node = root.walk(name)
        except Errno as error:
            if str(error) != ENOENT:
                raise Fails(f"Failed to check template file: statat {name}: {error}") from None
            node = None
        if node is None:
            place = self.create(root, name, rule)
        elif rule.create_only:
            return "skipped"
        else:
            self.open_existing(name, place, node)
        self.remark(place.path if node is None else normpath(f"{filesystem.rootfs}/{name}"), place, True)
        filesystem.write(place, self.content(due))
        return "written"

    def open_existing(self, name: str, place: Place, node: Node) -> None:
        if node.kind == FIFO:
            raise Hangs(
                "opening a fifo waits for a reader; the daemon's start hook gives up after 30 seconds"
            )
        try:
            self.filesystem.truncate(place, node)
        except Errno as error:
            raise Fails(f"{self.creating}openat {name}: {error}") from None

    def make_parents(self, root: Root, name: str) -> None:
        shift = self.filesystem.surroundings.shift
        parent = normpath(name.rpartition("/")[0]) if "/" in name else "."
        if parent == ".":
            return
        try:
            for made in root.mkdir_each(parent):
                self.filesystem.chown(made, shift, shift)
        except Fails as failure:
            raise Fails(f"Failed to create template directory: {failure}") from None

    def create(self, root: Root, name: str, rule: Rule) -> Place:
        uid, gid, mode = self.owner(rule)
        try:
            place, node = root.walk(name, follow=False)
            if node is not None:
                raise Errno(EEXIST)
            if name.endswith("/"):
                raise Errno(EISDIR)
            self.filesystem.make(place, FILE, 0o666)
        except Errno as error:
            raise Fails(f"openat {name}: {error}") from None
        self.own(place, uid, gid, mode)
        return place


# family LHEAD: checks with os.Root, and plain paths


class OsRootCheckedDaemon(Daemon):
    """The daemon of family LHEAD.

    It first checks the target and the template with os.Root. It then opens both by plain paths.
    """

    creating = "Failed creating template file: "
    reading = "Failed reading template file: "

    def open_roots(self) -> None:
        for name, place in ((ROOTFS, self.filesystem.rootfs), (TEMPLATES, self.filesystem.templates)):
            if name == TEMPLATES and not self.filesystem.exists(place):
                self.filesystem.put(self.filesystem.place(names_of(place)), Node(DIRECTORY, 0o700, 0, 0))
            self.open_root(name, place)

    def open_root(self, name: str, place: str) -> Root:
        prefix = f'Failed opening "{name}" for instance {quoted(self.instance.name)} (path $INSTANCE): '
        try:
            instance = self.filesystem.place(names_of(self.filesystem.instance))
            opened, node = Root(self.filesystem, instance).walk(name)
        except Errno as error:
            raise Fails(f"{prefix}openat {name}: {error}") from None
        if node is None:
            raise Fails(f"{prefix}openat {name}: {ENOENT}")
        if node.kind != DIRECTORY:
            raise Fails(f"{prefix}open {self.filesystem.shown(place)}: {ENOTDIR}")
        return Root(self.filesystem, opened)

    def check(self, rule: Rule) -> None:
        try:
            self.check_target(rule)
            self.check_template(rule)
        except Fails as failure:
            raise Fails(f"Template security check failed for {quoted(rule.path)}: {failure}") from None

    def check_target(self, rule: Rule) -> None:
        name = rule.path.lstrip("/")
        try:
            node = self.open_root(ROOTFS, self.filesystem.rootfs).stat(name)
        except Errno as error:
            if str(error) == ENOENT:
                return
            raise Fails(
                f"Could not stat target path {quoted(name)} in container rootfs: statat {name}: {error}"
            ) from None
        if node.kind == DIRECTORY:
            raise Fails(f"Template target path {quoted(name)} is a directory, not a regular file")

    def check_template(self, rule: Rule) -> None:
        try:
            node = self.open_root(TEMPLATES, self.filesystem.templates).stat(rule.template, follow=False)
        except Errno as error:
            raise Fails(f"Could not access template file: statat {rule.template}: {error}") from None
        if node.kind == SYMLINK:
            raise Fails("Template file is a symlink")

    def read_name(self, path: str, rule: Rule) -> str:
        return f"$TEMPLATES/{rule.template}"
