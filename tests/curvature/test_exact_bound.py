"""The exact rank as a bound: where it is cheap, what it says, and where it stands aside."""

import pytest
import torch
from torch import nn

import igsref
from igsref.curvature import exact_bound as module
from igsref.curvature.exact_bound import EXACT, exact_bound
from igsref.curvature.rank_bound import RankBound, rank_bound
from igsref.exact.cost import linearisation_seconds
from tests.curvature.test_rank_bound import exact_rank
from tests.strategies import classes, gaussian, mlp

AMPLE = 1e3


def with_a_dead_unit(kind: type[nn.Module] = nn.ReLU) -> tuple[nn.Sequential, igsref.Problem]:
    """One unit of five is off on all samples, which structure does not know."""
    model = mlp(3, [2, 5, 3], kind)
    with torch.no_grad():
        model[0].bias[1] = -40.0
    return model, igsref.as_problem(model, (gaussian(4, 24, 2), classes(5, 24, 3)))


def test_it_is_the_exact_rank_where_structure_does_not_reach_it():
    model, problem = with_a_dead_unit()
    known = rank_bound(problem)
    found = exact_bound(problem, known, AMPLE)
    assert found == RankBound(exact_rank(model, problem), EXACT)
    assert found.value < known.value


def test_a_bound_that_is_met_keeps_its_source():
    problem = igsref.as_problem(
        mlp(3, [2, 3, 3], nn.LeakyReLU), (gaussian(4, 24, 2), classes(5, 24, 3))
    )
    known = rank_bound(problem)
    assert exact_bound(problem, known, AMPLE) == known
    assert known.source == "symmetries of the network"
    above = RankBound(known.value + 1, "a guess")
    assert exact_bound(problem, above, AMPLE) == RankBound(known.value, EXACT)


def test_other_networks_have_none():
    for model in (mlp(0, [2, 3, 3], nn.Tanh), mlp(0, [2, 3, 3], nn.Softplus)):
        problem = igsref.as_problem(model, (gaussian(1, 6, 2), classes(2, 6, 3)))
        assert exact_bound(problem, rank_bound(problem), AMPLE) is None


def test_there_is_none_where_it_is_predicted_to_take_longer(monkeypatch):
    _, problem = with_a_dead_unit()
    first = linearisation_seconds(problem)
    # Null vectors come on top of what the linearisation takes.
    assert exact_bound(problem, rank_bound(problem), first * 1.0001) is None
    monkeypatch.setattr(module, "linearised", lambda *_: pytest.fail("work has started"))
    assert exact_bound(problem, rank_bound(problem), first * 0.9999) is None


def test_time_for_null_vectors_is_what_the_linearisation_leaves(monkeypatch):
    _, problem = with_a_dead_unit()
    left = []
    monkeypatch.setattr(module, "affordable_rank", lambda gram, known, s: left.append(s))
    assert exact_bound(problem, rank_bound(problem), AMPLE) is None
    assert left == [AMPLE - linearisation_seconds(problem)]


def test_there_is_none_for_too_many_rows(monkeypatch):
    _, problem = with_a_dead_unit()
    monkeypatch.setattr(module, "MOST_ROWS", problem.num_rows)
    assert exact_bound(problem, rank_bound(problem), AMPLE) is not None
    monkeypatch.setattr(module, "MOST_ROWS", problem.num_rows - 1)
    assert exact_bound(problem, rank_bound(problem), AMPLE) is None
