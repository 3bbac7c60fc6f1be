"""The record of the files that templater has written for an instance: ``.templater/written``.

With the record, ``templater status`` and ``--keep-modified`` detect files that were changed by hand.

A run replaces the record in two steps:

1. Before the run writes files, it writes the new record beside the old record.
2. After the run has written all files, it renames the new record, without fsync.

If a run is killed between the two steps, or can't restore a file, both records remain. With
``--keep-modified``, the next run compares both with the files. Without the option, the next run records the
files of its own rules.
"""

from ..model.errors import InputError, LimitError, RefusedError, TemplaterError, WriteError
from ..model.file_names import JOURNAL, WRITTEN
from ..model.plan import KEEP, WRITING
from ..oslite import blake2b, os, stat
from ..rootfs.close_in_another_process import close, is_on_btrfs
from ..rootfs.confined_directory import MAX_OF_OWNER, ForeignFileError
from ..rootfs.paths import SlowError
from ..rootfs.regular_files import write_descriptor
from ..rootfs.system_calls import write_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..model.entry import RootfsView, TemplateFile
    from ..model.plan import Change, Plan
    from .state_directory import StateDirectory

STAGED = WRITTEN + ".new"
#: the temporary name of the record that ``Record.settle`` writes
SETTLED = WRITTEN + ".settled"
HEAD = b"templater written 1\n"
#: maximum size of a record in bytes
MAX_RECORD = 16 << 20
#: a file with more bytes than this always counts as changed, because no template renders so many bytes
MAX_COMPARED = 64 << 20
#: maximum total size in bytes of the recorded files that are compared; a run can't render more bytes
MAX_COMPARED_TOTAL = 64 << 20
#: maximum number of files in a record
MAX_FILES = 100_000
#: maximum number of configuration keys of all files in a record
MAX_KEYS = 1_000_000

_FIELDS = 7


class WrittenFile:
    """The state of one file when templater last wrote it, or last found the right content in it.

    * ``real``: the rule's target ``path`` after following links
    * ``uid`` and ``gid``: ids in the container
    * ``keys``: the configuration keys that the template reads, except computed keys
    """

    __slots__ = (
        "digest", "gid", "joined_keys", "mode", "path", "real", "size", "template", "template_digest", "uid",
    )  # fmt: skip

    def __init__(
        self, path: str, real: str, digest: str, uid: int, gid: int, mode: int, template: str,
        template_digest: str, joined_keys: bytes = b"", *, size: int,
    ) -> None:  # fmt: skip
        self.path = path
        self.real = real
        self.digest = digest
        self.uid = uid
        self.gid = gid
        self.mode = mode
        self.template = template
        self.template_digest = template_digest
        self.joined_keys = joined_keys
        self.size = size

    @property
    def keys(self) -> "tuple[str, ...]":
        keys = self.joined_keys
        return tuple(keys.decode("utf-8", "surrogateescape").split("\n")) if keys else ()

    def encode(self) -> bytes:
        """Return the file's entry in the record: the fields, each ended by NUL."""
        return (
            f"{self.path}\0{self.real}\0{self.digest}\0{self.uid} {self.gid} {self.mode:o} {self.size}\0"
            f"{self.template}\0{self.template_digest}\0".encode("utf-8", "surrogateescape")
            + self.joined_keys
            + b"\0"
        )

    @classmethod
    def decode(cls, entry: bytes) -> "WrittenFile":
        """Parse an entry. Raises ValueError if it is damaged."""
        *words, keys, _ = entry.split(b"\0")
        path, real, digest, attributes, template, template_digest = [
            word.decode("utf-8", "surrogateescape") for word in words
        ]
        uid, gid, mode, size = attributes.split(" ")
        return cls(
            path, real, digest, int(uid), int(gid), int(mode, 8), template, template_digest, keys,
            size=int(size),
        )  # fmt: skip


def _name_of(entry: bytes) -> bytes:
    return entry[: entry.index(b"\0")]


def real_of(entry: bytes) -> bytes:
    return entry.split(b"\0", 2)[1]


def join_keys(keys: "tuple[str, ...]") -> bytes:
    return "\n".join(keys).encode("utf-8", "surrogateescape")


def digest_of(data: bytes) -> str:
    digest: str = blake2b(data).hexdigest()
    return digest


def head_of(text: bytes) -> bytes:
    """Return the first two lines of a record: the format, and the digest of ``text``.

    ``text`` has the entries of the record.
    """
    return HEAD + digest_of(text).encode() + b"\n"


def text_of(data: bytes) -> bytes:
    """Return the text of all entries in a record, or b"" if the record is damaged.

    The text begins with a NUL.
    """
    # The text is not decoded, because a str with an emoji needs four bytes for each character.
    text = data[data.find(b"\n", len(HEAD)) + 1 :]
    if not data.startswith(head_of(text)) or not _is_within_limits(text):
        return b""
    return text


