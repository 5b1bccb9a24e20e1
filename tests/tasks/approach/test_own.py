"""The command `approach`: what it reads, what it leaves out, what it writes and removes."""

from __future__ import annotations

import numpy as np
import pytest

import fake_calculators
from pesbench import cli
from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.files.evaluation import ScanEvaluation
from pesbench.tasks.approach import own
from pesbench.tasks.approach.pairs import CONTACT

ENTRY = "{name}: {{family: ase, calculator: 'fake_calculators:{what}', spins: {spins}}}\n"


@pytest.fixture
def registry(tmp_path):
    """Entries of a sound model, one that has a hole, and a sound one that takes a spin."""
    path = tmp_path / "models.yaml"
    path.write_text(
        ENTRY.format(name="sound", what="Morse", spins="false")
        + ENTRY.format(name="holed", what="Holed", spins="false")
        + ENTRY.format(name="spinning", what="Morse", spins="true")
    )
    return path


@pytest.fixture
def command(registry, tmp_path):
    """The command with a model, a molecule and further arguments; it writes `a.png`."""

    def called(model, molecule, *more):
        shared = ["--models-file", str(registry), "--trust", "--out", str(tmp_path / "a.png")]
        return cli.main(["approach", model, "--molecule", molecule, *shared, *more])

    return called


def answers(pairs, lost=(), status=Status.ERROR):
    """What Morse says of some pairs; the frames of the first whose numbers are given are lost."""
    found = []
    for k, pair in enumerate(pairs):
        said = [fake_calculators.morse(pair.scan.numbers, x) for x in pair.scan.positions]
        energy = np.array([energy for energy, _ in said])
        forces = np.stack([forces for _, forces in said])
        codes = np.zeros(pair.scan.n_frames, dtype=np.int8)
        if k == 0 and len(lost):
            codes[lost], energy[lost], forces[lost] = status.code, np.nan, np.nan
        found.append(ScanEvaluation(pair.id, energy, forces, codes, Status.OK, "", 0.0))
    return found


@pytest.fixture(scope="module")
def methanol():
    return own.pairs_of(own.read_molecule("CO"), 2)


def bonds_of(pairs):
    return [pair for pair in pairs if pair.kind != CONTACT]


def test_frames_that_end_with_an_error_are_left_out_and_told(methanol):
    bonds = bonds_of(methanol)
    rows = own.judged_rows("m", bonds, answers(bonds, [60, 62, 63]), {})
    assert (rows["status"] == "ok").all()
    assert rows["n_masked"].tolist() == [3, 0, 0, 0, 0]
    distance = bonds[0].scan.coordinate[60]
    assert rows["left_out_angstrom"].iloc[0] == pytest.approx(distance)
    assert own.table(rows)["left out"].tolist() == [
        f"3 frames, the first at {distance:.2f} Å", "–", "–", "–", "–",
    ]  # fmt: skip
    assert own.verdict(rows) == "m: 5 of 5 pairs repel down to 0.1 Å"


def test_any_other_frame_without_a_number_is_a_failure(methanol):
    bonds = bonds_of(methanol)
    for status in (Status.NONFINITE, Status.CRASHED, Status.TIMEOUT):
        rows = own.judged_rows("m", bonds, answers(bonds, [63], status), {})
        assert rows["status"].tolist() == [status.value, "ok", "ok", "ok", "ok"]
        assert own.worst(rows) == 0
        assert own.verdict(rows) == "m: 4 of 5 pairs repel down to 0.1 Å, 1 failed"
    rows = own.judged_rows("m", bonds, answers(bonds, np.arange(40)), {})
    assert rows["status"].iloc[0] == "error"  # too many to be passed over


def test_a_reference_judges_contacts_alone(methanol):
    """With and without one, a bond gets the verdict that `check` gives it."""
    contacts = [pair for pair in methanol if pair.kind == CONTACT]
    known = {one.scan_id: one for one in answers(contacts, [0, 63])}
    rows = own.judged_rows("m", methanol, answers(methanol, [60]), known)
    assert rows["status"].tolist() == ["ok"] * 7
    assert rows["judged_by"].tolist() == ["own minimum"] * 5 + ["reference"] * 2
    assert rows["n_masked"].tolist() == [1, 0, 0, 0, 0, 2, 0]
    assert rows["left_out_angstrom"].iloc[5] == pytest.approx(contacts[0].distance)


def test_a_molecule_that_the_model_does_not_take_is_refused(methanol, command, tmp_path, caplog):
    before = sorted(tmp_path.iterdir())
    assert command("sound", "[CH3]", "--spin", "2") == 2
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "no pair of CH3 can be judged with 'sound': unsupported: the model takes no spin" in line
    assert sorted(tmp_path.iterdir()) == before
    lost = answers(methanol[:1], np.arange(methanol[0].scan.n_frames), Status.UNSUPPORTED)
    with pytest.raises(UserError, match=r"unsupported: .*; give another model or molecule"):
        own.judged_rows("m", methanol[:1], lost, {})


def test_a_radical_is_given_its_spin(command, capsys):
    assert command("spinning", "[CH3]", "--spin", "2") == 0
    assert "spinning: 3 of 3 pairs repel down to 0.1 Å" in capsys.readouterr().out


def test_the_frames_of_an_earlier_run_do_not_stay(command, tmp_path, caplog, capsys):
    frames = tmp_path / "a.extxyz"
    assert command("holed", "CO") == 0
    assert frames.exists()
    assert command("sound", "CO") == 0
    assert not frames.exists()
    assert "the worst pair to" not in capsys.readouterr().out.splitlines()[-1]
    frames.write_text("1\nProperties=species:S:1:pos:R:3 name=mine\nH 0 0 0\n")
    (tmp_path / "a.png").unlink()
    for model in ("holed", "sound"):
        assert command(model, "CO") == 2
    assert f"{frames} is not of this command" in caplog.text
    assert "name=mine" in frames.read_text()
    assert not (tmp_path / "a.png").exists()


def test_a_smiles_longer_than_a_name_and_one_that_is_a_folder(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    long = "C([H])([H])" * 24
    with pytest.raises(OSError, match="too long"):
        (tmp_path / long).stat()
    assert len(own.read_molecule(long).numbers) == 74
    (tmp_path / "CO").mkdir()
    assert command("sound", "CO") == 0
    assert command("sound", long[:-1]) == 2  # is refused as a SMILES, in one line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("none.xyz", "none.xyz: no such file; give a file of one molecule, or a SMILES"),
        ("", "'' is no file, so that it is read as a SMILES"),
        (".", "'.' is no file, so that it is read as a SMILES"),
        ("folder.xyz", "folder.xyz: no such file"),
        ("CO\0", "holds characters that cannot be printed"),
    ],
)
def test_what_is_no_molecule(text, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.xyz").mkdir()
    with pytest.raises(UserError) as caught:
        own.read_molecule(text)
    assert said in str(caught.value)
    assert str(caught.value).startswith("approach: --molecule")
    assert "scan set" not in str(caught.value)
