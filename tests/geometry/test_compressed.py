"""Saturation from a few columns: against all of them, exact ranks and rational arithmetic."""

import warnings

import pytest
import torch
from flint import fmpq_mat
from torch import Tensor, nn

import igsref
from igsref.geometry.compressed import (
    chosen_entries,
    compressed_bytes,
    compressed_seconds,
    random_columns,
    saturation_certificate,
    whiten_,
    whitening,
)
from igsref.jacobian import rounding
from igsref.jacobian.rows import jacobian_rows
from tests.linalg.exact import doubles, entries, fraction, rational
from tests.strategies import architecture, classes, gaussian, mlp

WIDE = [4, 30, 30, 3]


def wide_problem(activation: type[nn.Module] = nn.ReLU, samples: int = 12, **options):
    """n = 24 rows, 1,173 parameters."""
    data = gaussian(2, samples, 4), classes(3, samples, 3)
    return igsref.as_problem(mlp(1, WIDE, activation), data, **options)


def convolutional(samples: int = 10) -> igsref.Problem:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.Tanh(), nn.Conv2d(6, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)
    )
    data = gaussian(1, samples, 1, 7, 7), classes(2, samples, 3)
    return igsref.as_problem(model.double(), data)


def differences(problem: igsref.Problem) -> Tensor:
    return jacobian_rows(problem, problem.likelihood.contrast(problem.logits))


@pytest.mark.parametrize(
    ("problem", "grade"),
    [
        (wide_problem(nn.ReLU), "verified"),
        (wide_problem(nn.GELU), "estimated"),
        (convolutional(), "verified"),
    ],
    ids=["ReLU", "GELU", "convolutions"],
)
def test_wide_networks_are_shown_to_be_saturated(problem, grade):
    found = saturation_certificate(problem)
    n = problem.num_rows
    assert found.full
    assert igsref.exact_igs(problem).saturated
    assert found.grade == grade
    assert (found.rank_lower, found.rank_upper.value) == (n, n)
    assert torch.equal(found.lower_rows, torch.arange(n))
    assert len(found.columns) == 2 * n
    assert 1e-15 < found.error < 1e-9 < 1e-3 < found.smallest


@pytest.mark.parametrize(
    "name", ["batch norm", "residual, module used twice", "tied weights", "refused by vmap"]
)
def test_any_architecture(name):
    model, x, y = architecture(name, 3, 8)
    problem = igsref.as_problem(model, (x, y))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "model cannot be vmapped", RuntimeWarning)
        assert saturation_certificate(problem).full
        assert igsref.exact_igs(problem).saturated


@pytest.mark.parametrize("dead", [0.0, 1.0, 2.0])
def test_what_is_proven_is_never_above_the_exact_rank(dead):
    # Bigger and bigger negative biases: units die, on some samples all of them.
    model = mlp(1, [3, 8, 8, 3], nn.ReLU)
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.bias.sub_(dead)
    problem = igsref.as_problem(model, (gaussian(2, 14, 3), classes(3, 14, 3)))
    found = saturation_certificate(problem, columns=torch.arange(problem.num_parameters))
    rank = igsref.exact_rank(problem)
    assert found.rank_lower == rank  # these are all columns, and the spectra have gaps
    assert found.full == (rank == problem.num_rows)
    assert found.full == igsref.exact_igs(problem).saturated


def test_equal_inputs_are_told_early_and_count_once(monkeypatch):
    x = gaussian(2, 12, 4)
    x[7] = x[3]
    problem = igsref.as_problem(mlp(1, WIDE, nn.ReLU), (x, classes(3, 12, 3)))
    with pytest.warns(RuntimeWarning, match="at most 22 are independent .distinct inputs"):
        found = saturation_certificate(problem)
    assert not found.full
    assert found.rank_lower == found.rank_upper.value == 22
    assert found.smallest > found.error
    pair = set(found.lower_rows.tolist()) & {6, 7, 14, 15}
    assert len(pair) == 2

    def never(*_args, **_options):
        raise AssertionError("a derivative was taken first")

    monkeypatch.setattr("igsref.geometry.compressed.jacobian_rows", never)
    with warnings.catch_warnings(), pytest.raises(RuntimeWarning):
        warnings.simplefilter("error")
        saturation_certificate(problem)


def test_the_last_layer_alone_does_not_show_what_all_of_the_network_does():
    problem = wide_problem(samples=36)
    last = torch.arange(problem.num_parameters - 93, problem.num_parameters)
    found = saturation_certificate(problem, columns=last)
    # 3·30 weights and 3 biases, less 31 shifts.
    assert not found.full
    assert found.rank_lower <= 62
    part = igsref.exact_igs(chosen_entries(problem, last))
    assert found.rank_lower >= 0.9 * part.rank_lower
    assert saturation_certificate(problem).full


def test_fewer_columns_than_rows_are_told_early():
    problem = wide_problem()
    with pytest.warns(RuntimeWarning, match="at most 20 are independent .columns"):
        found = saturation_certificate(problem, columns=torch.arange(20))
    assert found.rank_lower <= 20
    assert not found.full


