"""Tables of real models: means over shared pairs, and relaxations without an end."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pesbench.tasks.lj_core.real_models import models_table, shared_note


def pairs(errors: dict[str, float], **statuses: str) -> pd.DataFrame:
    """Isolated pairs with their core errors, and starts of relaxations with their status."""
    rows = [
        {"case": f"dimer/{pair}", "kind": "dimer", "log10_energy_mae": error,
         "right_sign_share": 1.0, "status": "ok" if np.isfinite(error) else "unsupported"}
        for pair, error in errors.items()
    ]  # fmt: skip
    rows += [
        {"case": f"overlap/{name}", "kind": "overlap", "system": name, "relaxed": name != "slow",
         "overlapped": 0.0 if status == "ok" else np.nan, "status": status}
        for name, status in statuses.items()
    ]  # fmt: skip
    columns = ("case", "kind", "system", "status", "relaxed", "overlapped", "log10_energy_mae",
               "right_sign_share")  # fmt: skip
    return pd.DataFrame(rows, columns=list(columns)).fillna({"system": "", "relaxed": False})


def test_models_are_compared_on_the_pairs_that_all_have() -> None:
    """The own mean of `a` is the larger one, because it alone knows a hard pair."""
    scores = {
        "a": pairs({"C-H": 1.0, "Br-Br": 8.0}),
        "b": pairs({"C-H": 2.0, "Br-Br": np.nan}),
        "forces": pairs({"C-H": np.nan, "Br-Br": np.nan}),
    }
    found = models_table(scores, {name: name for name in scores}).set_index("model")
    own = found["isolated: core error (decades)"]
    assert own.tolist() == ["4.50", "2.00", "n/a"]
    shared = found["isolated: core error on the pairs that all have"]
    assert shared.tolist() == ["1.00", "2.00", "n/a"]
    assert found["bonded: core error on the pairs that all have"].tolist() == ["n/a"] * 3
    assert "1 isolated pairs, which 2 models have" in shared_note(scores)


def test_a_start_that_failed_is_none_that_did_not_converge() -> None:
    frame = pairs({"C-H": 1.0}, ethanol="ok", slow="ok", bromine="unsupported", azide="error")
    found = models_table({"a": frame}, {"a": "a"}).iloc[0]
    assert found["ends overlapped"].startswith("0 of 2 ")
    assert found[["did not converge", "failed", "not asked"]].tolist() == ["1 of 2", "1", "1"]
