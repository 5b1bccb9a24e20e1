"""The plan of a run: what models cost, what jobs there are, what fits a budget, what it took."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import ase.io
import pandas as pd
import pytest
import yaml
from ase import Atoms

from examples import fake_entry, faulty, write_toys
from pesbench.cli import main
from pesbench.commands.plan import budget
from pesbench.commands.plan.actual import beside
from pesbench.commands.plan.command import plan, read_probe
from pesbench.commands.plan.contents import Facts, read_facts
from pesbench.commands.plan.cost import Cost, Timing, fit, two_sizes
from pesbench.commands.plan.jobs import other_jobs
from pesbench.commands.plan.prediction import Contents, Part, Speed, Together, predict
from pesbench.commands.plan.probe import Probe, probe_model, write_probe
from pesbench.commands.plan.probe_scans import candidates, write_probe_scans
from pesbench.commands.plan.tables import (
    figure,
    frame,
    proposal_text,
    run_command,
    table,
    timed_when,
    totals,
)
from pesbench.core.errors import UserError
from pesbench.core.interface import ModelInfo, Status
from pesbench.core.task import Phase, Size, Task
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import why_unsupported
from pesbench.files.scan_set import ScanSet
from pesbench.orchestration.config import Run, resolve
from pesbench.orchestration.config_files import Config, merged, read_config
from pesbench.orchestration.requests import Requests
from pesbench.orchestration.task_runs import TaskRun
from shards import evaluate_shard

REPO = Path(__file__).parents[2]
DEFAULT = yaml.safe_load((REPO / "config/config.yaml").read_text())
BSCT = read_config([REPO / "config/bsct_spice.yaml"], default=REPO / "config/config.yaml").values
PLAIN = DEFAULT | {"approach": {"models": []}}  # of tasks whose costs can be written down
CUSTOM = merged(
    PLAIN,
    {
        "models": ["gfn1-xtb", "gfn2-xtb", "mace-mini", "mace-mini-float32", "gfn2-curl_0.001"],
        "controls": ["control-zero", "control-step_2"],
        "systems": ["C-N/*", "C-O/*"],
        "shard_size": 7,
        "dynamics": {
            "models": ["gfn2-xtb", "mace-mini", "gfn2-curl_0.001"],
            "halved": ["ethanol", "acetaldehyde"],
            "shard_size": 3,
        },
        "vibrations": {"models": ["mace-mini"]},
        "ladder": {"baseline": "mace-mini", "models": ["gfn1-xtb"]},
    },
)


def made_probe(frame_s: float, atom_s: float = 0.0, **changes) -> Probe:
    """As of a method that takes frames one after another."""
    timings = tuple(
        Timing(atoms, frames, frames * (frame_s + atom_s * atoms))
        for atoms, frames in ((5, 1), (5, 10), (15, 10))
    )
    info = ModelInfo(elements=None, charges=True, batched=False, device="cpu", dtype="float64")
    return replace(
        Probe(
            info=info, load_s=1.0, tuning_s=0.5, limit=BatchLimit(systems=100),
            timings={"scan": timings, "minimum": timings}, host_bytes=200_000_000,
        ),
        **changes,
    )  # fmt: skip


def run_of(config) -> tuple[Run, dict[str, Facts]]:
    """A run whose scan set is not built, and its scans; those of BSCT-SPICE are made up."""
    run = resolve(config, REPO)
    if run.source == "molecules":
        return run, read_facts(run, REPO)
    elements = frozenset({1, 6})
    return run, {
        name: Facts(name, name, name.partition("/")[0], 100, 10 + number % 21, elements)
        for number, name in enumerate(run.planned)
    }


def probes_of(run: Run, seconds: dict[str, float] | None = None) -> dict[str, Probe]:
    names = [name for name, entry in run.models.items() if entry.family != "control"]
    every = {name: 0.01 * (number + 1) for number, name in enumerate([*names, "reference"])}
    return {name: made_probe(value) for name, value in (every | (seconds or {})).items()}


# --- what a model costs --------------------------------------------------------------------------


def test_three_calls_tell_the_cost_of_call_frame_and_atom():
    call_s, frame_s, atom_s = 0.02, 0.003, 0.0004

    def timing(atoms, frames):
        return Timing(atoms, frames, call_s + frames * (frame_s + atom_s * atoms))

    found = fit(timing(6, 1), timing(6, 32), timing(20, 10), batched=True)
    assert (
        found == pytest.approx((call_s, frame_s, atom_s, 0.0)) if isinstance(found, tuple) else True
    )
    assert (found.call_s, found.frame_s, found.atom_s) == pytest.approx((call_s, frame_s, atom_s))
    assert found.frame(50) == pytest.approx(frame_s + 50 * atom_s)


def test_a_call_of_a_frame_by_frame_method_costs_nothing_by_itself():
    # the frame that was taken alone is dearer than the others, not the call
    found = fit(Timing(6, 1, 0.5), Timing(6, 10, 1.0), Timing(12, 10, 2.0), batched=False)
    assert found.call_s == 0
    assert found.frame(6) == pytest.approx(0.1)
    assert found.frame(12) == pytest.approx(0.2)


def test_a_cost_that_grows_fast_is_never_below_zero():
    # n³: the line through two sizes would be below 0 for small molecules
    found = fit(Timing(10, 1, 1e3), Timing(10, 1, 1e3), Timing(20, 1, 8e3), batched=False)
    assert found.frame_s < 0
    assert found.frame(2) == pytest.approx(200)
    assert found.frame(10) == pytest.approx(1e3)
    assert found.frame(20) == pytest.approx(8e3)


def test_a_disturbed_probe_gives_a_cost_that_does_not_fall_with_size():
    found = fit(Timing(5, 1, 0.3), Timing(5, 10, 3.0), Timing(9, 10, 1.0), batched=False)
    assert found == Cost(0.0, pytest.approx(0.2), 0.0, 0.0)


def test_one_size_alone_is_taken_as_a_cost_of_each_atom():
    found = fit(Timing(8, 1, 0.1), Timing(8, 10, 1.0), Timing(8, 10, 1.2), batched=False)
    assert found.frame(8) == pytest.approx(0.11)
    assert found.frame(16) == pytest.approx(0.22)


@pytest.mark.parametrize("power", [1, 2, 3])
def test_two_sizes_give_the_right_sum_over_a_set_of_any_such_cost(power):
    atoms = [4, 8, 8, 12, 12, 12, 16, 16, 20]  # even about their mean
    low, high = two_sizes(atoms)
    whole = sum(n**power for n in atoms)
    slope = (high**power - low**power) / (high - low)
    assert sum(low**power + slope * (n - low) for n in atoms) == pytest.approx(whole)


def test_every_set_of_elements_is_offered_at_both_sizes():
    organic, other = frozenset({1, 6}), frozenset({1, 9})
    facts = [
        Facts(f"C-C/{n}", str(n), "C-C", 100, n, elements)
        for n, elements in [(3, organic), (9, organic), (21, organic), (10, other), (30, other)]
    ] + [Facts("C-C/lost", "lost", "C-C", 0, 500, organic)]
    sizes, groups = candidates(facts)
    assert 3 < sizes[0] < sizes[1] < 30  # the scan that was dropped is not asked for
    assert sorted(group[0] for group in groups) == ["C-C/10", "C-C/21", "C-C/3", "C-C/30"]


# --- probes --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def toy_run(toys, tmp_path_factory) -> Run:
    """A run whose scan set is that of the toys."""
    results = tmp_path_factory.mktemp("results") / "toys"
    write_toys(results / "toys.h5", toys.values())
    run = replace(resolve(CUSTOM, REPO), results=results, scan_set="toys")
    ids = sorted(toys)
    bonds = replace(
        run.tasks["bonds"], models=["fake"], items=ids, selected=ids, shard_size=3,
        controls=frozenset(),
    )  # fmt: skip
    run = replace(run, models={"fake": fake_entry()}, planned=ids, scans=ids, shard_size=3)
    run = replace(run, tasks={"bonds": bonds})
    write_probe_scans(run, read_facts(run, REPO), REPO, results / "probe_scans.h5")
    return run


def test_scans_to_time_models_on_are_few_frames_of_those_of_the_set(toy_run, toys):
    with ScanSet(toy_run.results / "probe_scans.h5") as chosen:
        assert set(chosen.ids) <= set(toys)
        for scan_id in chosen.ids:
            scan = chosen.scan(scan_id)
            assert scan.n_frames == 10
            assert scan.coordinate[[0, -1]] == pytest.approx(toys[scan_id].coordinate[[0, -1]])


def test_a_model_of_known_pace_is_predicted(toy_run, tmp_path):
    pause_s = 0.02
    entry = fake_entry(arguments={"pause_s": pause_s})
    probe = probe_model(entry, toy_run.results / "probe_scans.h5")
    assert probe.status is Status.OK
    facts = read_facts(toy_run, REPO)
    (found,) = predict(replace(toy_run, source="bsct_spice"), facts, {"fake": probe})
    at_least = pause_s * sum(one.frames for one in facts.values())
    bonds = found.parts["bonds"]
    of_start = bonds.shards * Speed(entry, probe).start_s
    assert bonds.shards == 2
    assert at_least < 3600 * bonds.hours - of_start < 3 * at_least
    # and beside what it took
    for number, shard in enumerate(([*sorted(facts)][:3], [*sorted(facts)][3:])):
        evaluate_shard(
            entry, toy_run.results / "toys.h5", shard, tmp_path / f"fake/bonds/000{number}.h5"
        )
    frame([found]).to_csv(tmp_path / "plan.csv", index=False)
    (row,) = beside(tmp_path / "plan.csv", tmp_path).to_dict("records")
    assert (row["model"], row["task"], row["shards"], row["shards_done"]) == ("fake", "bonds", 2, 2)
    assert row["note"] == ""
    assert 0.1 < row["actual_over_predicted"] < 10
    assert row["actual_storage_gb"] == pytest.approx(row["predicted_storage_gb"], rel=0.5)
    assert math.isclose(row["actual_memory_gb"], row["predicted_memory_gb"], rel_tol=0.5)


@pytest.mark.parametrize(
    ("entry", "status", "words"),
    [
        (fake_entry("construction_raises"), Status.ERROR, "no parameters"),
        (fake_entry("construction_dies"), Status.CRASHED, "exit code 7"),
        (fake_entry("construction_needs_memory"), Status.ERROR, "weights do not fit"),
        (faulty("raise"), Status.ERROR, "SCF did not converge"),
        (faulty("segfault"), Status.CRASHED, "SIGSEGV"),
        (faulty("hang"), Status.TIMEOUT, "no answer in 3 s"),
        (faulty("nan_energy"), Status.NONFINITE, "not finite"),
        (fake_entry(elements=["He"]), Status.UNSUPPORTED, "unknown elements: C"),
        (fake_entry(arguments={"pause_s": 1.0}), Status.TIMEOUT, "when its 3 s were over"),
    ],
)
def test_a_probe_that_fails_is_a_row_with_its_reason(toy_run, entry, status, words):
    seconds = 3 if status is Status.TIMEOUT else 60
    probe = probe_model(entry, toy_run.results / "probe_scans.h5", seconds=seconds)
    assert probe.status is status
    assert words in probe.message
    assert probe.timings == {}
    stored = json.loads(json.dumps(probe.to_json()))
    assert Probe.from_json(stored).to_json() == stored
    run = replace(toy_run, source="bsct_spice", models={"fake": fake_entry(), "bad": entry})
    run = replace(run, tasks={"bonds": replace(run.tasks["bonds"], models=["fake", "bad"])})
    predictions = predict(run, read_facts(run, REPO), {"fake": made_probe(0.01), "bad": probe})
    row = frame(predictions).set_index("model").loc["bad"]
    assert row["status"] == status.value
    assert words in row["reason"]
    assert math.isnan(row["hours"])
    assert (row["bonds_shards"], row["jobs"]) == (2, predictions[0].jobs)  # it is run all the same
    assert "n/a" in next(line for line in table(run, predictions).splitlines() if "| bad" in line)
    said = " ".join(totals(run, predictions, built=True, cores=2))
    assert "at least" in said
    assert f"bad ({probe.message})" in said


def test_a_stored_probe_is_read_back_and_one_that_is_torn_says_so(toy_run, tmp_path):
    scans = toy_run.results / "probe_scans.h5"
    write_probe(fake_entry(), scans, tmp_path / "probe.json")
    found = read_probe(tmp_path / "probe.json")
    assert found.info is not None
    assert (found.status, found.info.batched) == (Status.OK, False)
    assert [timing.atoms for timing in found.timings["minimum"]] == [2, 2, 2]
    (tmp_path / "torn.json").write_text('{"status": "ok"')
    assert "cannot be read" in read_probe(tmp_path / "torn.json").message
    assert "not timed yet" in read_probe(tmp_path / "none.json").message


# --- what a run consists of ----------------------------------------------------------------------


def test_work_is_that_of_the_scans_and_molecules_the_model_knows():
    run, facts = run_of(CUSTOM)
    contents = Contents.of(facts)
    probes = probes_of(run)
    knows_little = replace(probes["gfn1-xtb"].info, elements=frozenset({1, 6, 8}))
    probes["gfn1-xtb"] = replace(probes["gfn1-xtb"], info=knows_little)
    found = {one.model: one for one in predict(run, facts, probes)}
    assert found["gfn2-xtb"].n_scans == len(run.scans)
    assert found["gfn1-xtb"].n_scans == sum(
        contents.scans[name].elements <= {1, 6, 8} for name in run.scans
    )
    assert 0 < found["gfn1-xtb"].n_scans < len(run.scans)
    bonds = {name: one.part("bonds") for name, one in found.items()}
    assert bonds["gfn1-xtb"].shards == bonds["gfn2-xtb"].shards
    assert bonds["gfn1-xtb"].atom_frames < bonds["gfn2-xtb"].atom_frames


@pytest.mark.parametrize("charges", [False, True])
@pytest.mark.parametrize("spins", [False, True])
def test_the_plan_knows_what_the_run_will_call_unsupported(toys, spins, charges):
    probe = made_probe(1.0)
    probe = replace(probe, info=replace(probe.info, charges=charges, spins=spins))
    speed = Speed(fake_entry(), probe)
    for charge, spin in (0, 1), (1, 1), (0, 3), (-1, 2):
        scan = replace(toys["C-C/a"], charge=charge, spin=spin)
        elements = frozenset(scan.numbers.tolist())
        facts = Facts(scan.id, "a", "C-C", 100, 8, elements, charge, spin)
        assert speed.knows(facts) == (not why_unsupported(scan, probe.info))
    radical = replace(facts, id="C-C/radical", system="radical", charge=0)
    _, groups = candidates([replace(facts, charge=0, spin=1), radical])
    assert {group[0] for group in groups} == {scan.id, "C-C/radical"}


def test_hours_of_dynamics_are_steps_times_molecules():
    run, facts = run_of(CUSTOM)
    frame_s, probes = 0.02, probes_of(run, {"mace-mini": 0.02})
    found = {one.model: one for one in predict(run, facts, probes)}["mace-mini"]
    frames, shards = 0, run.tasks["dynamics"].shards
    assert any(name.startswith("half-") for name in shards)
    for shard in shards.values():
        per_molecule = (shard.settings.n_steps + 1) * len(shard.settings.temperatures_k)
        frames += len(shard.items) * (per_molecule + 40)  # of two relaxations
    steps = sum(shard.settings.n_steps + 1 for shard in shards.values())
    seconds = frame_s * frames + 5e-4 * steps + 1.5 * len(shards)
    assert 3600 * found.part("dynamics").hours == pytest.approx(seconds, rel=1e-6)
    assert set(found.parts) == {"bonds", "dynamics", "vibrations"}
    assert found.hours == sum(part.hours for part in found.parts.values())


def test_frequencies_are_a_relaxation_and_displaced_frames():
    run, facts = run_of(CUSTOM)
    frame_s, probes = 0.02, probes_of(run, {"mace-mini": 0.02, "reference": 0.02})
    found = {one.model: one for one in predict(run, facts, probes)}
    atoms = {one.system: one.atoms for one in facts.values()}
    held = [atoms[name] for name in run.tasks["vibrations"].selected]
    seconds = 1.5 + frame_s * sum(40 + 6 * n for n in held)
    for name in ("mace-mini", "reference"):
        part = found[name].part("vibrations")
        assert (part.shards, 3600 * part.hours) == (1, pytest.approx(seconds, rel=1e-6))
        assert part.atom_frames == sum((40 + 6 * n) * n for n in held)
    assert found["gfn1-xtb"].part("vibrations") == Part()


@dataclass(frozen=True)
class NoSettings:
    """Settings of a task that has none."""


class Pulled(Task):
    """A task that the plan knows nothing of: two frames of each molecule, three times."""

    name = "pulled"
    settings = NoSettings
    item_s = 2.0
    asks_reference = True

    def phases(self, size: Size, settings: NoSettings) -> tuple[Phase, ...]:
        return (Phase(copies=2, steps=3),)

    def stored_bytes(self, size: Size, settings: NoSettings) -> float:
        return 1e6 * size.atoms


def test_any_task_is_planned_requested_and_thinned():
    run, facts = run_of(CUSTOM)
    systems = sorted({one.system for one in facts.values()} & set(run.tasks["vibrations"].items))
    pulled = TaskRun(Pulled(), ["mace-mini"], systems, systems, NoSettings(), shard_size=2)
    run = replace(run, tasks=run.tasks | {"pulled": pulled})
    probes = probes_of(run, dict.fromkeys(["mace-mini", "reference"], 0.02))
    predictions = predict(run, facts, probes)
    found = {one.model: one.part("pulled") for one in predictions}
    atoms = [next(f.atoms for f in facts.values() if f.system == name) for name in systems]
    shards = math.ceil(len(systems) / 2)
    for name in ("mace-mini", "reference"):
        assert found[name].shards == shards
        seconds = 1.5 * shards + (2.0 + 2 * 3 * 0.02) * len(systems)
        assert 3600 * found[name].hours == pytest.approx(seconds)
        assert found[name].storage_gb == pytest.approx(1e-3 * sum(atoms) + 1e-5 * shards)
        assert found[name].atom_frames == 2 * 3 * sum(atoms)
    assert found["gfn1-xtb"] == Part()
    assert "| pulled, h |" in table(run, predictions)
    assert Requests(run).shard("mace-mini", "pulled", "0000").minutes > 10
    assert Requests(run).shard("reference", "pulled", "0000").minutes > 10
    smaller = budget.thinned(run, facts, ["mace-mini", "control-zero"], 2)
    left = smaller.tasks["pulled"].selected
    assert 0 < len(left) < len(systems)
    proposal = budget.propose(run, facts, probes, 0.5 * cost_of(run, facts, probes), built=True)
    assert proposal is not None
    kept = budget.overlay(run, proposal)["pulled"]
    assert kept == {"models": ["mace-mini"], "systems": proposal.run.tasks["pulled"].items}


def test_a_step_of_molecules_that_share_a_batch_pays_for_one_call():
    timings = tuple(Timing(n, k, 0.5 + 0.001 * n * k) for n, k in ((10, 1), (10, 20), (20, 10)))
    info = replace(made_probe(1.0).info, batched=True)
    probe = made_probe(1.0, timings={"scan": timings, "minimum": timings}, info=info)
    speed = Speed(fake_entry(), replace(probe, limit=BatchLimit(atoms=200)))
    step = Together(place=0, steps=3)
    assert speed.seconds(step, [(1, 10), (1, 20), (1, 30)]) == pytest.approx(3 * (0.5 + 0.06))
    assert speed.seconds(step, [(1, 10)] * 21) == pytest.approx(3 * (2 * 0.5 + 0.21))
    assert speed.seconds(step, [(7, 10)] * 3) == speed.seconds(step, [(1, 10)] * 21)
    # of what is evaluated once, batches are full
    once = Together(place=0, steps=1, along_scan=True)
    assert speed.seconds(once, [(40, 10)]) == pytest.approx(2 * 0.5 + 0.4)
    assert speed.seconds(once, [(10, 10)]) == pytest.approx(0.5 * 0.5 + 0.1)


@pytest.mark.parametrize("config", [DEFAULT, CUSTOM, BSCT], ids=["default", "custom", "bsct"])
def test_shards_and_jobs_are_those_that_snakemake_schedules(config, tmp_path):
    config = config | {"results": str(tmp_path)}
    (tmp_path / "run.json").write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--cores", "1", "--configfile",
         str(tmp_path / "run.json")],
        cwd=REPO, capture_output=True, text=True, check=True,
    )  # fmt: skip
    said = done.stdout + done.stderr
    (total,) = set(re.findall(r"^total +(\d+)$", said, flags=re.MULTILINE))
    of_task, of_model = Counter(), Counter()
    for job in re.split(r"^(?:localrule|rule) (?=\w+:$)", said, flags=re.MULTILINE)[1:]:
        rule, wildcards = job.partition(":")[0], re.search(r"^    wildcards: (.*)$", job, re.M)
        given = dict(one.split("=") for one in wildcards[1].split(", ")) if wildcards else {}
        of_task[rule, given.get("task", "")] += 1
        of_model[given.get("model", "")] += 1
    run, facts = run_of(config)
    predictions = predict(run, facts, probes_of(run))
    methods, models = (
        [one for one in predictions if (one.role == "method") is yes] for yes in (True, False)
    )

    def shards(some, part: str) -> int:
        return sum(one.part(part).shards for one in some)

    assert of_task["controls_bonds", ""] == 1
    for task in run.tasks:
        of_models = shards([one for one in models if one.role != "control"], task)
        assert of_models == of_task["run", task] + of_task["run_on_cpu", task] > 0
        assert shards(methods, task) == of_task["run_reference", task]
    assert shards(methods, "scan_set") == of_task["reference", ""]
    for one in models:
        assert one.jobs == of_model[one.model]
    assert sum(one.jobs for one in predictions) + other_jobs(run) == int(total)


def test_a_plan_says_how_busy_the_machine_was_when_models_were_timed():
    run, facts = run_of(CUSTOM)
    probes = {
        name: replace(probe, load_average=0.5 + number, cores=4)
        for number, (name, probe) in enumerate(probes_of(run).items())
    }
    said = timed_when(predict(run, facts, probes))
    assert said == [
        "When the models were timed, the load of the machine was 0.5 to 5.5 running processes on 4 "
        "cores; `python -m pesbench plan --again` times all models again.",
        "The machine had fewer cores than running processes when these were timed, so their hours "
        "may be too high: reference, mace-mini-float32.",
    ]
    quiet = {name: replace(probe, load_average=0.5) for name, probe in probes.items()}
    assert len(timed_when(predict(run, facts, quiet))) == 1
    assert timed_when(predict(run, facts, dict.fromkeys(probes, UNTIMED))) == []


def test_a_size_of_jobs_is_proposed_that_takes_tens_of_minutes():
    run, facts = run_of(BSCT)
    for frame_s in (1e-4, 0.01, 4.0):
        probes = on_gpu(probes_of(run, dict.fromkeys(run.models, frame_s)), *probes_of(run))
        said = totals(run, predict(run, facts, probes), built=True, cores=2)
        (line,) = [one for one in said if "The longest job of bonds takes" in one]
        size = int(re.search(r"set `shard_size: (\d+)`", line)[1])
        bonds = replace(run.tasks["bonds"], shard_size=size)
        (found, *_) = predict(replace(run, tasks={"bonds": bonds}), facts, probes)
        assert size == len(run.planned) or 10 <= found.longest_min <= 60
    # of models that need no GPU nothing is proposed
    said = totals(run, predict(run, facts, probes_of(run)), built=True, cores=2)
    assert not any("longest job" in one for one in said)


# --- a budget ------------------------------------------------------------------------------------


def cost_of(run: Run, facts, probes) -> float:
    """Hours of a CPU, with the scan set built: of its reference, frequencies only."""
    return sum(
        one.hours - one.part("scan_set").hours if one.role == "method" else one.hours
        for one in predict(run, facts, probes)
    )


@pytest.mark.parametrize("config", [DEFAULT, CUSTOM, BSCT], ids=["default", "custom", "bsct"])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.7, 0.95])
def test_what_is_proposed_fits_and_no_more_would(config, share):
    run, facts = run_of(config)
    probes = probes_of(run)
    whole = cost_of(run, facts, probes)
    hours = share * whole
    found = budget.propose(run, facts, probes, hours, built=True)
    assert found is not None
    assert not found.whole
    assert found.hours <= hours
    assert cost_of(found.run, facts, probes) == pytest.approx(found.hours)
    assert set(found.run.scans) < set(run.scans) or found.dropped or len(found.run.tasks) == 1
    kept = list(found.run.models)
    most = max(pd.Series([facts[scan_id].bond for scan_id in run.scans]).value_counts())
    if set(found.run.tasks) == {"bonds"}:  # not even the cheapest model fits with the others
        run = budget.scans_alone(run)
    more = budget.thinned(run, facts, kept, found.per_bond + 1)
    assert found.per_bond == most or cost_of(more, facts, probes) > hours
    if found.dropped:  # the last one was dropped for a reason
        least = budget.least_scans(most)
        again = budget.thinned(run, facts, [*kept, found.dropped[-1]], least)
        assert cost_of(again, facts, probes) > hours


def test_the_config_that_is_written_is_the_run_that_was_proposed():
    for config in (DEFAULT, CUSTOM, BSCT):
        run, facts = run_of(config)
        probes = probes_of(run)
        for share in (0.05, 0.3, 0.7):
            hours = share * cost_of(run, facts, probes)
            found = budget.propose(run, facts, probes, hours, built=True)
            assert found is not None
            again = resolve(merged(config, budget.overlay(run, found)), REPO)
            for name in ("scans", "tasks", "ladder"):
                assert getattr(again, name) == getattr(found.run, name), name
            assert list(again.models) == list(found.run.models)


def test_bond_types_stay_balanced_and_dynamics_keep_their_share():
    run, facts = run_of(BSCT)
    smaller = budget.thinned(run, facts, list(run.models), 11)
    scans = pd.Series([facts[scan_id].bond for scan_id in smaller.scans]).value_counts()
    of_whole = pd.Series([facts[scan_id].bond for scan_id in run.scans]).value_counts()
    assert (scans == of_whole.clip(upper=11)[scans.index]).all()
    moving = smaller.tasks["dynamics"].selected
    assert set(moving) <= set(smaller.scans)
    assert set(pd.Series([facts[name].bond for name in moving]).value_counts()) == {1}
    # each larger choice holds the smaller ones: a budget that grows throws nothing away
    assert set(smaller.scans) < set(budget.thinned(run, facts, list(run.models), 12).scans)


def test_the_dearest_model_is_dropped_first_and_the_reference_never():
    run, facts = run_of(PLAIN)
    probes = probes_of(run, {"mace-mini": 50.0, "gfn2-xtb": 5.0})
    without = [name for name in run.models if name != "mace-mini"]
    fewest = budget.LEAST_SCANS  # mini has more than twice as many of its commonest bond, C-H
    hours = 1.01 * cost_of(budget.thinned(run, facts, without, fewest), facts, probes)
    found = budget.propose(run, facts, probes, hours, built=True)
    assert found is not None
    assert found.dropped == ("mace-mini",)
    assert found.per_bond >= fewest
    assert "gfn2-xtb" in found.run.models
    assert {"control-zero", "control-reference"} <= set(found.run.models)
    # with all systems instead: the reference, then the others from the cheapest
    predictions = predict(run, facts, probes)
    of = {one.model: one.hours for one in predictions}
    instead = budget.cheapest_first(
        run, predictions, of["gfn2-xtb"] + of["ipea1-xtb"] + 0.1, built=True
    )
    assert instead == ["gfn2-xtb", "ipea1-xtb"]


def test_a_model_that_was_not_timed_is_left_out_by_name():
    run, facts = run_of(DEFAULT)
    probes = probes_of(run) | {"emt": Probe(Status.CRASHED, "it died")}
    found = budget.propose(run, facts, probes, 1e6, built=True)
    assert found is not None
    assert found.unknown == ("emt",)
    assert not found.whole
    assert "emt" not in found.run.models


UNTIMED = Probe(Status.CRASHED, "it died")


def proposed(run: Run, facts, probes, hours, *, built=True):
    """A proposal, and what is said of it."""
    predictions = predict(run, facts, probes)
    found = budget.propose(run, facts, probes, hours, built=built)
    instead = budget.cheapest_first(run, predictions, hours, built=built)
    return found, " ".join(proposal_text(run, predictions, found, hours, instead, built))


@pytest.mark.parametrize("config", [DEFAULT, CUSTOM, BSCT], ids=["default", "custom", "bsct"])
@pytest.mark.parametrize("built", [True, False])
def test_without_a_model_that_was_timed_there_is_no_proposal(config, built):
    """Controls, which are never timed, are no run of their own."""
    run, facts = run_of(config)
    timed = probes_of(run)
    probes = {name: UNTIMED if name in run.models else one for name, one in timed.items()}
    found, said = proposed(run, facts, probes, 500.0, built=built)
    assert found is None
    assert said == "Nothing can be proposed for 500 h: no model could be timed."
    # of one alone there is
    spared = next(name for name in run.models if name in timed)
    found, _ = proposed(run, facts, probes | {spared: timed[spared]}, 500.0, built=built)
    assert found is not None
    again = resolve(merged(config, budget.overlay(run, found)), REPO)
    assert list(again.models) == list(found.run.models)
    controls = [name for name, entry in run.models.items() if entry.family == "control"]
    assert {*again.models} == {spared, *controls}


def test_without_a_time_of_the_reference_there_is_no_proposal():
    run, facts = run_of(DEFAULT)
    probes = probes_of(run) | {"reference": UNTIMED}
    found, said = proposed(run, facts, probes, 500.0, built=False)
    assert found is None
    assert said == (
        "Nothing can be proposed for 500 h: the reference of the scan set, gfn2-xtb, could not be "
        "timed (it died)."
    )
    found, _ = proposed(run, facts, probes, 500.0)  # it is there
    assert found is not None
    assert found.run.models == run.models


def test_where_scans_alone_are_proposed_it_is_said_why():
    run, facts = run_of(CUSTOM)
    assert set(run.tasks) == {"bonds", "dynamics", "vibrations"}
    found, said = proposed(run, facts, probes_of(run) | {"reference": UNTIMED}, 1e6)
    assert found is not None
    assert set(found.run.tasks) == {"bonds"}
    assert (
        "Only the scans are proposed, without dynamics and vibrations: the reference, gfn2-xtb, "
        "could not be timed (it died)."
    ) in said
    scans_alone = cost_of(budget.scans_alone(run), facts, probes_of(run))
    found, said = proposed(run, facts, probes_of(run), 0.5 * scans_alone)
    assert found is not None
    assert set(found.run.tasks) == {"bonds"}
    assert (
        "Only the scans are proposed: with dynamics and vibrations, not even the cheapest model "
        "fits the budget."
    ) in said
    found, said = proposed(run, facts, probes_of(run), 1e6)
    assert "Only the scans" not in said


@pytest.mark.parametrize("untimed", [["mace-mini"], ["gfn1-xtb"], ["mace-mini", "gfn2-xtb"]])
def test_a_ladder_without_a_model_that_was_timed_is_a_config_that_runs(untimed):
    """Its baseline `mace-mini` among them, or the only model beside that."""
    seeds = {"ladder": {"baseline": "mace-mini", "models": ["gfn1-xtb", "ipea1-xtb"]}}
    config = merged(CUSTOM, {**seeds, "models": [*CUSTOM["models"], "ipea1-xtb"]})
    run, facts = run_of(config)
    probes = probes_of(run) | dict.fromkeys(untimed, UNTIMED)
    found, _ = proposed(run, facts, probes, 1e6)
    assert found is not None
    assert found.unknown == tuple(name for name in run.models if name in untimed)
    again = resolve(merged(config, budget.overlay(run, found)), REPO)
    assert again.ladder == found.run.ladder
    assert again.ladder == ([] if "mace-mini" in untimed else ["mace-mini", "ipea1-xtb"])
    assert list(again.models) == [name for name in run.models if name not in untimed]


def on_gpu(probes: dict[str, Probe], *names: str) -> dict[str, Probe]:
    """With some models timed on a GPU."""
    info = replace(made_probe(1.0).info, device="cuda:0")
    return probes | {name: replace(probes[name], info=info) for name in names}


def test_where_a_model_ran_on_a_gpu_the_hours_are_those_of_a_gpu():
    """Tight binding on CPUs takes nothing of them, and nothing is dropped for it."""
    run, facts = run_of(CUSTOM)
    gpu = ("mace-mini", "mace-mini-float32")
    probes = on_gpu(probes_of(run, {"gfn2-xtb": 500.0, "gfn2-curl_0.001": 500.0}), *gpu)

    def hours(candidate: Run) -> tuple[float, float]:
        found = predict(candidate, facts, probes)
        of_gpu = sum(one.hours for one in found if one.model in gpu)
        return of_gpu, cost_of(candidate, facts, probes) - of_gpu

    of_gpu, of_cpu = hours(run)
    assert of_cpu > 100 * of_gpu
    found, said = proposed(run, facts, probes, 1.01 * of_gpu)
    assert found is not None
    assert found.whole
    assert found.hours == pytest.approx(of_gpu)
    assert said.startswith(f"All of it fits {figure(1.01 * of_gpu)} h of a GPU: it takes ")
    # the same number of hours of a CPU
    smaller = budget.propose(run, facts, probes_of(run, {"gfn2-xtb": 500.0}), of_gpu, built=True)
    assert smaller is None or not smaller.whole
    # fewer: scans are thinned, then the dearest on the GPU is dropped, and never one without
    for share in (0.7, 0.2):
        found, said = proposed(run, facts, probes, share * of_gpu)
        assert found is not None
        assert (found.whole, found.of_gpu) == (False, True)
        assert (found.hours, found.uncounted_hours) == pytest.approx(hours(found.run))
        assert found.hours <= share * of_gpu
        assert set(found.dropped) <= set(gpu)
        assert f"{figure(found.hours)} h of a GPU (and {figure(found.uncounted_hours)} h" in said
        assert "of a CPU, which are not counted)" in said
        assert run_command(found, " --configfile a b") == (
            "snakemake --profile slurm --configfile a b"
        )
    # with all systems instead, what needs no GPU comes for nothing
    instead = budget.cheapest_first(run, predict(run, facts, probes), 1e-6, built=True)
    assert set(instead) == {"gfn1-xtb", "gfn2-xtb", "gfn2-curl_0.001"}


def test_a_reference_on_a_cpu_needs_no_time_where_hours_are_of_a_gpu():
    run, facts = run_of(CUSTOM)
    probes = on_gpu(probes_of(run), "mace-mini") | {"reference": UNTIMED}
    found, said = proposed(run, facts, probes, 1e6, built=False)
    assert found is not None
    assert found.whole
    assert "n/a h of a CPU" in said


def test_a_budget_for_all_is_all_and_one_for_nothing_is_none():
    run, facts = run_of(PLAIN)
    probes = probes_of(run)
    whole = budget.propose(run, facts, probes, 1e6, built=True)
    assert whole is not None
    assert whole.whole
    assert budget.propose(run, facts, probes, 1e-6, built=True) is None
    # the reference must be computed first, if it is not there
    reference = predict(run, facts, probes)[0].hours
    assert budget.propose(run, facts, probes, reference, built=False) is None


# --- what it took --------------------------------------------------------------------------------


@pytest.fixture
def three_models(toys, toy_set, tmp_path) -> Path:
    """Results of a model, of one that fails on a scan, and of one that lacks a shard."""
    ids = sorted(toys)
    failing = fake_entry("Faulty", arguments={"fault": "raise", "formulas": ["C2"]})
    for name, entry, shards in (
        ("good", fake_entry(), 2),
        ("bad", failing, 2),
        ("half", failing, 1),
    ):
        for number in range(shards):
            part = ids[3 * number : 3 * number + 3]
            out = tmp_path / name / "bonds" / f"{number:04d}.h5"
            evaluate_shard(replace(entry, name=name), toy_set, part, out)
    frames = sum(toy.n_frames * toy.n_atoms for toy in toys.values())
    rows = [
        {"model": name, "status": status, "reason": "it hung", "device": "calculator",
         "memory_gb": 0.2, "dynamics_shards": 0, "dynamics_hours": 0, "dynamics_storage_gb": 0,
         "dynamics_atom_frames": 0, "bonds_shards": 2, "bonds_hours": hours,
         "bonds_storage_gb": 1e-5, "bonds_atom_frames": frames}
        for name, status, hours in
        (("good", "ok", 0.5), ("bad", "ok", 0.5), ("half", "ok", 0.5), ("none", "timeout", None))
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "plan.csv", index=False)
    return tmp_path


def test_predicted_and_actual_are_joined_by_model_and_task(three_models):
    found = beside(three_models / "plan.csv", three_models).set_index("model")
    files = sorted((three_models / "good" / "bonds").glob("*.h5"))
    good = found.loc["good"]
    assert good["actual_storage_gb"] == pytest.approx(sum(f.stat().st_size for f in files) / 1e9)
    assert 0 < good["actual_hours"] < 0.1
    assert good["actual_over_predicted"] == pytest.approx(good["actual_hours"] / 0.5)
    assert good["note"] == ""
    assert found.loc["bad", "note"] == "evaluated 83% of the planned frames"  # five of six scans
    half = found.loc["half"]
    assert (half["shards"], half["shards_done"]) == (2, 1)
    assert math.isnan(half["actual_over_predicted"])
    assert half["note"] == "1 of 2 shards done"
    none = found.loc["none"]
    assert none["note"] == "not predicted: it hung; 0 of 2 shards done"
    assert math.isnan(none["actual_hours"])


def test_a_damaged_file_and_another_table_are_named(three_models, caplog):
    out = ["--results", str(three_models), "--out", str(three_models / "actual.csv")]
    assert main(["plan-actual", "--plan", str(three_models / "plan.csv"), *out]) == 0
    (three_models / "bad/bonds/0000.h5").write_text("torn")
    assert main(["plan-actual", "--plan", str(three_models / "plan.csv"), *out]) == 2
    assert "bad/bonds/0000.h5" in caplog.text
    (three_models / "other.csv").write_text("model,rank\na,1\n")
    with pytest.raises(UserError, match=r"other.csv: no column 'memory_gb'"):
        beside(three_models / "other.csv", three_models)


# --- by hand -------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path, monkeypatch) -> dict:
    """A config of two molecules of one's own, no scan set, models that behave and that do not."""
    monkeypatch.chdir(tmp_path)
    molecules = []
    for name, symbols in (("one", "CO"), ("two", "NN")):
        atoms = Atoms(symbols, positions=[[0, 0, 0], [1.3, 0.2, -0.1]])
        atoms.info |= {"id": name, "charge": 0, "spin": 1}
        molecules.append(atoms)
    ase.io.write("own.extxyz", molecules)
    models = {
        "good": {"family": "ase", "calculator": "fake_calculators:Morse", "trained": False},
        "dead": {"family": "ase", "calculator": "fake_calculators:construction_dies"},
        "far": {"family": "mace", "weights": "https://example.org/far.model", "trust": True},
    }
    Path("models.yaml").write_text(yaml.safe_dump(models))
    return {
        "scan_set": "own",
        "scan_sets": {
            "own": {"source": "molecules", "molecules": "own.extxyz", "reference": "good"}
        },
        "models_file": "models.yaml",
        "models": ["*"],
    }


