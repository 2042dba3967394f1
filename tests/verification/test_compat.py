"""Networks of other libraries agree with the script's computation; a wrong number is seen."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import igsref
from tests.strategies import gaussian
from verification import compat


def logistic():
    """One output, as ``MLPClassifier`` has it for two classes."""
    hidden, output = nn.Linear(2, 3), nn.Linear(3, 1)
    labels = torch.randint(2, (30, 1)).double()
    model = nn.Sequential(hidden, nn.Tanh(), output)
    return compat.Subject(model, (torch.randn(30, 2),), labels, "bernoulli")


SMALL = {"graph network": compat.KINDS["graph network"], "logistic": ("torch", logistic)}


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(compat, "KINDS", SMALL)


def test_small_kinds_agree_and_are_printed(few, capsys):
    assert compat.main([]) == 0
    heads, *lines = capsys.readouterr().out.splitlines()
    assert heads.split()[:2] == ["network", "torch"]
    assert [line.split("  ")[0] for line in lines] == list(SMALL)
    assert all(torch.__version__ in line for line in lines)


def changed(**factors):
    """exact_igs with some numbers of its result multiplied."""
    right = igsref.exact_igs

    def measure(*args, **options):
        found = right(*args, **options)
        wrong = {name: getattr(found, name) * factor for name, factor in factors.items()}
        return dataclasses.replace(found, **wrong)

    return measure


@pytest.mark.parametrize(
    "factors", [{"value": 1 + 1e-6}, {"lower": 1.001}, {"upper": 0.1}, {"rank": 2}], ids=str
)
def test_a_wrong_number_makes_it_exit_with_1(factors, few, monkeypatch, capsys):
    monkeypatch.setattr(igsref, "exact_igs", changed(**factors))
    assert compat.main([]) == 1
    assert capsys.readouterr().out.count("OFF") == len(SMALL)


def test_what_is_not_installed_is_left_out_with_a_word(monkeypatch, capsys):
    kinds = {"ours": ("no_such_library", lambda: pytest.fail("was made"))}
    monkeypatch.setattr(compat, "KINDS", kinds)
    assert compat.main([]) == 0
    assert "ours: left out, no_such_library is not installed" in capsys.readouterr().out


def test_the_check_is_the_rank_under_labels_of_two_equal_probabilities():
    """A single logistic unit at 0: (p − y)²/(p(1 − p)) = 1, so Σ of leverages is the rank."""
    model = nn.Linear(2, 1, dtype=torch.float64)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    x, y = gaussian(0, 7, 2), torch.ones(7, 1, dtype=torch.float64)
    found = compat.check(compat.Subject(model, (x,), y, "bernoulli"))
    assert found.rank == 3
    assert abs(found.value - 3) <= found.error


FUNCTIONS = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "logistic": torch.sigmoid,
    "identity": lambda x: x,
}


@pytest.mark.parametrize("activation", FUNCTIONS)
def test_an_adapted_classifier_is_its_own_forward_pass(activation):
    """``coefs_`` are (inputs, outputs), and nothing follows the last layer."""
    x, first, second = gaussian(0, 9, 2), gaussian(1, 2, 4), gaussian(2, 4, 3)
    biases = gaussian(3, 4), gaussian(4, 3)
    fitted = SimpleNamespace(
        coefs_=[first.numpy(), second.numpy()],
        intercepts_=[bias.numpy() for bias in biases],
        activation=activation,
    )
    expected = FUNCTIONS[activation](x @ first + biases[0]) @ second + biases[1]
    torch.testing.assert_close(compat.as_torch(fitted)(x), expected)
