"""The file of features: what a network tells of the marked atom, by molecule and design."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pesbench.core.interface import Status
from pesbench.files.stored import COMPRESSION, MoleculeReader, writing_stored
from pesbench.tasks.spectral.designs import COPIES, INVARIANT, MOVED, ROTATED

FORMAT = "pesbench-spectral"
VERSION = 1
DEEPEST, FIRST = "deepest", "first"  # layers
UNTRAINED = "untrained"
Array = NDArray[np.float64]
Irreps = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Shown:
    """A design as it was shown to a network, and what came of it.

    Attributes:
        directions: Unit vectors of the marked bond, shape (S, 3).
        groups: What is resampled together, shape (S,).
        held_out: Whether a frame is one to test with, shape (S,).
        clear: Whether the marked neighbour is far from all other atoms, shape (S,).
        features: Of the marked atom by backbone and layer (`feature_key`), shape (S, columns).
        missing: Status and message of features that the network did not give.
        cosines: cos θ, of design C alone, shape (S,).
        energies_ev: eV, of design C alone, shape (S,).
        sums: Scalars summed over all atoms, of design C alone, shape (S, scalars).
    """

    directions: Array
    groups: NDArray[np.int64]
    held_out: NDArray[np.bool_]
    clear: NDArray[np.bool_]
    features: dict[str, NDArray[np.float32]]
    missing: Mapping[str, tuple[Status, str]] = field(default_factory=dict)
    cosines: Array | None = None
    energies_ev: Array | None = None
    sums: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class MoleculeFeatures:
    """The features of one molecule.

    Attributes:
        system: Id of the molecule.
        status: `ok`, or why there are none.
        message: What went wrong, or "".
        marked: Indices of the marked atom, its neighbour and the other one; -1 where there is none.
        clearance_angstrom: Of `designs.MarkedBond`; NaN where there is none.
        layers: Irreps of every layer with its name, in order; empty without features.
        chosen: Name of the layer of each role, `deepest` and `first`.
        l_max: Highest degree that is read.
        designs: By name.
    """

    system: str
    status: Status
    message: str = ""
    marked: tuple[int, int, int] = (-1, -1, -1)
    clearance_angstrom: float = float("nan")
    layers: Mapping[str, Irreps] = field(default_factory=dict)
    chosen: Mapping[str, str] = field(default_factory=dict)
    l_max: int = 0
    designs: Mapping[str, Shown] = field(default_factory=dict)


def feature_key(layer: str, *, untrained: bool = False) -> str:
    """Name of features by the role of their layer and of their backbone."""
    return f"{layer} {UNTRAINED}" if untrained else layer


def write_features(
    path: Path, molecules: Iterable[MoleculeFeatures], *, attributes: Mapping[str, Any]
) -> None:
    """Write features, a group a molecule; mappings among the attributes as JSON."""
    with writing_stored(path, FORMAT, attributes) as file:
        for one in molecules:
            group = file.create_group(one.system)
            group.attrs["status"] = one.status.value
            group.attrs["message"] = one.message
            group.attrs["marked"] = np.array(one.marked, dtype=np.int64)
            group.attrs["clearance_angstrom"] = one.clearance_angstrom
            group.attrs["layers"] = json.dumps(
                {k: list(map(list, v)) for k, v in one.layers.items()}
            )
            group.attrs["chosen"] = json.dumps(dict(one.chosen))
            group.attrs["l_max"] = one.l_max
            for name, shown in one.designs.items():
                _write_design(group.create_group(name), shown)


def _write_design(group: h5py.Group, shown: Shown) -> None:
    group.create_dataset("directions", data=shown.directions)
    group.create_dataset("groups", data=shown.groups)
    group.create_dataset("held_out", data=shown.held_out.astype(np.int8))
    group.create_dataset("clear", data=shown.clear.astype(np.int8))
    group.attrs["missing"] = json.dumps({k: [s.value, w] for k, (s, w) in shown.missing.items()})
    features = group.create_group("features")
    for key, values in shown.features.items():
        features.create_dataset(key, data=values, **COMPRESSION)
    for key in ("cosines", "energies_ev", "sums"):
        if (values := getattr(shown, key)) is not None:
            group.create_dataset(key, data=values, **COMPRESSION)


class Features(MoleculeReader):
    """A file of features, opened for reading.

    Attributes:
        highest_degree: Highest injected degree, of the settings.
    """

    def __init__(self, path: Path) -> None:
        """Open a file of features; errors as `MoleculeReader`."""
        super().__init__(path, FORMAT, "file of features")
        with self._file.closed_on_error():
            self.highest_degree = int(self.settings["highest_degree"])

    def molecule(self, system: str) -> MoleculeFeatures:
        """The features of one molecule.

        Raises:
            UserError: the file has no such molecule, or one that is not what it should be.
        """
        group, file = self._group(system), self._file
        layers, chosen = (
            json.loads(file.attribute(group, name, dict)) for name in ("layers", "chosen")
        )
        status = self.status(group)
        held = {k: tuple((int(a), int(b)) for a, b in v) for k, v in layers.items()}
        l_max = file.attribute(group, "l_max", int)
        designs = {name: self._design(group, name) for name in file.names(group)}
        if status is Status.OK:
            self._check(group, held, chosen, l_max, designs)
        marked = file.attribute(group, "marked", int, (3,)).tolist()
        return MoleculeFeatures(
            system=system,
            status=status,
            message=file.attribute(group, "message", str),
            marked=(marked[0], marked[1], marked[2]),
            clearance_angstrom=file.attribute(group, "clearance_angstrom", float),
            layers=held,
            chosen=chosen,
            l_max=l_max,
            designs=designs,
        )

    def _check(
        self,
        group: h5py.Group,
        layers: Mapping[str, Irreps],
        chosen: Mapping[str, str],
        l_max: int,
        designs: Mapping[str, Shown],
    ) -> None:
        """Whether layers, degrees and columns belong together.

        Raises:
            UserError: they do not.
        """
        if designs.keys() != {ROTATED, MOVED, COPIES, INVARIANT}:
            raise self._file.wrong(group.name, "does not hold the designs of this task")
        if DEEPEST not in chosen or not {*chosen.values()} <= layers.keys():
            raise self._file.wrong(f"{group.name}@chosen", "names a layer that is not there")
        if not 1 <= l_max <= max(degree for _, degree in layers[chosen[DEEPEST]]):
            raise self._file.wrong(f"{group.name}@l_max", "is no degree of the layer")
        columns = {
            role: sum(channels * (2 * degree + 1) for channels, degree in layers[layer])
            for role, layer in chosen.items()
        }
        for name, shown in designs.items():
            for key, values in shown.features.items():
                if values.shape[1] != columns.get(key.split()[0]):
                    where = f"{group.name}/{name}/features/{key}"
                    raise self._file.wrong(where, "has other columns than the irreps of the layer")
        angle = designs[INVARIANT]
        if angle.cosines is None or angle.energies_ev is None:
            raise self._file.wrong(f"{group.name}/{INVARIANT}", "holds no angles or energies")

    def _design(self, parent: h5py.Group, name: str) -> Shown:
        file = self._file
        group = file.group(parent, name)
        directions = file.array(group, "directions", np.float64, (None, 3))
        count = len(directions)
        inner, held = file.group(group, "features"), file.names(group)
        missing = json.loads(file.attribute(group, "missing", dict))
        angle = {
            key: file.array(group, key, np.float64, (count,))
            for key in ("cosines", "energies_ev")
            if key in held
        }
        if "sums" in held:
            angle["sums"] = file.array(group, "sums", np.float32, (count, None), values="any")
        return Shown(
            directions=directions,
            groups=file.array(group, "groups", np.int64, (count,)),
            held_out=file.array(group, "held_out", np.int8, (count,)) > 0,
            clear=file.array(group, "clear", np.int8, (count,)) > 0,
            features={
                key: file.array(inner, key, np.float32, (count, None), values="any")
                for key in file.names(inner)
            },
            missing={key: (Status(status), why) for key, (status, why) in missing.items()},
            **angle,
        )
