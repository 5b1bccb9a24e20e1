"""A few hundred hostile inputs of every kind; `tests/helpers/fuzz.py` runs more."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import fuzz
from pesbench.metrics.curves import nearest_minimum

INPUTS = {  # of a kind: what a few seconds allow
    "configs": 40,
    "registry entries": 40,
    "config arguments": 60,
    "molecule files": 40,
    "stored files": 40,
    "command lines": 60,
}


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    return fuzz.kinds(tmp_path_factory.mktemp("stored"))


def test_every_kind_is_run(kinds):
    assert kinds.keys() == INPUTS.keys()


@pytest.mark.parametrize("name", INPUTS)
def test_a_hostile_input_ends_with_a_result_or_one_line(kinds, name):
    logging.disable(logging.WARNING)
    try:
        found, wrong = fuzz.run(name, kinds[name], INPUTS[name], seed=13)
    finally:
        logging.disable(logging.NOTSET)
    assert not wrong, "\n".join(wrong)
    assert found["refused"] > 0


def test_what_must_not_be_is_seen(kinds, monkeypatch):
    """The harness tells a traceback, a message of two lines and a command without an end."""

    def broken(words):
        if words == ["loop"]:
            while True:
                pass
        if words == ["lines"]:
            logging.getLogger("pesbench").error("one\ntwo")
            return 2
        raise KeyError("ours")

    monkeypatch.setattr(fuzz, "_main", broken)
    monkeypatch.setattr(fuzz, "LONGEST_S", 0.2)
    assert fuzz.outcome(["loop"])[0] == "no end"
    assert fuzz.outcome(["lines"])[0] == "not one line"
    assert fuzz.outcome(["other"])[0].startswith("KeyError at ")


def test_a_finite_answer_of_any_size_is_scored():
    """Found by stored files: energies of 1e300 eV, which a model may give."""
    for height in (1e90, 1e200, 1e308):
        energy = np.array([2.0, 1.0, -height, 1.0, 2.0, 3.0])
        found = nearest_minimum(np.linspace(0.9, 1.4, 6), energy, 2, within=1.0)
        assert found is None or np.isfinite(found.coordinate)
