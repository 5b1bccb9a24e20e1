"""Provenance of an output: versions, commit, command, machine."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pesbench.core.family import families
from pesbench.core.interface import PARAMETERS_SHA256
from pesbench.files.fingerprint import asked_for, family_modules
from pesbench.files.software import software, versions

PACKAGES = ("pesbench", "h5py", "numpy", "scipy", "pandas", "rdkit", "snakemake")


def recorded() -> tuple[str, ...]:
    """Packages that decide numbers and whose versions are recorded where they are installed.

    Those of all families are among them, whichever runs: the environment decides.
    """
    of_families = (package for family in families().values() for package in family.packages)
    return tuple(dict.fromkeys((*PACKAGES, *of_families)))


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide numbers, as far as they are installed."""
    return versions(recorded())


def git_commit() -> str:
    """The commit this code stands at, with `+changes` if it was edited; "" outside a checkout."""
    folder = Path(__file__).parents[1]
    try:
        commit = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"],
            capture_output=True, encoding="utf-8", errors="replace", check=True, timeout=20,
        ).stdout.strip()  # fmt: skip
        changes = subprocess.run(
            ["git", "-C", str(folder), "status", "--porcelain", "--", str(folder)],
            capture_output=True, encoding="utf-8", errors="replace", check=True, timeout=20,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + ("+changes" if changes else "")


def describe(scan_set_sha256: str) -> list[tuple[str, str]]:
    """`collect` for readers of a table or page, as names and values."""
    how = collect()
    return [
        ("scan set sha256", scan_set_sha256),
        ("command", shlex.join(how["command"])),
        ("made", how["created"]),
        ("commit", how["git_commit"]),
        ("packages", ", ".join(f"{name} {number}" for name, number in how["packages"].items())),
    ]


def collect(of_model: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Provenance that every output carries.

    Args:
        of_model: Python, platform and packages of the model's environment, where they decide the
            numbers; None for those of this process.
    """
    return {
        "command": ["python", "-m", "pesbench", *sys.argv[1:]],
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": git_commit(),
        "code": asked_for(),
        **(software(package_versions()) if of_model is None else of_model),
    }


def summary(attributes: Mapping[str, Any], stage: str) -> dict[str, str]:
    """Short provenance of a file of answers.

    Args:
        attributes: Attributes of the file.
        stage: The module that made it, such as `pesbench.tasks.bonds.run`.

    Returns:
        Commit, fingerprint of the code, device, dtype claimed and measured, checksum of the loaded
        parameters, elements that the model knows, and platform; "" for what it does not tell.
    """
    how = json.loads(attributes.get("provenance", "{}"))
    code = how.get("code")
    details = json.loads(attributes.get("model_details", "{}"))
    names, entry = [], json.loads(attributes.get("entry", "null"))
    while isinstance(entry, dict):  # a perturbed model has a base
        names.append(str(entry.get("family")))
        settings = entry.get("settings")
        entry = settings.get("base_entry") if isinstance(settings, dict) else None
    made_by = " ".join((stage, *family_modules(names)))
    return {
        "git_commit": str(how.get("git_commit", "")),
        "code": str(code.get(made_by, "")) if isinstance(code, dict) else "",
        "device": str(attributes.get("device", "")),
        "dtype": str(attributes.get("dtype", "")),
        "dtype_measured": str(attributes.get("dtype_measured", "")),
        "parameters": str(details.get(PARAMETERS_SHA256, "")) if isinstance(details, dict) else "",
        "elements": str(attributes.get("elements", "")),
        "platform": str(how.get("platform", "")),
    }
