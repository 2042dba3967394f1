"""Where a metric's own data come from."""

import pytest
import torch
from torch import nn

import igsref
from igsref.measures.curvature_data import fisher_curvature, labelled_curvature
from tests.strategies import architecture, classes, gaussian


class Sum(nn.Module):
    """Two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2).double()

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.layer(a + b)


@pytest.fixture
def network():
    model, x, y = architecture("MLP with tanh", 0, 6)
    return model, (x, y), gaussian(9, 4, 3)


def test_fisher_inputs_are_those_given_and_no_others(network):
    model, data, other = network
    problem, curved = fisher_curvature(model, data, other, {})
    assert torch.equal(curved.samples.args[0], other)
    assert torch.equal(curved.logits, model(other).detach())
    assert (problem.num_samples, curved.pool_size, curved.num_samples) == (6, 4, 0)
    assert torch.equal(problem.labelled_logits, igsref.as_problem(model, data).logits)


def test_labels_of_fisher_inputs_are_left_out(network):
    model, data, other = network
    labels = classes(0, 4, 3)
    for given in ((other, labels), [(other[:1], labels[:1]), (other[1:], labels[1:])]):
        assert torch.equal(fisher_curvature(model, data, given, {})[1].samples.args[0], other)


def test_a_model_of_two_inputs_takes_pairs_of_them():
    a, b, labels = gaussian(0, 5, 3), gaussian(1, 5, 3), classes(2, 5, 2)
    for given in (((a[:3], b[:3]), labels[:3]), [((a[:3], b[:3]), labels[:3])]):
        _, curved = fisher_curvature(Sum(), ((a, b), labels), given, {})
        assert torch.equal(curved.samples.args[1], b[:3])
    # A pair of tensors is (x, labels).
    with pytest.raises(ValueError, match="curvature_data must hold the inputs of data"):
        fisher_curvature(Sum(), ((a, b), labels), (a, b), {})


def test_a_problem_beside_a_problem_is_taken_as_it_is(network):
    model, data, other = network
    problem = igsref.as_problem(model, data)
    labelled = igsref.as_problem(model, (other, classes(0, 4, 3)))
    assert fisher_curvature(problem, None, labelled, {}) == (problem, labelled)
    assert labelled_curvature(problem, labelled, problem, {}) is labelled


def test_a_problem_wants_a_problem_beside_it(network):
    model, data, other = network
    for held in (igsref.as_problem(model, data), igsref.as_geometry(model, data)):
        with pytest.raises(TypeError, match="curvature_data must be a Problem too"):
            fisher_curvature(held, None, other, {})
        with pytest.raises(TypeError, match="curvature_data must be a Problem too"):
            labelled_curvature(held, data, igsref.as_problem(model, data), {})


def test_a_problem_of_another_network_is_refused(network):
    model, data, _ = network
    other = igsref.as_problem(architecture("MLP with tanh", 1, 6)[0], data)
    part = igsref.as_problem(model, data, parameters="0.*")
    for foreign in (other, part):
        with pytest.raises(ValueError, match="of the same network"):
            fisher_curvature(model, data, foreign, {})


def test_pools_are_refused(network):
    model, data, other = network
    pool = igsref.as_problem(model, data, fisher_data=other)
    plain = igsref.as_problem(model, data)
    with pytest.raises(ValueError, match="pool of further inputs"):
        fisher_curvature(pool, None, plain, {})
    with pytest.raises(ValueError, match="pool of further inputs"):
        labelled_curvature(model, pool, plain, {})


def test_an_error_of_data_is_not_put_on_curvature_data(network):
    model, data, other = network
    with pytest.raises(ValueError, match=r"^(?!.*curvature_data)"):
        fisher_curvature(model, (data[0], data[1] + 7), other, {})
