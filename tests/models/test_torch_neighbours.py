"""Neighbours in all molecules of a batch against a loop over pairs."""

from __future__ import annotations

import itertools

import pytest
import torch

from pesbench.models.torch_neighbours import neighbours


@pytest.mark.parametrize("sizes", [(3, 1, 5, 2), (1,), (4,)])
@pytest.mark.parametrize("cutoff", [0.5, 1.7, 100.0])
def test_pairs_of_each_molecule_within_the_cutoff(sizes, cutoff):
    torch.manual_seed(0)
    system = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    positions = 3 * torch.rand(sum(sizes), 3, dtype=torch.float64)
    wanted = [
        (i, j)
        for i, j in itertools.permutations(range(len(system)), 2)
        if system[i] == system[j] and (positions[i] - positions[j]).norm() <= cutoff
    ]
    found = neighbours(positions, system, cutoff)
    assert found.shape == (2, len(wanted))
    assert [tuple(pair) for pair in found.T.tolist()] == sorted(wanted)


def test_a_distance_that_is_not_a_number_counts_as_near():
    positions = torch.tensor([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0], [torch.nan, 0.0, 0.0]])
    found = neighbours(positions, torch.zeros(3, dtype=torch.int64), 1.0)
    assert found.T.tolist() == [[0, 2], [1, 2], [2, 0], [2, 1]]
