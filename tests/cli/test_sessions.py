"""Every tests/cli/*.txt is a terminal session, replayed with the real command."""

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.cli.sessions import Stage, complaint, replay

SESSIONS = sorted(Path(__file__).parent.glob("*.txt"))
#: sessions that take long, because they pack images or run many commands
SLOW = (
    "apply", "audit", "check", "diff", "explain", "help", "hook_install", "hook_status", "image_build", "image_edit",
    "image_export", "image_info", "image_template", "json_output", "new", "preview", "publish", "refusals", "simulate",
    "status", "store", "streams_add", "streams_list", "streams_prune", "streams_remove", "test", "unpack",
)  # fmt: skip


def skip_without(needs):
    """Skip sessions whose requirements are missing, such as ``## Needs root, mksquashfs.``"""
    names = needs[1].split(", ") if needs else []
    missing = [name for name in names if not (os.geteuid() == 0 if name == "root" else shutil.which(name))]
    if missing:
        assert not os.environ.get("CI"), f"CI has to have {', '.join(missing)}"
        pytest.skip(f"needs {', '.join(missing)}")


def sessions():
    """Return a parameter for each session.

    Long sessions start new interpreters, and short sessions use a server.
    """
    for path in SESSIONS:
        if path.stem in SLOW:
            yield pytest.param(path, True, id=f"{path.stem}-new interpreters", marks=pytest.mark.slow)
        else:
            yield pytest.param(path, False, id=f"{path.stem}-server")


@pytest.mark.parametrize(("session", "new_interpreters"), list(sessions()))
def test_each_recorded_terminal_session_gives_the_recorded_output(
    session, new_interpreters, tmp_path, update
):
    text = session.read_text()
    skip_without(re.search(r"^## Needs (.*)\.$", text, re.MULTILINE))
    real, wrong = replay(text, Stage.set_up(tmp_path, new_interpreters=new_interpreters))
    if update:
        session.write_text(real)
    else:
        assert not wrong, complaint(wrong)
