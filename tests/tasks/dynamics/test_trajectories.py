"""Trajectory files: written whole, read by us, by ZnH5MD and, exported, by MDAnalysis and ASE."""

from __future__ import annotations

from dataclasses import replace

import ase.io
import h5py
import numpy as np
import pytest
from ase import units
from ase.data import atomic_masses

from pesbench import cli
from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.tasks.dynamics.export import export_trajectory
from pesbench.tasks.dynamics.stored import (
    BlackBox,
    Segment,
    Trajectories,
    Trajectory,
    trajectory_name,
)
from pesbench.tasks.dynamics.writing import write_trajectories

DT_FS, EVERY, N_STEPS = 0.5, 4, 30
FAILED_AT = 22
SURVIVED, FAILED, REFUSED = "C-N.7_300K_0", "C-N.7_1000K_0", "water_300K_0"


def _plan() -> list[Trajectory]:
    pair = {"system": "C-N/7", "replicate": 0, "numbers": np.array([6, 7]),
            "bonds": np.array([[0, 1]]), "charge": 1, "spin": 2, "degrees_of_freedom": 1,
            "relaxed": True, "relax_steps": 3, "relax_fmax": 0.01}  # fmt: skip
    return [
        Trajectory(temperature_k=300.0, last_step=N_STEPS, **pair),
        Trajectory(
            temperature_k=1000.0, last_step=FAILED_AT - 1, status=Status.ERROR,
            message="step 22: RuntimeError: no", failure_step=FAILED_AT, **pair,
        ),
        Trajectory(
            "water", 300.0, 0, np.array([8, 1, 1]), np.array([[0, 1], [0, 2]]), 0, 1, 3,
            status=Status.UNSUPPORTED, message="unknown elements: O",
        ),
    ]  # fmt: skip


def _data():
    rng = np.random.default_rng(1)
    potential, kinetic = rng.normal(size=(N_STEPS + 1, 3)), rng.random((N_STEPS + 1, 3))
    positions, velocities = rng.normal(size=(2, N_STEPS + 1, 7, 3))
    return potential, kinetic, positions, velocities


def _segments(cuts, failed=1):
    """The same data in pieces that begin at some steps; one trajectory fails."""
    potential, kinetic, positions, velocities = _data()
    box = np.arange(FAILED_AT - 9, FAILED_AT + 1)
    for start, stop in zip(cuts, [*cuts[1:], N_STEPS + 1], strict=True):
        frames = np.array([n for n in range(start, stop) if n % EVERY == 0], dtype=np.int64)
        boxes = {}
        if start <= FAILED_AT < stop:
            atoms = (slice(0, 2), slice(2, 4), slice(4, 7))[failed]
            boxes = {failed: BlackBox(box, positions[box, atoms], velocities[box, atoms])}
        yield Segment(
            start, potential[start:stop], kinetic[start:stop], frames, positions[frames],
            velocities[frames], boxes,
        )  # fmt: skip


def _write(path, cuts=(0,), plan=None, failed=1):
    attributes = {"model": "toy", "settings": {"replicates": 1}}
    write_trajectories(
        path, _plan() if plan is None else plan, _segments(list(cuts), failed), timestep_fs=DT_FS,
        store_every=EVERY, attributes=attributes,
    )  # fmt: skip
    return path


@pytest.fixture
def path(tmp_path):
    return _write(tmp_path / "t.h5", (0, 1, 7, 12, 23))


def test_what_was_written_is_read(path):
    potential, kinetic, positions, velocities = _data()
    with Trajectories(path) as file:
        assert file.names == tuple(sorted([SURVIVED, FAILED, REFUSED]))
        assert (file.model, file.timestep_fs, file.store_every) == ("toy", DT_FS, EVERY)
        for index, planned in enumerate(_plan()):
            found = file.trajectory(planned.name)
            assert np.array_equal(found.numbers, planned.numbers)
            assert np.array_equal(found.bonds, planned.bonds)
            facts = {k: v for k, v in vars(planned).items() if k not in ("numbers", "bonds")}
            for key, value in facts.items():
                one = getattr(found, key)
                assert type(one) is type(value), key
                assert one == value or (value != value and one != one), key
            series = file.series(planned.name)
            stop = planned.last_step + 1
            assert np.array_equal(series.potential, potential[:stop, index])
            assert np.array_equal(series.kinetic, kinetic[:stop, index])
            assert np.array_equal(series.total, series.potential + series.kinetic)
            assert np.allclose(series.time_ps, np.arange(stop) * 5e-4, rtol=1e-14)
            wanted = 2 * series.kinetic / (planned.degrees_of_freedom * units.kB)
            assert np.allclose(series.temperature, wanted, rtol=1e-14)
        assert file.trajectory(SURVIVED).survived
        assert not file.trajectory(FAILED).survived
        frames = file.frames(SURVIVED)
        assert frames.step.tolist() == list(range(0, N_STEPS + 1, EVERY))
        assert np.array_equal(frames.positions, positions[frames.step, :2])
        # Å/ps outside, Å/(Å √(amu/eV)) inside
        assert np.allclose(frames.velocities, velocities[frames.step, :2] * 98.22694788, rtol=1e-8)
        assert np.allclose(frames.velocities_ase, velocities[frames.step, :2], rtol=1e-14)
        assert np.array_equal(frames.potential, potential[frames.step, 0])
        assert file.last_steps(SURVIVED) is None


