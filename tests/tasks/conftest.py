"""What tests of several tasks share."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from examples import REPO
from pesbench.files.strict_yaml import read_yaml
from pesbench.training.backbone_plan import read_backbones
from pesbench.training.backbones import write_backbone_registry


@pytest.fixture
def architecture(tmp_path: Path) -> dict[str, Any]:
    """The config of `make architecture`, whose registry holds all backbones of the plan."""
    plan = read_backbones(REPO / "config/backbones.yaml")
    for one in plan.trainings().values():
        path = tmp_path / one.weights_name
        if path.suffix == ".model":
            shutil.copy(REPO / "resources/weights/mace-mini.model", path)
        else:
            torch.save({"name": one.name}, path)
    split = REPO / "resources/architecture/split.csv"
    registry = REPO / "config/models.yaml"
    write_backbone_registry(plan, tmp_path, registry, "gfn2-xtb", split, tmp_path / "models.yaml")
    config: dict[str, Any] = read_yaml(REPO / "config/architecture.yaml")
    return config | {"models_file": str(tmp_path / "models.yaml")}
