"""Jacobian rows against a double loop of plain autograd, architecture by architecture."""

import sys
import warnings

import pytest
import torch
from torch import nn

import igsref
from igsref.jacobian import rows
from igsref.jacobian.rows import chunk_size, jacobian_rows
from tests.closeness import EPS, assert_rows_agree, assert_within
from tests.jacobian.naive import every_logit, naive_jacobian
from tests.strategies import ARCHITECTURES, architecture, classes, fill_, gaussian, mlp

SAMPLES = 3
LOOPED = {"LSTM", "GRU", "refused by vmap"}


class Encoder(nn.Module):
    """One transformer layer, batch in front or not."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.1, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.layer(x)[:, 0])


class Half(nn.Module):
    """Uses only the first of two layers."""

    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.used(x)


class Scaled(nn.Module):
    """Logits times a learned scale, a tensor without dimensions."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5, dtype=torch.float64))
        self.layer = mlp(0, [4, 3], nn.Tanh)

    def forward(self, x):
        return self.scale * self.layer(x)


def rows_of(model, x, y):
    problem = igsref.as_problem(model, (x, y))
    return jacobian_rows(problem, every_logit(problem))


def small():
    """A small problem with 7 samples."""
    model = mlp(0, [4, 5, 3], nn.Tanh).eval()
    return igsref.as_problem(model, (gaussian(1, 7, 4), classes(2, 7, 3)))


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in LOOPED])
def test_vmapped_rows_are_those_of_a_double_loop(name):
    model, x, y = architecture(name, 5, SAMPLES)
    assert_rows_agree(rows_of(model, x, y), naive_jacobian(model, x))


@pytest.mark.parametrize("name", sorted(LOOPED))
def test_looped_rows_are_those_of_a_double_loop(name):
    model, x, y = architecture(name, 5, SAMPLES)
    with pytest.warns(RuntimeWarning, match="cannot be vmapped"):
        actual = rows_of(model, x, y)
    assert_rows_agree(actual, naive_jacobian(model, x))


def test_a_transformer_layer_is_vmapped_without_a_warning():
    model = fill_(Encoder().double(), 3).eval()
    x = gaussian(1, SAMPLES, 5, 4)
    assert_rows_agree(rows_of(model, x, classes(2, SAMPLES, 3)), naive_jacobian(model, x))


def test_attention_is_batched_and_not_looped_over():
    q = gaussian(1, SAMPLES, 1, 2, 5, 4)
    with rows._batching_rules(), warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of a performance drop where it loops
        torch.func.vmap(nn.functional.scaled_dot_product_attention)(q, q, q)


def test_a_parameter_that_the_logits_do_not_use_has_zero_columns():
    model = fill_(Half().double(), 1).eval()
    x = gaussian(2, SAMPLES, 4)
    J = rows_of(model, x, classes(3, SAMPLES, 3))
    assert_rows_agree(J, naive_jacobian(model, x))
    assert not J[:, 15:].any()


def test_a_parameter_without_dimensions_has_one_column():
    model = Scaled()
    x, y = gaussian(2, SAMPLES, 4), classes(3, SAMPLES, 3)
    assert_rows_agree(rows_of(model, x, y), naive_jacobian(model, x))


def test_rows_are_linear_in_the_cotangents():
    problem = small()
    J = jacobian_rows(problem, every_logit(problem)).view(7, 3, -1)
    K = gaussian(4, 7, 2, 3)
    assert_rows_agree(jacobian_rows(problem, K), (K @ J).flatten(0, 1))


def test_chosen_samples_give_their_rows_in_the_order_asked_for():
    problem = small()
    everything = jacobian_rows(problem, every_logit(problem)).view(7, 3, -1)
    chosen = torch.tensor([5, 0, 5])
    some = jacobian_rows(problem, every_logit(problem), samples=chosen)
    assert_rows_agree(some, everything[chosen].flatten(0, 1))


def test_rows_at_another_theta_are_those_of_the_model_there():
    model = mlp(0, [4, 5, 3], nn.Tanh).eval()
    x, y = gaussian(1, 4, 4), classes(2, 4, 3)
    problem = igsref.as_problem(model, (x, y))
    theta = {name: 1.5 * value for name, value in problem.function.parameters.items()}
    moved = jacobian_rows(problem, every_logit(problem), theta=theta)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1.5
    assert_rows_agree(moved, naive_jacobian(model, x))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_chunks_of_any_size_give_the_same_rows(size, monkeypatch):
    problem = small()
    whole = jacobian_rows(problem, every_logit(problem))
    monkeypatch.setattr(rows, "chunk_size", lambda _: size)
    assert_rows_agree(jacobian_rows(problem, every_logit(problem)), whole)


def test_a_chunk_holds_a_sample_at_least_and_a_bounded_number_of_bytes():
    assert chunk_size(2**60) == 1
    assert chunk_size(0) == chunk_size(1)
    assert 1 < chunk_size(2**20) * 2**20 <= 2**30


def test_a_progress_bar_counts_every_sample_when_it_takes_long(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(rows, "SECONDS_BEFORE_PROGRESS", 0.0)
    monkeypatch.setattr(rows, "chunk_size", lambda _: 2)
    problem = small()
    jacobian_rows(problem, every_logit(problem))
    shown = capsys.readouterr().err
    assert "Jacobian rows" in shown
    assert "/7" in shown


def test_no_progress_bar_goes_into_a_pipe(monkeypatch, capsys):
    monkeypatch.setattr(rows, "SECONDS_BEFORE_PROGRESS", 0.0)
    problem = small()
    jacobian_rows(problem, every_logit(problem))
    assert capsys.readouterr().err == ""


def test_nothing_is_printed_when_it_is_quick(capsys):
    problem = small()
    jacobian_rows(problem, every_logit(problem))
    assert capsys.readouterr() == ("", "")


def test_vmap_is_asked_once_a_problem_and_warns_once(monkeypatch):
    model, x, y = architecture("refused by vmap", 5, SAMPLES)
    problem = igsref.as_problem(model, (x, y))
    attempts = []
    batched = rows._batched_rows
    monkeypatch.setattr(rows, "_batched_rows", lambda *a: attempts.append(a) or batched(*a))
    monkeypatch.setattr(rows, "chunk_size", lambda _: 1)
    with pytest.warns(RuntimeWarning, match="cannot be vmapped") as caught:
        for _ in range(2):
            jacobian_rows(problem, every_logit(problem))
    assert len(caught) == len(attempts) == 1


def test_running_out_of_memory_is_not_taken_for_a_refusal(monkeypatch):
    def exhausted(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(rows, "_batched_rows", exhausted)
    problem = small()
    with pytest.raises(torch.OutOfMemoryError):
        jacobian_rows(problem, every_logit(problem))


def test_grad_mode_of_the_caller_does_not_matter():
    problem = small()
    expected = jacobian_rows(problem, every_logit(problem))
    for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        with mode():
            assert torch.equal(jacobian_rows(problem, every_logit(problem)), expected)
    assert not expected.requires_grad


def test_exact_igs_of_a_refused_model_is_that_of_the_model_it_computes():
    model, x, y = architecture("refused by vmap", 5, 12)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        refused = igsref.exact_igs(model, (x, y))
    accepted = igsref.exact_igs(model.layers, (x, y))
    assert [w.category for w in caught] == [RuntimeWarning]
    assert caught[0].filename == __file__
    assert refused.value == pytest.approx(accepted.value, rel=1e-12)
    assert_within(refused.per_sample, accepted.per_sample, 1e4 * EPS * accepted.value)
