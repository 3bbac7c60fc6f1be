"""A plugin that lets pytest run the tests of images: ``pytest -p templater.pytest``.

The plugin collects test files in a folder `tests` beside an image or a definition, as `templater test` does.
In a project without images, pytest imports no other module of templater.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .testing.case import Case, Outcome
    from .testing.run_tests import Session


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a test file of an image, or of a definition ``NAME.yaml``."""
    folder = file_path.parent
    if file_path.suffix not in (".yaml", ".yml") or "tests" not in (folder.name, folder.parent.name):
        return None
    beside = folder.parent if folder.name == "tests" else folder.parent.parent
    if not (beside / "metadata.yaml").is_file() and not any(beside.glob("*.y*ml")):
        return None
    from .testing.tests_folder import source_of

    source = source_of(str(file_path))
    return None if source is None else ImageTests.from_parent(parent, path=file_path, source=source)


class ImageTests(pytest.File):
    """A test file of the image or definition ``source``."""

    def __init__(self, *, source: str, **others: Any) -> None:
        super().__init__(**others)
        self.source = source
        self.session_of_image: Session | None = None

    def collect(self) -> Iterator[ImageTest]:
        from .model.errors import TemplaterError
        from .testing.read_tests import read_file
        from .testing.tests_folder import Folder

        try:
            cases = read_file(Folder(str(self.path.parent)), self.path.name)
        except TemplaterError as error:
            raise self.CollectError(error.explain()) from None
        for case in cases:
            yield ImageTest.from_parent(self, name=case.title, case=case)

    def run(self, case: Case) -> Outcome:
        if self.session_of_image is None:
            from .limit_option import Given
            from .testing.run_tests import Session
            from .testing.tests_folder import Folder
            from .validators.runner import in_this_process

            self.session_of_image = Session(
                self.source, Folder(str(self.path.parent)), Given(), validators=in_this_process(anyway=False)
            )
            self.addfinalizer(self.close)
        return self.session_of_image.run_case(case)

    def close(self) -> None:
        if self.session_of_image is not None:
            self.session_of_image.__exit__()
            self.session_of_image = None


class CaseFailed(Exception):
    """Raised for a case that has failures."""


class ImageTest(pytest.Item):
    """One case of a test file."""

    def __init__(self, *, case: Case, **others: Any) -> None:
        super().__init__(**others)
        self.case = case

    def runtest(self) -> None:
        from .model.errors import TemplaterError
        from .testing.reports import failure_data, failure_lines

        assert isinstance(self.parent, ImageTests)
        try:
            outcome = self.parent.run(self.case)
        except TemplaterError as error:
            raise CaseFailed(error.explain()) from None
        lines = [line for each in outcome.failures for line in failure_lines(failure_data(each))]
        if lines:
            raise CaseFailed("\n".join(lines))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, CaseFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.case.span.line - 1, self.name
