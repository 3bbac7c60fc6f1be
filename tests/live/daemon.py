"""A real Incus or LXD from Debian. Each test module starts a daemon in a new mount namespace with cgroup2."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Self

from .harness import CG2, run, umount_below

PRESEED = """\
storage_pools: [{name: default, driver: dir}]
profiles: [{name: default, devices: {root: {path: /, pool: default, type: disk}}}]
"""


class Daemon:
    """A daemon, and a client that uses the daemon's directory.

    ``idmapped_mounts=False`` makes the daemon shift owners on disk, as on kernels without idmapped mounts.
    """

    name: ClassVar[str]
    program: ClassVar[str]
    client: ClassVar[str]
    init: ClassVar[tuple[str, ...]]
    #: the words before the program, which give it a mount namespace of its own
    launcher: ClassVar[tuple[str, ...]] = CG2

    def __init__(self, folder: Path, *, idmapped_mounts: bool = True) -> None:
        self.folder = folder / self.name
        self.folder.mkdir(mode=0o711)
        self.log = folder / f"{self.name}.log"
        self.words = folder / f"{self.name}.stderr"
        prefix = self.name.upper()
        self.environment = {
            **os.environ,
            f"{prefix}_DIR": str(self.folder),
            "HOME": str(folder),
            "LC_ALL": "C",
            **self.variables(),
        }
        if not idmapped_mounts:
            self.environment[f"{prefix}_IDMAPPED_MOUNTS_DISABLE"] = "1"
        with self.words.open("wb") as words:
            self._daemon = subprocess.Popen(
                [*self.launcher, self.program, "--group", "root", "--logfile", str(self.log)],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=words,
                start_new_session=True,
            )

    def variables(self) -> dict[str, str]:
        """Return additional environment variables for the daemon and its client."""
        return {}

    def set_up(self) -> Self:
        run(self.program, "waitready", "--timeout=60", env=self.environment, timeout=90)
        subprocess.run(
            [*self.init, "--preseed"],
            input=PRESEED, text=True, env=self.environment, check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        return self

    def __call__(self, *words: str, code: int | None = 0, timeout: float = 120) -> str:
        """Run a client command, check its exit code, and return its standard output."""
        return run(self.client, *words, code=code, timeout=timeout, env=self.environment).stdout

    def fails(self, *words: str) -> str:
        """Run a client command. Check that the command fails, and return its error output."""
        answer = run(self.client, *words, code=None, env=self.environment, timeout=120)
        assert answer.returncode != 0, answer.stdout
        return answer.stderr

    def json(self, *words: str) -> Any:
        return json.loads(self(*words))

    def image(self, alias: str) -> dict[str, Any]:
        (found,) = (
            image
            for image in self.json("image", "list", "-f", "json")
            if alias in [each["name"] for each in image["aliases"]]
        )
        return found

    def rootfs(self, name: str) -> Path:
        """Return the path of an instance's root filesystem.

        The owners of its files can be shifted. All files are there only while the instance is stopped.
        """
        return self.folder / "storage-pools/default/containers" / name / "rootfs"

    def reason(self) -> str:
        """Return the last line of the daemon's log about a failed start hook.

        The client does not show this line.
        """
        lines = [line for line in self.log.read_text().splitlines() if "start hook failed" in line]
        return lines[-1] if lines else ""

    def death(self, within: float = 0) -> str:
        """Wait for the daemon's death, for at most ``within`` seconds.

        Return the reason of its death, or "" if the daemon is still alive.
        """
        try:
            code = self._daemon.wait(timeout=within)
        except subprocess.TimeoutExpired:
            return ""
        lines = self.words.read_text(errors="replace").splitlines()
        words = "\n".join(line for line in lines if not line.startswith("time="))
        return f"the daemon died (exit code {code}): {words[:2000]}"

    def must_live(self) -> None:
        """Fail if the daemon has died, because its death causes all later failures."""
        death = self.death()
        assert not death, death

    def close(self) -> None:
        try:
            self.must_live()
            self.end_instances()
        finally:
            self.stop()

    def end_instances(self, project: str = "default") -> None:
        """Stop and delete the running instances of a project.

        The test later removes the stopped instances together with the daemon's folder, which is faster.
        """

        def end(name: str) -> None:
            words = ("delete", "-f", name, "--project", project)
            run(self.client, *words, code=None, env=self.environment)

        found = self.json("list", "--project", project, "-f", "json")
        with ThreadPoolExecutor(4) as pool:  # each stop waits for a second
            list(pool.map(end, [each["name"] for each in found if each["status"] != "Stopped"]))

    def stop(self) -> None:
        self._daemon.send_signal(signal.SIGTERM)
        try:
            self._daemon.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            self._daemon.wait()
        self._end_helpers()
        umount_below(self.folder)

    def _end_helpers(self) -> None:
        """Kill the processes that the daemon has left behind.

        For example, its helper `forkfile` can run in an endless loop after the daemon's exit.
        """
        ours = f"{self.name.upper()}_DIR={self.folder}".encode()
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if ours in environ.read_bytes().split(b"\0"):
                    os.kill(int(environ.parent.name), signal.SIGKILL)
