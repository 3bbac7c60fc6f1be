"""The hook for OCI runtimes.

The hook reads the container's state on standard input, and the bundle's config.json.

The annotations ``org.templater.source``, ``.instance``, ``.name``, ``.trigger`` and ``.config.KEY`` select
the image and its settings. In older versions of podman, an untrusted image can set these annotations. So
``oci_annotated_paths`` restricts their paths.
"""

from ...model.errors import InputError, LimitError, RefusedError, TemplaterError, UsageError
from ...model.file_names import INSTANCE, MAX_PATH, METADATA
from ...model.unprintable_characters import printable, whole_characters
from ...oslite import abspath, dirname, exists, is_missing, islink, join, os
from ...rootfs.trusted_paths import is_same_place, open_folder, open_unshared
from ...rootfs.writable_by_others import map_of
from ..json_input import parse_json
from ..options import read_options
from ..request import HookRequest, Notice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from ...rootfs.confined_root import Root
    from ...rootfs.id_map import IdMap
    from ..common_status_checks import Finding
    from ..install import Snippet
    from ..options import Options

PREFIX = "org.templater."
CONFIG = PREFIX + "config."

#: the default stage of the hook, and the stage in which the hook can write to mounted files
CREATE_RUNTIME = "createRuntime"
CREATE_CONTAINER = "createContainer"
STAGES = (CREATE_RUNTIME, CREATE_CONTAINER, "prestart")

#: the default directory of the image sources that annotations may name
ALLOWED = "/var/lib/templater/images"

#: If the uid or gid of a root filesystem's directory is at least this number, the container has shifted ids.
FIRST_SHIFTED = 65536

MAX_STATE = 1 << 20
MAX_CONFIG = 4 << 20

#: seconds by which the runtime's timeout is longer than the hook's own time limit
MARGIN = 5

#: the bundle of the container, after ``read_request`` has read its path from standard input
_bundle_read: "list[str]" = []


def state_folder(_environ: "Mapping[str, str]") -> str:
    """Return the bundle of the container, if its path is known."""
    return "".join(_bundle_read)


def read_request(options: "Options", _environ: "Mapping[str, str]") -> "HookRequest | Notice":
    if options.stage not in ("", *STAGES):
        raise UsageError(
            f"templates cannot be rendered in stage '{printable(options.stage)}'",
            hint=f"use stage {CREATE_RUNTIME}",
        )
    _refuse_relative(options)
    state = read_state(_stdin())
    bundle = _text(state, "bundle")
    annotations = _annotations(state)
    if not bundle.startswith("/"):
        raise InputError(f"the state on standard input has a relative bundle path '{printable(bundle)}'")
    _bundle_read[:] = [bundle]
    named = "" if options.source else annotations.get(PREFIX + "source", "")
    image = options.source or named or bundle
    folder = options.state or bundle
    root = open_unshared(bundle) if bundle in (image, folder) else open_folder(bundle, fixed=True)
    config = parse_json(root.read("/config.json", MAX_CONFIG), "config.json")
    _refuse_ambiguous(config)
    opened = None if named in ("", bundle) else _open_annotated(named, options, config, bundle)
    if options.if_present and not _has_metadata(image, root if image == bundle else opened):
        return Notice()
    rootfs = options.rootfs or root_of(config, bundle)
    ids = _ids(options, config, state)
    described = annotations.get(PREFIX + "instance", "")
    description = None
    if described and not options.instance:
        from ..oci_annotated_paths import read_description

        description = read_description(described, options.allow_instance)
    name = annotations.get(PREFIX + "name", "")
    if not name and description is None and not _has_description(folder, image, {bundle: root}, opened):
        name = _text(state, "id")
    trigger = annotations.get(PREFIX + "trigger", "")
    return HookRequest(
        options, name=name, rootfs=rootfs, image=image, state_folder=folder,
        open_folders={bundle: root}, open_image=opened, description=description,
        config={key.removeprefix(CONFIG): annotations[key] for key in annotations if key.startswith(CONFIG)},
        triggers=tuple(trigger.split(",")) if trigger else (),
        ids=ids, owner=_owner_of(rootfs) if ids is None else None,
        cross_mounts=options.in_place, mounts=_later_mounts(options, config, bundle),
        empty_mounts=_empty_mounts(config), spare_hidden=True,
        mounts_hint="install the hook with --in-place to write into the mount; --in-place does not help for a"
        " path of linux.maskedPaths",
    )  # fmt: skip


