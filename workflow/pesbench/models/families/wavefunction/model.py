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
from pesbench.models.families.wavefunction.interpolated import Interpolation
from pesbench.models.families.wavefunction.kernel import GaussianProcess
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
    """

    def __init__(
        self, molecules: Sequence[States], settings: Mapping[str, Any], details: Mapping[str, Any]
    ) -> None:
        self._details = dict(details)
        self._known: dict[tuple[int, ...], _Interpolated] = {
            tuple(sorted(one.numbers)): _Interpolated(one, settings) for one in molecules
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
            UnsupportedError: the file has no states of this molecule.
            ValueError: the geometry has no orientation, or two atoms are at one place.
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

    def __init__(self, states: States, settings: Mapping[str, Any]) -> None:
        used = settings.get("calculations")
        self._numbers = np.array(states.numbers)
        self._process = self._states = None
        if settings.get("interpolates") == ENERGIES:
            some = slice(used and used * states.images)
            self._process = GaussianProcess(
                states.positions[some], states.energies[some], states.forces[some]
            )
        else:
            self._states = Interpolation(states, used)

    def evaluate(self, system: Batch) -> tuple[float, NDArray[np.float64]]:
        # elements in the order of the training; like atoms stay in the order that they have
        there = np.argsort(np.argsort(self._numbers, kind="stable"), kind="stable")
        order = np.argsort(system.numbers, kind="stable")[there]
        positions = system.positions[order]
        forces = np.empty_like(positions)
        if self._process is not None:
            energy, forces[order] = self._process.evaluate(positions)
            return energy, forces
        assert self._states is not None
        energy, gradient = self._states.evaluate(positions / Bohr)
        forces[order] = -gradient * (Hartree / Bohr)
        return energy * Hartree, forces


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
