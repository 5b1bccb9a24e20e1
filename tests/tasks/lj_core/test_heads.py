"""Heads and their training: closed forms, seeds, resume."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="heads are trained with torch")

from pesbench.core.errors import UserError  # noqa: E402
from pesbench.tasks.lj_core import designs, potential  # noqa: E402
from pesbench.tasks.lj_core.designs import (  # noqa: E402
    Design,
    Schedule,
    main_designs,
    part_of,
    parts,
)
from pesbench.tasks.lj_core.head_training import (  # noqa: E402
    CHECKPOINT,
    HeadTraining,
    distances,
    losses,
)
from pesbench.tasks.lj_core.heads import Heads, latent  # noqa: E402

SHORT = Schedule(steps=6, batch=16, chunk=2)
EVERY = [
    *main_designs().values(),
    *(Design(designs.RATIONAL, "tanh", 3, t, "epsilon") for t in designs.TRANSFORMS),
]


def _state(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def _equal(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("design", EVERY, ids=lambda one: one.name)
def test_a_slope_is_that_of_the_energy_and_has_gradients(design):
    network = Heads(design, [1, 2], width=8)
    r, h = torch.linspace(0.3, 2.5, 7, dtype=torch.float64).repeat(2, 1), 1e-6
    energy, slope = network.with_slope(r)
    assert energy.dtype == torch.float64
    assert energy.shape == slope.shape == (2, 7)
    expected = (network(r + h) - network(r - h)) / (2 * h)
    assert torch.allclose(slope, expected, rtol=1e-5, atol=1e-6)
    slope.sum().backward()  # what the second term of the loss needs
    assert all(torch.isfinite(one.grad).all() for one in network.weights)


def test_the_rational_head_is_its_quotient():
    network = Heads(main_designs()[designs.RATIONAL], [1], width=8)
    with torch.no_grad():  # a backbone of −∞ leaves z = x
        network.weights[-1].zero_()
        network.biases[-1].fill_(-1e3)
        network.coefficients[0] = torch.tensor([2.0, 0, 0, 1.0, 1.0, 0.5])
    x = np.array([0.5, 1.0, 4.0])
    leading = math.log1p(math.e) + 0.1
    expected = (2 + leading * x**3) / (np.log1p(np.exp(1 + 0.5 * x)) + 1e-4)
    found = network(torch.tensor(0.95 / x)[None]).detach().numpy()[0]
    assert found == pytest.approx(expected, rel=1e-12)


def test_the_latents_are_as_they_are_called():
    value, x = torch.tensor([-2.0, 3.0]), torch.tensor([1.0, 1.0])
    assert latent("none", value, x).tolist() == [-2, 3]
    assert latent("abs", value, x).tolist() == [2, 3]
    positive = latent("softplus", value, x)
    assert positive.min() > 0
    assert torch.equal(latent("u_plus_softplus", value, x), x + positive)


def test_a_head_that_is_given_the_exponent_can_be_the_wall():
    network = Heads(main_designs()[designs.POWER], [1], width=8)
    with torch.no_grad():
        network.weights[-1].zero_()
        network.biases[-1].zero_()
        network.power.fill_(1 / 0.95**12)
    r = potential.core_grid()
    found = network(torch.tensor(r)[None]).detach().numpy()[0]
    assert found == pytest.approx(80 / r**12)


def test_a_bounded_head_has_a_lower_bound():
    network = Heads(main_designs()[designs.BOUNDED], [1], width=8)
    with torch.no_grad():
        network.weights[-1].mul_(100)
    r = torch.linspace(0.2, 3, 500, dtype=torch.float64)[None]
    assert float(network(r).detach().min()) >= -0.2785 * potential.EPSILON


def test_the_schedule_can_take_each_scalar_to_where_it_has_to_be():
    """A step of Adam moves a scalar by about its rate: by 4 in a main row."""
    schedule = Schedule()
    reach = schedule.steps * schedule.learning_rate
    assert reach == 4
    power = Heads(main_designs()[designs.POWER], [1], width=8).power
    assert abs(1 / 0.95**12 - power.item()) < reach / 2
    bounded = Heads(main_designs()[designs.BOUNDED], [1], width=8)
    # the floor has to come down to the well, -ε
    factor = (bounded.shift.item() + 1) / 0.2785
    assert abs(factor - bounded.factor.item()) < reach


def test_a_seed_is_the_same_alone_and_among_others(tmp_path):
    design = Design(designs.MLP, "silu")
    several = HeadTraining(design, [1, 2, 3], SHORT, tmp_path / "several").run()
    alone = HeadTraining(design, [2], SHORT, tmp_path / "alone").run()
    for name, value in several.state_dict().items():
        assert torch.allclose(value[1], alone.state_dict()[name][0], rtol=1e-9, atol=1e-11)
    assert not torch.allclose(several.weights[0][0], several.weights[0][1])


def test_a_killed_training_ends_as_an_undisturbed_one(tmp_path):
    design = main_designs()[designs.RATIONAL]
    whole = HeadTraining(design, [1, 2], SHORT, tmp_path / "whole")
    expected = _state(whole.run())

    class Killed(HeadTraining):
        def _save(self):
            super()._save()
            if self.done == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Killed(design, [1, 2], SHORT, tmp_path / "killed").run()
    again = HeadTraining(design, [1, 2], SHORT, tmp_path / "killed")
    assert again.done == 2
    _equal(_state(again.run()), expected)
    assert again.last == whole.last


def test_another_training_in_the_folder_is_refused(tmp_path):
    design = Design(designs.MLP, "relu")
    HeadTraining(design, [1], SHORT, tmp_path).run()
    with pytest.raises(UserError, match="a training of other settings"):
        HeadTraining(design, [2], SHORT, tmp_path)


@pytest.mark.parametrize(
    "spoilt",
    [{"done": 10**6}, {"done": -3}, {"last": []}, {"last": ["x"]}, {"network": {}}, {"threads": 0}],
)
def test_a_checkpoint_from_elsewhere_is_taken_or_refused_in_one_line(tmp_path, spoilt):
    design, place = Design(designs.MLP, "relu"), tmp_path / CHECKPOINT
    HeadTraining(design, [1], SHORT, tmp_path).run()
    torch.save(torch.load(place, weights_only=True) | spoilt, place)
    with pytest.raises(UserError, match="remove its folder to start anew") as error:
        HeadTraining(design, [1], SHORT, tmp_path)
    assert "\n" not in str(error.value)


def test_a_checkpoint_that_is_none_or_holds_code_is_refused(tmp_path):
    design, place = Design(designs.MLP, "relu"), tmp_path / CHECKPOINT
    for content in (b"no checkpoint", b""):
        place.write_bytes(content)
        with pytest.raises(UserError, match="no checkpoint of a training"):
            HeadTraining(design, [1], SHORT, tmp_path)
    torch.save({"wanted": Schedule()}, place)  # an object, which is not unpickled
    with pytest.raises(UserError, match="no checkpoint of a training"):
        HeadTraining(design, [1], SHORT, tmp_path)


def test_a_seed_that_diverges_leaves_the_others_alone(tmp_path):
    design = Design(designs.MLP, "relu")
    expected = HeadTraining(design, [1, 2], SHORT, tmp_path / "one").run()
    training = HeadTraining(design, [1, 2], SHORT, tmp_path / "two")
    with torch.no_grad():
        training.network.weights[0][0] = math.nan
    found = training.run()
    assert torch.equal(found.weights[1][1], expected.weights[1][1])
    assert math.isnan(training.last[0])
    assert math.isfinite(training.last[1])


def test_distances_are_where_they_should_be():
    uniform, biased = (
        distances(Design(designs.MLP, "relu", sampling=one), 1, 0, (50, 200))
        for one in designs.SAMPLINGS
    )
    for one in (uniform, biased):
        assert one.min() >= potential.TRAINED_FROM
        assert one.max() <= potential.TRAINED_TO
    # means of U and of U³
    assert float(uniform.mean()) == pytest.approx(0.95 + 2.05 / 2, abs=0.03)
    assert float(biased.mean()) == pytest.approx(0.95 + 2.05 / 4, abs=0.03)


def test_the_loss_has_the_value_of_its_two_terms():
    class Flat:
        def with_slope(self, r):
            return 0 * r, 0 * r

    r = torch.tensor([[1.0, 2 ** (1 / 6)]], dtype=torch.float64)
    # V(1) = 0 and V'(1) = −24ε; V = −ε at the minimum
    expected = (20**2) / 2 + math.log(1 + 480) ** 2 / 2
    assert float(losses(Flat(), r)[0]) == pytest.approx(expected, rel=1e-9)


def test_the_parts_hold_every_design_once():
    grid = [one.name for part in parts().values() if part.seeds == 3 for one in part.designs]
    main = [one.name for part in parts().values() if part.seeds == 10 for one in part.designs]
    assert len(grid) == len(set(grid)) == 24 + 96
    assert len(main) == len(set(main)) == 5
    assert len(parts()) == 5 + 12
    assert len({*grid} & {*main}) == 2  # of both, in checkpoints of their own
    with pytest.raises(UserError, match="no part 'main-mpl'"):
        part_of("main-mpl")
