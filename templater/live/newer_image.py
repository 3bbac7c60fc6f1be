"""Newer versions of an instance's image on the daemon, and whether the templates have changed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from email.message import Message
from typing import Any, NamedTuple

from ..distribution.image_api_client import FINGERPRINT, ServerImage, export
from ..image.open_image import open_image
from ..model.errors import TemplaterError
from ..model.metadata import Rule
from ..model.unprintable_characters import printable
from ..parsing.metadata_yaml import read_metadata
from .address import Address
from .connect import Daemon
from .live_instance import LiveInstance
from .rest_client import MIB, Client

#: the properties that all versions of an image share
_IDENTITY = ("os", "release", "variant", "architecture")
#: maximum bytes to read from an image; in a unified image, the templates precede the root filesystem
_MOST = 32 * MIB
#: maximum number of files that a note names
_MOST_NAMED = 5

#: the rules of an image with the text of their templates, by path
_Rules = dict[str, tuple[Any, ...]]


class _Version(NamedTuple):
    """An image of the daemon. ``created`` is the creation time in seconds since 1970."""

    created: float
    fingerprint: str
    type: str


class NewerImages:
    """The images of a daemon. Each list of images, and each image, is read once."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._newest: dict[str, dict[tuple[str, ...], list[_Version]]] = {}
        self._rules: dict[str, _Rules | None] = {}

    def note(self, live: LiveInstance) -> str:
        """Return a sentence for messages if a newer version of the instance's image has different templates.

        Otherwise, return "".
        """
        try:
            image = self._newer(live)
            if image is None:
                return ""
            fingerprint = image.fingerprint
            if fingerprint not in self._rules:
                self._rules[fingerprint] = self._of_image(image)
            theirs, ours = self._rules[fingerprint], _rules(live.image)
        except (TemplaterError, ValueError, OSError):
            return ""
        if theirs is None or theirs == ours:
            return ""
        paths = sorted(path for path in {**ours, **theirs} if ours.get(path) != theirs.get(path))
        more = f" and {len(paths) - _MOST_NAMED} more" if len(paths) > _MOST_NAMED else ""
        named = ", ".join(map(printable, paths[:_MOST_NAMED])) + more
        return (
            f"a newer version of the image ({fingerprint[:12]}) has different rules or templates for {named}"
        )

    def _newer(self, live: LiveInstance) -> _Version | None:
        """Return the newest version of the instance's image, or None if no newer version is known."""
        config = live.config
        identity = tuple(str(config.get(f"image.{key}") or "") for key in _IDENTITY)
        if not identity[0]:
            return None
        project = live.address.project
        if project not in self._newest:
            self._read_list(live.address)
        newer = (
            image
            for image in self._newest[project].get((str(live.data.get("type")), *identity), ())
            if image.fingerprint != config.get("volatile.base_image")
            and image.created > live.image.creation_date
        )
        return next(newer, None)

    def _read_list(self, address: Address) -> None:
        """Store the two newest versions of each image of a project.

        The newest version alone is not enough, because the instance may already use that version.
        """
        found: dict[tuple[str, ...], list[_Version]] = {}
        self._newest[address.project] = found  # set first: a damaged list is read only once
        for image in self._daemon.client.items(f"/1.0/images{address.query(recursion='1')}", "image"):
            with contextlib.suppress(AttributeError, ValueError):
                key = str(image.get("type")), *_identity(image)
                version = _Version(_created(image), str(image.get("fingerprint")), key[0])
                if not FINGERPRINT.fullmatch(version.fingerprint):
                    continue
                found[key] = sorted({*found.get(key, ()), version}, reverse=True)[:2]

    def _of_image(self, image: _Version) -> _Rules | None:
        """Download the beginning of an image, and return the image's rules.

        Return None if the templates are not in this part of the file.
        """
        described = ServerImage(image.fingerprint, image.type, "")
        descriptor, path = tempfile.mkstemp(prefix="templater-image.")
        try:
            with open(descriptor, "wb") as file, export(_Server(self._daemon.client), described) as parts:
                _, content = next(parts)
                for piece in content:
                    file.write(piece[: _MOST - file.tell()])
                    if file.tell() >= _MOST:
                        break
            return _rules(open_image(path))
        except TemplaterError:
            return None
        finally:
            os.unlink(path)


class _Server:
    """An adapter through which `image_api_client` reads images from a connected daemon."""

    def __init__(self, client: Client) -> None:
        self.name = client.name
        self._client = client

    def get(self, path: str, /) -> contextlib.AbstractContextManager[tuple[Message, Iterator[bytes]]]:
        return self._client.stream(path)

    def small_file(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


def _rules(image: Any) -> _Rules:
    rules = read_metadata(image.read_metadata()).rules
    templates = image.read_templates({rule.template for rule in rules if rule.template})
    return {rule.path: (*_fields(rule), _data(templates.get(rule.template))) for rule in rules}


def _fields(rule: Rule) -> tuple[Any, ...]:
    properties = tuple(sorted(rule.properties.items()))
    return (rule.template, rule.when, rule.create_only, properties, rule.uid, rule.gid, rule.mode)


def _data(file: Any) -> bytes | None:
    data: bytes | None = None if file is None else file.data
    return data


def _identity(image: Mapping[str, Any]) -> tuple[str, ...]:
    properties = image.get("properties")
    texts = properties if isinstance(properties, dict) else {}
    return tuple(str(texts.get(key) or "") for key in _IDENTITY)


def _created(image: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(str(image.get("created_at"))).timestamp()
