"""The steps of a start that all releases share."""

from __future__ import annotations

from posixpath import normpath

from ..model.entry import BLOCK_DEVICE, CHAR_DEVICE, DIRECTORY, FIFO, SOCKET
from ..model.errors import TemplaterError
from ..model.hosts import Host
from ..model.instance import Instance
from ..model.metadata import Rule
from ..model.permissions import go_integer
from ..model.plan import Change
from .errno_errors import EISDIR, ENOENT, NIL_PANIC, Errno, Fails, Hangs
from .go_strconv import go_decimal, parse_error, quoted
from .host_filesystem import HostFilesystem, Place
from .host_rendering import Due, Renderer, due_of, pongo2_words, render_error
from .instance_files import Unknown, UnknownTemplate, below


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
        """Write to a plain path.

        The kernel follows links in a plain path, to any place on the daemon's machine.
        """
        filesystem, rule = self.filesystem, due.rule
        path = normpath(f"{filesystem.rootfs}/{rule.path.lstrip('/')}")
        existed = filesystem.exists(path)
        if existed and rule.create_only:
            return "skipped"
        uid, gid, mode = (0, 0, 0o644) if existed else self.owner(rule)
        if not existed:
            filesystem.mkdir_all(path.rpartition("/")[0])
        try:
            is_dangling = existed and filesystem.walk(path)[1] is None
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

        A uid or gid outside the id map is not set: the file keeps the uid or gid that it got on creation.
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
