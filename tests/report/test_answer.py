"""The sentences at the top of the page: who is smoothest, with which reservations."""

from __future__ import annotations

import numpy as np
import pytest
from test_tables import SCANS, control, fact, rows

from pesbench.report.answer import sentences
from pesbench.tasks.bonds.board import leaderboard


def board_of(models, gap=()):
    scores = {name: rows(name, fsd, failed=failed) for name, (fsd, failed) in models.items()}
    zero = control("zero")
    scores[zero.name] = rows(zero.name, SCANS * 1.7, forces_only=True)
    facts = [fact(name, theory_gap=name in gap) for name in models]
    return leaderboard(scores, [*facts, zero])


def test_the_smoothest_model_is_named_with_its_score_and_scans():
    board = board_of({"a": (SCANS, ()), "b": (SCANS * 1.5, ())})
    first, second = sentences(board, ["An answer."])
    assert first.startswith("Lowest FSD of 2 ranked models: a, 10.0")
    assert " Å⁻¹ on 20 shared scans; its rank is 1" not in first  # its interval does not reach b
    assert second == "An answer."


def test_reservations_and_missing_scans_are_said():
    models = {"a": (SCANS * 1.8, ()), "b": (SCANS * 2, (3, 4))}
    found = sentences(board_of(models, gap=("a",)), ["An answer."])
    assert "another level of theory" in found[0]
    assert "no better than zero forces" in found[0]
    assert found[1] == "An answer."
    assert found[2] == "Without a score: b 2 of 20 scans."


def test_scans_of_bonds_to_hydrogen_without_a_score_are_said():
    board = board_of({"a": (SCANS, ()), "b": (SCANS * 1.5, (3,))})
    board["n_planned_hydrogen"], board["n_scored_hydrogen"] = 7, 7
    board.loc[board["model"] == "a", "n_scored_hydrogen"] = 5
    board.loc[board["model"] == "b", "n_scored_hydrogen"] = 6
    assert sentences(board, [])[-1] == (
        "Without a score: a 2 of 7 scans of bonds to hydrogen; "
        "b 1 of 20 scans, 1 of 7 scans of bonds to hydrogen."
    )


def test_trajectories_that_neither_end_nor_fail_are_said():
    board = board_of({"a": (SCANS, ()), "b": (SCANS * 1.5, ())})
    board["md_n_planned"], board["md_n_finished"] = [9, 9, np.nan], [4, 6, np.nan]
    board["md_n_failed"] = [5, 1, np.nan]  # a failure is a result
    assert sentences(board, [])[-1] == "Without a score: b 2 of 9 trajectories."


def test_pairs_that_could_not_be_judged_are_said():
    board = board_of({"a": (SCANS, ()), "b": (SCANS * 1.5, ())})
    board["approach_n_planned"], board["approach_n_scored"] = [28, 28, np.nan], [28, 25, np.nan]
    assert sentences(board, [])[-1] == ("Without a score: b 3 of 28 bonded pairs that approach.")


def test_what_is_told_apart_is_no_sentence_of_its_own():
    first, second = sentences(board_of({"a": (SCANS, ())}), ["An answer."], "It differs.")
    assert first.startswith("The one ranked model")
    assert first.endswith(" It differs.")
    assert second == "An answer."


def test_a_lower_force_error_of_another_model_is_said():
    board = board_of({"a": (SCANS, ()), "b": (SCANS * 1.5, ())})
    board.loc[board["model"] == "a", "force_mae"] = 3.0
    board.loc[board["model"] == "b", "force_mae"] = 0.35
    text = sentences(board, [])[0]
    assert text.endswith(
        "Its force MAE is 3.00 eV/Å; b has the lowest of the ranked models, 0.350 eV/Å."
    )
    board.loc[board["model"] == "b", "n_scored"] -= 1
    assert sentences(board, [])[0].endswith(
        "0.350 eV/Å, each over the scans that it was scored on."
    )


def test_in_what_a_model_is_no_better_than_zero_forces_is_said():
    board = board_of({"a": (SCANS, ()), "b": (SCANS * 1.5, ())})
    board["no_better_than_zero"] = True
    board["no_better_than_zero_in"] = "force MAE"
    assert "It is no better than zero forces in force MAE." in sentences(board, [])[0]


@pytest.mark.parametrize("failed", [range(20), ()])
def test_a_board_without_ranks_says_so(failed):
    board = board_of({"a": (SCANS if failed else np.full(20, np.nan), failed)})
    assert sentences(board, [])[0] == "No model is ranked."
