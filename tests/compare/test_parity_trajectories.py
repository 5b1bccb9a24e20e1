"""Numerical variants along trajectories: distances and energies at early times, conservation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pesbench.compare.parity.differences import text_rows
from pesbench.compare.parity.trajectories import NOTE, titles, trajectory_parity
from pesbench.core.interface import Status
from pesbench.models.registry import ModelEntry
from pesbench.tasks.dynamics.stored import Segment, Trajectory
from pesbench.tasks.dynamics.writing import write_trajectories

DT_FS, EVERY, N_STEPS = 0.5, 10, 260
LENGTHS = {"one": N_STEPS, "two": N_STEPS}
NUMBERS = np.array([6, 7])


def _trajectory(system: str, last_step: int) -> Trajectory:
    ended = last_step < N_STEPS
    return Trajectory(
        system, 500.0, 0, NUMBERS, np.array([[0, 1]]), 0, 1, 1, last_step=last_step,
        status=Status.ERROR if ended else Status.OK, message="gone" if ended else "",
        failure_step=last_step + 1 if ended else -1,
    )  # fmt: skip


@pytest.fixture
def stored(tmp_path):
    """Writes trajectories that part from common ones by a rate in Å and in meV a fs."""

    def write(name, position=0.0, energy_mev=0.0, drift=0.0, lengths=None, timestep_fs=DT_FS):
        lengths = LENGTHS | (lengths or {})
        steps = np.arange(N_STEPS + 1)
        time_fs = steps * timestep_fs
        common = np.random.default_rng(1).normal(size=(N_STEPS + 1, 4, 3))
        positions = common + position * time_fs[:, None, None] * (np.arange(4) == 0)[:, None]
        potential = np.sin(time_fs)[:, None] + 1e-3 * energy_mev * time_fs[:, None] * [1, 0]
        for k, last in enumerate(lengths.values()):
            potential[last + 1 :, k] = np.nan
        frames = steps[::EVERY]
        segment = Segment(
            0, potential, np.ones_like(potential), frames, positions[frames],
            np.zeros_like(positions[frames]),
        )  # fmt: skip
        plan = [_trajectory(system, last) for system, last in lengths.items()]
        path = tmp_path / f"{name}_{timestep_fs}.h5"
        attributes = {"model": name, "n_steps": N_STEPS}
        write_trajectories(
            path, plan, [segment], timestep_fs=timestep_fs, store_every=EVERY,
            attributes=attributes,
        )  # fmt: skip
        rows = [
            {
                "trajectory": one.name, "status": one.status.value, "timestep_fs": timestep_fs,
                "energy_drift_mev_per_atom_ps": drift, "energy_rms_mev_per_atom": 1.0,
            }
            for one in plan
        ]  # fmt: skip
        return path, pd.DataFrame(rows)

    return write


def _entry(name: str, **settings) -> ModelEntry:
    return ModelEntry(name, "mace", {"weights": "a.model", "dtype": "float64"} | settings)


def _table(made, **settings):
    entries = {name: _entry(name, **settings.get(name, {})) for name in made}
    files = {name: [path for path, _ in some] for name, some in made.items()}
    scores = {
        name: pd.concat([rows for _, rows in some], ignore_index=True)
        for name, some in made.items()
    }
    return trajectory_parity(entries, files, scores)


def test_differences_at_early_times_come_out_as_put_in(stored):
    table = _table(
        {"base": [stored("base")], "half": [stored("half", 1e-6, 0.02, 0.3)]},
        half={"dtype": "float32"},
    )
    found = table.set_index("quantity")
    assert set(found["base"]) == {"base"}
    for time_fs in (0, 10, 50, 100):
        apart = found.loc[f"position_angstrom_{time_fs}fs"]
        assert apart["largest_difference"] == pytest.approx(1e-6 * time_fs, abs=1e-12)
        # three of the twelve coordinates moved
        assert apart["rms_difference"] == pytest.approx(0.5e-6 * time_fs, abs=1e-12)
        assert found.loc[f"energy_mev_{time_fs}fs", "largest_difference"] == pytest.approx(
            0.02 * time_fs, abs=1e-9
        )
    drift = found.loc["energy_drift_mev_per_atom_ps"]
    assert drift["largest_difference"] == pytest.approx(0.3)
    assert found.loc["energy_rms_mev_per_atom", "largest_difference"] == 0
    assert (found["n_trajectories"] == 2).all()
    text = text_rows(table, titles(table)).iloc[0]
    assert text["trajectories"] == "2"
    assert text["positions at 50 fs (Å)"] == "5e-05"
    assert text["energy at 100 fs (meV)"] == "2"
    assert text["drift (meV/atom/ps)"] == "0.3"
    assert "relax_steps: 0" in NOTE


def test_repeats_give_the_noise(stored):
    table = _table(
        {
            "base": [stored("base")],
            "again": [stored("again", 2e-6)],
            "small": [stored("small", 1e-6, 0.5)],
        },
        again={"repeat": 1},
        small={"batch_size": 1},
    ).set_index(["model", "quantity"])
    assert table.loc[("small", "position_angstrom_100fs"), "below_noise"]
    assert not table.loc[("small", "energy_mev_100fs"), "below_noise"]


def test_only_what_both_have_is_compared_and_half_steps_are_not(stored):
    """A trajectory that failed has no score, and one with half of the step serves the order."""
    table = _table(
        {
            "base": [stored("base"), stored("base", 5.0, timestep_fs=DT_FS / 2)],
            "half": [stored("half", 1e-6, lengths={"two": 60})],
        },
        half={"dtype": "float32"},
    ).set_index("quantity")
    assert (table["n_trajectories"] == 1).all()
    assert table.loc["position_angstrom_10fs", "largest_difference"] == pytest.approx(1e-5)


def test_models_without_a_common_trajectory_have_no_row(stored):
    table = _table(
        {
            "base": [stored("base", lengths={"one": 60})],
            "half": [stored("half", lengths={"two": 60})],
        },
        half={"dtype": "float32"},
    )
    assert table.empty
