"""Krylov runs: what the found range claims, when they stop, and what they do not believe."""

from dataclasses import replace

import pytest
import torch

import igsref
from igsref.curvature.factor import reduced_factor
from igsref.curvature.operators import FactorOperator, factor_operator
from igsref.geometry.krylov import (
    FoundRange,
    Krylov,
    Limits,
    Step,
    lower_energy,
    run,
    seconds_at_the_end,
    step_bytes,
    still_to_come,
)
from igsref.geometry.preconditioner import NoPreconditioner, sample_weights
from igsref.geometry.right_hand_sides import right_hand_sides
from tests.measures.test_matrixfree import labelled, perceptron

LIMITS = Limits(tolerance=1e-6, max_iterations=30, max_seconds=100.0, memory=2**30)


def prepared(problem, *, heaviest, weighted=True, dtype=torch.float64):
    sides = right_hand_sides(
        problem.residuals(),
        problem.members,
        problem.pool_size,
        heaviest=heaviest,
        probes=1,
        seed=0,
    )
    exact, operator = factor_operator(problem), factor_operator(problem, dtype=dtype)
    right = NoPreconditioner()
    weights = (lambda: sample_weights(problem, right)) if weighted else None
    return Krylov(problem, sides, operator, exact, right, weights)


def projector(problem):
    left, sigma, _ = torch.linalg.svd(reduced_factor(problem), full_matrices=False)
    left = left[:, sigma > 1e-9 * sigma[0]]
    return left @ left.mT


def saved(states):
    return lambda state: states.append(state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_found_directions_lie_in_the_range(dtype, weighted):
    problem = igsref.as_problem(perceptron(1, 3, 6, 3), labelled(1, 14, (3,), 3))
    krylov = prepared(problem, heaviest=3, weighted=weighted, dtype=dtype)
    found = run(krylov, None, LIMITS, save=saved([]))
    P, Q = projector(problem), found.basis
    # Q is off the range by the estimate, and the projector by what its smallest direction allows.
    assert float((Q - P @ Q).norm()) <= found.error + 1e-9
    unit = torch.eye(Q.shape[1], dtype=torch.float64)
    torch.testing.assert_close(Q.mT @ Q, unit, rtol=0, atol=1e-13)
    vectors = torch.randn(len(P), 5, dtype=torch.float64)
    assert (found.lower_energy(vectors) <= (P @ vectors).square().sum(0) * (1 + 1e-12)).all()
    assert found.error < 1e-3


def test_rows_that_look_alike_make_no_direction_out_of_rounding():
    """Behind dead units J x is the same for all samples, exactly: only roots are rounded."""
    model = perceptron(0, 3, 4, 4, 2)
    model[0].bias.data.fill_(-100.0)
    problem = igsref.as_problem(model, labelled(0, 20, (3,), 2))
    noisy = problem.logits + 1e-15 * torch.randn(problem.logits.shape, dtype=torch.float64)
    problem = replace(problem, logits=noisy)
    krylov = prepared(problem, heaviest=20)
    found = run(krylov, None, LIMITS, save=saved([]))
    assert found.basis.shape[1] == 1
    energy = found.lower_block_energy(problem.residuals(), problem.members)
    assert float(energy.sum()) <= igsref.exact_igs(problem).value * (1 + 1e-9)


def test_an_error_takes_off_what_it_may_have_added():
    basis, b = (
        torch.eye(3, dtype=torch.float64)[:, :1],
        torch.tensor([[3.0], [4.0], [0.0]]).double(),
    )
    assert float(lower_energy(basis, 0.0, b)[0]) == 9.0
    assert float(lower_energy(basis, 0.1, b)[0]) == pytest.approx(((3 - 0.5) / 1.1) ** 2)
    assert float(lower_energy(basis, 1.0, b)[0]) == 0.0
    # The worst case is no worse: Q turned by an angle whose tangent is the error.
    turned = torch.tensor([[1.0], [-0.1], [0.0]], dtype=torch.float64)
    truth = float((turned.mT @ b).square() / turned.square().sum())
    assert float(lower_energy(basis, 0.1, b)[0]) <= truth


def test_an_empty_basis_holds_nothing():
    found = FoundRange(torch.zeros(6, 0, dtype=torch.float64), 0.0, (), "time", 0.0)
    blocks = torch.ones(3, 2, dtype=torch.float64)
    assert found.lower_block_energy(blocks, torch.arange(3)).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "limits, reason",
    [
        ({"max_iterations": 2}, "iterations"),
        ({"max_seconds": 1e-9}, "time"),
        ({"memory": step_bytes(27, 0, 2)}, "memory"),
        ({"tolerance": 0.9}, "ceiling"),
        ({}, "invariant"),
    ],
)
def test_why_a_run_ends(limits, reason):
    problem = igsref.as_problem(perceptron(1, 2, 3, 3), labelled(1, 30, (2,), 3))
    krylov = prepared(problem, heaviest=0 if limits else 30, weighted=False)
    found = run(krylov, None, replace(LIMITS, **{"tolerance": 1e-300, **limits}), save=saved([]))
    assert found.reason == reason
    assert found.steps[-1].verified


