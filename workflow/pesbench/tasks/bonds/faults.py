"""Faults of a model, from its scores: one list for each kind, with its own order.

Needs no pandas, so that `pesbench check` of the base package names the same faults.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

Row = Mapping[str, Any]

COUNT = 10
# twins agree if their places are within a step of the grid and their values within 5 %
_SAME_PLACE_ANGSTROM, _SAME_VALUE = 0.03, 0.05


@dataclass(frozen=True)
class Fault:
    """One fault of one scan, and of the bonds that symmetry makes the same.

    Attributes:
        list: Name of its list.
        rank: Rank in the list, from 1.
        scan: Id.
        kind: Kind in words, such as `false barrier`.
        distance: Bond length at which it is, Å.
        value: Size, in `unit`; what orders the list.
        unit: Unit of the value.
        note: Note for readers.
        row: The scores.
        twins: Ids of the scans of equivalent bonds that show the same.
    """

    list: str
    rank: int
    scan: str
    kind: str
    distance: float
    value: float
    unit: str
    note: str
    row: Row
    twins: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """Such as `false barrier of 0.69 eV at 1.99 Å`."""
        size = f"{abs(self.value):.3g} {self.unit}"
        match self.list:
            case "extrema":
                joint = ", off by" if self.kind.endswith("depth") else " of"
                return f"{self.kind}{joint} {size} at {self.distance:.2f} Å"
            case "bond_length" | "force_constant":
                return f"{self.kind} by {size}"
            case "wall":
                own = self.row["wall_energy"]
                return f"{self.kind} at {self.distance:.2f} Å (at {own:.2g} eV, reference {size})"
        return f"{self.kind} at {self.distance:.2f} Å ({size})"


@dataclass(frozen=True)
class Kind:
    """A list of faults.

    Attributes:
        name: Name of the list, in `worst.csv`.
        title: Title for readers.
        help: What is listed and in which order.
        find: The fault of a row: kind, distance, value, note; None where it has none.
        quantity: What the value is.
        unit: Unit of the value.
        ascending: Whether the smallest value is the worst.
    """

    name: str
    title: str
    help: str
    find: Callable[[Row], tuple[str, float, float, str] | None]
    quantity: str
    unit: str
    ascending: bool = False


def _number(row: Row, column: str) -> float:
    value = row.get(column)
    return math.nan if value is None else float(value)


def _from_rest(row: Row, place: float) -> str:
    rest = _number(row, "fsd_peak_coordinate") - _number(row, "fsd_peak_offset")
    side = "before" if place < rest else "beyond"
    return f"{abs(place - rest):.2f} Å {side} the reference minimum"


def _slope(score: str, place: str, words: str) -> Callable[[Row], Any]:
    def find(row: Row) -> tuple[str, float, float, str] | None:
        value, at = _number(row, score), _number(row, place)
        if not value >= 0.01:  # less is rounding
            return None
        return words, at, value, _from_rest(row, at)

    return find


def _extremum(row: Row) -> tuple[str, float, float, str] | None:
    at = _number(row, "extremum_coordinate")
    if math.isnan(at):
        return None
    return str(row["extremum"]), at, _number(row, "extremum_depth"), _from_rest(row, at)


def _wall(row: Row) -> tuple[str, float, float, str] | None:
    at = _number(row, "wall_coordinate")
    if math.isnan(at):
        return None
    value = _number(row, "wall_reference_energy")
    note = f"the model is {_number(row, 'wall_energy'):.3g} eV above its minimum there"
    return "wall gives way", at, value, note


def _bond_length(row: Row) -> tuple[str, float, float, str] | None:
    own, shift = _number(row, "bond_length"), _number(row, "bond_length_shift")
    if not abs(shift) >= 1e-4:
        return None
    kind = "bond too long" if shift > 0 else "bond too short"
    return kind, own, shift, f"{own:.3f} Å, reference {own - shift:.3f} Å"


def _force_constant(row: Row) -> tuple[str, float, float, str] | None:
    own, shift = _number(row, "force_constant"), _number(row, "force_constant_shift")
    if not abs(shift) >= 0.01:
        return None
    kind = "bond too stiff" if shift > 0 else "bond too soft"
    note = f"{own:.1f} eV/Å², reference {own - shift:.1f} eV/Å²"
    return kind, _number(row, "bond_length"), shift, note


_CEILING = (
    "below the energy ceiling (10 eV above its minimum, unless `bonds.energy_ceiling_ev` of the "
    "config sets another)"
)
KINDS = (
    Kind("extrema", "False and missing barriers and wells",
         "Extrema of the energy (or of the integrated force) that only the model or only the "
         f"reference has, where the reference is {_CEILING}; deepest first.",
         _extremum, "depth", "eV"),
    Kind("slope", "Abrupt changes of the force",
         "Largest slope of the FSD beyond 0.25 Å from the reference minimum, where the reference "
         f"is {_CEILING}.",
         _slope("fsd_below_ceiling", "fsd_below_ceiling_coordinate", "force changes most"),
         "slope", "Å⁻¹"),
    Kind("wall", "The repulsive wall gives way",
         "The first bond length of the compression at which further compression does not raise the "
         "energy; the lowest energy of the reference at that bond length first.",
         _wall, "reference energy", "eV", ascending=True),
    Kind("bond_length", "Bond length of the minimum",
         "Bond length at the model's minimum minus that at the reference's minimum.",
         _bond_length, "shift", "Å"),
    Kind("force_constant", "Stiffness of the minimum",
         "Force constant along the bond, the model's minus the reference's, each at its own "
         "minimum.",
         _force_constant, "shift", "eV/Å²"),
    Kind("fsd_full", "Largest slope anywhere",
         "The published FSD. Most often it lies beside the minimum, where an error of the bond "
         "length of 0.01 Å decides.",
         _slope("fsd_full", "fsd_peak_coordinate", "largest slope"), "slope",
         "Å⁻¹"),
)  # fmt: skip
ABRUPT = ("extrema", "slope", "wall")  # what breaks, other than a minimum that is a little off


def is_scored(row: Row) -> bool:
    """Whether a row has scores."""
    return row["status"] == "ok" and not math.isnan(_number(row, "fsd_full"))


def is_older(row: Row) -> bool:
    """Whether a scored row is of a version that stored no places."""
    return not isinstance(row.get("bond_class"), str) or not row["bond_class"]


def older_scores(rows: Sequence[Row]) -> str:
    """Number of scored scans that lack all of `KINDS` but the last, and the remedy; "" if none."""
    scored = [row for row in rows if is_scored(row)]
    older = sum(map(is_older, scored))
    if not older:
        return ""
    return (
        f"{older} of {len(scored)} scored scans were scored by an older version,\nwhich does not "
        "store this; score them again"
    )


def fault_lists(rows: Sequence[Row], count: int = COUNT) -> dict[str, list[Fault]]:
    """The faults of a model by list, in the order of `KINDS`.

    Args:
        rows: Scores, one mapping a scan, with `scan`, `system`, `status` and the columns of
            `pesbench.tasks.bonds.score`; what an older version did not store may be missing.
        count: How many faults a list at most.
    """
    scored = [row for row in rows if is_scored(row)]
    return {kind.name: _ranked(kind, scored, count) for kind in KINDS}


def _ranked(kind: Kind, rows: Sequence[Row], count: int) -> list[Fault]:
    sign = 1.0 if kind.ascending else -1.0
    faults = []
    for row in rows:
        if (found := kind.find(row)) is not None:
            words, distance, value, note = found
            faults.append(
                Fault(kind.name, 0, row["scan"], words, distance, value, kind.unit, note, row)
            )
    # equal values in the order of their names, not of the file
    faults.sort(key=lambda f: (f.kind.endswith("depth"), sign * abs(f.value), f.scan))
    chosen: list[Fault] = []
    for fault in faults:
        k = next((k for k, other in enumerate(chosen) if _are_twins(fault, other)), None)
        if k is not None:
            chosen[k] = replace(chosen[k], twins=(*chosen[k].twins, fault.scan))
        elif len(chosen) < count:
            chosen.append(replace(fault, rank=len(chosen) + 1))
    return chosen


def _are_twins(one: Fault, other: Fault) -> bool:
    """Whether two faults on equivalent bonds count as one."""
    if is_older(one.row) or one.row["system"] != other.row["system"]:
        return False
    return (
        one.row["bond_class"] == other.row["bond_class"]
        and one.kind == other.kind
        and abs(one.distance - other.distance) <= _SAME_PLACE_ANGSTROM
        and math.isclose(one.value, other.value, rel_tol=_SAME_VALUE)
    )


def headlines(lists: Mapping[str, Sequence[Fault]], count: int) -> list[list[Fault]]:
    """The bonds to name first, each with its faults of the lists `ABRUPT`.

    The bond of the worst fault of each list, then that of the next of each. A bond is named once,
    and the fault that it is named for stands first.
    """
    listed = [fault for name in ABRUPT for fault in lists[name]]
    # a list's order among equal ranks is that of `ABRUPT`, since sorting is stable
    found: dict[str, list[Fault]] = {}
    for fault in sorted(listed, key=lambda fault: fault.rank):
        bonds = (fault.scan, *fault.twins)
        found.setdefault(next((b for b in bonds if b in found), fault.scan), []).append(fault)
    return list(found.values())[:count]
