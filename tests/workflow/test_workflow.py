"""A quarter of the mini benchmark end to end through Snakemake, in a copy of the workflow."""

from __future__ import annotations

import json
import os
import subprocess

import h5py
import pandas as pd
import pytest
import yaml

from examples import matches
from pesbench.files.scan_set import ScanSet
from workflow_copy import RESULTS, Copy

TRAINED = "testbed-base"  # its package is loaded in a third of the time that MACE's takes
REPEAT, FLOAT32 = f"{TRAINED}-repeat", f"{TRAINED}-float32"
ENTRIES = f"""
{REPEAT}: {{<<: *testbed, repeat: 1}}
{FLOAT32}: {{<<: *testbed, dtype: float32}}
"""
MODELS = ["gfn1-xtb", "gfn2-xtb", "emt", TRAINED, REPEAT, FLOAT32]
# with a ring, scans that are dropped and marked, and what the shipped potential has not seen
MOLECULES = (
    *("cyclopropylamine", "ethanol", "hydrazine", "hydroxylamine"),
    *("hypophosphorous-acid", "methanethiol", "nitromethane"),
)
DYNAMICS = {
    "models": ["gfn1-xtb", "gfn2-xtb", TRAINED],
    "systems": ["hydrazine", "methanethiol"],
    "temperatures_k": [500],
    "duration_ps": 0.4,
    "halved": ["hydrazine"],
}
CONFIG = {
    "results": RESULTS,
    "controls": ["control-zero", "control-step_1.5", "control-step_2"],
    "models": MODELS,
    "shard_size": 40,  # one of scans; through Slurm there are two
    "dynamics": DYNAMICS,
    "vibrations": {"models": [TRAINED], "systems": ["hydrazine", "methanethiol"]},
    "ladder": {"baseline": TRAINED, "models": ["gfn1-xtb"]},
}
SMALL = ("--configfile", "small.yaml")
pytestmark = pytest.mark.xdist_group("workflow")  # one copy, one order


