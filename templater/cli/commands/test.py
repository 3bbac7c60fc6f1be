"""``templater test``: run the tests that belong to an image."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ...definitions.choice import Choice
from ...model.errors import LimitError, TemplaterError
from ...model.unprintable_characters import printable
from .. import completers, options, output
from ..enforce_limits import guarded, many
from ..fetched_source import local_source
from .check import explained, local_validators

if TYPE_CHECKING:
    from ...limit_option import Given

HELP = """Run the tests of the image SRC.

A test compares the rendered files with expectations. Tests are the files tests/*.yaml beside metadata.yaml.
The tests of a definition DIR/NAME.yaml are in the folder DIR/tests/NAME or DIR/tests. The exit code is 1 if a
test fails.

If there are several SRC, the command lists the images without tests.

\b
Examples:
  templater test ./image
  templater test ./image -k network    only tests with "network" in the name
  templater test ./image --update      record the snapshots again
  templater test images/*/ --report junit > tests.xml
  templater test debian.yaml -o image.release=trixie --rootfs ./unpacked
  templater test image.tar.xz --tests ./image/tests
"""
REPORTS = ("text", "json", "junit", "tap")


@click.command(help=HELP)
@click.argument("sources", metavar="SRC...", nargs=-1, required=True, shell_complete=completers.source)
@click.option("-k", "--only", metavar="TEXT", help="Run only tests whose file or name contains TEXT.")
@click.option(
    "--tests", "folder", metavar="DIR", shell_complete=completers.files,
    help="Folder of the tests. [default: tests beside SRC]",
)  # fmt: skip
@click.option("--update", is_flag=True, help="Record the snapshots again, and remove unused ones.")
@click.option("--coverage", is_flag=True, help="Show the parts of the templates that no test reaches.")
@click.option(
    "--min-coverage", metavar="PERCENT", type=click.FloatRange(0, 100),
    help="Fail if tests reach less than PERCENT of an image's branches. Implies --coverage.",
)  # fmt: skip
@click.option("--report", type=click.Choice(REPORTS), help="Report format. [default: text]")
@click.option("-v", "--verbose", is_flag=True, help="Also list the tests that pass.")
@click.option(
    "--run-validators/--no-run-validators", default=None, envvar="TEMPLATER_RUN_VALIDATORS",
    help="Run programs such as visudo even without a sandbox, or never run them."
    " [default: only in a sandbox]",
)  # fmt: skip
@options.parameter_option
@click.option(
    "--rootfs", metavar="DIR|none", shell_complete=completers.files,
    help="Root filesystem for tests that do not set 'rootfs'. If SRC is a definition: the root filesystem"
    " that its build unpacks.  [default: SRC's own]",
)  # fmt: skip
@options.limit_option()
@click.option("--json", "as_json", is_flag=True, help="Short for --report json.")
@partial(guarded, images=many)
def command(
    sources: tuple[str, ...],
    only: str | None,
    folder: str | None,
    update: bool,
    coverage: bool,
    min_coverage: float | None,
    report: str | None,
    verbose: bool,
    run_validators: bool | None,
    parameters: tuple[str, ...],
    rootfs: str | None,
    limits: Given,
    as_json: bool,
) -> int:
    from ...testing import reports
    from ...testing.read_tests import read_cases
    from ...testing.run_tests import Session
    from ...testing.tests_folder import Folder, NoTestsError, folder_of

    if as_json and report not in (None, "json"):
        raise click.UsageError(f"--json and --report {report} contradict each other")
    if folder is not None and len(sources) > 1:
        raise click.UsageError("--tests can't be combined with several SRC")
    report = "json" if as_json else report or "text"

    def run(source: str) -> dict[str, Any]:
        local = local_source(source.rstrip("/") or source)
        tests = Folder(folder if folder is not None else folder_of(options.existing(local)))
        cases = read_cases(tests, lambda case: only is None or only in f"{case.file} {case.title}")
        choice = Choice(parameters, rootfs=rootfs)
        with Session(
            local, tests, limits, choice=choice, validators=local_validators(run_validators), update=update,
            coverage=coverage or min_coverage is not None,
        ) as session:  # fmt: skip
            outcomes = session.run(cases)
            written = session.save(complete=only is None) if update else []
            if only is None and not update and (unused := session.unused()):
                output.note(f"{printable(tests.path)}: no test uses the snapshot '{printable(unused[0])}'")
        for note in session.notes:
            output.note(note)
        reached = {} if session.coverage is None else {"coverage": session.coverage.report()}
        return {
            "image": source.rstrip("/"), "cases": [reports.case_data(each) for each in outcomes],
            "updated": written, **reached,
        }  # fmt: skip

    found: list[dict[str, Any]] = []
    errors: list[TemplaterError] = []
    untested: list[NoTestsError] = []
    for source in dict.fromkeys(sources):
        try:
            found.append(run(source))
        except NoTestsError as error:
            if min_coverage is not None:
                errors.append(error)
            untested.append(error)
        except TemplaterError as error:
            if len(sources) == 1 or isinstance(error, LimitError):
                raise
            errors.append(error)
            found.append({"image": source, "error": explained(error), "cases": [], "updated": []})
    if not found and not errors:
        raise untested[0]
    for missing in untested:
        if missing not in errors:
            output.note(missing.message)
    if only is not None and not errors and not any(each["cases"] for each in found):
        raise click.UsageError(f"no test or test file has '{printable(only)}' in its name")
    if report == "json":
        output.write_json(found)
    elif report == "junit":
        output.write(reports.junit(found))
    elif report == "tap":
        output.write(reports.tap(found))
    else:
        output.write("".join(reports.text(each, verbose=verbose) for each in found if "error" not in each))
    for report_of_image in found:
        for name in report_of_image["updated"]:
            output.say(f"{report_of_image['image']}: {name}")
    for each in errors:
        output.say(f"templater: {explained(each)}")
    if errors:
        return errors[0].exit_code
    failed = any(not case["passed"] for each in found for case in each["cases"])
    return int(failed or (min_coverage is not None and too_few_branches(found, min_coverage)))


def too_few_branches(found: list[dict[str, Any]], least: float) -> bool:
    """Return whether any image's tests reach less than ``least`` percent of the image's branches.

    Print a message for each such image.
    """
    from ...testing.coverage import percent

    low = [report for report in found if percent(report["coverage"]) < least]
    for report in low:
        reached = percent(report["coverage"])
        output.say(
            f"{report['image']}: the tests reach {reached:.1f} % of the branches, less than {least:g} %"
        )
    return bool(low)
