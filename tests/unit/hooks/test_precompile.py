"""The compilation before the next start, which happens in the process of a command."""

import mmap
import shutil
import sys
from pathlib import Path

import pytest

from templater.cli.main import main

ALPINE = Path(__file__).resolve().parents[3] / "sample-images" / "alpine"


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux")
def test_a_process_that_has_mapped_much_memory_can_compile_templates(tmp_path, capfd):
    folder = shutil.copytree(ALPINE, tmp_path / "c1")
    (folder / "templates/hostname.tpl").write_text("{{ container.name }}\n" * 3000)  # needs new memory
    with mmap.mmap(-1, 700 << 20):
        assert main(["compile", str(folder)]) == 0
    assert "memory" not in capfd.readouterr().err
