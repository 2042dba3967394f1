"""Certificates: proven against exact arithmetic, estimated where there is no proof."""

from dataclasses import replace

import pytest
import torch
from flint import arb, ctx
from torch import Tensor, nn

import igsref
from igsref.geometry import verify
from igsref.geometry.verify import (
    compressed,
    estimated_certificate,
    is_verifiable,
    proven_row_error,
    verified_wide,
)
from igsref.jacobian.columns import column_ranges, restricted
from igsref.jacobian.rows import jacobian_rows
from igsref.linalg.equilibrate import Scales
from tests.strategies import architecture, classes, gaussian, mlp
from verification.oracle import logits_and_jacobian

BITS = 600
NAMES = {nn.ReLU: "relu", nn.LeakyReLU: "leaky_relu", nn.Tanh: "tanh"}


def small_problem(activation: type[nn.Module] = nn.Tanh, **options) -> igsref.Problem:
    model = mlp(1, [2, 4, 3], activation)
    return igsref.as_problem(model, (gaussian(2, 4, 2), classes(3, 4, 3)), **options)


def powers(seed: int, count: int) -> Tensor:
    return 2.0 ** classes(seed, count, 7).double() / 8


def scales_of(problem: igsref.Problem) -> Scales:
    """Powers of two; two columns are left out, as noise is."""
    columns = powers(5, problem.num_parameters)
    columns[[1, 7]] = 0.0
    return Scales(powers(4, problem.num_rows), columns)


def exact_rows(problem: igsref.Problem, scales: Scales) -> list[list[arb]]:
    """The scaled D in ball arithmetic."""
    layers = [layer for layer in problem.function.layers if layer.weight is not None]
    activation = NAMES[type(problem.function.layers[1].module)]
    theta = problem.function.parameters
    parts = [(theta[layer.weight].tolist(), theta[layer.bias].tolist()) for layer in layers]
    rows = []
    for x, K in zip(
        problem.samples.args[0], problem.likelihood.contrast(problem.logits), strict=True
    ):
        _, jacobian = logits_and_jacobian(parts, activation, x.tolist(), bits=BITS)
        for k in K.tolist():
            row = zip(*jacobian, strict=True)
            rows.append([sum((arb(a) * b for a, b in zip(k, c, strict=True)), arb(0)) for c in row])
    return [
        [arb(r) * value * arb(c) for value, c in zip(row, scales.columns.tolist(), strict=True)]
        for r, row in zip(scales.rows.tolist(), rows, strict=True)
    ]


def scaled(problem: igsref.Problem, scales: Scales) -> Tensor:
    contrast = problem.likelihood.contrast(problem.logits)
    return jacobian_rows(problem, contrast) * scales.columns * scales.rows[:, None]


def length(row: list[arb]) -> arb:
    return sum((value * value for value in row), arb(0)).sqrt()


def assert_rows_within(computed: Tensor, truth: list[list[arb]], bound: Tensor) -> None:
    """‖computed_j − truth_j‖ ≤ bound_j, in ball arithmetic; and the bound is no empty one."""
    for j, row in enumerate(truth):
        off = length([arb(a) - b for a, b in zip(computed[j].tolist(), row, strict=True)])
        assert off <= arb(float(bound[j])), f"row {j}: {float(off):.3g} > {float(bound[j]):.3g}"
        assert float(bound[j]) <= 1e-10 * (1 + float(length(row)))


@pytest.fixture
def _bits():
    with ctx.workprec(BITS):
        yield


@pytest.mark.usefixtures("_bits")
@pytest.mark.parametrize("options", [{}, {"fisher_data": gaussian(9, 2, 2)}], ids=["", "pool"])
@pytest.mark.parametrize("activation", NAMES)
def test_proven_error_covers_every_row_of_the_scaled_factor(activation, options):
    problem = small_problem(activation, **options)
    scales = scales_of(problem)
    error = proven_row_error(problem, scales)
    assert_rows_within(scaled(problem, scales), exact_rows(problem, scales), error)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_proven_error_does_not_depend_on_how_many_are_computed_at_once(size, monkeypatch):
    problem = small_problem()
    whole = proven_row_error(problem, scales_of(problem))
    monkeypatch.setattr(verify, "chunk_size", lambda _: size)
    parts = proven_row_error(problem, scales_of(problem))
    assert torch.allclose(parts, whole, rtol=1e-12, atol=0)


def mixing(problem: igsref.Problem, ranges: list, scales: Scales, coefficients: Tensor) -> Tensor:
    """V, the very floats that ``compressed`` multiplies with."""
    contrast, parts = problem.likelihood.contrast(problem.logits), []
    for start, stop in ranges:
        part, columns = restricted(problem, start, stop)
        block = jacobian_rows(part, contrast, columns=columns)
        block *= scales.columns[start:stop]
        block *= scales.rows[:, None]
        parts.append(block.mT @ coefficients)
    return torch.cat(parts)


