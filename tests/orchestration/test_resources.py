"""What jobs ask a scheduler for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from examples import fake_entry, tblite_entry, write_toys
from pesbench.core.errors import UserError
from pesbench.core.found import tasks
from pesbench.core.task import Shard, Size
from pesbench.files.usage import read_usage
from pesbench.models.registry import ModelEntry
from pesbench.orchestration import requests as resources
from pesbench.orchestration.cluster import PLACE, Cluster, read_cluster
from pesbench.orchestration.config import Run, resolve
from pesbench.orchestration.requests import (
    MARGIN,
    START_MIN,
    UNKNOWN,
    Measured,
    Request,
    Requests,
    Sizes,
    closest,
    measured,
    memory_mb,
    minutes,
    read_sizes,
    uses_gpu,
)
from pesbench.tasks.bonds.settings import BondSettings
from pesbench.tasks.dynamics.settings import DynamicsSettings
from pesbench.tasks.vibrations.settings import VibrationSettings
from shards import evaluate_shard, run_dynamics_shard, run_vibrations

REPO = Path(__file__).parents[2]
CONFIG = {
    "scan_set": "bsct_spice",
    "scan_sets": {"bsct_spice": {"source": "bsct_spice", "archive": "https://example.org/a.gz"}},
    "models": ["gfn1-xtb", "mace-mini", "gfn2-curl_0.001"],
    "controls": ["control-zero"],
    "shard_size": 25,
    "dynamics": {
        "models": ["gfn1-xtb", "mace-mini"],
        "systems": ["C-N/*"],
        "halved": ["C-N/25729"],
        "duration_ps": 20,
        "replicates": 3,
        "shard_size": 5,
    },
}


def mace_entry(**settings) -> ModelEntry:
    return ModelEntry("mace", "mace", settings)


@pytest.fixture
def run(tmp_path) -> Run:
    found = resolve(CONFIG, REPO)
    return replace(found, results=tmp_path)


# --- one request ---------------------------------------------------------------------------------


def test_time_and_memory_grow_with_the_attempt():
    request = Request(minutes=12.2, memory_mb=3000, gpu=True)
    cluster = Cluster()
    assert [request.runtime_min(attempt, cluster) for attempt in (1, 2, 3)] == [13, 26, 39]
    memory = [request.memory_of_attempt_mb(attempt, cluster) for attempt in (1, 2, 3)]
    assert memory == [3000, 6000, 9000]


def test_a_later_attempt_counts_on_a_model_that_hangs(run):
    """The first was perhaps ended while it was waiting; three molecules may be waited for."""
    request = Request(minutes=12.2, memory_mb=3000, gpu=True, waiting_min=89.1)
    assert [request.runtime_min(attempt, Cluster()) for attempt in (1, 2, 3)] == [13, 116, 129]
    assert request.runtime_min(2, Cluster(gpu_hours=1)) == 60
    shard = next(iter(run.tasks["bonds"].shards))
    assert Requests(run).shard("gfn1-xtb", "bonds", shard).waiting_min == 90.0  # 9 x 600 s


@pytest.mark.parametrize(("gpu", "most"), [(True, 20_000), (False, 64_000)])
def test_no_attempt_asks_for_more_memory_than_a_node_has(gpu, most):
    cluster = Cluster(cpu_memory_gb=64, gpu_memory_gb=20)
    request = Request(10, 31_000, gpu)
    asked = [request.memory_of_attempt_mb(k, cluster) for k in (1, 2, 3)]
    assert asked == [min(31_000 * k, most) for k in (1, 2, 3)]


@pytest.mark.parametrize(("gpu", "most"), [(True, 120), (False, 60)])
def test_no_attempt_asks_for_more_than_the_partition_allows(gpu, most):
    cluster = Cluster(cpu_hours=1, gpu_hours=2)
    request = Request(50, 1000, gpu)
    assert [request.runtime_min(k, cluster) for k in (1, 2, 3, 9)] == [
        50,
        min(100, most),
        most,
        most,
    ]


def test_slower_nodes_get_more_time_and_every_job_at_least_a_minute():
    assert Request(30, 1, False).runtime_min(1, Cluster(time_factor=2)) == 60
    assert Request(30, 1, False).runtime_min(1, Cluster(time_factor=1e-6)) == 1
    assert Request(30, 1, False).runtime_min(2, Cluster(time_factor=1e-6)) == 2


def test_time_is_the_start_and_the_work_with_a_margin():
    assert minutes(0, 1.0) == START_MIN
    assert minutes(6000, 0.01) == pytest.approx(START_MIN + MARGIN)


# --- the cluster ---------------------------------------------------------------------------------


def test_a_job_without_a_gpu_asks_for_none():
    cluster = Cluster(account="me", cpu_partition="c", gpu_partition="g", gpu_model="a100")
    assert cluster.place(gpu=False) == {"slurm_account": "me", "slurm_partition": "c"}
    on_gpu = {"slurm_account": "me", "slurm_partition": "g", "gpu": 1, "gpu_model": "a100"}
    assert cluster.place(gpu=True) == on_gpu
    assert set(on_gpu) == set(PLACE)
    assert Cluster().place(gpu=False) == {}


def test_the_cluster_is_that_of_the_config_or_of_the_profile(tmp_path):
    site = tmp_path / "site.yaml"
    site.write_text("cluster: {cpu_partition: long, gpu_hours: 3}\nshard_size: 25\n")
    assert read_cluster({}, site) == Cluster(cpu_partition="long", gpu_hours=3)
    assert read_cluster({"cluster": {"account": "me"}}, site) == Cluster(account="me")
    assert read_cluster({}, tmp_path / "none.yaml") == Cluster()
    assert read_cluster({}, tmp_path / "none.yaml", site) == Cluster(
        cpu_partition="long", gpu_hours=3
    )


def test_a_wrong_key_of_the_cluster_is_told(tmp_path):
    site = tmp_path / "site.yaml"
    site.write_text("cluster: {partition: gpu}\n")
    with pytest.raises(UserError, match=r"site.yaml: `cluster`: unknown key 'partition'"):
        read_cluster({}, site)


def test_the_shipped_site_is_valid_and_every_key_has_the_default_of_the_schema():
    shipped = yaml.safe_load((REPO / "slurm" / "site.yaml").read_text())
    assert read_cluster(shipped, REPO / "none") == Cluster(cpu_partition="cpu", gpu_partition="gpu")
    assert set(shipped) == {"cluster"}  # with or without the profile: the same files


# --- models --------------------------------------------------------------------------------------


def test_families_without_a_device_get_no_gpu():
    assert uses_gpu(mace_entry(), "auto")
    assert uses_gpu(mace_entry(), "cuda:1")
    assert not uses_gpu(mace_entry(), "cpu")
    for family in ("control", "pyscf", "tblite"):
        assert not uses_gpu(ModelEntry("m", family, {}), "auto")
    assert not uses_gpu(fake_entry(), "auto")
    perturbed = ModelEntry("p", "perturbed", {"perturbation": "dip"})
    assert not uses_gpu(perturbed.with_base(tblite_entry()), "auto")
    assert uses_gpu(perturbed.with_base(mace_entry()), "auto")


def test_dft_asks_for_the_memory_that_its_entry_allows():
    entry = ModelEntry("dft", "pyscf", {"max_memory_mb": 16000})
    assert memory_mb(entry) > 16000
    assert memory_mb(tblite_entry()) < memory_mb(mace_entry())


# --- what was measured ---------------------------------------------------------------------------


def test_a_measurement_of_the_same_hardware_and_task_is_taken():
    scans = Measured("bonds", False, 0.1, 1000)
    slower = Measured("bonds", False, 0.3, 1200)
    dynamics = Measured("dynamics", False, 0.2, 1500)
    on_gpu = Measured("bonds", True, 0.001, 3000)
    every = [scans, dynamics, on_gpu, slower]
    assert closest(every, "bonds", gpu=False) == slower
    assert closest(every, "dynamics", gpu=False) == dynamics
    assert closest([scans], "dynamics", gpu=False) == scans
    assert closest(every, "dynamics", gpu=True) == on_gpu
    assert closest([scans], "bonds", gpu=True) is None


def test_the_speed_is_that_of_the_whole_command_for_the_frames_that_were_answered(
    tmp_path, toys, toy_set
):
    pause_s = 0.01
    entry = fake_entry(arguments={"pause_s": pause_s}, elements=["C", "N"])
    out = tmp_path / "0000.h5"
    evaluate_shard(entry, toy_set, sorted(toys), out)
    known = [toy for toy in toys.values() if set(toy.numbers) <= {6, 7}]
    assert 0 < len(known) < len(toys)
    usage = read_usage(out)
    # and one frame to choose the batch
    asked = sum(toy.n_frames * toy.n_atoms for toy in known)
    assert asked <= usage.atom_frames <= asked + 2 * 10
    (found,) = measured({"bonds": [out]})
    assert (found.task, found.on_gpu) == ("bonds", False)
    assert found.seconds_per_atom_frame == usage.wall_s / usage.atom_frames
    assert found.seconds_per_atom_frame >= pause_s / 2
    assert found.memory_mb is not None
    assert found.memory_mb > 1000


def test_a_model_that_answered_nothing_was_not_measured(tmp_path, toys, toy_set):
    evaluate_shard(fake_entry(elements=["He"]), toy_set, sorted(toys), tmp_path / "0000.h5")
    assert read_usage(tmp_path / "0000.h5").atom_frames == 0
    assert measured({"bonds": [tmp_path / "0000.h5"]}) == []


def test_any_task_tells_the_speed_of_a_model(tmp_path, toy_set):
    settings = DynamicsSettings(temperatures_k=(10.0,), replicates=1, duration_ps=0.02)
    pause_s = 0.005
    entry = fake_entry(arguments={"pause_s": pause_s})
    out = tmp_path / "dynamics" / "0000.h5"
    run_dynamics_shard(entry, toy_set, ["a", "b"], settings, out)
    (found,) = measured({"dynamics": [out]})
    assert found.task == "dynamics"
    assert found.seconds_per_atom_frame >= pause_s / 2
    # two molecules of two atoms, 41 frames each and those of the relaxation
    assert read_usage(out).atom_frames >= 2 * 2 * 41
    vibrations = tmp_path / "vibrations" / "0000.h5"
    run_vibrations(entry, toy_set, ["a", "b"], VibrationSettings(), vibrations)
    (found,) = measured({"vibrations": [vibrations]})
    assert found.seconds_per_atom_frame >= pause_s / 2
    assert read_usage(vibrations).atom_frames >= 2 * 2 * 6 * 2


def test_a_file_that_cannot_be_read_says_nothing(tmp_path):
    (tmp_path / "0000.h5").write_text("torn")
    assert measured({"bonds": [tmp_path / "0000.h5", tmp_path / "none.h5"]}) == []


# --- what jobs hold ------------------------------------------------------------------------------


def test_work_is_atoms_times_frames_of_every_phase():
    sizes = Sizes(
        {"C-C/a": Size(100, 8), "C-N/b": Size(50, 10)}, {"a": Size(1, 8), "b": Size(1, 10)}
    )
    assert sizes.of_scans(["C-C/a", "C-N/b"]) == 1300
    every = tasks()

    def work(task: str, items: tuple[str, ...], settings) -> int:
        return sizes.of_shard(every[task], Shard(items, settings))

    assert work("bonds", ("C-C/a", "C-N/b"), BondSettings()) == 1300
    settings = DynamicsSettings((300.0, 500.0), 3, 1.0, 0.5, relax_steps=10)
    assert work("dynamics", ("a", "b"), settings) == (2 * 3 * 2001 + 2 * 10) * 18
    assert work("vibrations", ("a",), VibrationSettings(relax_steps=0)) == 6 * 8 * 8
    assert work("vibrations", ("unknown",), VibrationSettings()) > 0
    assert UNKNOWN.of_scans(["unknown"]) > 0


def test_sizes_are_those_of_the_scan_set_once_it_is_there(tmp_path, toys):
    path = tmp_path / "set.h5"
    assert read_sizes(path) is UNKNOWN
    path.write_text("torn")
    assert read_sizes(path) is UNKNOWN
    write_toys(path, toys.values())
    assert read_sizes(path).scans == dict.fromkeys(toys, Size(13, 2))
    assert read_sizes(path).systems["a"] == Size(1, 2)


# --- a run ---------------------------------------------------------------------------------------


def test_models_are_told_apart_by_what_they_can_use(run):
    requests = Requests(run)
    assert requests.on_gpu == ["mace-mini"]
    assert requests.on_cpu == ["gfn1-xtb", "gfn2-curl_0.001"]  # controls are a job of their own
    assert Requests(replace(run, device="cpu")).on_gpu == []


def test_jobs_that_hold_more_ask_for_more(run):
    requests = Requests(run)
    of_25, last = (
        requests.shard("gfn1-xtb", "bonds", "0000"),
        requests.shard("gfn1-xtb", "bonds", "0019"),
    )
    assert of_25.minutes > last.minutes  # 10 scans
    whole, half = (
        requests.shard("mace-mini", "dynamics", "0000"),
        requests.shard("mace-mini", "dynamics", "half-0000"),
    )
    assert half.gpu
    assert (half.minutes - START_MIN) / (whole.minutes - START_MIN) == pytest.approx(
        2 / 5, rel=0.01
    )


def test_a_model_that_has_run_asks_by_its_own_speed(run, tmp_path, toys, toy_set):
    guess = Requests(run).shard("gfn1-xtb", "bonds", "0000")
    folder = tmp_path / "gfn1-xtb" / "bonds"
    evaluate_shard(
        fake_entry(arguments={"pause_s": 0.02}), toy_set, sorted(toys), folder / "0000.h5"
    )
    (known,) = measured({"bonds": [folder / "0000.h5"]})
    work = Sizes({}, {}).of_scans(run.tasks["bonds"].shards["0000"].items)
    found = Requests(run).shard("gfn1-xtb", "bonds", "0000")
    assert found.minutes == minutes(work, known.seconds_per_atom_frame)
    assert found.memory_mb == known.memory_mb
    assert found.minutes > guess.minutes
    # a GPU is another matter
    (tmp_path / "mace-mini" / "bonds").mkdir(parents=True)
    (folder / "0000.h5").rename(tmp_path / "mace-mini" / "bonds" / "0000.h5")
    assert Requests(run).shard("mace-mini", "bonds", "0000").minutes < guess.minutes


def test_a_model_that_was_timed_for_a_plan_asks_by_that_until_it_has_run(
    run, tmp_path, toys, toy_set
):
    guess = Requests(run).shard("gfn1-xtb", "bonds", "0000")
    folder = tmp_path / "gfn1-xtb"
    folder.mkdir()
    timings = [
        {"atoms": atoms, "frames": 10, "seconds": 10 * per_frame_s}
        for atoms, per_frame_s in ((5, 9.0), (5, 1.0), (20, 5.0))  # the first one is a frame alone
    ]
    probe = {"timings": {"scan": timings}, "device": "cpu", "host_bytes": 10**9}
    (folder / "probe.json").write_text(json.dumps(probe))
    work = Sizes({}, {}).of_scans(run.tasks["bonds"].shards["0000"].items)
    timed = Requests(run).shard("gfn1-xtb", "bonds", "0000")
    assert timed.minutes == minutes(work, 5.0 / 20)
    assert timed.memory_mb == 2500
    evaluate_shard(fake_entry(), toy_set, sorted(toys), folder / "bonds" / "0000.h5")
    assert Requests(run).shard("gfn1-xtb", "bonds", "0000").minutes < timed.minutes
    (folder / "bonds" / "0000.h5").unlink()
    (folder / "probe.json").write_text("torn")
    assert Requests(run).shard("gfn1-xtb", "bonds", "0000") == guess


def test_files_are_read_once_whatever_the_number_of_jobs(run, tmp_path, toys, toy_set, monkeypatch):
    folder = tmp_path / "gfn1-xtb" / "bonds"
    evaluate_shard(fake_entry(), toy_set, sorted(toys), folder / "0000.h5")
    requests = Requests(run)
    requests.shard("gfn1-xtb", "bonds", "0000")  # when there is no scan set yet
    write_toys(tmp_path / "bsct_spice.h5", toys.values())
    opened = []
    for name in ("read_usage", "ScanSet"):
        reader = getattr(resources, name)
        monkeypatch.setattr(resources, name, lambda p, read=reader: opened.append(p) or read(p))
    for shard in run.tasks["bonds"].shards:
        requests.shard("gfn1-xtb", "bonds", shard)
    assert opened.count(tmp_path / "bsct_spice.h5") == 1
    assert folder / "0000.h5" not in opened  # it was read before


def test_the_set_that_is_there_tells_the_sizes(run, tmp_path, toys):
    small = list(toys.values())
    write_toys(tmp_path / "bsct_spice.h5", small)
    ids = [scan.id for scan in small]
    bonds = replace(run.tasks["bonds"], items=ids, selected=ids, shard_size=len(ids))
    known = replace(run, scans=ids, planned=ids, tasks={"bonds": bonds})
    work = sum(scan.n_frames * len(scan.numbers) for scan in small)
    speed = resources.seconds_per_atom_frame(run.models["gfn1-xtb"], gpu=False)
    assert Requests(known).shard("gfn1-xtb", "bonds", "0000").minutes == minutes(work, speed)
    assert np.isclose(work, 6 * 13 * 2)
