"""Family `apax`: its archives here, and its numbers in an environment that has apax."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from apax_environment import MISSING, apax_environment
from examples import HELPERS, REPO
from pesbench.core.errors import UserError
from pesbench.files.environment import Environment, variables
from pesbench.models.families.apax.archive import BEST, CONFIG, pack, unpacked
from pesbench.models.families.apax.family import FAMILY
from pesbench.models.models_file import make_entry
from pesbench.models.trust import check_consent
from pesbench.models.weights import Weights, check_weights, read_weights

# --- the archive: no package of the family is needed ---------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as apax leaves it, with what no archive needs."""
    made = tmp_path / "model"
    for name in (f"{BEST}/7/default/d/abc", f"{BEST}/7/_METADATA", "latest/9/x", CONFIG, "log.csv"):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(f"content of {name}")
    return made


def zipped(path: Path, *names: str, size: int = 3, method: int = zipfile.ZIP_DEFLATED) -> Weights:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name in names:
            archive.writestr(name, bytes(size))
    return read_weights(path, None, FAMILY)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What unpacking writes, in the order of writing; its private folder is below `tmp_path`."""
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "a" / "b" / "c"))
    paths: list[Path] = []
    write = Path.write_bytes

    def noted(path: Path, content: bytes) -> int:
        paths.append(path)
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", noted)
    return paths


def held(weights: Weights) -> dict[str, str]:
    with unpacked(weights) as folder:
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def test_an_archive_holds_config_and_checkpoint_and_depends_on_nothing_else(
    folder: Path, tmp_path: Path
) -> None:
    pack(folder, tmp_path / "a.zip")
    os.utime(folder / CONFIG, (0, 10**9))
    pack(folder, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    found = held(read_weights(tmp_path / "a.zip", None, FAMILY))
    assert set(found) == {CONFIG, f"{BEST}/7/default/d/abc", f"{BEST}/7/_METADATA"}
    assert found[CONFIG] == f"content of {CONFIG}"


def test_an_archive_of_zipfile_is_read(folder: Path, tmp_path: Path) -> None:
    """The command that the help of `weights` gives puts all into one folder."""
    path = tmp_path / "model.zip"
    zipfile.main(["-c", str(path), str(folder)])
    assert f"{folder.name}/latest/9/x" in zipfile.ZipFile(path).namelist()
    assert set(held(read_weights(path, None, FAMILY))) == {
        CONFIG, f"{BEST}/7/default/d/abc", f"{BEST}/7/_METADATA",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("names", "size", "said"),
    [
        ([CONFIG, f"{BEST}/a", f"{BEST}/../../x"], 3, "lies elsewhere"),
        ([CONFIG, f"{BEST}/1/..\\..\\x"], 3, "lies elsewhere"),
        ([CONFIG, "other/x"], 3, "no checkpoint"),
        ([CONFIG, f"m/{CONFIG}", f"{BEST}/x"], 3, "holds 2 files config.yaml"),
        ([CONFIG, BEST, f"{BEST}/x"], 3, "cannot be unpacked"),  # a file and a folder
        ([CONFIG, f"{BEST}/{'x' * 300}"], 3, "cannot be unpacked"),
    ],
)
def test_an_archive_of_something_else_is_one_line(
    tmp_path: Path, written: list[Path], names: list[str], size: int, said: str
) -> None:
    weights = zipped(tmp_path / "x.zip", *names, size=size)
    with pytest.raises(UserError, match=said) as caught, unpacked(weights):
        pass
    assert str(caught.value).isprintable()
    private = tmp_path / "a" / "b" / "c"
    assert all(path.resolve().is_relative_to(private) for path in written)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["x.zip"]
    assert not list(private.iterdir())


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_no_archive_of_ours_has_is_one_line(tmp_path: Path, method: int) -> None:
    """Their decoders have errors of their own, and no limit of memory."""
    weights = zipped(tmp_path / "x.zip", CONFIG, f"{BEST}/x", method=method)
    with (
        pytest.raises(UserError, match=r"config\.yaml is neither stored nor deflated"),
        unpacked(weights),
    ):
        pass


def test_a_disk_that_is_full_is_no_fault_of_the_archive(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(folder, tmp_path / "a.zip")
    weights = read_weights(tmp_path / "a.zip", None, FAMILY)

    def full(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"), unpacked(weights):
        pass


def test_nothing_is_written_of_an_archive_that_is_too_large(
    tmp_path: Path, written: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pesbench.models.families.apax.archive.MOST_BYTES", 1 << 20)
    weights = zipped(tmp_path / "x.zip", CONFIG, f"{BEST}/a", f"{BEST}/b", size=600_000)
    with pytest.raises(UserError, match="unpacks to more than"), unpacked(weights):
        pass
    assert written == []
    monkeypatch.setattr("pesbench.models.families.apax.archive.MOST_BYTES", 1 << 21)
    with unpacked(weights):
        assert len(written) == 3  # below the limit, all of it is


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_archive_is_one_line(folder: Path, tmp_path: Path, damage: str) -> None:
    pack(folder, tmp_path / "a.zip")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    place = content.index(b"content"[:1], 60)
    content[place : place + 4] = b"\xff\xff\xff\xff"
    (tmp_path / "a.zip").write_bytes(content[:-30] if damage == "cut" else content)
    with (
        pytest.raises(UserError, match=r"damaged|cut short"),
        unpacked(read_weights(tmp_path / "a.zip", None, FAMILY)),
    ):
        pass


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"text of somebody", "is no zip archive"),
        (b"\x80\x02}.", "is no zip archive"),
        (b"<!doctype html>", "is an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1", "is a pointer of Git LFS"),
        (b"PK\x03\x04rest", "no readable directory"),
    ],
)
def test_a_file_of_another_kind_is_refused_before_any_work(
    tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(UserError, match=said):
        check_weights(FAMILY, tmp_path / "x.zip")


def test_weights_of_torch_are_no_folder_of_apax() -> None:
    with pytest.raises(UserError, match=r"is a zip archive without config\.yaml"):
        check_weights(FAMILY, REPO / "resources/weights/testbed-base.pt")


def test_loading_runs_no_code_and_needs_no_word() -> None:
    assert not FAMILY.runs_code
    check_consent("m", "apax", {"weights": "model.zip"}, "0" * 64)


def test_keys_of_an_entry() -> None:
    entry = make_entry("m", {"family": "apax", "weights": "model.zip"})
    assert entry.settings["dtype"] == "float64"
    assert not entry.uses_gpu("auto")
    with pytest.raises(UserError, match="dtype"):
        make_entry("m", {"family": "apax", "weights": "model.zip", "dtype": "float16"})
    with pytest.raises(UserError, match="weights"):
        make_entry("m", {"family": "apax"})


def test_the_requirements_pin_the_version_that_was_read() -> None:
    pins = (REPO / FAMILY.requirements[0]).read_text()
    assert "\napax==0.14.0\n" in pins


# --- apax itself ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def environment() -> Environment:
    found = apax_environment()
    if found is None:
        pytest.skip(MISSING)
    return found


@pytest.fixture(scope="module")
def measured(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `check_apax.py` found."""
    done = subprocess.run(
        [environment.python, HELPERS / "check_apax.py", tmp_path_factory.mktemp("apax")],
        env=variables() | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO / "workflow")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_without_the_switches_the_numbers_are_those_of_apax(measured: dict[str, Any]) -> None:
    """Identity and 0.1: the same parameters at the start, and the same energies and forces."""
    assert measured["parameters differ"] == 0
    assert measured["energy differs"] == 0
    assert measured["force differs"] == 0


