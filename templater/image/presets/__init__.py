"""Presets for new images.

Each preset is a directory in this package, with metadata.yaml, templates and tests.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from ...model.errors import UsageError
from ...model.file_names import METADATA, ROOTFS, TEMPLATES, TESTS
from ...model.source import Source
from ...rootfs.system_calls import write_error
from ...writing.new_folder import NewFolder
from .. import metadata_edit
from ..publish_container import ARCHITECTURES


@dataclass(frozen=True, slots=True)
class Preset:
    """A preset. ``summary`` is the first comment line of its metadata.yaml."""

    name: str
    summary: str
    folder: Traversable


def presets() -> list[Preset]:
    found = []
    for folder in files(__package__).iterdir():
        metadata = folder / METADATA
        if folder.is_dir() and metadata.is_file():
            first = metadata.read_text("utf-8").partition("\n")[0]
            found.append(Preset(folder.name, first.removeprefix("# "), folder))
    return sorted(found, key=lambda preset: preset.name)


def make(
    path: str, preset: str, *, now: int, architecture: str | None, properties: Mapping[str, str]
) -> list[str]:
    """Create the directory of a new image. Return the names of its files.

    Raises UsageError for an unknown preset, and if ``path`` exists but is not an empty directory.
    """
    found = next((each for each in presets() if each.name == preset), None)
    if found is None:
        raise UsageError(
            f"unknown preset '{preset}'", hint=f"use one of {', '.join(each.name for each in presets())}"
        )
    source = Source(METADATA, (found.folder / METADATA).read_bytes())
    machine = platform.machine()
    facts = {
        "architecture": architecture or ARCHITECTURES.get(machine, machine),
        "creation_date": str(now),
    }
    source = metadata_edit.set_values(source, facts=facts, properties=properties)
    written = {METADATA: source.data}
    for folder in (TEMPLATES, TESTS):
        for file in sorted((found.folder / folder).iterdir(), key=lambda each: each.name):
            written[f"{folder}/{file.name}"] = file.read_bytes()
    return write_new(path, written)


def write_new(path: str, written: Mapping[str, bytes]) -> list[str]:
    """Write the files of a new image directory, and return their names.

    Raises UsageError if ``path`` exists and is not an empty directory.
    """
    existing = UsageError(f"'{path}' exists", hint="give a new directory, or an empty one")
    if os.path.lexists(path) and not os.path.isdir(path):
        raise existing
    try:
        with NewFolder(path) as new:
            if not new.is_empty():
                raise existing
            for folder in (TEMPLATES, ROOTFS):
                new.make(folder)
            for name, data in written.items():
                with open(new.create(name), "wb") as file:
                    file.write(data)
    except OSError as error:
        raise write_error("make", path, error) from error
    return list(written)
