"""What happened on a bond scan: a pure function of the curves of a model and of the reference.

An event is a step between two frames at which the slope of the FSD is at least `PEAK_PER_ANGSTROM`,
an extremum that only one of the two curves has, a wall that gives way, or a jump of the energy that
no force explains. Each has one kind, told from the error of the model alone: ρ = F̂ − F, its part r
along the scan, and the difference of the two energies. A scan has a row for each kind that it
shows, so that a mixed failure has several.

Units: Å, eV. F frames, N atoms. Frames without a reference or an answer are removed by the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from pesbench.compare.atlas.kinds import Kind, Place, place_of
from pesbench.compare.inputs import curve_faults, wall_gives_way
from pesbench.metrics import curves, smoothness

Array = NDArray[np.float64]
Index = NDArray[np.int64]

# Forces that are zero everywhere, which are smooth and know nothing, stay below it beyond 0.25 Å
# from the minimum; it is a change of the force by a quarter in one step of BSCT-SPICE's grid.
PEAK_PER_ANGSTROM = 20.0
CEILING_EV = 10.0  # of the reference: up to which extrema count, as in the scores
WELL_EV = curves.PROMINENCE_EV
ENERGY_STEP_EV = 0.05  # the trapezoidal rule alone errs by up to 0.03 eV a step
UNSEEN_STEPS = 3  # on either side of a jump of the energy
FROZEN = 0.01  # of the reference's change of the force along the scan
LEAST_JUMP = 0.2  # eV/Å; a jump of the error of less does not make a slope of 20 Å⁻¹ by itself
ISOLATED = 5.0  # times the usual size of its neighbours
NEIGHBOURS = 8  # steps on either side that tell what is usual
STAYS = 0.5  # of a jump; what returns in the next frame by more is a spike
ROUGH_STEPS = 20  # on either side, over which roughness is told
ROUGH_SHARE = 0.25  # of these, over which it is spread; a jump or a dent is on few
ROUGH_EV_PER_ANGSTROM = 0.05  # as standard deviation of white noise
EXPLAINS = 8.0  # standard deviations of the difference of two frames
SMOOTH = 0.7  # autocorrelation of third differences from which on a curve is smooth
PERIODIC = 0.4  # of the power that lies in one period and its neighbours
LONGEST_PERIOD = 12  # steps; what is slower is no ripple on this grid
DENT_ANGSTROM = 0.25  # on either side of a peak
DENT_EV = 0.02
RETURNS = 0.35  # of its depth, by which the energy of a dent may be off on its other side
BESIDE_ANGSTROM = 0.25  # from an extremum or a dent, what belongs to it
SOFT = 0.25  # of the reference's force along the bond that a soft wall lacks
NEAR = 2.0  # sums of covalent radii up to which two atoms may be the pair
BOND_IS_ENOUGH = 0.7  # of the largest pull of any pair, from which on it is the scanned bond's


@dataclass(frozen=True, eq=False)
class Curve:
    """A scan as the model and the reference see it.

    Attributes:
        coordinate: Bond length, shape (F,), ascending.
        positions: Shape (F, N, 3).
        numbers: Atomic numbers, shape (N,).
        fragment: 0 or 1 for every atom, shape (N,).
        atoms: The two atoms of the bond.
        energy: Of the model, shape (F,); NaN where it has none.
        forces: Of the model, shape (F, N, 3).
        reference_energy: Shape (F,).
        reference_forces: Shape (F, N, 3).
    """

    coordinate: Array
    positions: Array
    numbers: Index
    fragment: Index
    atoms: tuple[int, int]
    energy: Array
    forces: Array
    reference_energy: Array
    reference_forces: Array


@dataclass(frozen=True)
class Event:
    """What happened at one place.

    Attributes:
        kind: What.
        frame: The frame, or the first of the two frames of a step.
        coordinate: Bond length of the place, Å.
        size: Slope, depth, height or energy, in `unit`.
        unit: `Å⁻¹`, `eV`, `K` or "".
        reference_ev: Energy of the reference above its minimum at the place, eV; between two
            frames, their mean.
    """

    kind: Kind
    frame: int
    coordinate: float
    size: float
    unit: str
    reference_ev: float


@dataclass(frozen=True)
class Found:
    """All events of one kind on a scan, by the largest of them.

    Attributes:
        event: The largest.
        place: Its two atoms.
        n: How many there are.
        n_below: How many of them lie where the reference is below the ceiling.
    """

    event: Event
    place: Place
    n: int
    n_below: int


def scan_kinds(
    curve: Curve, peak: float = PEAK_PER_ANGSTROM, ceiling_ev: float = CEILING_EV
) -> list[Found]:
    """What happened on a scan, one entry a kind, in the order of `Kind`.

    Args:
        curve: The scan.
        peak: Least slope of the FSD that is an event, Å⁻¹.
        ceiling_ev: Energy of the reference above its minimum up to which extrema count, and up to
            which events are counted apart.

    Raises:
        ValueError: the reference has no minimum within the scan.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # any finite number may be an answer
        looked = _Looked(curve, ceiling_ev)
        events = looked.events(peak)
        largest = [
            max(some, key=lambda event: (event.unit == "eV", event.size))
            for kind in Kind
            if (some := [event for event in events if event.kind is kind])
        ]
        found = []
        for one in largest:
            heights = [event.reference_ev for event in events if event.kind is one.kind]
            below = sum(height <= ceiling_ev for height in heights)
            found.append(Found(one, looked.place(one), len(heights), below))
        return found


