"""A local store of images: records in SQLite, files named by their SHA-256 hash.

Imported images stay until the user deletes them. Fetched images expire ten days after their last use.

A file is complete before its record exists, and is removed after its record. If the process is killed between
these steps, only an unused file remains.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from stat import S_IROTH
from typing import Any

from ..image.atomic_output import Output
from ..image.describe import describe
from ..image.limits import DEFAULT, Limits
from ..image.open_file import opened, reading, refuse_private, whole_content
from ..model.errors import BusyError, InputError, LimitError, UsageError, WriteError, reason
from ..model.progress import Progress, silent
from ..model.unprintable_characters import printable, whole_characters
from ..parsing.file_kind import QCOW2
from .downloads import PART, private_directory
from .truncated_root import refuse_truncated

#: a fetched image that is not used for this many seconds is removed
UNUSED = 10 * 86400
#: A file without a record is removed after this many seconds. Until then, another process may add the record.
_GRACE = 3600
#: seconds to wait while another process changes the records
_PATIENCE = 30
_SCHEMA = 1
#: limit in characters on the properties in a record, because most commands read all records
MOST_PROPERTIES = 64 << 10
#: limit in characters on each other text of an image
MOST_TEXT = 4096
_TABLES = """
CREATE TABLE image (
    fingerprint TEXT PRIMARY KEY, type TEXT NOT NULL, architecture TEXT NOT NULL, created INTEGER NOT NULL,
    expires INTEGER NOT NULL, imported INTEGER NOT NULL, used INTEGER NOT NULL, public INTEGER NOT NULL,
    auto_update INTEGER NOT NULL, cached INTEGER NOT NULL, source TEXT NOT NULL, metadata TEXT NOT NULL,
    root TEXT NOT NULL, complete INTEGER NOT NULL, properties TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE alias (
    name TEXT PRIMARY KEY, fingerprint TEXT NOT NULL REFERENCES image ON DELETE CASCADE
) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One image of the store. Times are in whole seconds since 1970; 0 means unknown or never."""

    fingerprint: str
    type: str
    architecture: str
    created: int
    expires: int
    imported: int
    used: int
    public: bool
    auto_update: bool
    #: whether a command fetched the image; such an image is removed ten days after its last use
    cached: bool
    #: the SRC of a fetched image, such as ``images:debian/13``; "" for imported files
    source: str
    #: hash of the metadata tarball or the unified image
    metadata: str
    #: hash of a split image's root filesystem; "" for a unified image, or if only the metadata was fetched
    root: str
    #: False if only the metadata was fetched
    complete: bool
    properties: Mapping[str, str]
    aliases: tuple[str, ...] = ()


class Store:
    """A store in a directory. A missing directory is created.

    Raises RefusedError if another user can write to the directory, and BusyError if another process has
    locked it.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = path if path is not None else default_directory()
        self.files = os.path.join(self.path, "files")
        private_directory(self.path)
        private_directory(self.files)
        with self._transaction() as records:
            (version,) = records.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _TABLES.split(";"):
                    records.execute(statement)
            elif version != _SCHEMA:
                raise InputError(f"the store '{printable(self.path)}' was written by a newer templater")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Lock the records for writing. Commit at the end of the block, or roll back after an error."""
        path = os.path.join(self.path, "images.db")
        try:
            with closing(sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)) as records:
                records.execute("PRAGMA foreign_keys = ON")
                records.execute("BEGIN IMMEDIATE")
                try:
                    yield records
                except BaseException:
                    if records.in_transaction:  # SQLite ends the transaction itself after some errors
                        records.execute("ROLLBACK")
                    raise
                records.execute("COMMIT")
        except sqlite3.Error as error:
            text = f"can't access the records of the store '{printable(self.path)}': {error}"
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise BusyError(text, hint="another process is changing the store; try again later") from None
            if error.sqlite_errorcode & 0xFF in (
                sqlite3.SQLITE_FULL,
                sqlite3.SQLITE_IOERR,
                sqlite3.SQLITE_READONLY,
            ):
                raise WriteError(text) from None
            raise InputError(text) from None

    # reading

    def images(self) -> list[StoredImage]:
        """Return all images, the newest first."""
        with self._transaction() as records:
            return _read(records)

    def find(self, name: str) -> StoredImage:
        """Return the image that has the alias ``name``, or whose fingerprint begins with ``name``.

        Raises InputError if no image matches.
        """
        with self._transaction() as records:
            return _find(records, name)

    def file(self, sha256: str) -> str:
        return os.path.join(self.files, sha256)

    def paths(self, image: StoredImage) -> list[str]:
        """Return the paths of an image's files. The metadata or the unified image comes first."""
        return [self.file(each) for each in (image.metadata, image.root) if each]

    # writing

    def import_files(
        self,
        path: str,
        rootfs: str | None = None,
        *,
        aliases: Iterable[str] = (),
        public: bool = False,
        limits: Limits = DEFAULT,
        progress: Progress = silent,
    ) -> StoredImage:
        """Copy an image's files into the store, and add the aliases.

        Raises InputError for an invalid or incomplete image. If ``public`` is true, raises RefusedError for a
        file that is private to root or to this process's user.
        """
        if os.path.isdir(path):
            raise InputError(
                f"'{printable(path)}' is a directory", hint="pack the directory first: templater image build"
            )
        with ExitStack() as stack:
            files = [stack.enter_context(opened(each)) for each in (path, rootfs) if each is not None]
            if public:
                files = [refuse_private(file) for file in files]
            for file in files[1:]:
                refuse_truncated(file)
            copies = [self._copy(file, progress) for file in files]
        return self.keep(copies, aliases=aliases, public=public, limits=limits)

    def keep(
        self,
        hashes: list[str],
        *,
        source: str = "",
        aliases: Iterable[str] = (),
        public: bool = False,
        auto_update: bool = False,
        limits: Limits = DEFAULT,
    ) -> StoredImage:
        """Record a complete image whose files are in the store.

        Raises InputError if the image is invalid. Raises UsageError if the image has another source, and the
        earlier or the new import has ``auto_update``.
        """
        image = self._describe(hashes, limits)
        image = replace(image, source=source, public=public, auto_update=auto_update)
        with self._transaction() as records:
            old = _get(records, image.fingerprint)
            if old is not None and (auto_update or old.auto_update):
                # A refresh from one source could replace the image that came from the other source.
                _refuse_other_source(old, source)
            if old is not None:
                image = replace(
                    image, public=old.public or public, auto_update=old.auto_update or auto_update,
                    imported=old.imported,
                )  # fmt: skip
            if old is not None and old.complete:
                source = (source if _has_no_owner(old) else "") or old.source
                image = replace(image, properties=old.properties, source=source)
            _write(records, image)
            for alias in aliases:
                _set_alias(records, alias, image.fingerprint, move=False)
            return _find(records, image.fingerprint)

    def cache(self, image: StoredImage) -> None:
        """Record a fetched image. If the store has the complete image, update only the time of last use."""
        with self._transaction() as records:
            old = _get(records, image.fingerprint)
            # The fingerprint can't prove that the files of an incomplete image are correct. So the store
            # never combines files of several fetches, and an incomplete image never replaces another server's
            # image.
            if old is not None and (old.complete or not (image.complete or old.source == image.source)):
                image = replace(old, used=image.used)
            elif old is not None:
                image = replace(
                    image, public=old.public, auto_update=old.auto_update, cached=old.cached,
                    imported=old.imported, source=image.source if _has_no_owner(old) else old.source,
                )  # fmt: skip
            _write(records, image)

    def use(self, name: str) -> StoredImage:
        """Return an image, and update the time of its last use."""
        with self._transaction() as records:
            image = replace(_find(records, name), used=int(time.time()))
            _write(records, image)
            return image

    def change(self, name: str, change: Callable[[StoredImage], StoredImage]) -> StoredImage:
        """Replace the record of an image with ``change(record)``, and return the new record.

        The fingerprint and the files of the record always stay the same.
        """
        with self._transaction() as records:
            old = _find(records, name)
            new = replace(change(old), fingerprint=old.fingerprint, metadata=old.metadata, root=old.root)
            _write(records, new)
            return new

    def delete(self, name: str) -> StoredImage:
        """Remove an image, its aliases and its files. Return the removed record."""
        with self._transaction() as records:
            image = _find(records, name)
            records.execute("DELETE FROM image WHERE fingerprint = ?", (image.fingerprint,))
        self._remove_unnamed_files(0, {image.metadata, image.root})
        return image

    def set_alias(self, alias: str, name: str, *, move: bool = False) -> None:
        """Add an alias to an image.

        Raises UsageError if another image has the alias and ``move`` is false.
        """
        with self._transaction() as records:
            _set_alias(records, alias, _find(records, name).fingerprint, move=move)

    def delete_alias(self, alias: str) -> None:
        with self._transaction() as records:
            statement, name = "DELETE FROM alias WHERE name = ?", whole_characters(alias)
            if not records.execute(statement, (name,)).rowcount:
                raise UsageError(f"unknown alias '{printable(alias)}'")

    def replace_image(self, old: StoredImage, hashes: list[str], limits: Limits = DEFAULT) -> None:
        """Replace an image by a newer version whose files are in the store. Keep the aliases and flags.

        Raises:
            InputError: the new image is invalid, or the old image was deleted or has another source now.
            UsageError: the user also imported the new image from another source.
        """
        after = self._describe(hashes, limits)
        with self._transaction() as records:
            before, known = _find(records, old.fingerprint), _get(records, after.fingerprint)
            if before.source != old.source:
                raise InputError("another process changed the image's source during the refresh")
            if known is not None:
                # A refresh from either source could move the aliases of the new image.
                _refuse_other_source(known, before.source)
                after = replace(after, properties=known.properties if known.complete else after.properties)
            _write(
                records,
                replace(
                    after, public=before.public, auto_update=before.auto_update, cached=before.cached,
                    source=before.source,
                ),
            )  # fmt: skip
            records.execute(
                "UPDATE alias SET fingerprint = ? WHERE fingerprint = ?",
                (after.fingerprint, before.fingerprint),
            )
            records.execute("DELETE FROM image WHERE fingerprint = ?", (before.fingerprint,))
        self._remove_unnamed_files(0, {before.metadata, before.root})

    def prune(self) -> list[StoredImage]:
        """Remove and return fetched images that were not used for ten days.

        Also remove files without a record.
        """
        oldest = int(time.time()) - UNUSED
        with self._transaction() as records:
            unused = [image for image in _read(records) if image.cached and image.used < oldest]
            for image in unused:
                records.execute("DELETE FROM image WHERE fingerprint = ?", (image.fingerprint,))
        self._remove_unnamed_files(
            _GRACE, {each for image in unused for each in (image.metadata, image.root)}
        )
        return unused

    def _remove_unnamed_files(self, grace: int, released: set[str]) -> None:
        """Remove each file that has no record, if it is in ``released`` or older than ``grace`` seconds."""
        # Because of the lock, no other process can record a file between the check and the removal.
        with self._transaction() as records, os.scandir(self.files) as entries:
            named = {each for image in _read(records) for each in (image.metadata, image.root)}
            now = time.time()
            for entry in entries:
                with suppress(OSError):
                    age = now - entry.stat(follow_symlinks=False).st_mtime
                    least = UNUSED if entry.name.endswith(PART) else grace or _GRACE
                    if entry.name not in named and (entry.name in released or age > least):
                        os.unlink(entry.path)

    def _copy(self, path: str, progress: Progress) -> str:
        try:
            with reading(path) as file, Output(self.files, private=True) as output:
                for piece in whole_content(file, path):
                    output.write(piece)
                    progress(0, output.size, path, os.fstat(file.fileno()).st_size)
                digest = output.sha256.hexdigest()
                if os.fstat(file.fileno()).st_mode & S_IROTH:  # an export must not be more readable
                    os.fchmod(output.fd, 0o644)
                output.publish(self.file(digest), replace=True)
        except OSError as error:
            raise InputError(f"can't read '{printable(path)}': {reason(error)}") from error
        return digest

    def _describe(self, hashes: list[str], limits: Limits) -> StoredImage:
        first, *others = map(self.file, hashes)
        found = describe(first, others[0] if others else None, limits)
        if found.fingerprint is None:
            raise InputError(
                "the image has no root filesystem",
                hint="give both files: the metadata tarball, then the rootfs",
            )
        machine = found.rootfs == QCOW2
        now = int(time.time())
        return StoredImage(
            found.fingerprint,
            "virtual-machine" if machine else "container",
            found.metadata.architecture,
            found.metadata.creation_date,
            found.metadata.expiry_date,
            now,
            now,
            False,
            False,
            False,
            "",
            hashes[0],
            hashes[1] if len(hashes) > 1 else "",
            True,
            {name: str(value) for name, value in found.metadata.properties.items()},
        )


def default_directory() -> str:
    """Return ``templater/store`` in XDG_DATA_HOME or in ``~/.local/share``."""
    base = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share")
    return os.path.join(base, "templater", "store")


# records


def _read(records: sqlite3.Connection) -> list[StoredImage]:
    aliases: dict[str, list[str]] = {}
    for name, fingerprint in records.execute("SELECT name, fingerprint FROM alias ORDER BY name"):
        aliases.setdefault(fingerprint, []).append(name)
    rows = records.execute("SELECT * FROM image ORDER BY imported DESC, fingerprint")
    return [_image(row, aliases.get(row[0], ())) for row in rows]


def _image(row: tuple[Any, ...], aliases: Iterable[str]) -> StoredImage:
    values = dict(zip(("fingerprint", *_COLUMNS), row, strict=True))
    values |= {name: bool(values[name]) for name in ("public", "auto_update", "cached", "complete")}
    values["properties"] = json.loads(values["properties"])
    return StoredImage(**values, aliases=tuple(aliases))


def _get(records: sqlite3.Connection, fingerprint: str) -> StoredImage | None:
    row = records.execute("SELECT * FROM image WHERE fingerprint = ?", (fingerprint,)).fetchone()
    if row is None:
        return None
    names = records.execute("SELECT name FROM alias WHERE fingerprint = ? ORDER BY name", (fingerprint,))
    return _image(row, [name for (name,) in names])


def _find(records: sqlite3.Connection, name: str) -> StoredImage:
    statement = "SELECT fingerprint FROM alias WHERE name = ?"
    row = records.execute(statement, (whole_characters(name),)).fetchone()
    found = [row[0]] if row else []
    if not found and len(name) >= 6 and all(digit in "0123456789abcdef" for digit in name):
        rows = records.execute("SELECT fingerprint FROM image WHERE fingerprint GLOB ?", (f"{name}*",))
        found = [fingerprint for (fingerprint,) in rows]
    if len(found) > 1:
        raise InputError(
            f"several fingerprints in the store begin with '{name}'", hint="give more characters"
        )
    image = _get(records, found[0]) if found else None
    if image is None:
        raise InputError(
            f"the store has no image '{printable(name)}'",
            hint="to list the images, run: templater store list",
        )
    return image


def _write(records: sqlite3.Connection, image: StoredImage) -> None:
    properties = json.dumps(dict(image.properties))
    if len(properties) > MOST_PROPERTIES:
        raise LimitError(f"the image's properties have more than {MOST_PROPERTIES >> 10} KiB")
    if max(map(len, (image.type, image.architecture, image.source))) > MOST_TEXT:
        raise LimitError(f"the image's architecture, type or source has more than {MOST_TEXT} characters")
    values = (
        image.fingerprint, image.type, image.architecture, image.created, image.expires, image.imported,
        image.used, image.public, image.auto_update, image.cached, image.source, image.metadata, image.root,
        image.complete, properties,
    )  # fmt: skip
    marks = ", ".join("?" * len(values))
    names = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS)
    statement = f"INSERT INTO image VALUES ({marks}) ON CONFLICT (fingerprint) DO UPDATE SET {names}"  # noqa: S608
    texts = (whole_characters(value) if isinstance(value, str) else value for value in values)
    records.execute(statement, tuple(texts))


