"""All controls of a run in one job: a control costs less than starting a process for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pesbench.core.errors import UserError
from pesbench.core.names import closest
from pesbench.core.progress import track
from pesbench.files.atomic import write_json
from pesbench.models.models_file import read_models, resolve_entry
from pesbench.models.registry import ModelEntry, settle
from pesbench.tasks.bonds.score import write_scores
from pesbench.tasks.bonds.widening import evaluate_missing

SHARD = "0000"


def make_controls(
    names: Sequence[str],
    models_file: Path,
    scan_set: Path,
    scans: Sequence[str],
    results: Path,
    *,
    selected: Sequence[str],
    ceiling_ev: float,
) -> None:
    """Write entry, evaluation and scores of every control, as the rules of a model do.

    Args:
        names: Of the controls.
        models_file: The registry.
        scan_set: Scan set file, with its reference.
        scans: Ids to evaluate; of an evaluation that is there only what it lacks.
        results: Folder of the scan set's results.
        selected: Ids or globs of the scans to score.
        ceiling_ev: See `scores.score_scan`.

    Raises:
        UserError: no such control or scan.
        HostError: the machine failed; a second call continues.
    """
    registry = read_models(models_file)
    for name in names:
        if name not in registry or registry[name].family != "control":
            known = [n for n, entry in registry.items() if entry.family == "control"]
            raise UserError(f"{models_file}: no control {name!r}; {closest(name, known)}")
    for name in track(names, len(names), "controls"):
        folder = results / name
        entry = resolve_entry(registry[name], models_file, Path.cwd())
        write_json(folder / "model.json", settle(entry))
        deciding = ModelEntry.from_file(folder / "model.json")
        evaluation = folder / "scans" / f"{SHARD}.h5"
        evaluate_missing(deciding, scan_set, scans, evaluation, device="cpu")
        seen = entry.settings.get("seen_systems")
        write_scores(
            scan_set,
            [evaluation],
            folder / "scores" / "scans.parquet",
            split=Path(seen) if seen else None,
            entry=deciding,
            seen_scans=entry.settings.get("seen_scans", ()),
            ceiling_ev=ceiling_ev,
            selected=selected,
        )
