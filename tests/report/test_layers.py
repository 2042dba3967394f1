"""Bounds of layers are those of exact_igs with a pattern of their names, and below the IGS."""

import pytest
import torch
from torch import nn

import igsref
from igsref.report.layers import layer_bounds, layers_of
from tests.report.networks import images


def test_bounds_are_the_lower_ends_of_the_layers_alone_and_of_all_others():
    model, data = images()
    first, last = layer_bounds(igsref.as_problem(model, data))
    alone = igsref.exact_igs(model, data, parameters="0.*").lower
    rest = igsref.exact_igs(model, data, parameters="4.*").lower
    assert (first.name, first.num_parameters) == ("0 Conv2d", 10)
    assert (last.name, last.num_parameters) == ("4 Linear", 6)
    assert (first.alone, first.without) == (alone, rest)
    assert (last.alone, last.without) == (rest, alone)
    whole = igsref.exact_igs(model, data)
    assert 0 < max(alone, rest) <= whole.upper
    assert min(alone, rest) < 0.9 * whole.lower


def test_names_of_a_module_s_own_parameters_and_of_pairs_are_layers():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))
            self.inner = nn.Linear(4, 3)

        def forward(self, x):
            return self.scale * self.inner(x)

    data = torch.randn(2, 4), torch.tensor([0, 1])
    found = layers_of(igsref.as_problem(Own().eval(), data))
    assert found == {"scale": ["scale"], "inner Linear": ["inner.weight", "inner.bias"]}
    parameters = {"a.w": torch.randn(4, 3), "b": torch.zeros(3)}
    pair = (lambda values, x: x @ values["a.w"] + values["b"]), parameters
    assert layers_of(igsref.as_problem(pair, data)) == {"a": ["a.w"], "b": ["b"]}


def test_a_single_layer_has_none_to_leave():
    data = torch.randn(2, 4), torch.tensor([0, 1])
    problem = igsref.as_problem(nn.Sequential(nn.Linear(4, 3)), data)
    (only,) = layer_bounds(problem)
    assert only.without is None
    assert only.alone == igsref.exact_igs(problem).lower


def test_a_budget_is_kept():
    model, data = images()
    with pytest.raises(MemoryError, match="10 parameters"):
        layer_bounds(igsref.as_problem(model, data), memory=1000)