def test_a_network_without_derivatives_shows_nothing():
    model = mlp(1, WIDE, nn.ReLU)
    with torch.no_grad():
        model[2].bias.sub_(1e3)
    problem = igsref.as_problem(model, (gaussian(2, 12, 4), classes(3, 12, 3)))
    found = saturation_certificate(problem, columns=torch.arange(1000))  # not the last layer's
    assert (found.rank_lower, found.full, len(found.lower_rows)) == (0, False, 0)


def test_noise_is_no_direction():
    # The key bias of attention, 4 of 12, moves no output; its derivative is rounding.
    model, x, y = architecture("attention and embedding", 3, 6)
    problem = igsref.as_problem(model, (x, y), parameters="attention.in_proj_bias")
    found = saturation_certificate(problem)
    assert len(found.columns) == problem.num_rows == 12
    assert found.rank_lower <= 8
    assert found.rank_lower == igsref.exact_igs(problem).rank


def test_columns_are_drawn_from_all_of_theta_under_the_seed():
    problem = wide_problem()
    first, again, other = (random_columns(problem, 160, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(first.unique()) == 160
    assert torch.equal(first, first.sort().values)
    # 930 of 1,173 parameters are the middle layer's, 93 the last one's.
    middle = int(((first >= 150) & (first < 1080)).sum())
    assert abs(middle / 160 - 930 / 1173) < 0.1
    assert 0 < int((first >= 1080).sum()) < 40
    assert len(random_columns(problem, 10**6, 0)) == problem.num_parameters
    found = saturation_certificate(problem, seed=1)
    assert torch.equal(found.columns, random_columns(problem, 48, 1))
    assert found.smallest == saturation_certificate(problem, seed=1).smallest


def test_chosen_entries_have_the_columns_of_the_whole():
    problem = wide_problem(nn.Tanh)
    columns = torch.tensor([0, 5, 119, 120, 149, 150, 700, 1172])
    part = chosen_entries(problem, columns)
    whole = differences(problem)[:, columns]
    assert part.num_parameters == 8
    assert part.function.layers is None  # these tensors are not its θ any more
    assert torch.allclose(differences(part), whole, rtol=1e-13, atol=1e-15)
    assert torch.equal(part.at(part.function.parameters), problem.logits)
    moved = {name: value + 1 for name, value in part.function.parameters.items()}
    assert not torch.allclose(part.at(moved), problem.logits)
    assert igsref.exact_igs(part).upper <= igsref.exact_igs(problem).lower


def exact_spoiled(rows: Tensor, error: Tensor, seed: int) -> fmpq_mat:
    """rows + E, ‖E_j‖ ≤ error_j."""
    direction = gaussian(seed, *rows.shape)
    direction *= (0.999999 * error / direction.norm(dim=1))[:, None]
    return rational(rows) + rational(direction)


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-3])
def test_whitened_rows_are_known_to_what_it_says(size):
    # Of two samples: one well conditioned, one with rows that nearly depend and differ in size.
    rows = gaussian(0, 6, 11)
    rows[4] = rows[3] + 1e-6 * rows[4]
    rows[5] *= 1e8
    before, error = rows.clone(), size * rows.norm(dim=1)
    bound = whiten_(rows, error, 3)
    for start in (0, 3):
        block = before[start : start + 3]
        spoiled = exact_spoiled(block, error[start : start + 3], start)
        exact = rational(whitening(block)) * spoiled
        gaps = entries(rational(rows[start : start + 3]) - exact)
        for row, allowed in zip(gaps, bound[start : start + 3].tolist(), strict=True):
            assert sum(v * v for v in row) <= fraction(allowed) ** 2
    assert torch.allclose(rows[:3] @ rows[:3].mT, torch.eye(3).double(), atol=1e-12)
    assert float(bound[:3].max()) <= 100 * max(size, 1e-15)


def test_rows_that_depend_on_others_stay_finite():
    rows = gaussian(0, 6, 9)
    rows[1] = 2 * rows[0]
    rows[3:] = 0.0
    bound = whiten_(rows, torch.zeros(6).double(), 3)
    assert bool(torch.isfinite(rows).all() & torch.isfinite(bound).all())
    assert float(bound[1]) >= float(rows[1].norm())  # nothing is known of it
    assert bool((rows[3:] == 0).all())
    assert float(bound[2]) < 1e-10
    few = gaussian(1, 3, 2)
    assert bool(torch.isfinite(whiten_(few, torch.zeros(3).double(), 3)).all())


def test_what_the_jacobian_is_not_known_to_is_not_proven(monkeypatch):
    problem = wide_problem(nn.GELU)
    known = saturation_certificate(problem)
    factor = 2 * known.smallest / known.error  # rounding of the product is less than half of it
    monkeypatch.setattr(rounding, "_SAFETY", rounding._SAFETY * factor)
    unknown = saturation_certificate(problem)
    assert not unknown.full
    assert 0 < unknown.rank_lower < problem.num_rows
    assert unknown.error < unknown.smallest


