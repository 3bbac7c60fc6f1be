"""Readers of instance descriptions in files and on standard input."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping

from ..model.errors import InputError, LimitError, reason
from ..model.instance import Instance
from ..model.instance_name import daemon_name_problem, require_name
from ..model.source import Source
from ..model.unprintable_characters import printable
from ..parsing import instance_description
from ..parsing.yaml_nodes import size_text
from ..rootfs.trusted_paths import open_file


def read_instance(
    file: str | os.PathLike[str] | Source | None = None,
    *,
    name: str | None = None,
    type: str | None = None,
    profiles: Iterable[str | os.PathLike[str]] = (),
    config: Mapping[str, str] | None = None,
    devices: Mapping[str, Mapping[str, str]] | None = None,
    expanded: bool | None = None,
) -> Instance:
    """Return the instance that ``file`` describes. The other arguments override its values.

    * ``file``: ``FILE``, ``FILE#NAME`` for one of several instances, ``-`` for standard input, or a
      ``Source``. None means a container named ``c1``.
    * ``profiles``: files. Later files override earlier files.
    * ``config`` and ``devices``: values are strings, as in the daemons. An empty value unsets a key.
    * ``expanded``: whether the file is from ``config show --expanded``. If None, the devices decide.

    The instance's ``notes`` list assumptions.

    Raises:
        InputError: the file is missing or invalid.
        LimitError: the file is too large.
        RefusedError: the instance's name is invalid.
        UsageError: the arguments contradict each other.

    >>> read_instance(name="web1", config={"user.role": "www"}).expanded_config()
    {'user.role': 'www'}
    """
    if name is not None:
        require_name(name, typed=True)
    if file is None or isinstance(file, Source):
        source, pick = file, ""
    else:
        source, pick = _source_and_pick(os.fspath(file))
    instance = instance_description.read_instance(
        source,
        pick,
        name=name,
        type=type,
        profiles=[_description(os.fspath(profile)) for profile in profiles],
        config=config,
        devices=devices,
        expanded=expanded,
    )
    if problem := daemon_name_problem(instance.name):
        instance.notes = (*instance.notes, f"the name '{printable(instance.name)}': {problem}")
    return instance


def read_instances(file: str | os.PathLike[str]) -> Iterator[Instance]:
    """Yield every instance of ``file``: a list such as ``incus list`` prints, or a single description.

    ``-`` is standard input. Raises InputError for a file without instances, and RefusedError for an
    invalid name.
    """
    from ..parsing.instance_list import stream_instances

    path = os.fspath(file)
    try:
        with open(0 if path == "-" else open_file(path), "rb", closefd=path != "-") as stream:
            yield from stream_instances(stream.read, "<stdin>" if path == "-" else path)
    except OSError as error:
        raise _unreadable(path, error) from None


def read_source(file: str) -> Source:
    """Read a description. Raises InputError if it is unreadable, LimitError if it is too large."""
    return _small_enough(file, *_read(file))


def _read(file: str) -> tuple[str, bytes]:
    """Return the file's name for messages, and its content.

    Read at most one byte more than the limit, so that the caller can detect a larger file.
    """
    limit = instance_description.LIMITS.bytes
    try:
        if file == "-":
            return "<stdin>", sys.stdin.buffer.read(limit + 1)
        with open(open_file(file), "rb") as stream:
            return file, stream.read(limit + 1)
    except OSError as error:
        raise _unreadable(file, error) from None


def _small_enough(file: str, name: str, data: bytes) -> Source:
    limit = instance_description.LIMITS.bytes
    if len(data) > limit:
        raise LimitError(f"'{file}' is larger than {size_text(limit)}")
    return Source(name, data)


def _source_and_pick(file: str) -> tuple[Source, str]:
    """Read FILE of ``FILE#NAME``. Return the content of FILE, and NAME ("" if no name is given)."""
    path, _, pick = file.rpartition("#")
    if not path:
        return _description(file), ""
    return _description(path), pick


def _description(file: str) -> Source:
    """Read a description. Raises InputError with a hint if the file is an image instead."""
    name, data = _read(file)
    if b"\0" in data[:1024] or not data[:1024].isascii():
        from ..parsing.file_kind import HEAD, UNKNOWN, describe, recognise

        kind = recognise(data[:HEAD])
        if kind not in (UNKNOWN, "text"):
            raise InputError(
                f"'{file}' {describe(kind)}, so it does not describe an instance or a profile",
                hint="give YAML or JSON as `incus config show` prints it; give an image as SRC",
            )
    return _small_enough(file, name, data)


def _unreadable(file: str, error: OSError) -> InputError:
    return InputError(f"can't read '{file}': {reason(error)}")
