"""Symmetries of networks, against exact ranks of rational Jacobians."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import igsref
from igsref.curvature.factor import differences
from igsref.curvature.rank_bound import rank_bound
from igsref.curvature.symmetries import (
    _held,
    count_symmetries,
    is_traced_whole,
    network_graph,
)
from tests.curvature.jets import Residual
from tests.curvature.networks import (
    Network,
    batch_norm,
    check_rank,
    frozen,
    labelled,
    perceptron,
    sequence,
    some_inputs,
    tied,
    with_constant_bias,
)
from tests.strategies import classes, fill_, gaussian, mlp

Leaky, Soft, Linear, Flatten = nn.LeakyReLU, nn.Softsign, nn.Linear, nn.Flatten
NETWORKS = {
    "perceptron": Network(lambda: perceptron(2, 3, 3), (2,), 3 + 3 + 1),
    "ReLU": Network(lambda: perceptron(2, 3, 3, between=nn.ReLU), (2,), 3 + 3 + 1),
    "without biases": Network(lambda: perceptron(3, 3, 3, bias=False), (3,), 3 + 3),
    "deeper": Network(lambda: perceptron(3, 3, 2, 3), (3,), 3 + 2 + 2 + 1),
    "one unit a layer": Network(lambda: perceptron(1, 1, 2), (1,), 1 + 1 + 1),
    "two classes": Network(lambda: perceptron(2, 3, 2), (2,), 3 + 3 + 1),
    "gaussian": Network(lambda: perceptron(2, 3, 2), (2,), 3, likelihood="gaussian"),
    "bernoulli": Network(lambda: perceptron(2, 3, 1), (2,), 3, likelihood="bernoulli"),
    "one layer": Network(lambda: perceptron(3, 4), (3,), 3 + 1),
    "one layer, gaussian": Network(lambda: perceptron(3, 2), (3,), 0, likelihood="gaussian"),
    "identities": Network(
        sequence(Linear(2, 3), nn.Dropout(0), Leaky(), Linear(3, 3), nn.Identity()), (2,), 3 + 3 + 1
    ),
    # Not homogeneous.
    "softsign": Network(lambda: perceptron(2, 3, 3, between=Soft), (2,), 3 + 1),
    "first layer homogeneous": Network(
        sequence(*perceptron(2, 3, 2), Soft(), Linear(2, 3)), (2,), 3 + 2 + 1
    ),
    "second layer homogeneous": Network(
        sequence(Linear(2, 2), Soft(), *perceptron(2, 3, 2)), (2,), 3 + 3 + 1
    ),
    "bent logits": Network(sequence(*perceptron(2, 3, 3), Soft()), (2,), 3),
    # Parameters left out, or used twice.
    "weights": Network(lambda: perceptron(2, 3, 3), (2,), 3, parameters="*weight"),
    "biases": Network(lambda: perceptron(2, 3, 3), (2,), 1, parameters="*bias"),
    "last layer": Network(lambda: perceptron(2, 3, 3), (2,), 3 + 1, parameters="2.*"),
    "first layer": Network(lambda: perceptron(2, 3, 3), (2,), 0, parameters="0.*"),
    "first bias frozen": Network(lambda: frozen(perceptron(2, 3, 3), "0.bias"), (2,), 3 + 1),
    "last bias frozen": Network(lambda: frozen(perceptron(2, 3, 3), "2.bias"), (2,), 3 + 3),
    "first bias no parameter": Network(with_constant_bias, (2,), 3 + 1),
    "tied weights": Network(lambda: tied("weight"), (2,), 2 + 1, more=1),
    # Both layers' units by one number each.
    "tied biases": Network(lambda: tied("bias"), (2,), 2 + 2 + 1),
    "tied layers": Network(lambda: tied("weight", "bias", between=Soft), (2,), 2 + 1),
    # Channels.
    "convolutions": Network(
        sequence(nn.Conv1d(1, 2, 2), Leaky(), nn.Conv1d(2, 2, 2), Leaky(), Flatten(), Linear(6, 3)),
        (1, 5),
        2 + 2 + 6 + 1,
    ),
    "grouped convolution": Network(
        sequence(
            *(nn.Conv1d(1, 4, 2), Leaky(), nn.Conv1d(4, 2, 2, groups=2)),
            *(Leaky(), Flatten(), Linear(6, 3)),
        ),
        (1, 5),
        4 + 2 + 6 + 1,
    ),
    "pools": Network(
        sequence(
            *(nn.Conv2d(1, 2, 2), nn.MaxPool2d(2), Leaky(), nn.Conv2d(2, 2, 1, bias=False)),
            *(Leaky(), nn.AvgPool2d(2), Flatten(), Linear(2, 3)),
        ),
        (1, 5, 5),
        2 + 2 + 2 + 1,
    ),
    "units spread over the last axis": Network(
        sequence(Linear(2, 2), Leaky(), Flatten(), Linear(4, 3)), (2, 2), 2 + 4 + 1
    ),
    # Units that do not arrive as units.
    "linear across positions": Network(
        sequence(nn.Conv1d(1, 2, 2), Leaky(), Linear(4, 2), Leaky(), Flatten(), Linear(4, 3)),
        (1, 5),
        2 + 4 + 1,
        more=1,
    ),
    "positions flattened": Network(
        sequence(
            *(nn.Conv2d(1, 2, 2), Leaky(), Flatten(2), Linear(4, 2)),
            *(Leaky(), Flatten(), Linear(4, 3)),
        ),
        (1, 3, 3),
        2 + 4 + 1,
        more=1,
    ),
    "channels flattened into another axis than the last": Network(
        sequence(
            *(nn.Conv2d(1, 2, 2), Leaky(), Flatten(1, 2), Linear(2, 2)),
            *(Leaky(), Flatten(), Linear(8, 3)),
        ),
        (1, 3, 3),
        2 + 8 + 1,
        more=1,
    ),
    "convolution across units": Network(
        sequence(Linear(3, 3), Leaky(), nn.Conv1d(1, 2, 2), Leaky(), Flatten(), Linear(4, 3)),
        (1, 3),
        2 + 4 + 1,
        more=1,
    ),
    "pool across units": Network(
        sequence(Linear(2, 4), Leaky(), nn.MaxPool1d(2), Flatten(), Linear(4, 3)),
        (2, 2),
        4 + 1,
        more=2,
    ),
    "pool across channels": Network(
        sequence(nn.Conv1d(1, 2, 2), Leaky(), nn.AvgPool2d(2), Flatten(), Linear(2, 3)),
        (1, 5),
        2 + 1,
        more=1,
    ),
    "pool across flattened channels": Network(
        sequence(nn.Conv1d(1, 3, 2), Leaky(), Flatten(), nn.AvgPool1d(2), Linear(4, 3)),
        (1, 4),
        4 + 1,
        more=2,
    ),
    # Normalised: what γ reads, what γ makes, and constants that β takes back; the logits' own.
    "batch norm": Network(
        sequence(Linear(2, 3), batch_norm(3), Leaky(), Linear(3, 3)), (2,), 3 + 3 + 3 + 4
    ),
    "batch norm, no bias before": Network(
        sequence(Linear(2, 3, bias=False), batch_norm(3), Leaky(), Linear(3, 3)), (2,), 3 + 3 + 4
    ),
    "batch norm, bias before frozen": Network(
        lambda: frozen(normalised(Leaky()), "0.bias"), (2,), 3 + 3 + 4
    ),
    "batch norm, β frozen": Network(lambda: frozen(normalised(Leaky()), "1.bias"), (2,), 4, more=6),
    "batch norm, γ frozen": Network(
        lambda: frozen(normalised(Leaky()), "1.weight"), (2,), 3 + 4, more=3
    ),
    "batch norm, softsign": Network(lambda: normalised(Soft()), (2,), 3 + 3 + 4),
    "batch norm without γ and β": Network(
        sequence(Linear(2, 3), batch_norm(3, affine=False), Leaky(), Linear(3, 3)), (2,), 4, more=3
    ),
    "batch norm at the end": Network(
        sequence(*perceptron(2, 3, 3), batch_norm(3)), (2,), 3 + 3 + 3, more=4
    ),
    "batch norm twice": Network(
        sequence(Linear(2, 3), batch_norm(3), batch_norm(3), Leaky(), Linear(3, 3)),
        (2,),
        3 + 3 + 3 + 3 + 3 + 4,
    ),
    "batch norms of convolutions": Network(
        sequence(
            *(nn.Conv1d(1, 2, 2, bias=False), batch_norm(2), Leaky()),
            *(nn.Conv1d(2, 2, 2), batch_norm(2), Leaky(), Flatten(), Linear(6, 3)),
        ),
        (1, 5),
        (2 + 2) + (2 + 2 + 2) + 6 + 1,
    ),
    # A channel's kernel, then its weights for all that follow.
    "depthwise convolution": Network(
        sequence(
            *(nn.Conv1d(1, 2, 2), Leaky(), nn.Conv1d(2, 2, 2, groups=2)),
            *(nn.Conv1d(2, 2, 1), Leaky(), Flatten(), Linear(6, 3)),
        ),
        (1, 5),
        2 + (2 + 2) + 2 + 6 + 1,
    ),
    # Sums.
    "residual": Network(
        sequence(
            *(Linear(2, 2), Leaky(), Residual(Linear(2, 3), Leaky(), Linear(3, 2))),
            *(Leaky(), Linear(2, 3)),
        ),
        (2,),
        2 + 3 + 2 + 1,
        spread=2,
    ),
    "residual with batch norms": Network(
        sequence(
            *(Linear(2, 2, bias=False), batch_norm(2), Soft()),
            Residual(
                *(Linear(2, 1, bias=False), batch_norm(1), Leaky()),
                *(Linear(1, 2, bias=False), batch_norm(2)),
            ),
            *(Soft(), Linear(2, 3)),
        ),
        (2,),
        2 + (1 + 1 + 2) + 2 + 1,
    ),
    "residual across the input": Network(
        sequence(Residual(Linear(2, 3), Leaky(), Linear(3, 2)), Leaky(), Linear(2, 3)),
        (2,),
        3 + 2 + 1,
    ),
}


def normalised(activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(Linear(2, 3), batch_norm(3), activation, Linear(3, 3))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_has_its_symmetries_and_no_others(name):
    network = NETWORKS[name]
    check_rank(network, network.spread * some_inputs(40, *network.shape))


def clear_rank(matrix: Tensor) -> int:
    """Rank in float64, of a matrix whose spectrum leaves no doubt."""
    sizes = torch.linalg.svdvals(matrix / matrix.norm(dim=0).clamp_min(1e-300))
    rank = int((sizes > 1e-10 * sizes[0]).sum())
    assert sizes[rank:].sum() < 1e-13 * sizes[0]
    return rank


@pytest.mark.parametrize("activation", [nn.Tanh, nn.GELU, nn.SiLU, nn.ELU, nn.Sigmoid])
@pytest.mark.parametrize("likelihood, null", [("categorical", 3 + 1), ("gaussian", 0)])
def test_smooth_networks_attain_their_bound(activation, likelihood, null):
    model = mlp(3, [2, 3, 2], activation)
    x, y = gaussian(1, 60, 2), labelled(2, 60, 2, likelihood)
    problem = igsref.as_problem(model, (x, y), likelihood=likelihood)
    assert rank_bound(problem).value == 17 - null
    assert clear_rank(differences(problem)) == 17 - null


@pytest.mark.parametrize("middle", [nn.ReLU6(), nn.Softmax(dim=1), nn.Hardtanh(), nn.ELU()])
def test_layers_that_are_not_homogeneous_free_no_units(middle):
    model = fill_(nn.Sequential(nn.Linear(2, 3), middle, nn.Linear(3, 3)).double(), 1)
    problem = igsref.as_problem(model, (gaussian(1, 60, 2), classes(2, 60, 3)))
    assert rank_bound(problem).value == problem.num_parameters - 4
    assert clear_rank(differences(problem)) <= problem.num_parameters - 4


L, Norm = nn.Linear, nn.LayerNorm
MIXED = {
    # Means over channels take away rows and constants; γ and β make channels.
    "layer norm": ([L(2, 3), Norm(3), nn.LeakyReLU()], (2 + 1) + 3),
    "layer norm, softsign": ([L(2, 3), Norm(3), nn.Softsign()], 2 + 1),
    "layer norm, no bias": ([L(2, 3, bias=False), Norm(3), nn.Softsign()], 2),
    "layer norm without γ and β": (
        [L(2, 3), Norm(3, elementwise_affine=False), nn.LeakyReLU(), L(3, 3), nn.Softsign()], 2 + 1
    ),
    "layer norm first": ([Norm(2), L(2, 3), nn.Softsign()], 2 + 2),
    "group norm": ([L(2, 4), nn.GroupNorm(2, 4), nn.Softsign(), L(4, 3), nn.Softsign()], 2),
    "group norm, leaky": ([L(2, 4), nn.GroupNorm(2, 4), nn.LeakyReLU(), L(4, 3)], 2 + 4 + (3 + 3)),
}  # fmt: skip
"""Name → layers before the last, and what k they add."""


def problem_of(layers: list[nn.Module], shape: tuple[int, ...], features: int) -> igsref.Problem:
    model = fill_(nn.Sequential(*layers, nn.Linear(features, 3)).double(), 1)
    return igsref.as_problem(model, (gaussian(1, 200, *shape), classes(2, 200, 3)))


@pytest.mark.parametrize("name", MIXED)
def test_norms_of_each_sample_take_means_away(name):
    layers, k = MIXED[name]
    problem = problem_of(layers, (2,), 3)
    assert rank_bound(problem).value == problem.num_parameters - k - 4
    assert clear_rank(differences(problem)) <= problem.num_parameters - k - 4


@pytest.mark.parametrize(
    ("padding", "mode", "length", "k"),
    [(0, "zeros", 3, 1 + 1), (1, "zeros", 5, 1), (1, "replicate", 5, 1 + 1)],
)
def test_a_constant_passes_a_convolution_unless_zeros_are_around_the_maps(padding, mode, length, k):
    second = nn.Conv1d(1, 2, 2, padding=padding, padding_mode=mode)
    layers = [nn.Conv1d(1, 1, 2), second, nn.Softsign(), nn.Flatten()]
    problem = problem_of(layers, (1, 5), 2 * length)
    expected = problem.num_parameters - k - (2 * length + 1)
    assert rank_bound(problem).value == expected == clear_rank(differences(problem))


class Net(nn.Module):
    """A perceptron in the way that users write them, with a part that does something else."""

    def __init__(self, way: str = "plain") -> None:
        super().__init__()
        self.way = way
        self.one, self.two, self.head = nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor, gain: float | None = None) -> Tensor:
        x = torch.relu(self.one(x))
        if self.way == "without gradients":
            with torch.no_grad():
                x = torch.relu(self.two(x))
            return self.head(x)
        if self.way == "detached":
            x = x.detach()
        x = torch.relu(self.two(x))
        if gain is not None:
            x = torch.tanh(gain * x)
        if self.way == "decided by values" and bool((x > 1e9).any()):
            return -self.head(x)
        return self.head(x)


def bound_of(model: nn.Module, **options) -> int:
    x = gaussian(1, 60, 2)
    x = {"x": x, **options} if options else x
    data = {**x, "labels": classes(2, 60, 3)} if options else (x, classes(2, 60, 3))
    problem = igsref.as_problem(fill_(model.double(), 1), data)
    rank = clear_rank(differences(problem))
    assert rank <= rank_bound(problem).value
    return problem.num_parameters - rank_bound(problem).value


def test_models_that_are_no_sequences_have_their_symmetries():
    assert bound_of(Net()) == 3 + 3 + 4


def test_calls_without_gradients_tie_nothing():
    # All that D knows of these are the layers behind.
    assert bound_of(Net("without gradients")) == 3 + 1
    assert bound_of(Net("detached")) == 3 + 4


@pytest.mark.filterwarnings("ignore:model cannot be vmapped")
def test_nothing_is_known_of_a_model_that_decides_by_values():
    assert bound_of(Net("decided by values")) == 0


def test_nothing_is_known_where_an_optional_argument_is_given():
    assert bound_of(Net(), gain=torch.ones(60, 1)) == 0


def test_nothing_is_known_where_hooks_change_gradients():
    model = Net()
    model.two.register_full_backward_hook(lambda module, given, made: None)
    data = gaussian(1, 60, 2), classes(2, 60, 3)
    assert network_graph(igsref.as_problem(model.double(), data)) is None


def test_picked_logits_may_be_anything():
    data = gaussian(1, 60, 2), classes(2, 60, 3)
    problem = igsref.as_problem(Net().double(), data, logits=lambda out: out * out)
    assert rank_bound(problem).value == problem.num_parameters


def test_rows_that_autograd_leaves_out_make_no_channels():
    def words(**settings) -> int:
        model = nn.Sequential(nn.Embedding(5, 3, **settings), nn.Flatten(), nn.Linear(6, 3))
        model = fill_(model.double(), 1)
        data = torch.arange(50).reshape(25, 2) % 5, classes(2, 25, 3)
        problem = igsref.as_problem(model, data)
        return problem.num_parameters - count_symmetries(problem, network_graph(problem))

    assert words() == 36 - 3 - 7
    assert words(padding_idx=0) == words(scale_grad_by_freq=True) == 36 - 7


def test_tied_channels_that_nothing_holds_count_one_less():
    # Channels 0 and 1 are tied, 2 is held by "nothing", the fourth; 3 is left alone.
    edges = [np.array([[0, 1]]), np.array([[2, 4]])]
    assert _held(edges, 4) == 4 - 2
    assert _held([], 3) == _held([], 0) == 0


class Reversed(torch.autograd.Function):
    """The identity, with another gradient."""

    @staticmethod
    def forward(ctx, x):
        return x

    @staticmethod
    def backward(ctx, grad):
        return -2 * grad


class Pair(nn.Module):
    """Two layers and a head, in a way that the trace does not show or that it takes amiss."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.one, self.two, self.head = nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.one(x))
        match self.way:
            case "asks for a type":
                again = torch.tanh(h) if isinstance(h, Tensor) else h
            case "finds parameters by name":
                again = h + x @ dict(self.named_parameters())["one.weight"].t()
            case "has its own gradient":
                again = Reversed.apply(h)
            case "under no_grad":
                with torch.no_grad():
                    again = h.clone()
        return self.head(torch.sin(self.two(h)) + torch.tanh(self.two(again)))


