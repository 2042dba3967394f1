"""The cosines are those of a step, and 1 where H is F."""

import json
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import igsref
from toy import igs_step
from toy.igs_step import DAMPINGS, Stage, cosines, damped_inverse, digits, gradient, main, stage

FEW = 60


def small(*layers):
    torch.manual_seed(0)
    return nn.Sequential(*layers).double()


def test_the_pseudo_inverse_and_the_damped_inverses_are_what_they_say():
    torch.manual_seed(1)
    A = torch.randn(4, 9, dtype=torch.float64)
    F = A.mT @ A
    # Relative errors of eigh times a condition number that stays below 1e3 of the 4 directions.
    torch.testing.assert_close(damped_inverse(F, 0.0), torch.linalg.pinv(F, hermitian=True))
    largest = torch.linalg.eigvalsh(F)[-1]
    shifted = F + 0.1 * largest * torch.eye(9, dtype=torch.float64)
    torch.testing.assert_close(damped_inverse(F, 0.1), torch.linalg.inv(shifted))


def test_where_the_hessian_is_the_fisher_matrix_the_step_is_the_gradient_s():
    """A linear softmax model: H = F, and g lies in the range of F."""
    x, y = digits(FEW, 0)
    found = stage(small(nn.Linear(64, 10)), x, y, 7)
    assert found.epochs == 7
    assert found.difference == pytest.approx(0, abs=1e-13)
    assert found.everything[-1] == pytest.approx(1, abs=1e-9)
    assert found.everything[0] < 1 - 1e-4  # damping alone changes the direction


def test_the_cosine_is_that_of_what_a_step_adds_to_the_gradient():
    x, y = digits(FEW, 0)
    model = small(nn.Linear(64, 5), nn.Tanh(), nn.Linear(5, 10))
    g = gradient(model, x, y)
    inverse = damped_inverse(igsref.fisher(model, (x, y)), DAMPINGS[0])
    (found,) = cosines(igsref.hessian(model, (x, y)), g, [inverse])
    # Central differences along δ: an error of ρ²‖δ‖², and u/ρ of rounding.
    delta, rho = inverse @ g, 1e-4
    theta = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    moved = []
    for sign in (1, -1):
        torch.nn.utils.vector_to_parameters(theta + sign * rho * delta, model.parameters())
        moved.append(gradient(model, x, y))
    added = (moved[0] - moved[1]) / (2 * rho)
    assert found == pytest.approx(float(torch.cosine_similarity(added, g, dim=0)), abs=1e-6)


def test_batches_have_their_own_gradient_and_hessian(monkeypatch):
    x, y = digits(FEW, 0)
    model = small(nn.Linear(64, 10))
    inverse = damped_inverse(igsref.fisher(model, (x, y)), DAMPINGS[1])
    expected = []
    for part in ((x[:30], y[:30]), (x[30:], y[30:])):
        expected += cosines(igsref.hessian(model, part), gradient(model, *part), [inverse])
    assert stage(model, x, y, 0).batches[1] == pytest.approx(sum(expected) / 2)
    assert cross_entropy(model(x), y).item() == stage(model, x, y, 0).loss


def test_the_script_prints_and_writes_its_stages(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(igs_step, "EPOCHS", (0, 2))
    monkeypatch.setattr(igs_step, "HIDDEN", 3)
    state = torch.get_rng_state()
    main(["--samples", str(FEW), "--output", str(tmp_path)])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("64-3-10 ReLU network, 60 digits")
    assert [line.split()[0] for line in printed[2:4]] == ["0", "2"]
    stored = json.loads((tmp_path / "igs-step.json").read_text())
    found = [Stage(**own) for own in stored["stages"]]
    assert found[1].loss < found[0].loss
    assert f"{found[1].loss:.3f}" in printed[3]
    assert all(-1 <= value <= 1 for own in found for value in own.everything + own.batches)
    assert all(math.isfinite(own.difference) for own in found)
    assert torch.equal(torch.get_rng_state(), state)
