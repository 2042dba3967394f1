"""Where a metric's own data come from."""

import copy

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


def changed(model, edit):
    other = copy.deepcopy(model)
    with torch.no_grad():
        edit(other)
    return other


def refused_by_both(problem, foreign, match):
    with pytest.raises(ValueError, match=match):
        fisher_curvature(problem, None, foreign, {})
    with pytest.raises(ValueError, match=match):
        labelled_curvature(problem, foreign, problem, {})


def test_a_problem_with_another_frozen_layer_is_refused(network):
    model, data, _ = network
    other = changed(model, lambda net: net[0].bias[0].add_(2.0**-30))
    options = {"parameters": "2.*"}
    problem, same, foreign = (
        igsref.as_problem(net, data, **options) for net in (model, copy.deepcopy(model), other)
    )
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            problem.function.parameters.values(), foreign.function.parameters.values(), strict=True
        )
    )
    refused_by_both(problem, foreign, r"held constant: 0\.bias has other values")
    assert fisher_curvature(problem, None, same, {}) == (problem, same)


def test_a_problem_with_another_buffer_is_refused():
    model, x, y = architecture("batch norm", 0, 6)
    name = next(name for name, _ in model.named_buffers() if name.endswith("running_var"))
    other = changed(model, lambda net: net.get_buffer(name).mul_(2))
    problem, foreign = (igsref.as_problem(net, (x, y)) for net in (model, other))
    refused_by_both(problem, foreign, f"held constant: {name} has other values")


def test_a_problem_with_another_activation_is_refused_at_the_same_parameters(network):
    model, data, _ = network
    other = copy.deepcopy(model)
    other[1] = nn.ReLU()
    problem, foreign = (igsref.as_problem(net, data) for net in (model, other))
    difference = float((problem.logits - foreign.logits).abs().max())
    refused_by_both(problem, foreign, f"the logits .* by up to {difference:.3g}")


def test_small_logits_do_not_hide_another_activation(network):
    model, data, _ = network

    def shrink(net):
        for value in net[-1].parameters():
            value.mul_(2.0**-40)

    small = changed(model, shrink)
    other = copy.deepcopy(small)
    other[1] = nn.ReLU()
    problem, foreign = (igsref.as_problem(net, data) for net in (small, other))
    refused_by_both(problem, foreign, "the logits on curvature_data, by up to")


def test_a_problem_with_other_logits_of_the_output_is_refused(network):
    model, (x, y), _ = network
    problem = igsref.as_problem(model, (x, y))
    foreign = igsref.as_problem(model, (x, y % 2), logits=lambda output: output[:, :2])
    refused_by_both(problem, foreign, r"shape \(6, 2\), of data's network \(6, 3\)")


def test_a_problem_with_another_likelihood_is_refused(network):
    model, (x, _), _ = network
    targets = torch.eye(3).double()[classes(3, 6, 3)]
    problem, foreign = (
        igsref.as_problem(model, (x, targets), likelihood=name)
        for name in ("categorical", "gaussian")
    )
    refused_by_both(problem, foreign, r"the likelihood: Gaussian\(.*data's Categorical")


def test_a_problem_in_another_precision_is_refused(network):
    model, data, _ = network
    model = changed(model, lambda net: [value.fill_(0.5) for value in net.parameters()])
    problem = igsref.as_problem(model, data)
    single = problem.astype(torch.float32)
    # float32 holds these parameters; torch.equal looks at their values alone.
    refused_by_both(problem, single, r"θ: 0\.weight has another dtype or device")


def test_a_problem_whose_inputs_the_network_does_not_take_is_refused():
    theta = {"a": torch.ones(3, 2).double()}
    x, y = gaussian(0, 4, 3), classes(1, 4, 2)
    problem = igsref.as_problem((lambda theta, x: x @ theta["a"], theta), (x, y))
    foreign = igsref.as_problem(
        (lambda theta, x: x[:, :3] @ theta["a"], theta), (gaussian(2, 4, 5), y)
    )
    refused_by_both(problem, foreign, "the inputs that they take: .*could not be evaluated")


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
