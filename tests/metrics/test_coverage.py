"""The entry threshold: which models take part in what models share."""

import numpy as np
import pytest

from pesbench.core.section import ENTRY_COVERAGE
from pesbench.metrics.coverage import lost_by, ranks_with_and_without, why_left_out


@pytest.mark.parametrize(
    ("found", "planned", "least", "enters"),
    [
        (54, 54, 1.0, True),
        (53, 54, 1.0, False),
        (49, 54, 0.9, True),  # 48.6 are needed
        (48, 54, 0.9, False),
        (9, 10, 0.9, True),  # the threshold itself is enough
        (7, 10, 0.7, True),  # 0.7 * 10 is more than 7 in floating point
        (1, 54, 0.0, True),
        (0, 54, 0.0, False),  # nothing to compare
        (0, 0, 0.9, False),
    ],
)
def test_a_model_enters_from_the_threshold_on(found, planned, least, enters):
    assert (why_left_out(found, planned, least) == "") is enters


def test_the_reason_names_the_numbers_and_the_threshold():
    assert why_left_out(48, 54) == "48 of 54 scans scored, below the entry threshold of 90 %"
    assert why_left_out(1, 3, 0.345, "scans with energy_mae") == (
        "1 of 3 scans with energy_mae, below the entry threshold of 34.5 %"
    )
    assert why_left_out(0, 8) == "0 of 8 scans scored"
    assert ENTRY_COVERAGE == 0.9


# models a, b, c, d on six scans; d takes no part
NAN = np.nan
VALUES = np.array(
    [
        [1.0, 1.0, 1.0, 1.0, 9.0, NAN],
        [2.0, 2.0, 2.0, 2.0, 2.0, NAN],
        [3.0, 3.0, 3.0, 3.0, NAN, 3.0],
        [0.0, NAN, NAN, 0.0, 0.0, NAN],
    ]
)
ENTERS = np.array([True, True, True, False])


def test_a_scan_is_lost_by_a_model_that_alone_lacks_it():
    """c costs scan 4; a and b both lack scan 5; d would cost scans 1 and 2."""
    assert lost_by(np.isfinite(VALUES), ENTERS).tolist() == [0, 0, 1, 2]
    everyone = np.ones(4, dtype=bool)
    assert lost_by(np.isfinite(VALUES), everyone).tolist() == [0, 0, 1, 2]
    assert lost_by(np.isfinite(VALUES[:1]), np.array([True])).tolist() == [1]
    assert lost_by(np.empty((0, 0), dtype=bool), np.empty(0, dtype=bool)).tolist() == []


def test_a_rank_changes_with_a_model_that_costs_the_scan_that_decides():
    """With c, scan 4 is not shared, and a is better than b; without c, b is the better one."""
    with_other, without_other = ranks_with_and_without(VALUES, ENTERS)
    assert with_other[2].tolist() == [1, 2, 0, 0]
    assert without_other[2].tolist() == [2, 1, 0, 0]
    changed = with_other != without_other
    assert not changed[[0, 1, 3]].any()  # d would take scans that decide nothing
    assert with_other[3].tolist() == [1, 2, 3, 0]
    assert (with_other[0, 0], with_other[0, 1], with_other[0, 2]) == (0, 1, 2)


def test_models_with_all_scans_change_no_order_of_the_others():
    values = np.random.default_rng(0).random((6, 40))
    with_other, without_other = ranks_with_and_without(values, np.ones(6, dtype=bool))
    np.testing.assert_array_equal(with_other, without_other)
    assert (np.sort(with_other, axis=1)[:, 1:] == np.arange(1, 6)).all()


def test_where_a_model_takes_the_last_scan_there_is_no_rank_with_it():
    values = np.array([[1.0, 2.0, NAN], [2.0, 1.0, NAN], [NAN, NAN, 1.0]])
    with_other, without_other = ranks_with_and_without(values, np.array([True, True, False]))
    assert with_other[2].tolist() == [0, 0, 0]
    assert without_other[2].tolist() == [1, 1, 0]  # equal means share the better rank


def test_a_model_without_any_number_changes_no_rank():
    """It cannot take part, so that nobody would share less with it."""
    values = np.array([[1.0, 2.0, 3.0], [2.0, 1.0, 9.0], [NAN, NAN, NAN]])
    with_other, without_other = ranks_with_and_without(values, np.array([True, True, False]))
    assert with_other[2].tolist() == without_other[2].tolist() == [1, 2, 0]