@pytest.mark.usefixtures("_bits")
@pytest.mark.parametrize("width", [1000, 9, 2])
@pytest.mark.parametrize("rank", [1, 5])
def test_compressed_factor_is_within_its_error_of_the_exact_product(width, rank):
    problem = small_problem()
    scales, ranges = scales_of(problem), column_ranges(problem, width)
    coefficients = gaussian(6, problem.num_rows, rank) * 2.0 ** torch.arange(rank).double()
    found = compressed(problem, ranges, scales, coefficients)
    assert found.matrix.shape == (problem.num_rows, rank)
    V = mixing(problem, ranges, scales, coefficients).mT.tolist()
    truth = [
        [sum((d * arb(v) for d, v in zip(row, column, strict=True)), arb(0)) for column in V]
        for row in exact_rows(problem, scales)
    ]
    # The largest |error_j x| over unit x is the length of the error's row.
    assert_rows_within(found.matrix, truth, found.row_error)


def test_compressed_error_grows_with_the_errors_of_rows(monkeypatch):
    """Through the spectral norm of V, which is at least its longest column's."""
    problem = small_problem()
    scales, ranges = scales_of(problem), column_ranges(problem, 9)
    coefficients = gaussian(6, problem.num_rows, 3)
    before = compressed(problem, ranges, scales, coefficients).row_error
    error = torch.linspace(1, 2, problem.num_rows).double()
    monkeypatch.setattr(verify, "proven_row_error", lambda *_: error)
    grown = compressed(problem, ranges, scales, coefficients).row_error - before
    V = mixing(problem, ranges, scales, coefficients)
    norm = float(torch.linalg.matrix_norm(V, ord=2))
    assert bool((grown >= error * norm * (1 - 1e-9)).all())
    assert bool((grown <= error * norm * 3**0.5 * (1 + 1e-9)).all())


@pytest.mark.parametrize("samples", [4, 60])
@pytest.mark.parametrize("name", ["MLP with gelu", "attention and embedding"])
@pytest.mark.filterwarnings("ignore::igsref.AccuracyWarning")
def test_without_an_error_analysis_a_certificate_is_estimated(name, samples):
    model, x, y = architecture(name, 0, samples)
    geometry = igsref.as_geometry(model, (x, y))
    assert not is_verifiable(geometry.problem)
    assert geometry.certificate.grade == "estimated"
    with pytest.raises(ValueError, match="no running error analysis"):
        proven_row_error(geometry.problem, scales_of(geometry.problem))


def test_an_estimated_certificate_of_the_whole_is_full():
    problem = small_problem()
    error = torch.full((problem.num_rows,), 1e-15, dtype=torch.float64)
    found = estimated_certificate(problem, None, error)
    assert (found.full, found.assessment, found.grade) == (True, None, "estimated")
    assert bool((found.logit_error > 0).all())


def factored(problem: igsref.Problem) -> tuple[list, Scales, Tensor]:
    """Ranges, scales and the triangle of the scaled factor."""
    scales = Scales(
        torch.ones(problem.num_rows).double(), torch.ones(problem.num_parameters).double()
    )
    triangle = torch.linalg.qr(scaled(problem, scales).mT, mode="r").R.mT
    return column_ranges(problem, 9), scales, triangle


def test_a_full_rank_is_proven_from_the_triangle():
    problem = small_problem()
    found = verified_wide(problem, *factored(problem), None, 1e-12)
    assert (found.full, found.assessment, found.grade) == (True, None, "verified")


def test_no_rank_is_proven_of_errors_larger_than_the_factor(monkeypatch):
    problem = small_problem()
    factors = factored(problem)
    error = torch.full((problem.num_rows,), 1e6, dtype=torch.float64)
    monkeypatch.setattr(verify, "proven_row_error", lambda *_: error)
    found = verified_wide(problem, *factors, None, 1e-12)
    assert (found.full, found.grade) == (False, "verified")
    assert found.assessment.rank == 0


def test_nothing_is_assessed_where_nothing_was_found():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.fill_(-1.0)
    geometry = igsref.as_geometry(model, (torch.ones(3, 2), torch.tensor([0, 1, 0])))
    certificate = geometry.certificate
    assert (certificate.full, certificate.assessment) == (False, None)
    assert certificate.grade == "verified"


def test_off_the_cpu_nothing_is_verified():
    """Its kernels for convolutions and products are not known to be sums of products."""
    problem = igsref.as_problem(mlp(0, [2, 3, 3], nn.Tanh), (gaussian(1, 4, 2), classes(2, 4, 3)))
    assert is_verifiable(problem)
    assert not is_verifiable(replace(problem, logits=problem.logits.to("meta")))
