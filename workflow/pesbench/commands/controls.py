"""All controls of a run in one job: a control costs less than starting a process for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pesbench.commands.scoring import write_scores
from pesbench.core.errors import UserError
from pesbench.core.found import stage
from pesbench.core.jobs import RunJob, ScoreJob
from pesbench.core.names import closest
from pesbench.core.progress import track
from pesbench.files.atomic import write_json
from pesbench.models.fetching import settle
from pesbench.models.registry import ModelEntry

SHARD = "0000"


def make_controls(
    task: str,
    names: Sequence[str],
    models_file: Path,
    results: Path,
    *,
    scan_set: Path,
    items: Sequence[str],
    settings: Any,
    selected: Sequence[str],
) -> None:
    """Write entry, answers and scores of every control, as the rules of a model do.

    Args:
        task: Name of the task.
        names: Names of the controls.
        models_file: The registry.
        results: Folder of the scan set's results.
        scan_set: Scan set file, with its reference.
        items: Ids that the controls are asked about; what is there already is kept.
        settings: Settings of the task.
        selected: Ids or globs of the items to score.

    Raises:
        UserError: no such control or item.
        HostError: the machine failed; a second call continues.
    """
    # not in the environment of every model, which imports all commands
    from pesbench.models.models_file import read_models, resolve_entry

    registry = read_models(models_file)
    for name in names:
        if name not in registry or not registry[name].is_control:
            known = [n for n, entry in registry.items() if entry.is_control]
            raise UserError(f"{models_file}: no control {name!r}; {closest(name, known)}")
    for name in track(names, len(names), "controls"):
        folder = results / name
        entry = resolve_entry(registry[name], models_file, Path.cwd())
        write_json(folder / "model.json", settle(entry))
        deciding = ModelEntry.from_file(folder / "model.json")
        answers = folder / task / f"{SHARD}.h5"
        stage(task, "run")(RunJob(deciding, scan_set, items, settings, answers, device="cpu"))
        seen = entry.settings.get("seen_systems")
        job = ScoreJob(
            files=[answers],
            scan_set=scan_set,
            settings=settings,
            entry=deciding,
            split=Path(seen) if seen else None,
            seen_scans=entry.settings.get("seen_scans", ()),
            selected=selected,
        )
        write_scores(task, job, folder / "scores" / f"{task}.parquet")
