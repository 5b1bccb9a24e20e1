"""Heads on the dimer beside the walls of potentials with such a readout."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from pesbench.compare.comparison import ReportRun
from pesbench.compare.heads.comparison import COMPARISON, with_readouts
from pesbench.compare.heads.section import dimer_error, section
from pesbench.compare.inputs import CompareInputs
from pesbench.models.registry import ModelEntry

READOUTS = {"a": "linear", "b": "rational", "c": "rational_plain"}
HEADS = {
    "main": {
        "mlp": {"numbers": {"log10_energy_mae_core": [4.5, 0.1]}},
        "rational": {"numbers": {"log10_energy_mae_core": [0.7, 0.1]}},
    },
    "cells": [
        {"activation": "relu", "depth": 2, "transform": transform, "scale": "one",
         "sampling": "min_bias", "rational": error, "mlp": 4.6, "wins": True}
        for transform, error in (("abs", 1.5), ("none", 2.5))
    ],
}  # fmt: skip


@pytest.fixture
def entries(tmp_path):
    found = {}
    for name, readout in (READOUTS | {"core": "linear"}).items():
        weights = tmp_path / f"{name}.pt"
        weights.write_bytes(b"")
        switches = {"readout": readout, "repulsion": "zbl" if name == "core" else "none"}
        weights.with_suffix(".json").write_text(json.dumps({"sha256": "0", "switches": switches}))
        found[name] = ModelEntry(name, "testbed", {"weights": str(weights), "sha256": "0"})
    return found


def run(entries, approach, core):
    return ReportRun(entries, "x", {"bonds": list(entries), "approach": approach, "lj_core": core})


def tables(entries, passed):
    found = {"approach": {}, "lj_core": {}}
    for name in entries:
        rows = [
            {"kind": "bond", "status": "ok", "system": f"m{k}", "monotone": float(k < passed[name]),
             "hole_radius_angstrom": 0.0 if k < passed[name] else 0.5}
            for k in range(4)
        ]  # fmt: skip
        found["approach"][name] = pd.DataFrame(rows)
        core = pd.DataFrame([{"kind": "bond", "status": "ok", "log10_energy_mae": 1.25}])
        core.attrs["heads"] = HEADS
        found["lj_core"][name] = core
    return found


def test_it_compares_potentials_that_differ_in_their_readout_alone(entries):
    every = list(entries)
    assert dict(with_readouts(run(entries, every, every))) == READOUTS  # none with a repulsion
    assert COMPARISON.applies(run(entries, every, every))
    assert not COMPARISON.applies(run(entries, ["a"], every))
    assert not COMPARISON.applies(run(entries, every, ["a", "core"]))
    read = run(entries, every, every)
    assert COMPARISON.scores(read) == {"approach": ["a", "b", "c"], "lj_core": ["a", "b", "c"]}
    assert len(COMPARISON.files(read)) == 3


def test_the_head_of_a_readout_is_its_row_or_cell():
    assert dimer_error("linear", HEADS) == 4.5
    assert dimer_error("rational", HEADS) == 0.7
    assert dimer_error("rational_plain", HEADS) == 2.5
    assert dimer_error("bounded", HEADS) is None
    assert dimer_error("linear", {}) is None


def test_so_few_heads_resolve_nothing(entries):
    chosen = {name: entries[name] for name in READOUTS}
    found = section(CompareInputs([], tables(chosen, {"a": 1, "b": 3, "c": 4}), chosen))
    assert found.sentence == (
        "Whether the rank of heads on the dimer predicts walls of potentials with them: not "
        "resolved (n = 3 heads); the best on the dimer is that of readout rational, with which 3 "
        "of 4 bonds repel, and most bonds repel with rational_plain (4 of 4)."
    )
    (table,) = found.tables
    assert table.rows["head on the dimer, core error"].tolist() == ["4.50", "0.700", "2.50"]
    assert table.rows["largest hole (Å)"].tolist() == ["0.50", "0.50", "–"]


def test_without_trained_heads_it_says_so(entries):
    chosen = {"a": entries["a"]}
    made = tables(chosen, {"a": 1})
    made["lj_core"]["a"].attrs["heads"] = {}
    found = section(CompareInputs([], made, chosen))
    assert found.sentence.startswith("Fewer than two heads")
