"""Tall factors: in memory and streamed give the same range."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import igsref
from igsref.geometry.plan import tall_bytes
from igsref.geometry.tall import streamed_tall_geometry, tall_geometry
from igsref.transforms.symmetries import scale_nodes
from tests.strategies import SEEDS, architecture, gaussian, mlp

ROUNDING = 1e-11
"""Relative; κ u for what these networks have, and four orders of magnitude below what matters."""
NAMES = ["MLP with relu", "MLP with tanh", "convolution", "attention and embedding"]


def results(problem: igsref.Problem, rows_at_once: int) -> tuple[igsref.Result, igsref.Result]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", igsref.AccuracyWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        return (
            igsref.exact_igs(tall_geometry(problem, "dense")),
            igsref.exact_igs(streamed_tall_geometry(problem, rows_at_once, "streamed")),
        )


def problem_of(name: str, seed: int, samples: int = 90) -> igsref.Problem:
    model, x, y = architecture(name, seed, samples)
    return igsref.as_problem(model, (x, y))


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rows_at_once", [1, 50, 10_000])
def test_streamed_equals_in_memory(name, rows_at_once):
    dense, streamed = results(problem_of(name, 1), rows_at_once)
    allowed = dense.rounding_error + streamed.rounding_error + ROUNDING * dense.value
    assert streamed.rank == dense.rank
    assert streamed.grade == dense.grade
    assert abs(streamed.value - dense.value) <= allowed
    assert max(streamed.lower, dense.lower) <= min(streamed.upper, dense.upper)
    assert float((streamed.per_sample - dense.per_sample).abs().max()) <= allowed * 90


@settings(max_examples=6, deadline=None)
@given(seed=SEEDS, rows_at_once=st.integers(1, 200))
def test_streamed_keeps_its_order_and_the_value_whatever_the_blocks(seed, rows_at_once):
    dense, streamed = results(problem_of("MLP with leaky_relu", seed, 60), rows_at_once)
    assert streamed.lower <= streamed.value <= streamed.upper <= streamed.ceiling
    assert streamed.lower <= dense.upper
    assert dense.lower <= streamed.upper


def test_a_small_budget_streams_and_a_smaller_one_is_refused():
    model, x, y = architecture("MLP with tanh", 1, 60)
    least = tall_bytes(59, 59 // 4)
    plan = igsref.plan(model, (x, y), memory=least)
    assert (plan.route, plan.at_once, plan.fits) == ("streamed", 59 // 4, True)
    streamed = igsref.exact_igs(model, (x, y), memory=least)
    assert streamed.method == "streamed"
    assert streamed.value == pytest.approx(igsref.exact_igs(model, (x, y)).value, rel=1e-10)
    with pytest.raises(MemoryError, match=f"give memory={least}"):
        igsref.exact_igs(model, (x, y), memory=least - 1)


def test_columns_whose_squares_overflow_are_streamed_too():
    model, x, y = architecture("MLP with relu", 1, 60)
    factors = [
        torch.full((layer.out_features,), 2.0**400, dtype=torch.float64) for layer in model[:-1:2]
    ]
    scaled = scale_nodes(model, [factors[0], 1 / factors[1]])
    before = streamed_tall_geometry(igsref.as_problem(model, (x, y)), 40, "streamed")
    after = streamed_tall_geometry(igsref.as_problem(scaled, (x, y)), 40, "streamed")
    assert igsref.exact_igs(after).value == igsref.exact_igs(before).value


def test_a_silent_network_has_an_empty_range_when_streamed():
    model, x, y = architecture("MLP with relu", 1, 60)
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.fill_(-1.0)
        model[2].bias.fill_(-1.0)
    problem = igsref.as_problem(model, (x, y), parameters="0.*")
    with pytest.warns(RuntimeWarning, match="every derivative is 0"):
        geometry = streamed_tall_geometry(problem, 40, "streamed")
    assert (geometry.space.dimension, igsref.exact_igs(geometry).value) == (0, 0.0)


def test_interrupted_streaming_says_what_was_reached(monkeypatch):
    problem = problem_of("MLP with relu", 1)
    calls = iter(range(100))

    def rows(*_, **__):
        if next(calls) >= 3:
            raise KeyboardInterrupt
        return original(*_, **__)

    from igsref.geometry import part

    original = part.jacobian_rows
    monkeypatch.setattr(part, "jacobian_rows", rows)
    with pytest.raises(KeyboardInterrupt, match="interrupted after 3 of 5 blocks of samples"):
        streamed_tall_geometry(problem, 40, "streamed")


@pytest.mark.parametrize("seed", [15, 18])
def test_a_graded_stream_is_orthonormalised_until_it_is(seed):
    """Inputs and probabilities that span many orders of magnitude: one repetition leaves 0.7."""
    model, x = mlp(seed, [2, 3, 3], nn.Tanh), gaussian(seed + 1, 30, 2)
    with torch.no_grad():
        model[-1].weight *= 30
        model[-1].bias *= 30
    x *= 10.0 ** (-torch.arange(30) % 12).double()[:, None]
    problem = igsref.as_problem(model, (x, torch.arange(30) % 3))
    space = streamed_tall_geometry(problem, 1000, "streamed").space
    basis = torch.cat([rows.basis for rows in space.parts()])
    skew = basis.mT @ basis - torch.eye(space.dimension).double()
    # A solve with a triangle of condition ≤ 100 over 60 rows, and their sum.
    assert float(skew.abs().max()) <= 100 * 60 * 2**-52
