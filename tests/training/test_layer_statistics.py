"""Averages, bases and what is carried from one basis to the next."""

import pytest
import torch
from torch import nn

from igsref.likelihoods import Categorical
from igsref.training.layer_statistics import (
    empty_statistics,
    faithful,
    held_bytes,
    passing_bytes,
    tensor_statistics,
)
from igsref.training.layers import known_layers
from igsref.training.live import live_capture, live_function, samples_of
from tests.closeness import EPS, assert_within
from tests.strategies import classes, fill_, gaussian


def statistics_of(model, seed=3):
    """Those of the only layer, some factors filled in."""
    function = live_function(model)
    (layer,) = known_layers(function)
    found = empty_statistics(layer, function.parameters)
    for number, (name, value) in enumerate(sorted(found.averages.items())):
        drawn = gaussian(seed + number, *value.shape)
        value.copy_(drawn.square() if name == "scalings" else drawn @ drawn.mT)
    return found


def test_a_refresh_takes_eigenvectors_and_keeps_the_diagonal_of_what_there_was():
    found = statistics_of(nn.Conv1d(4, 4, 2, groups=2).double())
    before = [dense(found)]
    found.refresh()
    for side, basis in found.bases.items():
        turned = basis.mT @ found.averages[side] @ basis
        diagonal = torch.diag_embed(turned.diagonal(dim1=1, dim2=2))
        assert_within(turned, diagonal, 100 * EPS * float(turned.max()))
    u = kron(found)
    expected = (u.mT @ before[0] @ u).diagonal(dim1=1, dim2=2)
    scalings = found.averages["scalings"].flatten(1)
    assert_within(scalings, expected, 500 * EPS * float(expected.max()))
    trace = before[0].diagonal(dim1=1, dim2=2).sum()
    assert_within(scalings.sum(), trace, 500 * EPS * trace)


def kron(found):
    """U of each group."""
    pairs = zip(found.bases["outputs"], found.bases["inputs"], strict=True)
    return torch.stack([torch.kron(b.contiguous(), a.contiguous()) for b, a in pairs])


def dense(found):
    u = kron(found)
    return u @ torch.diag_embed(found.averages["scalings"].flatten(1)) @ u.mT


def test_sums_become_means_and_move_the_average_by_the_rate():
    found = tensor_statistics("weight", {"bias": torch.zeros(2), "weight": torch.zeros(3)})
    assert found.entries.flatten().tolist() == [2, 3, 4]
    found.averages["scalings"] += 8
    found.open(("scalings",))
    for gradient in ([2.0, 4.0, 0.0], [2.0, 0.0, 4.0]):
        found.add_probe(torch.tensor(gradient))
    found.close(torch.tensor(4.0), 0.5)
    # (8 + (4 + 4)/4)/2, and so on: all exact in binary.
    assert found.averages["scalings"].flatten().tolist() == [5.0, 6.0, 6.0]
    assert not found.sums


def test_only_what_is_open_is_summed():
    found = tensor_statistics("bias", {"bias": torch.zeros(2)})
    found.open(("inputs",))
    found.add_probe(torch.ones(2))
    found.close(torch.tensor(1.0), 1.0)
    assert not bool(found.averages["scalings"].any())


def test_half_precision_is_averaged_in_single():
    half = nn.Linear(3, 2).half()
    found = empty_statistics(known_layers(live_function(half))[0], live_function(half).parameters)
    assert {value.dtype for value in found.averages.values()} == {torch.float32}


class Tokens(nn.Module):
    """Reads its table by ``how``."""

    def __init__(self, how):
        super().__init__()
        self.table, self.head, self.how = nn.Embedding(7, 3), nn.Linear(3, 3), how

    def forward(self, tokens):
        return self.head(torch.tanh(self.how(self.table, tokens)).mean(dim=1))


READINGS = {
    "a call": (lambda table, tokens: table(tokens), True),
    "a call and more": (lambda table, tokens: table(tokens) * table.weight.norm(), False),
    "no call": (lambda table, tokens: table.weight[tokens], False),
    "not at all": (lambda table, tokens: tokens[:, :, None].expand(-1, -1, 3).double(), True),
}


@pytest.mark.parametrize("reading", READINGS)
def test_a_table_is_faithful_where_its_calls_are_all_that_reads_it(reading):
    how, told = READINGS[reading]
    function = live_function(fill_(Tokens(how).double(), 1))
    samples = samples_of((classes(2, 15, 7).view(5, 3),), {})
    found = live_capture(function, samples, known_layers(function), Categorical())
    names = [layer.names[0] for layer in faithful(found, gaussian(3, 5, 1, 3), None)]
    assert names == (["head.weight", "table.weight"] if told else ["head.weight"])


def test_a_basis_takes_five_times_its_factor_where_that_is_more_than_samples_do():
    layers = [known_layers(live_function(nn.Linear(size, 2)))[0] for size in (3, 2000)]
    assert [passing_bytes(layer) for layer in layers] == [2**27, 5 * 8 * 2001**2]


def test_a_normalisation_has_no_factors():
    function = live_function(nn.BatchNorm1d(7).eval())
    (layer,) = known_layers(function)
    # An average and a sum in float32, and a place, of each γ and β.
    assert held_bytes(layer, function.parameters) == 14 * (2 * 4 + 8)
