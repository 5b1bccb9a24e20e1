"""Where known defects land in the failure atlas: the tables of docs/atlas.md.

    python tests/helpers/atlas_confusion.py [--scan-set SET.h5 --every 8 [--on MODEL/bonds/*.h5]]

Without a scan set it is the kept `mini`, and the table is written between its two comments. With
`--on`, defects are added to the stored answers of a model in place of the reference's.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pesbench.compare.atlas.curves import scan_kinds
from pesbench.compare.atlas.kinds import Kind
from pesbench.compare.atlas.table import curve_of
from pesbench.core.interface import Batch, Status
from pesbench.core.scans import Scan
from pesbench.files.evaluation import Evaluation, ScanEvaluation
from pesbench.files.scan_set import ScanSet
from pesbench.models.families import control
from pesbench.models.families.perturbed import PairDefect

REPO = Path(__file__).parents[2]
MINI = REPO / "resources" / "study" / "mini" / "mini.h5"
DOCS = REPO / "docs" / "atlas.md"
BEGIN, END = "<!-- table of tests/helpers/atlas_confusion.py -->\n", "<!-- end -->"
RULES, TEST = "rules", "test"
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "ripple": {"wavelength": 0.1},
    "step": {"distance": 1.1},
    "dip": {"distance": 1.2, "width": 0.05},
    "wall": {"distance": 0.9},
    "noise": {"spacing": 0.01, "draw": 1},
    "curl": {},
}


@dataclass(frozen=True)
class Defect:
    """A known defect, and what it was used for: to write the rules, or to test them."""

    use: str
    kind: str
    dose: float | None
    parameters: Mapping[str, Any]
    is_control: bool = False

    @property
    def words(self) -> str:
        told = ", ".join(f"{key} {value:g}" for key, value in self.parameters.items())
        dose = "" if self.dose is None else f" {self.dose:g}"
        name = f"control-{self.kind}" if self.is_control else self.kind
        return f"{name}{dose}{f' ({told})' if told else ''}"

    @property
    def expected(self) -> frozenset[Kind]:
        """The kinds that are its own; none for what no scan along a bond shows."""
        if self.is_control:
            return CONTROL_KINDS[self.kind]
        return PERTURBED_KINDS[self.kind]


DIP = frozenset({Kind.SPURIOUS, Kind.DENT})
PERTURBED_KINDS = {
    "ripple": frozenset({Kind.RIPPLE}),
    "step": frozenset({Kind.STEP}),
    "dip": DIP,
    "wall": frozenset({Kind.WALL, Kind.SOFT_WALL}),
    "noise": frozenset({Kind.NOISE}),
    "curl": frozenset(),
}
CONTROL_KINDS = {
    "reference": frozenset(),
    "zero": frozenset({Kind.FROZEN}),
    "scaled": frozenset({Kind.SHIFTED}),
    "shift": frozenset({Kind.SHIFTED}),
    "step": frozenset({Kind.STEP}),
    "cap": frozenset({Kind.SOFT_WALL}),
    "spike": frozenset({Kind.SPIKE}),
    "noise": frozenset({Kind.NOISE}),
    "dip": DIP,
}
_PERTURBED: Sequence[tuple[str, str, float, Mapping[str, Any]]] = (
    (RULES, "ripple", 0.03, {}), (RULES, "ripple", 0.3, {}),
    (TEST, "ripple", 0.01, {}), (TEST, "ripple", 0.1, {}),
    (TEST, "ripple", 0.05, {"wavelength": 0.15}),
    (RULES, "step", 0.1, {}), (RULES, "step", 1.0, {}),
    (TEST, "step", 0.05, {}), (TEST, "step", 0.3, {}), (TEST, "step", 0.3, {"distance": 1.4}),
    (RULES, "dip", 0.3, {}), (RULES, "dip", 3.0, {}),
    (TEST, "dip", 0.1, {}), (TEST, "dip", 0.5, {}), (TEST, "dip", 1.0, {}),
    (TEST, "dip", 1.0, {"distance": 1.5, "width": 0.08}),
    (RULES, "wall", 10.0, {}), (RULES, "wall", 100.0, {}),
    (TEST, "wall", 30.0, {}), (TEST, "wall", 60.0, {}), (TEST, "wall", 200.0, {"distance": 0.8}),
    (RULES, "noise", 0.3, {}), (RULES, "noise", 3.0, {}),
    (TEST, "noise", 0.1, {}), (TEST, "noise", 1.0, {}),
    (TEST, "noise", 1.0, {"draw": 2, "spacing": 0.03}),
    (RULES, "curl", 0.03, {}), (TEST, "curl", 0.1, {}),
)  # fmt: skip
_CONTROLS: Sequence[tuple[str, str, float | None]] = (
    (RULES, "reference", None), (RULES, "zero", None),
    (RULES, "scaled", 0.9), (TEST, "scaled", 0.95),
    (RULES, "shift", 0.02), (TEST, "shift", 0.01), (TEST, "shift", -0.05),
    (RULES, "step", 1.5), (TEST, "step", 1.2), (TEST, "step", 2.0),
    (RULES, "cap", 10.0), (TEST, "cap", 50.0),
    (RULES, "spike", 3.0), (TEST, "spike", 1.0), (TEST, "spike", 10.0),
    (RULES, "noise", 0.3), (TEST, "noise", 0.1), (TEST, "noise", 1.0),
    (RULES, "dip", 0.5), (TEST, "dip", 0.1), (TEST, "dip", 1.0),
)  # fmt: skip
PERTURBED = tuple(Defect(*one) for one in _PERTURBED)
CONTROLS = tuple(Defect(use, kind, dose, {}, True) for use, kind, dose in _CONTROLS)
Answers = Callable[[Scan], ScanEvaluation | None]


def perfect(scan: Scan) -> ScanEvaluation:
    """The reference's own answers."""
    status = np.full(scan.n_frames, Status.OK.code, dtype=np.int8)
    return ScanEvaluation(scan.id, scan.energy, scan.forces, status, Status.OK, "", 0.0)


