"""Every tests/cli/*.txt is a session at a terminal, replayed against the real command."""

from pathlib import Path

import pytest

from tests.cli.sessions import Stage, complaint, replay

SESSIONS = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("session", SESSIONS, ids=lambda path: path.stem)
def test_the_session_goes_as_written(session, tmp_path, update):
    text = session.read_text()
    real, wrong = replay(text, Stage.set_up(tmp_path))
    if update:
        session.write_text(real)
    else:
        assert not wrong, complaint(wrong)