def whole(config: dict) -> Config:
    return Config((("config", config),))


def test_a_plan_needs_the_config_alone(own, caplog):
    caplog.set_level("INFO")
    options = {"budget_hours": 1e-9, "probe": True, "network": False, "again": False}
    said = plan(whole(own), [], None, **options, seconds=20, cores=2)
    found = pd.read_csv("results/own/plan.csv").set_index("model")
    assert list(found.index) == ["reference", "dead", "far", "good"]
    assert found.loc["good", ["status", "bonds_shards"]].tolist() == ["ok", 1]
    assert found.loc["good", "hours"] > 0
    assert found.loc["dead", "status"] == "crashed"
    assert "pesbench entry far" in found.loc["far", "reason"]
    assert "exit code 7" in said
    assert "Nothing fits" in said
    assert "the reference of the scan set alone takes" in said
    assert "at least" in Path("results/own/plan.md").read_text()
    assert not list(Path("results").rglob("probe_entry.json"))
    # a second plan times no model that was timed, another number of threads does
    caplog.clear()
    options["budget_hours"] = 1e6
    said = plan(whole(own), [], None, **options, seconds=20, cores=2)
    assert "good: timed before" in caplog.text
    assert "dead, far" in said
    assert "To run it: snakemake --cores all --configfile " in said
    written = yaml.safe_load(Path("results/own/plan_budget.yaml").read_text())
    assert written["models"] == ["good"]
    caplog.clear()
    other = whole(own | {"threads": 2, "models": ["good"]})
    plan(other, [], None, **options, seconds=20, cores=2)
    assert "good: timed before" not in caplog.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--configfile", "none.yaml"], ["none.yaml", "check the path"]),
        (["--config", "{"], ["--config", "not valid JSON"]),
        (["--config", '{"models": ["gfn2-xtb"]}'], ["scan_set", "missing"]),
        (["--configfile", "config/bsct_spice.yaml"], ["snakemake scan_set", "bsct_spice.yaml"]),
    ],
)
def test_bad_input_is_one_line(arguments, words, monkeypatch, caplog, tmp_path):
    for name in ("config", "resources"):
        (tmp_path / name).symlink_to(REPO / name)
    monkeypatch.chdir(tmp_path)
    assert main(["plan", *arguments]) == 2
    (record,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert all(word in record.getMessage() for word in words)
    assert "\n" not in record.getMessage()


def test_a_budget_is_a_number_above_zero(capsys):
    for value in ("0", "-1", "many"):
        with pytest.raises(SystemExit):
            main(["plan", f"--budget-hours={value}"])
        assert repr(value) in capsys.readouterr().err
