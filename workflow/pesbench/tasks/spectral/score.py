"""Scores of a model's features, from stored files: no model, no GPU, half a minute a molecule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.core.jobs import ScoreJob
from pesbench.files import provenance
from pesbench.files.csv_files import read_rows
from pesbench.files.integrity import check_owner, check_scan_set
from pesbench.files.scan_set import ScanSet
from pesbench.tasks.spectral.designs import INVARIANT, MOVED
from pesbench.tasks.spectral.probes import DIRECTION, PROBES, Probe
from pesbench.tasks.spectral.reading import NotReadError, Readings, read_probe
from pesbench.tasks.spectral.stored import DEEPEST, Features, MoleculeFeatures
from pesbench.tasks.spectral.task import TASK

if TYPE_CHECKING:
    import pandas as pd

SEEN_TWICE = "is in another file, too"


def score(job: ScoreJob) -> pd.DataFrame:
    """Score a model's features: a row a molecule, probe and injected degree.

    Args:
        job: `files` are of the model.

    Returns:
        The attributes hold, for the report, `gains` by molecule, probe and degree (lists of gain
        and oracle gain by group), `angles` (range of cos θ of design C), `clear` (share of frames
        of design B that count), `backbone`, the name that seeds of one potential share, and
        `planned`, the name of the potential of each backbone of the settings.

    Raises:
        UserError: a file is damaged or of another entry or scan set, the files were made with
            different settings or hold a molecule twice, or there is no selected molecule.
    """
    import pandas as pd  # the workflow's environment has it; a family's need not

    rows: list[dict[str, Any]] = []
    held: dict[str, dict[str, Any]] = {"gains": {}, "angles": {}, "clear": {}}
    made_from, settings, seen = [], None, set()
    with ScanSet(job.scan_set) as opened:
        sha256 = opened.sha256
    for path in sorted(job.files):
        with Features(path) as file:
            _check(file, job, sha256, settings)
            settings = file.settings
            made_from.append(provenance.summary(file.attributes, "pesbench.tasks.spectral.run"))
            for system in file.systems:
                if system in seen:
                    raise UserError(f"{path}: molecule {system!r} {SEEN_TWICE}")
                seen.add(system)
                if job.selects(system):
                    rows += _rows(file, file.molecule(system), held)
    if not rows:
        raise UserError(f"{job.files[0]}: holds no selected molecule; select others")
    frame = pd.DataFrame(rows)
    frame.attrs = {
        "scan_set_sha256": sha256,
        "settings": settings,
        "made_from": made_from,
        "backbone": job.entry.potential if job.entry else str(rows[0]["model"]),
        "planned": _planned(job.settings.backbones),
        **held,
    }
    return frame


def _planned(path: str | None) -> dict[str, str]:
    """Name of the potential of each planned backbone, by that of the backbone.

    Raises:
        UserError: the file is missing or no such table.
    """
    if path is None:
        return {}
    rows = read_rows(Path(path), ("model", "potential"))
    return {cells["model"]: cells["potential"] for _, cells in rows}


def _check(file: Features, job: ScoreJob, sha256: str, settings: Any) -> None:
    check_scan_set(file.path, file.scan_set_sha256, job.scan_set, sha256)
    if job.entry is not None:
        check_owner(file.path, file.attributes, job.entry.name, job.entry.deciding())
    if settings is not None and file.settings != settings:
        raise UserError(
            f"{file.path}: was made with the settings {file.settings}, another file with "
            f"{settings}; make both with the same"
        )


def _rows(
    file: Features, molecule: MoleculeFeatures, held: dict[str, dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    highest = file.highest_degree
    if molecule.status is Status.OK:
        cosines = molecule.designs[INVARIANT].cosines
        assert cosines is not None  # `Features` refuses a file without them
        held["angles"][molecule.system] = [float(cosines.min()), float(cosines.max())]
        clear = molecule.designs[MOVED].clear
        held["clear"][molecule.system] = float(clear.mean())
    for probe in PROBES:
        status, message, found = molecule.status, molecule.message, None
        layer = molecule.chosen.get(probe.layer, "")
        if status is Status.OK:
            try:
                found = _read(probe, molecule, highest)
            except NotReadError as error:
                status, message = error.status, str(error)
        for degree, one in {} if found is None else found.by_degree.items():
            if one.gains is not None:
                held["gains"][f"{molecule.system}|{probe.name}|{degree}"] = {
                    name: np.round(some, 9).tolist() for name, some in asdict(one.gains).items()
                }
        for degree in range(1, highest + 1):
            yield _row(file.model, molecule, probe, degree, (status, message, layer, found))


def _read(probe: Probe, molecule: MoleculeFeatures, highest: int) -> Readings:
    if probe.layer not in (*molecule.chosen, DIRECTION):
        raise NotReadError("the network has one layer with a degree above 0")
    irreps = molecule.layers[molecule.chosen.get(probe.layer, molecule.chosen[DEEPEST])]
    return read_probe(probe, molecule.designs, irreps, _l_max(molecule, probe), highest)


def _l_max(molecule: MoleculeFeatures, probe: Probe) -> int:
    """Highest degree that is read of the layer of a probe; 0 without features."""
    if probe.layer not in molecule.chosen:
        return molecule.l_max
    irreps = molecule.layers[molecule.chosen[probe.layer]]
    return min(molecule.l_max, max(degree for _, degree in irreps))


def _row(
    model: str,
    molecule: MoleculeFeatures,
    probe: Probe,
    degree: int,
    read: tuple[Status, str, str, Readings | None],
) -> dict[str, Any]:
    status, message, layer, found = read
    one = None if found is None else found.by_degree[degree]
    nan, l_max = float("nan"), _l_max(molecule, probe)
    row = {
        "model": model,
        "system": molecule.system,
        "probe": probe.name,
        "degree": degree,
        "design": probe.design,
        "layer": probe.layer,
        "layer_name": layer,
        "head": probe.head,
        "readout_degree": probe.degree,
        "status": status.value,
        "message": message,
        "l_max": l_max,
        "boundary": probe.boundary * l_max,
        "channels": 0 if found is None else found.channels,
        "columns": 0 if found is None else found.columns,
        "frames_trained": 0 if found is None else found.trained,
        "frames_held_out": 0 if found is None else found.tested,
        "r2": nan if one is None else one.r2,
        "r2_inj": nan if one is None else one.r2_inj,
        "rho": nan if one is None or one.gains is None else one.gains.rho,
    }
    assert row.keys() == {*TASK.columns}
    return row
