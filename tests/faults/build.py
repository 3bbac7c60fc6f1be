"""The subject of the faults in image builds: ``templater``, with unnamed or with hidden temporary files."""

import os
import tempfile

from templater.cli.run_command_line import main as templater


def main(words: list[str]) -> int:
    way, *words = words
    if way == "hidden":
        del os.O_TMPFILE
    return templater(words)


def build_once() -> None:
    """Build a small image, so that everything is imported."""
    with tempfile.TemporaryDirectory() as folder:
        assert templater(["new", f"{folder}/image"]) == 0
        assert (
            templater(["image", "build", f"{folder}/image", "-o", f"{folder}/built", "--format", "split"])
            == 0
        )


build_once()
