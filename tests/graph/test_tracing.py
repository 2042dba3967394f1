"""The calls that torch.fx finds."""

import random

import pytest
import torch
from torch import Tensor, nn

from igsref.graph import channel_graph
from igsref.graph.tracing import calls, is_altered, replay, trace
from igsref.transforms import hidden_widths, scalable_widths
from tests.strategies import Branching
from tests.transforms.networks import ResNet


def targets(model: nn.Module) -> list[str]:
    graph, _ = trace(model)
    return [str(node.target) for node in calls(graph) if node.op == "call_module"]


def test_layers_are_leaves_and_containers_are_seen_through():
    assert targets(ResNet())[:3] == ["stem", "blocks.0.conv1", "blocks.0.bn1"]


def test_a_single_layer_is_a_leaf_too():
    assert targets(nn.Linear(2, 3)) == ["0"]


def test_a_model_whose_calls_depend_on_values_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"cannot be traced by torch\.fx.*control flow"):
        trace(Branching())


def test_what_is_no_module_is_refused():
    with pytest.raises(TypeError, match="model"):
        trace("model")


class Optional(nn.Module):
    """A layer more where no mask is given."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x: Tensor, mask: Tensor | None = None, deep: bool = True) -> Tensor:
        x = self.first(x)
        if mask is None and deep:
            x = self.second(x)
        return x


def test_optional_arguments_stand_at_their_defaults():
    graph, _ = trace(Optional())
    assert [node.target for node in calls(graph) if node.op == "call_module"] == ["first", "second"]
    assert not [node for node in calls(graph) if node.op == "call_function"]


def test_hooks_and_parametrisations_alter_a_layer():
    plain, hooked, bounded, own = (nn.Linear(2, 2) for _ in range(4))
    hooked.register_forward_hook(lambda module, args, out: out * 2)
    nn.utils.parametrizations.weight_norm(bounded)
    own.forward = lambda x: x
    assert [is_altered(m) for m in (plain, hooked, bounded, own)] == [False, True, True, True]


class Chance(nn.Module):
    """Draws at every call of its forward."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand(()) + random.random()


class Busy(nn.Module):
    """Makes a tensor, and keeps what it sees wherever a module can."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.made, self.seen = nn.Sequential(nn.Linear(2, 2)), [], {}
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.last = self.inner.last = x
        self.made.append(x)
        self.seen["x"] = x
        return self.inner(x) * torch.tensor(2.0)


def test_tracing_leaves_the_model_as_it_was():
    model = Busy()
    before = [dict(vars(module)) for module in model.modules()]
    calls = model.calls
    graph, root = trace(model)
    assert [dict(vars(module)) for module in model.modules()] == before
    assert (model.made, model.seen) == ([], {})
    assert model.calls is calls
    assert float(calls) == 0
    (constant,) = (node.target for node in graph.nodes if node.op == "get_attr")
    assert torch.equal(getattr(root, constant), torch.tensor(2.0))
    assert root.inner is model.inner


def test_a_model_that_cannot_be_traced_is_left_as_it_was():
    model = Busy()
    model.inner = Branching()
    with pytest.raises(ValueError, match="cannot be traced"):
        trace(model)
    assert not hasattr(model, "last")
    assert model.made == []


def test_a_network_that_makes_tensors_stays_without_them_under_every_look():
    model = Busy().eval()
    names = set(vars(model))
    for look in (channel_graph, scalable_widths, hidden_widths):
        look(model)
    assert set(vars(model)) == names


def test_tracing_leaves_the_random_states_alone():
    state, python = torch.get_rng_state(), random.getstate()
    trace(Chance())
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == python


def test_a_trace_is_played_again_with_other_values():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.factor = nn.Linear(2, 2), nn.Parameter(torch.ones(2))

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) * self.factor

    model, x = Scaled(), torch.ones(3, 2)
    values = {name: 2 * value.detach() for name, value in model.named_parameters()}
    expected = torch.func.functional_call(model, values, (x,))
    assert torch.equal(replay(model, values, (x,), {}), expected)
    assert torch.equal(replay(model.layer, {}, (x,), {}), model.layer(x))


def test_a_function_with_its_own_gradient_is_not_traced():
    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x

    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Own.apply(x)

    with pytest.raises(ValueError, match=r"torch\.autograd\.Function, whose gradient may be any"):
        trace(Model())
    assert Own.apply(torch.ones(1)) == 1


def test_a_module_that_is_called_another_way_is_altered():
    class Called(nn.Linear):
        def __call__(self, *args, **kwargs):
            return super().__call__(*args, **kwargs).tanh()

    assert is_altered(Called(2, 2))
    assert not is_altered(nn.Linear(2, 2))
