"""The checksum of the parameters that were loaded, whatever they are wrapped in."""

from __future__ import annotations

import functools
import sys

import numpy as np
import pytest
import torch

from pesbench.models.parameters import NOT_VISIBLE, parameters_sha256


class Network(torch.nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = torch.nn.Linear(4, 3)
        self.second = torch.nn.Linear(3, 4)
        for parameter in self.parameters():
            values = torch.randn(parameter.shape, generator=generator)
            parameter.data = values
        self.register_buffer("numbers", torch.tensor([1, 6, 8]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x)))


class Holder:
    """An object with attributes, as calculators are."""

    def __init__(self, **attributes: object) -> None:
        vars(self).update(attributes)


class Slotted:
    __slots__ = ("empty", "network")

    def __init__(self, network: torch.nn.Module) -> None:
        self.network = network


def closure(network):
    def evaluate(x):
        return network(x)

    return evaluate


WRAPPINGS = {
    "attribute": lambda net: Holder(model=net),
    "list in a dict": lambda net: Holder(models={"a": [net]}),
    "set": lambda net: Holder(models={net}),
    "slot": Slotted,
    "closure": lambda net: Holder(call=closure(net)),
    "method": lambda net: Holder(call=net.forward),
    "partial": lambda net: Holder(call=functools.partial(closure(net), 1)),
    "module": lambda net: Holder(model=torch.nn.ModuleDict({"a": torch.nn.ModuleList([net])})),
    "hidden in a module": lambda net: (lambda outer: (setattr(outer, "held", [net]), outer)[1])(
        torch.nn.Identity()
    ),
    "TorchScript": lambda net: Holder(model=torch.jit.script(net)),
    "torch.compile": lambda net: Holder(model=torch.compile(net)),
    "compiled function": lambda net: Holder(call=torch.compile(net.forward)),
    "double": lambda net: net.double(),
    "frozen": lambda net: net.requires_grad_(requires_grad=False).eval(),
}


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS)
def test_one_network_has_one_checksum_in_whatever_it_is_wrapped(wrap):
    found = parameters_sha256(wrap(Network()))
    assert found == parameters_sha256(Network())
    assert len(found) == 64


def test_every_value_counts_and_so_do_buffers_but_not_what_is_cached():
    known = parameters_sha256(Network())
    assert parameters_sha256(Network(seed=1)) != known
    for name in ("first.weight", "second.bias", "numbers"):
        network = Network()
        dict((*network.named_parameters(), *network.named_buffers()))[name].data.flatten()[0] += 1
        assert parameters_sha256(network) != known, name
    network = Network()
    network.register_buffer("cached", torch.zeros(1), persistent=False)
    assert parameters_sha256(network) == known
    network = Network()
    network.first, network.second = network.second, network.first
    assert parameters_sha256(network) != known


def test_memory_layout_order_of_attributes_and_names_of_a_shared_parameter_do_not_count():
    network = Network()
    known = parameters_sha256(network)
    network.first.weight.data = network.first.weight.data.T.contiguous().T
    assert not network.first.weight.is_contiguous()
    assert parameters_sha256(network) == known
    modules = network._modules
    modules["second"], modules["first"] = modules.pop("second"), modules.pop("first")
    assert list(modules) == ["second", "first"]
    assert parameters_sha256(network) == known

    def tied(order):
        outer = torch.nn.Module()
        weight = torch.nn.Parameter(torch.ones(2))
        for name in order:
            outer.register_parameter(name, weight)
        return parameters_sha256(outer)

    assert tied("ab") == tied("ba")


@pytest.mark.parametrize(
    "kind", [torch.float16, torch.bfloat16, torch.complex64, torch.int32, torch.bool]
)
def test_tensors_of_every_kind(kind):
    def made(value):
        module = torch.nn.Module()
        module.register_buffer("one", torch.tensor([value, 0]).to(kind))
        module.register_buffer("none", torch.empty((0, 3), dtype=kind))
        module.register_buffer("number", torch.tensor(value).to(kind))
        return parameters_sha256(module)

    assert made(1) == made(1) != made(0)


def test_several_networks_have_one_checksum_in_any_order():
    one, other = Network(0), Network(1)
    both = parameters_sha256([one, other])
    assert both == parameters_sha256({"x": other, "y": one})
    assert both not in {parameters_sha256(one), parameters_sha256(other)}
    assert parameters_sha256([one, Network(0)]) == parameters_sha256(one)


def test_an_object_in_circles_ends():
    holder = Holder(network=Network())
    holder.again = [holder, {"x": holder}]
    assert parameters_sha256(holder) == parameters_sha256(Network())


class Rude:
    """Code that must not run."""

    @property
    def model(self):
        raise AssertionError("a property was asked")

    def __getattr__(self, name):
        raise AttributeError(name)

    def __iter__(self):
        raise AssertionError("it was iterated over")


@pytest.mark.parametrize(
    "model",
    [None, Rude(), Holder(a=np.ones(9), b=torch.ones(3), c="x"), torch.nn.ReLU(), Network, torch],
)
def test_where_there_is_no_network_nothing_is_visible(model):
    assert parameters_sha256(model) == NOT_VISIBLE


def test_a_network_that_cannot_be_read_is_not_visible_and_says_why(caplog):
    network = torch.nn.LazyLinear(3)  # its parameters have no shape yet
    assert parameters_sha256(network) == NOT_VISIBLE
    assert "cannot be read" in caplog.text


def test_torch_is_not_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    assert parameters_sha256(Holder(x=1)) == NOT_VISIBLE
    assert "torch" not in sys.modules


def test_a_search_without_an_end_is_given_up(monkeypatch, caplog):
    monkeypatch.setattr("pesbench.models.parameters.MOST_OBJECTS", 10)
    assert parameters_sha256([[k] for k in range(20)]) == NOT_VISIBLE
    assert "more than 10 objects" in caplog.text
