"""The Fisher matrix and its spectrum."""

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import igsref
from tests.strategies import SEEDS, architecture, classes, gaussian, mlp
from verification.oracle import logits_and_jacobian


def naive_fisher(problem: igsref.Problem) -> torch.Tensor:
    """Equation (2) by expectation over labels: (1/N) Σ_i Σ_c p_c ∇l(c) ∇l(c)ᵀ."""
    total = 0.0
    for i in range(problem.num_samples):
        args = tuple(value[i : i + 1] for value in problem.samples.args)
        for c in range(problem.num_classes):

            def loss(theta: dict, args: tuple = args, c: int = c) -> torch.Tensor:
                return -problem.function.call(theta, args, {}).log_softmax(dim=1)[0, c]

            gradient = torch.func.grad(loss)(problem.function.parameters)
            flat = torch.cat([value.flatten() for value in gradient.values()])
            total = total + problem.logits[i].softmax(dim=0)[c] * torch.outer(flat, flat)
    return total / problem.num_samples


@pytest.mark.parametrize("name", ["MLP with gelu", "batch norm", "tied weights", "layer norm"])
def test_fisher_is_the_expected_outer_product_of_gradients(name):
    model, x, y = architecture(name, 1, 3)
    problem = igsref.as_problem(model, (x, y))
    expected = naive_fisher(problem)
    atol = 200 * 2**-52 * float(expected.abs().max())
    torch.testing.assert_close(igsref.fisher(problem), expected, rtol=0, atol=atol)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, samples=st.integers(1, 30))
def test_spectrum_solves_the_eigenproblem_of_the_dense_matrix(seed, samples):
    model, x, y = architecture("MLP with tanh", seed, samples)
    problem = igsref.as_problem(model, (x, y))
    fisher = igsref.fisher(problem)
    pairs = igsref.spectrum(problem, k=4)
    residual = fisher @ pairs.eigenvectors - pairs.eigenvectors * pairs.eigenvalues
    assert float(residual.abs().max()) <= 200 * 2**-52 * float(pairs.eigenvalues[0])
    k = len(pairs.eigenvalues)
    gram = pairs.eigenvectors.mT @ pairs.eigenvectors
    torch.testing.assert_close(gram, torch.eye(k).double(), rtol=0, atol=1e-13)
    largest = torch.linalg.eigvalsh(fisher).flip(0)[:k]
    allowed = 200 * 2**-52 * float(largest[0])
    torch.testing.assert_close(pairs.eigenvalues, largest, rtol=0, atol=allowed)


def test_eigenvalues_are_those_of_the_gram_matrix_over_n():
    model, x, y = architecture("MLP with relu", 2, 5)
    values = igsref.eigenvalues(model, (x, y))
    gram = torch.linalg.eigvalsh(igsref.gram(model, (x, y))).flip(0) / 5
    torch.testing.assert_close(values, gram, rtol=0, atol=100 * 2**-52 * float(values[0]))


def test_spectrum_keeps_an_eigenvalue_that_the_dense_matrix_has_lost():
    model = mlp(0, [1, 1, 2], torch.nn.Tanh)
    with torch.no_grad():
        model[2].weight.mul_(1e-12)
    data = (torch.tensor([[0.5], [1.5], [-1.0]]).double(), torch.tensor([0, 1, 0]))
    values = igsref.eigenvalues(model, data)
    dense = torch.linalg.eigvalsh(igsref.fisher(model, data)).flip(0)
    true = two_class_eigenvalues(model, data[0])
    assert len(values) == len(true) == 3
    # The third is the hidden layer's, 1e-24 of the output's: σ keeps it, σ² does not. σ_3 is
    # known to a few u·σ_1, here 8 u, and λ to twice that.
    for value, exact in zip(values.tolist(), true, strict=True):
        assert abs(value - exact) <= 2 * 8 * 2**-53 * (true[0] * exact) ** 0.5
    assert 2 * 8 * 2**-53 * (true[0] / true[2]) ** 0.5 < 0.05
    assert abs(float(dense[2]) / true[2]) > 10


def two_class_eigenvalues(model: torch.nn.Sequential, x: torch.Tensor) -> list[float]:
    """Nonzero eigenvalues of F, falling, in 100 digits: of K/N, K_ij = a_i·a_j, and
    a_i = √(p_0 p_1) (J_i0 − J_i1)."""
    layers = [(layer.weight.tolist(), layer.bias.tolist()) for layer in (model[0], model[2])]
    with mpmath.workdps(100):
        rows = []
        for sample in x.tolist():
            (a, b), (first, second) = logits_and_jacobian(layers, "tanh", sample)
            gap = mpmath.mpf((a - b).mid().str(100, radius=False))
            root = 1 / (2 * mpmath.cosh(gap / 2))
            rows.append(
                [
                    root * mpmath.mpf((u - v).mid().str(100, radius=False))
                    for u, v in zip(first, second, strict=True)
                ]
            )
        factor = mpmath.matrix(rows)
        found = mpmath.eigsy(factor * factor.T / len(rows), eigvals_only=True)
        return sorted((float(value) for value in found), reverse=True)


def test_eigenvectors_have_a_positive_largest_entry():
    model, x, y = architecture("MLP with relu", 2, 5)
    vectors = igsref.spectrum(model, (x, y), k=3).eigenvectors
    assert bool((vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True)) > 0).all())


@pytest.mark.parametrize("call", [igsref.fisher, igsref.gram, igsref.spectrum, igsref.eigenvalues])
def test_what_does_not_fit_is_refused_with_the_sizes(call):
    model, x, y = architecture("MLP with relu", 2, 5)
    with pytest.raises(MemoryError, match=r"needs .*iB, and 1000 B is there"):
        call(model, (x, y), memory=1000)


def test_refused_fisher_names_the_function_that_would_do():
    model, x, y = architecture("MLP with relu", 2, 5)
    with pytest.raises(MemoryError, match="spectrum"):
        igsref.fisher(model, (x, y), memory=1000)


def test_a_spectrum_takes_any_integer():
    data = gaussian(1, 6, 4), classes(2, 6, 3)
    network = mlp(0, [4, 5, 3], torch.nn.Tanh)
    assert igsref.spectrum(network, data, k=np.int64(3)).eigenvalues.shape == (3,)
