"""The live model as a function: its own values, its mode, and nothing left behind."""

import jaxtyping
import pytest
import torch
from torch import nn

from igsref.likelihoods import Categorical
from igsref.training.live import (
    has_batch_statistics,
    live_capture,
    live_function,
    samples_of,
    trainable,
)
from tests.strategies import gaussian
from tests.training.networks import batch, small


class Answer(nn.Module):
    """Gives what ``how`` makes of its layer's output."""

    def __init__(self, how):
        super().__init__()
        self.layer, self.how = nn.Linear(3, 3).double(), how

    def forward(self, x):
        return self.how(self.layer(x))


def capture_of(model, x):
    return live_capture(live_function(model), samples_of((x,), {}), [], Categorical())


def test_it_is_the_model_in_training_mode_and_leaves_running_statistics():
    model, (x, _) = small(norm=True), batch()
    before = {name: value.clone() for name, value in model.named_buffers()}
    found = capture_of(model, x)
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    assert torch.equal(found.logits, model(x).detach())


def test_theta_is_the_model_s_own():
    model = small()
    model[0].bias.requires_grad_(False)
    theta = live_function(model).parameters
    assert list(theta) == ["0.weight", "2.weight", "2.bias"] == list(trainable(model))
    assert theta["0.weight"].data_ptr() == model[0].weight.data_ptr()


def test_in_another_dtype_it_is_a_copy():
    model = small()
    theta = live_function(model).source(torch.float32).parameters
    assert {value.dtype for value in theta.values()} == {torch.float32}
    assert model[0].weight.dtype == torch.float64


def test_samples_depend_where_a_batch_norm_takes_the_batch():
    assert has_batch_statistics(small(norm=True))
    assert not has_batch_statistics(small(norm=True).eval())
    assert has_batch_statistics(nn.BatchNorm1d(3, track_running_stats=False).eval())
    assert not has_batch_statistics(small())


@pytest.fixture
def as_users_run_it(monkeypatch):
    """Without the annotations that pytest may execute: they would refuse first, in other words."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        (lambda y: (y,), TypeError, "model must return logits as a tensor; got tuple"),
        (lambda y: y[:2], ValueError, r"here \(12, C\); got \(2, 3\)"),
        (lambda y: y[:, 0], ValueError, r"here \(12, C\); got \(12,\)"),
        (lambda y: y / (torch.arange(12) != 5)[:, None], FloatingPointError, "sample 5 are not"),
        (lambda y: y[:, :1], ValueError, "C ≥ 2"),
    ],
)
def test_what_are_no_logits_is_refused(how, error, message):
    with pytest.raises(error, match=message):
        capture_of(Answer(how), gaussian(1, 12, 3))


def test_inputs_are_tensors_without_a_graph():
    x = gaussian(1, 4, 3).requires_grad_(True)
    samples = samples_of((x,), {"mask": None, "other": x})
    assert list(samples.kwargs) == ["other"] and not samples.args[0].requires_grad
    with pytest.raises(TypeError, match="called with tensors alone; got True"):
        samples_of((x,), {"flag": True})
