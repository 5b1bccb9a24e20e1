"""What a network is asked in its own process, and the control of scrambled parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pesbench.core.interface import Batch, NodeFeatures, NotDescribedError, molecules_batch
from pesbench.models.untrained import is_scrambled, scramble
from pesbench.tasks.spectral import asked

IRREPS = ((3, 0), (2, 1), (1, 0))


class Adapter:
    """Features that are linear in the positions, by a network of torch."""

    def __init__(self, irreps: Any = IRREPS) -> None:
        torch.manual_seed(0)
        self.irreps = irreps
        self.network = torch.nn.Sequential(torch.nn.Linear(3, 10, dtype=torch.float64))
        self.network.register_parameter("size", torch.nn.Parameter(torch.tensor(2.0)))

    def describe(self, batch: Batch) -> dict[str, NodeFeatures]:
        values = self.network(torch.as_tensor(batch.positions)).detach().numpy()
        return {"one": NodeFeatures(self.irreps, values)}


@pytest.fixture
def batch() -> Batch:
    rng = np.random.default_rng(0)
    frames = [rng.normal(size=(4, 3)) for _ in range(5)]
    return molecules_batch(frames, [np.array([6, 8, 1, 1])] * 5, [0] * 5, [1] * 5)


def test_an_answer_holds_the_atom_of_each_frame_and_the_sums_of_scalars(batch: Batch) -> None:
    values = Adapter().describe(batch)["one"].values
    told = asked.features(Adapter(), batch, ["one"], 2)["one"]
    np.testing.assert_allclose(asked.unpacked(told["of"]), values[2::4], rtol=1e-6)
    scalars = values[:, [0, 1, 2, 9]].reshape(5, 4, 4)
    np.testing.assert_allclose(asked.unpacked(told["sums"]), scalars.sum(axis=1), rtol=1e-5)


def test_scrambled_parameters_are_another_network_of_the_same_sizes(batch: Batch) -> None:
    model, same, other = Adapter(), Adapter(), Adapter()
    before = {name: one.detach().clone() for name, one in model.network.named_parameters()}
    assert not is_scrambled(model)
    for one, name in ((model, "a"), (same, "a"), (other, "b")):
        scramble(one, name)
        scramble(one, name)
        assert is_scrambled(one)
    for name, parameter in model.network.named_parameters():
        assert torch.equal(parameter.flatten().sort().values, before[name].flatten().sort().values)
    assert model.network.size == 2.0
    weights = [one.network[0].weight for one in (model, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], before["0.weight"])
    with pytest.raises(RuntimeError, match="has been scrambled"):
        asked.features(model, batch, ["one"], 0)
    found = asked.features(Adapter(), batch, ["one"], 0, "a")
    np.testing.assert_allclose(
        asked.unpacked(found["one"]["of"]), model.describe(batch)["one"].values[::4], rtol=1e-6
    )


def test_a_model_without_such_features_says_why(batch: Batch) -> None:
    class Method:
        """A method of quantum chemistry."""

    told = asked.layers(Method(), batch)
    assert told == {asked.WHY: "its family gives no features of atoms with their irreps"}
    told = asked.layers(Adapter(None), batch)
    assert told == {asked.WHY: "it is not equivariant, and its features have no irreps"}
    assert asked.layers(Adapter(), batch) == {"layers": {"one": [[3, 0], [2, 1], [1, 0]]}}
    with pytest.raises(NotDescribedError, match="no torch network"):
        scramble(Method(), "a")
