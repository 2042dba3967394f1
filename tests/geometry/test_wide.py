"""Wide and tall factors: saturation, ranks, noise, what is refused."""

import json
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import igsref
from igsref.geometry.plan import wide_bytes
from igsref.geometry.wide import _first_pass, _largest_entries, wide_geometry
from igsref.jacobian.columns import column_ranges
from igsref.jacobian.rows import jacobian_rows
from igsref.linalg.range import Subspace, WholeSpace
from igsref.transforms.symmetries import scale_layers
from tests.assertions import assert_in_order, assert_same_igs
from tests.strategies import SEEDS, architecture, classes, fill_, gaussian, mlp


def geometry(name: str, seed: int, samples: int) -> igsref.Geometry:
    model, x, y = architecture(name, seed, samples)
    return igsref.as_geometry(model, (x, y))


def test_wide_factor_of_full_rank_is_shown_to_be_saturated():
    found = geometry("MLP with tanh", 0, 4)
    assert found.saturated
    assert found.margin > 1e3
    assert isinstance(found.space, WholeSpace)


def test_tall_factor_is_a_proper_subspace():
    found = geometry("MLP with tanh", 0, 60)
    assert not found.saturated
    assert isinstance(found.space, Subspace)
    # Fact 6, tanh: rank ≤ m − d_{L−1} − 1.
    assert found.space.dimension == found.problem.num_parameters - 4 - 1


def test_duplicated_samples_are_not_saturated():
    model, x, y = architecture("MLP with tanh", 0, 4)
    found = igsref.as_geometry(model, (x.repeat(2, 1), y.repeat(2)))
    assert not found.saturated
    assert found.space.dimension == 4 * 2


@pytest.mark.parametrize("samples", [3, 60])
def test_leverages_add_up_to_the_rank(samples):
    found = geometry("MLP with relu", 1, samples)
    scores = found.leverage()
    assert scores.shape == (samples, 2)
    assert float(scores.sum()) == pytest.approx(found.space.dimension, rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, samples=st.integers(1, 40))
def test_gradients_lie_in_the_range(seed, samples):
    model, x, y = architecture("MLP with leaky_relu", seed, samples)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", igsref.AccuracyWarning)
        problem = igsref.as_problem(model, (x, y))
        found = igsref.as_geometry(problem)
    from igsref.curvature.factor import reduced_factor

    combination = reduced_factor(problem) @ gaussian(seed, problem.num_parameters)
    energy = float(found.energy(combination[:, None])[0])
    assert energy == pytest.approx(float(combination.square().sum()), rel=1e-9)


def test_a_network_that_learns_nothing_has_an_empty_range():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.fill_(-1.0)
    with pytest.warns(RuntimeWarning, match="every derivative is 0"):
        result = igsref.exact_igs(model, (torch.ones(3, 2), torch.tensor([0, 1, 0])))
    assert (result.value, result.rank, result.margin) == (0.0, 0, 0.0)


