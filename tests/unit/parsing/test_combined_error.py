"""One error for several mistakes."""

import pytest

from templater.model.errors import InputError
from templater.parsing.combined_error import MOST_NOTES, raise_all


@pytest.mark.parametrize(
    ("count", "last"),
    [
        (1, None),
        (2, "also: 1"),
        (MOST_NOTES + 1, f"also: {MOST_NOTES}"),
        (MOST_NOTES + 2, "and 1 more mistakes"),
        (MOST_NOTES + 10, "and 9 more mistakes"),
    ],
)
def test_an_error_has_notes_about_a_limited_number_of_further_mistakes(count, last):
    with pytest.raises(InputError) as raised:
        raise_all([InputError("0", notes=("own",)), *(InputError(str(number)) for number in range(1, count))])
    own, *notes = raised.value.notes
    assert (raised.value.message, own) == ("0", "own")
    assert notes == [f"also: {number}" for number in range(1, min(count - 1, MOST_NOTES) + 1)] + (
        [last] if count > MOST_NOTES + 1 else []
    )
    assert (notes[-1] if notes else None) == last


def test_no_error_is_raised_if_a_file_has_no_mistakes():
    raise_all([])
