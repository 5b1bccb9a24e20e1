"""The entry threshold: which models take part in what models share."""

import pytest

from pesbench.metrics.coverage import ENTRY_COVERAGE, why_left_out


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
