"""HDF5 files of ours that somebody changed: each is read, or is one line that names it."""

from __future__ import annotations

import resource
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from examples import write_toys
from pesbench.core.errors import HostError, UserError
from pesbench.core.interface import Status
from pesbench.files import provenance
from pesbench.files.evaluation import Evaluation, ScanEvaluation, write_evaluation
from pesbench.files.hdf5 import StoredFile, writing
from pesbench.files.scan_set import ScanSet
from pesbench.tasks.bonds.score import score_rows
from pesbench.tasks.dynamics.score import trajectory_rows
from pesbench.tasks.dynamics.stored import BlackBox, Segment, Trajectories, Trajectory
from pesbench.tasks.dynamics.writing import write_trajectories
from pesbench.tasks.vibrations.score import vibration_rows
from pesbench.tasks.vibrations.stored import MoleculeVibrations, Vibrations, write_vibrations

NOTES = {
    "model": "m", "scan_set_sha256": "x", "wall_s": 1.5, "n_steps": 40, "device": "cpu",
    "worker_starts": 2, "worker_deaths": {"crashed": 1},
    "entry": {"name": "m", "family": "mace", "settings": {}}, "settings": {"a": 1},
    "provenance": {"code": {"evaluate mace": "0"}, "git_commit": "1", "platform": "p"},
}  # fmt: skip


# --- one small file of each contract, and what reads all of it -----------------------------------


def _scan_set(path: Path, toys: dict[str, Any]) -> None:
    write_toys(path, [replace(toys["C-N/b"], quality="marked", reason="two minima")])


def _read_scan_set(path: Path, _: Path) -> None:
    with ScanSet(path) as found:
        for scan_id in found.ids:
            found.scan(scan_id)
            found.quality(scan_id)
            found.shape(scan_id)
            found.system(scan_id)
            found.composition(scan_id)


def _evaluation(path: Path, toys: dict[str, Any]) -> None:
    scan = toys["C-N/b"]
    write_toys(path.with_name("toys.h5"), [scan])
    with ScanSet(path.with_name("toys.h5")) as scan_set:
        sha256 = scan_set.sha256
    status = np.zeros(scan.n_frames, dtype=np.int8)
    one = ScanEvaluation(scan.id, scan.energy, 1.1 * scan.forces, status, Status.OK, "", 0.1)
    write_evaluation(path, [one], attributes=NOTES | {"scan_set_sha256": sha256})


def _read_evaluation(path: Path, beside: Path) -> None:
    with ScanSet(beside / "toys.h5") as scan_set:
        score_rows(scan_set, [path])
    with Evaluation(path) as found:
        provenance.summary(found.attributes, "evaluate")
        for scan_id in found.ids:
            found.spent(scan_id)


