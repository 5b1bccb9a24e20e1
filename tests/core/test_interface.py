"""What a model answers, checked."""

from __future__ import annotations

import numpy as np
import pytest

from pesbench.core.interface import Batch, Result, Status, check_result, molecules_batch


@pytest.fixture
def batch() -> Batch:
    positions = [np.eye(3), np.eye(3)[:2], np.eye(3)[:1]]
    return molecules_batch(positions, [np.ones(len(one)) for one in positions], [0] * 3, [1] * 3)


def test_a_result_of_which_every_system_is_ok(batch: Batch) -> None:
    result = Result.ok(np.array([[1.0], [2.0], [3.0]]), np.zeros((6, 3)))
    assert result.energies is not None
    assert result.energies.tolist() == [1, 2, 3]
    assert result.status == (Status.OK,) * 3
    assert result.messages == ("",) * 3
    assert check_result(batch, result).status == result.status


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("positions", "a position is not finite"),
        ("forces", "energy or force is not finite"),
        ("energies", "energy or force is not finite"),
    ],
)
def test_a_system_with_a_value_that_is_not_finite_is_not_ok(
    batch: Batch, where: str, said: str, value: float
) -> None:
    result = Result.ok(np.zeros(3), np.zeros((6, 3)))
    if where == "energies":
        result.energies[1] = value
    else:
        (batch.positions if where == "positions" else result.forces)[4, 2] = value
    checked = check_result(batch, result)
    assert checked.status == (Status.OK, Status.NONFINITE, Status.OK)
    assert checked.messages == ("", said, "")


def test_the_position_is_told_where_it_is_the_cause(batch: Batch) -> None:
    batch.positions[0, 0] = np.nan
    checked = check_result(batch, Result.ok(np.full(3, np.nan), np.zeros((6, 3))))
    assert checked.messages == ("a position is not finite", *["energy or force is not finite"] * 2)


def test_another_status_stays(batch: Batch) -> None:
    batch.positions[:] = np.nan
    failed = (Status.ERROR, Status.MASKED, Status.OK)
    result = Result(np.zeros(3), np.zeros((6, 3)), failed, ("told", "", ""))
    checked = check_result(batch, result)
    assert checked.status == (Status.ERROR, Status.MASKED, Status.NONFINITE)
    assert checked.messages[0] == "told"