class _Looked:
    """A curve with what is computed from it once."""

    def __init__(self, curve: Curve, ceiling_ev: float) -> None:
        self.curve = curve
        x = curve.coordinate
        self.q = q = smoothness.equilibrium_index(curve.reference_energy)
        self.height = curve.reference_energy - curve.reference_energy[q]
        self.below = smoothness.below_ceiling(curve.reference_energy, q, ceiling_ev)
        ratio = smoothness.log_force_ratio(curve.forces, curve.reference_forces, q)
        self.slope = smoothness.slopes(x, ratio)
        self.error = curve.forces - curve.reference_forces  # (F, N, 3)
        tangent = np.gradient(curve.positions, x, axis=0)
        self.along = np.einsum("fax,fax->f", self.error, tangent)  # eV/Å of the coordinate
        self.push = np.einsum("fax,fax->f", curve.reference_forces, tangent)
        self.jump = np.linalg.norm(np.diff(self.error, axis=0), axis=(1, 2))
        self.periodic = _periodic(self.along)
        self.whole = np.diff(x) < 1.5 * smoothness.step_length(x)  # no gap of missing frames
        self.pairs = [
            tuple(curves.integrated_energy(curve.positions, forces, q)
                  for forces in (curve.forces, curve.reference_forces))
        ]  # fmt: skip
        if np.isfinite(curve.energy).all():
            self.pairs.insert(0, (curve.energy, curve.reference_energy))

    def events(self, peak: float) -> list[Event]:
        """Everything that happened, in no order."""
        if self.is_frozen():
            at, largest = float(self.curve.coordinate[self.q]), float(self.slope.max())
            return [Event(Kind.FROZEN, self.q, at, largest, "Å⁻¹", 0.0)]  # all along the scan
        events = [*self.extrema(), *self.walls(), *self.energy_steps()]
        return events + self.peaks(peak, events)

    def at_step(self, kind: Kind, step: int) -> Event:
        return self.between(kind, step, float(self.slope[step]), "Å⁻¹")

    def between(self, kind: Kind, step: int, size: float, unit: str) -> Event:
        """What happened between two frames."""
        middle, height = (
            float(of[step] + of[step + 1]) / 2 for of in (self.curve.coordinate, self.height)
        )
        return Event(kind, step, middle, size, unit, height)

    def is_frozen(self) -> bool:
        """Whether the model's forces do not change along the scan."""

        def change(forces: Array) -> float:
            return float(np.linalg.norm(forces - forces[self.q], axis=(1, 2)).max())

        return change(self.curve.forces) < FROZEN * change(self.curve.reference_forces)

    # --- what is no peak --------------------------------------------------------------------------

    def extrema(self) -> list[Event]:
        """False and missing extrema below the ceiling."""
        found = []
        for fault in curve_faults(self.curve.coordinate, self.pairs, self.q, self.below):
            if fault.kind == "false":
                kind = Kind.SPURIOUS if fault.is_minimum else Kind.BARRIER
            elif fault.is_minimum and fault.kind == "missing":
                kind = Kind.MISSING
            else:
                continue  # another depth: a false extremum beside it is told by itself
            height = float(self.height[fault.frame])
            found.append(Event(kind, fault.frame, fault.coordinate, fault.depth, "eV", height))
        return found

    def walls(self) -> list[Event]:
        """The first place on the way in at which the wall gives way."""
        x, found = self.curve.coordinate, []
        for own, reference in self.pairs:
            rest = curves.nearest_minimum(x, own, self.q, smoothness.MATCH_ANGSTROM)
            frame = wall_gives_way(x, own, reference, self.q, rest and rest.coordinate)
            if frame is not None:
                found.append(frame)
        if not found:
            return []
        frame = max(found)
        height = float(self.height[frame])
        return [Event(Kind.WALL, frame, float(x[frame]), height, "eV", height)]

    def energy_steps(self) -> list[Event]:
        """Jumps of the energy that the forces do not explain."""
        if len(self.pairs) == 1:
            return []
        one = self.curve
        work = curves.step_work(one.positions, self.error)
        off = np.abs(np.diff(one.energy - one.reference_energy) - work)
        # between two frames, forces that change so much may do so much work unseen
        unseen = np.abs(np.diff(self.along) * np.diff(one.coordinate))
        unseen = maximum_filter1d(unseen, 2 * UNSEEN_STEPS + 1)
        large = np.flatnonzero((off >= ENERGY_STEP_EV) & (off > unseen) & self.whole)
        steps = [k for k in large if off[k] >= ISOLATED * _usual(off, k, 1)]
        return [self.between(Kind.STEP, int(k), float(off[k]), "eV") for k in steps]

    # --- peaks ------------------------------------------------------------------------------------

    def peaks(self, least: float, others: Sequence[Event]) -> list[Event]:
        """Every step with a slope of at least `least`, placed."""
        steps = np.flatnonzero((self.slope >= least) & self.whole)
        found = [self.at_step(self.kind(int(step), others), int(step)) for step in steps]
        rough = next((e.kind for e in found if e.kind in (Kind.NOISE, Kind.RIPPLE)), None)
        dents = [event.coordinate for event in found if event.kind is Kind.DENT]

        def settled(event: Event) -> Kind:
            """The edges of a dent are the dent's, and what is left of a rough scan is rough."""
            if rough is not None and event.kind in (Kind.UNCLASSIFIED, Kind.DENT):
                return rough
            apart = (abs(event.coordinate - at) for at in dents)
            edge = event.kind is Kind.UNCLASSIFIED and min(apart, default=np.inf) <= BESIDE_ANGSTROM
            return Kind.DENT if edge else event.kind

        return [replace(event, kind=settled(event)) for event in found]

    def kind(self, step: int, others: Sequence[Event]) -> Kind:
        """The kind of a peak: the first that fits."""
        rough = self.roughness(step)
        if rough is not None:
            return rough
        if self.is_spike(step):
            return Kind.SPIKE
        if self.is_step(step):
            return Kind.STEP
        x = self.curve.coordinate
        middle = (x[step] + x[step + 1]) / 2
        for event in others:
            near = abs(event.coordinate - middle) <= BESIDE_ANGSTROM
            if event.kind in (Kind.SPURIOUS, Kind.BARRIER) and near:
                return event.kind
        if self.is_dent(step):
            return Kind.DENT
        if any(e.kind is Kind.WALL and middle <= e.coordinate + BESIDE_ANGSTROM for e in others):
            return Kind.WALL
        if abs(middle - x[self.q]) <= smoothness.WINDOW_ANGSTROM:
            return Kind.SHIFTED
        lacks = -self.along[step : step + 2] >= SOFT * np.abs(self.push[step : step + 2])
        return Kind.SOFT_WALL if middle < x[self.q] and lacks.all() else Kind.UNCLASSIFIED

    def roughness(self, step: int) -> Kind | None:
        """Noise or a ripple, where the error is rough around a step and not at it alone."""
        low, high = max(0, step - ROUGH_STEPS), min(len(self.along), step + ROUGH_STEPS + 2)
        part = self.along[low:high]
        third = np.diff(part, 3)
        if len(third) < ROUGH_STEPS or not third.any():
            return None
        deviation = np.sqrt(np.mean(third**2) / 20.0)  # 1 + 9 + 9 + 1
        change = abs(self.along[step + 1] - self.along[step])
        if deviation < ROUGH_EV_PER_ANGSTROM or change > EXPLAINS * np.sqrt(2.0) * deviation:
            return None
        spread = np.sum(third**2) ** 2 / np.sum(third**4) / len(third)
        if spread < ROUGH_SHARE or _autocorrelation(third) > SMOOTH:
            return None
        return Kind.RIPPLE if self.periodic >= PERIODIC else Kind.NOISE

    def is_spike(self, step: int) -> bool:
        """Whether one of the two frames of a step is off, and those beside it are not."""
        for frame in (step, step + 1):
            if not 1 <= frame < len(self.error) - 1:
                continue
            jumps = self.jump[frame - 1 : frame + 1]
            across = np.linalg.norm(self.error[frame + 1] - self.error[frame - 1])
            usual = _usual(self.jump, frame, 2)
            if jumps.min() >= max(LEAST_JUMP, ISOLATED * usual) and across <= STAYS * jumps.min():
                return True
        return False

    def is_step(self, step: int) -> bool:
        """Whether the error of the forces jumps between two frames and stays."""
        if not 1 <= step < len(self.jump) - 1:  # at an end a steep error looks like a jump
            return False
        beside, jump = self.jump[[step - 1, step + 1]], self.jump[step]
        least = max(LEAST_JUMP, ISOLATED * _usual(self.jump, step, 1))
        return bool(jump >= least and beside.max() <= STAYS * jump)

    def is_dent(self, step: int) -> bool:
        """Whether the error is a well or a hump that ends on both sides of a step."""
        x = self.curve.coordinate
        middle = (x[step] + x[step + 1]) / 2
        frames = np.flatnonzero(np.abs(x - middle) <= DENT_ANGSTROM)
        part, place = self.along[frames], x[frames]
        at = int(np.searchsorted(frames, step))
        if len(frames) < 8:
            return False
        ends = part[:3].mean(), part[-3:].mean()
        level = np.interp(place, [place[1], place[-2]], ends)
        extra = part - level
        work = np.concatenate([[0.0], np.cumsum(0.5 * (extra[1:] + extra[:-1]) * np.diff(place))])
        depth = float(np.abs(work).max())
        lobes = extra.max(), -extra.min()
        return bool(
            abs(extra[at + 1] - extra[at]) >= LEAST_JUMP
            and depth >= DENT_EV
            and abs(work[-1]) <= RETURNS * depth
            and min(lobes) > STAYS * max(lobes)
        )

    # --- place ------------------------------------------------------------------------------------

    def place(self, event: Event) -> Place:
        """The pair whose force is off most at an event; the scanned bond where none is told."""
        one, frame = self.curve, event.frame
        first, second = one.atoms
        if event.kind in (Kind.WALL, Kind.SOFT_WALL, Kind.MISSING, Kind.FROZEN):
            change = self.error[frame]
        elif event.unit == "eV" and event.kind is not Kind.STEP:
            low, high = max(0, frame - 3), min(len(self.error) - 1, frame + 3)
            change = self.error[high] - self.error[low]
        else:
            change = self.error[frame + 1] - self.error[frame]
        positions = one.positions[frame]
        i, j = (
            np.flatnonzero(one.fragment == k) for k in (one.fragment[first], one.fragment[second])
        )
        apart = positions[j][None] - positions[i][:, None]
        length = np.linalg.norm(apart, axis=2)
        unit = apart / np.where(length > 0, length, 1.0)[:, :, None]
        pull_i = np.einsum("ix,ijx->ij", change[i], unit)
        pull_j = np.einsum("jx,ijx->ij", change[j], unit)
        radii = covalent_radii[one.numbers]
        near = length <= NEAR * (radii[i][:, None] + radii[j][None])
        pull = np.minimum(np.abs(pull_i), np.abs(pull_j)) * (near & (pull_i * pull_j < 0))
        a, b = np.unravel_index(np.argmax(pull), pull.shape)
        bond = pull[list(i).index(first), list(j).index(second)]
        told = bool(pull[a, b] > 0) and event.kind is not Kind.SHIFTED
        if told and bond < BOND_IS_ENOUGH * pull[a, b]:
            first, second = int(i[a]), int(j[b])
        return place_of(one.numbers, positions, (first, second), "forces" if told else "bond")


def _usual(values: Array, at: int, without: int) -> float:
    """Median of the neighbours of a value, those nearest to it left out."""
    near = np.arange(max(0, at - NEIGHBOURS), min(len(values), at + NEIGHBOURS + 1))
    near = near[np.abs(near - at) > without]
    return float(np.median(values[near])) if len(near) else 0.0


def _autocorrelation(values: Array) -> float:
    """Of neighbouring values, about 0."""
    return float(values[1:] @ values[:-1] / (values @ values))


def _periodic(values: Array) -> float:
    """Share of the power of the second differences in one period.

    The spectrum is divided by that of the second difference of white noise, so that noise has the
    same power at all frequencies. The largest ordinate and its two neighbours count as one period.
    """
    second = np.diff(values, 2)
    if not second.any():
        return 0.0
    power = np.abs(np.fft.rfft(second * np.hanning(len(second)))) ** 2
    frequency = 2 * np.pi * np.arange(len(power)) / len(second)
    fast = frequency >= 2 * np.pi / LONGEST_PERIOD
    power = power[fast] / (2 * np.sin(frequency[fast] / 2)) ** 4
    if not power.size:
        return 0.0
    top = int(np.argmax(power))
    return float(power[max(0, top - 1) : top + 2].sum() / power.sum())
