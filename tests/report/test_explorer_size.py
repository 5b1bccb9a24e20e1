"""How large the explorer of 30 models on BSCT-SPICE is, from a scan and a run of its usual size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pesbench.core.exploring import Explored, ExplorerJob
from pesbench.core.interface import Status
from pesbench.core.scans import Scan
from pesbench.files.evaluation import ScanEvaluation
from pesbench.report.explorer.scripts import script
from pesbench.tasks.bonds import explorer as bonds
from pesbench.tasks.dynamics import explorer as dynamics
from pesbench.tasks.dynamics.stored import BlackBox, Segment, Trajectory
from pesbench.tasks.dynamics.writing import write_trajectories

MODELS, SCANS, FRAMES, ATOMS = 30, 485, 100, 25  # of BSCT-SPICE, whose scans have 25.1 atoms
CONTROLS = 33  # of config/bsct_spice.yaml, as are 45 molecules x 3 temperatures x 3 replicates
RUNS = 405
STEPS = 20_000  # of 0.5 fs; a longer run has no more points
MOST = 60e6  # bytes of the folder, and 5e6 that are loaded first, without the libraries
PLACES = 10  # of the largest slopes on a scan; the 13 kept models have 3.5 on average
# assets 1.5 MB, "worst.png" 0.11 MB a model, rows of the atlas 4.4 MB, other sections 1.3 MB
FIXED = 10.5e6


def size(value: Any) -> int:
    return len(script("task/piece-12", value))


def bonds_bytes(monkeypatch) -> float:
    rng = np.random.default_rng(1)
    start = rng.normal(scale=2.0, size=(ATOMS, 3))
    x = np.linspace(0.8, 3.0, FRAMES)
    fragment = np.arange(ATOMS) % 2
    vector = (start[1] - start[0]) / np.linalg.norm(start[1] - start[0])
    move = (x - np.linalg.norm(start[1] - start[0]))[:, None, None] * vector
    scan = Scan(
        id="C-N/12345", system="12345", bond="C-N", coordinate=x, atoms=(0, 1),
        positions=start + move * np.where(fragment == 1, 0.5, -0.5)[:, None],
        numbers=np.full(ATOMS, 6), fragment=fragment, bonds=np.array([[0, 1]] * 26),
        energy=-1e4 + 5 * (x - 1.4) ** 2, forces=rng.normal(size=(FRAMES, ATOMS, 3)),
        smiles="C" * 30, positions_unperturbed=start,
    )  # fmt: skip
    answer = ScanEvaluation(
        scan.id, rng.normal(size=FRAMES), rng.normal(size=(FRAMES, ATOMS, 3)),
        np.full(FRAMES, Status.OK.code, np.int8), Status.OK, "", 0.0,
    )  # fmt: skip
    monkeypatch.setattr(bonds, "read_evaluation", lambda *_: answer)
    row = dict.fromkeys(bonds.NUMBERS, 1.2345678) | dict.fromkeys(bonds.WORDS, "ok")
    peaks = [x[9 * (k % PLACES) + 4] + 0.01 for k in range(MODELS)]
    rows = {k: row | {"fsd_peak_coordinate": peak} for k, peak in enumerate(peaks)}
    scan_piece = size(bonds._scan_piece(scan, rows, {k: {scan.id: None} for k in rows}))
    row_bytes = size(bonds._model_piece(dict.fromkeys(range(100), row))) / 100
    return SCANS * (scan_piece + (MODELS + CONTROLS) * row_bytes)


def dynamics_bytes(tmp_path: Path) -> tuple[float, float]:
    """Of the pieces of runs, and of what is loaded first."""
    names = [f"molecule_12345_{k}" for k in range(2)]
    rng = np.random.default_rng(2)
    plan = [
        Trajectory(name, 1000.0, 0, np.full(ATOMS, 6), np.array([[0, 1]] * 26), 0, 1, 69,
                   last_step=STEPS, failure="long_bond", failure_step=STEPS, relaxed=True)
        for name in names
    ]  # fmt: skip
    series = rng.normal(size=(STEPS + 1, len(names)))
    frames = np.array([0, STEPS])
    last = np.arange(STEPS - 99, STEPS + 1)
    box = BlackBox(last, rng.normal(size=(100, ATOMS, 3)), np.zeros((100, ATOMS, 3)))
    positions = rng.normal(size=(2, ATOMS * len(names), 3))
    whole = Segment(0, series, np.abs(series), frames, positions, positions, {0: box, 1: box})
    path = tmp_path / "0000.h5"
    write_trajectories(
        path, plan, [whole], timestep_fs=0.5, store_every=STEPS,
        attributes={"model": "toy", "settings": {"replicates": 1}},
    )  # fmt: skip
    scores = pd.DataFrame(
        [
            {"model": "toy", "trajectory": name, "system": "molecule_12345", "replicate": 0,
             "temperature_k": 1000.0, "timestep_fs": 0.5, "outcome": "failed",
             "failure": "long_bond", "status": "ok", "message": "", "time_ps": 9.98765,
             "planned_ps": 20.0, "temperature_spike": 1.234567,
             "energy_drift_mev_per_atom_ps": 1.234567, "energy_rms_mev_per_atom": 1.234567}
            for name in (one.name for one in plan)
        ]
    )  # fmt: skip
    put: dict[str, Any] = {}
    job = ExplorerJob(path, {0: Explored("toy", "model", scores, [path])}, put.__setitem__)
    told = dynamics.explorer(job)
    with_last = size(put["run-0"])
    without = with_last - size(put["run-0"]["last"])
    assert len(put) == 2
    index = RUNS * size(told["runs"]["rows"][0]) + size(told["survival"])
    # what the module takes a run and its last steps for is what they have
    assert without == pytest.approx(dynamics.CURVE_BYTES, rel=0.1)
    assert with_last - without == pytest.approx(100 * ATOMS * dynamics.ATOM_BYTES, rel=0.1)
    most = dynamics.CURVES_BYTES + dynamics.LAST_STEPS_BYTES
    return most * 1.1, MODELS * index


def test_the_folder_of_thirty_models_on_bsct_spice_can_be_published(tmp_path, monkeypatch):
    scans = bonds_bytes(monkeypatch)
    runs, first = dynamics_bytes(tmp_path)
    told = f"scans {scans / 1e6:.1f} MB, runs {runs / 1e6:.1f} MB, first {first / 1e6:.1f} MB"
    print(told)
    assert scans + runs + first + FIXED < MOST, told
    assert first < 4e6, told