def test_a_failure_keeps_its_last_steps_at_full_rate(path):
    potential, _, positions, _ = _data()
    with Trajectories(path) as file:
        frames, last = file.frames(FAILED), file.last_steps(FAILED)
        assert frames.step.tolist() == [0, 4, 8, 12, 16, 20]
        assert np.array_equal(frames.positions, positions[frames.step, 2:4])
        assert last.step.tolist() == list(range(FAILED_AT - 9, FAILED_AT + 1))
        assert np.array_equal(last.positions, positions[last.step, 2:4])
        assert np.array_equal(last.potential[:-1], potential[last.step[:-1], 1])
        assert np.isnan([last.potential[-1], last.kinetic[-1], last.temperature[-1]]).all()


def test_a_trajectory_that_never_started_is_there_with_its_reason(path):
    with Trajectories(path) as file:
        refused = file.trajectory(REFUSED)
        assert refused.status is Status.UNSUPPORTED
        assert refused.message == "unknown elements: O"
        assert file.frames(REFUSED).positions.shape == (0, 3, 3)
        assert len(file.series(REFUSED).potential) == 0


@pytest.mark.parametrize("cuts", [(0,), (0, 30), (0, *range(1, 31))])
def test_where_the_pieces_were_cut_does_not_show(path, tmp_path, cuts):
    other = _write(tmp_path / "other.h5", cuts)
    assert content(other) == content(path)


VARYING = (
    "wall_s", "atom_frames", "provenance", "times_interrupted", "worker_starts",
    "peak_memory_bytes",
)  # fmt: skip


def content(path, skip=VARYING):
    """Every dataset and attribute of a file, as bytes."""
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = (item.dtype.str, item.shape, item[()].tobytes())
        for key, value in item.attrs.items():
            if key not in skip and not isinstance(value, h5py.Reference):
                array = np.asarray(value)
                plain = array.dtype.kind != "O"  # of strings the bytes are addresses
                found[f"{name}@{key}"] = array.tobytes() if plain else array.tolist()

    with h5py.File(path) as file:
        file.visititems(visit)
        visit("", file)
    assert len(found) > 50
    return found


def test_the_file_is_h5md(path):
    """What the specification asks of version 1.1 (https://www.nongnu.org/h5md/h5md.html)."""
    with h5py.File(path) as file:
        assert file["h5md"].attrs["version"].tolist() == [1, 1]
        assert file["h5md/author"].attrs["name"]
        assert file["h5md/creator"].attrs["name"] == "pesbench"
        assert file["h5md/creator"].attrs["version"]
        assert file["h5md/modules/units"].attrs["version"].tolist() == [1, 0]
        for name in (SURVIVED, FAILED, f"{FAILED}_last"):
            group = file["particles"][name]
            assert group["box"].attrs["dimension"] == 3
            assert list(group["box"].attrs["boundary"]) == ["none"] * 3
            for element in ("position", "velocity", "species", "box/edges"):
                one = group[element]
                assert len(one["value"]) == len(one["step"]) == len(one["time"])
                assert one["time"].attrs["unit"] == "ps"
                assert one["step"] == group["position/step"]  # linked, not copied
            assert group["position/value"].attrs["unit"] == "Angstrom"
            assert group["velocity/value"].attrs["unit"] == "Angstrom ps-1"
            assert group["position/value"].compression == "gzip"
            for element in file["observables"][name].values():
                assert len(element["value"]) == len(group["position/step"])
                assert element["value"].attrs["unit"] in ("eV", "K")
        every = file[f"observables/{SURVIVED}_every_step/temperature"]
        assert every["step"][()] == 1
        assert every["time"][()] == DT_FS / 1000
        bonds = file[f"connectivity/{SURVIVED}"]
        assert file[bonds.attrs["particles_group"]] == file["particles"][SURVIVED]