class Normalised(nn.Module):
    """x/‖x‖, whose derivative at 0 is no number."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 3, bias=False).double()

    def forward(self, x):
        z = self.inner(x)
        return z / (z.square().sum(dim=1, keepdim=True).sqrt() + 1e-12)


def test_derivatives_that_are_no_numbers_are_refused_with_their_place():
    x = torch.tensor([[1.0, 2.0], [0.0, 0.0]]).double()
    with pytest.raises(ValueError, match=r"those of sample 1 by inner\.weight\[0\]"):
        igsref.exact_igs(Normalised(), (x, torch.tensor([0, 1])))


@pytest.mark.parametrize("exponent", [300, 600, 900])
def test_columns_whose_squares_overflow_are_equilibrated(exponent):
    model = mlp(0, [2, 4, 3], nn.ReLU)
    data = (gaussian(1, 12, 2), torch.arange(12) % 3)
    scaled = scale_layers(model, [2.0**exponent])
    assert igsref.exact_igs(scaled, data).value == igsref.exact_igs(model, data).value


def test_key_bias_of_attention_makes_no_direction():
    """Its derivative is rounding; equilibrated, it would count as a parameter."""
    model, x, y = architecture("attention and embedding", 0, 40)
    whole = igsref.as_geometry(model, (x, y))
    m = whole.problem.num_parameters
    # softmax ignores the key bias (4); LayerNorm ignores a shift of what it normalises: the
    # value path's output bias (1), and its affine map meets the head in 4 + 1 directions.
    assert whole.space.dimension <= m - 4


def test_memory_is_asked_for_before_any_jacobian(monkeypatch):
    model, x, y = architecture("MLP with relu", 1, 5)
    monkeypatch.setattr("igsref.geometry.wide.jacobian_rows", lambda *_, **__: pytest.fail("ran"))
    with pytest.raises(MemoryError, match=r"reduced factor of 10 rows × \d+ parameters needs"):
        igsref.exact_igs(model, (x, y), memory=1000)


def test_wide_problem_with_a_noisy_direction_says_its_rank_is_unclear():
    model = mlp(3, [2, 8, 8, 3], nn.Tanh)
    x = gaussian(5, 1, 2) + 1e-7 * gaussian(6, 12, 2)
    found = igsref.as_geometry(model, (x, torch.arange(12) % 3))
    assert not found.clear_rank


def streamed(problem: igsref.Problem, width: int) -> igsref.Geometry:
    return wide_geometry(problem, column_ranges(problem, width), "streamed")


def dense(problem: igsref.Problem) -> igsref.Geometry:
    return wide_geometry(problem, column_ranges(problem, problem.num_parameters), "dense")


def with_twins(name: str, seed: int, samples: int) -> igsref.Problem:
    """A wide problem that is not saturated: every input comes twice."""
    model, x, y = architecture(name, seed, samples)
    return igsref.as_problem(model, (torch.cat([x, x]), torch.cat([y, y.flip(0)])))


WIDE = {
    "saturated": lambda: igsref.as_problem(*split(architecture("MLP with tanh", 1, 9))),
    "with twins": lambda: with_twins("MLP with relu", 2, 5),
    "with twins, estimated": lambda: with_twins("layer norm", 2, 5),
    "in a pool": lambda: igsref.as_problem(
        *split(architecture("MLP with leaky_relu", 3, 4)), fisher_data=gaussian(5, 8, 3)[:6]
    ),
    "of some parameters": lambda: igsref.as_problem(
        *split(architecture("MLP with tanh", 4, 5)), parameters=["0.*", "4.*"]
    ),
    "of images": lambda: with_twins("convolution", 5, 4),
}


def split(network: tuple) -> tuple:
    model, x, y = network
    return model, (x, y)


@pytest.mark.parametrize("width", [4, 30])
@pytest.mark.parametrize("problem", WIDE.values(), ids=WIDE)
def test_streamed_columns_give_what_dense_ones_give(problem, width):
    problem = problem()
    assert problem.num_rows <= problem.num_parameters
    before, after = igsref.exact_igs(dense(problem)), igsref.exact_igs(streamed(problem, width))
    assert len(column_ranges(problem, width)) > 1
    assert_in_order(after)
    assert_same_igs(before, after)
    assert (after.rank, after.saturated, after.grade) == (
        before.rank,
        before.saturated,
        before.grade,
    )
    # Both intervals hold the same number.
    assert max(before.lower, after.lower) <= min(before.upper, after.upper)
    allowed = problem.num_samples * (1e-10 * before.value + 2 * before.rounding_error)
    assert float((after.per_sample - before.per_sample).abs().max()) <= allowed


def test_streamed_certificate_shows_the_rank_that_dense_shows():
    problem = with_twins("MLP with relu", 3, 5)
    shown = [g.rank_lower for g in (dense(problem), streamed(problem, 5), streamed(problem, 20))]
    assert shown == 3 * [dense(problem).space.dimension]
    whole = igsref.as_problem(*split(architecture("MLP with tanh", 1, 9)))
    assert {g.rank_lower for g in (dense(whole), streamed(whole, 7))} == {18}


@settings(max_examples=5, deadline=None)
@given(seed=SEEDS, width=st.integers(2, 40))
def test_streamed_columns_of_any_width_give_what_dense_ones_give(seed, width):
    problem = with_twins("MLP with leaky_relu", seed, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", igsref.AccuracyWarning)
        before, after = igsref.exact_igs(dense(problem)), igsref.exact_igs(streamed(problem, width))
    assert_same_igs(before, after)
    assert max(before.lower, after.lower) <= min(before.upper, after.upper)


def noise_columns(problem: igsref.Problem, width: int) -> list[int]:
    scale = _first_pass(problem, column_ranges(problem, width)).scales.columns
    return (scale == 0).nonzero().flatten().tolist()


@pytest.mark.parametrize("width", [4, 12, 1000])
def test_key_bias_of_attention_is_noise_in_blocks_of_any_width(width):
    """Beside nothing but noise, noise would not look small: whole rows are what it is beside."""
    model, x, y = architecture("attention and embedding", 0, 6)
    problem = igsref.as_problem(model, (x, y))
    first = 7 * 4 + 12 * 4 + 4  # embedding, projections, query bias
    assert noise_columns(problem, width) == [first, first + 1, first + 2, first + 3]


def test_rounding_of_a_streamed_pass_is_that_of_all_its_blocks():
    model, x, y = architecture("attention and embedding", 0, 6)
    problem = igsref.as_problem(model, (x, y))
    whole, parts = (
        _first_pass(problem, column_ranges(problem, width)).rounding for width in (1000, 12)
    )
    assert torch.equal(parts.noise, whole.noise)
    # Every known column has unit norm on the probed rows, in whichever block it comes.
    assert torch.allclose(parts.size, whole.size, rtol=1e-12, atol=0)
    assert 0.1 * whole.relative <= parts.relative <= 10 * whole.relative


def test_largest_entries_are_those_of_whole_rows():
    model, x, y = architecture("MLP with tanh", 1, 5)
    problem = igsref.as_problem(model, (x, y))
    contrast = problem.likelihood.contrast(problem.logits)
    largest = _largest_entries(problem, contrast, column_ranges(problem, 5))
    expected = jacobian_rows(problem, contrast).abs().amax(dim=1).view(5, 2)
    for chosen in ([3], [0, 3], [4, 2, 1]):
        assert torch.equal(largest(torch.tensor(chosen)), expected[chosen].flatten())


def test_a_block_of_noise_alone_makes_no_direction():
    """A bias before a normalisation moves nothing; it fills a block of its own here."""
    below = nn.Conv1d(1, 4, 8), nn.InstanceNorm1d(4), nn.Tanh()
    above = nn.Conv1d(4, 8, 4), nn.Tanh(), nn.Flatten(), nn.Linear(24, 3)
    model = fill_(nn.Sequential(*below, *above).double(), 0).eval()
    data = gaussian(1, 6, 1, 13), classes(2, 6, 3)
    problem = igsref.as_problem(model, data, parameters=["0.bias", "3.bias"])
    assert column_ranges(problem, 8) == [(0, 4), (4, 12)]
    assert streamed(problem, 8).space.dimension == dense(problem).space.dimension == 8
    memory = wide_bytes(12, 8)
    result = igsref.exact_igs(model, data, parameters=["0.bias", "3.bias"], memory=memory)
    assert (result.method, result.rank) == ("streamed", 8)


def test_a_small_budget_streams_and_gives_the_same_value():
    model, x, y = architecture("MLP with tanh", 1, 9)
    whole = igsref.exact_igs(model, (x, y))
    planned = igsref.plan(model, (x, y))
    assert (whole.method, planned.route) == ("dense", "dense")
    memory = planned.bytes_needed - 1
    less = igsref.plan(model, (x, y), memory=memory)
    assert (less.route, less.fits) == ("streamed", True)
    assert less.at_once < planned.at_once == whole.num_parameters
    result = igsref.exact_igs(model, (x, y), memory=memory)
    assert result.method == "streamed"
    assert_same_igs(whole, result)
    assert json.loads(result.to_json())["method"] == "streamed"


def test_a_budget_too_small_names_one_that_is_enough(monkeypatch):
    model, x, y = architecture("MLP with tanh", 1, 9)
    with monkeypatch.context() as patch:
        patch.setattr("igsref.jacobian.rows._rows_of", lambda *_: pytest.fail("ran"))
        with pytest.raises(MemoryError, match=r"18 rows × 59 parameters needs .*give memory=\d+"):
            igsref.exact_igs(model, (x, y), memory=10**6)
        needed = igsref.plan(model, (x, y), memory=10**6).bytes_needed
        with pytest.raises(MemoryError, match=f"give memory={needed}, or choose fewer samples"):
            igsref.exact_igs(model, (x, y), memory=needed - 1)
    assert igsref.exact_igs(model, (x, y), memory=needed).method == "streamed"


GRADES = {
    "MLP with relu": "verified",
    "MLP with leaky_relu": "verified",
    "MLP with tanh": "verified",
    "convolution": "verified",
    "MLP with gelu": "estimated",
    "batch norm": "estimated",
    "layer norm": "estimated",
    "tied weights": "estimated",
    "attention and embedding": "estimated",
}


@pytest.mark.parametrize("samples", [4, 70])
@pytest.mark.parametrize(("name", "grade"), GRADES.items())
@pytest.mark.filterwarnings("ignore::igsref.AccuracyWarning")
def test_bounds_are_proven_where_there_is_an_error_analysis(name, grade, samples):
    model, x, y = architecture(name, 0, samples)
    result = igsref.exact_igs(model, (x, y))
    assert result.grade == result.full_batch.grade == grade


def test_proven_saturation_is_a_full_certificate():
    problem = igsref.as_problem(*split(architecture("MLP with tanh", 1, 9)))
    for geometry in (dense(problem), streamed(problem, 7)):
        assert geometry.saturated
        assert geometry.certificate.full
        assert geometry.certificate.grade == "verified"
        result = igsref.exact_igs(geometry)
        assert result.rank_lower == result.rank_upper == 18
        assert result.lower > result.value * (1 - 1e-11)