def test_a_kink_within_rounding_is_not_proven_away():
    # Pre-activations that are 0 to rounding: either derivative may be the true one.
    model = mlp(1, WIDE, nn.ReLU)
    x = gaussian(2, 12, 4)
    with torch.no_grad():
        model[0].bias.copy_(-(model[0].weight @ x[5]))
    problem = igsref.as_problem(model, (x, classes(3, 12, 3)))
    found = saturation_certificate(problem)
    assert found.grade == "verified"
    assert not found.full
    assert found.rank_lower >= problem.num_rows - 2
    assert not {10, 11} <= set(found.lower_rows.tolist())


def test_scaled_units_change_nothing():
    model = mlp(1, WIDE, nn.ReLU)
    data = gaussian(2, 12, 4), classes(3, 12, 3)
    plain = saturation_certificate(igsref.as_problem(model, data))
    with torch.no_grad():
        scales = 2.0 ** torch.linspace(-20, 20, 30).round().double()
        model[0].weight.mul_(scales[:, None])
        model[0].bias.mul_(scales)
        model[2].weight.div_(scales)
    scaled = saturation_certificate(igsref.as_problem(model, data))
    assert scaled.full
    assert scaled.grade == "verified"
    assert scaled.smallest == pytest.approx(plain.smallest, rel=1e-9)
    assert scaled.error == pytest.approx(plain.error, rel=1e-6)  # but for what counts underflow


def test_a_pool_counts_all_of_its_rows():
    pool = gaussian(5, 9, 4)
    problem = wide_problem(samples=6, fisher_data=pool)
    found = saturation_certificate(problem)
    assert found.full
    assert found.rank_lower == problem.num_rows == 30


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        (torch.tensor([0, 1173]), ValueError, "0..1172 .* got 1173"),
        (torch.tensor([-1]), ValueError, "got -1"),
        (torch.tensor([], dtype=torch.int64), ValueError, "got none"),
        (doubles([1.0]), TypeError, "int64"),
        (torch.tensor([[1]]), TypeError, r"\(1, 1\)"),
    ],
)
def test_columns_that_are_none_are_refused(columns, error, message):
    with pytest.raises(error, match=message):
        saturation_certificate(wide_problem(), columns=columns)


def test_memory_is_predicted_before_anything_is_differentiated(monkeypatch):
    problem = wide_problem()
    needed = compressed_bytes(problem, random_columns(problem, 48, 0))
    monkeypatch.setattr("igsref.geometry.compressed.jacobian_rows", None)
    with pytest.raises(MemoryError, match="24 rows × 48 columns"):
        saturation_certificate(problem, memory=needed - 1)
    with pytest.raises(TypeError):  # None cannot be called: it fits, and starts
        saturation_certificate(problem, memory=needed)


def test_only_tensors_that_hold_a_column_are_differentiated():
    problem = wide_problem()
    first, all_of_them = torch.arange(10), torch.tensor([0, 130, 200, 1060, 1100, 1172])
    assert compressed_bytes(problem, first) < compressed_bytes(problem, all_of_them)
    assert list(chosen_entries(problem, first).function.parameters) == ["0.weight, chosen entries"]


def test_ctrl_c_says_what_was_reached(monkeypatch):
    problem = wide_problem()
    monkeypatch.setattr("igsref.geometry.compressed._samples_at_once", lambda *_: 5)
    calls = []

    def interrupted(*args, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return jacobian_rows(*args, **options)

    monkeypatch.setattr("igsref.geometry.compressed.jacobian_rows", interrupted)
    with pytest.raises(KeyboardInterrupt, match="after 1 of 3 blocks of samples; nothing"):
        saturation_certificate(problem)


def test_blocks_of_samples_and_groups_of_tensors_change_nothing(monkeypatch):
    problem = wide_problem()
    whole = saturation_certificate(problem)
    monkeypatch.setattr("igsref.geometry.compressed._samples_at_once", lambda *_: 5)
    monkeypatch.setattr("igsref.geometry.compressed._GROUP_BYTES", 1)
    parts = saturation_certificate(problem)
    assert parts.smallest == pytest.approx(whole.smallest, rel=1e-9)
    assert parts.full


def test_time_is_predicted_from_sizes():
    # 24 rows for the Jacobian, 7 · 24 for its error, 2 · 8 · 2 at perturbed θ; of 1,173 entries.
    columns = torch.tensor([0, 120, 150, 1050, 1080, 1170])  # one of each tensor
    algebra = (24**2 * 6 + 3 * 24**3) / 2e10
    seconds = compressed_seconds(wide_problem(), columns)
    assert seconds == pytest.approx((24 + 168 + 32) * 1173 / 3e7 + algebra)
    assert compressed_seconds(wide_problem(nn.GELU), columns) == pytest.approx(
        (24 + 32) * 1173 / 3e7 + algebra
    )
    assert compressed_seconds(wide_problem(), torch.arange(4)) < 0.2 * seconds
