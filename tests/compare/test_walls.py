"""The comparison of repulsion and readout: seeds, shared pairs, prefactors and claims."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from examples import REPO
from pesbench.compare.comparison import ReportRun, comparisons
from pesbench.compare.inputs import CompareInputs
from pesbench.compare.walls.claims import ALL, FEWER, MORE, NOT_ALL, NOT_INFORMATIVE, findings
from pesbench.compare.walls.rows import COULOMB_EV_ANGSTROM, potentials
from pesbench.compare.walls.section import section, seeds
from pesbench.core.errors import UserError
from pesbench.models.facts import model_facts
from pesbench.models.registry import ModelEntry
from pesbench.tasks.lj_core.designs import Schedule, main_designs
from pesbench.tasks.lj_core.head_table import SCORED, Row, read_heads, write_table
from pesbench.training.apax_variants import read_variants

SHA256 = "0" * 64
PAIRS = [f"bond/ethanol_{k}-{k + 1}" for k in range(8)]
PLAIN = {"n_basis": 16, "readout": "linear", "repulsion": "none", "repulsion_scale": 0.1,
         "repulsion_cutoff": 1.5}  # fmt: skip


def entry(name: str, seed_of: str | None = None, family: str = "apax") -> ModelEntry:
    settings: dict[str, Any] = {"weights": f"{name}.zip", "sha256": SHA256}
    return ModelEntry(name, family, settings | ({"seed_of": seed_of} if seed_of else {}))


def write_card(
    name: str, trained: float | None = None, frames: str = "f" * 64, **switches: Any
) -> None:
    content: dict[str, Any] = {
        "sha256": SHA256,
        "frames_sha256": frames,
        "switches": PLAIN | switches,
        "training": {"epochs": 2},
        "errors": {"seen": {"force_mae_mev_per_angstrom": 20.0}},
        "repulsion": None,
    }
    if trained is not None:
        scale = content["switches"]["repulsion_scale"]
        best = {"prefactor": trained, "coefficients": [0.5, 0.25, 0.125]}
        content["repulsion"] = {"initial": scale, "best": best}
    Path(f"{name}.json").write_text(json.dumps(content))


def table(
    good: int, failed: int = 0, radius: float = 0.6, pairs: Sequence[str] = tuple(PAIRS)
) -> pd.DataFrame:
    """Scores of which the first pairs are monotone and the last ones failed."""
    n = len(pairs)
    status = ["ok"] * (n - failed) + ["nonfinite"] * failed
    ok = np.array([one == "ok" for one in status])
    hole = np.where(np.arange(n) < good, 0.0, radius)
    rows = {
        "pair": list(pairs),
        "kind": "bond",
        "system": "ethanol",
        "status": status,
        "monotone": np.where(ok, hole == 0, np.nan).astype(float),
        "hole_radius_angstrom": np.where(ok, hole, np.nan),
        "n_spurious_minima": np.where(ok, (hole > 0) * 2.0, np.nan),
    }
    frame = pd.DataFrame(rows)
    contact = frame.iloc[:1].assign(pair="contact/ethanol_0-5", kind="contact", monotone=0.0)
    return pd.concat([frame, contact], ignore_index=True)


def inputs(tables: Mapping[str, pd.DataFrame], **seed_of: str) -> CompareInputs:
    entries = {name: entry(name, seed_of.get(name)) for name in tables}
    return CompareInputs(
        facts=[model_facts(one, "GFN2-xTB") for one in entries.values()],
        tables={"approach": dict(tables)},
        entries=entries,
    )


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def found(claims: pd.DataFrame, potential: str) -> dict[tuple[str, str], str]:
    rows = claims[claims["potential"] == potential]
    return {(row.claim, row.other): row.finding for row in rows.itertuples()}


def test_seeds_are_one_potential_and_every_pair_has_a_place() -> None:
    write_card("zbl", 0.11, repulsion="zbl")
    write_card("zbl-seed_2", 0.13, repulsion="zbl")
    write_card("plain")
    every, pairs = potentials(
        inputs(
            {"zbl": table(7), "zbl-seed_2": table(5, failed=2, radius=0.7), "plain": table(0)},
            **{"zbl-seed_2": "zbl"},
        )
    )
    assert pairs == sorted(PAIRS)  # bonds only
    assert [(one.name, len(one.seeds)) for one in every] == [("zbl", 2), ("plain", 1)]
    first, second = every[0].seeds
    assert (first.n_monotone, first.n_failed, first.n_pairs) == (7, 0, 8)
    assert (second.n_monotone, second.n_failed, second.n_pairs) == (5, 2, 8)
    assert (first.prefactor, second.prefactor) == (0.11, 0.13)
    assert second.hole_radius_angstrom == 0.7
    assert second.n_spurious_minima == 2  # of the pair that has numbers
    assert every[1].seeds[0].prefactor is None
    assert first.screening == 0.875
    assert every[1].seeds[0].screening is None
    assert not first.all_monotone


def test_pairs_that_one_of_them_cannot_have_are_counted_for_none() -> None:
    write_card("a")
    write_card("b")
    other = table(8)
    other.loc[other["pair"] == PAIRS[0], "status"] = "unsupported"
    every, pairs = potentials(inputs({"a": table(0, pairs=PAIRS[:5]), "b": other}))
    assert pairs == PAIRS[1:5]
    assert [one.seeds[0].n_pairs for one in every] == [4, 4]
    assert (
        "because a model was not asked or knows too few elements: 3 by a, 1 by b."
        in section(inputs({"a": table(0, pairs=PAIRS[:5]), "b": other})).notes[0]
    )


def test_without_pairs_nothing_is_claimed_and_nothing_is_monotone() -> None:
    """One model that knows none of the elements takes the pairs from all others."""
    scale_one = {"repulsion": "zbl", "repulsion_scale": 1.0, "readout": "bounded"}
    for name in ("good", "good-seed_2", "good-seed_3"):
        write_card(name, 1.0, **scale_one)
    write_card("other")
    good = {name: table(8) for name in ("good", "good-seed_2", "good-seed_3")}
    seeds_of = {"good-seed_2": "good", "good-seed_3": "good"}
    given = inputs(good | {"other": table(8).assign(status="unsupported")}, **seeds_of)
    every, pairs = potentials(given)
    assert pairs == []
    assert not any(seed.all_monotone for one in every for seed in one.seeds)
    assert findings(every).empty
    made = section(given)
    assert made.sentence == "The potentials have no bonded pair in common."
    assert "elements: 8 by other." in made.notes[0]
    assert made.tables[1].rows.empty
    every, _ = potentials(inputs(good | {"other": table(8)}, **seeds_of))
    (finding,) = found(findings(every), "good").values()
    assert finding == "holds (3 of 3 seeds)"  # once it has them


def test_the_factor_of_the_testbed_is_that_of_the_physical_repulsion() -> None:
    Path("soft.json").write_text(
        json.dumps(
            {
                "sha256": SHA256,
                "switches": {"readout": "linear", "repulsion": "zbl", "repulsion_scale": 0.1},
                "repulsion_scale": 0.2,
            }
        )
    )
    write_card("zbl", 14.0, repulsion="zbl", repulsion_scale=14.4)
    every, _ = potentials(inputs({"soft": table(8), "zbl": table(8)}))
    soft, zbl = every
    assert soft.choices["repulsion_scale"] == pytest.approx(0.1 * COULOMB_EV_ANGSTROM)
    assert soft.seeds[0].prefactor == pytest.approx(0.2 * COULOMB_EV_ANGSTROM)
    assert (zbl.choices["repulsion_scale"], zbl.seeds[0].prefactor) == (14.4, 14.0)


def test_a_seed_on_other_frames_is_named() -> None:
    write_card("a")
    write_card("a-seed_2", frames="e" * 64)
    given = inputs({"a": table(8), "a-seed_2": table(8)}, **{"a-seed_2": "a"})
    assert [one.other_frames for one in potentials(given)[0]] == [("a-seed_2",)]
    assert any("on other frames" in note for note in section(given).notes)


def test_seeds_whose_cards_differ_are_refused() -> None:
    write_card("a")
    write_card("a-seed_2", n_basis=8)
    with pytest.raises(UserError, match=r"differs in 'n_basis' .*correct `seed_of`"):
        potentials(inputs({"a": table(8), "a-seed_2": table(8)}, **{"a-seed_2": "a"}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"repulsion": "zbl"}, "TypeError"),
        ({"repulsion": {"initial": 0.1}}, "KeyError: 'best'"),
        ({"repulsion": {"initial": 0.1, "best": {"prefactor": "large"}}}, "ValueError"),
        ({"repulsion_scale": 1.0, "switches": {"repulsion": "zbl"}}, "KeyError: 'repulsion_scale'"),
    ],
)
def test_a_card_that_is_not_understood_is_one_line(change: dict[str, Any], said: str) -> None:
    write_card("a")
    content = json.loads(Path("a.json").read_text())
    Path("a.json").write_text(json.dumps(content | change))
    with pytest.raises(UserError, match=rf"^a\.json: not a model card .*\({said}.*make it again"):
        potentials(inputs({"a": table(8)}))


def test_a_claim_is_asked_of_every_seed() -> None:
    zbl = {"repulsion": "zbl"}
    for name, trained, switches in (
        ("plain", None, {}),
        ("n8", None, {"n_basis": 8}),
        ("n8-seed_2", None, {"n_basis": 8}),
        ("standard", 0.1, zbl),
        ("best", 1.0, zbl | {"repulsion_scale": 1.0, "readout": "bounded"}),
        ("best-seed_2", 1.0, zbl | {"repulsion_scale": 1.0, "readout": "bounded"}),
        ("coulomb", 14.0, zbl | {"repulsion_scale": 14.4, "repulsion_cutoff": 3.5}),
    ):
        write_card(name, trained, **switches)
    every, _ = potentials(
        inputs(
            {
                "plain": table(2), "n8": table(1), "n8-seed_2": table(2), "standard": table(8),
                "best": table(8), "best-seed_2": table(8, failed=1), "coulomb": table(8),
            },
            **{"n8-seed_2": "n8", "best-seed_2": "best"},
        )
    )  # fmt: skip
    claims = findings(every)
    basis = "another size of the basis leaves {} than 16"
    assert found(claims, "plain") == {("a plain network has holes", ""): "holds (1 of 1 seeds)"}
    assert found(claims, "n8") == {
        ("a plain network has holes", ""): "holds (2 of 2 seeds)",
        (basis.format("fewer monotone pairs"), "plain"): "seeds disagree (1 of 2 seeds)",
        (basis.format("more spurious minima"), "plain"): "seeds disagree (1 of 2 seeds)",
    }
    assert found(claims, "standard") == {
        ("the standard ZBL is not enough", ""): "does not hold (0 of 1 seeds)"
    }
    (best,) = found(claims, "best").values()
    assert best == "seeds disagree (1 of 2 seeds)"  # a pair that failed is not monotone
    (coulomb,) = found(claims, "coulomb").values()
    assert coulomb == "holds (1 of 1 seeds)"
    assert set(claims["expected"]) == {ALL, NOT_ALL, FEWER, MORE}


@pytest.mark.parametrize(
    ("of_16", "of_8", "pairs", "minima"),
    [
        ((0, 1), (0, 5), NOT_INFORMATIVE, "holds (1 of 1 seeds)"),
        ((0, 5), (0, 5), NOT_INFORMATIVE, "does not hold (0 of 1 seeds)"),
        ((3, 0), (2, 0), "holds (1 of 1 seeds)", NOT_INFORMATIVE),
        ((8, 0), (8, 0), NOT_INFORMATIVE, NOT_INFORMATIVE),
        ((8, 0), (7, 1), "holds (1 of 1 seeds)", "holds (1 of 1 seeds)"),
    ],
)
def test_the_basis_is_judged_by_monotone_pairs_and_by_spurious_minima(
    of_16: tuple[int, int], of_8: tuple[int, int], pairs: str, minima: str
) -> None:
    """Nothing can be fewer where no pair, or every one, is monotone on both sides."""
    write_card("plain")
    write_card("n8", n_basis=8)
    tables = {
        name: table(good).assign(n_spurious_minima=[float(count), *[0.0] * 8])
        for name, (good, count) in (("plain", of_16), ("n8", of_8))
    }
    every, _ = potentials(inputs(tables))
    told = found(findings(every), "n8")
    assert [told[key] for key in sorted(told) if key[1]] == [pairs, minima]


def test_every_potential_of_the_experiment_is_in_a_claim() -> None:
    """But for those of the factorial that the post says nothing of: 0.1, where it is not apax's
    own, and 14.4 with a bounded readout."""
    for name, one in read_variants(REPO / "config/apax.yaml").items():
        network = vars(one.network)
        write_card(name, network["repulsion_scale"] if one.network.repulsion == "zbl" else None,
                   **network)  # fmt: skip
    tables = {name: table(4) for name in read_variants(REPO / "config/apax.yaml")}
    seeds_of = {
        name: one.potential
        for name, one in read_variants(REPO / "config/apax.yaml").items()
        if one.potential != name
    }
    every, _ = potentials(inputs(tables, **seeds_of))
    assert len(every) == 18
    assert all(len(one.seeds) == 3 for one in every)
    silent = {one.name for one in every} - set(findings(every)["potential"])
    assert silent == {
        "apax-linear-zbl_0.1-r_3.5", "apax-bounded-zbl_0.1-r_1.5", "apax-bounded-zbl_0.1-r_3.5",
        "apax-bounded-zbl_14.4-r_1.5", "apax-bounded-zbl_14.4-r_3.5",
    }  # fmt: skip


def test_the_section_tells_what_it_counts() -> None:
    write_card("zbl", 0.11, repulsion="zbl")
    write_card("zbl-seed_2", 0.13, repulsion="zbl")
    write_card("plain")
    given = inputs(
        {"zbl": table(8), "zbl-seed_2": table(8), "plain": table(0)}, **{"zbl-seed_2": "zbl"}
    )
    made = section(given)
    assert "1 of 2 potentials are monotone on all 8 bonded pairs" in made.sentence
    shown, claims = (one.rows for one in made.tables)
    assert shown["after training"].tolist() == ["0.110 to 0.130", "–"]
    assert shown["sum of coefficients after"].tolist() == ["0.875", "–"]
    assert shown["monotone pairs"].tolist() == ["8/8, 8/8", "0/8"]
    assert len(claims) == 2
    assert "(ethanol)" in made.notes[0]
    assert len(seeds(potentials(given)[0])) == 3
    assert set(made.files) == {"walls.csv", "walls_claims.csv"}


def test_it_applies_to_potentials_whose_cards_tell() -> None:
    comparison = comparisons()["walls"]
    entries = {name: entry(name) for name in ("a", "b", "other")}
    write_card("a")
    run = ReportRun(entries, "GFN2-xTB", {"approach": ["a", "b", "other"]})
    assert not comparison.applies(run)  # one alone
    write_card("b")
    Path("other.json").write_text(json.dumps({"sha256": SHA256}))  # as that of mace-mini
    assert comparison.applies(run)
    assert comparison.scores(run) == {"approach": ["a", "b"]}
    assert [path.name for path in comparison.files(run)] == ["a.json", "b.json"]
    assert not comparison.applies(ReportRun(entries, "GFN2-xTB", {"bonds": ["a", "b"]}))
    content = json.loads(Path("b.json").read_text())
    Path("b.json").write_text(json.dumps(content | {"training_set": {"frames": 25}}))
    assert not comparison.applies(run)  # the comparison of sets of frames asks it


def test_the_task_has_the_columns_that_are_read() -> None:
    score = pytest.importorskip("pesbench.tasks.approach.score")
    assert set(table(8).columns) <= set(score.COLUMNS)


def test_the_head_on_a_dimer_stands_beside_its_readout() -> None:
    for name, readout in (("a", "linear"), ("b", "rational"), ("c", "bounded")):
        write_card(name, readout=readout)
    rows = [
        Row(f"main-{head}", main_designs()[head], seed, dict.fromkeys(SCORED, value), 0.1)
        for head, value in (("mlp", 4.5), ("rational", 0.75))
        for seed in (1, 2)
    ]
    write_table(Path("heads.csv"), rows)
    Path("heads.json").write_text(json.dumps({"schedule": asdict(Schedule()), "curves": {}}))
    core = pd.DataFrame({"case": ["bond/ethanol_0-1"]})
    core.attrs["heads"] = read_heads(Path("heads.csv")).kept()
    given = inputs({"a": table(1), "b": table(8), "c": table(8)})
    column = "its head on a dimer (decades)"
    assert column not in section(given).tables[0].rows
    told = section(replace(given, tables=given.tables | {"lj_core": {"a": core}}))
    assert told.tables[0].rows[column].tolist() == ["4.50", "0.750", "n/a"]
    assert (
        "rational (0.750 decades; 8 of 8 pairs), linear (4.50 decades; 1 of 8 pairs)"
        in told.notes[-1]
    )
    assert told.notes[-1].endswith("is not resolved by 2 readouts of one family.")
    core.attrs["heads"] = {"table": "a stranger's"}
    with pytest.raises(UserError, match="scores of a, `heads`"):
        section(replace(given, tables=given.tables | {"lj_core": {"a": core}}))


def test_scores_that_hold_heads_are_read_where_they_are() -> None:
    write_card("a")
    write_card("b")
    entries = {name: entry(name) for name in ("a", "b")}
    run = ReportRun(entries, "GFN2-xTB", {"approach": ["a", "b"], "lj_core": ["b"]})
    walls = comparisons()["walls"]
    assert walls.scores(run) == {"approach": ["a", "b"], "lj_core": ["b"]}
    run = ReportRun(entries, "GFN2-xTB", {"approach": ["a", "b"]})
    assert walls.scores(run) == {"approach": ["a", "b"]}