#: the columns that an update of a row changes: all except the fingerprint
_COLUMNS = (
    "type", "architecture", "created", "expires", "imported", "used", "public", "auto_update", "cached",
    "source", "metadata", "root", "complete", "properties",
)  # fmt: skip


def _has_no_owner(image: StoredImage) -> bool:
    """Return whether the image has no alias, and was fetched, but never imported or published."""
    return image.cached and not (image.auto_update or image.public or image.aliases)


def _refuse_other_source(image: StoredImage, source: str) -> None:
    """Raise UsageError if the image was imported from a source other than ``source``."""
    if _has_no_owner(image) or image.source == source:
        return
    origin = f"from '{printable(image.source)}'" if image.source else "from files"
    raise UsageError(
        f"the store already has the image {image.fingerprint[:12]} {origin}",
        hint="delete the stored image first, because two sources can't refresh one image",
    )


def _set_alias(records: sqlite3.Connection, alias: str, fingerprint: str, *, move: bool) -> None:
    if not alias or any(character.isspace() or not character.isprintable() for character in alias):
        raise UsageError(
            f"invalid alias '{printable(alias)}'", hint="use one or more printable characters, without spaces"
        )
    row = records.execute("SELECT fingerprint FROM alias WHERE name = ?", (alias,)).fetchone()
    if row and row[0] != fingerprint and not move:
        raise UsageError(
            f"another image has the alias '{printable(alias)}'",
            hint=f"the alias belongs to the image {row[0][:12]}; --move takes it from that image",
        )
    records.execute(
        "INSERT INTO alias VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET fingerprint = excluded.fingerprint",
        (alias, fingerprint),
    )
