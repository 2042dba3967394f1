"""The whole approximation: which tensor has which rule, powers, likelihoods, pools, refusals."""

from fnmatch import fnmatch

import jaxtyping
import pytest
import torch
from torch import nn

import igsref
from igsref.curvature.kfac import approximation, ekfac
from igsref.flat import ranges
from tests.curvature.kfac.cases import AGREEMENT, assert_scalings_are_fishers, basis, problem_of
from tests.random_states import states
from tests.strategies import architecture, classes, fill_, gaussian, mlp

K, W, D = "kronecker", "dense", "diagonal"
RULES = {
    "batch norm": {"0.*": K, "1.*": W, "3.*": K, "5.*": K},
    "layer norm": {"0.*": K, "1.*": W, "3.*": K},
    "tied weights": {"encoder.weight": D, "encoder.bias": K, "decoder.bias": K, "head.*": K},
    "attention and embedding": {"embedding.weight": D, "attention.*": D, "norm.*": W, "head.*": K},
}


def problem(name, samples=5, **options):
    model, x, y = architecture(name, 1, samples)
    return igsref.as_problem(model, (x, y), **options)


def assert_approximates(approximation, exact):
    """Every entry of θ is in one block, and blocks have F's diagonal in their bases."""
    places = torch.cat([block.entries.flatten() for block in approximation.blocks])
    assert places.sort().values.tolist() == list(range(exact.num_parameters))
    fisher = igsref.fisher(exact)
    for block in approximation.blocks:
        assert_scalings_are_fishers(block, fisher)


@pytest.mark.parametrize("name", RULES)
def test_each_tensor_has_its_rule(name):
    exact = problem(name)
    found = ekfac(exact)
    assert list(found.rules) == list(exact.function.parameters)
    for tensor, rule in found.rules.items():
        assert [rule] == [is_ for pattern, is_ in RULES[name].items() if fnmatch(tensor, pattern)]
    assert_approximates(found, exact)


class Refused(nn.Module):
    """Looks at values, which vmap refuses."""

    def __init__(self):
        super().__init__()
        self.layer, self.scale = nn.Linear(3, 3), nn.Parameter(torch.ones(3))

    def forward(self, x):
        return self.layer(x) * (self.scale if x.abs().max().item() < 1e6 else 0)


def test_what_vmap_refuses_has_its_linear_layers_all_the_same():
    data = gaussian(1, 5, 3), classes(2, 5, 3)
    exact = igsref.as_problem(fill_(Refused().double(), 1), data)
    with pytest.warns(RuntimeWarning, match="cannot be vmapped"):
        found = ekfac(exact)
    assert found.rules == {"scale": D, "layer.weight": K, "layer.bias": K}
    assert_approximates(found, exact)


