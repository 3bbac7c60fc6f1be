"""Limits on processor time count only the thread that renders."""

import threading
import time

import pytest

from templater.model.errors import LimitError
from templater.pongo2 import compile as compile_template
from templater.pongo2.render_state import Limits, Render, check_time


def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@pytest.mark.slow
@pytest.mark.parametrize("limits", [Limits(seconds=0.2), Limits(total=0.2)])
def test_another_thread_does_not_use_up_the_render_time(limits):
    """Two slow renders at once failed, although each was within the limit."""
    program = compile_template("{{ a }}").program
    render = Render(program, {}, None, None, limits.begun())
    other = threading.Thread(target=burn, args=(0.4,))
    other.start()
    other.join()
    check_time(render)
    burn(0.3)
    with pytest.raises(LimitError):
        check_time(render)
