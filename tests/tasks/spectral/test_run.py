"""Run, score and section: a network in closed form, models without features, wrong layers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pandas as pd
import pytest
import torch
from ase import Atoms

from examples import REPO, fake_entry, write_toys
from methanol import METHANOL
from pesbench.core.coordinates.bond import bond_scans
from pesbench.core.errors import HostError, UserError
from pesbench.core.interface import Batch, ModelInfo, NodeFeatures
from pesbench.core.jobs import RunJob, ScoreJob
from pesbench.core.section import SectionInputs
from pesbench.core.settings import named_files, words
from pesbench.core.task import row_key
from pesbench.engine.patient_worker import PatientWorker
from pesbench.files.stored_tables import read_scores, write_scores
from pesbench.models.facts import ModelFacts
from pesbench.models.registry import ModelEntry
from pesbench.orchestration.config import resolve
from pesbench.tasks.spectral import run as spectral
from pesbench.tasks.spectral.harmonics import real_harmonics
from pesbench.tasks.spectral.probes import (
    DIAGNOSIS,
    FIRST_LAYER,
    PROBES,
    SYMMETRY,
)
from pesbench.tasks.spectral.results import results
from pesbench.tasks.spectral.run import chosen_layers
from pesbench.tasks.spectral.score import score
from pesbench.tasks.spectral.section import section
from pesbench.tasks.spectral.settings import SpectralSettings
from pesbench.tasks.spectral.stored import Features
from pesbench.tasks.spectral.summary import Curve, cliffs, curve, planned_seeds
from pesbench.tasks.spectral.task import TASK
from pesbench.training.backbone_plan import read_backbones

WIDTHS = (0.8, 1.6)  # of the two channels, Å


class Toy:
    """An equivariant network: neighbours by distance and harmonics, then a gate."""

    def describe(self, batch: Batch) -> dict[str, NodeFeatures]:
        between = batch.positions[None] - batch.positions[:, None]
        distances = np.linalg.norm(between, axis=2)
        linked = (batch.system[:, None] == batch.system[None]) & (distances > 1e-9)
        directions = np.where(linked, 1, 0)[..., None] * between
        directions = directions / np.where(linked, distances, 1.0)[..., None]
        harmonics = real_harmonics(directions, 2)
        weights = [linked * np.exp(-((distances / width) ** 2)) for width in WIDTHS]
        summed = np.stack([np.einsum("ab,abk->ak", one, harmonics) for one in weights], axis=1)
        blocks = [summed[:, :, degree**2 : (degree + 1) ** 2] for degree in range(3)]
        # what a second layer does: the invariant of neighbours and moved atom gates every block
        overlap = (blocks[1][:, :1] * blocks[1][:, 1:]).sum(axis=2)
        gate = 1 / (1 + np.exp(-16 * (overlap - 0.56)))
        irreps = ((2, 0), (2, 1), (2, 2))

        def flat(parts: list[np.ndarray]) -> np.ndarray:
            return np.concatenate([one.reshape(batch.n_atoms, -1) for one in parts], axis=1)

        return {
            "conv.0": NodeFeatures(irreps, flat(blocks)),
            "conv.1": NodeFeatures(irreps, flat([gate[..., None] * one for one in blocks])),
            "readout": NodeFeatures(((2, 0),), flat(blocks[:1])),
        }


class Scalars:
    def describe(self, batch: Batch) -> dict[str, NodeFeatures]:
        return {"products.0": NodeFeatures(((3, 0),), np.ones((batch.n_atoms, 3)))}


def here(made: Callable[[], object], stop_after: int = 10**9) -> type[PatientWorker]:
    """A worker that holds a model in this process, and loses its machine after some calls."""

    class Here(PatientWorker):
        calls = 0

        def start(self) -> ModelInfo:
            self.info = ModelInfo(None, False, True, "cpu", "float64")
            return self.info

        def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
            type(self).calls += 1
            if type(self).calls > stop_after:
                raise HostError("the machine is gone")
            return json.loads(json.dumps(function(made(), *arguments)))

    return Here


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SpectralSettings]:
    """A scan set of methanol, and settings with frames of it."""
    folder = tmp_path_factory.mktemp("spectral")
    write_toys(folder / "set.h5", bond_scans(METHANOL))
    rng = np.random.default_rng(0)
    frames = []
    for part, count in (("train", 60), ("seen", 30)):
        for _ in range(count):
            moved = METHANOL.positions + rng.normal(scale=0.04, size=(6, 3))
            atoms = Atoms(METHANOL.numbers, moved)
            energy = float(((moved[0] - moved[1]) ** 2).sum())
            atoms.info = {"system": "methanol", "part": part, "REF_energy": energy}
            frames.append(atoms)
    ase.io.write(folder / "frames.extxyz", frames, format="extxyz")
    settings = SpectralSettings(
        frames=str(folder / "frames.extxyz"),
        conformers=30,
        directions=32,
        natural_frames=80,
        untrained=False,
    )
    return folder / "set.h5", settings


def ask(
    inputs: tuple[Path, SpectralSettings],
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: Callable[[], object] = Toy,
    entry: ModelEntry | None = None,
    **how: Any,
) -> pd.DataFrame:
    monkeypatch.setattr(spectral, "PatientWorker", here(model, **how))
    entry = entry or fake_entry()
    spectral.run(RunJob(entry, inputs[0], ["methanol"], inputs[1], out))
    return score(ScoreJob([out], inputs[0], inputs[1], entry=entry))


@pytest.fixture(scope="module")
def found(
    inputs: tuple[Path, SpectralSettings], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, pd.DataFrame]:
    out = tmp_path_factory.mktemp("toy") / "0000.h5"
    with pytest.MonkeyPatch.context() as patched:
        return out, ask(inputs, out, patched)


def test_every_readout_and_degree_has_a_row(found: tuple[Path, pd.DataFrame]) -> None:
    frame = found[1]
    assert list(zip(frame["probe"], frame["degree"], strict=True)) == [
        (probe.name, degree) for probe in PROBES for degree in range(1, 8)
    ]
    assert {*frame.columns} == {*TASK.columns}
    with results(found[0]) as stored:
        assert stored.rows.keys() == {
            row_key(row) for row in frame[list(TASK.keys)].itertuples(index=False)
        }
    failed = frame[frame["status"] != "ok"]
    assert {*failed["status"]} == {"masked"}
    told = dict(zip(failed["probe"], failed["message"], strict=True))
    assert told.pop("B deepest polynomial-2 untrained") == (
        "the network was not asked for such features of this design"
    )
    assert all("the readout has at least" in why for why in told.values())


def test_the_readout_ends_at_the_boundary_where_the_whole_is_rotated(
    found: tuple[Path, pd.DataFrame],
) -> None:
    one = curve(found[1], SYMMETRY, "methanol")
    assert (one.layer, one.l_max, one.boundary) == ("conv.1", 2, 4)
    # not 1 below it: the features hold the other neighbours and a gate that differs, too
    assert one.values[0] > 0.1
    assert max(one.values[4:]) < 0.05
    first = curve(found[1], FIRST_LAYER, "methanol")
    assert min(first.values[:4]) > 0.9
    assert max(first.values[4:]) < 0.05


def test_the_gate_of_the_second_layer_leaks_where_one_atom_moves(
    found: tuple[Path, pd.DataFrame],
) -> None:
    first, deepest = (curve(found[1], one, "methanol") for one in (FIRST_LAYER, DIAGNOSIS))
    assert first.layer == "conv.0"
    assert deepest.values[4] > first.values[4] + 0.05


def test_scores_survive_their_file_and_make_a_section(
    found: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    write_scores(tmp_path / "spectral.parquet", found[1])
    read = read_scores(tmp_path / "spectral.parquet")
    found_at, reasons = cliffs({"fake": read}, FIRST_LAYER, "methanol")
    at = found_at["fake"]
    assert not reasons
    cut = read[read["degree"] <= 4].copy()
    cut.attrs = {**read.attrs, "gains": {key: one for key, one in read.attrs["gains"].items()
                                         if not key.endswith("|5")}}  # fmt: skip
    assert cliffs({"fake": cut}, FIRST_LAYER, "methanol")[1] == {"fake": "ℓ = 5 was not injected"}
    assert at.at == pytest.approx(
        float(read[(read["probe"] == FIRST_LAYER.name) & (read["degree"] == 4)]["rho"].iloc[0])
    )
    assert at.ratio > 10
    facts = {"fake": ModelFacts("fake", "mace", "model")}
    made = section(SectionInputs("spectral", {"fake": read}, facts))
    assert made.sentence.startswith("fake: angular detail up to ℓ = ")
    assert "linearly readable at layer conv.1, up to" in made.sentence
    few = read.copy()
    few.attrs = read.attrs
    few.loc[few["probe"] == DIAGNOSIS.name, ["status", "message"]] = ["masked", "few frames"]
    told = section(SectionInputs("spectral", {"fake": few}, facts)).sentence
    assert told.endswith("is linearly readable at layer conv.1.")
    with_few = facts | {"few": ModelFacts("few", "mace", "model")}
    both = section(SectionInputs("spectral", {"few": few, "fake": read}, with_few))
    for one in both.tables:  # a model that is not read has empty cells
        assert not one.rows.astype(str).eq("nan").any(axis=None), one.name
    tables = {one.name: one.rows for one in made.tables}
    assert tables["calibration"]["rank"].tolist() == tables["calibration"]["(dL + 1)²"].tolist()
    assert tables["symmetry"].loc[0, "dL"] == "4"
    assert len(tables["controls"]) == len(PROBES)
    assert any("no rank correlation, not resolved" in note for note in made.notes)
    assert {one.name for one in made.figures} == {"calibration", "degrees", "controls"}
    assert made.board[1].values["fake"] >= made.board[0].values["fake"] >= 1
    for one in made.figures:
        one.figure.savefig(tmp_path / f"{one.name}.png")


def test_planned_backbones_that_are_not_here_are_named(
    found: tuple[Path, pd.DataFrame],
    inputs: tuple[Path, SpectralSettings],
    tmp_path: Path,
) -> None:
    plan = tmp_path / "models.csv"
    plan.write_text("model,potential,trained\nfake,fake,yes\nfake-seed_2,fake,no\n")
    settings = replace(inputs[1], backbones=str(plan))
    write_scores(tmp_path / "spectral.parquet", score(
        ScoreJob([found[0]], inputs[0], settings, entry=fake_entry())))  # fmt: skip
    read = read_scores(tmp_path / "spectral.parquet")
    assert planned_seeds({"fake": read}, "fake") == 2
    assert planned_seeds({"fake": read}, "other") == 0
    facts = {"fake": ModelFacts("fake", "mace", "model")}
    made = section(SectionInputs("spectral", {"fake": read}, facts))
    assert any("Of 2 planned backbones 1 are not here" in one for one in made.notes)
    assert any(one.endswith("leaves them out): fake-seed_2.") for one in made.notes)
    (cliffs_table,) = (one.rows for one in made.tables if one.name == "cliffs")
    assert set(cliffs_table["backbones"]) == {"1 of 2"}
    assert cliffs_table["its interval"].str.endswith(" (too narrow)").all()
    plan.write_text("model\nfake\n")
    with pytest.raises(UserError, match=r"models\.csv"):
        score(ScoreJob([found[0]], inputs[0], settings, entry=fake_entry()))


def test_a_ceiling_at_the_highest_injected_degree_may_be_higher() -> None:
    of = {"model": "m", "layer": "1", "l_max": 4, "boundary": 8.0, "channels": 1, "columns": 9,
          "frames": 9, "held_out": 9}  # fmt: skip
    assert Curve(**of, values=(1.0,) * 7).readable_text == "at least 7"
    assert Curve(**of, values=(1.0,) * 6 + (0.1,)).readable_text == "6"


def test_a_killed_run_goes_on_to_the_same_file(
    found: tuple[Path, pd.DataFrame],
    inputs: tuple[Path, SpectralSettings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "0000.h5"
    with pytest.raises(HostError):
        ask(inputs, out, monkeypatch, stop_after=20)
    again = ask(inputs, out, monkeypatch)
    pd.testing.assert_frame_equal(again, found[1])
    with Features(out) as one, Features(found[0]) as other:
        a, b = one.molecule("methanol"), other.molecule("methanol")
        for name, shown in a.designs.items():
            for key, values in shown.features.items():
                np.testing.assert_array_equal(values, b.designs[name].features[key])


class Scrambled(Toy):
    """Its features are not finite once its parameters are scrambled."""

    def __init__(self) -> None:
        self.network = Fragile()

    def describe(self, batch: Batch) -> dict[str, NodeFeatures]:
        found = super().describe(batch)
        factor = self.network.factor.detach().numpy()
        if (np.diff(factor) < 0).all():
            return found
        return {
            name: NodeFeatures(one.irreps, np.full_like(one.values, np.inf))
            for name, one in found.items()
        }


class Fragile(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.arange(100.0).flip(0))


def test_a_control_that_fails_leaves_the_rest_its_numbers(
    found: tuple[Path, pd.DataFrame],
    inputs: tuple[Path, SpectralSettings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = inputs[0], replace(inputs[1], untrained=True)
    frame = ask(asked, tmp_path / "0000.h5", monkeypatch, model=Scrambled)
    untrained = frame["probe"] == "B deepest polynomial-2 untrained"
    assert {*frame["status"][untrained]} == {"nonfinite"}
    assert {*frame["message"][untrained]} == {"a feature is not finite"}
    pd.testing.assert_frame_equal(frame[~untrained], found[1][~untrained])


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (Scalars, "n/a: its features are scalars only"),
        (object, "n/a: its family gives no features of atoms with their irreps"),
    ],
)
def test_a_model_without_angular_features_has_a_reason_and_no_number(
    model: type,
    why: str,
    inputs: tuple[Path, SpectralSettings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frame = ask(inputs, tmp_path / "0000.h5", monkeypatch, model=model)
    assert {*frame["status"]} == {"unsupported"}
    assert frame["message"].str.startswith(why).all()
    assert frame[["r2", "r2_inj", "rho"]].isna().all(axis=None)
    facts = {"it": ModelFacts("it", "mace", "model")}
    made = section(SectionInputs("spectral", {"it": frame}, facts))
    assert made.sentence == "No angular degree is read of the node features of any model."
    assert any(why in note for note in made.notes)


LAYERS = {"a": ((4, 0),), "b": ((4, 0), (4, 1)), "c": ((4, 0), (4, 1), (2, 2)), "d": ((4, 0),)}


def test_the_deepest_and_the_first_layer_that_turn_are_chosen() -> None:
    found = chosen_layers("m", LAYERS, SpectralSettings())
    assert found.chosen == {"deepest": "c", "first": "b"}
    assert found.l_max == 2
    one = chosen_layers("m", LAYERS, SpectralSettings(layer="b"))
    assert (one.chosen, one.l_max) == ({"deepest": "b"}, 1)
    assert chosen_layers("m", LAYERS, SpectralSettings(l_max=1)).l_max == 1
    assert not chosen_layers("m", {"a": ((4, 0),)}, SpectralSettings()).chosen


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"layer": "e"}, "no layer 'e'"),
        ({"layer": "d"}, "layer 'd' has scalars only"),
        ({"l_max": 3}, "layer 'c' has no l = 3"),
        ({"layer": "b", "l_max": 2}, "layer 'b' has no l = 2"),
    ],
)
def test_a_layer_or_degree_that_is_not_there_is_one_line_that_lists_the_layers(
    settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        chosen_layers("m", LAYERS, SpectralSettings(**settings))
    assert "a (l up to 0), b (l up to 1), c (l up to 2), d (l up to 0)" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"frames": "nowhere.extxyz"}, "nowhere.extxyz: no such file of frames"),
        ({"conformers": 1}, "`conformers` is 1"),
    ],
)
def test_wrong_settings_are_one_line_before_any_work(
    change: dict[str, Any],
    said: str,
    inputs: tuple[Path, SpectralSettings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = replace(inputs[1], **change)
    with pytest.raises(UserError, match=said):
        ask((inputs[0], settings), tmp_path / "out.h5", monkeypatch)
    assert not list(tmp_path.iterdir())


def test_a_molecule_without_frames_is_one_line(
    inputs: tuple[Path, SpectralSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Atoms(METHANOL.numbers, METHANOL.positions)
    other.info = {"system": "ethanol", "part": "train", "REF_energy": 0.0}
    ase.io.write(tmp_path / "other.extxyz", [other], format="extxyz")
    settings = replace(inputs[1], frames=str(tmp_path / "other.extxyz"))
    with pytest.raises(UserError, match="holds 0 frames of 'methanol' to train on"):
        ask((inputs[0], settings), tmp_path / "out.h5", monkeypatch)


def test_the_config_asks_backbones_and_pretrained_networks_about_aspirin(
    architecture: dict[str, Any],
) -> None:
    run = resolve(architecture, REPO)
    asked = run.tasks["spectral"]
    assert asked.selected == ["aspirin"]
    plan = read_backbones(REPO / "config/backbones.yaml")
    assert {*plan.trainings(), "7net-0", "7net-l3i5", "so3lr"} <= {*asked.models}
    # the rule `backbone_models` makes this file, and `backbone_sample` the next one
    backbones = str(run.results.parent / "weights/backbones/models.csv")
    assert named_files(asked.settings, "score") == [backbones]
    frames = str(run.results.parent / "weights/backbones/frames.extxyz")
    assert named_files(asked.settings, "run") == [frames]
    # settings of every job become options of the command
    for shard in asked.shards.values():
        assert "--layer" not in words(shard.settings, "run")