def test_the_adapter_equals_the_calculator_of_apax(measured: dict[str, Any]) -> None:
    """In float32, where sums are in another order; a force is up to some 10 eV/Å."""
    assert measured["energy, calculator"] < 1e-5
    assert measured["force, calculator"] < 1e-4


@pytest.mark.parametrize("what", ["alone", "reversed"])
def test_the_company_of_a_frame_changes_nothing(measured: dict[str, Any], what: str) -> None:
    assert measured[f"energy, {what}"] < 1e-10
    assert measured[f"force, {what}"] < 1e-9


def test_the_descriptor_does_not_turn_and_is_that_of_a_frame_alone(
    measured: dict[str, Any],
) -> None:
    ((channels, degree),) = measured["features"]
    assert (channels > 10, degree) == (True, 0)
    assert measured["largest feature"] > 1e-2
    assert measured["features, alone"] < 1e-9
    assert measured["features, turned"] < 1e-9


def test_forces_are_the_slope_of_the_energy_in_float64(measured: dict[str, Any]) -> None:
    assert measured["slope"] < 1e-6


def test_the_prefactor_starts_where_it_is_told(measured: dict[str, Any]) -> None:
    for told, found in measured["prefactors"].items():
        assert found == pytest.approx(float(told), rel=1e-6)


def test_the_repulsion_grows_with_its_prefactor_and_lacks_the_coulomb_constant(
    measured: dict[str, Any],
) -> None:
    """C-C at 0.5 Å below a cutoff of 1.5 Å: 0.62 eV at 0.1, 144 times less than universal ZBL
    and its cosine."""
    assert measured["zbl at 0.1"] == pytest.approx(0.62, rel=0.02)
    assert measured["zbl at 14.4"] / measured["zbl at 0.1"] == pytest.approx(144, rel=1e-5)


def test_swish_stands_before_scale_and_shift(measured: dict[str, Any]) -> None:
    assert measured["swish"] < 1e-12


def test_few_shapes_are_compiled(measured: dict[str, Any]) -> None:
    """Batches of 5, 6, 7 and 8 frames of 9 atoms and fewer share one program."""
    assert measured["compiled"] > 0
    assert measured["compiled again"] == 0


def test_elements_that_no_frame_has_are_unknown(measured: dict[str, Any]) -> None:
    assert measured["elements"] == [1, 6, 8]


def test_a_trained_model_says_what_became_of_its_repulsion(measured: dict[str, Any]) -> None:
    assert measured["epochs"] == 2
    assert measured["initial"] == 1.0
    assert 0.9 < measured["trained"] < 1.1
    assert measured["trained"] != 1.0
    assert measured["details"] == {
        "readout": "swish", "zbl_prefactor": measured["trained"], "zbl_cutoff_angstrom": 3.5,
    }  # fmt: skip
    assert measured["bytes"] < 700_000


def test_an_archive_that_apax_cannot_read_is_one_line(measured: dict[str, Any]) -> None:
    assert "cannot read this model" in measured["unreadable"]
    assert "n_basis" in measured["unreadable"]
    assert "neither identity nor swish" in measured["another readout"]


def test_arrays_that_would_not_fit_are_never_read(measured: dict[str, Any]) -> None:
    """In an archive of kilobytes: 8 TB that are all fill value, and a chunk that is too large."""
    for what in ("shape", "chunk"):
        assert "its arrays take more than 1 GiB" in measured[f"too large a {what}"]


def test_a_network_that_was_never_trained_knows_no_elements(measured: dict[str, Any]) -> None:
    assert "it was never trained" in measured["untrained"]
