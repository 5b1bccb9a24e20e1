"""The adapter of family `apax`: frames padded to few shapes, each with fresh neighbour lists."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# XLA takes its number of threads from this, once, when it starts
os.environ.setdefault("NPROC", os.environ.get("OMP_NUM_THREADS", "1"))

import jax
import orbax.checkpoint as ocp
import yaml
from apax.config.train_config import Config  # `import apax` makes JAX take float64
from apax.data.preprocessing import compute_nl
from apax.nn.models import FeatureModel

from pesbench.core.errors import UserError
from pesbench.core.interface import Batch, ModelInfo, NodeFeatures, NotDescribedError, Result
from pesbench.core.text import quoted
from pesbench.models.families.apax.archive import BEST, CONFIG, MOST_BYTES, unpacked
from pesbench.models.families.apax.switched import prefactor, switched, taken_out
from pesbench.models.weights import Weights

Array = NDArray[np.float64]
N_SPECIES = 119  # of apax: rows by atomic number
_DTYPES = {"float32": "fp32", "float64": "fp64"}
_ATOMS, _LEAST_NEIGHBOURS = 8, 16  # steps of the padding


class ApaxModel:
    """An apax network behind the contract, for molecules.

    Frames, atoms and neighbours are padded, so that few shapes are compiled. Padded atoms have
    the atomic number 0 and padded neighbours are atoms of their own, which apax masks.

    Args:
        config: Config of the model without the keys of the fork.
        readout: Activation of the readout.
        params: Parameters as apax stores them.
        dtype: Precision of the arithmetic.
        details: Details for the provenance.
    """

    def __init__(
        self,
        config: Config,
        readout: str,
        params: Mapping[str, Any],
        dtype: str,
        details: dict[str, Any],
    ) -> None:
        said = config.model.model_dump()
        said |= {"descriptor_dtype": _DTYPES[dtype], "readout_dtype": _DTYPES[dtype]}
        builder = switched(config.model.get_builder(), readout, 1.0)(said, n_species=N_SPECIES)
        network = builder.build_energy_derivative_model(apply_mask=True)
        cast = jax.tree.map(lambda one: one.astype(dtype), dict(params))
        # scale and shift, and the sum over atoms, have their own precision
        cast["params"]["energy_model"]["scale_shift"] = params["params"]["energy_model"][
            "scale_shift"
        ]
        self._params = cast
        self._call = _of_frames(network)
        self._kind = config.model.name
        descriptor = network.energy_model.representation
        self._descriptor = _of_frames(FeatureModel(descriptor, None, mask_atoms=False))
        self._cutoff = float(config.model.basis.r_max)
        self._info = ModelInfo(
            elements=_elements(params),
            charges=False,
            batched=True,
            device="cpu",
            dtype=dtype,
            details=details,
        )

    @property
    def info(self) -> ModelInfo:
        return self._info

    def evaluate(self, batch: Batch) -> Result:
        """Energies and forces.

        Raises:
            ValueError: a periodic system; the adapter takes molecules only.
        """
        place, inputs = self._padded(batch)
        found = self._call(self._params, *inputs)
        energies = np.asarray(found["energy"], dtype=np.float64)[: batch.n_systems]
        forces = np.asarray(found["forces"], dtype=np.float64)[batch.system, place]
        return Result.ok(energies, forces)

    def describe(self, batch: Batch) -> dict[str, NodeFeatures]:
        """The descriptor, contractions of Gaussian moments: scalars.

        Raises:
            NotDescribedError: another architecture than GMNN.
            ValueError: a periodic system; the adapter takes molecules only.
        """
        if self._kind != "gmnn":
            raise NotDescribedError(f"the features of apax's {self._kind!r} are not looked at")
        place, inputs = self._padded(batch)
        own = {
            "params": {"representation": self._params["params"]["energy_model"]["representation"]}
        }
        found = np.asarray(self._descriptor(own, *inputs), dtype=np.float64)[batch.system, place]
        return {"representation": NodeFeatures(((found.shape[1], 0),), found)}

    def _padded(self, batch: Batch) -> tuple[NDArray[np.int64], tuple[NDArray[Any], ...]]:
        """The place of each atom in its frame, and what the network takes."""
        if batch.pbc.any():
            raise ValueError("a periodic system; this adapter takes molecules only")
        place = _places(batch)
        frames = _power_of_two(batch.n_systems)
        atoms = _ATOMS * -(-int(place.max() + 1) // _ATOMS)
        positions, numbers = np.zeros((frames, atoms, 3)), np.zeros((frames, atoms), dtype=np.int16)
        positions[batch.system, place] = batch.positions
        numbers[batch.system, place] = batch.numbers
        pairs = self._neighbours(batch, frames)
        offsets = np.zeros((frames, pairs.shape[2], 3))
        return place, (positions, numbers, pairs, np.zeros((3, 3)), offsets)

    def _neighbours(self, batch: Batch, frames: int) -> NDArray[np.int16]:
        """Neighbours within the cutoff, shape (frames, 2, pairs); padded with (0, 0)."""
        lists = [
            compute_nl(batch.positions[batch.system == system], np.zeros((3, 3)), self._cutoff)[0]
            for system in range(batch.n_systems)
        ]
        most = max(_LEAST_NEIGHBOURS, *(found.shape[1] for found in lists))
        pairs = np.zeros((frames, 2, _power_of_two(most)), dtype=np.int16)
        for row, found in zip(pairs, lists, strict=False):
            row[:, : found.shape[1]] = found
        return pairs


def _of_frames(network: Any) -> Any:
    """A network of apax, compiled for padded frames."""
    return jax.jit(jax.vmap(network.apply, in_axes=(None, 0, 0, 0, None, 0)))


def _places(batch: Batch) -> NDArray[np.int64]:
    """The number of each atom within its system, shape (A,)."""
    count = np.bincount(batch.system, minlength=batch.n_systems)
    return np.arange(batch.n_atoms) - np.repeat(np.cumsum(count) - count, count)


def _power_of_two(count: int) -> int:
    """The smallest power of two that is not smaller."""
    return 1 << (count - 1).bit_length()


def _elements(params: Mapping[str, Any]) -> frozenset[int]:
    """Elements of the data: their shift or scale is another one than that of no element at all.

    apax has a row for every atomic number from 0, and the rows of elements that no frame has stay
    equal.

    Raises:
        ValueError: all rows are equal, so that nothing says which elements it knows.
    """
    own = params["params"]["energy_model"]["scale_shift"]
    rows = np.hstack([np.asarray(own[f"{name}_per_element"]) for name in ("shift", "scale")])
    found = np.flatnonzero((rows != rows[0]).any(axis=1))
    if not found.size:
        raise ValueError("shift and scale are the same for all elements: it was never trained")
    return frozenset(found.tolist())


def load_apax(settings: Mapping[str, Any], weights: Weights) -> ApaxModel:
    """A network from the settings of its entry.

    Args:
        settings: `dtype`.
        weights: Content of the archive.

    Raises:
        UserError: the archive holds no model of apax 0.14.0, or an ensemble.
    """
    with unpacked(weights) as folder:
        try:
            said = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
            plain, readout, _ = taken_out(said)
            config = Config.model_validate(plain)
            params = read_parameters(folder / BEST)
            if config.model.ensemble is not None:
                raise ValueError("it is an ensemble; give one of its models")
            details = {
                "weights_sha256": weights.sha256,
                "apax": version("apax"),
                "jax": version("jax"),
                "readout": readout,
                **_repulsion(config, params),
            }
            return ApaxModel(config, readout, params, settings["dtype"], details)
        except (UserError, OSError):
            raise
        except Exception as error:  # pydantic, YAML and Orbax have errors of their own
            said = f"{type(error).__name__}: {quoted(error)}"
            raise UserError(
                f"{weights.path}: apax {version('apax')} cannot read this model ({said}); "
                f"{weights.cure}"
            ) from error


def read_parameters(folder: Path) -> dict[str, Any]:
    """The parameters of a checkpoint, as `apax.train.checkpoints.load_params` reads them.

    That function stands beside apax's training, whose import loads TensorFlow. The arrays are
    compressed within the archive, so their sizes are asked for before they are read.

    Args:
        folder: Folder of Orbax, such as `best` of a model.

    Raises:
        ValueError: there is no checkpoint in it, or one of more than `MOST_BYTES`.
    """
    handler = ocp.StandardCheckpointHandler()
    with ocp.CheckpointManager(folder.resolve(), item_handlers=handler) as manager:
        if manager.latest_step() is None:
            raise ValueError("no checkpoint")
        told = manager.item_metadata(manager.latest_step())
        if told is None:
            raise ValueError("the checkpoint does not say what it holds")
        if _bytes(told.tree) > MOST_BYTES:
            raise ValueError(f"its arrays take more than {MOST_BYTES >> 30} GiB")
        found = manager.restore(step=None, args=ocp.args.StandardRestore())
    return jax.tree.map(np.asarray, found["model"]["params"])


def _bytes(told: Any) -> int:
    """Size of the arrays of a checkpoint, or of their chunks where one is larger than its array."""
    size = 0
    for one in jax.tree.leaves(told, is_leaf=lambda one: hasattr(one, "shape")):
        if shape := getattr(one, "shape", None):
            chunk = one.storage.chunk_shape if one.storage else None
            size += max(math.prod(shape), math.prod(chunk or ())) * np.dtype(one.dtype).itemsize
    return size


def _repulsion(config: Config, params: Mapping[str, Any]) -> dict[str, float]:
    """Prefactor and cutoff (Å) of a ZBL term; nothing without one."""
    terms = enumerate(config.model.empirical_corrections)
    own = params["params"]["energy_model"]
    return {
        key: value
        for number, term in terms
        if term.name == "zbl"
        for key, value in (
            ("zbl_prefactor", prefactor(own[f"corrections_{number}"])),
            ("zbl_cutoff_angstrom", float(term.r_max)),
        )
    }