def _is_within_limits(text: bytes) -> bool:
    return text.count(b"\0") <= MAX_FILES * _FIELDS + 1 and text.count(b"\n") <= MAX_KEYS


def entries_of(text: bytes) -> "dict[bytes, bytes] | None":
    """Return the entries of a record by path. Return None if they are damaged."""
    found: dict[bytes, bytes] = {}
    if not text.startswith(b"\0"):
        return None if text else found
    end = 1
    try:
        while end < len(text):
            start = end
            for _ in range(_FIELDS):
                end = text.index(b"\0", end) + 1
            entry = text[start:end]
            WrittenFile.decode(entry)
            found[_name_of(entry)] = entry
    except ValueError:
        return None
    return found


class Record:
    """The record of one instance. The caller holds the lock of the state directory.

    An unreadable record counts as empty, and ``problem`` is the error.
    """

    __slots__ = ("_entries", "_staged", "_text", "problem", "state_directory", "unfinished")

    def __init__(self, state_directory: "StateDirectory") -> None:
        self.state_directory = state_directory
        self.problem: TemplaterError | None = None
        self._staged: dict[bytes, bytes] | None = None
        self._text = b""
        self._entries: dict[bytes, bytes] | None = None
        #: the real paths of mounted files that a rollback could not restore
        self.unfinished: set[str] = set()
        try:
            data = read_record(state_directory)
            if data is not None:
                self._text = text_of(data)
                if not self._text:
                    raise InputError(f"the record '{self._path(WRITTEN)}' is damaged", hint=_REMOVE)
        except TemplaterError as error:
            self.problem = error
        if state_directory.directory.lstat(STAGED) is not None:
            self._read_staged()

    @property
    def entries(self) -> "dict[bytes, bytes]":
        """The encoded entry of each file, by path.

        The record is split into entries only on demand, because most starts change no file.
        """
        if self._entries is None:
            self._entries = entries_of(self._text) or {}
        return self._entries

    def files(self) -> "dict[str, WrittenFile]":
        """Return all recorded files by path."""
        decoded = map(WrittenFile.decode, self.entries.values())
        return {file.path: file for file in decoded}

    def file(self, path: str) -> "WrittenFile | None":
        entry = self.entries.get(path.encode("utf-8", "surrogateescape"))
        return None if entry is None else WrittenFile.decode(entry)

    def _read_staged(self) -> None:
        try:
            data = read_record(self.state_directory, STAGED)
        except TemplaterError as error:
            self.problem = self.problem or error
            return
        # a killed run can leave a damaged record; such a run has not written any file yet
        self._staged = entries_of(text_of(data or b""))

    def _path(self, name: str) -> str:
        return f"{self.state_directory.path}/{name}"

    def forget(self) -> None:
        """Treat the record as empty, and remove it."""
        self.state_directory.forget_written()
        self.problem, self._staged, self._text, self._entries = None, None, b"", None

    def settle(self, rootfs: "RootfsView", *, save: bool = True) -> None:
        """Update the record from the staged record of an earlier run. With ``save``, write the result.

        Call this method only in a run that compares the record with the files: a forged record can be slow to
        compare.
        """
        size = 0
        for path, entry in (self._staged or {}).items():
            file = WrittenFile.decode(entry)
            may_be_unfinished = self._may_be_unfinished(file, rootfs)
            size += size_of(rootfs, file.real) if may_be_unfinished else size_to_compare(rootfs, file)
            if size > MAX_COMPARED_TOTAL:
                break  # all remaining files count as changed by hand
            # A run truncates a mounted file only after writing it. If the run was killed, the new text can be
            # followed by the rest of a longer old text. Record the present content.
            if may_be_unfinished and starts_with_content(rootfs, file):
                file.size = size_of(rootfs, file.real)
                file.digest = content_digest(rootfs, file.real, file.size)
            elif not has_content(rootfs, file):
                continue
            self.entries[path] = file.encode()
            self._text = b""  # the record on the disk lacks this entry
        if self._staged and not self._text and save:
            # Save the result at once, because this run can still fail before it writes a file.
            self._save()
        self._staged = None

    def _may_be_unfinished(self, file: WrittenFile, rootfs: "RootfsView") -> bool:
        """Return whether a killed run can have overwritten a mounted file without truncating it."""
        found, before = rootfs.entry(file.real), self.file(file.path)
        if found is None or not found.is_mount or before is None or before.real != file.real:
            return False
        directory = self.state_directory.directory
        names = (JOURNAL, f"{JOURNAL}.new")
        is_killed = any(directory.lstat(name) is not None for name in names)
        # Such a file still has the size of its old text, and the journal of the run still exists.
        return is_killed and file.size < before.size == found.size and before.digest != file.digest

    def _save(self) -> None:
        """Write the current entries to the record on the disk, if they are within the limits."""
        from .state_directory import write_whole

        text = b"".join([b"\0", *self.entries.values()])
        data = head_of(text) + text
        directory = self.state_directory.directory
        if len(data) <= MAX_RECORD and _is_within_limits(text):
            write_whole(directory, WRITTEN, data, sync=is_on_btrfs(directory.fd), staged=SETTLED)
            self._text = text

    def stage(
        self, plan: "Plan", templates: "Mapping[str, TemplateFile]", keys: "Mapping[str, tuple[str, ...]]"
    ) -> None:
        """Write the new record beside the old record, unless the two are equal.

        Raises WriteError on failure, and LimitError for a record that is too large.
        """
        facts: dict[str, tuple[str, bytes]] = {}  # of each template: its digest and its keys
        new = []
        size = 0
        place = 0  # the offset of the next file in the text, or -1 after a file that is missing in the text
        for change, last in last_changes(plan):
            name = change.rule.template
            if name not in facts:
                template = templates.get(name)
                data = b"" if template is None else template.data or b""
                facts[name] = digest_of(data), join_keys(keys.get(name, ()))
            file = WrittenFile(
                change.path, change.real, digest_of(last.content or b""), last.uid, last.gid,
                last.mode, name, *facts[name], size=len(last.content or b""),
            )  # fmt: skip
            entry = file.encode()
            size += len(entry)
            if size > MAX_RECORD:  # thousands of rules can have the same template with long keys
                raise self._too_large()
            if place >= 0:  # the plan usually has the files in the order of the record
                place = self._text.find(b"\0" + entry, place)
            if place >= 0:
                place += len(entry)  # the NUL after a file also precedes the next file
                continue
            if self.entries.get(_name_of(entry)) != entry:
                new.append((file, last.action))
        settled = bool(self._entries) and not self._text
        entries = self._with(new) if new or settled else {}
        text = b"".join([b"\0", *entries.values()])
        head = head_of(text)
        if len(head) + len(text) > MAX_RECORD or len(entries) > MAX_FILES or not _is_within_limits(text):
            raise self._too_large()
        directory = self.state_directory.directory
        try:
            self._discard()
            if not entries or text == self._text:
                return
            is_synced = is_on_btrfs(directory.fd)  # otherwise, a power cut could leave an empty record
            if is_synced:
                from ..rootfs.disk_sync import create_to_sync, sync_and_name

                fd = create_to_sync(directory, STAGED)
            else:
                fd = directory.create(STAGED)
            try:
                for part in (head, text):
                    write_descriptor(fd, part)
                if is_synced:
                    sync_and_name("write", self._path(STAGED), fd, directory, STAGED)
            finally:
                close(fd)
        except OSError as error:
            raise write_error("write", self._path(STAGED), error) from None
        self._entries, self._staged = entries, entries

    def _too_large(self) -> LimitError:
        return LimitError(
            f"the record '{self._path(WRITTEN)}' would have more than {MAX_FILES} files,"
            f" {MAX_KEYS} configuration keys or {MAX_RECORD} bytes",
            hint=_REMOVE,
        )

    def _with(self, new: "list[tuple[WrittenFile, str]]") -> "dict[bytes, bytes]":
        entries = dict(self.entries)
        files: dict[bytes, tuple[bytes, WrittenFile | None]] = {}
        for file, action in new:
            before = self.file(file.path) if action == KEEP else None
            if before is not None and before.digest == file.digest:
                # keep the recorded owner and mode, because templater did not set the current ones
                file.uid, file.gid, file.mode = before.uid, before.gid, before.mode
            entry = file.encode()
            entries[_name_of(entry)] = entry
            files[real_of(entry)] = entry, file
        for name, entry in entries.items():  # links can lead from other paths to a written file
            last, written = files.get(real_of(entry), (entry, None))
            if written is not None and last is not entry:
                file = WrittenFile.decode(entry)
                file.digest, file.size = written.digest, written.size
                file.uid, file.gid, file.mode = written.uid, written.gid, written.mode
                entries[name] = file.encode()
        return entries

    def updated(
        self, plan: "Plan", templates: "Mapping[str, TemplateFile]", keys: "Mapping[str, tuple[str, ...]]"
    ) -> "Update":
        """Stage the new record, and return a context manager that commits it unless ``apply`` fails."""
        self.stage(plan, templates, keys)
        return Update(self)

    def require_readable(self) -> None:
        """Raise the error of an unreadable record."""
        if self.problem is not None:
            raise self.problem

    def commit(self) -> None:
        """Replace the current record with the staged record. Call this after the plan was applied."""
        if self._staged is None:
            return
        directory = self.state_directory.directory
        try:
            directory.rename(STAGED, directory, WRITTEN)
        except OSError as error:
            raise write_error("replace", self._path(WRITTEN), error) from None
        self._staged = None

    def discard(self) -> None:
        """Remove the staged record. Call this after ``apply`` has failed and has restored every file."""
        try:
            self._discard()
        except (OSError, WriteError):  # the next run compares both records with the files
            return

    def _discard(self) -> None:
        directory = self.state_directory.directory
        if directory.lstat(STAGED) is not None:
            directory.unlink(STAGED)
        self._staged = None


