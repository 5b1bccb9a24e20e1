"""The ladder: seed noise, rows, claims and figure; seeds as one point of the association."""

from __future__ import annotations

import base64
import copy
import io
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
import pytest
import yaml
from ase.build import molecule
from hypothesis import given
from hypothesis import strategies as st
from test_association_report import a_run, entry, quick, run_board, runs

from examples import write_part_of_scores
from pesbench import cli
from pesbench.compare.association import text as association_text
from pesbench.compare.association.panel import CHEAP_METRICS
from pesbench.compare.inputs import CompareInputs
from pesbench.compare.ladder import cards, text
from pesbench.compare.ladder import claims as ladder_claims
from pesbench.compare.ladder import figure as drawing
from pesbench.compare.ladder import table as ladder_table
from pesbench.compare.ladder.noise import (
    Difference,
    Finding,
    SeedNoise,
    difference,
    finding,
    of_a_share,
    quantile,
    seed_noise,
)
from pesbench.compare.ladder.quantities import QUANTITIES
from pesbench.compare.ladder.rungs import make_ladder
from pesbench.compare.ladder.section import section as ladder_section
from pesbench.core.errors import UserError
from pesbench.files import figures
from pesbench.files.scan_set import ScanSet
from pesbench.models.addresses import cache_path
from pesbench.models.facts import model_facts
from pesbench.models.families.testbed.settings import PotentialSettings
from pesbench.models.models_file import resolve_entry
from pesbench.models.registry import ModelEntry
from pesbench.models.variants import potentials
from pesbench.orchestration.config import read_models, resolve
from pesbench.tasks.dynamics.score import METRICS as RUN_METRICS
from pesbench.tasks.vibrations.score import METRICS as VIBRATION_METRICS
from pesbench.testbed.settings import TrainingSettings
from pesbench.testbed.variants import read_variants

PNG = b"\x89PNG\r\n"
LEVEL = "a method"
SYSTEMS = [f"m{k}" for k in range(4)]
FSD, DRIFT, WALL = (
    "fsd_full_per_angstrom",
    "energy_drift_mev_per_atom_ps",
    "compression_monotone_fraction",
)


# --- seed noise ----------------------------------------------------------------------------------


def test_seed_noise_is_the_pooled_standard_deviation():
    """Squares 2 and 6 over 1 and 2 degrees of freedom; a potential with one seed tells nothing."""
    found = seed_noise([[1.0, 3.0], [10.0, 10.0, 13.0], [1e9], []])
    assert found.sd == pytest.approx(np.sqrt(8 / 3))
    assert found.degrees_of_freedom == 3


@pytest.mark.parametrize("groups", [[], [[1.0]], [[1.0], [5.0]]])
def test_without_two_seeds_the_noise_is_unknown(groups):
    found = seed_noise(groups)
    assert np.isnan(found.sd)
    assert found.degrees_of_freedom == 0
    one = difference([1.0], [9.0], found)
    assert one.value == -8.0
    assert np.isnan(one.limit)
    assert one.within_noise is None
    assert finding(one, -1) is Finding.UNDECIDED


def test_a_score_that_is_not_finite_is_an_error():
    with pytest.raises(ValueError, match="not finite"):
        seed_noise([[1.0, np.nan]])
    with pytest.raises(ValueError, match="not finite"):
        difference([1.0], [np.inf], SeedNoise(1.0, 2))


# two-sided 95 %: tables of Student's distribution
STUDENT = {1: 12.706, 2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 30: 2.0423, 10**6: 1.9600}


@pytest.mark.parametrize("freedom", STUDENT)
def test_the_quantile_is_that_of_the_tables(freedom):
    assert quantile(freedom) == pytest.approx(STUDENT[freedom], rel=2e-5)
    assert np.isnan(quantile(0))


@pytest.mark.parametrize(
    ("n_one", "n_other", "freedom", "deviations"),
    [(1, 1, 4, np.sqrt(2)), (3, 1, 4, np.sqrt(4 / 3)), (4, 4, 4, np.sqrt(0.5)),
     (1, 1, 1, np.sqrt(2))],
)  # fmt: skip
def test_the_limit_is_students_of_a_difference_of_means(n_one, n_other, freedom, deviations):
    noise = SeedNoise(3.0, freedom)
    limit = pytest.approx(3 * deviations * STUDENT[freedom], rel=2e-5)
    found = difference(np.full(n_one, 5.0), np.full(n_other, 1.0), noise)
    assert (found.value, found.limit) == (4.0, limit)
    assert Difference(found.limit, found.limit).within_noise is True
    assert Difference(-found.limit * 1.0001, found.limit).within_noise is False


@pytest.mark.parametrize(("n_one", "n_other"), [(1, 1), (3, 1), (3, 3)])
def test_of_chance_alone_one_in_twenty_is_beyond_the_noise(n_one, n_other):
    """Two ends with three seeds each, as the testbed has; twice the noise would be 11.6 %."""
    rng = np.random.default_rng(3)
    draws, beyond = 4000, 0
    for _ in range(draws):
        seeds = rng.normal(scale=2.0, size=(3, 3))  # the third potential is another one
        ends = [seeds[0] + 50.0, seeds[1]]
        one = ends[1][:n_one] if n_one == 3 else seeds[2][:1]
        noise = seed_noise(ends)
        beyond += not difference(one, rng.normal(scale=2.0, size=n_other), noise).within_noise
    assert beyond / draws == pytest.approx(0.05, abs=0.01)  # three standard errors


def test_a_share_has_the_noise_of_as_many_coins_at_least():
    """At 0 and at 1 all seeds are alike; of 54 scans, half of which have a hole, that is chance."""
    alike = seed_noise([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    assert (alike.sd, alike.degrees_of_freedom) == (0.0, 4)
    assert of_a_share(alike, 0.5, 54) == SeedNoise(pytest.approx(0.5 / np.sqrt(54)), 4)
    assert of_a_share(alike, 1.0, 54) == alike
    assert of_a_share(SeedNoise(0.2, 4), 0.5, 54) == SeedNoise(0.2, 4)
    assert np.isnan(of_a_share(seed_noise([]), 0.5, 54).sd)


def test_seeds_that_are_equal_but_for_rounding_do_not_differ():
    found = difference([0.1 + 0.2], [0.3], SeedNoise(0.0, 2))
    assert found == Difference(0.0, 0.0)
    assert found.within_noise is True
    assert difference([0.31], [0.3], SeedNoise(0.0, 2)).within_noise is False


def test_nothing_is_known_of_a_potential_without_a_score():
    found = difference([], [1.0], SeedNoise(1.0, 2))
    assert np.isnan(found.value)
    assert found.within_noise is None


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=4),
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=4),
)
def test_a_difference_changes_its_sign_with_the_order(one, other):
    noise = SeedNoise(2.0, 3)
    a, b = difference(one, other, noise), difference(other, one, noise)
    assert a.value == pytest.approx(-b.value)
    assert a.limit == pytest.approx(b.limit)
    if not a.within_noise:
        assert finding(a, 1) != finding(a, -1)
        assert finding(a, 1) == finding(b, -1)


def test_a_claim_needs_its_sign_beyond_the_noise():
    assert finding(Difference(-3.0, 1.0), -1) is Finding.HOLDS
    assert finding(Difference(3.0, 1.0), -1) is Finding.DOES_NOT_HOLD
    assert finding(Difference(-0.5, 1.0), -1) is Finding.WITHIN_NOISE
    with pytest.raises(ValueError, match="claim is of"):
        finding(Difference(-3.0, 1.0), 0)


# --- seeds in the registry and in the tests of association ---------------------------------------


def _registry(tmp_path, **entries):
    path = tmp_path / "models.yaml"
    plain = {"a": {"family": "tblite", "method": "GFN1-xTB"}}
    path.write_text(yaml.safe_dump(plain | entries))
    return path


def _tb(**more):
    return {"family": "tblite", "method": "GFN2-xTB"} | more


