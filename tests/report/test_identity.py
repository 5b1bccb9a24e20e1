"""What the leaderboard tells of the parameters and the precision of models."""

from __future__ import annotations

import pandas as pd
import pytest

from pesbench.models.facts import ModelFacts
from pesbench.models.registry import ModelEntry
from pesbench.report import choice, identity

A, B = "a" * 64, "b" * 64
NOT = "not visible"


def scores(*files: tuple[str, str, str]) -> pd.DataFrame:
    """Scores made from files with a checksum, a precision claimed and one measured."""
    frame = pd.DataFrame({"scan": ["x"]})
    keys = ("parameters", "dtype", "dtype_measured")
    frame.attrs["made_from"] = [dict(zip(keys, one, strict=True)) for one in files]
    return frame


@pytest.mark.parametrize(
    ("files", "parameters", "precision"),
    [
        ([(A, "float64", "float64")], "aaaaaaaa", "float64"),
        ([(A, "float64", "float32")], "aaaaaaaa", "float64 claimed, float32 measured"),
        ([(A, "float32", "coarser")], "aaaaaaaa", "float32 claimed, coarser than float32 measured"),
        ([(NOT, "calculator", "float32")], NOT, "float32 measured"),
        ([(NOT, "float64", "")], NOT, "float64 claimed, not measured"),
        ([("", "", "")], "", ""),
        ([("=1+1", "<b>", "=2")], "", ""),
        ([], "", ""),
        (
            [(A, "float64", "float64"), (B, "float64", "float32")],
            "aaaaaaaa, bbbbbbbb",
            "float64 claimed, float32 or float64 measured",
        ),
        ([(A, "float64", ""), (NOT, "float64", "float64")], "aaaaaaaa, not visible", "float64"),
    ],
)
def test_columns_say_what_ran(files, parameters, precision):
    found = {c.metric.name: c.values["m"] for c in identity.columns({"m": scores(*files)})}
    assert found == {"parameters": parameters, "precision": precision}


def entry(name: str, family: str = "mace", **settings) -> ModelEntry:
    return ModelEntry(name, family, settings)


def noted(files, entries=(), others=None, roles=None) -> list[str]:
    by_name = {one.name: one for one in entries} | {
        name: entry(name, weights=f"{name}.model")
        for name in files
        if name not in {one.name for one in entries}
    }
    facts = {n: ModelFacts(n, "mace", (roles or {}).get(n, "model")) for n in by_name}
    tables_ = {name: scores(*some) for name, some in files.items()}
    before = {name: scores(*some) for name, some in (others or {}).items()}
    return identity.notes(tables_, before, by_name, facts)


GOOD = (A, "float64", "float64")


def test_a_run_in_which_all_is_as_named_has_no_note():
    assert noted({"one": [GOOD, GOOD], "other": [(B, "float32", "float32")], "xtb": []}) == []
    assert noted({"one": [(NOT, "calculator", "float32")], "two": [(NOT, "float64", "")]}) == []


@pytest.mark.parametrize("second", [B, NOT])
def test_files_of_one_model_with_different_parameters_are_told(second):
    (note,) = noted({"one": [GOOD, (second, "float64", "float64")]})
    assert note.startswith("one: its files were computed with different parameters (aaaaaaaa, ")
    assert second[:8] in note


def test_a_task_that_ran_another_checkpoint_than_the_scans_is_told():
    other = {"one": [(B, "float64", "float64")]}
    assert noted({"one": [GOOD]}, others=other) == [
        "one: ran with other parameters here (aaaaaaaa) than on the scans (bbbbbbbb)."
    ]
    assert noted({"one": [GOOD]}, others={"one": [GOOD]}) == []
    assert noted({"one": [GOOD]}, others={"one": []}) == []


def test_another_precision_than_claimed_is_told():
    assert noted({"one": [(A, "float64", "float32")]}) == [
        "one: float64 claimed, float32 measured."
    ]


def test_two_names_with_the_same_parameters_are_told_unless_entries_say_so():
    (note,) = noted({"one": [GOOD], "two": [GOOD]})
    assert note.startswith("one and two ran with the same parameters (aaaaaaaa)")
    assert noted({"one": [GOOD], "two": [GOOD]}, roles={"two": "perturbed"}) == []
    for same in (
        [entry("one", weights="x", dtype="float64"), entry("two", weights="x", dtype="float32")],
        [entry("one", weights="x"), entry("two", "ase", calculator="m:C", variant_of="one")],
        [entry("one", "s", pretrained="mf", modal="a"), entry("two", "s", pretrained="mf")],
        [entry("one", weights="x", sha256=A), entry("two", weights="y", sha256=A, head="b")],
    ):
        assert noted({"one": [GOOD], "two": [GOOD]}, same) == []


def test_the_table_of_the_models_has_both_columns_where_sections_tell_them():
    told = {"parameters": "aaaaaaaa", "precision": "float64"}
    row = {"model": "a", "role": "model", "level_of_theory": "PBE"}
    found = choice.section(pd.DataFrame([row | told]))
    assert found.tables[0].rows.to_dict("records") == [
        {"model": "a", "level of theory": "PBE"} | told
    ]
    old = choice.section(pd.DataFrame([row]))
    assert list(old.tables[0].rows) == ["model", "level of theory"]