def _read_by_znh5md(path, name, index, atoms, formula, steps):
    """What ZnH5MD reads of one group is what was written, whole and from the end."""
    znh5md = pytest.importorskip("znh5md")
    potential, kinetic, positions, velocities = _data()
    found = znh5md.IO(path, particles_group=name)
    images = found[:]
    assert len(found) == len(images) == len(steps)
    for step, image in zip(steps, images, strict=True):
        assert image.get_chemical_formula() == formula
        assert not image.pbc.any()
        assert np.array_equal(image.positions, positions[step, atoms])
        # it takes numbers as they are, here Å/ps
        speed = image.get_velocities() / (1000 * units.fs)
        assert np.allclose(speed, velocities[step, atoms], rtol=1e-13)
        if step != FAILED_AT:
            assert image.get_potential_energy() == potential[step, index]
            assert image.info["kinetic_energy"] == kinetic[step, index]
    if len(steps):
        assert np.array_equal(found[-1].positions, positions[steps[-1], atoms])
    else:
        with pytest.raises(IndexError):
            found[-1]


def _groups(path):
    """Names of all particles groups, in the order of the file."""
    with h5py.File(path) as file:
        return list(file["particles"])


def test_znh5md_reads_any_trajectory_by_its_name(path):
    """Also the last one of the file, which was never started: no frames, and no error."""
    wanted = {
        FAILED: (1, slice(2, 4), "CN", range(0, FAILED_AT, EVERY)),
        f"{FAILED}_last": (1, slice(2, 4), "CN", range(FAILED_AT - 9, FAILED_AT + 1)),
        SURVIVED: (0, slice(0, 2), "CN", range(0, N_STEPS + 1, EVERY)),
        REFUSED: (2, slice(4, 7), "H2O", range(0)),
    }
    assert _groups(path) == list(wanted)
    for name, expected in wanted.items():
        _read_by_znh5md(path, name, *expected)


@pytest.mark.parametrize("fails", [False, True])
def test_znh5md_reads_the_last_trajectory_of_a_shard_that_ran(tmp_path, fails):
    """The last one planned and the last one of the file."""
    lived, failed, water = _plan()
    water = replace(water, status=Status.OK, message="", last_step=N_STEPS)
    if fails:
        ended = {"status": Status.ERROR, "failure_step": FAILED_AT, "last_step": FAILED_AT - 1}
        water = replace(water, **ended)
        failed = replace(lived, temperature_k=failed.temperature_k)
    plan, path = [lived, failed, water], tmp_path / "t.h5"
    _write(path, (0, 1, 7, 12, 23), plan, failed=2 if fails else 1)
    last = _groups(path)[-1]
    steps = range(0, FAILED_AT if fails else N_STEPS + 1, EVERY)
    _read_by_znh5md(path, REFUSED, 2, slice(4, 7), "H2O", steps)
    if fails:
        assert last == f"{REFUSED}_last"
        steps = range(FAILED_AT - 9, FAILED_AT + 1)
        _read_by_znh5md(path, last, 2, slice(4, 7), "H2O", steps)
    else:
        assert last == REFUSED


def test_an_h5md_group_without_frames_keeps_what_it_is(path):
    """The contract of a trajectory that never started: elements of length 0 for every reader."""
    with h5py.File(path) as file:
        group = file["particles"][REFUSED]
        assert group.attrs["numbers"].tolist() == [8, 1, 1]
        assert group["position/value"].shape == group["velocity/value"].shape == (0, 3, 3)
        assert group["species/value"].shape == (0, 3)
        assert group["box/edges/value"].shape == (0, 3, 3)
        assert len(group["position/step"]) == len(group["position/time"]) == 0
        for element in file["observables"][REFUSED].values():
            assert element["value"].shape == element["step"].shape == (0,)
        assert file[f"connectivity/{REFUSED}"][:].tolist() == [[0, 1], [0, 2]]


