"""A pytest plugin that records which lines of the program each test runs.

    TEMPLATER_COVERAGE_MAP=map.jsonl python -m pytest -n 0 -p tests.mutation.coverage_map

The file ``map.jsonl`` gets a JSON object in one line for each test:

* the name of the test
* whether the test starts other processes
* for each file of the program, the numbers of the lines that the test runs

The numbers do not include lines that run in other processes. The plugin needs Python 3.12.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest

ROOT = str(Path(__file__).parents[2]) + os.sep
PACKAGE = ROOT + "templater" + os.sep
STARTS = frozenset(("subprocess.Popen", "os.fork", "os.posix_spawn", "os.exec", "os.forkpty"))

#: of the test that runs now
lines: dict[str, list[int]] = {}
events: set[str] = set()


def on_line(code: CodeType, number: int) -> object:
    if code.co_filename.startswith(PACKAGE):
        lines.setdefault(code.co_filename, []).append(number)
    return sys.monitoring.DISABLE


def on_event(event: str, arguments: tuple[object, ...]) -> None:
    events.add(event)


def pytest_configure() -> None:
    sys.monitoring.use_tool_id(sys.monitoring.COVERAGE_ID, "mutation")
    sys.monitoring.register_callback(sys.monitoring.COVERAGE_ID, sys.monitoring.events.LINE, on_line)
    sys.monitoring.set_events(sys.monitoring.COVERAGE_ID, sys.monitoring.events.LINE)
    sys.addaudithook(on_event)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    lines.clear()
    events.clear()
    sys.monitoring.restart_events()  # each test reports each of its lines once
    result = yield
    found = {name.removeprefix(ROOT): numbers for name, numbers in lines.items()}
    with open(os.environ["TEMPLATER_COVERAGE_MAP"], "a", encoding="utf-8") as file:
        file.write(json.dumps({"test": item.nodeid, "starts": bool(events & STARTS), "lines": found}) + "\n")
    return result
