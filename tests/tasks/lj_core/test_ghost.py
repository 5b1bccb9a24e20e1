"""Optimisers that start inside the core, against those of ASE."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.optimize import BFGS, FIRE

from pesbench.tasks.lj_core import ghost, potential
from pesbench.tasks.lj_core.closed_forms import closed_forms


@pytest.mark.parametrize(("ours", "theirs"), [(ghost.bfgs, BFGS), (ghost.fire, FIRE)])
@pytest.mark.parametrize("start", [0.35, 0.55])
def test_each_step_is_that_of_ase(ours, theirs, start):
    atoms = Atoms("Ar2", [[0, 0, 0], [0, 0, start]])
    atoms.calc = LennardJones(epsilon=20, sigma=1, rc=100.0)
    for steps in (1, 2, 3, 7, 20):
        atoms.positions = [[0, 0, 0], [0, 0, start]]
        theirs(atoms, logfile=None).run(fmax=ghost.FORCE_LIMIT, steps=steps)
        found = ours(potential.slope, np.array([start]), most_steps=steps)
        assert found[0] == pytest.approx(atoms.get_distance(0, 1), rel=1e-6)


@pytest.mark.parametrize("run", [ghost.bfgs, ghost.fire])
def test_the_potential_takes_overlapped_atoms_apart(run):
    ends = run(potential.slope, ghost.starts())
    assert ghost.overlapped_share(ends) == 0


@pytest.mark.parametrize("run", [ghost.bfgs, ghost.fire])
def test_a_minimum_in_the_core_holds_them(run):
    ends = run(lambda r: 50 * (r - 0.4), np.array([0.25, 0.41, 0.59]))
    assert ends == pytest.approx(0.4, abs=1.1e-3)
    assert ghost.overlapped_share(ends) == 1


@pytest.mark.parametrize("run", [ghost.bfgs, ghost.fire])
def test_without_a_force_they_stay_and_with_attraction_they_stay_overlapped(run):
    assert run(lambda r: 0 * r, np.array([0.3])) == pytest.approx([0.3])
    ends = run(lambda r: 0.1 / r, ghost.starts())  # E = 0.1 ln r has no minimum
    assert ghost.overlapped_share(ends) == 1


@pytest.mark.parametrize("run", [ghost.bfgs, ghost.fire])
def test_a_run_ends_where_the_force_is_not_finite(run):
    """A hole whose slope overflows holds the atoms as any other does."""
    ends = run(lambda r: np.where(r < 0.15, np.inf, 50.0), np.array([0.1, 0.3, 0.5]))
    assert np.isfinite(ends).all()
    assert ends[0] == 0.1
    assert ghost.overlapped_share(ends) == 1


def test_a_flat_core_holds_all_starts():
    assert set(ghost.ended_overlapped(closed_forms()["constant"][1]).values()) == {1.0}
