"""apax 0.14.0 with the two switches that it has no key for.

The practitioner's fork of apax has them as keys of `config.yaml`, and their names are his:
`model.readout_activation` (`identity` or `swish`), which is applied to the scalar of each atom
before scale and shift, and `initial_rep_scale` of the ZBL repulsion, whose prefactor apax 0.14.0
starts from 0.1. Folders without these keys are apax's own, whose numbers do not change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from apax.layers.empirical import ZBLRepulsion, inverse_softplus
from apax.layers.scaling import PerElementScaleShift
from apax.nn.builder import ModelBuilder
from flax import linen

IDENTITY, SWISH = "identity", "swish"
READOUT, INITIAL = "readout_activation", "initial_rep_scale"  # keys of the fork
APAX_SCALE = 0.1  # that apax 0.14.0 starts from


class SwishScaleShift(PerElementScaleShift):
    """Scale and shift of swish(x) = x·sigmoid(x) ≥ −0.2785 in place of the atom's scalar x."""

    def __call__(self, x: jax.Array, Z: jax.Array) -> jax.Array:  # noqa: N803 (apax's name)
        return super().__call__(jax.nn.swish(x), Z)


class ScaledZBL(ZBLRepulsion):
    """apax's ZBL repulsion, whose trainable prefactor starts from another number.

    Attributes:
        initial_rep_scale: The prefactor at the start, after softplus.
    """

    initial_rep_scale: float = APAX_SCALE

    def param(self, name: str, init_fn: Any, *arguments: Any, **more: Any) -> Any:
        if name == "rep_scale":
            init_fn = linen.initializers.constant(inverse_softplus(self.initial_rep_scale))
        return super().param(name, init_fn, *arguments, **more)


def taken_out(config: Mapping[str, Any]) -> tuple[dict[str, Any], str, float]:
    """A config without the keys of the fork, and their values.

    Args:
        config: Content of `config.yaml`.

    Returns:
        The config that apax 0.14.0 takes, the activation of the readout and the prefactor that the
        repulsion starts from.

    Raises:
        ValueError: the readout is another one.
    """
    model = dict(config.get("model") or {})
    readout = model.pop(READOUT, IDENTITY)
    if readout not in (IDENTITY, SWISH):
        raise ValueError(f"`{READOUT}: {readout}` is neither {IDENTITY} nor {SWISH}")
    terms = [dict(term) for term in model.get("empirical_corrections") or []]
    scales = [term.pop(INITIAL) for term in terms if INITIAL in term]
    if "empirical_corrections" in model:
        model["empirical_corrections"] = terms
    scale = float(scales[0]) if scales else APAX_SCALE
    return {**config, "model": model}, readout, scale


def switched(builder: type[ModelBuilder], readout: str, scale: float) -> type[ModelBuilder]:
    """A builder of apax with both switches.

    Args:
        builder: apax's builder of an architecture.
        readout: `identity` or `swish`.
        scale: Prefactor that the ZBL repulsion starts from.
    """

    class Switched(builder):  # type: ignore[misc, valid-type]
        def build_scale_shift(self, scale: Any, shift: Any) -> PerElementScaleShift:
            kind = SwishScaleShift if readout == SWISH else PerElementScaleShift
            dtype = self.config["scale_shift_dtype"]
            return kind(n_species=self.n_species, scale=scale, shift=shift, dtype=dtype)

        def build_corrections(self, apply_mask: bool = True) -> list[linen.Module]:
            # apax has no key for the precision of this term either: it is that of the descriptor
            dtype = self.config["descriptor_dtype"]
            return [
                ScaledZBL(
                    r_max=term.r_max, apply_mask=apply_mask, initial_rep_scale=scale, dtype=dtype
                )
                if isinstance(term, ZBLRepulsion)
                else term
                for term in super().build_corrections(apply_mask)
            ]

    return Switched


def prefactor(term: Mapping[str, Any]) -> float:
    """The prefactor of a repulsion from its parameters: softplus(rep_scale)."""
    return float(jax.nn.softplus(jnp.asarray(term["rep_scale"], jnp.float64))[0])


def coefficients(term: Mapping[str, Any]) -> list[float]:
    """The four coefficients of the screening function, whose sum is 0.99902 at the start."""
    raw = jnp.asarray(term["coefficients"], jnp.float64)
    return [float(one) for one in jax.nn.softplus(raw).ravel()]
