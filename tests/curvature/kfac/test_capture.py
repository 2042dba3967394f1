"""What layers read in a forward pass; layers whose calls do not tell their gradient are told."""

import pytest
import torch
from torch import nn

import igsref
from igsref.curvature.kfac.capture import capture
from igsref.curvature.kfac.layers import kronecker_layers
from tests.curvature.kfac.cases import KRONECKER, problem_of
from tests.strategies import classes, fill_, gaussian


class Layers(nn.Module):
    """Two layers; ``forward`` is given."""

    def __init__(self, forward):
        super().__init__()
        self.first, self.head, self.how = nn.Linear(3, 4), nn.Linear(4, 3), forward

    def forward(self, x):
        return self.how(self, x)


def penalised(model, x):
    return model.head(model.first(x)) * model.first.weight.norm()


def functional(model, x):
    return model.head(nn.functional.linear(x, model.first.weight, model.first.bias))


def partly_functional(model, x):
    return model.head(model.first(x) + nn.functional.linear(x, model.first.weight).tanh())


def tokens_first(model, x):
    """(tokens, samples, entries) inside, and as many tokens as samples."""
    return model.head(model.first(x.transpose(0, 1)).tanh().mean(dim=0))


def by_keyword(model, x):
    return model.head(model.first(input=x))


def detached(model, x):
    with torch.no_grad():
        model.first(x)
    return model.head(nn.functional.linear(x, model.first.weight))


UNTOLD = {
    "weights read elsewhere": (penalised, (3,)),
    "weights read elsewhere alone": (functional, (3,)),
    "some weights read elsewhere": (partly_functional, (3,)),
    "samples on the second axis": (tokens_first, (6, 3)),
    "called by keyword": (by_keyword, (3,)),
    "called without gradient": (detached, (3,)),
}


def told(problem):
    """The names of layers that are faithful."""
    layers = kronecker_layers(problem.function)
    found = capture(problem, layers)
    cotangents = gaussian(9, problem.pool_size, 1, problem.num_classes)
    faithful = found.faithful(cotangents[:, 0], found.derivatives(cotangents))
    return [name for layer in faithful for name in layer.names]


def layers_problem(forward, shape):
    model = fill_(Layers(forward).double(), 1)
    return igsref.as_problem(model, (gaussian(2, 6, *shape), classes(3, 6, 3)))


@pytest.mark.parametrize(("forward", "shape"), UNTOLD.values(), ids=UNTOLD)
def test_a_layer_whose_calls_do_not_tell_its_gradient_is_left_out(forward, shape):
    assert told(layers_problem(forward, shape)) == ["head.weight", "head.bias"]


def test_a_hook_of_the_user_that_changes_the_output_is_seen():
    model = fill_(Layers(lambda model, x: model.head(model.first(x).tanh())).double(), 1)
    model.first.register_forward_hook(lambda module, args, y: y * y)
    problem = igsref.as_problem(model, (gaussian(2, 6, 3), classes(3, 6, 3)))
    assert told(problem) == ["head.weight", "head.bias"]


def test_a_layer_that_is_not_called_has_the_gradient_0_that_it_tells():
    problem = layers_problem(lambda model, x: x * model.head.weight.sum(), (3,))
    assert told(problem) == ["first.weight", "first.bias"]


@pytest.mark.parametrize("name", KRONECKER)
def test_layers_of_all_kinds_are_told(name):
    problem = problem_of(name)
    layers = kronecker_layers(problem.function)
    assert told(problem) == [name for layer in layers for name in layer.names]


def test_logits_that_do_not_depend_on_the_layers_have_derivatives_of_0():
    problem = layers_problem(lambda model, x: model.head(model.first(x)).detach() + x, (3,))
    found = capture(problem, kronecker_layers(problem.function))
    cotangents = torch.ones(6, 2, 3).double()
    for derivative in found.derivatives(cotangents).values():
        assert derivative.shape[:2] == (6, 2)
        assert not derivative.any()


def test_no_hook_stays_behind():
    problem = problem_of("MLP")
    capture(problem, kronecker_layers(problem.function))
    assert not any(module._forward_hooks for module in problem.function.module.modules())
