"""Image directories with tests, and runs of these tests."""

from collections.abc import Mapping
from pathlib import Path

from templater.limit_option import Given
from templater.testing.case import Outcome
from templater.testing.read_tests import read_cases
from templater.testing.run_tests import Session
from templater.testing.tests_folder import Folder, folder_of

TEMPLATE = "{{ instance.name }}\n"


def an_image(
    path: Path, tests: str | Mapping[str, str], *, rules: str = "", templates: Mapping[str, str] | None = None
) -> Path:
    """Write an image with a rule for /etc/hostname, and its tests: the text of one file, or files by name."""
    rules = rules or "  /etc/hostname: {when: [create, copy], template: hostname.tpl}\n"
    (path / "templates").mkdir(parents=True)
    (path / "metadata.yaml").write_text(
        f"architecture: x86_64\ncreation_date: 1\nproperties: {{os: debian}}\ntemplates:\n{rules}"
    )
    for name, text in (templates or {"hostname.tpl": TEMPLATE}).items():
        (path / "templates" / name).write_text(text)
    for name, text in ({"a.yaml": tests} if isinstance(tests, str) else tests).items():
        file = path / "tests" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return path


def run(source: Path | str, folder: str | None = None, *, update: bool = False) -> list[Outcome]:
    tests = Folder(folder or folder_of(str(source)))
    with Session(str(source), tests, Given(), update=update) as session:
        outcomes = session.run(read_cases(tests))
        if update:
            session.save(complete=True)
        return outcomes


def failures(source: Path | str, folder: str | None = None, *, update: bool = False) -> list[str]:
    """Run the tests of an image, and return the line, column and message of each failure."""
    return [
        f"{failure.span.line}:{failure.span.column}: {failure.message}"
        for outcome in run(source, folder, update=update)
        for failure in outcome.failures
    ]