def _trajectories(path: Path, _: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    pair = {
        "system": "cn", "replicate": 0, "numbers": np.array([6, 7]), "bonds": np.array([[0, 1]]),
        "charge": 0, "spin": 2, "degrees_of_freedom": 1,
    }  # fmt: skip
    plan = [
        Trajectory(temperature_k=300.0, last_step=40, **pair),
        Trajectory(temperature_k=500.0, last_step=30, failure="nonfinite", failure_step=30, **pair),
    ]
    steps, frames = np.arange(41), np.arange(0, 41, 4)
    places = rng.normal(size=(41, 4, 3))
    boxes = {1: BlackBox(steps[21:31], places[21:31, 2:], places[21:31, 2:])}
    data = Segment(
        0, rng.random((41, 2)), rng.random((41, 2)), frames, places[frames], places[frames], boxes
    )
    write_trajectories(path, plan, [data], timestep_fs=0.5, store_every=4, attributes=NOTES)


def _read_trajectories(path: Path, _: Path) -> None:
    trajectory_rows([path])
    with Trajectories(path) as found:
        provenance.summary(found.attributes, "dynamics")
        for name in found.names:
            found.last_steps(name)


def _vibrations(path: Path, _: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    one = MoleculeVibrations(
        "C-N/1", np.array([6, 7]), np.array([[0, 0, 0], [1.1, 0, 0]]), rng.random((6, 6)),
        np.array([1500.0]), np.zeros(5), 0.1, Status.OK, "", True, 4, 0.01,
    )  # fmt: skip
    for file in (path, path.with_name("reference.h5")):
        write_vibrations(file, [one], attributes=NOTES)


def _read_vibrations(path: Path, beside: Path) -> None:
    vibration_rows([path], [beside / "reference.h5"])
    with Vibrations(path) as found:
        assert found.settings


CONTRACTS: dict[str, tuple[Callable[..., None], Callable[[Path, Path], None]]] = {
    "scan set": (_scan_set, _read_scan_set),
    "evaluation": (_evaluation, _read_evaluation),
    "trajectories": (_trajectories, _read_trajectories),
    "vibrations": (_vibrations, _read_vibrations),
}

# --- what is done to them ------------------------------------------------------------------------


def _elsewhere(beside: Path) -> tuple[str, np.ndarray]:
    """Numbers in a file that none of ours may lead to."""
    path = beside / "secret"
    if not path.exists():
        np.arange(5000.0).tofile(path)
        with h5py.File(beside / "secret.h5", "w") as file:
            file["x"] = np.arange(50.0)
    return str(path), np.arange(5000.0)


def _links(beside: Path) -> Iterator[tuple[str, Callable[[Any, str], None]]]:
    """Of anything in the file: taken away, or a way to another place."""

    def put(make: Callable[[Any], Any]) -> Callable[[Any, str], None]:
        def change(file: Any, name: str) -> None:
            del file[name]
            file[name] = make(file)

        return change

    _elsewhere(beside)
    yield "taken away", lambda file, name: file.__delitem__(name)
    yield "link out of the file", put(lambda _: h5py.ExternalLink(beside / "secret.h5", "x"))
    yield "link to no file", put(lambda _: h5py.ExternalLink("/etc/passwd", "/"))
    yield "link within the file", put(lambda _: h5py.SoftLink("/"))
    yield "link to nowhere", put(lambda _: h5py.SoftLink("/nowhere"))
    yield "link to itself", put(lambda _: h5py.SoftLink("."))
    yield "cycle", put(lambda file: file["/"])
    yield "a type", put(lambda _: np.dtype("f8"))
    yield "text", put(lambda _: "text")
    yield "no group", put(lambda _: np.arange(3.0))

    def group(file: Any, name: str) -> None:
        del file[name]
        file.create_group(name)

    yield "no dataset", group


def _datasets(beside: Path) -> Iterator[tuple[str, Callable[[Any, str], None]]]:
    """Of an array: another type, shape, place or value."""

    def remade(change: Callable[[np.ndarray], Any], **how: Any) -> Callable[[Any, str], None]:
        def put(file: Any, name: str) -> None:
            values = change(file[name][()])
            del file[name]
            file.create_dataset(name, data=values, **how)

        return put

    for dtype in ("S3", "c16", "?", "f2", "f4", "i1", "u8", "i8", "f8", ">f8", "f16"):
        yield f"as {dtype}", remade(lambda values, dtype=dtype: values.astype(dtype))
    record = np.dtype([("a", "f8"), ("b", "i4")])
    yield "records", remade(lambda values: np.zeros(values.shape, record))
    yield "opaque", remade(lambda values: np.zeros(values.shape, "V8"))
    yield (
        "references",
        remade(lambda values: np.zeros(values.shape, dtype=h5py.ref_dtype), dtype=h5py.ref_dtype),
    )
    yield "empty", remade(lambda _: h5py.Empty("f8"))
    yield "flat", remade(np.ravel)
    yield "another axis", remade(lambda values: values[..., None])
    yield "one less", remade(lambda values: values[:-1] if values.ndim else values)
    yield "one more", remade(lambda values: np.concatenate([values, values[:1]])
                             if values.ndim and len(values) else values)  # fmt: skip
    yield "none", remade(lambda values: values[:0] if values.ndim else values)
    yield "transposed", remade(np.transpose)
    yield "a number", remade(lambda _: 3)
    for number in (np.nan, np.inf, -1, 2**62, 119, 0):
        yield f"with {number}", remade(lambda values, number=number: _with(values, number))
    yield "packed by another filter", remade(np.atleast_1d, compression="lzf")
    yield "in whole steps", remade(np.atleast_1d, scaleoffset=2)

    def outside(file: Any, name: str) -> None:
        shape, dtype = file[name].shape, file[name].dtype
        del file[name]
        place = [(_elsewhere(beside)[0], 0, h5py.h5f.UNLIMITED)]
        file.create_dataset(name, shape=shape, dtype=dtype, external=place)

    def virtual(file: Any, name: str) -> None:
        shape = file[name].shape or (1,)
        del file[name]
        layout = h5py.VirtualLayout(shape=shape, dtype="f8")
        layout[...] = h5py.VirtualSource(str(beside / "secret.h5"), "x", shape=shape)
        file.create_virtual_dataset(name, layout)

    def endless(file: Any, name: str) -> None:
        axes = max(1, file[name].ndim)
        shape = (2**36, *file[name].shape[1:]) if axes > 1 else (2**36,)
        del file[name]
        file.create_dataset(name, shape=shape, dtype="f8", chunks=(1,) * axes)

    def never_written(file: Any, name: str) -> None:
        shape, dtype = file[name].shape or (1,), file[name].dtype
        del file[name]
        file.create_dataset(name, shape=shape, dtype=dtype, chunks=True if 0 not in shape else None)

    yield "data in another file", outside
    yield "virtual", virtual
    yield "without end", endless
    yield "never written", never_written


def _with(values: np.ndarray, number: float) -> np.ndarray:
    values = np.array(values)
    if values.size and (values.dtype.kind == "f" or np.isfinite(number)):
        values.flat[0] = number if values.dtype.itemsize == 8 else min(number, 120)
    return values


def _attributes() -> Iterator[tuple[str, Callable[[Any, str], None]]]:
    for value in (
        "text", "", b"\xff\xfe", 3, -1, 2**62, 0, 1.5, np.nan, -np.inf, True, 1j, [1, 2], ["a"],
        np.zeros((2, 2)), np.zeros(3, "V4"), h5py.Empty("f8"), "[]", "{}", "{" * 3000, "[" * 90000,
        "null", '{"a": NaN}', '{"code": [], "settings": 1, "family": {}}', '{"crashed": "x"}',
        "\ud800"[:0] + "ü",
    ):  # fmt: skip
        yield f"as {str(value)[:20]!r}", lambda item, key, v=value: item.attrs.__setitem__(key, v)
    yield "taken away", lambda item, key: item.attrs.__delitem__(key)
    yield "a reference", lambda item, key: item.attrs.__setitem__(key, item.ref)

    def latin(item: Any, key: str) -> None:
        del item.attrs[key]
        item.attrs.create(key, np.array(b"\xe4", dtype="S4"))

    yield "Latin-1", latin


def _changes(path: Path, beside: Path) -> list[tuple[str, Callable[[Any], None]]]:
    """Everything that is done to a file, by a name."""
    objects: list[str] = []
    with h5py.File(path, "r") as file:
        file.visit(objects.append)
        arrays = [name for name in objects if isinstance(file[name], h5py.Dataset)]
        attributes = [(n, key) for n in ("/", *objects) for key in file[n].attrs]
    found: list[tuple[str, Callable[[Any], None]]] = []
    for kind, change in _links(beside):
        found += [(f"{n}: {kind}", lambda f, n=n, c=change: c(f, n)) for n in objects]
    for kind, change in _datasets(beside):
        found += [(f"{n}: {kind}", lambda f, n=n, c=change: c(f, n)) for n in arrays]
    for kind, change in _attributes():
        found += [
            (f"{n}@{key}: {kind}", lambda f, n=n, k=key, c=change: c(f[n], k))
            for n, key in attributes
        ]
    return found


def _outcome(read: Callable[[Path, Path], None], path: Path, beside: Path) -> str | None:
    """The line that reading ends with, or None."""
    try:
        read(path, beside)
    except (UserError, HostError) as error:
        return str(error)
    return None


@pytest.mark.parametrize("contract", CONTRACTS)
def test_whatever_is_changed_is_read_or_one_line(tmp_path, toys, contract, request):
    """A part of all changes here; every one of them with `--slow`."""
    make, read = CONTRACTS[contract]
    original = tmp_path / "file.h5"
    make(original, toys)
    whole = original.read_bytes()
    assert _outcome(read, original, tmp_path) is None
    changes = _changes(original, tmp_path)
    if not request.config.getoption("--slow"):
        changes = changes[:: max(1, len(changes) // 220)]
    path, refused = tmp_path / "changed.h5", 0
    for name, change in changes:
        path.write_bytes(whole)
        try:
            with h5py.File(path, "r+") as file:
                change(file)
        except (TypeError, ValueError, OSError, OverflowError, RuntimeError):
            continue  # HDF5 has no such thing
        line = _outcome(read, path, tmp_path)
        if line is not None:
            refused += 1
            assert line.startswith(str(path)), (name, line)
            assert "\n" not in line, (name, line)
    assert refused > len(changes) / 4


# --- what must not be read, or not in full -------------------------------------------------------


@pytest.mark.parametrize("place", [1e7, -1e155, 1e308])
def test_a_geometry_that_no_relaxation_leads_to_is_one_line(tmp_path, toys, place):
    _vibrations(tmp_path / "file.h5", toys)
    with h5py.File(tmp_path / "file.h5", "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        file[next(name for name in names if name.endswith("/positions"))][0, 0] = place
    assert "farther than" in _outcome(_read_vibrations, tmp_path / "file.h5", tmp_path)


@pytest.mark.parametrize("counts", ["[", "nan", '{"crashed": "x"}', '{"crashed": -1}', 3, True])
def test_what_counts_no_deaths_is_one_line(tmp_path, toys, counts):
    _trajectories(tmp_path / "file.h5", toys)
    with h5py.File(tmp_path / "file.h5", "r+") as file:
        file.attrs["worker_deaths"] = counts
    assert "worker_deaths" in _outcome(_read_trajectories, tmp_path / "file.h5", tmp_path)


def test_no_number_comes_from_another_file(tmp_path, toys):
    """A link, external storage and a virtual dataset with just the right shape."""
    path = tmp_path / "set.h5"
    make, read = CONTRACTS["scan set"]
    make(path, toys)
    frames = toys["C-N/b"].n_frames
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(frames)
    for how in ("link", "soft link to a link", "outer group", "storage", "virtual"):
        make(path, toys)
        with h5py.File(path, "r+") as file:
            energy = "C-N/b/energy"
            if how != "outer group":
                del file[energy]
            match how:
                case "link":
                    file[energy] = h5py.ExternalLink("other.h5", "x")
                case "soft link to a link":
                    file["x"] = h5py.ExternalLink("other.h5", "x")
                    file[energy] = h5py.SoftLink("/x")
                case "outer group":
                    file.move("C-N", "hidden")
                    file["C-N"] = h5py.SoftLink("/hidden")
                case "storage":
                    place = [("/etc/passwd", 0, 8 * frames)]
                    file.create_dataset(energy, shape=(frames,), dtype="f8", external=place)
                case "virtual":
                    layout = h5py.VirtualLayout(shape=(frames,), dtype="f8")
                    source = h5py.VirtualSource(tmp_path / "other.h5", "x", shape=(frames,))
                    layout[:] = source
                    file.create_virtual_dataset(energy, layout)
        line = _outcome(read, path, tmp_path)
        assert line is not None, how
        assert "which is not" in line or "is no group" in line, (how, line)


def _bomb(path: Path, unpacked: int) -> None:
    """A chunk of a few bytes by its declaration that unpacks to something else."""
    with h5py.File(path, "w") as file:
        found = file.create_dataset("x", (100,), "f8", chunks=(100,), compression="gzip")
        found.id.write_direct_chunk((0,), zlib.compress(bytes(unpacked), 9))


def test_what_unpacks_without_end_is_not_unpacked(tmp_path):
    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # MB

    path = tmp_path / "bomb.h5"
    _bomb(path, 400_000_000)
    before = peak()
    with StoredFile(path, "file", "remove it") as file, pytest.raises(UserError, match="larger"):
        file.array(file.root, "x", np.float64, (None,))
    with h5py.File(path, "w") as made:
        made.create_dataset("far", (2**50,), "f8", chunks=(2**16,))
        made.create_dataset("wide", (2**20,), "f8", chunks=(2**20,), compression="gzip")
        made.create_dataset("none", (2**26,), "f8")
        made["few"] = np.zeros(3)
    with StoredFile(path, "file", "remove it") as file:
        for name, said in (("far", "GB"), ("wide", "pieces"), ("none", "holds 0")):
            with pytest.raises(UserError, match=said):
                file.array(file.root, name, np.float64, (None,))
        assert file.array(file.root, "few", np.float64, (3,)).shape == (3,)
    assert peak() - before < 100


@pytest.mark.parametrize("energies", ["rising", "falling", "none"])
def test_a_scan_that_no_gate_has_let_through_is_one_line(tmp_path, toys, energies):
    make, _ = CONTRACTS["evaluation"]
    path, scan = tmp_path / "e.h5", toys["C-N/b"]
    n = scan.n_frames
    energy = {
        "rising": np.arange(1.0 * n), "falling": -np.arange(1.0 * n), "none": np.full(n, np.nan),
    }[energies]  # fmt: skip
    make(path, {scan.id: replace(scan, energy=energy)})
    with ScanSet(tmp_path / "toys.h5") as scan_set, pytest.raises(UserError) as error:
        score_rows(scan_set, [path])
    assert str(error.value).startswith(f"{path}: scan 'C-N/b' of ")


# --- a full disk, and one without locks ----------------------------------------------------------

FULL = """
import resource, sys
from pathlib import Path
import numpy as np, pandas as pd
sys.path.insert(0, sys.argv[1])
import examples, test_stored_files as t
from pesbench.files.checkpoint import Checkpoint
from pesbench.core.errors import disk_failure
from pesbench.files.stored_tables import write_scores
from pesbench.files.atomic import write_json
from pesbench.files.evaluation import write_evaluation, ScanEvaluation
from pesbench.tasks.vibrations.stored import write_vibrations
out = Path(sys.argv[2])
rng = np.random.default_rng(0)
scan = examples.toy_scan("b", "CN", 100)
many = [t.replace(scan, id=f"C-N/{k}", system=str(k),
                  forces=rng.random(scan.forces.shape)) for k in range(150)]
ok = np.zeros(100, np.int8)
frame = pd.DataFrame({"x": rng.random(60_000)})
one = t.MoleculeVibrations("C", np.full(60, 6), rng.random((60, 3)), rng.random((180, 180)),
                           rng.random(174), rng.random(6), 0.1, t.Status.OK, "", True, 4, 0.01)
steps = np.arange(20001)
run = t.Trajectory("cn", 300.0, 0, np.array([6, 7]), np.array([[0, 1]]), 0, 1, 1, last_step=20000)
data = t.Segment(0, rng.random((20001, 1)), rng.random((20001, 1)), steps[::4],
                 rng.random((5001, 2, 3)), rng.random((5001, 2, 3)))
writers = {
    "scans.h5": lambda p: t.write_toys(p, many),
    "evaluation.h5": lambda p: write_evaluation(p, [
        ScanEvaluation(s.id, s.energy, s.forces, ok, t.Status.OK, "", 0.1) for s in many
    ], attributes=t.NOTES),
    "vibrations.h5": lambda p: write_vibrations(
        p, [t.replace(one, system=f"C{k}") for k in range(3)], attributes=t.NOTES),
    "trajectories.h5": lambda p: t.write_trajectories(
        p, [run], [data], timestep_fs=0.5, store_every=4, attributes=t.NOTES),
    "scores.parquet": lambda p: write_scores(p, frame),
    "note.json": lambda p: write_json(p, {"x": "y" * 400_000}),
    "piece.h5": lambda p: Checkpoint(p, {}).append(x=rng.random(60_000)),
}
for size in range(100_000, 301_000, int(sys.argv[3])):
    if size:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    for name, write in writers.items():
        try:
            write(out / name)
        except OSError as error:
            assert disk_failure(error, None) is not None, (name, size, error)
            assert str(disk_failure(error, None)).startswith(str(out)), (name, size, error)
        else:
            raise SystemExit(f"{name} fits {size}")
        left = [p.name for p in out.rglob("*.part")] + [p.name for p in out.glob("*.h5")]
        assert not left, (name, size, left)
    import gc; gc.collect()
print("told")
"""


def test_a_full_disk_is_an_error_at_every_size(tmp_path):
    """With a limit of the size of files, as only root makes a full disk; the same calls fail."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(Path(__file__).parent), str(tmp_path), "40000"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "told\n", "")


def test_files_are_written_and_read_where_there_are_no_locks(tmp_path, toys, monkeypatch):
    """Two processes at a time, which locks would keep apart."""
    make, read = CONTRACTS["evaluation"]
    path = tmp_path / "e.h5"
    make(path, toys)
    holder = (
        "import fcntl, sys; file = open(sys.argv[1], 'rb+'); fcntl.flock(file, fcntl.LOCK_EX); "
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(OSError, match="lock"):
            h5py.File(path, "r+")
        read(path, tmp_path)
        with writing(path, "r+") as file:
            file.attrs["device"] = "gpu"
        process.communicate()
    read(path, tmp_path)