#: the names in config.json that the hook reads, as runc compares them
_NAMES = {
    name.casefold(): name
    for name in (
        "root", "path", "mounts", "destination", "linux", "maskedPaths", "uidMappings", "gidMappings",
        "namespaces", "type", "containerID", "hostID", "size", "options",
    )
}  # fmt: skip


def _refuse_ambiguous(config: "Mapping[str, Any]") -> None:
    """Raise InputError for a name in an unusual case, such as "ROOT", and for a text with a NUL."""
    # Runtimes differ here: runc reads "ROOT" as "root", and crun ends a text at a NUL.
    linux = config.get("linux")
    waiting = [config, config.get("root"), linux, *_list(config.get("mounts"))]
    if isinstance(linux, dict):
        for name in ("uidMappings", "gidMappings", "namespaces"):
            waiting += _list(linux.get(name))
    masks = linux.get("maskedPaths") if isinstance(linux, dict) else None
    waiting += [{"maskedPaths": mask} for mask in _list(masks)]
    for value in waiting:
        for name, text in value.items() if isinstance(value, dict) else ():
            if isinstance(text, str) and "\0" in text:
                raise InputError(f"config.json has a '{printable(name)}' with a NUL")
            usual = _NAMES.get(name.casefold(), name)
            if usual != name:
                raise InputError(
                    f"config.json has the name '{printable(name)}', which runc reads as '{usual}'",
                    hint=f"write '{usual}', or remove the name",
                )


def _refuse_relative(options: "Options") -> None:
    """Raise UsageError if an option has a relative path."""
    # runc starts hooks of the stage createContainer in the root filesystem of the container. A relative path
    # would begin in this root filesystem. A link in the image could then lead to any file of the host.
    paths = (
        *(options.source, options.instance, options.rootfs, options.state, options.cache, options.log),
        *(*options.allow, *options.allow_instance),
    )
    for path in paths:
        if path and not path.startswith("/"):
            raise UsageError(
                f"the hook line has the relative path '{printable(path)}'", hint="give an absolute path"
            )


def _open_annotated(path: str, options: "Options", config: "Mapping[str, Any]", bundle: str) -> "Root":
    from ..oci_annotated_paths import open_source

    rootfs = options.rootfs or join(bundle, _root_path(config))
    return open_source(path, options.allow or (ALLOWED,), bundle, rootfs)


def _ids(options: "Options", config: "Mapping[str, Any]", state: "Mapping[str, Any]") -> "IdMap | None":
    """Return the container's id map, or None if the container has no user namespace."""
    if options.stage == CREATE_CONTAINER:
        from ...rootfs.id_map import IDENTITY

        return IDENTITY  # the hook runs in the container's namespaces, so it sees the container's ids
    ids = id_map(config)
    linux = config.get("linux")
    namespaces = linux.get("namespaces") if ids is None and isinstance(linux, dict) else None
    for each in namespaces if isinstance(namespaces, list) else ():
        if isinstance(each, dict) and each.get("type") == "user":
            return _ids_of_process(state.get("pid"))
    return ids


def _ids_of_process(pid: object) -> "IdMap":
    """Return the id map of the container's process, which has joined the user namespace of its container.

    Raises RefusedError if the map is unknown.
    """
    from ...rootfs.id_map import IdMap

    try:
        if isinstance(pid, int):
            return IdMap(tuple(map_of(pid, "uid_map")), tuple(map_of(pid, "gid_map")))
    except OSError:
        pass
    # templater does not guess the map from the owner of the root directory, because the container's root can
    # change this owner.
    raise RefusedError(
        "the id map of the container's user namespace is unknown: the state on standard input has no pid of a"
        " running process",
        hint="set uidMappings and gidMappings in config.json",
    )


def _owner_of(rootfs: str) -> "tuple[int, int] | None":
    """Return the owner and group of a root filesystem without user namespace, or None if they can't be read.

    Raises RefusedError for an id of at least ``FIRST_SHIFTED``.
    """
    try:
        status = os.stat(rootfs)
    except OSError:
        return None  # opening the directory later reports the error
    # The owner looks like the root of a container with a user namespace. templater does not guess an id map
    # from the owner: the container's root can change the owner, and could thus choose the id map.
    if max(status.st_uid, status.st_gid) >= FIRST_SHIFTED:
        raise RefusedError(
            f"'{printable(rootfs)}' belongs to {status.st_uid}:{status.st_gid}, but the container has no user"
            " namespace",
            hint="change the owner of the root filesystem's directory, for example: chown 0:0",
        )
    return status.st_uid, status.st_gid


