"""The ceiling against the smoothness of bond scans, on made-up scores."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pesbench.tasks.spectral import figures
from pesbench.tasks.spectral.association import Association, ceiling_and_smoothness
from pesbench.tasks.spectral.probes import ALIKE
from pictures import covered

SYSTEM, OTHER = "aspirin", "ethanol"


def _scores(readable: int) -> pd.DataFrame:
    told = {"probe": ALIKE.name, "system": SYSTEM, "status": "ok", "message": "", "model": "m",
            "layer_name": "1", "l_max": 2, "boundary": 4.0, "channels": 2, "columns": 9,
            "frames_trained": 45, "frames_held_out": 9}  # fmt: skip
    return pd.DataFrame([told | {"degree": d, "r2": float(d <= readable)} for d in range(1, 8)])


def _bonds(fsd: float, *, unscored: str = "", seen: tuple[str, ...] = (SYSTEM,)) -> pd.DataFrame:
    """Two scans of the molecule and one of another, which would turn the order round."""
    table = pd.DataFrame({
        "scan": ["C-C/a", "C-O/a", "C-C/b"], "system": [SYSTEM, SYSTEM, OTHER],
        "status": "ok", "fsd_full": [fsd, fsd + 1, 1000 - 100 * fsd],
    })  # fmt: skip
    table.loc[table["scan"] == unscored, "status"] = "error"
    table["seen"] = ["seen" if one in seen else "" for one in table["system"]]
    return table


def _asked(scores: dict[str, pd.DataFrame], bonds: dict[str, pd.DataFrame]) -> Association:
    return ceiling_and_smoothness(scores, bonds, dict.fromkeys(scores, "one"), SYSTEM)


def test_more_degrees_and_a_smoother_surface_correlate_on_the_scans_that_all_have() -> None:
    scores = {f"m{k}": _scores(k) for k in range(8)}
    bonds = {f"m{k}": _bonds(20.0 - k, unscored="C-O/a" if k == 3 else "") for k in range(8)}
    found = _asked(scores, bonds)
    assert (found.potentials, found.scans) == (8, 1)
    np.testing.assert_allclose(found.rho, -1)
    assert found.p < 0.001
    assert found.resolved


def test_a_correlation_that_chance_may_give_is_not_resolved() -> None:
    order = (3, 1, 4, 0, 5, 2, 7, 6)
    scores = {f"m{k}": _scores(k) for k in range(8)}
    bonds = {f"m{k}": _bonds(float(order[k])) for k in range(8)}
    found = _asked(scores, bonds)
    ranks = np.corrcoef(range(8), order)[0, 1]
    np.testing.assert_allclose(found.rho, ranks)
    assert 0.02 < found.p < 0.5
    few = {name: scores[name] for name in ("m0", "m1", "m2")}
    found = _asked(few, {"m0": _bonds(3), "m1": _bonds(2), "m2": _bonds(1)})
    np.testing.assert_allclose(found.rho, -1)
    assert not found.resolved  # of three


def test_scans_of_other_molecules_and_missing_ones_leave_no_number() -> None:
    scores = {f"m{k}": _scores(k) for k in range(8)}
    bonds = {name: _bonds(1.0).query("system == @OTHER") for name in scores}
    found = _asked(scores, bonds)
    assert (found.potentials, found.scans) == (0, 0)
    assert np.isnan(found.rho)
    assert not found.resolved
    seeds = {name: frame for name, frame in scores.items() if name < "m4"}
    for frame in seeds.values():
        frame.attrs["backbone"] = "one"
    assert _asked(seeds, dict.fromkeys(seeds, _bonds(1))).potentials == 1


def test_potentials_of_other_data_are_points_and_do_not_count() -> None:
    scores = {f"m{k}": _scores(k) for k in range(8)}
    bonds = {f"m{k}": _bonds(20.0 - k) for k in range(8)}
    bonds["m0"] = _bonds(1.0, seen=())  # does not tell
    bonds["m7"] = _bonds(100.0, seen=(SYSTEM, OTHER))
    found = _asked(scores, bonds)
    assert (len(found.points), found.potentials) == (8, 6)
    assert [one.potential for one in found.points if not one.counts] == ["m0", "m7"]
    np.testing.assert_allclose(found.rho, -1)
    assert not found.resolved
    assert covered(figures.smoothness(found.points, {"m0": "zero"})) == []


def test_what_a_whole_family_has_in_common_is_no_evidence() -> None:
    scores = {f"m{k}": _scores(k) for k in range(8)}
    bonds = {f"m{k}": _bonds(20.0 if k < 4 else 5.0) for k in range(8)}
    assert _asked(scores, bonds).resolved
    families = {name: "one" if int(name[1:]) < 4 else "other" for name in scores}
    found = ceiling_and_smoothness(scores, bonds, families, SYSTEM)
    assert np.isnan(found.rho)
    assert not found.resolved