def test_a_pair_has_the_diagonal_of_f():
    model = mlp(1, [3, 4, 3], nn.Tanh)
    pair = lambda params, x: torch.func.functional_call(model, params, x)  # noqa: E731
    data = gaussian(1, 5, 3), classes(2, 5, 3)
    exact = igsref.as_problem((pair, dict(model.named_parameters())), data)
    found = ekfac(exact)
    assert set(found.rules.values()) == {D}
    assert len(found.blocks) == 4
    expected = igsref.fisher(exact).diagonal()
    atol = AGREEMENT * float(expected.max())
    torch.testing.assert_close(found.diagonal(), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("chosen", ["*.bias", "*.weight", ["0.weight", "1.bias", "5.bias"]])
def test_layers_that_are_partly_in_theta(chosen):
    exact = problem("batch norm", parameters=chosen)
    found = ekfac(exact)
    assert list(found.rules) == list(exact.function.parameters)
    assert {name: rule for name, rule in found.rules.items() if name[0] == "1"} == {
        name: W for name in exact.function.parameters if name[0] == "1"
    }
    assert_approximates(found, exact)


def test_a_normalisation_of_many_entries_has_a_diagonal(monkeypatch):
    exact = problem("batch norm")
    monkeypatch.setattr(approximation, "LARGEST_DENSE", 5)
    found = ekfac(exact)
    assert [rule for name, rule in found.rules.items() if name[0] == "1"] == [D, D]
    assert_approximates(found, exact)


def test_norm_blocks_are_those_of_f():
    exact = problem("layer norm")
    (block,) = (block for block in ekfac(exact).blocks if block.output_basis is None)
    places = ranges(exact.function.parameters)
    expected = igsref.fisher(exact)
    inside = slice(places["1.weight"].start, places["1.bias"].stop)
    u = basis(block)
    torch.testing.assert_close(
        u @ torch.diag(block.scalings.flatten()) @ u.mT,
        expected[inside, inside],
        rtol=0,
        atol=AGREEMENT * float(expected.max()),
    )


@pytest.mark.parametrize(
    ("likelihood", "outputs", "labels"),
    [
        ("bernoulli", 1, classes(3, 6, 2).double()),
        ("bernoulli", 2, classes(3, 12, 2).double().view(6, 2)),
        ("gaussian", 2, gaussian(3, 6, 2)),
        ("categorical", 3, classes(3, 6, 3)),
    ],
)
def test_every_likelihood_and_a_pool(likelihood, outputs, labels):
    model, x = mlp(1, [3, 4, outputs], nn.Tanh), gaussian(2, 6, 3)
    for options in ({}, {"fisher_data": gaussian(4, 9, 3)}):
        exact = igsref.as_problem(model, (x, labels), likelihood=likelihood, **options)
        assert_approximates(ekfac(exact), exact)


def test_labels_take_no_part():
    model, x, y = architecture("MLP with tanh", 1, 5)
    one, other = (ekfac(igsref.as_problem(model, (x, labels))) for labels in (y, (y + 1) % 3))
    for left, right in zip(one.blocks, other.blocks, strict=True):
        assert torch.equal(left.scalings, right.scalings)


def test_some_samples_are_a_smaller_pool():
    model, x, y = architecture("batch norm", 1, 8)
    chosen = [6, 1, 1, 4]
    whole = igsref.as_problem(model, (x, y))
    part = igsref.as_problem(model, (x[chosen], y[chosen]))
    for samples in (chosen, torch.tensor(chosen)):
        assert_approximates(ekfac(whole, samples=samples), part)


def damped_matrix(found, damping, absolute, exponent=1.0):
    """(F_ekfac + λI)^exponent, assembled from bases and scalings."""
    out = torch.zeros(found.num_parameters, found.num_parameters).double()
    for block in found.blocks:
        u, scalings = basis(block), block.scalings.flatten()
        shifted = scalings + damping * scalings.max() + absolute
        places = block.entries.flatten()
        out[places[:, None], places] = u @ torch.diag(shifted**exponent) @ u.mT
    return out


def test_powers_are_those_of_the_assembled_matrix():
    found = ekfac(problem("batch norm"))
    eye = torch.eye(found.num_parameters).double()
    matrix = found.power(eye, 1.0)
    largest = float(matrix.abs().max())
    atol = AGREEMENT * largest
    torch.testing.assert_close(matrix, damped_matrix(found, 0, 0), rtol=0, atol=atol)
    torch.testing.assert_close(matrix, matrix.mT, rtol=0, atol=atol)
    assert float(torch.linalg.eigvalsh(matrix)[0]) >= -atol
    torch.testing.assert_close(found.diagonal(), matrix.diagonal(), rtol=0, atol=atol)
    inverse = found.power(eye, -1.0, 0.1, 0.01)
    expected = damped_matrix(found, 0.1, 0.01, -1.0)
    # Blocks' entries are at most 1/absolute.
    torch.testing.assert_close(inverse, expected, rtol=0, atol=AGREEMENT / 0.01)


@pytest.mark.parametrize(("damping", "absolute"), [(1e-3, 0.0), (0.0, 1e-3)])
def test_opposite_powers_undo_each_other(damping, absolute):
    found = ekfac(problem("attention and embedding"))
    vectors = gaussian(3, found.num_parameters, 2)
    half = found.power(vectors, 0.5, damping, absolute)
    back = found.power(half, -0.5, damping, absolute)
    # Each power loses some m·eps of ‖vectors‖, times what the other has made larger.
    largest = max(float(block.scalings.max()) for block in found.blocks)
    condition = (1 + largest / max(absolute, damping * largest)) ** 0.5
    atol = found.num_parameters * 2.0**-52 * condition * float(vectors.norm())
    torch.testing.assert_close(back, vectors, rtol=0, atol=atol)


def test_single_precision_inside_takes_and_gives_any_dtype():
    exact = problem("batch norm")
    found = ekfac(exact, dtype=torch.float32)
    assert {block.scalings.dtype for block in found.blocks} == {torch.float32}
    fisher = igsref.fisher(exact)
    for block in found.blocks:
        # Some 200 roundings one after the other, in forward and backward pass and rotations.
        assert_scalings_are_fishers(block, fisher, share=200 * 2.0**-23)
    vectors = gaussian(3, exact.num_parameters, 2)
    out = found.power(vectors, -1.0, 0.1)
    assert out.dtype == torch.float64
    assert torch.equal(out.float(), found.power(vectors.float(), -1.0, 0.1))


class Drawing(nn.Module):
    """Asks for a random number, and does not need it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        return self.layer(x) + 0 * torch.rand(())


def test_random_states_are_left_as_they_were():
    exact = igsref.as_problem(Drawing().double(), (gaussian(1, 5, 3), classes(2, 5, 3)))
    # The first is Python's, which beartype draws from where it checks arguments.
    before = states()[1:]
    ekfac(exact)
    assert states()[1:] == before


def test_what_does_not_fit_is_refused_with_the_sizes():
    with pytest.raises(MemoryError, match=r"59 parameters.*6 entries a side.*1000 B is there"):
        ekfac(problem("MLP with tanh"), memory=1000)
    with pytest.raises(MemoryError, match="EKFAC of one sample"):
        ekfac(problem_of("tokens, in place"), memory=3000)


@pytest.fixture
def as_users_run_it(monkeypatch):
    """Without the annotations that pytest executes: they would refuse first, in other words."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"samples": []}, ValueError, r"samples must be a list of at least one index; .*\(0,\)"),
        ({"samples": [[0]]}, ValueError, r"at least one index; got shape \(1, 1\)"),
        ({"samples": [0, 5]}, ValueError, r"must lie in 0..4, .*; samples\[1\] is 5"),
        ({"samples": [-1]}, ValueError, r"samples\[0\] is -1"),
        ({"samples": [0.5]}, TypeError, "samples must be indices, integers; got a list of float"),
        ({"samples": [True]}, TypeError, "samples must be indices"),
        ({"samples": "all"}, TypeError, "samples must be indices, integers; got str 'all'"),
        ({"dtype": torch.float16}, ValueError, "float64 or torch.float32; got torch.float16"),
        ({"memory": 0}, ValueError, "memory, in bytes, must be at least 1; got 0"),
    ],
)
def test_bad_options_are_refused(options, error, message):
    exact = problem("MLP with tanh")
    with pytest.raises(error, match=message):
        ekfac(exact, **options)