def test_a_seed_is_described_and_decides_nothing(tmp_path):
    found = read_models(_registry(tmp_path, b=_tb(seed_of="a"), c=_tb()))
    assert (found["b"].potential, found["c"].potential) == ("a", "c")
    assert found["b"].deciding()["settings"] == found["c"].deciding()["settings"]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"b": _tb(seed_of="aa")}, "model 'b': `seed_of`: no model 'aa'; did you mean 'a'?"),
        ({"b": _tb(seed_of="b")}, "model 'b': `seed_of`: names the entry itself"),
        ({"b": _tb(seed_of="a"), "c": _tb(seed_of="b")}, "'b' is itself a seed; name 'a'"),
        (
            {"b": {"family": "ase", "calculator": "a:B", "seed_of": "a"}},
            "'a' is of family 'tblite', not 'ase'",
        ),
        ({"b": _tb(seed_of=3)}, "`seed_of` must be text"),
    ],
)
def test_a_seed_of_what_it_cannot_be(tmp_path, other, said):
    with pytest.raises(UserError) as error:
        read_models(_registry(tmp_path, **other))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def _mace(name, weights, **settings):
    base = {"weights": weights, "dtype": "float64", "compile": False, "batch_size": "auto"}
    return ModelEntry(name, "mace", base | settings)


def test_potentials_gather_seeds_and_numerical_variants():
    entries = [
        _mace("p", "1"),
        _mace("p-32", "1", dtype="float32"),
        _mace("p-seed", "2", seed_of="p"),
        _mace("p-seed-32", "2", dtype="float32"),  # that it is a seed is said of the other
        _mace("q-seed", "3", seed_of="q"),
        _mace("q-seed_3", "4", seed_of="q"),  # q itself is not in the run
        _mace("r", "5"),
    ]
    assert potentials({one.name: one for one in entries}) == {
        "p": "p", "p-32": "p", "p-seed": "p", "p-seed-32": "p",
        "q-seed": "q", "q-seed_3": "q", "r": "r",
    }  # fmt: skip


def test_seeds_are_one_point_of_the_association_their_mean():
    extra = [
        (entry(f"model-0-seed_{k}", calculator=f"seed {k}", seed_of="model-0"), fsd, runs("", life))
        for k, fsd, life in ((2, 8.0, 2.0), (3, 20.0, 1.4))
    ]
    alone, _ = a_run(4)
    inputs, entries = a_run(4, extra)
    one, found = quick(alone, entries), quick(inputs, entries)
    primary = found.answer.primary
    assert (primary.n, primary.n_models) == (4, 6)
    assert primary.variants == ("model-0", "model-1", "model-2", "model-3")
    # model-0 has 5 and loses nothing; the mean of 5, 8 and 20 is 11 times that of the ramp
    assert primary.x[0] == pytest.approx(one.answer.primary.x[0] * 11 / 5)
    assert primary.y[0] == pytest.approx(0.6 / 3)
    assert primary.x[1:] == pytest.approx(one.answer.primary.x[1:])
    words = association_text.to_markdown(found)
    assert "- model-0-seed_2: another seed of model-0; the mean of the seeds of a" in words
    assert "the same checkpoint" not in words
    # on the leaderboard every seed is ranked
    board = run_board(inputs).set_index("model")
    assert board.loc["model-0-seed_2", "rank"] == 2


def test_seeds_without_the_first_are_one_point_too():
    extra = [
        (entry(f"s{k}", calculator=f"s{k}", seed_of="absent"), 6.0 + k, runs("", 2.0))
        for k in (2, 3)
    ]
    found = quick(*a_run(3, extra)).answer.primary
    assert found.variants == ("absent", "model-0", "model-1", "model-2")
    assert found.n_models == 5


# --- the config ----------------------------------------------------------------------------------


@pytest.fixture
def base(tmp_path):
    """A folder with a registry and one molecule."""
    atoms = molecule("CH3CH2OH")
    atoms.info["id"] = "ethanol"
    ase.io.write(tmp_path / "molecules.xyz", atoms, format="extxyz")
    models = {
        "gfn1": _tb(method="GFN1-xTB"),
        "gfn2": _tb(),
        "gfn2-seed_2": _tb(accuracy=0.5, seed_of="gfn2"),
        "a-seed": _tb(accuracy=0.2, seed_of="gfn2"),
        "ipea1": _tb(method="IPEA1-xTB"),
        "soft": {"family": "perturbed", "base": "gfn1", "perturbation": "wall", "dose": 1.0},
        "control-zero": {"family": "control", "control": "zero"},
    }
    (tmp_path / "models.yaml").write_text(yaml.safe_dump(models))
    return tmp_path


CONFIG = {
    "scan_set": "own",
    "scan_sets": {
        "own": {"source": "molecules", "molecules": "molecules.xyz", "reference": "gfn2"}
    },
    "models_file": "models.yaml",
    "models": ["gfn*", "ipea1", "soft", "a-seed"],
}


def _resolved(base, **changes):
    return resolve(copy.deepcopy(CONFIG) | changes, base, "config.yaml")


def _ladder(*models, baseline="gfn1"):
    return {"ladder": {"baseline": baseline, "models": list(models)}}


def test_the_baseline_is_first_and_seeds_follow_their_potential(base):
    assert _resolved(base).ladder == []
    assert _resolved(base, **_ladder()).ladder == []
    found = _resolved(base, **_ladder("ipea1", "gfn*"))
    assert found.ladder == ["gfn1", "ipea1", "gfn2", "a-seed", "gfn2-seed_2"]
    # a seed stands for its potential; one that is not in the run does not come along
    models = ["gfn1", "gfn2-seed_2", "ipea1"]
    alone = _resolved(base, models=models, **_ladder("gfn2-seed_2"))
    assert alone.ladder == ["gfn1", "gfn2-seed_2"]
    other = _resolved(base, **_ladder("gfn1", baseline="gfn2"))
    assert other.ladder == ["gfn2", "a-seed", "gfn2-seed_2", "gfn1"]


