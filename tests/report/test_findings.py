"""What is measured is what the library's functions give; what is left out has a reason."""

import pytest
import torch
from torch import nn

import igsref
from igsref.curvature.fisher import fisher_bytes
from igsref.report import findings
from igsref.report.findings import find
from tests.report.networks import images, perceptron


def test_all_parts_of_a_small_network_are_found():
    problem = igsref.as_problem(*images())
    found = find(problem, None, 600.0)
    assert found.result == igsref.igs(problem)
    assert torch.equal(found.spectrum, igsref.eigenvalues(problem))
    assert [each.name for each in found.layers] == ["0 Conv2d", "4 Linear"]
    assert [each.label for each in found.classes] == [0, 1, 2]
    assert [(each.dtype, each.rcond) for each in found.textbook] == [
        ("float64", 1e-5),
        ("float64", 1e-12),
        ("float32", 1e-5),
    ]
    for each in found.textbook:
        dtype = getattr(torch, each.dtype)
        assert each.value == igsref.textbook_igs(problem, dtype=dtype, rcond=each.rcond)
    assert found.left_out == {}


def test_an_iteration_leaves_out_what_takes_the_factor():
    model, data = images()
    found = find(igsref.as_problem(model, data), 30_000, 600.0)
    assert found.result.method == "krylov"
    assert found.spectrum is None
    assert found.layers == ()
    assert "krylov route does not form the factor" in found.left_out["spectrum"]
    assert "krylov route does not form the factor" in found.left_out["layers"]


def test_layers_that_would_take_too_long_are_left_out_with_the_times(monkeypatch):
    model, data = perceptron()
    problem = igsref.as_problem(model, data)
    seconds = igsref.plan(problem).seconds
    found = find(problem, None, 3 * seconds)
    assert found.layers == ()
    assert "4 measurements for 2 layers" in found.left_out["layers"]


def test_a_single_layer_and_labels_that_are_no_classes_are_said():
    labels = torch.tensor([[0.5, 0.5], [0.2, 0.8]], dtype=torch.float64)
    found = find(
        igsref.as_problem(nn.Sequential(nn.Linear(2, 2)), (torch.eye(2), labels)), None, 600.0
    )
    assert found.left_out["layers"] == "All parameters belong to one layer."
    assert found.left_out["classes"] == "Labels of this problem are no classes."


def test_a_textbook_that_is_too_large_or_fails_is_said(monkeypatch):
    problem = igsref.as_problem(*perceptron())

    def fails(*arguments, **options):
        raise torch.linalg.LinAlgError("no convergence")

    monkeypatch.setattr(findings, "textbook_igs", fails)
    assert [each.value for each in find(problem, None, 600.0).textbook] == [None] * 3
    monkeypatch.setattr(findings, "TEXTBOOK_PARAMETERS", problem.num_parameters - 1)
    found = find(problem, None, 600.0)
    assert found.textbook == ()
    assert f"{problem.num_parameters}²" in found.left_out["textbook"]


def test_sections_keep_to_the_budget_of_the_measurement():
    problem = igsref.as_problem(*perceptron())
    planned = igsref.plan(problem)
    found = find(problem, planned.bytes_needed, 600.0)
    assert found.result.method == "dense"
    assert found.textbook
    less = find(problem, fisher_bytes(problem) - 1, 600.0)
    assert less.textbook == ()
    assert "F and the Jacobian that it is made of take" in less.left_out["textbook"]
    assert less.spectrum is None
    assert less.left_out["spectrum"].startswith("Not computed: ")


def test_warnings_are_kept_and_given_on(monkeypatch):
    def warning(*arguments, **options):
        import warnings

        for _ in range(2):
            warnings.warn("not so many digits", igsref.AccuracyWarning, stacklevel=2)
        warnings.warn("once removed", DeprecationWarning, stacklevel=2)
        return igsref.exact_igs(arguments[0])

    monkeypatch.setattr(findings, "igs", warning)
    with (
        pytest.warns(igsref.AccuracyWarning, match="not so many digits"),
        pytest.warns(DeprecationWarning, match="once removed"),
    ):
        found = find(igsref.as_problem(*perceptron()), None, 600.0)
    assert found.warned == ("not so many digits",)


def test_a_network_that_runs_in_float64_alone_has_no_textbook_in_float32():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x):
            return self.layer(x) * torch.ones(3, dtype=torch.float64)

    _, data = perceptron()
    found = find(igsref.as_problem(Fixed().double().eval(), data), None, 600.0)
    assert [each.value is None for each in found.textbook] == [False, False, True]


def test_a_textbook_that_takes_too_long_is_left_out(monkeypatch):
    monkeypatch.setattr(findings, "factorisation_seconds", lambda problem: 201.0)
    found = find(igsref.as_problem(*perceptron()), None, 600.0)
    assert found.textbook == ()
    assert found.left_out["textbook"].startswith("Not computed: it would take about 10 min")


def test_a_fisher_matrix_of_zero_has_no_spectrum():
    model, data = perceptron()
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.zero_()
        model[2].weight.zero_()
    problem = igsref.as_problem(model, data, parameters="0.*")
    with pytest.warns(RuntimeWarning):
        found = find(problem, None, 600.0)
    assert found.spectrum is None
    assert "F is 0" in found.left_out["spectrum"]