def read_record(state_directory: "StateDirectory", name: str = WRITTEN) -> "bytes | None":
    """Return the bytes of a record, or None if it is missing.

    Raises RefusedError if another user can change the record. Only root, this process's user or the
    directory's owner may own the record.
    """
    directory, path = state_directory.directory, f"{state_directory.path}/{name}"

    def check(status: "os.stat_result") -> None:
        # in the directory of root or of this process's user, a second hard link can be a backup (cp -al)
        if status.st_mode & 0o022 or (status.st_nlink != 1 and not state_directory.is_own):
            raise _refusal(path, status)

    try:
        return directory.read_own(name, MAX_RECORD, of_owner=MAX_OF_OWNER, check=check)
    except ForeignFileError as foreign:
        raise _refusal(path, foreign.status).replace(hint=_REMOVE) from None
    except (RefusedError, LimitError) as error:
        raise error.replace(hint=_REMOVE) from None
    except OSError as error:
        raise write_error("read", path, error) from None


def _refusal(path: str, status: "os.stat_result") -> RefusedError:
    return RefusedError(
        f"the record '{path}' may have been changed by another user: owner uid {status.st_uid}, mode"
        f" {stat.S_IMODE(status.st_mode):04o}, {status.st_nlink} hard links"
    )


class Update:
    """A context manager for a staged record.

    The end of the block commits the record. An error discards the record, unless ``commit`` or ``keep``
    was called.
    """

    __slots__ = ("is_kept", "record")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.is_kept = False

    def __enter__(self) -> "Update":
        return self

    def commit(self) -> None:
        self.is_kept = True
        self.record.commit()

    def keep(self) -> None:
        """Keep the staged record beside the current record: the next run compares both with the files."""
        self.is_kept = True

    def __exit__(self, kind: object, error: "BaseException | None", trace: object) -> None:
        if error is None:
            self.record.commit()
        elif not self.is_kept:
            self.record.discard()


