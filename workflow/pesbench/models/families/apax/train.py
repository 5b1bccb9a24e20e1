"""One training with apax, in a process of apax's environment.

    python -m pesbench.models.families.apax.train JOB

JOB is the JSON that `pesbench.training.apax` writes. Into the folder of the job come the folder
`model`, which is what a weight file packs, and `trained.json`, which says what became of the
repulsion.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("NPROC", os.environ.get("OMP_NUM_THREADS", "1"))  # before JAX starts

import numpy as np
import orbax.checkpoint as ocp
import yaml
from apax.config.train_config import Config
from apax.train.run import run

from pesbench.models.families.apax.archive import BEST, CONFIG
from pesbench.models.families.apax.model import read_parameters
from pesbench.models.families.apax.switched import (
    INITIAL,
    READOUT,
    coefficients,
    prefactor,
    switched,
    taken_out,
)

TRAINED = "trained.json"  # of a folder of a job
MODEL = "model"
_LATEST = "latest"


def with_switches(config: Config, readout: str, scale: float) -> Config:
    """A config of apax whose model is built with the two switches.

    `apax.train.run.run` takes it as it is, and asks its model for the builder.

    Args:
        config: A config that apax takes.
        readout: `identity` or `swish`.
        scale: Prefactor that the ZBL repulsion starts from.
    """
    kind: Any = type(config.model)

    class Model(kind):
        def get_builder(self) -> Any:
            return switched(super().get_builder(), readout, scale)

    return config.model_copy(update={"model": Model.model_construct(**dict(config.model))})


def train(job: Mapping[str, Any], folder: Path) -> None:
    """Train, and write the model and what became of it.

    Args:
        job: `config`, in which the keys of the fork stand, and `elements`, whose parameters are
            kept.
        folder: Folder of the job.
    """
    said = job["config"]
    plain, readout, scale = taken_out(said)
    run(with_switches(Config.model_validate(plain), readout, scale), log_level="info")
    made = Path(said["data"]["directory"]) / said["data"]["experiment"]
    best, last = (read_parameters(made / name) for name in (BEST, _LATEST))
    _forget(best, job["elements"])
    model = folder / MODEL
    shutil.rmtree(model, ignore_errors=True)
    model.mkdir()
    config = yaml.safe_load((made / CONFIG).read_text(encoding="utf-8"))
    config["model"][READOUT] = readout
    for term in config["model"]["empirical_corrections"]:
        term[INITIAL] = scale
    # paths of the machine that trained say nothing to the one that loads
    config["data"] |= {"directory": "", "train_data_path": "train", "val_data_path": "valid"}
    (model / CONFIG).write_text(yaml.safe_dump(config), encoding="utf-8")
    with ocp.CheckpointManager((model / BEST).resolve()) as manager:
        content = {"model": {"params": best}}
        manager.save(_epoch(made / BEST), args=ocp.args.StandardSave(content))
    (folder / TRAINED).write_text(
        json.dumps(
            {
                "best_epoch": _epoch(made / BEST),
                "history": _history(made / "log.csv"),
                "processor_s": round(time.process_time(), 1),
                "repulsion": {
                    "initial": scale,
                    **{name: _repulsion(one) for name, one in (("best", best), ("last", last))},
                }
                if plain["model"].get("empirical_corrections")
                else None,
            }
        ),
        encoding="utf-8",
    )


def _forget(params: Mapping[str, Any], elements: list[int]) -> None:
    """Set to zero what belongs to elements that no frame has: random numbers of the start.

    They are most of the file, and zeros take no place in it.
    """
    own = params["params"]["energy_model"]["representation"]["radial_fn"]
    table = own["atomic_type_embedding"]
    kept = np.zeros(table.shape[:2], dtype=bool)
    kept[np.ix_(elements, elements)] = True
    own["atomic_type_embedding"] = np.where(kept[:, :, None, None], table, 0).astype(table.dtype)


def _repulsion(params: Mapping[str, Any]) -> dict[str, Any]:
    term = params["params"]["energy_model"]["corrections_0"]
    return {"prefactor": prefactor(term), "coefficients": coefficients(term)}


def _epoch(folder: Path) -> int:
    return max(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def _history(log: Path) -> list[dict[str, float]]:
    names, *rows = (line.split(",") for line in log.read_text(encoding="utf-8").split())
    return [dict(zip(names, map(float, row), strict=True)) for row in rows]


def main(arguments: list[str]) -> None:
    """Train the job that the first argument names."""
    path = Path(arguments[0])
    train(json.loads(path.read_text(encoding="utf-8")), path.parent)


if __name__ == "__main__":
    main(sys.argv[1:])