def test_no_step_is_made_that_would_leave_no_time_to_verify():
    problem = igsref.as_problem(perceptron(1, 2, 3, 3), labelled(1, 30, (2,), 3))
    krylov = replace(prepared(problem, heaviest=0), seconds_to_verify=20.0)
    done = Step(1, 1, 30.0, 1.0, 1e9, False), Step(2, 2, 40.0, 2.0, 1e9, False)
    assert seconds_at_the_end(done[:1], krylov) == 30.0 + 20.0  # no step to go by
    assert seconds_at_the_end(done, krylov) == 40.0 + 10.0 + 20.0
    # A run that went on after its end takes no longer for a step than before it.
    ended = (*done, Step(2, 2, 60.0, 2.0, 1e9, True))
    assert seconds_at_the_end(ended, krylov) == 60.0 + 10.0 + 20.0
    state = replace(krylov.start(0.0, steps=1), steps=done)
    assert replace(LIMITS, max_seconds=70.1).reason(krylov, state) == ""
    assert replace(LIMITS, max_seconds=70.0).reason(krylov, state) == "time"


def test_verifying_takes_a_product_and_one_for_each_change(monkeypatch):
    problem = igsref.as_problem(perceptron(1, 2, 3, 3), labelled(1, 30, (2,), 3))
    krylov, products = prepared(problem, heaviest=0), []
    true = FactorOperator.forward

    def counted(operator, vectors):
        products.append(vectors.shape[1])
        return true(operator, vectors)

    state = krylov.start(0.0)
    with monkeypatch.context() as patch:
        patch.setattr(FactorOperator, "forward", counted)
        krylov._range_within(state, krylov._cut)
    monkeypatch.setattr(FactorOperator, "seconds_of_forward", lambda _, columns: 10.0 * columns)
    assert krylov.measured_seconds_to_verify() == 10.0 * sum(products)


def test_what_is_still_to_come_is_the_gain_of_the_last_steps_and_no_more_than_is_missing():
    def steps(*values):
        return tuple(Step(k, k, 0.0, value, 10 - value, False) for k, value in enumerate(values))

    assert still_to_come(steps(1.0, 5.0, 5.5, 5.75, 6.0)) == 4.0  # of 5 that came
    assert still_to_come(steps(4.0, 5.0, 5.5, 5.75, 6.0)) == 2.0
    assert still_to_come(steps(1.0, 5.0)) == 5.0
    assert still_to_come(()) == float("inf")
    again = (*steps(4.0, 5.0, 5.5, 5.75, 6.0), Step(5, 5, 0.0, 3.0, 7.0, True))
    assert still_to_come(again) == 2.0


def test_a_run_goes_on_from_any_state_to_the_same_end():
    problem = igsref.as_problem(perceptron(2, 3, 12, 12, 3), labelled(2, 12, (3,), 3))
    states = []
    krylov = prepared(problem, heaviest=0)
    whole = run(krylov, None, LIMITS, save=saved(states))
    assert len(states) >= 3
    for state in (states[0], states[len(states) // 2]):
        again = run(krylov, state, LIMITS, save=saved([]))
        assert again.basis.equal(whole.basis)
        assert [s.value for s in again.steps] == [s.value for s in whole.steps]


def tried(krylov, weights, steps):
    """A state after so many steps with these weights."""
    state = krylov._state(weights)
    while len(state.steps) < steps:
        state = krylov.step(state, 0.0)
    return state


def test_the_pilot_takes_the_better_of_two():
    problem = igsref.as_problem(perceptron(2, 3, 12, 12, 3), labelled(2, 12, (3,), 3))
    krylov = prepared(problem, heaviest=0)
    state = krylov.start(0.0)
    others = [tried(krylov, w, len(state.steps)) for w in (None, krylov.weights())]
    missing = [other.steps[-1].missing for other in others]
    assert state.steps[-1].missing == min(missing)
    assert missing[0] != missing[1]


@pytest.mark.parametrize(("clear", "steps"), [(0.0, 3), (1.0, 1)])
def test_the_pilot_ends_as_soon_as_one_of_the_two_is_clearly_better(clear, steps, monkeypatch):
    monkeypatch.setattr("igsref.geometry.krylov._CLEAR", clear)
    problem = igsref.as_problem(perceptron(2, 3, 12, 12, 3), labelled(2, 12, (3,), 3))
    assert len(prepared(problem, heaviest=0).start(0.0).steps) == steps
