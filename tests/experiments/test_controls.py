"""Students of a teacher, and the gap that theory knows."""

import pytest
import torch

from experiments import controls
from experiments.controls import (
    CLASSES,
    FLAT,
    KINDS,
    SETTINGS,
    Setting,
    best,
    conditions,
    control,
    drawn,
    fit,
    loss_of,
    network,
)

SMALL = {"FRESH": 20_000, "CHOOSING": 5000, "REPEATS": 4}


@pytest.fixture
def small(monkeypatch):
    for name, value in SMALL.items():
        monkeypatch.setattr(controls, name, value)


def test_settings_are_of_every_size_and_narrow():
    assert len(set(SETTINGS)) == 27
    assert all(setting.samples >= 1000 and setting.student <= 2 for setting in SETTINGS)
    assert Setting(5, 1000, 4, 0).kind == "softmax taught by a tanh network of 4 units"
    assert Setting(5, 1000, 2, 2).kind == "tanh network of 2 units"


def test_one_teacher_labels_all_samples_of_a_kind():
    teacher = network(3, 0)
    x, y = drawn(teacher, 3, 4000, 1)
    again, other = drawn(network(3, 0), 3, 4000, 1), drawn(teacher, 3, 4000, 2)
    assert torch.equal(x, again[0])
    assert torch.equal(y, again[1])
    assert not torch.equal(x, other[0])
    # Labels have the teacher's probabilities: shares of a class to three standard errors.
    with torch.no_grad():
        expected = teacher(x).softmax(dim=1).mean(dim=0)
    found = torch.bincount(y, minlength=CLASSES) / len(y)
    assert ((found - expected).abs() < 3 * (expected / len(y)).sqrt()).all()


@pytest.mark.parametrize(("teacher", "student"), KINDS)
def test_a_fit_ends_at_a_minimum(small, teacher, student):
    setting = Setting(3, 4000, teacher, student)
    own = network(3, teacher)
    model = network(3, student)
    model.load_state_dict(best(setting, own).state_dict())
    data = drawn(own, 3, 4000, 1)
    ended = fit(model, data)
    assert ended.minimum
    assert ended.iterations > 3
    gradients = torch.autograd.grad(loss_of(model, data), list(model.parameters()))
    assert max(float(g.abs().max()) for g in gradients) <= FLAT


def test_where_weights_grow_without_end_there_is_no_minimum(monkeypatch):
    """Classes that a line parts: the loss and its slope fall to 0 as the weights grow."""
    monkeypatch.setattr(controls, "FAR", 5.0)
    x = torch.tensor([[-1.0], [1.0]]).double()
    model = network(1, 0)
    ended = fit(model, (x, torch.tensor([0, 1])))
    assert not ended.minimum
    assert max(float(p.detach().abs().max()) for p in model.parameters()) > 5.0


@pytest.mark.parametrize(("teacher", "student"), KINDS)
def test_the_best_parameters_are_no_worse_than_any_fit(small, teacher, student):
    setting = Setting(3, 500, teacher, student)
    own = network(3, teacher)
    star, fresh = best(setting, own), drawn(own, 3, 20_000, 0, 0)
    model = network(3, student)
    model.load_state_dict(star.state_dict())
    fit(model, drawn(own, 3, 500, 1))
    with torch.no_grad():
        assert float(loss_of(star, fresh)) < float(loss_of(model, fresh))


def test_the_gap_of_a_softmax_is_about_its_rank_over_samples(small):
    """In theory (m − the shift of all classes)/N: 12 directions of 16 parameters here."""
    setting = Setting(3, 400, 0, 0)
    found = control(setting)
    rank = (CLASSES - 1) * (setting.inputs + 1)
    assert found.reached
    assert found.parameters == CLASSES * (setting.inputs + 1)
    assert found.measures["AIC"] == found.parameters / setting.samples
    # IGS/N estimates Tr(F⁻¹C)/N, whose mean is rank/N up to O(1/N²): a factor 1 + O(rank/N).
    assert 0.7 < found.measures["IGS/N"] * setting.samples / rank < 1.3
    # N × gap is about χ² of rank degrees, half from either side: variance 2·rank. The loss at the
    # teacher takes away the noise of the training set, of 1/√(4 N) nats in the mean of four.
    deviation = (2 * rank / SMALL["REPEATS"]) ** 0.5 / setting.samples
    assert abs(found.gap - rank / setting.samples) < 4 * deviation
    assert 0.2 * deviation < found.gap_error < 3 * deviation
    assert found.bracket[0] <= found.measures["IGS"] <= found.bracket[1]


def test_a_setting_whose_fits_end_nowhere_is_not_reached(small, monkeypatch):
    monkeypatch.setattr(controls, "STEPS", 2)
    assert not control(Setting(3, 300, 0, 0)).reached


def test_conditions_hold_all_that_decides(monkeypatch):
    before = conditions(SETTINGS[0])
    for name in ("FRESH", "CHOOSING", "REPEATS", "STEPS", "FLAT", "FAR"):
        with monkeypatch.context() as patch:
            patch.setattr(controls, name, 7)
            assert conditions(SETTINGS[0]) != before