def _later_mounts(options: "Options", config: "Mapping[str, Any]", bundle: str) -> "tuple[str, ...]":
    """Return the clean paths at which the runtime mounts something later than the hook.

    These are the mount points (except in the stage createContainer) and the masked paths of config.json.
    """
    # The runtime mounts nothing in a directory that only --rootfs names.
    if options.rootfs and not is_same_place(options.rootfs, join(bundle, _root_path(config))):
        return ()
    mounts, linux = config.get("mounts"), config.get("linux")
    masks = linux.get("maskedPaths") if isinstance(linux, dict) else None
    places = [each.get("destination") for each in _list(mounts) if isinstance(each, dict)]
    mounted = [_clean(place) for place in places if isinstance(place, str)]
    masked = [_clean(mask) for mask in _list(masks) if isinstance(mask, str)]
    # The hook refuses targets below mount points anyway, so masked paths there are omitted. In the stage
    # createContainer, the hook can write to mount points, so only paths below /proc and /sys are omitted.
    is_mounted = options.stage == CREATE_CONTAINER
    above = {"/proc", "/sys"} if is_mounted else {*mounted}
    visible = [mask for mask in masked if not _is_below(mask, above)]
    return (*(() if is_mounted else mounted), *visible)


def _empty_mounts(config: "Mapping[str, Any]") -> "tuple[str, ...]":
    """Return the cleaned mount points at which the runtime mounts an empty tmpfs or ramfs."""
    # If a mount has the option "bind" or "rbind", runtimes ignore its type. If a mount has the option
    # "tmpcopyup", the runtime copies files into the tmpfs.
    return tuple(
        _clean(each["destination"])
        for each in _list(config.get("mounts"))
        if isinstance(each, dict)
        and each.get("type") in ("tmpfs", "ramfs")
        and isinstance(each.get("destination"), str)
        and not any(option in ("bind", "rbind", "tmpcopyup") for option in _list(each.get("options")))
    )


def _is_below(path: str, places: "set[str]") -> bool:
    """Return whether one of the places is a directory above the path. All paths must be cleaned."""
    while path != "/":
        path = dirname(path)
        if path in places:
            return True
    return False


def _list(value: object) -> "list[Any]":
    return value if isinstance(value, list) else []


def _clean(path: str) -> str:
    """Return an absolute path as runtimes clean it.

    Raises InputError for a path with ``..``, and for a path that is too long for the kernel.
    """
    # Comparing a longer path with the mount points takes minutes.
    if len(path) > MAX_PATH:
        raise InputError(f"config.json has a mount point or masked path of more than {MAX_PATH} characters")
    if ".." in path.split("/"):
        raise InputError(
            f"config.json has a '..' in the mount point or masked path '{printable(path)}'",
            hint="write the path without '..': some runtimes follow links before '..'",
        )
    return abspath("/" + whole_characters(path).lstrip("/"))


def _has_metadata(image: str, opened: "Root | None") -> bool:
    if opened is not None:
        return opened.entry("/" + METADATA) is not None
    return not is_missing(join(image, METADATA))


def _has_description(
    state_folder: str, image: str, open_folders: "Mapping[str, Root]", opened: "Root | None"
) -> bool:
    for path in (state_folder,) if opened is not None else (state_folder, image):
        root = open_folders.get(path)
        if exists(join(path, INSTANCE)) if root is None else root.entry("/" + INSTANCE) is not None:
            return True
    return False


# --- the state and config.json ---------------------------------------------------------------------


def _stdin() -> bytes:
    chunks: list[bytes] = []
    room = MAX_STATE + 1
    while room > 0:
        chunk = os.read(0, min(room, 1 << 16))
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        room -= len(chunk)
    raise LimitError(f"the state on standard input is larger than {MAX_STATE} bytes")


