"""Students of a teacher, and the gap that theory knows."""

import torch

from experiments import controls
from experiments.controls import CLASSES, SETTINGS, Setting, control, drawn, fit, loss_of, student


def test_settings_are_of_every_size_and_narrow():
    assert len(set(SETTINGS)) == 27
    assert all(setting.samples >= 1000 and setting.hidden <= 4 for setting in SETTINGS)


def test_one_teacher_labels_all_samples_of_a_kind():
    setting = Setting(3, 1000, 0)
    x, y = drawn(setting, 4000, 1)
    again, other = drawn(setting, 4000, 1), drawn(setting, 4000, 2)
    assert torch.equal(x, again[0])
    assert torch.equal(y, again[1])
    assert not torch.equal(x, other[0])
    # A student of many samples is right on others about as often: it is the same teacher.
    model = student(setting, 0)
    fit(model, (x, y))
    with torch.no_grad():
        assert abs(float(loss_of(model, other) - loss_of(model, (x, y)))) < 0.05


def test_a_fit_ends_at_a_minimum():
    setting = Setting(3, 200, 0)
    data, model = drawn(setting, 200, 1), student(setting, 0)
    assert fit(model, data) > 3
    gradients = torch.autograd.grad(loss_of(model, data), list(model.parameters()))
    assert max(float(g.abs().max()) for g in gradients) < 1e-7


def test_the_gap_of_a_softmax_is_about_its_parameters_over_samples(monkeypatch):
    """In theory (m − the shift of all classes)/N: 12 directions of 16 parameters here."""
    monkeypatch.setattr(controls, "FRESH", 20_000)
    setting = Setting(3, 200, 0)
    found = control(setting)
    rank = (CLASSES - 1) * (setting.inputs + 1)
    assert found.parameters == CLASSES * (setting.inputs + 1)
    assert found.measures["AIC"] == found.parameters / setting.samples
    # IGS/N estimates Tr(F⁻¹C)/N, whose mean is rank/N up to O(1/N²): a factor 1 + O(rank/N).
    assert 0.7 < found.measures["IGS/N"] * setting.samples / rank < 1.3
    # The gap of six sets: their training losses vary by some 1/√(6 N) nats.
    assert abs(found.gap - rank / setting.samples) < 3 / (6 * setting.samples) ** 0.5
    assert found.bracket[0] <= found.measures["IGS"] <= found.bracket[1]
