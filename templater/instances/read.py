"""Descriptions of instances where the user has them: files, and standard input."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping

from ..model.errors import InputError, LimitError, reason
from ..model.instance import Instance, daemon_name_problem, require_name
from ..model.source import Source, printable
from ..parsing import instance_list, instance_yaml
from ..parsing.yaml_nodes import size_text


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
    """The instance described in ``file``, or a container ``c1``, with what is given laid over it.

    ``file`` is ``FILE``, ``FILE#NAME`` for one of several, ``-``, or what was read already; ``profiles``
    are files too, later ones over earlier ones. ``config`` and ``devices`` are keys as the daemons keep
    them, as texts; an empty value unsets a key. ``expanded`` says whether the file is from ``config show
    --expanded``; otherwise that is concluded from its devices. What had to be assumed is in ``notes``.

    >>> read_instance(name="web1", config={"user.role": "www"}).expanded_config()
    {'user.role': 'www'}
    """
    if name is not None:
        require_name(name, typed=True)
    if file is None or isinstance(file, Source):
        source, pick = file, ""
    else:
        source, pick = _source_and_pick(os.fspath(file))
    instance = instance_yaml.read_instance(
        source,
        pick,
        name=name,
        type=type,
        profiles=[_description(os.fspath(profile)) for profile in profiles],
        config=config,
        devices=devices,
        expanded=expanded,
    )
    require_name(instance.name)
    if problem := daemon_name_problem(instance.name):
        instance.notes = (*instance.notes, f"the name '{printable(instance.name)}': {problem}")
    return instance


def read_instances(file: str | os.PathLike[str]) -> Iterator[Instance]:
    """Yield every instance of ``file``: a list such as ``incus list`` prints, or a single description.

    ``-`` is standard input. JSON is read piece by piece and may be of any length; YAML is read at once.
    Raises InputError for a file that describes no instances, and RefusedError for an impossible name.
    """
    path = os.fspath(file)
    try:
        with open(0 if path == "-" else path, "rb", closefd=path != "-") as stream:
            yield from instance_list.stream_instances(stream.read, "<stdin>" if path == "-" else path)
    except OSError as error:
        raise _unreadable(path, error) from None


def own_description(directory: str) -> tuple[Source, str] | None:
    """What an instance directory says of its instance, and the name that is remembered; None of an image."""
    from ..rootfs.directory import open_root
    from .directory import INSTANCE, MAX_INSTANCE, MAX_STATE, STATE_FOLDER, State

    if not os.path.isdir(directory):
        return None
    with open_root(directory) as top:
        if top.entry(f"/{INSTANCE}") is None:
            return None
        source = Source(os.path.join(directory, INSTANCE), top.read(f"/{INSTANCE}", MAX_INSTANCE))
        if top.entry(f"/{STATE_FOLDER}/state") is None:
            return source, ""
        return source, State.decode(top.read(f"/{STATE_FOLDER}/state", MAX_STATE)).name


def read_source(file: str) -> Source:
    """A description as text, no larger than descriptions may be."""
    return _small_enough(file, *_read(file))


def _read(file: str) -> tuple[str, bytes]:
    """What messages call the file, and its content: if that is too large, a byte more than it may have."""
    limit = instance_yaml.LIMITS.bytes
    try:
        if file == "-":
            return "<stdin>", sys.stdin.buffer.read(limit + 1)
        with open(file, "rb") as stream:
            return file, stream.read(limit + 1)
    except OSError as error:
        raise _unreadable(file, error) from None


def _small_enough(file: str, name: str, data: bytes) -> Source:
    limit = instance_yaml.LIMITS.bytes
    if len(data) > limit:
        raise LimitError(f"'{file}' is larger than {size_text(limit)}")
    return Source(name, data)


def _source_and_pick(file: str) -> tuple[Source, str]:
    """A file may have a '#' in its name, though hardly with the name of an instance behind it."""
    path, mark, pick = file.rpartition("#")
    if not mark or not path:
        return _description(file), ""
    return _description(path), pick


def _description(file: str) -> Source:
    """A file that should describe something. An image is easily given in its place."""
    name, data = _read(file)
    if b"\0" in data[:1024] or not data[:1024].isascii():
        from ..parsing.file_kind import HEAD, UNKNOWN, describe, recognise

        kind = recognise(data[:HEAD])
        if kind not in (UNKNOWN, "text"):
            raise InputError(
                f"'{file}' {describe(kind)}, and describes no instance or profile",
                hint="give YAML or JSON, such as `incus config show` prints; an image is given as SRC",
            )
    return _small_enough(file, name, data)


def _unreadable(file: str, error: OSError) -> InputError:
    return InputError(f"can't read '{file}': {reason(error)}")
