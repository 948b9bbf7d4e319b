"""No row without a test or a reason, no reason where there is a test, and no marker without a row."""

import pytest

from tests.reliability.rows import marked, rows

ROWS = rows()
MARKED = list(marked())


@pytest.mark.parametrize("kind", ROWS)
def test_every_row_is_shown_by_a_test_or_says_why_not(kind: str) -> None:
    shown = {number for of, number, _ in MARKED if of == kind}
    assert [row.number for row in ROWS[kind] if row.number not in shown and not row.not_done] == []
    assert [row.number for row in ROWS[kind] if row.number in shown and row.not_done] == []


@pytest.mark.parametrize("kind", ROWS)
def test_every_marker_names_a_row(kind: str) -> None:
    numbers = [row.number for row in ROWS[kind]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert [(test, number) for of, number, test in MARKED if of == kind and number not in numbers] == []