def read_state(data: bytes) -> "dict[str, Any]":
    """Parse the state of an OCI runtime. Raises UsageError if it is empty, InputError if it is invalid."""
    if not data.strip():
        raise UsageError(
            "no state on standard input: no OCI runtime called this hook",
            hint="to install a hook, run: templater hook install oci",
        )
    state = parse_json(data, "the state on standard input")
    if not isinstance(state.get("ociVersion"), str):
        raise InputError("the state on standard input has no ociVersion: it is not from an OCI runtime")
    version = state["ociVersion"]
    if version.removeprefix("v").partition(".")[0] != "1":
        raise InputError(
            f"the state on standard input has ociVersion '{printable(version)}': only 1.x is supported"
        )
    return state


def _text(state: "Mapping[str, Any]", name: str) -> str:
    value = state.get(name)
    if not isinstance(value, str) or not value or "\0" in value:
        raise InputError(f"the state on standard input has no '{name}'")
    return whole_characters(value)


def _annotations(state: "Mapping[str, Any]") -> "dict[str, str]":
    found = state.get("annotations") or {}
    if not isinstance(found, dict):
        raise InputError("the state on standard input has annotations that are not an object")
    return {
        whole_characters(key): whole_characters(value)
        for key, value in found.items()
        if isinstance(value, str) and key.startswith(PREFIX)
    }


def root_of(config: "Mapping[str, Any]", bundle: str) -> str:
    """Return the path of the root filesystem.

    Raises InputError if config.json has no valid path. Raises RefusedError if the path is a symlink.
    """
    path = join(bundle, _root_path(config))  # os.path.join returns an absolute second path unchanged
    if islink(abspath(path)):  # an untrusted image can contain a symlink here, which runc also refuses
        raise RefusedError(
            f"the root filesystem '{printable(path)}' is a symlink, not a directory",
            hint="give the target of the symlink in the hook line: --rootfs DIR",
        )
    return path


def _root_path(config: "Mapping[str, Any]") -> str:
    root = config.get("root")
    path = root.get("path") if isinstance(root, dict) else None
    if not isinstance(path, str) or not path or "\0" in path:
        raise InputError("config.json has no root.path")
    if len(path) > MAX_PATH:
        raise InputError(f"config.json has a root.path of more than {MAX_PATH} characters")
    return whole_characters(path)


def id_map(config: "Mapping[str, Any]") -> "IdMap | None":
    """Return the id map of config.json, or None if it has no id map.

    Raises InputError if the map is invalid.
    """
    linux = config.get("linux")
    if not isinstance(linux, dict):
        return None
    uids, gids = _ranges(linux.get("uidMappings")), _ranges(linux.get("gidMappings"))
    if not uids or not gids:
        return None
    from ...rootfs.id_map import IdMap

    return IdMap(uids, gids)


def _ranges(mappings: object) -> "tuple[tuple[int, int, int], ...]":
    found = []
    for mapping in mappings if isinstance(mappings, list) else ():
        try:
            inside, outside, count = (mapping[key] for key in ("containerID", "hostID", "size"))
        except (KeyError, TypeError):
            raise InputError("config.json has an invalid id mapping") from None
        if not all(isinstance(number, int) and 0 <= number < 1 << 32 for number in (inside, outside, count)):
            raise InputError("config.json has an invalid id mapping")
        found.append((inside, outside, count))
    return tuple(found)


# --- configuration -----------------------------------------------------------------------------


def snippet(name: str, words: "list[str]", _path: str) -> "Snippet":
    from json import dumps

    from ..install import Snippet

    if not name:
        raise UsageError("missing bundle path")
    file = join(name, "config.json")
    stage, ours = hook(words)
    text = dumps({"hooks": {stage: [ours]}}, indent=2) + "\n"
    return Snippet(file, text, lambda before: merged(before, file, stage, ours))


def hook(words: "list[str]") -> "tuple[str, dict[str, Any]]":
    """Return the stage and the hook object for config.json or for podman's hooks.d."""
    from ..install import argv, require_utf8

    options = read_options(words)
    stage = options.stage
    if not stage:
        stage = CREATE_CONTAINER if options.in_place else CREATE_RUNTIME
        words = [*words, "--stage", stage]
    line = argv("oci", words)
    require_utf8(line, "JSON")
    return stage, {
        "path": line[0],
        "args": line,
        "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
        "timeout": int(options.time_limit) + MARGIN,
    }