BAD_LADDER = {
    "no baseline": ({"ladder": {"models": ["gfn2"]}}, "`ladder`: the key 'baseline' is missing"),
    "an unknown key": (
        {"ladder": {"baseline": "gfn1", "models": [], "model": 1}}, "unknown key 'model'",
    ),
    "an unknown baseline": (
        _ladder("gfn2", baseline="gfn3"), "`ladder.baseline`: no model 'gfn3'; did you mean 'gfn",
    ),
    "a control as baseline": (
        _ladder("gfn2", baseline="control-zero"), "'control-zero' is of family 'control'",
    ),
    "a perturbed baseline": (_ladder("gfn2", baseline="soft"), "is of family 'perturbed'"),
    "a seed as baseline": (
        _ladder("gfn1", baseline="gfn2-seed_2"), "is a seed of 'gfn2'; name that",
    ),
    "a baseline that is not run": (
        {"models": ["gfn2"], **_ladder("gfn2")}, "`ladder.baseline`: 'gfn1' is not in the run",
    ),
    "an unknown model": (
        _ladder("ipea2"), "`ladder.models`: 'ipea2' matches nothing; did you mean 'ipea1'?",
    ),
    "a perturbed model": (_ladder("soft"), "`ladder.models`: 'soft' matches nothing"),
    "a model that is not run": (
        {"models": ["gfn1", "gfn2"], **_ladder("gfn2", "ipea1")},
        "`ladder.models`: 'ipea1' is not in the run; add it to `models`",
    ),
    "the baseline alone": (_ladder("gfn1"), "names the baseline only"),
    "text for a list": ({"ladder": {"baseline": "gfn1", "models": "gfn2"}}, "`ladder.models`"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_LADDER)
def test_a_bad_ladder_is_one_line(base, case):
    changes, said = BAD_LADDER[case]
    with pytest.raises(UserError) as error:
        _resolved(base, **changes)
    assert said in str(error.value), error.value
    assert str(error.value).startswith("config.yaml: ")
    assert "\n" not in str(error.value)


# --- model cards ---------------------------------------------------------------------------------

BASE = PotentialSettings().to_dict()


def potential(**switches):
    return PotentialSettings.of(switches, "test").to_dict()


def test_changes_are_what_the_cards_differ_in():
    other = potential(smearing=0.4, neighbours="hard_knn", elements=("H", "C"))
    found = cards.changes(other, BASE)
    assert found == {"neighbours": "hard_knn", "smearing": 0.4, "elements": ["H", "C"]}
    assert cards.said(found) == "neighbours: hard_knn, smearing: 0.4 Å, elements: H C"
    assert cards.said({"fsd_weight": 0.002, "smoke_test": True, "k": None}) == (
        "fsd_weight: 0.002 eV·Å, smoke_test: yes, k: none"
    )
    assert cards.changes(BASE, BASE) == {}


def test_the_scale_of_a_repulsion_that_is_not_there_is_no_change():
    zbl, weak = potential(repulsion="zbl"), potential(repulsion="zbl", repulsion_scale=0.1)
    assert cards.changes(potential(repulsion_scale=0.5), BASE) == {}
    assert cards.changes(weak, BASE) == {"repulsion": "zbl", "repulsion_scale": 0.1}
    assert cards.switched(weak, BASE) == cards.switched(BASE, zbl) == {"repulsion"}
    assert cards.switched(weak, zbl) == {"repulsion_scale"}


def write_card(
    path: Path, choices=None, seen=50.0, unseen=80.0, sha256="s", frames="f" * 64, fsd_scans=()
):
    training = TrainingSettings().__dict__ | {
        k: v for k, v in (choices or {}).items() if k in TrainingSettings().__dict__
    }
    switches = {k: v for k, v in (choices or {}).items() if k not in training}
    content = {
        "sha256": sha256,
        "switches": potential(**switches),
        "training": training,
        "smoke": False,
        "frames_sha256": frames,
        "fsd_scans": list(fsd_scans),
        "errors": {
            "train": {"frames": 9, "force_mae_mev_per_angstrom": 1.0},
            "seen": {"frames": 9, "force_mae_mev_per_angstrom": seen},
            "unseen": {"frames": 9, "force_mae_mev_per_angstrom": unseen},
        },
        "rotation": {"force_rms_mev_per_angstrom": 12.0},
    }
    path.with_suffix(".json").write_text(json.dumps(content))
    return content


def trained(name, folder, **settings):
    weights = str(folder / f"{name}.pt")
    return ModelEntry(name, "testbed", {"weights": weights, "sha256": "s"} | settings)


def test_a_card_is_read_beside_its_weights(tmp_path):
    one = trained("a", tmp_path)
    assert cards.read_card(one) is None
    write_card(tmp_path / "a.pt", {"smearing": 0.4, "fsd_weight": 0.01})
    found = cards.read_card(one)
    assert (found.choices["smearing"], found.choices["fsd_weight"]) == (0.4, 0.01)
    assert found.choices["frames"] == "ffffffff"
    assert found.force_mae_mev_per_angstrom == {"train": 1.0, "seen": 50.0, "unseen": 80.0}
    assert found.rotation_mev_per_angstrom == 12.0
    assert cards.read_card(entry("none")) is None  # without weights


def test_a_card_without_switches_tells_its_errors_only(repo):
    path = repo / "resources/weights/mace-mini.model"
    found = cards.read_card(ModelEntry("mace-mini", "mace", {"weights": str(path)}))
    assert found.choices == {}
    assert found.rotation_mev_per_angstrom is None
    assert found.force_mae_mev_per_angstrom["unseen"] > found.force_mae_mev_per_angstrom["seen"] > 0


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "is no JSON"), ('{"sha256": "t", "switches": {}}', "is that of other weights")],
)
def test_a_card_that_cannot_be_one(tmp_path, content, said):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match=said):
        cards.read_card(trained("a", tmp_path))


