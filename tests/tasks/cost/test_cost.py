"""Cost of a step: what is timed, failures, scores and the section."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pandas as pd
import pytest

from examples import fake_entry, faulty, toy_scan, write_toys
from pesbench.commands.scoring import write_scores
from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.core.jobs import RunJob, ScoreJob
from pesbench.core.section import SectionInputs
from pesbench.core.systems import System
from pesbench.core.task import row_key
from pesbench.files.environment import Environment
from pesbench.files.rounding import Rounding
from pesbench.files.scan_set import ScanSet
from pesbench.files.scan_set_systems import scan_set_systems
from pesbench.models.facts import ModelFacts
from pesbench.tasks.cost import run as cost
from pesbench.tasks.cost.results import results
from pesbench.tasks.cost.score import score, score_molecule
from pesbench.tasks.cost.section import section
from pesbench.tasks.cost.settings import CostSettings
from pesbench.tasks.cost.stored import MoleculeTimes, Times
from pesbench.tasks.cost.task import MOST_MOLECULES, TASK

SETTINGS = CostSettings(warm_up=2, steps=6, budget_s=60)


@pytest.fixture
def toys(tmp_path):
    write_toys(tmp_path / "toys.h5", [toy_scan("a", "CC"), toy_scan("b", "CN")])
    return tmp_path / "toys.h5"


def timed(toys, entry, out, settings=SETTINGS, systems=("a",)):
    cost.run(RunJob(entry, toys, systems, settings, out, device="cpu"))
    with Times(out) as times:
        return [times.molecule(name) for name in times.systems]


def scored(toys, *files, **job):
    return score(ScoreJob(sorted(files), toys, SETTINGS, **job))


def test_every_call_has_a_geometry_of_its_own_near_the_minimum(toys):
    with ScanSet(toys) as scan_set:
        system = scan_set_systems(scan_set)[0]
    batches = list(itertools.islice(cost.geometries(system, 0.02), 300))
    moved = np.array([batch.positions - system.positions for batch in batches])
    assert len(np.unique(moved[:, 0, 0])) == 300
    assert moved.std() == pytest.approx(0.02, rel=0.1)
    assert {batch.n_systems for batch in batches} == {1}
    # the same ones for every model
    again = next(cost.geometries(system, 0.02))
    assert np.array_equal(again.positions, batches[0].positions)


def test_calls_are_timed_in_the_model(toys, tmp_path):
    def slow(seconds, name):
        entry = fake_entry(arguments={"pause_s": seconds}, name=name)
        return timed(toys, entry, tmp_path / f"{name}.h5")[0]

    quick, late = timed(toys, fake_entry(), tmp_path / "quick.h5")[0], slow(0.05, "late")
    assert (quick.status, late.status) == (Status.OK, Status.OK)
    assert len(quick.seconds) == len(late.seconds) == SETTINGS.steps
    assert late.seconds.min() >= 0.05
    assert quick.seconds.min() < 0.05
    assert late.cpu_s < 0.05  # it slept
    assert late.queue_s < late.seconds.mean()


def test_a_budget_ends_the_calls_but_never_the_first_three(toys, tmp_path):
    entry = fake_entry(arguments={"pause_s": 0.05})
    settings = CostSettings(warm_up=1, steps=1000, budget_s=0.4)
    start = time.monotonic()
    (found,) = timed(toys, entry, tmp_path / "a.h5", settings)
    assert 3 <= len(found.seconds) <= 8
    assert time.monotonic() - start < 30
    settings = CostSettings(warm_up=1, steps=1000, budget_s=1e-6)
    (found,) = timed(toys, entry, tmp_path / "b.h5", settings)
    assert len(found.seconds) == cost.FEWEST


def test_the_time_of_a_program_beside_the_model_is_not_taken_for_none(toys, tmp_path):
    """Else the CPU time of a calculator that asks a server would be next to nothing."""
    (found,) = timed(toys, fake_entry("AsksAProgram"), tmp_path / "a.h5")
    assert found.status is Status.OK
    assert np.isnan(found.cpu_s)
    frame = scored(toys, tmp_path / "a.h5")
    row = frame.iloc[0]
    assert row["steps_per_day"] == pytest.approx(86_400e3 / row["ms_per_step"])
    (table,) = section(inputs({"fake": frame})).tables
    assert table.rows["CPU (ms)"][0] == "n/a"


@pytest.mark.parametrize(
    ("entry", "status", "said"),
    [
        (fake_entry(elements=["H"]), Status.UNSUPPORTED, "unknown elements: C"),
        (faulty("raise"), Status.ERROR, "call 0: "),
        (faulty("exit"), Status.CRASHED, "worker died"),
        (fake_entry("construction_raises"), Status.ERROR, "did not load"),
    ],
    ids=["unsupported", "raises", "dies", "does not load"],
)
def test_a_failure_has_its_reason_and_no_number(toys, tmp_path, entry, status, said):
    found = timed(toys, entry, tmp_path / "c.h5", systems=("a", "b"))
    assert [one.status for one in found] == [status, status]
    assert said in found[0].message
    frame = scored(toys, tmp_path / "c.h5")
    assert list(frame["system"]) == ["a", "b"]
    assert frame[[metric.name for metric in TASK.metrics]].isna().all(axis=None)
    shown = section(inputs({"fake": frame}))
    assert shown.sentence == "No model was timed."
    assert said in shown.tables[0].rows["not timed"][0]
    values = {one.metric.name: one.values for one in shown.board}
    assert values["cost_ms_per_step"] == {}
    assert values["cost_n_planned"] == {"fake": 2}


def test_it_is_timed_in_the_environment_of_the_model(toys, tmp_path):
    environment = Environment(failure="its environment could not be made: pip: no network")
    out = tmp_path / "c.h5"
    cost.run(RunJob(fake_entry(), toys, ["a"], SETTINGS, out, environment=environment))
    with Times(out) as times:
        found = times.molecule("a")
    assert found.status is Status.ERROR
    assert found.message.endswith("pip: no network")


def test_a_molecule_that_is_not_there_and_a_control_are_refused(toys, tmp_path):
    with pytest.raises(UserError, match="no molecule 'zz'"):
        timed(toys, fake_entry(), tmp_path / "c.h5", systems=("zz",))
    names = [f"m{number}" for number in range(MOST_MOLECULES + 1)]
    with pytest.raises(UserError, match=r"at most 10, in `cost\.systems`"):
        TASK.shards(names, names, CostSettings(), 100)


def times_of(seconds, cpu_s, queue_s=0.0, load=1.0):
    status = Status.OK
    return MoleculeTimes("a", np.array([6, 6]), np.array(seconds), status, "", cpu_s, queue_s, load)


def test_the_numbers_follow_from_the_times():
    found = score_molecule(times_of([0.1, 0.3, 0.2], 0.15), 250e6, 0, one_thread=False)
    assert found["ms_per_step"] == pytest.approx(200)
    assert found["fastest_ms"] == pytest.approx(100)
    assert found["cpu_ms"] == pytest.approx(150)
    assert found["steps_per_day"] == pytest.approx(432_000)
    assert found["peak_memory_mb"] == pytest.approx(250)
    assert np.isnan(found["device_memory_mb"])
    assert found["n_steps"] == 3
    found = score_molecule(times_of([0.1], 0.1), 0, 0, one_thread=True)
    assert np.isnan(found["peak_memory_mb"])


def test_time_that_a_thread_waits_for_others_is_no_cost():
    busy, idle = times_of([0.9, 0.3, 0.6], 0.15, queue_s=0.45), times_of([0.1, 0.3, 0.2], 0.1)
    asleep, untold = times_of([0.2, 0.2, 0.2], 0.01), times_of([0.2], 0.1, queue_s=np.nan)
    one = {"memory_bytes": 1e6, "gpu_bytes": 0, "one_thread": True}
    assert score_molecule(busy, **one)["steps_per_day"] == pytest.approx(86_400 / 0.15)
    assert score_molecule(idle, **one)["steps_per_day"] == pytest.approx(86_400 / 0.2)
    assert score_molecule(busy, **one)["ms_per_step"] == pytest.approx(600)
    assert score_molecule(asleep, **one)["steps_per_day"] == pytest.approx(86_400 / 0.2)
    assert score_molecule(untold, **one)["steps_per_day"] == pytest.approx(86_400 / 0.2)


def test_scores_know_the_machine_and_the_memory(toys, tmp_path):
    out = tmp_path / "scores" / "cost.parquet"
    timed(toys, fake_entry(), tmp_path / "c.h5", systems=("a", "b"))
    write_scores("cost", ScoreJob([tmp_path / "c.h5"], toys, SETTINGS, entry=fake_entry()), out)
    frame = pd.read_parquet(out)
    assert list(frame.columns) == list(TASK.columns)
    assert list(frame["n_atoms"]) == [2, 2]
    assert set(frame["device"]) == {"cpu"}  # the calculator does not tell
    assert (frame["cpu"] != "").all()
    assert (frame["cores"] >= 1).all()
    assert frame["peak_memory_mb"].between(10, 10_000).all()
    (how,) = frame.attrs["made_from"]
    assert (how["device"], how["elements"]) == ("calculator", "")
    timed(toys, fake_entry(elements=["N", "C"]), tmp_path / "known.h5")
    assert scored(toys, tmp_path / "known.h5").attrs["made_from"][0]["elements"] == "C N"
    with pytest.raises(UserError, match="another entry"):
        scored(toys, tmp_path / "c.h5", entry=fake_entry(batch_size=7))


def test_times_differ_and_are_alike(toys, tmp_path):
    timed(toys, fake_entry(), tmp_path / "one.h5")
    timed(toys, fake_entry(), tmp_path / "two.h5")
    timed(toys, faulty("raise", name="fake"), tmp_path / "bad.h5")
    key = row_key(("a",))
    with (
        results(tmp_path / "one.h5") as one,
        results(tmp_path / "two.h5") as two,
        results(tmp_path / "bad.h5") as bad,
    ):
        assert one.alike(two, key, 1e-9, Rounding())
        assert not one.alike(bad, key, 1e-9, Rounding())


# --- the section ---------------------------------------------------------------------------------


def inputs(scores):
    facts = {name: ModelFacts(name, "ase", "model") for name in scores}
    return SectionInputs("cost", scores, facts)


def rows(model, *molecules, **columns):
    """Scores of a model: time and CPU time of each molecule in ms, by the number of atoms."""
    made = []
    for n_atoms, ms, cpu_ms in molecules:
        system = System(
            f"m{n_atoms}", np.ones(n_atoms, int), np.zeros((n_atoms, 3)), np.empty((0, 2))
        )
        numbers = score_molecule(times_of([ms / 1e3] * 3, cpu_ms / 1e3), 1e8, 0, one_thread=True)
        made.append({"model": model, "system": system.id, "n_atoms": n_atoms, "status": "ok",
                     "message": "", "device": "cpu", "cpu": "Abacus 9", "cores": 2, "threads": 1}
                    | numbers | columns)  # fmt: skip
    return pd.DataFrame(made, columns=list(TASK.columns))


def test_the_sentence_names_the_fastest_and_the_slowest_on_the_largest_molecule():
    shown = section(
        inputs({"a": rows("a", (9, 1, 1), (28, 4, 4)), "b": rows("b", (9, 0.1, 0.1), (28, 90, 90))})
    )
    assert shown.sentence == (
        "A step of molecular dynamics of m28 (28 atoms) takes between 4.00 ms (a, Abacus 9, 1 "
        "thread) and 90.0 ms (b, Abacus 9, 1 thread)."
    )
    (table,) = shown.tables
    assert list(table.models) == ["a", "a", "b", "b"]
    assert list(table.rows["molecule"][:2]) == ["m9 (9 atoms)", "m28 (28 atoms)"]
    assert table.rows["steps a day"][3] == "960\u202f000"
    assert not {"not timed", "on the GPU (MB)"} & set(table.rows.columns)
    assert "2 cores" in shown.notes[1]
    assert len(shown.notes) == 2


def test_a_busy_machine_is_told_of():
    scores = {"a": rows("a", (28, 40, 39)), "late": rows("late", (28, 40, 20))}
    (*_, said) = section(inputs(scores)).notes
    assert said.startswith("A step of these models took longer")
    assert said.endswith(": late.")
    # a process waits for its GPU
    gpu = {"late": rows("late", (28, 40, 20), device="Tesla X", device_memory_mb=900.0)}
    shown = section(inputs(gpu))
    assert len(shown.notes) == 2
    assert shown.tables[0].rows["on the GPU (MB)"][0] == "900"
    values = {one.metric.name: one.values for one in shown.board}
    assert values["cost_device"] == {"late": "Tesla X"}
