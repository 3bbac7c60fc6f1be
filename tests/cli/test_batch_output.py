"""The recap of --instances: which messages it counts."""

import pytest

from templater.batch.fleet import Result
from templater.cli.batch_output import Recap


@pytest.mark.parametrize(("others", "is_counted"), [(999, True), (1000, False)])
def test_the_summary_of_all_instances_counts_at_most_a_thousand_different_messages(
    others, is_counted, capsys
):
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
