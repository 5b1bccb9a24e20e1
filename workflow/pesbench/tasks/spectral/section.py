"""Section of the spectral diagnosis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pesbench.core.section import (
    INTEGER,
    BoardColumn,
    Drawing,
    Metric,
    Section,
    SectionInputs,
    Table,
)
from pesbench.core.text import number
from pesbench.tasks.spectral import association, figures, summary
from pesbench.tasks.spectral.association import Association
from pesbench.tasks.spectral.calibration import held_out_r2, monomial_rank
from pesbench.tasks.spectral.designs import CLOSEST_ANGSTROM
from pesbench.tasks.spectral.metrics import FEWEST_BACKBONES, LEAST_RHO, READABLE, Cliff
from pesbench.tasks.spectral.probes import (
    ALIKE,
    ANGLE,
    DIAGNOSIS,
    FIRST_LAYER,
    LINEAR,
    ONE_DIRECTION,
    PROBES,
    SYMMETRY,
    Probe,
)
from pesbench.tasks.spectral.summary import Curve
from pesbench.tasks.spectral.task import TASK

NONE = "–"
PUBLISHED = (
    "Published for aspirin, NequIP, L = 2, d = 2, on four backbones (arXiv:2605.08286): ρ(4) = "
    "0.913, ρ(5) = 0.078 (11.7-fold), R²_inj(4) = 0.374, R²_inj(5) = 0.006. Its amplitude, its "
    "marked direction, its readout and the denominator of its ρ are not public; these numbers are "
    "not to be compared with ours one by one."
)
DEFINITIONS = (
    "R² is 1 − Σ(ŷ − y)²/Σ(y − ȳ)² on conformers that were held out, ȳ the mean of the frames "
    "that were trained on; in A and B, Σ goes over all 2ℓ + 1 harmonics of degree ℓ, which makes "
    "it the mean of P_ℓ(n·a) over all axes a. ρ is the gain of the readout over the mean, in Σ of "
    "squared errors, divided by that of a readout that is given the harmonics of degree ℓ; the "
    "latter makes no error, so that ρ, R² and R²_inj are one number in A and B. In C, R²_inj is "
    "that of the injected part alone, and there is no ρ. "
    f"The cliff is ρ(dL)/ρ(dL + 1), the latter at least {LEAST_RHO:g}. Its interval draws "
    "backbones and test conformers. To draw B backbones from B shrinks the standard deviation "
    f"between them by √((B − 1)/B), so that the interval of fewer than {FEWEST_BACKBONES} is "
    "marked as too narrow; with one backbone it holds for that one alone. These definitions are "
    "ours."
)
_README = "tasks/spectral/README.md"
_CAP = "At most the highest degree that is injected."


def section(inputs: SectionInputs) -> Section:
    """The section of the spectral diagnosis."""
    labels = {
        name: name if (role := inputs.facts[name].role) == "model" else f"{name} ({role})"
        for name in inputs.scores
    }
    systems = summary.systems_of(inputs.scores)
    tables, drawings = [_calibration()], [_calibration_figure()]
    for system in systems:
        of = f" of {system}" if len(systems) > 1 else ""
        ending = f"_{system}" if len(systems) > 1 else ""
        tables += _tables(inputs, labels, system, of, ending)
        drawings += _drawings(inputs, labels, system, of, ending)
    return Section(
        title=TASK.title,
        sentence=sentence(inputs.scores, systems),
        tables=tables,
        figures=drawings,
        notes=notes(inputs, systems),
        board=board(inputs.scores, systems),
    )


def sentence(scores: Mapping[str, pd.DataFrame], systems: list[str]) -> str:
    """What a user learns, from design B alone: up to which degree detail is readable."""
    told = []
    for name, frame in scores.items():
        for system in systems:
            linear = summary.curve(frame, LINEAR, system)
            if linear is None or linear.reason:
                continue
            of = f" of {system}" if len(systems) > 1 else ""
            told.append(
                f"{name}{of}: angular detail up to ℓ = {linear.readable_text} is linearly readable "
                f"at layer {linear.layer}{_by_polynomials(frame, system)}"
            )
    if not told:
        return "No angular degree is read of the node features of any model."
    return "; ".join(told) + "."


def _by_polynomials(frame: pd.DataFrame, system: str) -> str:
    one, alone = (summary.curve(frame, probe, system) for probe in (DIAGNOSIS, ONE_DIRECTION))
    if one is None or one.reason:
        return ""
    leak = ""
    if alone is not None and np.isfinite(one.above):
        leak = f", R² above it at most {one.above:.2f}, of one direction {alone.above:.2f}"
    return (
        f", up to ℓ = {one.readable_text} by a polynomial of degree 2 (boundary dL = "
        f"{one.boundary:g}{leak})"
    )


def _tables(
    inputs: SectionInputs, labels: Mapping[str, str], system: str, of: str, ending: str
) -> list[Table]:
    def rows(probe: Probe) -> pd.DataFrame:
        found = []
        for name, frame in inputs.scores.items():
            one = summary.curve(frame, probe, system)
            if one is not None:
                found.append({"model": labels[name], **_cells(one)})
        return _table(found)

    models = list(inputs.scores)
    return [
        Table(f"diagnosis{ending}", rows(DIAGNOSIS),
              f"(B) only the marked neighbour moves{of}: R² by degree. The diagnosis",
              (_clear_note(inputs.scores, system),), models=models),
        Table(f"alike{ending}", rows(ALIKE),
              f"(B) with two channels of each degree{of}, to compare networks of different L",
              models=models),
        Table(f"one_direction{ending}", rows(ONE_DIRECTION),
              f"(B) of the harmonics of the direction alone{of}, without a network",
              models=models),
        Table(f"first_layer{ending}", rows(FIRST_LAYER),
              f"(B) at the first layer that has a degree above 0{of}", models=models),
        Table(f"symmetry{ending}", rows(SYMMETRY),
              f"(A) the whole molecule is rotated{of}: R² by degree",
              (_SYMMETRY,), models=models),
        Table(f"angle{ending}", _angle_table(inputs.scores, labels, system),
              f"(C) E + A·P_ℓ(cos θ){of}", (_angle_note(inputs.scores, system),)),
        Table(f"cliffs{ending}", _cliff_table(inputs.scores, system),
              f"The cliff at dL{of}", (DEFINITIONS, PUBLISHED)),
        Table(f"controls{ending}", _control_table(inputs.scores, labels, system),
              f"All readouts and controls{of}"),
    ]  # fmt: skip


_SYMMETRY = (
    "Above dL, R² is 0 by symmetry for every equivariant network, however deep. This checks the "
    "hook and the number of frames; it says nothing of a model."
)


def _drawings(
    inputs: SectionInputs, labels: Mapping[str, str], system: str, of: str, ending: str
) -> list[Drawing]:
    panels: dict[str, list[Curve]] = {}
    for title, probe in (("(A) all is rotated", SYMMETRY), ("(B) deepest layer", DIAGNOSIS),
                         ("(B) first layer", FIRST_LAYER)):  # fmt: skip
        some = [summary.curve(frame, probe, system) for frame in inputs.scores.values()]
        panels[title] = [one for one in some if one is not None]
    names = [probe.name for probe in PROBES if probe.design == "B"]
    rows = {
        labels[name]: {
            probe.name: one
            for probe in PROBES
            if probe.design == "B" and (one := summary.curve(frame, probe, system)) is not None
        }
        for name, frame in inputs.scores.items()
    }
    smoothness = _association(inputs, system)
    of_points = [
        Drawing(
            f"smoothness{ending}",
            figures.smoothness(smoothness.points, labels),
            f"Mean FSD of {smoothness.scans} bond scans{of} against the ceiling of design B with "
            "two channels, a point a potential. Full: trained on frames of this molecule alone; "
            "open: of other data and levels of theory, which do not count.",
        )
    ]
    return [
        Drawing(
            f"degrees{ending}",
            figures.curves(panels, labels),
            f"R² of the harmonics of degree ℓ{of} from the node features of the marked atom by a "
            "polynomial of degree 2. The tick below each line marks the boundary dL, above which A "
            f"is 0 by symmetry; the dotted line is R² = {READABLE:g}. Values below "
            f"{figures.FLOOR:g} are drawn there.",
        ),
        Drawing(
            f"controls{ending}",
            figures.controls(rows, names),
            f"All readouts and controls of design B{of}, by model.",
        ),
        *(of_points if smoothness.points else []),
    ]


def _calibration() -> Table:
    rows = []
    for l_max in (1, 2, 3):
        for degree in (1, 2, 3):
            edge = degree * l_max
            found = held_out_r2(l_max, degree, edge + 1)
            rows.append(
                {
                    "L": str(l_max),
                    "d": str(degree),
                    "rank": str(monomial_rank(l_max, degree)),
                    "(dL + 1)²": str((edge + 1) ** 2),
                    "R² at dL": f"{found[edge]:.3f}",
                    "R² at dL + 1": f"{found[edge + 1]:.3f}",
                }
            )
    return Table("calibration", pd.DataFrame(rows), "Calibration without a model: one direction")


def _calibration_figure() -> Drawing:
    return Drawing(
        "calibration",
        figures.calibration(),
        "Left: held-out R² of the harmonics of degree ℓ by all polynomials of degree d of the "
        "harmonics up to L of one direction; the mark is dL. Right: R² of cos 5φ for one atom, and "
        "for five identical atoms on a ring about the axis, turned by φ (C5 as it is read here).",
    )


def _cells(one: Curve) -> dict[str, str]:
    if one.reason:
        return {"layer": one.layer or NONE, "L": NONE, "dL": NONE, "readable up to": NONE,
                "not read": one.reason}  # fmt: skip
    degrees = {f"ℓ = {k}": f"{value:.3f}" for k, value in enumerate(one.values, 1)}
    return {"layer": one.layer or NONE, "L": str(one.l_max), "dL": f"{one.boundary:g}",
            "channels": str(one.channels), "held out": str(one.held_out), **degrees,
            "readable up to": one.readable_text, "not read": ""}  # fmt: skip


def _angle_table(
    scores: Mapping[str, pd.DataFrame], labels: Mapping[str, str], system: str
) -> pd.DataFrame:
    rows = []
    for name, frame in scores.items():
        for metric, what in (("r2", "R² of E + A·P_ℓ"), ("r2_inj", "R²_inj")):
            one = summary.curve(frame, ANGLE, system, metric)
            if one is None:
                continue
            cells = {"model": labels[name], "number": what}
            if one.reason:
                rows.append(cells | {"not read": one.reason})
                break
            degrees = {f"ℓ = {k}": f"{value:.3f}" for k, value in enumerate(one.values, 1)}
            rows.append(cells | degrees)
    return _table(rows)


def _table(rows: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    """Cells of rows with different columns, in the order of the row that has most."""
    ordered = sorted(rows, key=len, reverse=True)
    columns = dict.fromkeys(column for row in ordered for column in row)
    return pd.DataFrame(rows, columns=list(columns)).fillna("")


def _clear_note(scores: Mapping[str, pd.DataFrame], system: str) -> str:
    shares = [frame.attrs.get("clear", {}).get(system) for frame in scores.values()]
    share = next((one for one in shares if one is not None), float("nan"))
    return (
        f"Of the directions {share:.1%} count: in the others the neighbour comes nearer than "
        f"{CLOSEST_ANGSTROM:g} Å to an atom that is not its own, where no network has been "
        "trained and features grow out of all proportion. Directions with a hole are not uniform, "
        "so that one direction alone lets a little be read above dL; a leak of the network is what "
        "lies above that. The control `everywhere` takes all directions."
    )


def _angle_note(scores: Mapping[str, pd.DataFrame], system: str) -> str:
    held = [frame.attrs.get("angles", {}).get(system) for frame in scores.values()]
    low, high = next((one for one in held if one), (float("nan"), float("nan")))
    return (
        f"In these frames cos θ goes from {number(low)} to {number(high)}. On a narrow range "
        "every P_ℓ is nearly a straight line or a parabola, so that no cliff can stand here, "
        "whatever the features hold."
    )


def _cliff_table(scores: Mapping[str, pd.DataFrame], system: str) -> pd.DataFrame:
    rows = []
    for probe, what in ((SYMMETRY, "A"), (DIAGNOSIS, "B"), (FIRST_LAYER, "B, first layer")):
        found, reasons = summary.cliffs(scores, probe, system)
        for potential, one in found.items():
            planned = summary.planned_seeds(scores, potential)
            cells = _cliff_cells(one, max(planned, one.backbones))
            rows.append({"potential": potential, "design": what, **cells})
        for name, why in reasons.items():
            rows.append({"potential": name, "design": what, "none": why})
    return _table(rows)


def _cliff_cells(one: Cliff, planned: int) -> dict[str, str]:
    sign = "≥ " if one.bound else ""
    narrow = " (too narrow)" if one.backbones < FEWEST_BACKBONES else ""
    interval = f"{one.low:.1f} to {one.high:.1f}" if np.isfinite(one.high) else f"≥ {one.low:.1f}"
    read = one.at >= LEAST_RHO
    return {
        "backbones": f"{one.backbones} of {planned}",
        "groups": str(one.groups),
        "ρ(dL)": f"{one.at:.3f}",
        "ρ(dL + 1)": f"{one.above:.3f}",
        "cliff": f"{sign}{one.ratio:.1f}" if read else NONE,
        "95 % interval": f"{interval}{narrow}" if read else NONE,
        "ρ(dL) − ρ(dL + 1)": f"{one.difference:.3f}",
        "its interval": f"{one.difference_low:.3f} to {one.difference_high:.3f}{narrow}",
    }


def _control_table(
    scores: Mapping[str, pd.DataFrame], labels: Mapping[str, str], system: str
) -> pd.DataFrame:
    rows = []
    for name, frame in scores.items():
        for probe in PROBES:
            one = summary.curve(frame, probe, system)
            if one is None:
                continue
            cells = {"model": labels[name], "readout": probe.name}
            if one.reason:
                rows.append(cells | {"not read": one.reason})
                continue
            degrees = {f"ℓ = {k}": f"{value:.2f}" for k, value in enumerate(one.values, 1)}
            size = {"channels": str(one.channels), "columns": str(one.columns),
                    "frames": str(one.frames)}  # fmt: skip
            rows.append(cells | size | degrees)
    return _table(rows)


def notes(inputs: SectionInputs, systems: list[str]) -> tuple[str, ...]:
    """How to read the section, models that have no answer, and the question to our own data."""
    found = [
        f"What a readout reads of frozen features, with the designs kept apart ({_README}). Only "
        "B tells something of a model: in A all that lies above dL is 0 by symmetry, in B features "
        "of several layers or of several bodies may hold more.",
        "Degree 0 is a constant, which the offset of every readout takes; it has no row. The "
        "held-out conformers come from one trajectory of one molecule.",
        "The boundary dL holds for features of one neighbour. Where B reads degrees above it, the "
        "features themselves hold products; it is no upper bound for such a network.",
    ]
    reasons: dict[str, list[str]] = {}
    for name, frame in inputs.scores.items():
        rows = frame[(frame["probe"] == DIAGNOSIS.name) & (frame["status"] != "ok")]
        for reason in dict.fromkeys(rows["message"]):
            reasons.setdefault(str(reason), []).append(name)
    found += [f"Not read: {', '.join(names)} ({reason})." for reason, names in reasons.items()]
    planned = summary.planned_backbones(inputs.scores)
    if lacking := [name for name in planned if name not in inputs.scores]:
        found.append(
            f"Of {len(planned)} planned backbones {len(lacking)} are not here (the training failed "
            f"or is not done, or the run leaves them out): {', '.join(lacking)}."
        )
    return (*found, *(_smoothness_note(_association(inputs, one), one) for one in systems))


def _association(inputs: SectionInputs, system: str) -> Association:
    bonds = inputs.others.get("bonds", {})
    families = {name: inputs.facts[name].family for name in inputs.scores}
    return association.ceiling_and_smoothness(inputs.scores, bonds, families, system)


def _smoothness_note(one: Association, system: str) -> str:
    told = f"rank correlation within families {one.rho:+.2f}, p = {number(one.p)}"
    return (
        "Does a higher ceiling go with a smoother surface? Ceiling (readable up to, B, two "
        f"channels) against the mean {association.SMOOTHNESS} of the {one.scans} bond scans of "
        f"{system} that all have, over {one.potentials} potentials that were trained on frames of "
        f"{system} alone: {told if np.isfinite(one.rho) else 'no rank correlation'}"
        f"{'' if one.resolved else ', not resolved'}. Exploratory: at least "
        f"{association.FEWEST_POTENTIALS} potentials are needed. Those of other data and levels of "
        "theory are points of the figure and do not count, because they differ in more than their "
        "ceiling. A bond scan tests how smooth the energy is along a distance, while the ceiling "
        "is one of angles; torsions, which would test it, are not scanned."
    )


def board(scores: Mapping[str, pd.DataFrame], systems: list[str]) -> list[BoardColumn]:
    """The ceilings of design B, the smallest over molecules."""
    told = {
        LINEAR: Metric("spectral_linear", "linearly readable up to ℓ", help=f"Design B. {_CAP}"),
        DIAGNOSIS: Metric("spectral_readable", "readable up to ℓ", "", "",
                          f"Design B, by a polynomial of degree 2. {_CAP}"),
    }  # fmt: skip
    found = []
    for probe, metric in told.items():
        values = {}
        for name, frame in scores.items():
            some = [summary.curve(frame, probe, system) for system in systems]
            known = [one.readable for one in some if one is not None and not one.reason]
            if known:
                values[name] = min(known)
        found.append(BoardColumn(metric, values, kind=INTEGER))
    return found