_REMOVE = "remove the record: the next start writes a new record, which lists the files of that start"


def last_changes(plan: "Plan") -> "list[tuple[Change, Change]]":
    """Return the last change of each written or unchanged path, and the last change of its file.

    Several paths can lead to one file.
    """
    paths: dict[str, Change] = {}
    files: dict[str, Change] = {}
    for change in plan.changes:
        if change.action in WRITING or change.action == KEEP:
            paths[change.path] = files[change.real] = change
    return [(change, files[change.real]) for change in paths.values()]


def has_content(rootfs: "RootfsView", file: WrittenFile) -> bool:
    """Return whether a file has the recorded content. Read the file only if it has the recorded size."""
    size = size_of(rootfs, file.real)
    # Reading even a small file can take long, if the container's root has prepared the file.
    return size == file.size and content_digest(rootfs, file.real, size) == file.digest


def starts_with_content(rootfs: "RootfsView", file: WrittenFile) -> bool:
    """Return whether a file begins with the recorded content. Return False if this content is empty."""
    size = size_of(rootfs, file.real)
    return 0 < file.size <= size and content_digest(rootfs, file.real, size, file.size) == file.digest


def size_to_compare(rootfs: "RootfsView", file: WrittenFile) -> int:
    """Return how many bytes ``has_content`` would read."""
    size = size_of(rootfs, file.real)
    return size if size == file.size else 0


def content_digest(rootfs: "RootfsView", real: str, limit: int, length: "int | None" = None) -> str:
    """Return the digest of a file's content, or "" if the file can't be read or is too large.

    With ``length``, hash only the first ``length`` bytes. Raises SlowError after a time limit.
    """
    try:
        return digest_of(rootfs.read(real, limit)[:length])
    except SlowError:
        raise
    except (TemplaterError, OSError):
        return ""


def size_of(rootfs: "RootfsView", real: str) -> int:
    """Return the size of a file. Return 0 if the file is missing, unreadable or too large to compare."""
    try:
        entry = rootfs.entry(real)
    except (TemplaterError, OSError):
        return 0
    return 0 if entry is None or entry.size > MAX_COMPARED else entry.size