def with_defect(scan: Scan, base: ScanEvaluation, *defects: Defect) -> ScanEvaluation:
    """Answers with defects added, or those of a control."""
    energy, forces, status = base.energy, base.forces, base.frame_status
    for one in defects:
        if one.is_control:
            told = control.predict(one.kind, one.dose, scan)
            nothing = np.full(scan.n_frames, np.nan)
            energy = nothing if told.energy is None else told.energy
            forces = told.forces
            codes = Status.OK.code, Status.MASKED.code
            status = np.where(told.defined, *codes).astype(np.int8)
            continue
        made = PairDefect(one.kind, one.dose, {**DEFAULTS[one.kind], **one.parameters})
        more, pull = made(_batch(scan))
        energy, forces = energy + more, forces + pull.reshape(forces.shape)
    return ScanEvaluation(scan.id, energy, forces, status, Status.OK, "", 0.0)


def _batch(scan: Scan) -> Batch:
    frames, atoms = scan.positions.shape[:2]
    return Batch(
        numbers=np.tile(scan.numbers, frames),
        positions=scan.positions.reshape(-1, 3),
        system=np.repeat(np.arange(frames), atoms),
        cell=np.zeros((frames, 3, 3)),
        pbc=np.zeros((frames, 3), dtype=bool),
        charge=np.zeros(frames, dtype=np.int64),
        spin=np.ones(frames, dtype=np.int64),
    )


def kinds_of(scan: Scan, evaluation: ScanEvaluation) -> frozenset[Kind]:
    """The kinds that a scan shows."""
    return frozenset(one.event.kind for one in scan_kinds(curve_of(scan, evaluation)[0]))


def landed(scans: Iterable[Scan], base: Answers, *defects: Defect) -> list[frozenset[Kind]]:
    """The kinds of every scan."""
    answers = ((scan, base(scan)) for scan in scans)
    return [
        kinds_of(scan, with_defect(scan, one, *defects)) for scan, one in answers if one is not None
    ]


def read_scans(path: Path, every: int = 1) -> list[Scan]:
    """Every so many-th scan of a bond between two heavy atoms, of which the rules were written."""
    with ScanSet(path) as opened:
        ids = [one for one in opened.ids if "H" not in one.partition("/")[0].split("-")]
        return [opened.scan(scan_id) for scan_id in ids[::every]]


def table(scans: Sequence[Scan], base: Answers, defects: Iterable[Defect]) -> str:
    """The confusion table as Markdown; the kinds of the defect itself are bold."""
    lines = ["| defect | used for | scans | kinds of the scans |", "|:--|:--|--:|:--|"]
    for one in defects:
        found = landed(scans, base, one)
        count = Counter(kind for some in found for kind in some)
        cells = [
            f"**{kind} {n}**" if kind in one.expected else f"{kind} {n}"
            for kind, n in sorted(count.items(), key=lambda pair: -pair[1])
        ]
        if none := sum(not some for some in found):
            cells.append(f"none {none}")
        lines.append(f"| {one.words} | {one.use} | {len(found)} | {', '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--scan-set", type=Path)
    asked.add_argument("--every", type=int, default=1)
    asked.add_argument("--on", type=Path, nargs="+", default=[])
    given = asked.parse_args()
    scans = read_scans(given.scan_set or MINI, given.every)
    with ExitStack() as stack:
        holder = {
            scan_id: shard
            for shard in (stack.enter_context(Evaluation(path)) for path in given.on)
            for scan_id in shard.ids
        }

        def stored(scan: Scan) -> ScanEvaluation | None:
            if scan.id not in holder:
                return None
            found = holder[scan.id].scan(scan.id, (scan.n_frames, scan.n_atoms))
            return found if found.status is Status.OK else None

        defects = PERTURBED if given.on else (*PERTURBED, *CONTROLS)
        text = table(scans, stored if given.on else perfect, defects)
    if given.scan_set is None:
        before, _, rest = DOCS.read_text(encoding="utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        DOCS.write_text(f"{before}{BEGIN}{text}{end}{after}", encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