@pytest.mark.parametrize(
    "way", ["asks for a type", "finds parameters by name", "has its own gradient"]
)
def test_nothing_is_known_of_what_a_trace_does_not_show(way):
    data = gaussian(1, 60, 2), classes(2, 60, 3)
    problem = igsref.as_problem(fill_(Pair(way).double(), 1), data)
    assert rank_bound(problem).value == problem.num_parameters
    traced = network_graph(problem)
    assert traced is None or not is_traced_whole(problem)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_caller_s_mode_hides_no_call_without_gradients(mode):
    with mode():
        assert bound_of(Pair("under no_grad")) == 3 + 1


def test_nothing_is_known_of_a_module_that_is_called_another_way():
    class Bent(Net):
        def __call__(self, *args, **kwargs):
            return super().__call__(*args, **kwargs).tanh()

    assert bound_of(Bent()) == 0


def test_nothing_is_known_where_hooks_are_on_all_modules():
    data = gaussian(1, 60, 2), classes(2, 60, 3)
    problem = igsref.as_problem(Net().double(), data)
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert network_graph(problem) is None
    finally:
        handle.remove()
    assert network_graph(problem) is not None


def test_sizes_are_those_of_tensors_and_not_of_attributes():
    model = nn.Sequential(nn.Linear(2, 9), nn.ReLU(), nn.Linear(9, 3))
    for name in ("weight", "bias"):
        setattr(model[0], name, nn.Parameter(getattr(model[0], name)[:4].clone()))
    model[2].weight = nn.Parameter(model[2].weight[:, :4].clone())
    assert bound_of(model) == 0
    shared = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))
    shared[0].bias = nn.Parameter(torch.ones(1))
    assert bound_of(shared) == 4 + 1
    claimed = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3))
    claimed[2].in_features = 9
    assert bound_of(claimed) == 0


def test_log_softmax_keeps_the_shifts_of_the_logits():
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 3), nn.LogSoftmax(dim=1))
    assert bound_of(model) == 3 + 1


def test_parameters_at_zero_are_not_taken_for_numbers():
    model = Pair("finds parameters by name").double()
    fill_(model, 1).one.weight.data.zero_()
    data = gaussian(1, 60, 2), classes(2, 60, 3)
    assert not is_traced_whole(igsref.as_problem(model, data))
