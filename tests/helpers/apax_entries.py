"""config/apax_models.yaml: entries of what config/apax.yaml trains, and what they are compared to.

    python tests/helpers/apax_entries.py

writes it anew; a test compares.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from pesbench.training.apax_variants import read_variants

REPO = Path(__file__).parents[2]
FILE = REPO / "config" / "apax_models.yaml"
# the reference, and the testbed's potentials with the same switches
BESIDE = ("gfn2-xtb", "testbed-base", "testbed-bounded", "testbed-zbl", "testbed-zbl-bounded")
_HEAD = """\
# The registry of the practitioner's experiment (docs/apax.md): what `make weights-apax` trains, and
# what is compared with it. `python tests/helpers/apax_entries.py` makes it of apax.yaml and
# models.yaml.
"""
_ENTRY = """\
{name}: &apax
  family: apax
  weights: results/weights/{name}.zip
  level_of_theory: GFN2-xTB
  training_dispersion: included
  training_data: 900 frames of ethanol at 300 and 600 K
  conservative: true
  elements: [H, C, O]
  seen_systems: resources/mini/split_ethanol.csv
  license: MIT
"""


def text() -> str:
    """Content of the file."""
    registry = yaml.safe_load((REPO / "config" / "models.yaml").read_text(encoding="utf-8"))
    others = {name: registry[name] for name in BESIDE}
    variants = list(read_variants(REPO / "config" / "apax.yaml").values())
    lines = []
    for one in variants[1:]:
        seed = "" if one.name == one.potential else f", seed_of: {one.potential}"
        lines.append(f"{one.name}: {{<<: *apax, weights: results/weights/{one.name}.zip{seed}}}\n")
    plain = yaml.safe_dump(others, sort_keys=False, width=110, default_flow_style=False)
    return f"{_HEAD}{plain}\n{_ENTRY.format(name=variants[0].name)}{''.join(lines)}"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
