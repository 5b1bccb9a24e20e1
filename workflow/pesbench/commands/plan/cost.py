"""Seconds of a model for any number of evaluations, from timings at two sizes of molecule.

A call costs something by itself (kernels are launched, a graph is built), and more with each frame
and each atom in it. Two sizes one standard deviation below and above the mean are the two-point
Gauss quadrature: the sum over a set is right for any cost that is a polynomial of the number of
atoms of up to third order, if sizes are spread evenly about the mean, whatever a single molecule
costs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """A call that was timed.

    Attributes:
        atoms: Atoms of each frame.
        frames: Number of frames.
        seconds: Duration of the call.
    """

    atoms: int
    frames: int
    seconds: float


@dataclass(frozen=True)
class Cost:
    """Seconds of a model.

    Attributes:
        call_s: Seconds of a call, whatever it holds.
        frame_s: Seconds for each frame; below 0 if the cost grows faster than the atoms.
        atom_s: Seconds for each atom of a frame.
        least_s: Least seconds for each atom of a frame, used if `frame_s` is below 0.
    """

    call_s: float
    frame_s: float
    atom_s: float
    least_s: float

    def frame(self, atoms: int) -> float:
        """Seconds of one frame of so many atoms, without the call that it is a part of."""
        return max(self.frame_s + self.atom_s * atoms, self.least_s * atoms)


def fit(one: Timing, small: Timing, large: Timing, *, batched: bool) -> Cost:
    """The cost that follows from three calls.

    Args:
        one: One frame of the small molecule.
        small: Timing of the small molecule, with as many copies as a run puts into a call.
        large: Timing of the large molecule, with as many copies.
        batched: Whether frames share anything; of a method that takes one after another a call
            costs nothing by itself, and frames differ.
    """
    call_s = 0.0
    if batched and small.frames > 1:
        more = (small.seconds - one.seconds) / (small.frames - one.frames)
        call_s = min(max(one.seconds - max(more, 0.0), 0.0), small.seconds, large.seconds)
    of_small = (small.seconds - call_s) / small.frames
    of_large = (large.seconds - call_s) / large.frames
    if large.atoms == small.atoms:  # it is not known how the cost grows
        both = (of_small + of_large) / 2
        return Cost(call_s, 0.0, both / small.atoms, 0.0)
    atom_s = (of_large - of_small) / (large.atoms - small.atoms)
    if atom_s <= 0:  # a disturbance, or a model that does not care
        return Cost(call_s, (of_small + of_large) / 2, 0.0, 0.0)
    frame_s = of_small - atom_s * small.atoms
    return Cost(call_s, frame_s, atom_s, of_small / small.atoms if frame_s < 0 else 0.0)


def two_sizes(atoms: Sequence[int]) -> tuple[float, float]:
    """One standard deviation below and above the mean of the sizes of all frames or molecules."""
    mean = sum(atoms) / len(atoms)
    spread = math.sqrt(sum((n - mean) ** 2 for n in atoms) / len(atoms))
    return max(mean - spread, min(atoms)), min(mean + spread, max(atoms))
