"""The compilation of templates before the next start, in the process of a command."""

import mmap
import shutil
import sys
from pathlib import Path

import pytest

from templater.cli.run_command_line import main
from templater.hooks.precompile import precompile
from templater.model.errors import RefusedError
from templater.rootfs.trusted_paths import open_folder

ALPINE = Path(__file__).resolve().parents[3] / "sample-images" / "alpine"


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux")
def test_a_process_with_much_mapped_memory_can_compile_templates(tmp_path, capfd):
    folder = shutil.copytree(ALPINE, tmp_path / "c1")
    (folder / "templates/hostname.tpl").write_text("{{ container.name }}\n" * 3000)  # needs new memory
    with mmap.mmap(-1, 700 << 20):
        assert main(["compile", str(folder)]) == 0
    assert "memory" not in capfd.readouterr().err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hooks run on Linux")
@pytest.mark.parametrize("own", [True, False])
def test_a_cache_that_other_users_can_enter_is_refused(tmp_path, own):
    (tmp_path / "metadata.yaml").write_text("templates: {}\n")
    cache = tmp_path / (".templater/cache" if own else "shared")
    (tmp_path / ".templater").mkdir(mode=0o700)
    cache.mkdir()
    cache.chmod(0o777)
    with open_folder(str(tmp_path)) as folder, pytest.raises(RefusedError) as refused:
        precompile(folder, "" if own else str(cache))
    shown = tmp_path if own else cache
    assert refused.value.message == f"other users can enter the cache of '{shown}'"
    assert refused.value.hint == "chown the cache directory to your own user, and set its mode to 0700"
    assert list(cache.iterdir()) == []
