"""Leading eigenpairs of F and H beside those of the dense matrices."""

import pytest
import torch

import igsref
from tests.measures.test_matrixfree import convolutional, labelled, perceptron

MLP = (perceptron(0, 4, 8, 8, 3), labelled(0, 25, (4,), 3))
CNN = (convolutional(1), labelled(1, 9, (1, 6, 6), 3))


@pytest.mark.parametrize("model, data", [MLP, CNN])
@pytest.mark.parametrize("of", ["fisher", "hessian"])
def test_agree_with_the_dense_matrix(model, data, of):
    dense = igsref.fisher(model, data) if of == "fisher" else igsref.hessian(model, data)
    values = torch.linalg.eigvalsh(dense).flip(0)
    found = igsref.top_eigenpairs(model, data, k=6, of=of)
    # An eigenvalue is as near as its residual, or better.
    torch.testing.assert_close(found.eigenvalues, values[:6], rtol=0, atol=2e-8 * float(values[0]))
    assert bool(found.converged.all())
    residuals = dense @ found.eigenvectors - found.eigenvectors * found.eigenvalues
    assert float(residuals.norm(dim=0).max()) <= 1.1e-8 * float(values[0])


def test_a_pool_is_what_f_is_a_mean_over():
    pool = labelled(5, 30, (4,), 3)[0]
    found = igsref.top_eigenpairs(*MLP, k=3, fisher_data=pool)
    dense = igsref.fisher(*MLP, fisher_data=pool)
    values = torch.linalg.eigvalsh(dense).flip(0)[:3]
    torch.testing.assert_close(found.eigenvalues, values, rtol=1e-7, atol=0)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"k": 0}, "k must be at least 1"),
        ({"k": 51}, r"k must be at most 50, the largest rank possible for F \(rows\)"),
        ({"k": 10**4, "of": "hessian"}, "k must be at most m = 139"),
        ({"of": "gram"}, "of must be 'fisher' or 'hessian'; got 'gram'"),
        ({"dtype": torch.float16}, "dtype must be torch.float32 or torch.float64"),
        ({"tolerance": 0.0}, "tolerance must be finite and positive; got 0.0"),
        ({"seed": -1}, "seed must be at least 0; got -1"),
        ({"k": 1, "memory": 0}, "memory, in bytes, must be at least 1"),
    ],
)
def test_bad_settings_are_named(settings, words):
    with pytest.raises(Exception, match=words):
        igsref.top_eigenpairs(*MLP, **settings)


def test_what_does_not_fit_is_refused_before_any_derivative(monkeypatch):
    monkeypatch.setattr(
        "igsref.curvature.eigenpairs.curvature_product", lambda *_, **__: pytest.fail("ran")
    )
    with pytest.raises(MemoryError, match="3 eigenpairs with vectors of 139 parameters needs"):
        igsref.top_eigenpairs(*MLP, k=3, memory=10_000)