@pytest.mark.parametrize("content", ["[1]", '{"name": "a"}'])
def test_another_file_of_that_name_is_no_card(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    assert cards.read_card(trained("a", tmp_path)) is None


# --- rows ----------------------------------------------------------------------------------------


def scans(model, fsd, *, wall=1.0, failed=(), split=True):
    """Eight scans; the last half is harder, and the first `wall` of them have no hole."""
    count = 2 * len(SYSTEMS)
    hard = np.where(np.arange(count) < count // 2, 1.0, 3.0)
    table = pd.DataFrame(
        {
            "model": model,
            "scan": [f"C-C/{k}" for k in range(count)],
            "system": [SYSTEMS[k // 2] for k in range(count)],
            "bond": "C-C",
            "seen": ["seen", "unseen"] * (count // 2) if split else "",
            "n_atoms": 5,
            "n_frames": 100,
            "status": "ok",
            "message": "",
            "fsd_peak_offset": 0.1,
            "wall_s": 1.0,
        }
    )
    for number, column in enumerate(CHEAP_METRICS):
        table[column] = (
            fsd * hard / 2 * (1 if column.startswith("fsd_full") else 0.1 * number + 0.2)
        )
    table["compression_monotone"] = (np.arange(count) < wall * count).astype(float)
    gone = table["scan"].isin([f"C-C/{k}" for k in failed])
    table.loc[gone, "status"] = "error"
    table.loc[gone, list(CHEAP_METRICS)] = np.nan
    return table


def trajectories(model, drift, *, life_ps=2.0, timestep_fs=0.5, wall_s=1.0):
    life = np.broadcast_to(np.asarray(life_ps, float), (len(SYSTEMS),))
    table = pd.DataFrame({"system": SYSTEMS, "time_ps": life, "model": model})
    table["trajectory"] = table["system"] + "_500K_0"
    table["temperature_k"], table["replicate"], table["seen"] = 500.0, 0, ""
    table["timestep_fs"], table["planned_ps"], table["wall_s"] = timestep_fs, 2.0, wall_s
    table["outcome"] = np.where(life < 2.0, "failed", "survived")
    table["failure"], table["status"] = np.where(life < 2.0, "hot", ""), "ok"
    for column in RUN_METRICS:
        table[column] = np.where(life < 1.0, np.nan, drift)
    return table


def frequencies(model, mae, *, excess=0, failed=(), relaxed=True):
    table = pd.DataFrame({"model": model, "system": SYSTEMS, "seen": "", "status": "ok"})
    table["relaxed"], table["message"] = relaxed, ""
    for column in VIBRATION_METRICS:
        table[column] = float(mae)
    table["n_imaginary_excess"] = float(excess)
    gone = table["system"].isin(failed)
    table.loc[gone, "status"] = "error"
    table.loc[gone, list(VIBRATION_METRICS)] = np.nan
    return table


class Maker:
    """Collects models of a ladder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: dict[str, ModelEntry] = {}
        self.parts: dict[str, dict[str, pd.DataFrame]] = {"scans": {}, "dynamics": {}, "vib": {}}

    def add(self, name, fsd, choices=None, *, seed_of=None, card=True, more=(), **frames):
        settings = {} if seed_of is None else {"seed_of": seed_of}
        self.entries[name] = trained(name, self.folder, **settings)
        if card:
            write_card(self.folder / f"{name}.pt", choices, seen=10 * fsd, **dict(more))
        self.parts["scans"][name] = frames.get("scans", scans(name, fsd))
        for part in ("dynamics", "vib"):
            if part in frames:
                self.parts[part][name] = frames[part]
        return self

    def reference(self):
        self.entries["ref"] = entry("ref", "tblite")
        self.parts["scans"]["ref"] = scans("ref", 0.0, split=False)
        self.parts["dynamics"]["ref"] = trajectories("ref", 0.01)
        return self

    def inputs(self):
        facts = [model_facts(one, LEVEL) for one in self.entries.values()]
        names = [name for name in self.entries if name != "ref"]
        tables = dict(zip(("bonds", "dynamics", "vibrations"), self.parts.values(), strict=True))
        return CompareInputs(
            facts, tables, self.entries, names, scan_set="toys", made=[("commit", "abc")]
        )

    def make(self):
        inputs = self.inputs()
        return make_ladder(inputs, inputs.entries, inputs.ladder)


def rows_of(found):
    return ladder_table.table(found).set_index("model", drop=False)


@pytest.fixture
def maker(tmp_path):
    return Maker(tmp_path)


def test_seeds_are_one_row_with_their_mean_and_spread(maker):
    maker.add("base", 10.0)
    maker.add("soft", 4.0, {"temperature": 4})
    maker.add("soft-2", 6.0, {"temperature": 4}, seed_of="soft")
    maker.add("soft-3", 8.0, {"temperature": 4}, seed_of="soft")
    maker.add("near", 12.0, {"smearing": 0.4})
    table = rows_of(maker.make())
    assert table["kind"].tolist() == ["baseline", "variant", "variant", "seed noise"]
    assert table.index.tolist() == ["base", "soft", "near", "seed noise"]
    soft = table.loc["soft"]
    assert (soft["members"], soft["n_seeds"]) == ("soft soft-2 soft-3", 3)
    assert soft["change"] == "temperature: 4"
    assert (soft[FSD], soft[f"{FSD}_seed_sd"]) == pytest.approx((6.0, 2.0))
    assert (soft[f"{FSD}_n"], soft["scans_scored"], soft["scans_planned"]) == (24, 24, 24)
    assert soft["frames_force_mae_seen_mev_per_angstrom"] == pytest.approx(60.0)
    assert table.loc["seed noise", FSD] == pytest.approx(2.0)
    # limits: 8.6 √(4/3) = 9.9 beside a difference of 4, and 8.6 √2 = 12.2 beside one of 2
    assert table[f"{FSD}_within_noise"].tolist() == [pd.NA, True, True, pd.NA]
    assert np.isnan(table.loc["base", f"{FSD}_seed_sd"])


def test_a_difference_beyond_the_noise_is_not_marked(maker):
    maker.add("base", 10.0)
    for k, fsd in enumerate((3.5, 4.0, 4.5), start=1):
        maker.add(f"soft-{k}", fsd, {"temperature": 4}, seed_of="soft")
    table = rows_of(maker.make())
    assert table.loc["seed noise", FSD] == pytest.approx(0.5)
    assert not table.loc["soft", f"{FSD}_within_noise"]
    cells = text.smoothness_table(table).set_index("model")
    assert cells.loc["soft", "FSD (Å⁻¹)"] == "4.00 ± 0.50"
    assert cells.loc["base (baseline)", "FSD (Å⁻¹)"] == "10.0"
    assert cells.loc["soft", "rotation variance (meV/Å)"] == "12.0 ± 0 ≈"  # the same everywhere


def test_seeds_of_a_drift_differ_by_a_factor(maker):
    """1, 2 and 4: the logarithm has the standard deviation ln 2, wherever it is."""
    many = {"temperature": 4, "smearing": 0.4}
    maker.add("base", 5.0, dynamics=trajectories("base", 0.02))
    for k, drift in enumerate((1.0, 2.0, 4.0)):
        name = f"end-{k}"
        maker.add(name, 5.0, many, seed_of="end", dynamics=trajectories(name, drift))
    for name, drift in (("near", 0.02 * 67), ("far", 0.02 * 69), ("still", 0.0)):
        maker.add(name, 5.0, {"k": len(name)}, dynamics=trajectories(name, drift))
    found = maker.make()
    assert found.noise[DRIFT].sd == pytest.approx(np.log(2))
    table = rows_of(found)
    assert table.loc["end", DRIFT] == pytest.approx(7 / 3)
    assert table.loc["seed noise", DRIFT] == pytest.approx(np.log(2))
    # 4.303 √2 ln 2 is a factor of 67.9; what has no logarithm is not judged
    assert table.loc[["near", "far", "still"], f"{DRIFT}_within_noise"].tolist() == [
        True, False, pd.NA,
    ]  # fmt: skip
    cells = text.dynamics_table(table).set_index("model")["drift (meV/atom/ps)"]
    assert cells[["near", "far", "still"]].tolist() == ["1.34 ≈", "1.38", "0"]
    assert cells["seed noise"] == "factor 2.00"
    (band,) = drawing.figure(found).axes[4].patches
    factor = 2 ** (STUDENT[2] * np.sqrt(2))
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx(
        (0.02 / factor, 0.02 * factor), rel=1e-4
    )


def test_without_seeds_nothing_is_marked_and_the_notes_say_so(maker):
    maker.add("base", 10.0).add("near", 10.0, {"smearing": 0.4})
    found = maker.make()
    table = rows_of(found)
    assert table[[c for c in table if c.endswith("_within_noise")]].isna().all(axis=None)
    assert np.isnan(table.loc["seed noise", FSD])
    words = text.to_markdown(found)
    assert "Seed noise is unknown" in words
    assert "≈" not in words


def test_a_difference_is_taken_on_what_both_have(maker):
    """Without its hard scans a model seems smoother, though it is equal on all that it has."""
    maker.add("base", 10.0)
    maker.add("part", 10.0, {"smearing": 0.4}, scans=scans("part", 10.0, failed=(4, 5, 6, 7)))
    maker.add("part-2", 10.2, {"smearing": 0.4}, seed_of="part")
    found = maker.make()
    base, part = found.rows
    assert found.seeds(FSD, base) == pytest.approx([10.0])
    assert found.seeds(FSD, part) == pytest.approx([5.0, 10.2])
    compared = found.compare(FSD, part, base)
    assert compared.n == 4
    assert (compared.one, compared.other) == pytest.approx((5.05, 5.0))
    assert found.noise[FSD].sd == pytest.approx(0.1 / np.sqrt(2))
    assert compared.difference.within_noise
    row = rows_of(found).loc["part"]
    assert (row["scans_scored"], row["scans_planned"]) == (12, 16)
    assert (row["scans_masked"], row["scans_trained_with"]) == (0, 0)
    assert "FSD" in row["missing"]
    assert "of 12 of 16 scans" in row["missing"]
    assert any(f" part: {row['missing']}." in note for note in text.notes(rows_of(found)))


MASKED = [4, 5]
SCAN_SCORES = [name for name, one in QUANTITIES.items() if one.of == "scans"]


def masked(name, fsd):
    """Eight scans, of which two of the hard ones are masked."""
    table = scans(name, fsd, failed=MASKED)
    table["status"] = table["status"].replace("error", "masked")
    return table


def test_masked_scans_are_in_no_mean_and_in_no_comparison(maker):
    """Equal on all that both have, it seems smoother by 3.3: two of its hard scans are masked."""
    maker.add("base", 10.0)
    maker.add("fsd", 10.0, {"fsd_weight": 0.002}, scans=masked("fsd", 10.0))
    for k, fsd in ((1, 10.0), (2, 12.0)):
        maker.add(f"end-{k}", fsd, {"temperature": 4, "smearing": 0.2}, seed_of="end")
    found = maker.make()
    row = rows_of(found).loc["fsd"]
    assert row[FSD] == pytest.approx((4 * 5 + 2 * 15) / 6)
    counts = ["scans_scored", "scans_masked", "scans_planned", f"{FSD}_n"]
    assert row[counts].tolist() == [6, 2, 8, 6]
    base, fsd, _ = found.rows
    for column in SCAN_SCORES:
        compared = found.compare(column, fsd, base)
        assert compared.n == (3 if "seen" in column else 6), column
        assert compared.one == compared.other, column
    # so is the noise: of 5 and 6 on the easy scans, of 15 and 18 on the hard ones
    assert found.noise[FSD].sd == pytest.approx(np.sqrt(2))
    limit = STUDENT[1] * np.sqrt(2) * (4 * 1 + 2 * 3) / 6 / np.sqrt(2)
    assert found.compare(FSD, fsd, base).difference.limit == pytest.approx(limit, rel=1e-4)
    (claim,) = ladder_claims.findings(found).query("model == 'fsd'").to_dict("records")
    assert (claim["n"], claim["difference"], claim["value_other"]) == (6, 0.0, row[FSD])
    assert "6 scans; " in claim["text"]
    cells = text.smoothness_table(rows_of(found)).set_index("model")
    assert cells.loc["fsd", "scans scored / planned"] == "6 / 8"
    words = text.to_markdown(found)
    assert "the model was trained with them: fsd 2." in words
    assert "on the scans, runs or molecules that all seeds of both have" in words
    assert "seen_scans" not in words


def test_scans_that_a_model_was_trained_with_and_that_are_scored_are_told(maker):
    maker.add("base", 10.0)
    maker.add("fsd", 10.0, {"fsd_weight": 0.002}, more={"fsd_scans": ["C-C/4", "C-C/5", "N-N/9"]})
    found = maker.make()
    assert rows_of(found).loc["fsd", ["scans_scored", "scans_trained_with"]].tolist() == [8, 2]
    (note,) = (note for note in text.notes(rows_of(found)) if "`seen_scans`" in note)
    assert note.endswith(" fsd 2.")


def test_scans_are_of_the_groups_that_the_model_tells(maker):
    maker.add("base", 10.0).add("blind", 10.0, scans=scans("blind", 10.0, split=False))
    table = rows_of(maker.make())
    seen = maker.parts["scans"]["base"].query("seen == 'seen'")["force_mae"].mean()
    assert table.loc["base", "force_mae_seen_ev_per_angstrom"] == pytest.approx(seen)
    assert table.loc["base", "force_mae_seen_ev_per_angstrom_n"] == 4
    assert np.isnan(table.loc["blind", "force_mae_seen_ev_per_angstrom"])


def test_dynamics_are_those_of_the_leaderboard_in_excess_of_the_reference(maker):
    maker.add("base", 5.0, dynamics=trajectories("base", -0.3)).reference()
    maker.add("weak", 6.0, dynamics=trajectories("weak", 0.4, life_ps=[2.0, 2.0, 1.5, 0.5]))
    maker.add("none", 7.0)
    maker.parts["dynamics"]["ref"].loc[3, ["outcome", "time_ps"]] = "failed", 1.0
    table = rows_of(maker.make())
    board = run_board(maker.inputs()).set_index("model")
    for name in ("base", "weak"):
        assert table.loc[name, "survival_ps"] == board.loc[name, "survival"]
        assert table.loc[name, DRIFT] == board.loc[name, "energy_drift"]
    assert table.loc["weak", "survival_ps"] == pytest.approx((2 + 2 + 1.5) / 3)
    assert table.loc["weak", ["runs_planned", "runs_finished", "runs_counted"]].tolist() == [
        4,
        2,
        3,
    ]
    assert table.loc["base", DRIFT] == pytest.approx(0.3)  # by its absolute value
    assert "drift, RMS of 2 of 4 runs" in table.loc["weak", "missing"]
    cells = text.dynamics_table(table).set_index("model")
    assert cells.loc["none", "survival (ps of 2)"] == "n/a"
    assert cells.loc["none", "finished / planned"] == "–"
    assert cells.loc["weak", "finished / planned"] == "2 / 4"


def test_time_a_step_is_wall_time_over_all_steps_of_all_trajectories(maker):
    """4 runs of 4000 steps in 4 s, and 4 of 8000 half steps in 12 s: 16 s over 48 000 steps."""
    half = trajectories("a", 9.0, timestep_fs=0.25, wall_s=3.0)
    both = pd.concat([trajectories("a", 0.1), half], ignore_index=True)
    maker.add("a", 5.0, dynamics=both).add("b", 5.0)
    table = rows_of(maker.make())
    assert table.loc["a", "seconds_per_step"] == pytest.approx(16 / 48_000)
    assert table.loc["a", ["runs_planned", f"{DRIFT}_n"]].tolist() == [4, 4]
    assert table.loc["a", DRIFT] == pytest.approx(0.1)  # half time steps serve the order only
    title = "time a step (ms)"
    assert text.dynamics_table(table).set_index("model").loc["a (baseline)", title] == "0.333"


def test_frequencies_are_of_the_molecules_that_have_them(maker):
    maker.add("a", 5.0, vib=frequencies("a", 20.0, excess=1))
    maker.add("b", 5.0, vib=frequencies("b", 30.0, excess=2, failed=["m1"], relaxed=False))
    maker.add("c", 5.0)
    found = maker.make()
    table = rows_of(found)
    assert table.loc["b", "frequency_mae_cm1"] == pytest.approx(30.0)
    assert table.loc["b", "imaginary_modes_excess"] == 6
    counts = ["molecules_planned", "molecules_scored", "molecules_not_relaxed"]
    assert table.loc["b", counts].tolist() == [4, 3, 3]
    modes = found.compare("imaginary_modes_excess", found.rows[1], found.rows[0])
    assert (modes.one, modes.other, modes.n) == (6.0, 3.0, 3)
    assert np.isnan(table.loc["c", "frequency_mae_cm1"])
    assert any("b 3" in note for note in text.notes(table) if "did not relax" in note)


def test_what_only_some_seeds_have_is_said(maker):
    maker.add("base", 5.0, dynamics=trajectories("base", 0.1))
    maker.add("base-2", 6.0, seed_of="base")
    found = maker.make()
    table = rows_of(found)
    assert "survival, drift, RMS, time a step of 1 of 2 seeds" in table.loc["base", "missing"]
    assert table.loc["base", ["survival_ps_seeds", f"{FSD}_seeds"]].tolist() == [1, 2]
    assert found.noise["survival_ps"].degrees_of_freedom == 0
    assert found.noise[FSD].degrees_of_freedom == 1


def test_seeds_may_have_frames_of_their_own_and_are_named(maker):
    maker.add("base", 10.0)
    maker.add("base-2", 12.0, seed_of="base", more={"frames": "e" * 64})
    maker.add("soft", 4.0, {"temperature": 4})
    found = maker.make()
    assert [row.other_frames for row in found.rows] == [("base-2",), ()]
    said = "on other frames than the first one of their potential: base-2. Their noise"
    assert said in text.to_markdown(found)
    maker.add("base-2", 12.0, seed_of="base")
    assert "on other frames" not in text.to_markdown(maker.make())


def test_seeds_of_what_ships_differ_in_no_choice(repo):
    registry = repo / "config" / "models.yaml"
    seeds = {}
    for name, one in read_models(registry).items():
        if one.family == "testbed":
            card = cards.read_card(resolve_entry(one, registry, repo))
            seeds.setdefault(one.potential, {})[name] = card
    assert any(len(members) > 2 for members in seeds.values())
    others = {name: cards.seeds_on_other_frames(name, members) for name, members in seeds.items()}
    named = {name: members for name, members in others.items() if members}
    assert named == {"testbed-base": ("testbed-base-seed_2",)}


def test_a_model_without_a_card_has_its_scores(maker):
    maker.add("base", 5.0).add("stranger", 6.0, card=False)
    row = rows_of(maker.make()).loc["stranger"]
    assert row["change"] == "n/a"
    assert np.isnan(row["frames_force_mae_seen_mev_per_angstrom"])
    assert row[FSD] == pytest.approx(6.0)


def test_seeds_that_differ_in_a_switch_are_refused(maker):
    maker.add("a", 5.0).add("a-2", 5.0, {"smearing": 0.4}, seed_of="a")
    with pytest.raises(
        UserError, match=r"a-2.json: differs in 'smearing' from .*correct `seed_of`"
    ):
        maker.make()


def test_other_frames_are_a_change(maker):
    maker.add("a", 5.0).add("b", 4.0, {"temperature": 2}, more={"frames": "0" * 64})
    found = maker.make()
    assert rows_of(found).loc["b", "change"] == "temperature: 2, frames: 00000000"
    assert ladder_claims.findings(found).empty


# --- claims --------------------------------------------------------------------------------------


def _pairs(found, words):
    table = ladder_claims.findings(found)
    chosen = table[table["claim"].str.contains(words)]
    return list(zip(chosen["model"], chosen["other"], chosen["finding"], strict=True))


def with_seeds(maker, spread=0.1):
    """A potential that differs in many switches, whose seeds tell the noise."""
    many = {"temperature": 4, "smearing": 0.2, "readout": "bounded", "repulsion": "zbl"}
    for k, way in enumerate((-1, 0, 1)):
        maker.add(f"end-{k}", 5.0 + way * spread, many, seed_of="end")
    return maker


def test_claims_are_asked_of_pairs_that_differ_in_one_switch(maker):
    maker.add("base", 10.0).add("hard", 15.0, {"neighbours": "hard_knn"})
    maker.add("radius", 1.0, {"neighbours": "radius"})
    maker.add("hot", 10.05, {"temperature": 8}).add("narrow", 9.0, {"smearing": 0.02})
    maker.add("rough", 14.0, {"neighbours": "hard_knn", "smearing": 0.02})
    maker.add("direct", 20.0, {"forces": "direct"})
    found = with_seeds(maker).make()
    assert _pairs(found, "neighbours lower the FSD") == [
        ("base", "hard", "holds"), ("narrow", "rough", "holds"),
    ]  # fmt: skip
    assert _pairs(found, "temperature") == [("hot", "base", "within noise")]
    assert _pairs(found, "smearing") == [
        ("base", "narrow", "does not hold"), ("hard", "rough", "does not hold"),
    ]  # fmt: skip
    assert _pairs(found, "do not keep the energy") == [("direct", "base", "not decided")]
    assert _pairs(found, "in the loss") == []
    (row,) = (r for r in ladder_claims.findings(found).to_dict("records") if r["other"] == "hard"
              and r["quantity"] == FSD and r["model"] == "base")  # fmt: skip
    assert (row["difference"], row["value"], row["value_other"]) == pytest.approx((-5, 10, 15))
    assert row["noise_limit"] == pytest.approx(0.1 * STUDENT[2] * np.sqrt(2), rel=1e-4)
    assert (row["n"], row["expected"], row["source"]) == (8, -1, ladder_claims.PAPER)


# who says what, by the spec; nobody says that direct forces raise the FSD
SOURCES = {
    ("neighbours", "fsd_full_per_angstrom", -1): "arXiv:2602.04861",
    ("neighbours", DRIFT, -1): "reviews of arXiv:2602.04861",
    ("temperature", "fsd_full_per_angstrom", -1): "arXiv:2602.04861",
    ("smearing", "fsd_full_per_angstrom", -1): "arXiv:2602.04861",
    ("forces", DRIFT, 1): "reviews of arXiv:2602.04861",
    ("repulsion", WALL, 1): "a practitioner",
    ("readout repulsion", WALL, 1): "a practitioner",
    ("readout", WALL, 1): "this project",
    ("fsd_weight", "fsd_full_per_angstrom", -1): "this project",
}


def test_every_claim_is_of_who_made_it():
    assert {
        (" ".join(sorted(claim.switches)), claim.quantity, claim.expected): claim.source
        for claim in ladder_claims.CLAIMS
    } == SOURCES


def test_what_is_claimed_of_drift_is_judged_on_drift(maker):
    """The FSD of direct forces is lower, and told; the drift is what is claimed of."""
    many = {"temperature": 4, "smearing": 0.2}
    for k, drift in enumerate((0.9, 1.0, 1.1)):
        maker.add(f"end-{k}", 5.0 + 0.1 * k, many, seed_of="end", dynamics=trajectories("e", drift))
    maker.add("base", 10.0, dynamics=trajectories("base", 0.1))
    maker.add("hard", 5.0, {"neighbours": "hard_knn"}, dynamics=trajectories("hard", 0.15))
    maker.add("direct", 5.0, {"forces": "direct"}, dynamics=trajectories("direct", 30.0))
    found = maker.make()
    assert _pairs(found, "nearest neighbours lower the FSD") == [("base", "hard", "does not hold")]
    assert _pairs(found, "nearest neighbours lower the drift") == [("base", "hard", "within noise")]
    assert _pairs(found, "do not keep the energy") == [("direct", "base", "holds")]
    lines = ladder_claims.lines(ladder_claims.findings(found))
    (line,) = (one for one in lines if one.startswith("Direct forces"))
    assert "(reviews of arXiv:2602.04861): holds." in line
    assert "drift 30.0 against 0.100 meV/atom/ps, higher by a factor of 300" in line
    assert "FSD lower by 5.00; windowed FSD lower by" in line


def test_of_many_values_each_is_compared_with_the_baseline_or_else_the_lowest(maker):
    maker.add("base", 10.0)
    for value in (0.02, 0.05, 0.4):
        maker.add(f"s{value}", 9.0, {"smearing": value})
        maker.add(f"hard{value}", 9.0, {"smearing": value, "neighbours": "hard_knn"})
    found = maker.make()
    assert {pair[:2] for pair in _pairs(found, "smearing")} == {
        ("base", "s0.02"), ("base", "s0.05"), ("s0.4", "base"),
        ("hard0.05", "hard0.02"), ("hard0.4", "hard0.02"),
    }  # fmt: skip


def test_a_hole_in_the_wall_is_counted_in_scans(maker):
    maker.add("base", 10.0, scans=scans("base", 10.0, wall=0.125))
    for name, switches, wall in (
        ("zbl", {"repulsion": "zbl"}, 1.0),
        ("weak", {"repulsion": "zbl", "repulsion_scale": 0.1}, 0.25),
        ("bounded", {"readout": "bounded"}, 0.0),
        ("both", {"repulsion": "zbl", "readout": "bounded"}, 1.0),
    ):
        maker.add(name, 10.0, switches, scans=scans(name, 10.0, wall=wall))
    for k in range(3):  # an end without any whole wall; that of `with_seeds` has all
        bad = {"smearing": 0.02, "neighbours": "hard_knn"}
        maker.add(f"bad-{k}", 9.0, bad, seed_of="bad", scans=scans("bad", 9.0, wall=0.0))
    found = with_seeds(maker).make()
    assert found.noise[WALL] == SeedNoise(0.0, 4)  # not that one scan of eight were no chance
    assert _pairs(found, "^a bounded readout") == [
        ("bounded", "base", "within noise"), ("both", "zbl", "within noise"),
    ]  # fmt: skip
    assert _pairs(found, "^a ZBL core leaves") == [
        ("zbl", "base", "holds"), ("weak", "base", "within noise"), ("both", "bounded", "holds"),
    ]  # fmt: skip
    assert _pairs(found, "^a ZBL core with") == [("both", "base", "holds")]
    lines = ladder_claims.lines(ladder_claims.findings(found))
    (line,) = (one for one in lines if "A ZBL core with" in one)
    assert line == (
        "A ZBL core with a bounded readout leaves fewer holes in the wall (a practitioner): holds. "
        "both against base: walls without a hole 100 against 12.5 %, higher by 87.5 "
        "(seed noise makes up to 68.9; 8 scans; FSD the same): holds."
    )
    (line,) = (one for one in lines if one.startswith("A ZBL core leaves"))
    assert "holds in 2 of 3 pairs, within noise in 1 of 3 pairs. zbl against base" in line


def test_a_claim_without_seeds_is_not_decided(maker):
    maker.add("base", 10.0).add("hard", 15.0, {"neighbours": "hard_knn"})
    line, drift = ladder_claims.lines(ladder_claims.findings(maker.make()))
    assert drift.endswith(
        "not decided. base against hard: not decided, the two share no number of it."
    )
    assert line.startswith(
        "Soft instead of hard nearest neighbours lower the FSD (arXiv:2602.04861)"
    )
    assert "not decided. base against hard: FSD 10.0 against 15.0 Å⁻¹, lower by 5.00" in line
    assert "(seed noise unknown; 8 scans; windowed FSD lower by" in line


def test_a_model_of_which_no_run_survives_has_no_drift_and_its_survival_is_told(maker):
    maker.add("base", 10.0, dynamics=trajectories("base", 0.1))
    dies = trajectories("direct", 300.0, life_ps=1.5)
    maker.add("direct", 10.0, {"forces": "direct"}, dynamics=dies)
    found = maker.make()
    (line,) = ladder_claims.lines(ladder_claims.findings(found))
    assert "the two share no number of it (FSD the same; windowed FSD the same;" in line
    assert "survival lower by 0.500)" in line
    assert np.isnan(rows_of(found).loc["direct", DRIFT])
    assert "drift, RMS of 0 of 4 runs" in rows_of(found).loc["direct", "missing"]


def test_the_fsd_in_the_loss_is_told_with_what_it_costs(maker):
    maker.add("base", 10.0, dynamics=trajectories("base", 0.1))
    maker.add("fsd", 8.0, {"fsd_weight": 0.002}, dynamics=trajectories("fsd", 0.4))
    found = with_seeds(maker).make()
    assert rows_of(found).loc["fsd", "change"] == "fsd_weight: 0.002 eV·Å"
    (line,) = (x for x in ladder_claims.lines(ladder_claims.findings(found)) if "in the loss" in x)
    assert "holds. fsd against base: FSD 8.00 against 10.0" in line
    for part in (
        "on seen frames lower by 20.0",
        "drift higher by a factor of 4.00",
        "survival the same",
    ):
        assert part in line


# --- for readers ---------------------------------------------------------------------------------


def a_whole_ladder(folder: Path, repo: Path) -> Maker:
    """The variants that the testbed ships, with made-up numbers."""
    maker = Maker(folder)
    generator = np.random.default_rng(7)
    shipped = read_variants(repo / "config/testbed.yaml")
    first: dict[str, str] = {}
    for name, variant in shipped.items():
        choices = {
            key: value
            for key, value in (variant.potential.to_dict() | variant.training.__dict__).items()
            if key != "elements"
        }
        same = first.setdefault(json.dumps(choices, sort_keys=True), name)
        rough = 40 * (0.1 / variant.potential.smearing) ** 0.3 / variant.potential.temperature**0.2
        rough *= 1.5 if variant.potential.neighbours == "hard_knn" else 1.0
        fsd = rough * generator.normal(1, 0.03)
        wall = 1.0 if variant.potential.repulsion == "zbl" else 0.5
        life = generator.uniform(0.6, 2.4, 4).clip(max=2.0)
        drift = 10 ** generator.uniform(-1.5, 1.5 + (variant.potential.forces == "direct"))
        maker.add(
            name, fsd, choices, seed_of=None if same == name else same, more={"unseen": 11 * fsd},
            scans=scans(name, fsd, wall=wall), dynamics=trajectories(name, drift, life_ps=life),
            vib=frequencies(name, 30 * generator.normal(1, 0.2)),
        )  # fmt: skip
    return maker.reference()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return a_whole_ladder(tmp_path_factory.mktemp("whole"), Path(__file__).parents[2]).make()


def test_the_section_and_its_files_say_the_same(maker):
    maker.add("base", 10.0, dynamics=trajectories("base", 0.1), vib=frequencies("base", 25.0))
    maker.add("hard", 15.0, {"neighbours": "hard_knn"}).add("stranger", 6.0, card=False)
    with_seeds(maker).reference()
    found, section = maker.make(), ladder_section(maker.inputs())
    table = pd.read_csv(io.StringIO(section.files["ladder.csv"]))
    assert list(table.columns) == ladder_table.columns()
    assert table["model"].tolist() == ["base", "hard", "stranger", "end", "seed noise"]
    plot = section.figures[0].plot
    assert set(plot.columns) <= set(table.columns)
    assert plot.x["fsd_full_per_angstrom"] == "FSD (Å⁻¹)"
    assert set(plot.scales) == {"compression_monotone_fraction", "seconds_per_step"} & set(plot.x)
    assert table.loc[table[plot.base[0]] == plot.base[1], "model"].tolist() == ["base"]
    assert table.loc[table[plot.left_out[0]] == plot.left_out[1], "model"].tolist() == [
        "seed noise"
    ]
    words = section.files["ladder.md"].splitlines()
    assert words[0] == "# toys: ladder"
    assert words[-1] == "- commit: abc"
    floor = "- The reference is ref. Its own numbers, below which nothing can be measured: drift 0"
    assert any(line.startswith(floor) for line in words)
    assert text.PAPER_NOTE in words
    assert text.PRACTITIONER_NOTE not in words  # no claim of theirs has a pair
    assert all(value in text.PAPER_NOTE for value in ("97.4", "76.3", "43.2", "not comparable"))
    tables = [line for line in words if line.startswith("|")]
    assert len({line.count("|") for line in tables[:7]}) == 1  # no title tears a row apart
    assert len({line.count("|") for line in tables[7:]}) == 1
    said = [line for line in words if line.startswith("- Soft instead of hard")]
    assert len(said) == 2  # of the FSD, and of the drift
    assert section.title == "Ladder"
    assert [f"- {note}" for note in section.notes[-3:-1]] == said
    assert section.notes[-1] == text.PAPER_NOTE
    shown = section.tables[0].rows.set_index("model")
    direct = text.smoothness_table(ladder_table.table(found)).set_index("model")
    for title in ("change", "seeds", "FSD (Å⁻¹)", "windowed FSD (Å⁻¹)", "walls without a hole (%)"):
        assert shown[title].tolist() == direct[title].tolist()
    assert shown["change"].tolist()[:3] == ["–", "neighbours: hard_knn", "n/a"]
    assert shown.loc["base (baseline)", "survival (ps of 2)"] == "2.00"
    assert shown.loc["hard", "frequency MAE (cm⁻¹)"] == "n/a"
    assert "≈" in shown.loc["stranger", "walls without a hole (%)"]


def test_no_pair_of_a_claim_is_said(maker):
    maker.add("a", 1.0, card=False).add("b", 2.0, card=False)
    assert text.NO_CLAIM in text.to_markdown(maker.make())
    assert ladder_section(maker.inputs()).notes[-2] == text.NO_CLAIM


def test_the_shipped_variants_are_a_ladder(whole):
    table = rows_of(whole)
    assert table.index[0] == "testbed-base"
    repeated = table[(table["n_seeds"] > 1) & (table["kind"] != "seed noise")]
    several = {"testbed-base": 2, "testbed-rough": 3, "testbed-smooth": 3}
    assert repeated["n_seeds"].to_dict() == several
    assert whole.noise[FSD].degrees_of_freedom == 5
    lines = ladder_claims.lines(ladder_claims.findings(whole))
    assert len(lines) == len(ladder_claims.CLAIMS)
    assert table.loc["testbed-zbl_0.1", "change"] == "repulsion: zbl, repulsion_scale: 0.1"


def test_how_the_noise_is_pooled_and_where_the_practitioner_looked_is_told(whole):
    written = text.to_markdown(whole)
    rows = rows_of(whole)
    section = " ".join(text.shown_notes(whole, rows, ladder_claims.findings(whole)))
    repeated = ("testbed-base", "testbed-rough", "testbed-smooth")
    spread = [f"{one} ± {rows.loc[one, f'{FSD}_seed_sd']:#.2g}" for one in repeated]
    for words in (written, section):
        assert "Student's two-sided 95 % quantile, 2.57 for 5 degrees of freedom" in words
        assert f"the FSD (Å⁻¹): {', '.join(spread)}" in words
        assert text.PRACTITIONER_NOTE in words
    for part in ("0.1 Å", "half the sum of the covalent radii", "14.4 times", "bounded readout"):
        assert part in text.PRACTITIONER_NOTE


# --- the figure ----------------------------------------------------------------------------------


def test_the_figure_has_a_panel_a_quantity_and_a_row_a_potential(whole):
    figure = drawing.figure(whole)
    titles = [axes.get_title().split("\n")[0] for axes in figure.axes]
    assert titles == [
        "FSD", "windowed FSD", "force MAE, frames", "survival", "|drift|", "frequency MAE",
    ]  # fmt: skip
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == [row.name for row in whole.rows]
    fsd = figure.axes[0]
    points = [line for line in fsd.lines if line.get_marker() == "o"]
    means = [line.get_xdata()[0] for line in points if len(line.get_xdata()) == 1]
    assert means == pytest.approx([whole.seeds(FSD, row).mean() for row in whole.rows])
    assert sum(len(line.get_xdata()) == 3 for line in points) == 2  # the seeds of both ends
    (baseline,) = (line for line in fsd.lines if line.get_marker() != "o")
    assert baseline.get_xdata()[0] == pytest.approx(whole.seeds(FSD, whole.baseline).mean())
    (band,) = fsd.patches
    limit = STUDENT[5] * np.sqrt(1 + 1 / 2) * whole.noise[FSD].sd  # one seed beside two
    assert band.get_width() == pytest.approx(2 * limit, rel=1e-4)
    assert figure.get_size_inches()[0] * figures.DPI == 1200
    assert figures.png(figure, dpi=40) == figures.png(drawing.figure(whole), dpi=40)


def test_colours_are_the_judgement_of_the_table(maker):
    maker.add("base", 10.0).add("good", 8.0).add("bad", 12.0).add("same", 10.1)
    found = with_seeds(maker).make()
    good, bad, same = (drawing._shade(found, FSD, row) for row in found.rows[1:4])
    assert (good, bad, same) == (drawing._BETTER, drawing._WORSE, drawing._SAME)
    walls = with_seeds(Maker(maker.folder)).add("base", 1.0, scans=scans("base", 1.0, wall=0.0))
    more = walls.make()  # `end`, whose walls have no hole, is the baseline of this one
    assert drawing._shade(more, WALL, more.rows[1]) == drawing._WORSE


def test_names_and_numbers_of_all_rows_do_not_overlap(whole):
    figure = drawing.figure(whole)
    figure.draw_without_rendering()
    labels = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert len(labels) == 20
    assert min(label.x0 for label in labels) > 0
    assert all(a.y0 > b.y1 for a, b in pairwise(labels))
    for axes in figure.axes:
        low, high = axes.get_xlim()
        ticks = [t.get_window_extent() for t in axes.get_xticklabels()
                 if t.get_text() and low <= t.get_position()[0] <= high]  # fmt: skip
        assert ticks
        assert all(a.x1 < b.x0 for a, b in pairwise(ticks))
    (legend,) = figure.legends
    assert legend.get_window_extent().x1 <= figure.bbox.x1


def test_panels_without_a_number_are_left_out_and_gaps_say_so(maker):
    maker.add("base", 10.0, card=False).add("other", 9.0, card=False)
    maker.parts["dynamics"]["base"] = trajectories("base", 0.0)
    figure = drawing.figure(maker.make())
    titles = [axes.get_title().split("\n")[0] for axes in figure.axes]
    assert titles == ["FSD", "windowed FSD", "force MAE, scans", "survival", "|drift|"]
    assert [t.get_text() for t in figure.axes[-1].texts] == ["n/a"]
    assert not figure.axes[0].patches  # no noise, no band
    legend = " ".join(t.get_text() for t in figure.legends[0].get_texts())
    assert "seed noise unknown" in legend
    assert figures.png(figure, dpi=40).startswith(PNG)


def test_nothing_to_draw_says_so(maker):
    nothing = scans("a", 1.0, failed=range(8))
    maker.add("a", 1.0, card=False, scans=nothing).add("b", 1.0, card=False, scans=nothing)
    found = maker.make()
    assert "No model of the ladder has a score." in drawing.figure(found).texts[0].get_text()
    assert "of 0 of 8 scans" in text.to_markdown(found)


# --- the command and the rule --------------------------------------------------------------------


@pytest.fixture
def on_disk(tmp_path, toy_set, maker, monkeypatch):
    """Scores of a ladder as files, with a registry whose weights have cards in the cache."""
    monkeypatch.setenv("PESBENCH_CACHE", str(tmp_path / "cache"))
    maker.add("base", 10.0, dynamics=trajectories("base", 0.1), vib=frequencies("base", 20.0))
    maker.add("hard", 15.0, {"neighbours": "hard_knn"}, vib=frequencies("hard", 22.0))
    maker.add("hard-2", 15.5, {"neighbours": "hard_knn"}, seed_of="hard")
    with ScanSet(toy_set) as scan_set:
        sha256 = scan_set.sha256
    registry = {}
    for name, one in maker.entries.items():
        seed = {k: v for k, v in one.settings.items() if k == "seed_of"}
        # an address: the weights need not be there
        address = f"https://example.org/{name}.pt"
        registry[name] = {"family": "testbed", "weights": address} | seed
        card = cache_path(address).with_suffix(".json")
        card.parent.mkdir(exist_ok=True)
        card.write_text((tmp_path / f"{name}.json").read_text())
        folder = tmp_path / name / "scores"
        folder.mkdir(parents=True)
        for part, file in (("scans", "bonds"), ("dynamics", "dynamics"), ("vib", "vibrations")):
            if name in maker.parts[part]:
                frame = maker.parts[part][name].copy()
                frame.attrs = {"scan_set_sha256": sha256}
                write_part_of_scores(folder / f"{file}.parquet", frame)
    (tmp_path / "models.yaml").write_text(yaml.safe_dump(registry))
    return tmp_path, list(maker.entries), toy_set


def command(stage, folder, models, scan_set, *more):
    return cli.main(
        [*stage.split(), "--results", str(folder), "--models", *models, "--models-file",
         str(folder / "models.yaml"), "--scan-set", str(scan_set), "--ran", "bonds", *models,
         "--ran", "dynamics", "base", "--ran", "vibrations", "base", "hard", *more]
    )  # fmt: skip


def test_the_command_and_the_leaderboard_and_the_page(on_disk):
    folder, models, scan_set = on_disk
    assert command("compare ladder", folder, models, scan_set, "--ladder", *models) == 0
    made = folder / "sections" / "ladder"
    table = pd.read_csv(made / "ladder.csv").set_index("model")
    assert table.index.tolist() == ["base", "hard", "seed noise"]
    assert table.loc["hard", ["n_seeds", "change"]].tolist() == [2, "neighbours: hard_knn"]
    assert table.loc[["base", "hard"], "frequency_mae_cm1"].tolist() == [20.0, 22.0]
    assert "- commit: " in (made / "ladder.md").read_text()
    for task in ("bonds", "dynamics", "vibrations"):
        assert command(f"section {task}", folder, models, scan_set) == 0
    for stage in ("leaderboard", "page"):  # of all sections that are there
        assert cli.main([stage, "--results", str(folder), "--scan-set", str(scan_set)]) == 0
    html = (folder / "leaderboard.html").read_text()
    for words in ((folder / "leaderboard.md").read_text(), html):
        assert "Ladder" in words
        assert "base (baseline)" in words
        assert text.PAPER_NOTE in words
    assert base64.b64encode((made / "ladder.png").read_bytes()).decode() in html
    board = pd.read_csv(folder / "leaderboard.csv").set_index("model")
    assert board.loc[["base", "hard"], "vibrations_mae_cm1"].tolist() == [20.0, 22.0]
    assert board.loc[["base", "hard"], "vibrations_mae_cm1_n"].tolist() == [4, 4]


def test_a_model_of_the_ladder_must_be_among_the_models(on_disk, caplog):
    folder, models, scan_set = on_disk
    assert command("compare ladder", folder, models, scan_set, "--ladder", "base", "soft") == 2
    assert "--ladder: 'soft' is not among --models" in caplog.text
    assert not (folder / "sections").exists()


def test_the_rule_asks_for_what_the_ladder_needs(tmp_path, repo):
    for name in ("Snakefile", "workflow", "resources", "envs", "config"):
        (tmp_path / name).symlink_to(repo / name)
    content = {
        "models": ["gfn1-xtb", "gfn2-xtb", "ipea1-xtb", "mace-mini", "mace-mini-zbl"],
        "controls": [],
        "systems": ["N-O/*"],
        "dynamics": {"models": ["gfn1-xtb", "gfn2-xtb"]},
        "vibrations": {"models": ["gfn2-xtb", "mace-mini"]},
        "ladder": {"baseline": "mace-mini", "models": ["mace-mini-zbl"]},
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
    done = subprocess.run(
        [Path(sys.executable).parent / "snakemake", "-n", "--cores", "1", "--configfile",
         "own.yaml", "--printshellcmds"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = (done.stdout + done.stderr).splitlines()
    (made,) = (line for line in lines if "-m pesbench compare ladder " in line)
    # not what is not needed
    assert "--ran bonds gfn1-xtb gfn2-xtb mace-mini mace-mini-zbl " in made
    assert "--ran vibrations mace-mini " in made
    assert "--ladder mace-mini mace-mini-zbl " in made
    for stage in ("leaderboard", "page"):
        (line,) = (line for line in lines if f"-m pesbench {stage} " in line)
        assert "--sections bonds dynamics vibrations association atlas ladder " in line