@pytest.mark.parametrize("last", [False, True])
def test_mdanalysis_reads_an_exported_trajectory(path, tmp_path, last):
    mda = pytest.importorskip("MDAnalysis")
    export_trajectory(path, FAILED, tmp_path / "one.h5md", last_steps=last)
    potential, _, positions, velocities = _data()
    universe = mda.Universe(str(tmp_path / "one.h5md"), format="H5MD", topology_format="MINIMAL")
    steps = range(FAILED_AT - 9, FAILED_AT + 1) if last else range(0, FAILED_AT, EVERY)
    assert len(universe.trajectory) == len(steps)
    assert len(universe.atoms) == 2
    for step, frame in zip(steps, universe.trajectory, strict=True):
        assert frame.data["step"] == step
        assert frame.time == pytest.approx(step * DT_FS / 1000)
        assert frame.dimensions is None
        assert np.allclose(frame.positions, positions[step, 2:4], rtol=1e-6)
        ps = velocities[step, 2:4] * 1000 * units.fs
        assert np.allclose(frame.velocities, ps, rtol=1e-6)
        if step != FAILED_AT:
            assert frame.data["trajectory/potential_energy"] == potential[step, 1]


@pytest.mark.parametrize("suffix", [".extxyz", ".xyz", ".traj"])
def test_ase_reads_an_exported_trajectory(path, tmp_path, suffix):
    out = tmp_path / f"one{suffix}"
    assert cli.main(["export", SURVIVED, "--trajectories", str(path), "--out", str(out)]) == 0
    potential, kinetic, positions, _ = _data()
    images = ase.io.read(out, ":")
    assert len(images) == 8
    digits = {"rtol": 1e-12} if suffix == ".traj" else {"atol": 1e-7}
    for step, image in zip(range(0, N_STEPS + 1, EVERY), images, strict=True):
        assert np.allclose(image.positions, positions[step, :2], **digits)
        assert image.get_potential_energy() == pytest.approx(potential[step, 0], abs=1e-7)
        masses = atomic_masses[[6, 7]]
        momenta = _data()[3][step, :2] * masses[:, None]
        assert np.allclose(image.get_momenta(), momenta, atol=1e-6)
        if suffix == ".traj":
            assert image.info["step"] == step
            assert image.info["temperature_k"] == pytest.approx(2 * kinetic[step, 0] / units.kB)


def test_an_exported_h5md_is_read_by_znh5md_too(path, tmp_path):
    znh5md = pytest.importorskip("znh5md")
    export_trajectory(path, SURVIVED, tmp_path / "one.h5md")
    images = znh5md.IO(tmp_path / "one.h5md")[:]
    assert np.array_equal(images[3].positions, _data()[2][12, :2])


@pytest.mark.parametrize(
    ("name", "out", "last", "said"),
    [
        (SURVIVED, "a.pdb", False, "no format for the suffix '.pdb'; take .h5md, .extxyz"),
        ("C-N.7_300K_1", "a.traj", False, f"did you mean {SURVIVED!r}?"),
        (f"{FAILED}_last", "a.traj", False, f"did you mean {FAILED!r}?"),
        (REFUSED, "a.traj", False, "no such frames (unknown elements: O)"),
        (SURVIVED, "a.h5md", True, "no such frames (it did not fail)"),
    ],
)
def test_an_export_that_cannot_be(path, tmp_path, name, out, last, said):
    with pytest.raises(UserError) as failure:
        export_trajectory(path, name, tmp_path / out, last_steps=last)
    assert said in str(failure.value)
    assert "\n" not in str(failure.value)
    assert not list(tmp_path.glob("a.*"))


@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.999])
def test_a_file_cut_short_is_refused_in_one_line(path, caplog, tmp_path, keep):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    out = tmp_path / "one.traj"
    assert cli.main(["export", SURVIVED, "--trajectories", str(path), "--out", str(out)]) == 2
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert str(path) in line
    assert "not a readable trajectory file" in line
    assert "remove it and make it with the rule `run`" in line
    assert "\n" not in line


def test_another_file_is_refused(tmp_path, toy_set):
    with pytest.raises(UserError, match="not a trajectory file of version 1"):
        Trajectories(toy_set)
    with pytest.raises(UserError, match="no such trajectory file; make it with the rule `run`"):
        Trajectories(tmp_path / "none.h5")


def test_nothing_is_left_of_a_file_that_could_not_be_written(tmp_path):
    def broken():
        yield from _segments([0])
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        write_trajectories(
            tmp_path / "t.h5", _plan(), broken(), timestep_fs=DT_FS, store_every=EVERY,
            attributes={},
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_names():
    assert trajectory_name("C-N/25729", 300.0, 0) == "C-N.25729_300K_0"
    assert trajectory_name("ethanol", 1000, 12) == "ethanol_1000K_12"
