"""Directions without curvature, and what is said of them."""

import pytest
import torch
from torch import nn

import igsref
from igsref.curvature.hessian import hessian
from igsref.curvature.null_directions import known_null_directions, regular_spectrum
from tests.closeness import EPS
from tests.strategies import classes, gaussian, mlp


def at_a_minimum(activation: type[nn.Module], likelihood: str = "gaussian") -> igsref.Problem:
    """Targets that the network hits, so that the gradient is 0."""
    model, x = mlp(0, [3, 4, 2], activation), gaussian(1, 60, 3)
    y = model(x).detach() if likelihood == "gaussian" else model(x).detach().softmax(dim=1)
    return igsref.as_problem(model, (x, y), likelihood=likelihood)


def reasons(problem: igsref.Problem) -> list[str]:
    return [known.reason for known in known_null_directions(problem)]


@pytest.mark.parametrize("likelihood", ["gaussian", "categorical"])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU])
def test_the_hessian_at_a_minimum_is_zero_along_all_of_them(activation, likelihood):
    problem = at_a_minimum(activation, likelihood)
    H = hessian(problem)
    known = known_null_directions(problem)
    assert len(known) == (3 if likelihood == "categorical" else 1)
    for directions in known:
        # Each entry of H n is a sum of m products that cancel.
        scale = H.norm() * directions.vectors.norm(dim=1)
        assert bool(((directions.vectors @ H).norm(dim=1) <= len(H) * EPS * scale).all())


def test_softmax_shifts_have_no_curvature_anywhere():
    model = mlp(0, [3, 4, 3], nn.Tanh)
    problem = igsref.as_problem(model, (gaussian(1, 20, 3), classes(2, 20, 3)))
    H = hessian(problem)
    for directions in known_null_directions(problem):
        assert float((directions.vectors @ H).abs().max()) <= len(H) * EPS * float(H.norm())


def test_tanh_units_cannot_be_scaled():
    assert reasons(at_a_minimum(nn.Tanh)) == []
    assert reasons(at_a_minimum(nn.Tanh, "categorical")) == [
        "softmax shift of 2.weight",
        "softmax shift of 2.bias",
    ]


def test_directions_need_all_their_parameters():
    model = mlp(0, [3, 4, 2], nn.ReLU)
    data = (gaussian(1, 20, 3), classes(2, 20, 2))
    first = igsref.as_problem(model, data, parameters="0.*")
    weights = igsref.as_problem(model, data, parameters="*.weight")
    assert reasons(first) == []
    assert reasons(weights) == ["softmax shift of 2.weight"]


def test_nothing_is_known_of_a_model_without_layers():
    def call(params, x):
        return x @ params["w"]

    data = (gaussian(1, 20, 3), classes(2, 20, 2))
    assert reasons(igsref.as_problem((call, {"w": gaussian(0, 3, 2)}), data)) == []


def test_a_singular_hessian_names_scalings_of_units():
    problem = at_a_minimum(nn.ReLU)
    with pytest.raises(ValueError, match=r"4 of its 26 .*scaling of the units of 0.weight \(4\)\."):
        regular_spectrum(problem, hessian(problem))


def test_a_singular_hessian_names_dead_units_and_where_they_are():
    model = mlp(0, [3, 2, 1], nn.ReLU)
    with torch.no_grad():
        model[0].bias[1] = -1e3
    x = gaussian(1, 30, 3)
    problem = igsref.as_problem(model, (x, model(x).detach()), likelihood="gaussian")
    # Its four parameters, the weight on it, and the scaling of the other unit.
    with pytest.raises(ValueError, match=r"6 of its 11 .*0.weight \(.*dead units \(5\)"):
        regular_spectrum(problem, hessian(problem))


def test_a_regular_spectrum_is_that_of_the_matrix():
    model, x = nn.Linear(3, 1).double(), gaussian(1, 30, 3)
    problem = igsref.as_problem(model, (x, x[:, :1]), likelihood="gaussian")
    H = hessian(problem)
    eigenvalues, vectors, floor = regular_spectrum(problem, H)
    again = vectors @ torch.diag(eigenvalues) @ vectors.mT
    assert float((again - H).norm()) <= 16 * EPS * float(H.norm())
    assert floor == pytest.approx(4 * EPS * float(eigenvalues.max()), rel=4 * EPS)


def test_shifts_are_known_of_a_module_with_a_forward_of_its_own():
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(2, 3), nn.Linear(3, 2)

        def forward(self, x):
            return self.head(torch.tanh(self.body(x)) + 1)

    data = gaussian(0, 5, 2), torch.zeros(5).long()
    known = known_null_directions(igsref.as_problem(Own().double(), data))
    assert [each.reason for each in known] == [
        "softmax shift of head.weight",
        "softmax shift of head.bias",
    ]
    assert [len(each.vectors) for each in known] == [3, 1]
