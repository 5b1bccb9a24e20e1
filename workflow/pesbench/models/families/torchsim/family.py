"""Family `torchsim`: any model that TorchSim 0.6 or newer wraps, in batches, by import path."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pesbench.core.errors import UserError
from pesbench.core.family import LoadJob
from pesbench.core.interface import Model
from pesbench.core.settings import setting
from pesbench.models.called import CalledFamily, CalledSettings
from pesbench.models.calls import IMPORT_PATH

_OLDEST_PYTHON = (3, 12)  # of TorchSim 0.6


@dataclass(frozen=True, kw_only=True)
class TorchSimSettings(CalledSettings):
    """Keys of an entry."""

    model: str = setting(
        help="Import path of what returns a TorchSim model: `module:Class`, `module:function` or "
        "`module:Class.method`.",
        pattern=IMPORT_PATH,
    )


class TorchSim(CalledFamily):
    """Models that TorchSim wraps."""

    name = "torchsim"
    about = (
        "Any model with a wrapper for TorchSim 0.6 or newer, in batches, on Python 3.12 or newer "
        "([docs/torchsim.md](../docs/torchsim.md))."
    )
    settings = TorchSimSettings
    path_key = "model"
    packages = ("torch-sim-atomistic", "torch")
    modules = ("torch_sim",)

    def check(self, name: str, settings: Mapping[str, Any]) -> None:
        if not self.has_environment(settings) and sys.version_info < _OLDEST_PYTHON:
            raise UserError(
                f"model {name!r}: TorchSim 0.6 needs Python 3.12, this is "
                f"{sys.version_info[0]}.{sys.version_info[1]}; add `python: python3.12` and "
                "`requirements` with torch-sim-atomistic and the model's package to the entry"
            )
        super().check(name, settings)

    def load(self, job: LoadJob) -> Model:
        from pesbench.models.families.torchsim.model import load_torchsim

        return load_torchsim(self.maker(job), job)


FAMILY = TorchSim()