def _models(*more: str) -> tuple[str, str]:
    return "--config", f"models=[{','.join([*MODELS, *more])}]"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    made = Copy(tmp_path_factory.mktemp("workflow") / "my check out (a'b)")
    with (made.root / "config/models.yaml").open("a") as file:
        file.write(ENTRIES)
    (made.root / "small.yaml").write_text(yaml.safe_dump(CONFIG | made.few(*MOLECULES)))
    done = made.snakemake(*SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def test_the_default_run_gives_a_leaderboard(copy: Copy) -> None:
    board = pd.read_csv(copy.results / "leaderboard.csv")
    columns = [
        *("rank", "model", "family", "role", "n_planned", "n_scored"),
        *("fsd_full", "fsd_full_low", "fsd_full_high", "fsd_compress", "fsd_stretch"),
        *("fsd_windowed", "force_mae", "energy_mae", "energy_mae_aligned"),
        *("spurious_extrema", "equivalent"),
    ]
    assert list(board.columns[: len(columns)]) == columns
    board = board.set_index("model")
    assert board.loc["gfn2-xtb", "role"] == "reference"
    assert board.loc["gfn2-xtb", "fsd_full"] == 0.0
    assert pd.isna(board.loc["gfn2-xtb", "rank"])
    assert board.loc["gfn1-xtb", "rank"] == 1
    assert "unsupported" in board.loc["emt", "missing"]
    assert board.loc["emt", "n_scored"] < board.loc["emt", "n_planned"]
    assert "force step" in board.loc["gfn1-xtb", "equivalent"]
    assert set(board["n_planned"]) == {10}  # bonds between two heavy atoms


def test_the_explorer_of_a_run_shows_its_models_and_scans(copy: Copy) -> None:
    folder = copy.results / "explorer"
    assert (folder / "index.html").is_file()
    told = json.loads((folder / "leaderboard.json").read_text())
    board = pd.read_csv(copy.results / "leaderboard.csv")
    assert [one["name"] for one in told["models"]] == board["model"].tolist()
    scans = matches(folder, "data/bonds/scan-*.js")
    with ScanSet(copy.results / "mini.h5") as scan_set:
        kept = [one for one in scan_set.ids if scan_set.quality(one)[0] != "dropped"]
    assert len(scans) == len(kept) > 20
    assert '"start"' in scans[0].read_text()  # curves, and not scores alone
    assert len(matches(folder, "data/dynamics/run-*.js")) == 6  # of 3 models, 2 molecules


def test_dynamics_and_seen_systems_are_on_the_leaderboard(copy: Copy) -> None:
    board = pd.read_csv(copy.results / "leaderboard.csv").set_index("model")
    ran = board.loc[["gfn1-xtb", "gfn2-xtb", TRAINED]]
    assert (ran["md_n_planned"] == 2).all()  # two molecules, one temperature
    assert (ran["survival_horizon_ps"] == 0.4).all()
    assert board.loc["gfn2-xtb", "survival"] == 0.4
    assert 1.5 < board.loc["gfn2-xtb", "energy_rms_order"] < 2.5
    assert (ran[["md_seconds", "scan_seconds"]] > 0).all(axis=None)
    assert pd.isna(board.loc["emt", "md_n_planned"])
    assert board.loc[TRAINED, "n_seen"] > board.loc[TRAINED, "n_unseen"] > 0
    text = (copy.results / "leaderboard.md").read_text()
    assert "## Dynamics" in text
    assert "## Seen and unseen molecules" in text
    page = (copy.results / "leaderboard.html").read_text()
    assert "<h2>Dynamics</h2>" in page


def test_frequencies_are_compared_with_those_of_the_reference(copy: Copy) -> None:
    """The reference of the scan set is asked beside the one model that the config names."""
    scores = pd.read_parquet(copy.results / TRAINED / "scores" / "vibrations.parquet")
    scores = scores.set_index("system")
    assert list(scores.index) == ["hydrazine", "methanethiol"]
    assert (scores[["status", "reference_status"]] == "ok").all(axis=None)
    assert (scores["reference"] == "gfn2-xtb").all()
    assert (scores["n_modes"] == 12).all()
    assert scores["mae_cm1"].between(1, 100).all()
    assert (scores["n_imaginary_reference"] == 0).all()
    assert scores["seen"].isin(["seen", "unseen"]).all()
    assert not (copy.results / "gfn1-xtb" / "vibrations").exists()
    (answers,) = matches(copy.results / "reference" / "vibrations", "*.h5")
    with h5py.File(answers) as file:
        assert set(file) == {"hydrazine", "methanethiol"}
        assert json.loads(file.attrs["provenance"])["packages"]["tblite"]


def test_the_ladder_repeats_the_numbers_of_the_leaderboard(copy: Copy) -> None:
    board = pd.read_csv(copy.results / "leaderboard.csv").set_index("model")
    table = pd.read_csv(
        copy.results / "sections" / "ladder" / "ladder.csv", keep_default_na=False, na_values=[""]
    )
    table = table.set_index("model")
    assert list(table.index) == [TRAINED, "gfn1-xtb", "seed noise"]
    assert table.loc["gfn1-xtb", "change"] == "n/a"  # tight binding has no card
    for name in (TRAINED, "gfn1-xtb"):
        for column, of_board in (
            ("fsd_full_per_angstrom", "fsd_full"),
            ("compression_monotone_fraction", "compression_monotone"),
            ("survival_ps", "survival"),
            ("energy_drift_mev_per_atom_ps", "energy_drift"),
        ):
            assert table.loc[name, column] == pytest.approx(board.loc[name, of_board]), column
    row, card = table.loc[TRAINED], copy.root / "resources" / "weights" / f"{TRAINED}.json"
    errors = json.loads(card.read_text())["errors"]["unseen"]
    assert row["frames_force_mae_unseen_mev_per_angstrom"] == errors["force_mae_mev_per_angstrom"]
    scores = pd.read_parquet(copy.results / TRAINED / "scores" / "vibrations.parquet")
    assert row["frequency_mae_cm1"] == pytest.approx(scores["mae_cm1"].mean())
    assert (copy.results / "sections" / "ladder" / "ladder.png").stat().st_size > 0
    for file in ("sections/ladder/ladder.md", "leaderboard.md", "leaderboard.html"):
        assert "Seed noise is unknown" in (copy.results / file).read_text()


def test_numerical_variants_are_compared(copy: Copy) -> None:
    """A repeat differs in the last digits at most (its batches may); float32 by more."""
    table = pd.read_csv(copy.results / "sections" / "parity" / "parity.csv").set_index(
        ["model", "quantity"]
    )
    assert set(table["base"]) == {TRAINED}
    assert (table.loc[REPEAT, "largest_difference"] < 1e-6).all()
    assert table.loc[(FLOAT32, "energy_mev"), "largest_difference"] > 1e-4
    assert table.loc[(FLOAT32, "force_mev_per_angstrom"), "largest_difference"] < 10
    assert "## Numerical variants" in (copy.results / "leaderboard.md").read_text()


def test_molecules_of_ones_own_with_a_relaxed_reference(copy: Copy) -> None:
    """The example of the docs, by the stages that a user sees; the rest is as for `mini`."""
    done = copy.snakemake(
        *("--configfile", "config/own_molecules.yaml", "--until", "scan_set"),
        *("--config", f"results={RESULTS}"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = copy.root / RESULTS / "own_molecules"
    with h5py.File(results / "own_molecules.h5") as file:
        assert file.attrs["level_of_theory"] == "GFN1-xTB"
        assert set(file) == {"C-C", "C-H", "C-O"}
        assert file["C-C/isopropyl_0-1"].attrs["spin"] == 2
        assert file["C-C/acetate_0-1"].attrs["charge"] == -1
    skipped = pd.read_csv(results / "skipped.csv")
    assert set(skipped["scan"].str.partition("_")[0]) == {"C-C/cyclopropane"}
    assert len(list((results / "reference").glob("0*.h5"))) == 5  # shards of two scans


def test_every_output_says_how_it_was_made(copy: Copy) -> None:
    with h5py.File(copy.results / "mini.h5") as file:
        assert json.loads(file.attrs["provenance"])["packages"]["tblite"]
        assert file.attrs["level_of_theory"] == "GFN2-xTB"
    with h5py.File(copy.results / "gfn1-xtb" / "bonds" / "0000.h5") as file:
        assert json.loads(file.attrs["provenance"])["packages"]["tblite"]
        assert file.attrs["wall_s"] > 0
    assert (copy.results / "gfn1-xtb" / "sections" / "bonds" / "worst.extxyz").stat().st_size > 0
    models = json.loads((copy.results / "models.json").read_text())["models"]
    assert models["gfn2-xtb"]["description"]["level_of_theory"] == "GFN2-xTB"
    assert set(models[TRAINED]["seen"].values()) == {"seen", "unseen"}
    page = (copy.results / "leaderboard.html").read_text()
    assert "gfn1-xtb" in page
    assert "data:image/png;base64," in page


def test_skipped_and_dropped_scans_are_listed_with_the_reason(copy: Copy) -> None:
    skipped = pd.read_csv(copy.results / "skipped.csv").set_index("scan")
    assert skipped.loc["C-C/cyclopropylamine_1-2", "quality"] == "skipped"
    assert "ring" in skipped.loc["C-C/cyclopropylamine_1-2", "reason"]
    assert {"dropped", "marked"} <= set(skipped["quality"])


def test_a_second_run_does_nothing(copy: Copy) -> None:
    done = copy.snakemake(*SMALL)
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout + done.stderr


def test_an_added_model_computes_only_itself(copy: Copy) -> None:
    registry = copy.root / "config" / "models.yaml"
    before = registry.read_text()
    try:
        added = "ipea1-tight: {family: tblite, method: IPEA1-xTB, accuracy: 0.1}\n"
        registry.write_text(before + added)
        jobs = copy.planned(*SMALL, *_models("ipea1-tight"))
    finally:
        registry.write_text(before)
    once = ("entry", "run_on_cpu", "score", "model_section", "leaderboard", "page", "explorer")
    # sections tell of all models, and so do association, atlas, ladder, pairs and parity
    more = {"describe": 1, "section": 3, "compare": 5}
    assert jobs == dict.fromkeys(once, 1) | more


def test_a_changed_setting_computes_only_its_model_and_a_citation_none(copy: Copy) -> None:
    registry = copy.root / "config" / "models.yaml"
    before = registry.read_text()
    try:
        registry.write_text(before.replace("method: GFN1-xTB", "method: GFN1-xTB\n  accuracy: 0.5"))
        jobs = copy.planned(*SMALL)
        # scans, dynamics with two time steps; both scores
        assert (jobs["run_on_cpu"], jobs["score"]) == (3, 2)
        registry.write_text(before.replace("Grimme, Bannwarth", "S. Grimme, Bannwarth"))
        jobs = copy.planned(*SMALL)
        assert not {"run", "run_on_cpu"} & set(jobs)
        assert "score" not in jobs
    finally:
        registry.write_text(before)


def test_a_changed_metric_recomputes_scores_only(copy: Copy) -> None:
    module = copy.root / "workflow" / "pesbench" / "metrics" / "smoothness.py"
    before = module.read_text()
    try:
        module.write_text(before + "\n# a comment changes nothing\n")
        assert copy.planned(*SMALL) == {}
        module.write_text(before.replace("WINDOW_ANGSTROM = 0.25", "WINDOW_ANGSTROM = 0.3"))
        jobs = copy.planned(*SMALL)
    finally:
        module.write_text(before)
    assert (jobs["score"], jobs["controls_bonds"]) == (len(MODELS), 1)  # not the evaluations
    assert not {"run", "run_on_cpu", "entry", "scan_set_from_molecules"} & set(jobs)


def test_another_ladder_repeats_its_own_comparison_alone(copy: Copy) -> None:
    other = f"ladder={{baseline: gfn1-xtb, models: [{TRAINED}]}}"
    jobs = copy.planned(*SMALL, "--config", other)
    assert jobs == dict.fromkeys(("compare", "leaderboard", "page", "explorer"), 1)


def test_another_place_of_the_interpreter_or_results_is_no_reason_to_run(copy: Copy) -> None:
    moved = copy.root.with_name("moved")
    copy.root.rename(moved)
    try:
        there = object.__new__(Copy)
        there.root = moved
        assert there.planned(*SMALL) == {}
    finally:
        moved.rename(copy.root)


def test_a_printed_command_can_be_run_by_hand(copy: Copy) -> None:
    done = copy.snakemake("-n", "-p", "--forcerun", "score", *SMALL)
    command = next(
        line.partition("Shell command:")[2].strip() or line.strip()
        for line in (done.stdout + done.stderr).splitlines()
        if "pesbench score bonds" in line and "gfn1-xtb" in line
    )
    out = copy.results / "gfn1-xtb" / "scores" / "bonds.parquet"
    before = pd.read_parquet(out)
    environment = os.environ | {"PYTHONPATH": str(copy.root / "workflow")}
    subprocess.run(command, shell=True, cwd=copy.root, env=environment, check=True)
    pd.testing.assert_frame_equal(pd.read_parquet(out), before)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["models=[gfn3-xtb]"], ["gfn3-xtb", "gfn2-xtb"]),
        (["shard_sice=3"], ["shard_sice", "shard_size"]),
        (["systems=[X-X/*]"], ["X-X/*", "matches nothing"]),
        (["archive=/nowhere.tar.gz", "scan_set=bsct_spice"], ["bsct_spice"]),
    ],
)
def test_bad_input_is_one_line_before_any_work(
    copy: Copy, arguments: list[str], words: list[str]
) -> None:
    done = copy.snakemake("--config", *arguments)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("pesbench: error:")]
    assert len(lines) == 1, done.stderr
    assert all(word in lines[0] for word in words)
    assert "Traceback" not in done.stderr
    assert "rule " not in done.stdout + done.stderr


def test_no_word_of_all_this_was_read_by_a_shell(copy: Copy) -> None:
    assert not list(copy.root.parent.rglob("pwned"))
