"""What all tests share: the option that rewrites recordings, the markers, and the rule that CI skips nothing."""

import contextlib
import gc
import importlib
import itertools
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from tests.memory_folders import directory_in_memory

if TYPE_CHECKING:
    from tests.rootfs_builders import Mounts

MARKERS = {
    "live": "starts a real container runtime or daemon",
    "law": "measures how time and memory grow; needs a quiet machine",
    "in_memory": "has its folder tmp_path in memory, if that is possible",
    "slow": "takes more than a second or two; not part of the default run",
}

NUMBERS = itertools.count()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="rewrite goldens and sessions; review the diff")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Start a worker more than there are processors: tests also wait, for processes and for the disk."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Use one process to rewrite recordings: several tests write into the same page."""
    if config.getoption("--update"):
        config.option.numprocesses = 0
        config.option.dist = "no"


def pytest_configure(config: pytest.Config) -> None:
    # Hooks and thousands of started processes store what they have compiled.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    fast = "not slow" in config.getoption("markexpr")
    # Under load, drawing values can take long.
    slow = [HealthCheck.too_slow]
    settings.register_profile("templater", max_examples=20 if fast else 250, suppress_health_check=slow)
    settings.load_profile("templater")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Hide the objects of all collected tests from the garbage collector, which would visit them often."""
    gc.disable()
    try:
        import_share(session.config)
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def import_share(config: pytest.Config) -> None:
    """Import this worker's share of all test files first.

    In a new clone no test file is compiled, and pytest takes ten seconds to compile them. Each worker then compiles a
    part of the files, and finds the others compiled. So parameters must not depend on the order of imports.
    """
    worker = getattr(config, "workerinput", None)
    if worker and config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        files = sorted(Path(__file__).parent.rglob("test_*.py"))
        for file in files[int(worker["workerid"].removeprefix("gw")) :: worker["workercount"]]:
            # collecting the file reports the error
            with contextlib.suppress(Exception, pytest.skip.Exception, pytest.fail.Exception):
                importlib.import_module(".".join(file.relative_to(config.rootpath).with_suffix("").parts))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything that measures growth."""
    for item in items:
        laws = item.path.parent.name == "laws" and item.path.name != "test_lists.py"
        if laws or item.path.name == "test_growth.py":
            item.add_marker("law")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a skipped test in CI, which has every tool that the tests need.

    Elsewhere a test that the machine can't run is skipped with its reason.
    """
    report = yield
    skipped = report.skipped and isinstance(report.longrepr, tuple)  # an xfail has no such tuple
    if skipped and os.environ.get("CI") and "recorded with" not in report.longrepr[2]:
        report.outcome = "failed"
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    """Let pytest remove old temporary directories, in which some tests have made very deep trees."""
    sys.setrecursionlimit(200_000)  # before Python 3.13, shutil.rmtree calls itself for each level


@pytest.fixture
def update(request: pytest.FixtureRequest) -> bool:
    """Whether recordings are being rewritten."""
    return bool(request.config.getoption("--update"))


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder. pytest's own fixture takes half a millisecond, ten times as long."""
    name = re.sub(r"\W", "_", request.node.name)[:30]
    if request.node.get_closest_marker("in_memory") and (memory := directory_in_memory()):
        path = Path(tempfile.mkdtemp(prefix="templater-tests-", dir=memory))
        request.addfinalizer(lambda: shutil.rmtree(path))
        return path
    path = tmp_path_factory.getbasetemp() / f"{name}{next(NUMBERS)}"
    path.mkdir(0o700)
    return path


@pytest.fixture
def mounts() -> "Iterator[Mounts]":
    """Mounts that are removed after the test; needs root."""
    from tests.rootfs_builders import Mounts

    made = Mounts()
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def restored_process() -> Iterator[None]:
    """Restore what a hook changes in its own process: signal handlers, the umask and resource limits."""
    before = process_state()
    yield
    restore_process(before)


@pytest.fixture(autouse=True)
def unchanged_process() -> Iterator[None]:
    """Fail a test that changes the process for the tests after it, and undo the change.

    A memory limit that one test leaves behind makes unrelated tests fail in the same worker.
    """
    before = process_state()
    yield
    after = process_state()
    if after != before:
        restore_process(before)
        changed = [name for name in before if before[name] != after[name]]
        pytest.fail(f"the test changed its process: {', '.join(changed)} (see the fixture restored_process)")


SIGNALS = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU, signal.SIGALRM, signal.SIGPROF,
    signal.SIGCHLD,
)  # fmt: skip
LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]


def process_state() -> dict[str, Any]:
    umask = os.umask(0o022)
    os.umask(umask)
    return {
        "resource limits": {number: resource.getrlimit(number) for number in LIMITS},
        "signal handlers": {number: signal.getsignal(number) for number in SIGNALS},
        "signal mask": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "umask": umask,
        "directory": os.getcwd(),
    }


def restore_process(state: dict[str, Any]) -> None:
    for number, limit in state["resource limits"].items():
        if resource.getrlimit(number) != limit:
            resource.setrlimit(number, limit)
    for number, handler in state["signal handlers"].items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, state["signal mask"])
    os.umask(state["umask"])
    os.chdir(state["directory"])
