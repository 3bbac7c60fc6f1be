"""The build hook of the wheel: it adds the man pages and the completion scripts, made from the help."""

import sys
import tempfile
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class SharedFiles(BuildHookInterface):
    """Add the files of ``templater.cli.manual`` to a wheel, as its directory ``share``."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        sys.dont_write_bytecode = True
        from templater.cli.manual import write_files

        self.folder = tempfile.TemporaryDirectory(prefix="templater-share-")
        write_files(self.folder.name)
        build_data["shared_data"][self.folder.name] = "share"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            self.folder.cleanup()
