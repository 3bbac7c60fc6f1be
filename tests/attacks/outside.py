"""A root filesystem surrounded by files that must not change."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from templater.model.errors import TemplaterError
from templater.model.plan import Plan
from templater.rootfs.directory_rootfs import DirectoryRootfs
from templater.writing.apply_plan import apply
from tests.rootfs_builders import a_directory, a_plan, opened, snapshot, strays


class Scene:
    """``host`` contains a canary and the attacker's targets; ``top`` is the root filesystem."""

    def __init__(self, folder: Path, mechanism: str = "") -> None:
        self.folder = folder
        self.mechanism = mechanism
        self.host = a_directory(
            folder / "host", {"canary": "untouched", "shadow": "root:secret", "etc/cron.d": None}
        )
        self.top = a_directory(folder / "deep/root", {"etc/hosts": "old", "etc/keep": "kept", "var": None})

    def rootfs(self, **options: bool) -> DirectoryRootfs:
        return opened(self.top, self.mechanism, **options)

    def link(self, path: str, target: str | Path) -> None:
        (self.top / path).symlink_to(target)

    def write(self, files: Mapping[str, str], **fields: object) -> Plan:
        """Plan and apply. Check that nothing outside of the root filesystem has changed."""
        before = snapshot(self.host, times=True)
        with self.rootfs() as rootfs:
            plan = a_plan(files, rootfs, **fields)
            try:
                apply(plan, rootfs)
            finally:
                self.hold(before)
        return plan

    def hold(self, before: dict[str, tuple[object, ...]]) -> None:
        assert snapshot(self.host, times=True) == before
        assert sorted(place.name for place in self.folder.iterdir()) == ["deep", "host"]
        assert [place.name for place in (self.folder / "deep").iterdir()] == ["root"]
        assert strays(self.folder) == []

    def refuses(
        self,
        files: Mapping[str, str],
        kind: type[TemplaterError],
        says: str,
        exit_code: int = 3,
        **fields: object,
    ) -> TemplaterError:
        """Check that `apply` fails with this error.

        Check also that nothing inside or outside the root filesystem has changed.
        """
        inside = snapshot(self.top, times=True)
        with pytest.raises(kind, match=says) as caught:
            self.write(files, **fields)
        assert caught.value.exit_code == exit_code
        assert snapshot(self.top, times=True) == inside
        return caught.value

    def text(self, path: str) -> str:
        return (self.top / path).read_text()


def between(scene: Scene, rootfs: DirectoryRootfs, plan: Plan, act: Callable[[], object]) -> None:
    """Apply a plan after files have changed since the plan was made."""
    act()
    before = snapshot(scene.host, times=True)
    try:
        apply(plan, rootfs)
    finally:
        scene.hold(before)
