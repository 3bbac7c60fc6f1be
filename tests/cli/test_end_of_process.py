"""A command ends its process without freeing each object, unless something else has to run at the end."""

import os
import subprocess
import sys

import pytest

END = "import sys; from templater.cli.run_command_line import end\n"
WATCHED = "class Freed:\n  def __del__(self): print('freed')\nkept = Freed()\n"


def output_of(code: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_command_writes_buffered_output_at_its_end_without_freeing_objects() -> None:
    assert output_of(f"{END}{WATCHED}print('written', end='')\nend(3)") == (3, "written", "")


@pytest.mark.parametrize(
    "before",
    [
        "import atexit; atexit.register(print, 'at exit')",
        "import threading, time; threading.Thread(target=lambda: (time.sleep(0.2), print('at exit'))).start()",
    ],
)
def test_atexit_functions_and_running_threads_finish_before_the_process_ends(before: str) -> None:
    assert output_of(f"{END}{before}\nend(3)") == (3, "at exit\n", "")


def test_a_profiler_prints_its_table_after_a_command() -> None:
    words = [sys.executable, "-m", "cProfile", "-m", "templater", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "function calls" in done.stdout


def test_output_to_a_full_device_fails_like_in_python() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", f"{END}print('lost')\nend(0)"],
            env={**os.environ, "PYTHONUNBUFFERED": ""},
            stdout=full, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    assert done.returncode == 120
    assert b"No space left on device" in done.stderr