def merged(before: "str | None", file: str, stage: str, ours: "dict[str, Any]") -> str:
    """Return config.json with the new hook added last, and hooks of earlier templater versions removed.

    Raises InputError if the file does not exist or is invalid.
    """
    from io import StringIO
    from json import JSONEncoder

    from ..install import MAX_FILE

    if before is None:
        raise InputError(f"'{file}' does not exist", hint="create the bundle first: runc spec")
    config = parse_json(before.encode("utf-8", "surrogateescape"), file)
    hooks = {
        name: [each for each in hooks if not is_ours(each)] for name, hooks in hooks_of(config, file).items()
    }
    hooks[stage] = [*hooks.get(stage, ()), ours]
    config["hooks"] = {name: each for name, each in hooks.items() if each}
    text = StringIO()
    try:
        for part in JSONEncoder(indent="\t", allow_nan=False).iterencode(config):
            text.write(part)
            if text.tell() > MAX_FILE:  # the indentation of nested lists can be much longer than their text
                raise LimitError(f"'{file}' would be larger than {MAX_FILE} bytes")
    except ValueError:
        raise InputError(f"'{file}' has a number that is too large for a float") from None
    except RecursionError:
        raise InputError(f"'{file}' is nested too deeply") from None
    return text.getvalue() + "\n"


def hooks_of(config: "Mapping[str, Any]", file: str) -> "dict[str, list[Any]]":
    """Return a bundle's hooks by stage. Raises InputError if the hooks are invalid.

    A null counts as an empty list, as in the runtimes.
    """
    hooks = config.get("hooks") or {}
    if not isinstance(hooks, dict) or not all(isinstance(each, list | None) for each in hooks.values()):
        raise InputError(f"invalid hooks in '{file}': each stage needs a list")
    return {stage: list(each) for stage, each in hooks.items() if each is not None}


def is_ours(hook: object) -> bool:
    from ..options import calls_templater

    words = hook.get("args") if isinstance(hook, dict) else None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return False
    return any(map(calls_templater, words))


def line_of(hook: "Mapping[str, Any]") -> str:
    """Return the shell line for a hook.

    Raises InputError if the hook's ``path`` is missing, or if its words are not UTF-8.
    """
    # The runtime always runs the program ``path``, even if the first word of ``args`` is different.
    import shlex

    from ..install import is_utf8

    path, words = hook.get("path"), hook["args"]
    if not isinstance(path, str) or not path:
        raise InputError("the hook has no 'path'")
    if not is_utf8([path, *words]):
        raise InputError("the hook line has bytes that are not UTF-8: the runtime would replace them")
    return shlex.join(words if words[:1] == [path] else [path, *words])


def stage_problem(stage: str, line: str, hint: str) -> "Finding | None":
    """Return a finding if a hook line can't render templates in a stage, or None if the line can."""
    # A hook sees the ids and mounts of the container only in createContainer.
    from ..common_status_checks import Finding, option_of

    if stage not in STAGES:
        text = f"the hook of stage '{printable(stage)}' can't render templates"
        return Finding(False, text, f"use one of {', '.join(STAGES)}")
    given = option_of(line, "--stage") or CREATE_RUNTIME
    if given not in STAGES or (given == CREATE_CONTAINER) != (stage == CREATE_CONTAINER):
        text = f"the hook runs in stage '{stage}', but its command is for stage '{printable(given)}'"
        return Finding(False, text, hint)
    return None


def status(name: str, _path: str) -> "Iterator[Finding]":
    from shlex import quote

    from ..common_status_checks import Finding, read_configuration, require_name, runs, source_status

    require_name(name)
    file = join(name, "config.json")
    hint = f"templater hook install oci {quote(name)} --write"
    try:
        config = parse_json(read_configuration(file).encode("utf-8", "surrogateescape"), file)
        hooks = hooks_of(config, file)
        found = [(stage, line_of(hook)) for stage in hooks for hook in hooks[stage] if is_ours(hook)]
    except (OSError, TemplaterError) as error:
        yield Finding(False, f"'{file}' can't be used: {error}")
        return
    if not found:
        yield Finding(False, f"'{file}' has no hook that calls templater", hint)
        return
    stage, line = found[0]
    yield stage_problem(stage, line, hint) or Finding(True, f"the hook of stage '{stage}' calls templater")
    yield runs("oci", line, hint)
    annotations = config.get("annotations")
    named = annotations.get(PREFIX + "source") if isinstance(annotations, dict) else None
    image = named if isinstance(named, str) and named else name
    yield from source_status(line, image, name)
