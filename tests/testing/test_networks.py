"""Drawn networks: functions of family and seed, off their kinks, not all saturated."""

import pytest
import torch
from torch import nn

from igsref.testing import FAMILIES, draw_network, networks
from igsref.testing.networks import KINK_DISTANCE
from tests.random_states import states

SEEDS = range(12)
DENSE = [family for family in FAMILIES if "perceptron" in family]


def parameters(family: str, seed: int) -> torch.Tensor:
    return nn.utils.parameters_to_vector(draw_network(family, seed).model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_is_a_function_of_its_family_and_seed(family):
    one, again = draw_network(family, 3), draw_network(family, 3)
    for key, value in one.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[key]), key
    assert torch.equal(one.inputs, again.inputs)
    assert torch.equal(one.labels, again.labels)
    other = parameters(family, 4)
    assert not torch.equal(parameters(family, 3), other)


@pytest.mark.parametrize("family", FAMILIES)
def test_neither_global_random_state_nor_default_dtype_has_a_part_in_it(family):
    before, expected = states(), parameters(family, 5)
    assert states() == before
    torch.rand(7)
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        assert torch.equal(parameters(family, 5), expected)
    finally:
        torch.set_default_dtype(default)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_is_ready_for_every_measure(family):
    for seed in SEEDS:
        network = draw_network(family, seed)
        model, (x, y) = network.model, network.data
        assert not model.training
        assert {value.dtype for value in model.parameters()} == {torch.float64} == {x.dtype}
        assert all(value.requires_grad and value.grad is None for value in model.parameters())
        logits = model(x).detach()
        assert logits.shape[0] == len(y) >= 2
        assert 0 <= int(y.min()) <= int(y.max()) < logits.shape[1]
        # p = 1/Σ exp(z_c − z) ≥ e^−25/C, C ≤ 4.
        assert float(logits.softmax(dim=1).min()) > torch.e**-25 / 4


@pytest.mark.parametrize(
    "family", ["ReLU perceptron", "leaky ReLU perceptron", "convolution", "residual"]
)
def test_kinks_and_decisions_are_kept_off(family):
    for seed in SEEDS:
        network = draw_network(family, seed)
        seen: list[torch.Tensor] = []

        def keep(module, args, output, seen=seen):
            seen.append(args[0].detach())

        for module in network.model.modules():
            if isinstance(module, nn.ReLU | nn.LeakyReLU):
                module.register_forward_hook(keep)
        logits = network.model(network.inputs).detach()
        assert seen
        for z in seen:
            assert float(z.abs().min()) > KINK_DISTANCE * float(z.abs().max())
        gaps = (logits[:, :, None] - logits[:, None, :]).abs()
        gaps = gaps[:, ~torch.eye(logits.shape[1], dtype=torch.bool)]
        assert float(gaps.min()) > KINK_DISTANCE * float(gaps.max())


def test_half_of_the_dense_ones_have_more_rows_than_parameters_and_half_are_trained(monkeypatch):
    trained = []
    train = networks._train
    monkeypatch.setattr(networks, "_train", lambda network: trained.append(0) or train(network))
    drawn = [draw_network(family, seed) for family in DENSE for seed in range(40)]
    rows = [len(n.labels) * (n.model(n.inputs).shape[1] - 1) for n in drawn]
    sizes = [sum(value.numel() for value in n.model.parameters()) for n in drawn]
    tall = sum(r > m for r, m in zip(rows, sizes, strict=True))
    # Two chances in 160 fair draws: 80, with a standard deviation of √160/2 = 6.3; within five.
    # (A refused draw is drawn again; a network of 60 rows or more is never tall. Both are rare.)
    assert abs(tall - 80) < 32
    assert abs(len(trained) - 80) < 32


def test_training_lowers_the_loss():
    network = draw_network("tanh perceptron", 0)
    for value in network.model.parameters():
        value.data = value.data.sin()
    loss = nn.CrossEntropyLoss()
    with torch.no_grad():
        before = loss(network.model(network.inputs), network.labels).item()
    networks._train(network)
    with torch.no_grad():
        assert loss(network.model(network.inputs), network.labels).item() < before


def test_an_unknown_family_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"family must be one of .*'attention'.*; got 'VGG'"):
        draw_network("VGG", 0)


def test_a_family_that_yields_nothing_says_so(monkeypatch):
    monkeypatch.setattr(networks, "_is_acceptable", lambda network: False)
    with pytest.raises(RuntimeError, match="no acceptable network of family 'ReLU perceptron'"):
        draw_network("ReLU perceptron", 0)
