"""The explorer in a real browser, opened from disk; the cases are in explorer/test/page.mjs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from test_explorer import value_of
from test_merge import METHOD, SETTINGS, Group, control, net, run
from test_merge_hostile import shown

from page_tests import GROUP, cases, missing, run_cases
from pesbench.report.explorer.scripts import write_script
from pesbench.tasks.dynamics.stored import BlackBox, Segment, Trajectory
from pesbench.tasks.dynamics.writing import write_trajectories
from plots import add_plots

__all__ = ["shown"]  # a fixture of test_merge_hostile
CASES = cases("page.mjs")
pytestmark = GROUP
FAILS_AT = 20


def dynamics_that_fail(group: Group, entry) -> None:
    """A diatomic that breaks at step 20, and one that swings to the end."""
    n, every = SETTINGS.n_steps, SETTINGS.store_every
    pair = {"temperature_k": 300.0, "replicate": 0, "numbers": np.array([6, 7]), "charge": 0,
            "bonds": np.array([[0, 1]]), "spin": 1, "degrees_of_freedom": 1, "relaxed": True,
            "relax_steps": 3, "relax_fmax": 0.01}  # fmt: skip
    plan = [
        Trajectory("a", last_step=FAILS_AT, failure="long_bond", failure_step=FAILS_AT, **pair),
        Trajectory("b", last_step=n, **pair),
    ]
    kinetic = np.repeat(0.02 * np.sin(np.arange(n + 1) / 3)[:, None] ** 2, 2, axis=1)
    positions = np.zeros((n + 1, 4, 3))
    positions[:, 1, 0] = 1.3 + 0.1 * np.arange(n + 1)
    positions[:, 3, 0] = 1.3
    frames = np.arange(0, n + 1, every)
    last = np.arange(FAILS_AT - 9, FAILS_AT + 1)
    box = BlackBox(last, positions[last, :2], np.zeros((len(last), 2, 3)))
    whole = Segment(
        0, -kinetic, kinetic, frames, positions[frames], np.zeros((len(frames), 4, 3)), {0: box}
    )
    attributes = group.attributes(entry, "pesbench.tasks.dynamics.run")
    write_trajectories(
        group.folder / entry.name / "dynamics" / "0000.h5", plan, [whole],
        timestep_fs=SETTINGS.timestep_fs, store_every=every,
        attributes=attributes | {"settings": asdict(SETTINGS), "n_steps": n},
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(toys, toy_set, tmp_path_factory) -> Path:
    """The explorer of four models: two are ranked."""
    place = tmp_path_factory.mktemp("explorer")
    group = Group(place / "group", toy_set, toys)
    group.scans(group.add(METHOD))
    group.scans(group.add(control()), rough=1.0)
    ours, theirs = group.add(net("ours")), group.add(net("theirs", "b"))
    group.scans(ours, rough=0.05)
    group.scans(theirs, rough=0.01)
    dynamics_that_fail(group, ours)
    group.dynamics(theirs)
    assert run(group.folder, "--out", place / "out") == 0
    add_plots(place / "out", place / "out" / "toys.h5", ["ours", "theirs", "elsewhere"])
    _tell_of_models(place / "out" / "explorer" / "data")
    return place / "out" / "explorer"


def _tell_of_models(data: Path) -> None:
    """One model says much, another was refused for an element; the rest says nothing."""
    _, told = value_of((data / "index.js").read_text(encoding="ascii"))
    names = [row["model"] for row in told["rows"]]
    told["cards"][names.index("ours")] |= {
        "elements": "C, N, P", "training_data": "Frames of a fair", "description": "Long. " * 300,
    }  # fmt: skip
    told["rows"][names.index("theirs")]["lacking"] = "P, S"
    runs = told["tasks"]["dynamics"]["runs"]
    rows = [dict(zip(runs["columns"], row, strict=True)) for row in runs["rows"]]
    for row in rows:
        if row["outcome"] == "failed":
            row["message"] = "step 29 (0.0145 ps): long_bond: C0-N1 at 2.95 Å, limit 2.94 Å"
    rows[-1] |= {"status": "unsupported", "outcome": "not_at_risk", "message": "unknown: P"}
    runs["rows"] = [list(row.values()) for row in rows]
    write_script(data, "index", told)


@pytest.fixture(scope="module")
def told(request) -> dict[str, str]:
    if reason := missing():
        pytest.skip(reason)
    folder, hostile = request.getfixturevalue("made"), request.getfixturevalue("shown")[0]
    names = ["<img src=x onerror=alert(1)>", '"quoted" | pipe', "=cmd"]
    add_plots(hostile, hostile / "toys.h5", names)
    return run_cases("page.mjs", folder, hostile / "explorer")


@pytest.mark.parametrize("case", CASES)
def test_page(told, case):
    assert told[case] == "", told[case]
