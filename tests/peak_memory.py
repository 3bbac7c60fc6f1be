"""The peak of memory of a command, measured in processes of its own."""

import subprocess
import sys

#: Run a command, and print the peak of memory in kB of the largest process among the command and its children. A new
#: process begins with the peak of its parent, so this small program starts the command, and not the test run.
PEAK = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
with open(sys.argv[1], "w") as file:
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=file)
sys.exit(code)
"""


def measured(file, *command: str) -> tuple[subprocess.CompletedProcess[str], int]:
    """Run a command of templater, and return its result and its peak in MB. ``file`` is a new temporary file."""
    run = [sys.executable, "-I", "-c", PEAK, file, sys.executable, "-m", "templater", *map(str, command)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    return done, int(file.read_text()) // 1000
