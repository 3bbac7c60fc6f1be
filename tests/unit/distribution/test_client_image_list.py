"""Dates of catalogs, as the clients read them."""

from datetime import date

import pytest

from templater.distribution.client_image_list import day


@pytest.mark.parametrize(
    ("text", "layout", "found"),
    [
        ("2026-01-31", "%Y-%m-%d", (2026, 1, 31)),
        ("20260131", "%Y%m%d", (2026, 1, 31)),
        ("2024-02-29", "%Y-%m-%d", (2024, 2, 29)),
        ("2026-02-29", "%Y-%m-%d", None),
        ("20261301", "%Y%m%d", None),
        ("20260100", "%Y%m%d", None),
        ("2026-1-31", "%Y-%m-%d", None),
        ("2026-01-311", "%Y-%m-%d", None),
        ("20-2601-31", "%Y-%m-%d", None),
        ("2026-0131-", "%Y-%m-%d", None),
        ("20260-1-31", "%Y-%m-%d", None),
        ("20260131", "%Y-%m-%d", None),
        ("2026-01-31", "%Y%m%d", None),
        ("202601311", "%Y%m%d", None),
        ("2026013", "%Y%m%d", None),
        ("2026013x", "%Y%m%d", None),
        ("+2026013", "%Y%m%d", None),
        ("2026 131", "%Y%m%d", None),
        ("٢٠٢٦٠١٣١", "%Y%m%d", None),
        ("2026-01-3²", "%Y-%m-%d", None),
        ("", "%Y%m%d", None),
        ("", "%Y-%m-%d", None),
    ],
)
def test_a_date_of_a_catalog_is_read_as_strictly_as_in_the_go_language(text, layout, found):
    assert day(text, layout) == (found and date(*found))
