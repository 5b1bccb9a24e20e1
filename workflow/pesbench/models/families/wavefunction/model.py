"""Adapter of family `wavefunction`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from ase.units import Bohr, Hartree
from numpy.typing import NDArray

from pesbench.core.errors import UserError
from pesbench.core.interface import Batch, ModelInfo
from pesbench.models.families.wavefunction.archive import States, read_states
from pesbench.models.families.wavefunction.exchanges import (
    CLEARLY,
    fits,
    shortest_tree,
    tree_to_match,
)
from pesbench.models.families.wavefunction.interpolated import Interpolation
from pesbench.models.families.wavefunction.kernel import GaussianProcess
from pesbench.models.families.wavefunction.orbitals import turns_with_the_molecule
from pesbench.models.families.wavefunction.supported import (
    ENERGIES,
    STATES,
    check_state,
    formula_of,
)
from pesbench.models.frame_by_frame import FrameByFrame, UnsupportedError
from pesbench.models.weights import Weights


class WavefunctionModel(FrameByFrame):
    """What the states of a weight file say, or their energies.

    Args:
        molecules: The states, one an elemental composition.
        settings: `interpolates` and `calculations` of the entry.
        details: For the provenance.
        in_order: Like atoms come in the order of the training: it is not looked for.

    Raises:
        UnsupportedError: states whose energy would change with an exchange or a mirror.
    """

    def __init__(
        self,
        molecules: Sequence[States],
        settings: Mapping[str, Any],
        details: Mapping[str, Any],
        in_order: bool = False,
    ) -> None:
        self._details = dict(details)
        self._known: dict[tuple[int, ...], _Interpolated] = {
            tuple(sorted(one.numbers)): _Interpolated(one, settings, in_order) for one in molecules
        }

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            elements=frozenset(z for numbers in self._known for z in numbers),
            charges=False,
            batched=False,
            device="cpu",
            dtype="float64",
            details=self._details,
        )

    def single(self, system: Batch) -> tuple[float, NDArray[np.float64]]:
        """Energy in eV and forces in eV/Å of a batch of one system.

        Raises:
            UnsupportedError: the file has no states of this molecule, or the order of its like
                atoms is not clear.
            ValueError: the geometry has no orientation, or atoms are too close.
        """
        check_state(system)
        numbers = tuple(system.numbers.tolist())
        found = self._known.get(tuple(sorted(numbers)))
        if found is None:
            known = ", ".join(formula_of(numbers) for numbers in self._known)
            raise UnsupportedError(f"no states of {formula_of(numbers)}; the weights have {known}")
        return found.evaluate(system)


class _Interpolated:
    """One molecule of a weight file."""

    def __init__(self, states: States, settings: Mapping[str, Any], in_order: bool) -> None:
        used = settings.get("calculations")
        self._numbers = states.numbers
        turns = turns_with_the_molecule(states.numbers, states.basis)
        tree = tree_to_match(states.numbers, turns, states.positions, states.images)
        self._tree = None if in_order else tree
        self._process = self._states = None
        if settings.get("interpolates") == ENERGIES:
            some = slice(used and used * states.images)
            self._process = GaussianProcess(
                states.positions[some], states.energies[some], states.forces[some]
            )
        else:
            self._states = Interpolation(states, used)

    def evaluate(self, system: Batch) -> tuple[float, NDArray[np.float64]]:
        order = self._order(system)
        positions = system.positions[order]
        forces = np.empty_like(positions)
        if self._process is not None:
            energy, forces[order] = self._process.evaluate(positions)
            return energy, forces
        assert self._states is not None
        energy, gradient = self._states.evaluate(positions / Bohr)
        forces[order] = -gradient * (Hartree / Bohr)
        return energy * Hartree, forces

    def _order(self, system: Batch) -> NDArray[np.intp]:
        """The atoms in the order of the training.

        Raises:
            UnsupportedError: it is not clear.
        """
        if self._tree is None:  # like atoms stay in the order that they have
            there = np.argsort(np.argsort(self._numbers, kind="stable"), kind="stable")
            return np.argsort(system.numbers, kind="stable")[there]
        tree = shortest_tree(system.positions)
        found = tree and fits(self._numbers, self._tree, system.numbers.tolist(), tree)
        if not found:
            raise UnsupportedError(
                f"{formula_of(self._numbers)}: the order of its like atoms is not clear, because "
                + (
                    "its shortest bonds are not those of the training"
                    if tree
                    else f"its bonds are not at least {100 - 100 * CLEARLY:.0f} % shorter than "
                    "other distances that could replace them"
                )
            )
        return np.array(found[0])  # all others have the same energy


def load_wavefunction(settings: Mapping[str, Any], weights: Weights) -> WavefunctionModel:
    """The model of an entry.

    Args:
        settings: Keys of the entry.
        weights: Content of its weight file.

    Raises:
        UserError: the file holds something else, or a molecule twice.
    """
    molecules = read_states(weights)
    compositions = [tuple(sorted(one.numbers)) for one in molecules]
    if len(set(compositions)) < len(compositions) or not compositions:
        raise UserError(f"{weights.path}: holds a molecule twice, or none; {weights.cure}")
    details = {
        "weights_sha256": weights.sha256,
        "pyscf": version("pyscf"),
        "interpolates": settings.get("interpolates", STATES),
        "calculations": {
            formula_of(one.numbers): min(
                settings.get("calculations") or len(one.ranks), len(one.ranks)
            )
            for one in molecules
        },
    }
    try:
        return WavefunctionModel(molecules, settings, details)
    except UnsupportedError as error:
        raise UserError(f"{weights.path}: {error}; {weights.cure}") from error
