"""Sizes before work: products counted by hand, and what is too much is refused before it starts."""

import pytest
import torch
from torch import nn

import igsref
from igsref.exact import cost
from igsref.exact.cost import entries, linearisation_seconds, products, require_affordable
from igsref.measures import certify
from tests.strategies import classes, gaussian, mlp


def problem(model, *shape, samples=4, outputs=3, **options):
    data = gaussian(0, samples, *shape), classes(1, samples, outputs)
    return igsref.as_problem(model.double().eval(), data, **options)


def test_products_are_counted_layer_by_layer():
    # 3·4 + 4 + 4·3 = 28 for one pass; forwards once, and twice back for each of two rows.
    assert products(problem(mlp(0, [3, 4, 3], nn.ReLU), 3)) == 4 * (1 + 2 * 2) * 28


def test_a_convolution_takes_its_kernel_at_every_position():
    model = nn.Sequential(nn.Conv2d(2, 4, 2, groups=2), nn.Flatten(), nn.Linear(16, 3))
    # 4 channels at 2 × 2 positions, each from a kernel of 1·2·2; reshaped; 16·3.
    assert products(problem(model, 2, 3, 3)) == 4 * 5 * (16 * 4 + 16 + 48)


def test_all_of_a_pool_is_paid_for():
    model = mlp(0, [3, 4, 3], nn.ReLU)
    pooled = problem(model, 3, fisher_data=gaussian(2, 6, 3))
    assert products(pooled) == products(problem(model, 3)) * 10 / 4


def test_evaluation_changes_neither_the_model_nor_its_type():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)).eval()
    data = gaussian(0, 4, 3).float(), classes(1, 4, 3)
    assert products(igsref.as_problem(model, data)) == 4 * 5 * (12 + 4 + 4 + 12)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert int(model[1].num_batches_tracked) == 0


def test_seconds_grow_with_the_products_and_with_the_square_of_the_rows():
    few, many = (
        linearisation_seconds(problem(mlp(0, [3, 4, 3], nn.ReLU), 3, samples=n)) for n in (10, 1000)
    )
    assert 0 < 100 * few < many < 10_000 * few
    wide = linearisation_seconds(problem(mlp(0, [3, 400, 3], nn.ReLU), 3, samples=10))
    assert wide > few


@pytest.mark.parametrize("kind", [nn.ReLU, nn.Tanh])
def test_rows_beyond_the_most_are_refused_with_the_sizes(kind, monkeypatch):
    name = "MOST_ROWS" if kind is nn.ReLU else "MOST_ROWS_IN_BALLS"
    allowed = problem(mlp(0, [3, 4, 3], kind), 3, samples=3)
    refused = problem(mlp(0, [3, 4, 3], kind), 3, samples=4)
    monkeypatch.setattr(cost, name, 6)
    require_affordable(allowed)
    message = r"at most 6 rows N·R .*; there are 8 \(N_F = 4, R = 2\)\. Choose fewer samples"
    with pytest.raises(ValueError, match=message):
        require_affordable(refused)


def test_too_many_products_are_refused_with_the_sizes(monkeypatch):
    found = problem(mlp(0, [3, 4, 3], nn.ReLU), 3)
    monkeypatch.setattr(cost, "MOST_PRODUCTS", products(found))
    require_affordable(found)
    monkeypatch.setattr(cost, "MOST_PRODUCTS", products(found) - 1)
    message = r"this network takes 5\.6e\+02 \(N_F = 4, R = 2, m = 31\)"
    with pytest.raises(ValueError, match=message):
        require_affordable(found)


def test_gradients_that_are_multiplied_out_are_counted():
    """Of kernels and shared weights, for each row; a linear layer's stay outer products."""
    kernel = nn.Sequential(nn.Conv1d(2, 3, 2), nn.Flatten(), nn.Linear(6, 3))
    assert entries(problem(kernel, 2, 3)) == 8 * 3 * 2 * 2
    frozen = problem(kernel, 2, 3, parameters="2.*")
    assert entries(frozen) == 0
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    assert entries(problem(model, 3)) == 0
    model[2].weight = model[0].weight
    assert entries(problem(model, 3)) == 8 * 9


def test_too_many_entries_are_refused_with_the_sizes(monkeypatch):
    found = problem(nn.Sequential(nn.Conv1d(2, 3, 2), nn.Flatten(), nn.Linear(6, 3)), 2, 3)
    monkeypatch.setattr(cost, "MOST_ENTRIES", entries(found))
    require_affordable(found)
    monkeypatch.setattr(cost, "MOST_ENTRIES", entries(found) - 1)
    message = r"entries of gradients of convolutions .*; here are 9\.6e\+01 \(8 rows, m = 36\)"
    with pytest.raises(ValueError, match=message):
        require_affordable(found)


def test_nothing_is_computed_before_a_refusal(monkeypatch):
    monkeypatch.setattr(cost, "MOST_ROWS", 7)
    monkeypatch.setattr(certify, "linearised", lambda *_: pytest.fail("work has started"))
    for function in (igsref.certify, igsref.exact_rank):
        with pytest.raises(ValueError, match="exact arithmetic takes at most 7 rows"):
            function(problem(mlp(0, [3, 4, 3], nn.ReLU), 3))


def test_the_limits_are_those_of_the_documentation():
    data = gaussian(0, 751, 2), classes(1, 751, 3)
    with pytest.raises(ValueError, match=r"at most 1500 rows .* there are 1502"):
        igsref.exact_rank(mlp(0, [2, 1, 3], nn.ReLU), data)
    with pytest.raises(ValueError, match=r"at most 400 rows .* there are 1502"):
        igsref.certify(mlp(0, [2, 1, 3], nn.Tanh), data)
