"""The file contracts: what is written is read back, and nothing half-made is left behind."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from examples import write_toys
from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.core.scans import Scan
from pesbench.files.atomic import atomic_path, write_json, write_text
from pesbench.files.evaluation import Evaluation, ScanEvaluation, write_evaluation
from pesbench.files.scan_set import ScanSet, write_scan_set
from pesbench.models.registry import ModelEntry


def _equal(a, b):
    for field in fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, np.ndarray):
            assert x.dtype == y.dtype, field.name
            assert np.array_equal(x, y, equal_nan=x.dtype.kind == "f"), field.name
        else:
            assert x == y, field.name
            assert type(x) is type(y), field.name


def _set(path, scans):
    write_toys(path, scans)
    with ScanSet(path) as scan_set:
        return scan_set.sha256


@pytest.fixture
def scan(toys) -> Scan:
    """A scan in which nothing has its default."""
    toy = toys["C-N/b"]
    energy, forces = toy.energy.copy(), toy.forces.copy()
    energy[3], forces[3] = np.nan, np.nan
    return replace(
        toy, energy=energy, forces=forces, charge=-1, spin=2, smiles="[C:1][N:2]",
        quality="marked", reason="two minima, at 1.1 and 1.4 Å",
    )  # fmt: skip


def test_a_scan_comes_back_as_it_was(tmp_path, scan, toys):
    path = tmp_path / "set.h5"
    write_scan_set(
        path, [scan, toys["C-C/a"]], name="set", level_of_theory="wB97M-D3(BJ)", source="here",
        provenance={"packages": {"ase": "3"}, "seeds": [1, 2]},
    )  # fmt: skip
    with ScanSet(path) as scan_set:
        assert (scan_set.name, scan_set.level_of_theory) == ("set", "wB97M-D3(BJ)")
        assert scan_set.attributes["source"] == "here"
        assert json.loads(scan_set.attributes["provenance"])["seeds"] == [1, 2]
        _equal(scan_set.scan(scan.id), scan)
        _equal(scan_set.scan("C-C/a"), toys["C-C/a"])
        assert scan_set.quality(scan.id) == ("marked", "two minima, at 1.1 and 1.4 Å")
        assert scan_set.shape(scan.id) == (13, 2)


def test_the_contract_of_the_file(tmp_path, scan):
    """Names, types and root attributes as the format defines them, to read without this package."""
    _set(tmp_path / "set.h5", [scan])
    with h5py.File(tmp_path / "set.h5") as file:
        assert file.attrs["format"] == "pesbench-scans"
        assert {"version", "name", "level_of_theory", "source", "sha256"} <= set(file.attrs)
        group = file["C-N/b"]
        for key in ("coordinate", "positions", "energy", "forces"):
            assert group[key].dtype == np.float64
        for key in ("numbers", "fragment", "bonds"):
            assert group[key].dtype.kind == "i"
        assert {"kind", "bond", "atoms", "smiles", "charge", "spin"} <= set(group.attrs)
        assert group.attrs["atoms"].tolist() == [0, 1]


@given(
    energies=hnp.arrays(np.float64, (13,), elements=st.floats(width=64, allow_infinity=False)),
    charge=st.integers(-9, 9),
    text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
)
def test_any_number_and_any_text_comes_back(toys, tmp_path_factory, energies, charge, text):
    path = tmp_path_factory.mktemp("set") / "set.h5"
    scan = replace(toys["C-C/a"], energy=energies, charge=charge, reason=text)
    _set(path, [scan])
    with ScanSet(path) as scan_set:
        _equal(scan_set.scan(scan.id), scan)


def test_ids_are_sorted_whatever_the_order_of_writing(tmp_path, toys):
    scans = list(toys.values())
    names = ["C-N/10", "C-C/2", "C-N/9", "C-C/b_1-2", "O-S/a", "C-N/1"]
    scans = [replace(scan, id=name) for scan, name in zip(scans, names, strict=True)]
    one = _set(tmp_path / "1.h5", scans)
    two = _set(tmp_path / "2.h5", scans[::-1])
    assert one == two
    for path in (tmp_path / "1.h5", tmp_path / "2.h5"):
        with ScanSet(path) as scan_set:
            assert scan_set.ids == tuple(sorted(names))


ANOTHER = {
    "coordinate": lambda s: s.coordinate + 1e-9,
    "positions": lambda s: s.positions * (1 + 1e-12),
    "numbers": lambda s: s.numbers[::-1].copy(),
    "energy": lambda s: np.where(np.arange(13) == 5, np.nan, s.energy),
    "forces": lambda s: -s.forces,
    "fragment": lambda s: 1 - s.fragment,
    "bonds": lambda s: np.empty((0, 2), dtype=np.int64),
    "positions_unperturbed": lambda s: s.positions_unperturbed + 1,
    "charge": lambda s: 1,
    "spin": lambda s: 3,
    "quality": lambda s: "dropped",
    "id": lambda s: "C-N/c",
    "atoms": lambda s: (1, 0),
    "system": lambda s: "other",
}


@pytest.mark.parametrize("field", ANOTHER)
def test_the_hash_changes_with_the_content(tmp_path, scan, toys, field):
    other = replace(scan, **{field: ANOTHER[field](scan)})
    before = _set(tmp_path / "1.h5", [scan, toys["C-C/a"]])
    assert before == _set(tmp_path / "2.h5", [scan, toys["C-C/a"]])
    assert before != _set(tmp_path / "3.h5", [other, toys["C-C/a"]])
    assert before != _set(tmp_path / "4.h5", [scan])


def test_writing_fails_in_the_middle(tmp_path, toys):
    def scans():
        yield toys["C-C/a"]
        raise UserError("the archive ends here")

    with pytest.raises(UserError):
        write_toys(tmp_path / "new" / "set.h5", scans())
    assert list((tmp_path / "new").iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path, toys):
    path = tmp_path / "set.h5"
    sha256 = _set(path, [toys["C-C/a"]])
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError):
        write_toys(path, (1 / 0 for _ in range(1)))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["set.h5"]
    with ScanSet(path) as scan_set:
        assert scan_set.sha256 == sha256


def _write_half_of(part):
    part.write_text("broken")
    raise KeyboardInterrupt


def test_atomic_path(tmp_path):
    target = tmp_path / "a" / "b.txt"
    with atomic_path(target) as part:
        part.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as part:
        _write_half_of(part)
    write_text(tmp_path / "a" / "å.txt", "Å⁻¹\n")
    write_json(tmp_path / "a" / "c.json", {"b": 1, "a": [1, 2]})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a" / "c.json", {"b": object()})
    assert target.read_text() == "new"
    assert (tmp_path / "a" / "å.txt").read_text(encoding="utf-8") == "Å⁻¹\n"
    assert json.loads((tmp_path / "a" / "c.json").read_text()) == {"b": 1, "a": [1, 2]}
    assert sorted(p.name for p in target.parent.iterdir()) == ["b.txt", "c.json", "å.txt"]


def _evaluation(scan_id, status=Status.OK, message="", frames=4):
    rng = np.random.default_rng(3)
    return ScanEvaluation(
        scan_id=scan_id, energy=rng.normal(size=frames), forces=rng.normal(size=(frames, 2, 3)),
        frame_status=np.array([status.code] * frames, dtype=np.int8), status=status,
        message=message, wall_s=1.5,
    )  # fmt: skip


ROOT = {"model": "m", "entry": {"a": [1]}, "scan_set_sha256": "x", "threads": 2, "wall_s": 0.5}


def test_an_evaluation_comes_back_as_it_was(tmp_path):
    scans = [_evaluation(f"C-C/{s.value}", s, f"it was {s} – Å") for s in Status]
    write_evaluation(tmp_path / "e.h5", scans, attributes=ROOT)
    with Evaluation(tmp_path / "e.h5") as evaluation:
        assert evaluation.ids == tuple(sorted(f"C-C/{s.value}" for s in Status))
        assert (evaluation.model, evaluation.scan_set_sha256) == ("m", "x")
        assert json.loads(evaluation.attributes["entry"]) == {"a": [1]}
        assert evaluation.attributes["threads"] == 2
        codes = json.loads(evaluation.attributes["status_codes"])
        for scan in scans:
            _equal(evaluation.scan(scan.scan_id), scan)
            assert set(evaluation.scan(scan.scan_id).frame_status) == {codes[scan.status.value]}


def test_status_codes_are_frozen():
    """They stand in files: a new status goes to the end."""
    assert [s.value for s in Status] == [
        "ok", "unsupported", "nonfinite", "error", "out_of_memory", "timeout", "crashed", "masked",
        "alarm",
    ]  # fmt: skip
    assert [Status.from_code(s.code) for s in Status] == list(Status)


@pytest.mark.parametrize("kind", [ScanSet, Evaluation])
@pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated", "other", "version"])
def test_files_that_are_not_what_they_should_be(tmp_path, toys, kind, damage):
    path = tmp_path / "file.h5"
    if kind is ScanSet:
        write_toys(path, toys.values())
        foreign = lambda: write_evaluation(path, [_evaluation("C-C/a")], attributes=ROOT)  # noqa: E731
    else:
        write_evaluation(path, [_evaluation("C-C/a")], attributes=ROOT)
        foreign = lambda: write_toys(path, toys.values())  # noqa: E731
    match damage:
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("coordinate,energy\n1.0,2.0\n")
        case "truncated":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        case "other":
            foreign()
        case "version":
            with h5py.File(path, "r+") as file:
                file.attrs["version"] = 99
    with pytest.raises(UserError) as error:
        kind(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert "with the rule `" in message


def test_a_scan_that_is_not_there(tmp_path, scan):
    _set(tmp_path / "set.h5", [scan])
    with ScanSet(tmp_path / "set.h5") as scan_set, pytest.raises(UserError, match="no scan 'X/1'"):
        scan_set.scan("X/1")


def test_a_resolved_entry_comes_back_and_other_files_are_refused(tmp_path):
    entry = ModelEntry("a", "ase", {"calculator": "x:Y", "arguments": {"k": [1, 2.5, None]}})
    write_json(tmp_path / "entry.json", entry.deciding())
    assert ModelEntry.from_file(tmp_path / "entry.json", sha256=entry.sha256) == entry
    for text in ("", "{}", "[1]", '{"name": "a"'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(UserError, match="not a resolved model entry") as error:
            ModelEntry.from_file(tmp_path / "bad.json")
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="not a resolved model entry"):
        ModelEntry.from_file(tmp_path / "none.json")
