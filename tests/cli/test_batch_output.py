"""The last lines of a command with --instances: numbers of messages, instances and files."""

import pytest

from templater.batch.plan_instances import Result
from templater.cli.batch_output import Recap


@pytest.mark.parametrize(("others", "is_counted"), [(999, True), (1000, False)])
def test_at_most_1000_different_messages_are_counted_for_summary(others, is_counted, capsys):
    recap = Recap(patches=False, exit_code=False)
    for number in range(others):
        recap.add(Result(f"c{number}", "", 5, 1, errors=(f"error {number}",)))
    for name in ("late1", "late2"):
        recap.add(Result(name, "", 5, 1, errors=("a frequent error",)))
    recap.report()
    shown = capsys.readouterr().err.splitlines()
    assert ("2 x (first: late1): a frequent error" in shown) == is_counted
    assert (
        len(shown) == 11 and shown[-1] == f"{others + 2} instances, {others + 2} files, {others + 2} failing"
    )


@pytest.mark.parametrize(("exit_code", "code"), [(False, 0), (True, 1)])
def test_patch_summary_has_numbers_of_changed_and_skipped_instances(exit_code, code, capsys):
    recap = Recap(patches=True, exit_code=exit_code)
    recap.add(Result("same", "", 0, 0))
    assert recap.code == 0
    recap.add(Result("a", "patch", 0, 3, notes=("assumed\n",)))
    assert recap.code == code
    recap.add(Result("b", "text", 0, 0, notes=("other", "assumed\n"), skipped="running"))
    recap.add(Result("c", "", 0, 0, skipped="running"))
    recap.add(Result("d", "", 0, 0, skipped="copied"))
    recap.report()
    assert capsys.readouterr().err.splitlines() == [
        "2 x (first: a): note: assumed\\n",
        "1 x (first: b): note: other",
        "1 of 5 would change, 2 running, 1 copied",
    ]


def test_batch_has_highest_exit_code_and_total_file_count(capsys):
    recap = Recap(patches=False, exit_code=True)
    for code in (0, 5, 2):
        recap.add(Result(f"c{code}", "text", code, 2))
    assert recap.code == 5
    recap.report()
    assert capsys.readouterr().err == "3 instances, 6 files, 2 failing\n"