@pytest.mark.usefixtures("as_users_run_it")
def test_a_model_alone_is_no_problem():
    with pytest.raises(TypeError, match="problem must be a Problem: igsref"):
        ekfac(nn.Linear(2, 2))


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((torch.ones(59), 1.0), ValueError, r"must have shape \(59, k\); got \(59,\)"),
        ((torch.ones(58, 1), 1.0), ValueError, r"must have shape \(59, k\); got \(58, 1\)"),
        ((torch.ones(59, 1).long(), 1.0), TypeError, "floating-point dtype; got torch.int64"),
        (([1.0], 1.0), TypeError, "vectors must be a torch.Tensor"),
        ((torch.ones(59, 1), "half"), TypeError, "exponent must be a number"),
        ((torch.ones(59, 1), float("nan")), ValueError, "exponent must be finite; got nan"),
        ((torch.ones(59, 1), 1.0, -0.1), ValueError, "damping must not be negative; got -0.1"),
        ((torch.ones(59, 1), 1.0, 0.0, -1), ValueError, "absolute must not be negative; got -1"),
        ((torch.ones(59, 1), 1.0, float("inf")), ValueError, "damping must be finite; got inf"),
    ],
)
def test_bad_vectors_and_numbers_are_refused(arguments, error, message):
    found = ekfac(problem("MLP with tanh"))
    with pytest.raises(error, match=message):
        found.power(*arguments)
